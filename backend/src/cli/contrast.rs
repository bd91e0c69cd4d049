//! What tells two groups apart, printed: for `discover` and `cluster`.

use whence_shared::cluster::contrast::{Contrast, ContrastTerm};
use whence_shared::cluster::enrichment::Enrichment;

/// Below it, a source is said to be over-represented.
const ALPHA: f64 = 0.05;

/// Two numbers of groups: `2,5`.
pub fn two_groups(text: &str) -> Result<[usize; 2], String> {
    let wrong = || format!("expected the numbers of two groups, such as 2,5, got {text:?}");
    let (a, b) = text.split_once(',').ok_or_else(wrong)?;
    let number = |text: &str| text.trim().parse().map_err(|_| wrong());
    Ok([number(a)?, number(b)?])
}

/// What each group has more of; `kinds` are what chosen and rejected responses are called.
pub fn print(contrast: &Contrast, kinds: [&str; 2]) {
    for (side, &group) in contrast.groups.iter().enumerate() {
        println!("group {group} beside group {}:", contrast.groups[1 - side]);
        print_terms("words of prompts", &contrast.prompt_terms[side]);
        print_terms(&format!("only {}", kinds[0]), &contrast.chosen_terms[side]);
        print_terms(&format!("only {}", kinds[1]), &contrast.rejected_terms[side]);
        print_sources(&contrast.sources[side]);
    }
    println!("word (occurrences here : there); words with z ≥ 1.96 of the log-odds ratio, most telling first");
}

fn print_terms(what: &str, terms: &[ContrastTerm]) {
    let terms: Vec<String> =
        terms.iter().map(|term| format!("{} ({} : {})", term.term, term.count, term.count_other)).collect();
    println!("  {what}: {}", if terms.is_empty() { "none".into() } else { terms.join(", ") });
}

fn print_sources(sources: &[Enrichment]) {
    for source in sources.iter().filter(|source| source.lift > 1.0 && source.p_adjusted <= ALPHA) {
        println!(
            "  source {:?}: {} of {} in both (p {:.1e} after Holm)",
            source.source, source.n_inside, source.n_overall, source.p_adjusted
        );
    }
}
