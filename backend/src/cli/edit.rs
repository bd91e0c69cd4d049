//! `whence edit`: which pairs to drop or to switch.

use std::path::PathBuf;

use clap::ArgGroup;
use whence_backend::edit::make::RankingName;
use whence_backend::edit::overlap::overlap;
use whence_backend::edit::{self, Decision, EditSet, Made, MakeOptions, Way, make};
use whence_backend::study::Study;
use whence_shared::pair::one_line;

use super::bar::Bars;

const N_SOURCES_SHOWN: usize = 10;
const WAYS: [&str; 8] =
    ["top", "bottom", "source", "top_sources", "random", "random_like", "stratified_like", "decisions"];

/// Arguments of `whence edit`. Without --name it lists the study's edit sets and what they have in common.
#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("way").args(WAYS).requires("name")))]
pub struct Args {
    /// Study folder
    #[arg(long)]
    study: PathBuf,
    /// Name of the edit set to make: letters, digits, - and _; without it, the study's edit sets are compared
    #[arg(long, requires = "way")]
    name: Option<String>,
    /// The first K pairs of --ranking; those without a vector are passed over
    #[arg(long, value_name = "K", requires = "ranking")]
    top: Option<usize>,
    /// The last K pairs of --ranking; those without a vector are passed over
    #[arg(long, value_name = "K", requires = "ranking")]
    bottom: Option<usize>,
    /// All pairs of this source; may be given several times
    #[arg(long)]
    source: Vec<String>,
    /// All pairs of the N sources of which the largest share lies in the first pairs of --ranking, as many as --of says
    #[arg(long, value_name = "N", requires_all = ["ranking", "of"])]
    top_sources: Option<usize>,
    /// N pairs drawn from all
    #[arg(long, value_name = "N")]
    random: Option<usize>,
    /// As many pairs as another edit set has, drawn from all
    #[arg(long, value_name = "EDIT")]
    random_like: Option<String>,
    /// As many pairs of each source and length as another edit set has, drawn from the pairs that it keeps
    #[arg(long, value_name = "EDIT")]
    stratified_like: Option<String>,
    /// JSONL or CSV with a decision per line: id or row, action (keep, drop, switch), optional reason
    #[arg(long, value_name = "FILE")]
    decisions: Option<PathBuf>,
    /// The ranking that decides: the behavior's name, or a Parquet file
    #[arg(long)]
    ranking: Option<String>,
    /// Layer of the ranking; may be left out where there is one
    #[arg(long, requires = "ranking")]
    layer: Option<usize>,
    /// With --top-sources: how many of the ranking's first pairs are counted
    #[arg(long, value_name = "K", requires = "top_sources")]
    of: Option<usize>,
    /// drop or switch [default: drop, or as the other edit set or the file says]
    #[arg(long, value_parser = action)]
    action: Option<Decision>,
    /// Decides what is drawn by chance
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Replace another edit set of this name
    #[arg(long)]
    replace: bool,
}

/// Parses `drop` or `switch`: keeping is what happens to every other pair.
fn action(text: &str) -> Result<Decision, String> {
    match text.parse() {
        Ok(action @ (Decision::Drop | Decision::Switch)) => Ok(action),
        _ => Err(format!("expected drop or switch, got {text:?}")),
    }
}

impl Args {
    /// Runs the verb.
    pub fn run(mut self) -> anyhow::Result<()> {
        let study = Study::at(&self.study);
        let (Some(name), Some(way)) = (self.name.take(), self.way()) else { return list(&study) };
        let options = MakeOptions { name, way, action: self.action, seed: self.seed, replace: self.replace };
        let bars = Bars::default();
        let made = make(&study, &options, &|update| bars.show(update))?;
        bars.clear();
        print(&made);
        let mut others = load_all(&study)?;
        others.retain(|other| other.name != made.set.name);
        print_overlaps(others.iter().map(|other| (&made.set, other)));
        Ok(())
    }

    fn way(&mut self) -> Option<Way> {
        let ranking = RankingName { name: self.ranking.take().unwrap_or_default(), layer: self.layer };
        if let Some(k) = self.top {
            Some(Way::Top { ranking, k })
        } else if let Some(k) = self.bottom {
            Some(Way::Bottom { ranking, k })
        } else if let Some(n) = self.top_sources {
            Some(Way::TopSources { ranking, n, k: self.of.unwrap_or_default() })
        } else if let Some(n) = self.random {
            Some(Way::Random { n })
        } else if let Some(set) = self.random_like.take() {
            Some(Way::RandomLike { set })
        } else if let Some(set) = self.stratified_like.take() {
            Some(Way::StratifiedLike { set })
        } else if let Some(path) = self.decisions.take() {
            Some(Way::Decisions { path })
        } else {
            Some(std::mem::take(&mut self.source)).filter(|names| !names.is_empty()).map(|names| Way::Sources { names })
        }
    }
}

fn print(made: &Made) {
    let Made { set, .. } = made;
    println!("edit set {}: {}", set.name, set.origin.how);
    println!(
        "  {} of {} pairs: {} dropped, {} switched",
        set.edits.len(),
        set.n_pairs,
        set.n(Decision::Drop),
        set.n(Decision::Switch)
    );
    println!("  {:<28}  {:>8}  {:>8}  {:>8}  of the source", "source", "pairs", "dropped", "switched");
    for source in made.sources.iter().take(N_SOURCES_SHOWN) {
        println!(
            "  {:<28}  {:>8}  {:>8}  {:>8}  {:>5.1} %",
            one_line(&source.name, 28),
            source.n_pairs,
            source.n_dropped,
            source.n_switched,
            100.0 * (source.n_dropped + source.n_switched) as f64 / source.n_pairs as f64
        );
    }
    if made.sources.len() > N_SOURCES_SHOWN {
        println!("  and {} more", made.sources.len() - N_SOURCES_SHOWN);
    }
    for warning in &made.warnings {
        println!("  warning: {warning}");
    }
    println!("  stored in {} (sha256 {})", made.path.display(), made.sha256.get(..12).unwrap_or_default());
}

fn load_all(study: &Study) -> anyhow::Result<Vec<EditSet>> {
    let names = edit::names(study)?;
    Ok(names.iter().map(|name| edit::load(study, name)).collect::<Result<_, _>>()?)
}

fn list(study: &Study) -> anyhow::Result<()> {
    let sets = load_all(study)?;
    if sets.is_empty() {
        println!(
            "{} has no edit sets yet: make one with --name and --top, --source, --random…",
            study.root().display()
        );
    }
    for set in &sets {
        let (n_dropped, n_switched) = (set.n(Decision::Drop), set.n(Decision::Switch));
        println!("{}: {n_dropped} dropped, {n_switched} switched; {}", set.name, set.origin.how);
    }
    print_overlaps(sets.iter().enumerate().flat_map(|(i, a)| sets[i + 1..].iter().map(move |b| (a, b))));
    Ok(())
}

fn print_overlaps<'a>(pairs: impl Iterator<Item = (&'a EditSet, &'a EditSet)>) {
    let mut is_first = true;
    for (a, b) in pairs {
        if is_first {
            println!("what edit sets have in common, beside what chance would give");
            println!(
                "  {:<40}  {:>8}  {:>9}  {:>8}  {:>7}  {:>7}",
                "sets", "in both", "by chance", "same act", "Jaccard", "by ch."
            );
            is_first = false;
        }
        let found = overlap(a, b);
        println!(
            "  {:<40}  {:>8}  {:>9.1}  {:>8}  {:>7.4}  {:>7.4}",
            format!("{} & {}", a.name, b.name),
            found.n_both,
            found.expected_both,
            found.n_same_action,
            found.jaccard,
            found.expected_jaccard
        );
    }
}
