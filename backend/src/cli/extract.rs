//! `whence extract`: pair vectors of a study.

use std::path::PathBuf;

use whence_backend::data::pairs::PairFile;
use whence_backend::device::Device;
use whence_backend::extract::{
    DISCARD, ExtractOptions, Extracted, Part, Pooling, Remark, VectorsManifest, check_layers, extract,
};
use whence_backend::index::IndexOptions;
use whence_backend::progress::Update;
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
    /// Layers, as in transformers' hidden_states (0 = embeddings): `20`, `16,20,24`, `16-26` or `all`, which is 1 to the
    /// last: ask for 0 by its number
    #[arg(long, default_value = "all", value_parser = Layers::parse)]
    layers: Layers,
    #[command(flatten)]
    reading: Reading,
    /// One vector of a response's tokens: `mean`, `last` or `trimmed-mean` (leaves out attention sinks) [default: as the
    /// study's vectors, else mean]
    #[arg(long)]
    pooling: Option<Pooling>,
    /// Compute what both texts of a pair begin with twice, as the published procedure does; only to compare speed
    #[arg(long)]
    repeat_prompt: bool,
    /// Longest text in tokens; what is longer is cut on the right and reported [default: as the study's vectors, else 2048]
    #[arg(long)]
    max_tokens: Option<usize>,
    /// Rows per vector file: what is lost at most when killed [default: as the study's vectors, else 1024]
    #[arg(long)]
    rows_per_file: Option<usize>,
    /// How numbers are stored: f32 or f16 [default: as the study's vectors, else f32]
    #[arg(long, value_parser = store_dtype)]
    store: Option<StoreDtype>,
    /// Also store log-probabilities of the responses under this model (the reference of DPO), in the same pass
    #[arg(long)]
    logps: bool,
    /// This machine's share, such as 2/3: run each in a copy of the study, then `whence merge`
    #[arg(long)]
    part: Option<Part>,
    /// Discard vectors that were made in another way, of every layer; options then have their plain defaults
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

/// Parses `f32` or `f16`.
pub fn store_dtype(text: &str) -> Result<StoreDtype, String> {
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
        // Before a model is opened, which may be to download it.
        PairFile::open(&study.pairs())?;
        let model = model::open(&self.model, &bars)?;
        check_layers(&self.layers.0, model.config.num_hidden_layers)?;
        let opened = self.reading.open()?;
        println!(
            "{}: {} layers × {}, read on {}",
            model.name(),
            model.config.num_hidden_layers,
            model.config.hidden_size,
            reading::names(&opened)
        );
        let devices: Vec<Device> = opened.into_iter().map(|opened| opened.device).collect();
        // What is added to a study's vectors is made as they were; what replaces them need not be. A manifest that
        // cannot be read is the verb's to report.
        let there = if self.replace { None } else { VectorsManifest::read(&study).ok().flatten() };
        let plain = ExtractOptions::default();
        let (pooling, max_tokens, rows_per_file, store) =
            there.map_or((plain.pooling, plain.max_tokens, plain.rows_per_file, plain.store), |there| {
                (there.pooling(&study).unwrap_or(plain.pooling), there.max_tokens, there.rows_per_file, there.store)
            });
        let options = ExtractOptions {
            layers: self.layers.0,
            template: self.reading.template,
            max_tokens: self.max_tokens.unwrap_or(max_tokens),
            rows_per_file: self.rows_per_file.unwrap_or(rows_per_file),
            batch_tokens: self.reading.batch_tokens,
            dtype: self.reading.dtype,
            pooling: self.pooling.unwrap_or(pooling),
            share_prompt: !self.repeat_prompt,
            store: self.store.unwrap_or(store),
            logps: self.logps,
            part: self.part,
            replace: self.replace,
        };
        let report = |update: Update| {
            if update.stage == DISCARD {
                bars.clear();
                println!("discards {}", update.detail);
            } else {
                bars.show(update);
            }
        };
        let done = extract(&study, &model, &devices, &options, &report)?;
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
    let n_without = remarks.n_pairs_without_vector;
    let without = format!(
        "responses without a vector: {n_without} of {} pairs ({:.1} %) have none and score 0",
        done.n_pairs,
        100.0 * n_without as f64 / done.n_pairs.max(1) as f64
    );
    let beyond = format!(
        "texts are longer than the {0} tokens that this model was made for, and what it makes of them is uncertain \
         (--max-tokens {0} would cut them)",
        done.context
    );
    type Kind = fn(&Remark) -> bool;
    let kinds: [(usize, &str, Kind); 3] = [
        (remarks.n_no_vector, &without, |remark| remark.no_vector),
        (remarks.n_cut, "responses were cut", |remark| !remark.no_vector && !remark.beyond_context),
        (remarks.n_beyond_context, &beyond, |remark| remark.beyond_context),
    ];
    for (n, what, is_kind) in kinds.into_iter().filter(|(n, ..)| *n > 0) {
        println!("{n} {what}; listed in {}:", study.remarks().display());
        for remark in remarks.shown.iter().filter(|remark| is_kind(remark)) {
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
