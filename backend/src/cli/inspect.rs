//! `whence inspect`: what something is, printed for people or as JSON.

use std::path::PathBuf;

use whence_backend::inspect::{
    ArmSummary, EditSummary, Inspected, ModelReport, Rows, RunSummary, ShardReport, StudyReport, inspect,
};
use whence_shared::validation::RunStage;

use super::bar::Bars;
use super::extract::list;

/// Gaps and faulty files printed per layer.
const N_SHOWN: usize = 5;

/// Arguments of `whence inspect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Model folder, study folder or vector file (.safetensors)
    path: PathBuf,
    /// Read every vector file of a study to its end and compare it with its recorded SHA-256
    #[arg(long)]
    verify: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<()> {
        let bars = Bars::default();
        let inspected = inspect(&self.path, self.verify, &|update| bars.show(update))?;
        drop(bars);
        if self.json {
            println!("{}", serde_json::to_string_pretty(&inspected)?);
            return Ok(());
        }
        match &inspected {
            Inspected::Model(model) => print_model(model),
            Inspected::Study(study) => print_study(study),
            Inspected::Shard(shard) => print_shard(shard),
        }
        Ok(())
    }
}

/// `1.23 GB`, `4.5 MB` or `678 bytes`.
fn size(n_bytes: u64) -> String {
    match n_bytes {
        0..10_000 => format!("{n_bytes} bytes"),
        10_000..1_000_000_000 => format!("{:.1} MB", n_bytes as f64 / 1e6),
        _ => format!("{:.2} GB", n_bytes as f64 / 1e9),
    }
}

fn field(name: &str, value: impl std::fmt::Display) {
    println!("  {name:<12} {value}");
}

fn print_missing(missing: &[String]) {
    for what in missing {
        field("missing", what);
    }
    if missing.is_empty() {
        field("missing", "nothing");
    }
}

fn print_model(model: &ModelReport) {
    let usable = if model.is_usable { "" } else { ", not usable" };
    println!("{}: a model ({}{usable})", model.name, model.architecture);
    let sizes: Vec<String> = model.sizes.iter().map(|(key, size)| format!("{key} {size}")).collect();
    field("sizes", sizes.join(", "));
    let dtypes: Vec<String> = model.dtypes.iter().map(|(dtype, n)| format!("{n} in {dtype}")).collect();
    field("parameters", format!("{} ({})", model.n_parameters, dtypes.join(", ")));
    for file in &model.weights {
        field("weights", format!("{}: {} tensors, {}", file.name, file.n_tensors, size(file.n_bytes)));
    }
    if let Some(n_tokens) = model.n_tokens {
        field("tokenizer", format!("{n_tokens} tokens"));
    }
    field("template", model.template_sha256.as_ref().map_or("none".into(), |hash| format!("its own, SHA-256 {hash}")));
    if let Some(sha256) = &model.sha256 {
        field("hash", sha256);
    }
    print_missing(&model.missing);
}

fn print_study(study: &StudyReport) {
    println!("{}: a study", study.name);
    let n_pairs = study.n_pairs.map_or("not readable".into(), |n| n.to_string());
    let rejected = format!("{} sources, {} rows refused", study.n_sources, study.n_rejected_rows);
    field("pairs", format!("{n_pairs} ({rejected})"));
    field("hash", &study.pairs_sha256);
    if let Some(model) = &study.model {
        field(
            "model",
            format!("{} ({}), {} layers × {}", model.name, model.architecture, model.n_layers, model.d_model),
        );
        field("model hash", &model.sha256);
        let template = study.template_sha256.as_deref().filter(|hash| !hash.is_empty());
        let template = template.map_or(String::new(), |hash| format!(", SHA-256 {hash}"));
        field("template", format!("{}{template}", model.template));
        field("pooling", &model.pooling);
    }
    if let (Some(max_tokens), Some(rows), Some(store)) = (study.max_tokens, study.rows_per_file, study.store) {
        field("vectors", format!("{store}, {rows} rows per file, texts of at most {max_tokens} tokens"));
    }
    if let Some(inputs) = &study.inputs {
        field("inputs", inputs);
    }
    for series in &study.series {
        let state = if series.is_complete { "complete" } else { "incomplete" };
        let there = format!("{} rows in {} files, {}", series.n_rows, series.n_files, size(series.n_bytes));
        println!("  {}: {state}, {there}", series.name);
        for Rows { first, last } in series.missing.iter().take(N_SHOWN) {
            println!("    rows {first} to {last} are missing");
        }
        for file in series.faulty.iter().take(N_SHOWN) {
            println!("    {}: {}", file.path, file.fault);
        }
        let n_more = series.missing.len().saturating_sub(N_SHOWN) + series.faulty.len().saturating_sub(N_SHOWN);
        if n_more > 0 {
            println!("    and {n_more} more");
        }
    }
    if !study.parts.is_empty() {
        field("parts", format!("{} finished, to be merged", study.parts.join(", ")));
    }
    if study.n_no_vector + study.n_cut + study.n_beyond_context > 0 {
        let beyond = match study.n_beyond_context {
            0 => String::new(),
            n => format!("; {n} texts longer than what the model was made for"),
        };
        field("remarks", format!("{} responses without a vector, {} cut{beyond}", study.n_no_vector, study.n_cut));
    }
    for behavior in &study.behaviors {
        let layers = list(&behavior.layers);
        field("behavior", format!("{}: {} response pairs, layers {layers}", behavior.name, behavior.n_pairs));
    }
    for ranking in &study.rankings {
        field("ranking", ranking);
    }
    for edit in &study.edits {
        let EditSummary { name, n_dropped, n_switched, how } = edit;
        field("edit set", format!("{name}: {n_dropped} dropped, {n_switched} switched; {how}"));
    }
    for arm in &study.arms {
        field("arm", format!("{}: {}", arm.folder, seeds(arm)));
    }
    print_missing(&study.missing);
}

/// `seeds 1, 2 done; seed 3 stopped at step 40`.
fn seeds(arm: &ArmSummary) -> String {
    let done = arm.runs.iter().filter(|run| run.stage == RunStage::Complete).map(|run| run.seed.to_string());
    let done: Vec<String> = done.collect();
    let done = if done.is_empty() { None } else { Some(format!("seeds {} done", done.join(", "))) };
    let open = arm.runs.iter().filter_map(|run| {
        let RunSummary { seed, stage, n_steps } = run;
        match stage {
            RunStage::Complete => None,
            RunStage::Waiting => Some(format!("seed {seed} waits")),
            RunStage::Stopped => Some(format!("seed {seed} stopped at step {n_steps}")),
            RunStage::Training => Some(format!("seed {seed} trains, step {n_steps}")),
            RunStage::Measuring => Some(format!("seed {seed} is measured")),
        }
    });
    done.into_iter().chain(open).collect::<Vec<_>>().join("; ")
}

fn print_shard(shard: &ShardReport) {
    let what = if shard.has_direction { "behavior vectors with their direction" } else { "pair vectors" };
    println!("{}: {what}", shard.path);
    field("layer", shard.layer);
    let last = (shard.first_row + shard.n_rows).saturating_sub(1);
    field("rows", format!("{} ({} to {last})", shard.n_rows, shard.first_row));
    field("shape", format!("{} × {} in {}", shard.n_rows, shard.d_model, shard.dtype));
    field("size", size(shard.n_bytes));
    field("inputs", &shard.inputs);
    field("SHA-256", &shard.sha256);
    match shard.norms {
        Some([least, mean, greatest]) => field("norms", format!("{least:.4} to {greatest:.4}, mean {mean:.4}")),
        None => field("norms", "every row is zero"),
    }
    if shard.n_zero_rows > 0 {
        field("zero rows", shard.n_zero_rows);
    }
}
