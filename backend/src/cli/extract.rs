//! `whence extract`: pair vectors of a study.

use std::path::PathBuf;

use whence_backend::data::template::TemplateChoice;
use whence_backend::device::{self, DeviceChoice};
use whence_backend::extract::{ExtractOptions, extract};
use whence_backend::study::Study;
use whence_shared::shard::StoreDtype;

use super::bar::Bars;
use super::model;

/// Remarks printed; the rest is in the study.
const N_REMARKS_SHOWN: usize = 5;

/// Arguments of `whence extract`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Study folder, made by `whence import`
    #[arg(long)]
    study: PathBuf,
    /// Model: a Hugging Face folder (config.json, *.safetensors, tokenizer.json), or org/name[@revision] to download
    #[arg(long)]
    model: PathBuf,
    /// Layers, as in transformers' hidden_states (0 = embeddings): `20`, `16,20,24`, `16-26` or `all`
    #[arg(long, default_value = "all", value_parser = Layers::parse)]
    layers: Layers,
    /// Where to compute: auto, cpu, wgpu, vulkan, cuda
    #[arg(long, default_value_t)]
    device: DeviceChoice,
    /// Text form: `model` (its chat template), `none` (raw prompt + response) or a Jinja file
    #[arg(long, default_value = "model")]
    template: TemplateChoice,
    /// Longest text in tokens; what is longer is cut on the right and reported
    #[arg(long, default_value_t = 2048)]
    max_tokens: usize,
    /// Most tokens in one padded batch (GPU)
    #[arg(long, default_value_t = 8192)]
    batch_tokens: usize,
    /// Rows per vector file: what is lost at most when killed
    #[arg(long, default_value_t = 1024)]
    rows_per_file: usize,
    /// How numbers are stored: f32 or f16
    #[arg(long, default_value = "f32", value_parser = store_dtype)]
    store: StoreDtype,
    /// Discard vectors that were made in another way
    #[arg(long)]
    replace: bool,
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
        let opened = device::open(self.device)?;
        println!(
            "{}: {} layers × {}, read on {}",
            model.name(),
            model.config.num_hidden_layers,
            model.config.hidden_size,
            opened.name
        );
        let options = ExtractOptions {
            layers: self.layers.0,
            template: self.template,
            max_tokens: self.max_tokens,
            rows_per_file: self.rows_per_file,
            batch_tokens: self.batch_tokens,
            store: self.store,
            replace: self.replace,
        };
        let done = extract(&study, &model, &opened.device, &options, &|update| bars.show(update))?;
        if done.n_computed < done.n_pairs {
            println!("{} of {} pairs were there already", done.n_pairs - done.n_computed, done.n_pairs);
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
        for (no_vector, what) in [(true, "without a vector (score 0)"), (false, "with a cut response")] {
            let remarks: Vec<_> = done.remarks.iter().filter(|remark| remark.no_vector == no_vector).collect();
            if remarks.is_empty() {
                continue;
            }
            println!("{} responses {what}, listed in {}:", remarks.len(), study.remarks().display());
            for remark in remarks.iter().take(N_REMARKS_SHOWN) {
                println!("  row {} ({}), {}: {}", remark.row, remark.id, remark.side, remark.reason);
            }
        }
        println!("layers {} complete in {}", list(&done.layers), study.vectors().display());
        Ok(())
    }
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
