//! `whence rank`: which pairs push hardest toward a behavior.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use whence_backend::attribute::probe::layers_to_rank;
use whence_backend::attribute::residual::{self, residual};
use whence_backend::attribute::table::{self, Labels};
use whence_backend::attribute::{QueryOptions, RankOptions, Ranking, Truth, query, rank};
use whence_backend::extract::RemarkSummary;
use whence_backend::study::Study;
use whence_shared::pair::{one_line, short_id};
use whence_shared::quality::Quality;
use whence_shared::rank::Histogram;

use super::bar::Bars;
use super::query as query_verb;

/// Bins of the histogram when one layer is shown, and when several are.
const N_BINS: [usize; 2] = [24, 12];
const BAR_CHARS: usize = 48;
const N_SOURCES_SHOWN: usize = 10;
const SNIPPET_CHARS: usize = 60;
/// Seed of the shuffled ranking that quality is compared with.
const RANDOM_SEED: u64 = 0;

/// Arguments of `whence rank`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Study folder
    #[arg(long)]
    study: PathBuf,
    /// Name of the behavior, as given to `whence behavior`
    #[arg(long)]
    behavior: String,
    /// Layer; every complete layer when left out
    #[arg(long)]
    layer: Option<usize>,
    /// Rows to print per layer [default: 20 for one layer, 5 for several]
    #[arg(long)]
    show: Option<usize>,
    /// Only find and print the first K, mostly by the index: fast, and no file is written
    #[arg(long, value_name = "K", conflicts_with_all = ["show", "k", "truth", "verify"])]
    top: Option<usize>,
    /// How many top pairs the shares of sources and kinds are counted over, and quality is measured at
    /// [default: 100, or the number of culprits with --truth]
    #[arg(long)]
    k: Option<usize>,
    /// Known culprits, JSONL: {"id": "…", "culprit": true, "kind": "…"}; prints how well they were found
    #[arg(long)]
    truth: Option<PathBuf>,
    /// Rank by what these leave of the scores, comma-separated: length, lists, code, headings, shared-words (of chosen beside
    /// rejected), source, or all. `whence edit --ranking FILE` takes the file
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = residual::name,
        requires_all = ["layer", "out"], conflicts_with = "top")]
    residual_on: Vec<String>,
    /// With --residual-on: the Parquet file to write; an earlier one is replaced
    #[arg(long, value_name = "FILE", requires = "residual_on")]
    out: Option<PathBuf>,
    /// Compare every vector file with its SHA-256 first
    #[arg(long)]
    verify: bool,
}

impl Args {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<()> {
        let study = Study::at(self.study);
        if let Some(k) = self.top {
            return top(&study, &self.behavior, self.layer, k);
        }
        let options =
            RankOptions { behavior: self.behavior, layers: self.layer.into_iter().collect(), verify: self.verify };
        let bars = Bars::default();
        let rankings = rank(&study, &options, &|update| bars.show(update))?;
        let labels = Labels::read(&study)?;
        let n_without = RemarkSummary::read(&study)?.n_pairs_without_vector;
        if n_without > 0 {
            println!(
                "{n_without} of {} pairs have no vector and score 0: {} says why",
                labels.ids.len(),
                study.remarks().display()
            );
        }
        let truth = self.truth.as_deref().map(|path| Truth::read(path, &labels.ids)).transpose()?;
        let n_top = self.show.unwrap_or(if rankings.len() == 1 { 20 } else { 5 });
        let k = self.k.or(truth.as_ref().map(Truth::n_culprits)).unwrap_or(100).min(labels.ids.len());
        if let Some(out) = &self.out {
            must_be_parquet(out)?;
            let (left, moved) = residual(&study, &rankings[0], &self.residual_on, k)?;
            let on = self.residual_on.join(", ");
            table::write(out, &left, &labels, Some(&on))?;
            let rank_correlation = moved.spearman.map_or_else(|| "–".to_owned(), |r| format!("{r:.3}"));
            println!("layer {}: pairs ranked toward {:?} by what {on} leave of the score", left.layer, left.behavior);
            println!(
                "  {:.1} % of the first {k} stay, rank correlation with the ranking by score {rank_correlation}",
                100.0 * moved.overlap
            );
            print_top(&left, &labels, n_top);
            print_sources(&left, &labels, k);
            println!("  stored in {}", out.display());
            return Ok(());
        }
        for ranking in &rankings {
            let path = table::store(&study, ranking, &labels)?;
            println!("layer {}: {} pairs ranked toward {:?}", ranking.layer, ranking.order.len(), ranking.behavior);
            print_top(ranking, &labels, n_top);
            print_histogram(ranking, k, N_BINS[usize::from(rankings.len() > 1)]);
            print_sources(ranking, &labels, k);
            println!("  stored in {}\n", path.display());
        }
        if let Some(truth) = &truth {
            print_quality(&rankings, truth, self.k);
        }
        Ok(())
    }
}

fn must_be_parquet(out: &Path) -> anyhow::Result<()> {
    let is_parquet = out.extension().is_some_and(|extension| extension == "parquet");
    anyhow::ensure!(is_parquet, "--out: expected a name that ends in .parquet, got {}", out.display());
    Ok(())
}

/// The first `k` per layer, without ranking the rest.
fn top(study: &Study, behavior: &str, layer: Option<usize>, k: usize) -> anyhow::Result<()> {
    let bars = Bars::default();
    for layer in layers_to_rank(study, behavior, layer.as_slice())? {
        let options = QueryOptions { layer, expression: behavior.to_owned(), k, ..QueryOptions::default() };
        let queried = query(study, &options, &|update| bars.show(update))?;
        bars.clear();
        query_verb::print(&queried);
    }
    Ok(())
}

fn print_top(ranking: &Ranking, labels: &Labels, n_top: usize) {
    println!("  {:>6}  {:>7}  {:>7}  {:<28}  {:<24}  prompt", "rank", "score", "row", "id", "source");
    for row in table::top(ranking, labels, n_top) {
        println!(
            "  {:>6}  {:>7.4}  {:>7}  {:<28}  {:<24}  {}",
            row.rank,
            row.score,
            row.row,
            short_id(&row.id, 28),
            one_line(&row.source, 24),
            one_line(&row.snippet, SNIPPET_CHARS)
        );
    }
}

/// Bars on a square-root scale, so that a thin tail is seen; the part in the top k is drawn solid.
fn print_histogram(ranking: &Ranking, k: usize, n_bins: usize) {
    let all = Histogram::of_scores(&ranking.scores, n_bins);
    let lowest_of_top = k.checked_sub(1).map(|last| ranking.scores[ranking.order[last] as usize]);
    println!("  scores; █ = top {k}, ░ = the rest, bar lengths on a square-root scale");
    let most = all.counts.iter().copied().max().unwrap_or(0).max(1);
    let mut in_top = vec![0u32; n_bins];
    for &row in &ranking.order[..k] {
        let score = ranking.scores[row as usize];
        // The histogram's own bins, so that the solid part never exceeds its bar.
        let bin = ((score - all.low) / (all.high - all.low) * n_bins as f32) as usize;
        in_top[bin.min(n_bins - 1)] += 1;
    }
    let length = |n: u32| (f64::from(n) / f64::from(most)).sqrt() * BAR_CHARS as f64;
    for bin in (0..n_bins).rev() {
        let (low, _) = all.edges(bin);
        let whole = length(all.counts[bin]).ceil() as usize;
        let share = if all.counts[bin] == 0 { 0.0 } else { f64::from(in_top[bin]) / f64::from(all.counts[bin]) };
        let solid = (share * whole as f64).ceil() as usize;
        let bar = format!("{}{}", "█".repeat(solid), "░".repeat(whole - solid));
        println!("  {low:>7.3}  {bar:<BAR_CHARS$}  {}", all.counts[bin]);
    }
    if let Some(score) = lowest_of_top {
        println!("  the top {k} reach down to {score:.4}");
    }
}

fn print_sources(ranking: &Ranking, labels: &Labels, k: usize) {
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for source in &labels.sources {
        counts.entry(source).or_default().1 += 1;
    }
    for &row in &ranking.order[..k] {
        counts.entry(&labels.sources[row as usize]).or_default().0 += 1;
    }
    let mut rows: Vec<_> = counts.into_iter().collect();
    rows.sort_by_key(|(_, (in_top, _))| std::cmp::Reverse(*in_top));
    println!("  share of the top {k} beside the share of all pairs, by source");
    print_shares(&rows, k, labels.ids.len());
}

fn print_shares(rows: &[(&str, (usize, usize))], k: usize, n_pairs: usize) {
    let percent = |part: usize, of: usize| if of == 0 { 0.0 } else { 100.0 * part as f64 / of as f64 };
    for (name, (in_top, in_all)) in rows.iter().take(N_SOURCES_SHOWN) {
        let (top, all) = (percent(*in_top, k), percent(*in_all, n_pairs));
        let lift = if all == 0.0 { 0.0 } else { top / all };
        println!("    {:<28}  {top:>5.1} %  {all:>5.1} %  × {lift:.2}", one_line(name, 28));
    }
    if rows.len() > N_SOURCES_SHOWN {
        println!("    and {} more", rows.len() - N_SOURCES_SHOWN);
    }
}

fn print_quality(rankings: &[Ranking], truth: &Truth, k: Option<usize>) {
    let random = truth.quality_of_random(RANDOM_SEED, k);
    println!(
        "{} culprits among {} pairs (base rate {:.3}), k = {}",
        random.n_relevant, random.n_rows, random.base_rate, random.k
    );
    println!("  {:<24}  {:>11}  {:>8}  {:>7}  {:>6}", "ranking", "precision@k", "recall@k", "avg.pr.", "AUROC");
    let print = |name: &str, q: &Quality| {
        println!(
            "  {name:<24}  {:>11.3}  {:>8.3}  {:>7.3}  {:>6.3}",
            q.precision_at_k, q.recall_at_k, q.average_precision, q.auroc
        );
    };
    for ranking in rankings {
        print(&format!("layer {}", ranking.layer), &truth.quality(ranking, k));
    }
    print(&format!("shuffled (seed {RANDOM_SEED})"), &random);
    println!(
        "  {:<24}  {:>11.3}  {:>8.3}  {:>7.3}  {:>6.3}",
        "expected of chance",
        random.base_rate,
        random.k as f64 / (random.n_rows.max(1)) as f64,
        random.base_rate,
        0.5
    );
    for ranking in rankings {
        println!("layer {}: kinds in the top {} beside their share of all pairs", ranking.layer, random.k);
        let mut kinds: Vec<_> = truth.kinds(ranking, random.k).into_iter().collect();
        kinds.sort_by_key(|(_, (in_top, _))| std::cmp::Reverse(*in_top));
        print_shares(&kinds, random.k, random.n_rows);
    }
}
