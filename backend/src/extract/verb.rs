//! `extract`: a study's pairs in, vector files out, in fixed row ranges.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

use whence_shared::shard::{self, Shard, ShardHeader, StoreDtype};
use whence_shared::study::{LayerView, ShardView};

use super::ExtractError;
use super::differ::{Block, Differ, EncodedPairs, Remark};
use super::manifest::{self, VectorsManifest};
use crate::data::pairs::PairFile;
use crate::data::template::TemplateChoice;
use crate::data::tokens::TextEncoder;
use crate::device::Device;
use crate::files::{self, Context};
use crate::model::{ModelError, ModelFolder};
use crate::progress::{Report, Update};
use crate::study::Study;

/// What to extract and how.
#[derive(Debug, Clone)]
pub struct ExtractOptions {
    /// Layers, 0 = embeddings; empty means every layer from 1 to the last.
    pub layers: Vec<usize>,
    /// The text form.
    pub template: TemplateChoice,
    /// Longest text in tokens.
    pub max_tokens: usize,
    /// Rows per file: the unit of resuming.
    pub rows_per_file: usize,
    /// Most tokens in one padded batch.
    pub batch_tokens: usize,
    /// How numbers are stored.
    pub store: StoreDtype,
    /// Discard vectors that were made in another way.
    pub replace: bool,
}

impl Default for ExtractOptions {
    fn default() -> Self {
        Self {
            layers: Vec::new(),
            template: TemplateChoice::Model,
            max_tokens: 2048,
            rows_per_file: 1024,
            batch_tokens: 8192,
            store: StoreDtype::F32,
            replace: false,
        }
    }
}

/// What an extraction did.
#[derive(Debug, Clone, PartialEq)]
pub struct Extracted {
    /// Layers with complete vectors, ascending: those asked for.
    pub layers: Vec<usize>,
    /// Pairs in the study.
    pub n_pairs: usize,
    /// Pairs computed now; the rest was there.
    pub n_computed: usize,
    /// Tokens the model read now.
    pub n_tokens: u64,
    /// Time spent computing, in seconds.
    pub compute_secs: f64,
    /// What a reader should know about single pairs, of the whole study.
    pub remarks: Vec<Remark>,
}

/// Extracts pair vectors of a study.
///
/// Can be killed at any moment: finished files are whole and are kept, and the run that finishes leaves the same bytes
/// as an uninterrupted one.
///
/// # Errors
///
/// [`ExtractError`]; nothing already written is lost.
pub fn extract(
    study: &Study,
    folder: &ModelFolder,
    device: &Device,
    options: &ExtractOptions,
    report: Report,
) -> Result<Extracted, ExtractError> {
    check(options)?;
    let pairs = PairFile::open(&study.pairs())?;
    let layers = layers(&options.layers, folder.config.num_hidden_layers)?;
    let encoder = TextEncoder::new(folder, &options.template, options.max_tokens)?;
    let asked = describe(study, folder, &encoder, pairs.len(), options)?;
    let discards = match VectorsManifest::read(study) {
        Ok(Some(there)) if options.replace => there.must_equal(&asked, study).is_err(),
        Ok(Some(there)) => {
            there.must_equal(&asked, study)?;
            false
        }
        Ok(None) => false,
        Err(_) if options.replace => true,
        Err(error) => return Err(error),
    };

    let ranges: Vec<Range<usize>> = (0..pairs.len())
        .step_by(options.rows_per_file)
        .map(|first| first..(first + options.rows_per_file).min(pairs.len()))
        .collect();
    let missing = |range: &Range<usize>| -> Vec<usize> {
        layers
            .iter()
            .copied()
            .filter(|&layer| discards || !is_whole(&shard_path(study, layer, range.start), layer, range, &asked))
            .collect()
    };
    let todo: Vec<(Range<usize>, Vec<usize>)> =
        ranges.iter().map(|range| (range.clone(), missing(range))).filter(|(_, missing)| !missing.is_empty()).collect();
    let n_todo: usize = todo.iter().map(|(range, _)| range.len()).sum();

    // A model that cannot be loaded changes nothing: it neither binds the study to itself nor discards what is there.
    let model = if todo.is_empty() { None } else { Some(folder.load(device)?) };
    if discards {
        discard(study)?;
    }
    asked.write(study)?;

    let (mut n_computed, mut n_tokens) = (0usize, 0u64);
    let mut compute_secs = 0.0;
    if let Some(model) = model {
        let start = Instant::now();
        for (range, missing) in todo {
            let block_pairs = pairs.read(range.clone())?;
            let differ = Differ::new(&model, device, options.batch_tokens);
            let progress = |pairs_done: u64, tokens_done: u64| {
                let tokens_per_sec = (n_tokens + tokens_done) as f64 / start.elapsed().as_secs_f64();
                report(Update {
                    stage: "extract",
                    done: n_computed as u64 + pairs_done,
                    total: n_todo as u64,
                    unit: "pairs",
                    detail: format!("{tokens_per_sec:.0} tokens/s"),
                });
            };
            let encoded = EncodedPairs::new(&encoder, &block_pairs);
            let block = differ.compute(&encoded, range.start, &missing, &progress)?;
            write_block(study, &range, &missing, &block, &asked, folder.config.hidden_size)?;
            n_computed += range.len();
            n_tokens += block.n_tokens;
        }
        compute_secs = start.elapsed().as_secs_f64();
    }
    for &layer in &layers {
        write_layer(study, layer, &ranges, &asked)?;
    }
    let remarks = read_remarks(study)?;
    Ok(Extracted { layers, n_pairs: pairs.len(), n_computed, n_tokens, compute_secs, remarks })
}

fn check(options: &ExtractOptions) -> Result<(), ExtractError> {
    for (option, value, highest) in [
        ("--max-tokens", options.max_tokens, 1 << 20),
        ("--rows-per-file", options.rows_per_file, shard::MAX_ROWS),
        ("--batch-tokens", options.batch_tokens, 1 << 24),
    ] {
        if !(1..=highest).contains(&value) {
            return Err(ExtractError::Option { option, expected: format!("1 to {highest}"), got: value.to_string() });
        }
    }
    Ok(())
}

fn layers(asked: &[usize], n_layers: usize) -> Result<Vec<usize>, ModelError> {
    if asked.is_empty() {
        return Ok((1..=n_layers).collect());
    }
    if let Some(&layer) = asked.iter().find(|&&layer| layer > n_layers) {
        return Err(ModelError::Layer { layer, n_layers });
    }
    let mut layers = asked.to_vec();
    layers.sort_unstable();
    layers.dedup();
    Ok(layers)
}

fn describe(
    study: &Study,
    folder: &ModelFolder,
    encoder: &TextEncoder,
    n_pairs: usize,
    options: &ExtractOptions,
) -> Result<VectorsManifest, ExtractError> {
    let model = folder.view(encoder.name(), "mean")?;
    let template_sha256 = encoder.template_sha256();
    Ok(VectorsManifest {
        format: manifest::FORMAT.into(),
        inputs: manifest::inputs(&model, &template_sha256, options.max_tokens),
        model,
        template_sha256,
        max_tokens: options.max_tokens,
        pairs_sha256: files::sha256_of_file(&study.pairs())?,
        n_pairs,
        rows_per_file: options.rows_per_file,
        store: options.store,
    })
}

/// Removes the vectors folder. The manifest goes first: without it nothing in the folder is trusted.
fn discard(study: &Study) -> Result<(), ExtractError> {
    let manifest = study.vectors_manifest();
    if manifest.exists() {
        fs::remove_file(&manifest).at("remove", &manifest)?;
    }
    let vectors = study.vectors();
    Ok(fs::remove_dir_all(&vectors).at("remove", &vectors)?)
}

fn file_name(first_row: usize) -> String {
    format!("{first_row:08}.safetensors")
}

fn shard_path(study: &Study, layer: usize, first_row: usize) -> PathBuf {
    study.layer(layer).join(file_name(first_row))
}

/// Whether a vector file is there, complete, and of this study. Anything else is computed again.
fn is_whole(path: &Path, layer: usize, range: &Range<usize>, manifest: &VectorsManifest) -> bool {
    let Ok(bytes) = files::read(path) else { return false };
    let Ok(shard) = Shard::parse(&bytes) else { return false };
    let header = ShardHeader { layer, first_row: range.start, inputs: manifest.inputs.clone() };
    shard.header == header && shard.n_rows == range.len() && shard.dtype == manifest.store
}

fn write_block(
    study: &Study,
    range: &Range<usize>,
    layers: &[usize],
    block: &Block,
    manifest: &VectorsManifest,
    d_model: usize,
) -> Result<(), ExtractError> {
    // Remarks first: once a range's vectors are there, the range is not visited again.
    let remarks = remarks_path(study, range.start);
    if block.remarks.is_empty() {
        if remarks.exists() {
            fs::remove_file(&remarks).at("remove", &remarks)?;
        }
    } else {
        files::write(&remarks, &json_lines(&block.remarks))?;
    }
    // A block in which no pair could be read has no width of its own.
    let zeros = vec![0.0; if block.d_model == 0 { range.len() * d_model } else { 0 }];
    for (i, &layer) in layers.iter().enumerate() {
        let header = ShardHeader { layer, first_row: range.start, inputs: manifest.inputs.clone() };
        let vectors = if block.d_model == 0 { &zeros } else { &block.vectors[i] };
        let bytes = shard::write(&header, vectors, d_model, manifest.store, None)
            .map_err(|source| ExtractError::Store { layer, source })?;
        files::write(&shard_path(study, layer, range.start), &bytes)?;
    }
    Ok(())
}

/// Writes the manifest of a layer whose files are all there.
fn write_layer(
    study: &Study,
    layer: usize,
    ranges: &[Range<usize>],
    manifest: &VectorsManifest,
) -> Result<(), ExtractError> {
    let mut shards = Vec::with_capacity(ranges.len());
    for range in ranges {
        let bytes = files::read(&shard_path(study, layer, range.start))?;
        shards.push(ShardView {
            path: format!("vectors/layer-{layer}/{}", file_name(range.start)),
            first_row: range.start,
            n_rows: range.len(),
            n_bytes: bytes.len() as u64,
            sha256: files::sha256(&bytes),
        });
    }
    let view =
        LayerView { layer, d_model: manifest.model.d_model, dtype: manifest.store, n_rows: manifest.n_pairs, shards };
    let mut json = serde_json::to_vec_pretty(&view).expect("a layer's manifest serialises");
    json.push(b'\n');
    Ok(files::write(&study.layer_manifest(layer), &json)?)
}

fn remarks_path(study: &Study, first_row: usize) -> PathBuf {
    study.remarks().join(format!("{first_row:08}.jsonl"))
}

fn json_lines(remarks: &[Remark]) -> Vec<u8> {
    let mut lines = Vec::new();
    for remark in remarks {
        serde_json::to_writer(&mut lines, remark).expect("a remark serialises");
        lines.push(b'\n');
    }
    lines
}

/// All remarks of a study, by row.
fn read_remarks(study: &Study) -> Result<Vec<Remark>, ExtractError> {
    let folder = study.remarks();
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut remarks: Vec<Remark> = Vec::new();
    for entry in fs::read_dir(&folder).at("list", &folder)? {
        let path = entry.at("list", &folder)?.path();
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        for line in String::from_utf8_lossy(&files::read(&path)?).lines() {
            let remark = serde_json::from_str(line)
                .map_err(|error| ExtractError::Manifest { path: path.clone(), reason: error.to_string() })?;
            remarks.push(remark);
        }
    }
    remarks.sort_by(|a, b| (a.row, &a.side).cmp(&(b.row, &b.side)));
    Ok(remarks)
}
