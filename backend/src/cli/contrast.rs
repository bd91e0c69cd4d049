//! What tells two groups apart, printed: for `discover` and `cluster`.

use whence_shared::cluster::contrast::{Contrast, ContrastTerm, MIN_Z};
use whence_shared::cluster::enrichment::Enrichment;
use whence_shared::cluster::reading::GroupContrast;

/// Below it, a source is said to be over-represented.
const ALPHA: f64 = 0.05;

/// Two numbers of groups, `2,5`: groups are numbered from 1 where people read, from 0 here.
pub fn two_groups(text: &str) -> Result<[usize; 2], String> {
    let wrong = || format!("expected the numbers of two groups, such as 2,5, got {text:?}");
    let (a, b) = text.split_once(',').ok_or_else(wrong)?;
    let number = |text: &str| text.trim().parse().ok().and_then(|n: usize| n.checked_sub(1)).ok_or_else(wrong);
    Ok([number(a)?, number(b)?])
}

/// What each group has more of; `kinds` are what chosen and rejected responses are called.
pub fn print(contrast: &GroupContrast, kinds: [&str; 2]) {
    let of = |words: &Contrast, side: usize| if side == 0 { words.first.clone() } else { words.second.clone() };
    for (side, &group) in contrast.groups.iter().enumerate() {
        println!("group {} beside group {}:", group + 1, contrast.groups[1 - side] + 1);
        print_terms("words of prompts", &of(&contrast.prompts, side), side);
        print_terms(&format!("only {}", kinds[0]), &of(&contrast.chosen, side), side);
        print_terms(&format!("only {}", kinds[1]), &of(&contrast.rejected, side), side);
        print_sources(&contrast.sources[side]);
    }
    println!("word (occurrences here : there); words with z ≥ {MIN_Z} of the log-odds ratio, most telling first");
}

fn print_terms(what: &str, terms: &[ContrastTerm], side: usize) {
    let terms: Vec<String> = terms
        .iter()
        .filter(|term| term.z >= MIN_Z)
        .map(|term| format!("{} ({} : {})", term.term, term.counts[side], term.counts[1 - side]))
        .collect();
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
