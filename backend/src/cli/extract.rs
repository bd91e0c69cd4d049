//! `whence extract`: pair vectors of a study.

use std::path::PathBuf;

use whence_backend::device::Device;
use whence_backend::extract::{ExtractOptions, Extracted, Part, Pooling, extract};
use whence_backend::index::IndexOptions;
use whence_backend::study::Study;
use whence_shared::shard::StoreDtype;

use super::bar::Bars;
use super::index;
use super::model;
use super::reading::{self, Reading};

/// Arguments of `whence extract`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Study folder, made by `whence import`
    #[arg(long)]
    study: PathBuf,
    /// Hugging Face model folder, or org/name or org/name@revision to download
    #[arg(long)]
    model: PathBuf,
    /// Layers, as in transformers' hidden_states (0 = embeddings): `20`, `16,20,24`, `16-26` or `all`
    #[arg(long, default_value = "all", value_parser = Layers::parse)]
    layers: Layers,
    #[command(flatten)]
    reading: Reading,
    /// One vector of a response's tokens: `mean`, `last` or `trimmed-mean` (leaves out attention sinks)
    #[arg(long, default_value_t)]
    pooling: Pooling,
    /// Compute what both texts of a pair begin with twice, as the published procedure does; only to compare speed
    #[arg(long)]
    repeat_prompt: bool,
    /// Longest text in tokens; what is longer is cut on the right and reported
    #[arg(long, default_value_t = 2048)]
    max_tokens: usize,
    /// Rows per vector file: what is lost at most when killed
    #[arg(long, default_value_t = 1024)]
    rows_per_file: usize,
    /// How numbers are stored: f32 or f16
    #[arg(long, default_value = "f32", value_parser = store_dtype)]
    store: StoreDtype,
    /// Also store log-probabilities of the responses under this model (the reference of DPO), in the same pass
    #[arg(long)]
    logps: bool,
    /// This machine's share, such as 2/3: run each in a copy of the study, then `whence merge`
    #[arg(long)]
    part: Option<Part>,
    /// Discard vectors that were made in another way
    #[arg(long)]
    replace: bool,
    /// Leave the index out; `whence index` makes it later
    #[arg(long)]
    no_index: bool,
}

/// Layers as typed; empty means all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layers(pub Vec<usize>);

impl Layers {
    /// Parses `all`, `20`, `16,20` or `16-26`.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self(Vec::new()));
        }
        let wrong = || format!("expected layers such as 20, 16,20,24, 16-26 or all, got {text:?}");
        let number = |text: &str| text.trim().parse::<usize>().map_err(|_| wrong());
        let mut layers = Vec::new();
        for part in text.split(',') {
            match part.split_once('-') {
                None => layers.push(number(part)?),
                Some((first, last)) => {
                    let (first, last) = (number(first)?, number(last)?);
                    if first > last || last > 1000 {
                        return Err(wrong());
                    }
                    layers.extend(first..=last);
                }
            }
        }
        Ok(Self(layers))
    }
}

fn store_dtype(text: &str) -> Result<StoreDtype, String> {
    match text {
        "f32" => Ok(StoreDtype::F32),
        "f16" => Ok(StoreDtype::F16),
        _ => Err(format!("expected f32 or f16, got {text:?}")),
    }
}

impl Args {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<()> {
        let study = Study::at(self.study);
        let bars = Bars::default();
        let model = model::open(&self.model, &bars)?;
        let opened = self.reading.open()?;
        println!(
            "{}: {} layers × {}, read on {}",
            model.name(),
            model.config.num_hidden_layers,
            model.config.hidden_size,
            reading::names(&opened)
        );
        let devices: Vec<Device> = opened.into_iter().map(|opened| opened.device).collect();
        let options = ExtractOptions {
            layers: self.layers.0,
            template: self.reading.template,
            max_tokens: self.max_tokens,
            rows_per_file: self.rows_per_file,
            batch_tokens: self.reading.batch_tokens,
            dtype: self.reading.dtype,
            pooling: self.pooling,
            share_prompt: !self.repeat_prompt,
            store: self.store,
            logps: self.logps,
            part: self.part,
            replace: self.replace,
        };
        let done = extract(&study, &model, &devices, &options, &|update| bars.show(update))?;
        println!("computed in {}: {}", done.dtype.name, done.dtype.reason);
        print_work(&study, &done);
        if done.batch_tokens < options.batch_tokens {
            let n = done.batch_tokens;
            println!("the device had room for {n} tokens in a batch: --batch-tokens {n} starts there");
        }
        print_done(&study, &done);
        if done.part.is_none() && !self.no_index {
            index::run(&study, &IndexOptions { layers: done.layers, verify: false }, &bars)?;
        }
        Ok(())
    }
}

fn print_work(study: &Study, done: &Extracted) {
    let n_rows = done.rows.len();
    if done.n_computed < n_rows {
        println!("{} of {n_rows} pairs were there already", n_rows - done.n_computed);
    }
    if done.n_computed > 0 {
        println!(
            "{} pairs, {} tokens in {:.1} s ({:.0} pairs/s, {:.0} tokens/s)",
            done.n_computed,
            done.n_tokens,
            done.compute_secs,
            done.n_computed as f64 / done.compute_secs,
            done.n_tokens as f64 / done.compute_secs
        );
    }
    let remarks = &done.remarks;
    let kinds =
        [(true, remarks.n_no_vector, "without a vector (score 0)"), (false, remarks.n_cut, "with a cut response")];
    for (no_vector, n, what) in kinds.into_iter().filter(|(_, n, _)| *n > 0) {
        println!("{n} responses {what}, listed in {}:", study.remarks().display());
        for remark in remarks.shown.iter().filter(|remark| remark.no_vector == no_vector) {
            println!("  row {} ({}), {}: {}", remark.row, remark.id, remark.side, remark.reason);
        }
    }
}

fn print_done(study: &Study, done: &Extracted) {
    let logps = if done.logps { " and log-probabilities" } else { "" };
    let (layers, folder) = (format!("{}{logps}", list(&done.layers)), study.vectors());
    let Some(part) = done.part else {
        println!("layers {layers} complete in {}", folder.display());
        return;
    };
    if done.rows.is_empty() {
        println!("part {part} has no rows: there are more parts than files; nothing to do here");
    } else {
        let (first, last) = (done.rows.start, done.rows.end - 1);
        println!(
            "part {part} complete in {}: rows {first} to {last} of {}, layers {layers}",
            folder.display(),
            done.n_pairs
        );
    }
    println!(
        "next: when every part is complete, bring them together with `whence merge --study {} OTHER_PART_STUDY...`, then\n      make the index with `whence index`",
        study.root().display()
    );
}

/// `1, 2, 3`.
pub fn list(layers: &[usize]) -> String {
    layers.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_parse_as_lists_and_ranges() {
        assert_eq!(Layers::parse("16-18,20").unwrap().0, [16, 17, 18, 20]);
        assert!(Layers::parse("all").unwrap().0.is_empty());
        for wrong in ["", "x", "3-1", "1-99999", "-1"] {
            assert!(Layers::parse(wrong).is_err(), "{wrong}");
        }
    }
}
