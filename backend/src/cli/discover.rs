//! `whence discover`: groups of prompts that changed alike and of pairs that changed them.

use std::path::PathBuf;

use whence_backend::cluster::contrast::{Side, of_discovery};
use whence_backend::discover::similarity::Sampling;
use whence_backend::discover::{DiscoverOptions, discover};
use whence_backend::judge::selection::JudgedFiles;
use whence_backend::study::Study;
use whence_shared::changes::{self, Change};
use whence_shared::cluster::enrichment::Enrichment;
use whence_shared::cluster::one_way::{OneWay, Verdict};
use whence_shared::cluster::terms::Term;
use whence_shared::cluster::{one_way, stability};
use whence_shared::discovery::{Cluster, Cut, DiscoveryView, Grouping, Settings};
use whence_shared::pair::one_line;

use super::bar::Bars;
use super::{contrast, naming};

const SNIPPET_CHARS: usize = 60;
/// Prompts of the change scan that are printed.
const N_CHANGES: usize = 10;
/// Terms and sources of a cluster that are printed.
const N_SHOWN: usize = 6;
/// Below it, a source is said to be over-represented.
const ALPHA: f64 = 0.05;

/// Arguments of `whence discover`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Study folder
    #[arg(long)]
    study: PathBuf,
    /// Behavior whose prompts are grouped: `whence behavior` with a broad set of prompts and what both models answered
    #[arg(long, required_unless_present = "contrast")]
    behavior: Option<String>,
    /// Name of the result [default: the behavior's]
    #[arg(long)]
    name: Option<String>,
    /// Print what tells two groups of a stored result apart, such as 2,5, instead of looking for groups
    #[arg(long, value_name = "A,B", value_parser = contrast::two_groups, conflicts_with = "name_with")]
    contrast: Option<[usize; 2]>,
    /// With --contrast: which groups, of `pairs` or of `prompts`
    #[arg(long, default_value = "pairs", value_parser = side, requires = "contrast")]
    of: Side,
    /// Layers that are read together, comma-separated [default: all of the study]
    #[arg(long, value_delimiter = ',')]
    layers: Vec<usize>,
    /// Pairs that are looked at, at most 2000
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Which pairs, when the study has more: `random`, or `top`, those nearest to any prompt
    #[arg(long, default_value = "random", value_parser = sampling)]
    sample: Sampling,
    /// Groups of prompts: `stable`, a number, or a height as @1.5
    #[arg(long, default_value = "stable", value_parser = cut)]
    prompt_groups: Cut,
    /// Groups of pairs: `stable`, a number, or a height as @1.5
    #[arg(long, default_value = "stable", value_parser = cut)]
    pair_groups: Cut,
    /// The most groups that are looked for, of prompts and of pairs
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(2..=200))]
    max_groups: u16,
    /// Seed of all draws
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Rollouts of the tuned model, as `whence rollouts` writes them: with their verdicts, the change scan says where a judge saw
    /// the behavior appear or vanish
    #[arg(long, value_name = "FILE", requires_all = ["verdicts", "reference_rollouts", "reference_verdicts"])]
    rollouts: Option<PathBuf>,
    /// Verdicts on --rollouts, as `whence judge` writes them
    #[arg(long, value_name = "FILE", requires = "rollouts")]
    verdicts: Option<PathBuf>,
    /// Rollouts of the reference model
    #[arg(long, value_name = "FILE", requires = "rollouts")]
    reference_rollouts: Option<PathBuf>,
    /// Verdicts on --reference-rollouts
    #[arg(long, value_name = "FILE", requires = "rollouts")]
    reference_verdicts: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    naming: naming::Args,
}

fn side(text: &str) -> Result<Side, String> {
    match text {
        "pairs" => Ok(Side::Pairs),
        "prompts" => Ok(Side::Prompts),
        _ => Err(format!("expected pairs or prompts, got {text:?}")),
    }
}

fn sampling(text: &str) -> Result<Sampling, String> {
    match text {
        "random" => Ok(Sampling::Random),
        "top" => Ok(Sampling::Top),
        _ => Err(format!("expected random or top, got {text:?}")),
    }
}

fn cut(text: &str) -> Result<Cut, String> {
    let wrong = || format!("expected stable, a number of groups from 1, or @ and a height such as @1.5, got {text:?}");
    if text == "stable" {
        return Ok(Cut::Stable);
    }
    if let Some(height) = text.strip_prefix('@') {
        return height.parse().ok().filter(|height: &f64| *height >= 0.0).map(Cut::Height).ok_or_else(wrong);
    }
    text.parse().ok().filter(|k| *k > 0).map(Cut::Into).ok_or_else(wrong)
}

impl Args {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<()> {
        let study = Study::at(&self.study);
        // One of the two is required.
        let behavior = self.behavior.or_else(|| self.name.clone()).unwrap_or_default();
        let name = self.name.unwrap_or_else(|| behavior.clone());
        if let Some(groups) = self.contrast {
            return print_contrast(&study, &name, self.of, groups, self.json);
        }
        let judged = |rollouts: Option<PathBuf>, verdicts: Option<PathBuf>| {
            Some(JudgedFiles { rollouts: rollouts?, verdicts: verdicts? })
        };
        let reference = judged(self.reference_rollouts, self.reference_verdicts);
        let options = DiscoverOptions {
            judged: reference.zip(judged(self.rollouts, self.verdicts)).map(|(reference, tuned)| [reference, tuned]),
            names: self.naming.options(&study),
            name,
            behavior,
            layers: self.layers,
            n_pairs: self.pairs as usize,
            sampling: self.sample,
            settings: Settings {
                prompt_cut: self.prompt_groups,
                pair_cut: self.pair_groups,
                stability: stability::Settings {
                    k_max: self.max_groups.into(),
                    seed: self.seed,
                    ..stability::Settings::default()
                },
                one_way: one_way::Settings { seed: self.seed, ..one_way::Settings::default() },
            },
        };
        let bars = Bars::default();
        let view = discover(&study, &options, &|update| bars.show(update))?;
        bars.clear();
        if self.json {
            println!("{}", serde_json::to_string_pretty(&view)?);
            return Ok(());
        }
        print(&view);
        print_changes(&view);
        println!("stored in {}", study.discovery(&view.name).display());
        Ok(())
    }
}

fn print_contrast(study: &Study, name: &str, side: Side, groups: [usize; 2], json: bool) -> anyhow::Result<()> {
    let found = of_discovery(study, name, side, groups)?;
    match (json, side) {
        (true, _) => println!("{}", serde_json::to_string_pretty(&found)?),
        (false, Side::Pairs) => contrast::print(&found, ["chosen", "rejected"]),
        (false, Side::Prompts) => contrast::print(&found, ["after", "before"]),
    }
    Ok(())
}

fn print(view: &DiscoveryView) {
    let layers: Vec<String> = view.layers.iter().map(usize::to_string).collect();
    let (n_pairs, of) = (view.pairs.len(), view.n_pairs_in_study);
    let pairs = if view.sampling == "all" {
        format!("all {of} pairs")
    } else {
        format!("{n_pairs} of {of} pairs ({})", view.sampling)
    };
    println!("{} prompts of {:?} and {pairs}, layers {}", view.prompts.len(), view.behavior, layers.join(", "));
    let alpha = view.settings.one_way.alpha;
    println!("{}", changes(view, alpha));
    let k_max = view.settings.stability.k_max;
    println!("groups of prompts: {}", found(&view.groups.prompts, view.settings.prompt_cut, k_max));
    // Changes first.
    let mut clusters: Vec<(usize, &Cluster)> = view.groups.prompts.clusters.iter().enumerate().collect();
    clusters.sort_by_key(|(_, cluster)| {
        cluster.one_way.map_or(Verdict::Chance, |way| way.verdict(alpha)).min(Verdict::NoDirection)
    });
    for (label, cluster) in clusters {
        let nearest = nearest(&view.groups.means[label]);
        let name = naming::said(view.names.as_ref(), |names| &names.prompts, label);
        println!("  {}:{name} {}; nearest to pairs {nearest}", label + 1, described(cluster, view.prompts.len()));
        if let Some(way) = cluster.one_way {
            println!("    {}", way_of(way, alpha));
        }
        print_terms("words", &cluster.terms);
        for &row in cluster.typical.iter().take(3) {
            println!("      “{}”", one_line(&view.prompts[row as usize].prompt, SNIPPET_CHARS));
        }
    }
    println!("groups of pairs: {}", found(&view.groups.pairs, view.settings.pair_cut, k_max));
    for (label, cluster) in view.groups.pairs.clusters.iter().enumerate() {
        let name = naming::said(view.names.as_ref(), |names| &names.pairs, label);
        println!("  {}:{name} {}", label + 1, described(cluster, n_pairs));
        print_terms("words", &cluster.terms);
        print_terms("only chosen", &cluster.chosen_terms);
        print_terms("only rejected", &cluster.rejected_terms);
        print_sources(&cluster.sources);
        for &row in cluster.typical.iter().take(3) {
            let pair = &view.pairs[row as usize];
            println!("      row {} {} “{}”", pair.row, one_line(&pair.id, 28), one_line(&pair.snippet, SNIPPET_CHARS));
        }
    }
}

/// What was found, in one line.
fn changes(view: &DiscoveryView, alpha: f64) -> String {
    let prompts = &view.groups.prompts.clusters;
    let named = |verdict: Verdict| -> Vec<String> {
        let ways =
            prompts.iter().zip(1..).filter_map(|(cluster, number)| Some((number, cluster.size, cluster.one_way?)));
        ways.filter(|(.., way)| way.verdict(alpha) == verdict)
            .map(|(number, size, way)| format!("group {number} ({size} prompts, strength {:.2})", way.strength))
            .collect()
    };
    let (found, slight) = (named(Verdict::Change), named(Verdict::SlightChange));
    let found = match found.len() {
        0 if slight.is_empty() => format!("no change found: {}", view.why_no_change(prompts)),
        0 => "no change found".to_owned(),
        1 => format!("1 change found: {}", found[0]),
        n => format!("{n} changes found: {}", found.join(", ")),
    };
    match slight.len() {
        0 => found,
        n => format!("{found}; {n} slight: {}", slight.join(", ")),
    }
}

/// `a change: strength 0.81, 31 prompts along it, none against (p 0.005)`.
fn way_of(way: OneWay, alpha: f64) -> String {
    let OneWay { n_along, n_against, p, strength, .. } = way;
    let strength = if way.is_change { format!("strength {strength:.2}, ") } else { String::new() };
    let what = way.verdict(alpha).text();
    format!("{what}: {strength}{n_along} prompts along it, {n_against} against (p {p:.3} for any group)")
}

/// `3 hold (p 0.025)` or why there are none.
fn found(grouping: &Grouping, cut: Cut, k_max: usize) -> String {
    let n = grouping.clusters.len();
    let p = grouping.stability.p;
    match (grouping.stability.chosen, cut) {
        (Some(k), _) if k == n && k >= k_max => format!(
            "{k} hold, the most that were looked for, so there may be more: --max-groups (p {p:.3} against rows without groups)"
        ),
        (Some(k), _) if k == n => format!("{k} hold (p {p:.3} against rows without groups)"),
        (Some(k), Cut::Stable) => format!("{n}: each change, and what is left of {k} that hold (p {p:.3})"),
        (Some(k), _) => format!("{n} as asked for; {k} would hold (p {p:.3} against rows without groups)"),
        (None, _) if n == 1 => format!("none: no more apart than rows without groups (p {p:.3})"),
        (None, Cut::Stable) => {
            format!("{n}: each change, and the rest, no more apart than rows without groups (p {p:.3})")
        }
        (None, _) => format!("{n} as asked for; none hold (p {p:.3} against rows without groups)"),
    }
}

fn described(cluster: &Cluster, of: usize) -> String {
    format!("{} of {of}, silhouette {:.2}, comes back {:.2}", cluster.size, cluster.silhouette, cluster.jaccard)
}

/// The group of pairs with the greatest mean similarity: `2 (mean cosine 0.41)`.
fn nearest(means: &[f64]) -> String {
    let (label, mean) = means
        .iter()
        .enumerate()
        .fold((0, f64::MIN), |best, (label, &mean)| if mean > best.1 { (label, mean) } else { best });
    format!("{} (mean cosine {mean:.2})", label + 1)
}

/// Sources that a group has more of than chance.
pub(super) fn print_sources(sources: &[Enrichment]) {
    for source in sources.iter().filter(|source| source.lift > 1.0 && source.p_adjusted <= ALPHA).take(N_SHOWN) {
        let (inside, overall) = (source.n_inside, source.n_overall);
        println!(
            "    source {:?}: {inside} of its {overall}, × {:.2} (p {:.1e} after Holm)",
            source.source, source.lift, source.p_adjusted
        );
    }
}

/// The first terms of a group; nothing when it has none.
pub(super) fn print_terms(what: &str, terms: &[Term]) {
    if terms.is_empty() {
        return;
    }
    let terms: Vec<&str> = terms.iter().take(N_SHOWN).map(|term| term.term.as_str()).collect();
    println!("    {what}: {}", terms.join(", "));
}

/// The change scan: how many prompts changed in which way, and those that changed most.
fn print_changes(view: &DiscoveryView) {
    let counts = changes::counts(&view.changes);
    let counts: Vec<String> = counts.iter().map(|(kind, n)| format!("{}: {n}", kind.name())).collect();
    println!(
        "what tuning changed: {}",
        if counts.is_empty() { "nothing to name".to_owned() } else { counts.join(", ") }
    );
    println!("  most changed (norm of the behavior vector over the prompts' mean, averaged over layers):");
    println!("  {:>6}  {:>5}  {:>11}  prompt", "row", "norm", "words");
    for change in view.changes.iter().take(N_CHANGES) {
        let Change { prompt, norm, n_words: [before, after], .. } = change;
        let kinds: Vec<&str> = change.kinds().map(changes::Kind::name).collect();
        let kinds = if kinds.is_empty() { String::new() } else { format!("  {}", kinds.join(", ")) };
        let snippet = one_line(&view.prompts[*prompt as usize].prompt, SNIPPET_CHARS);
        println!("  {prompt:>6}  {norm:>5.2}  {before:>4} → {after:<4}  “{snippet}”{kinds}");
    }
}
