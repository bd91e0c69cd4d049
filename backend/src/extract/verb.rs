//! `extract`: a study's pairs in, vector files out, in fixed row ranges, on one or several devices.

use std::ops::Range;

use whence_shared::shard::{self, StoreDtype};

use super::ExtractError;
use super::budget::Budget;
use super::differ::Differ;
use super::manifest::{self, VectorsManifest};
use super::part::Part;
use super::pipeline::Totals;
use super::plan::{Plan, Wanted};
use super::pooling::Pooling;
use super::range::Series;
use super::remarks::RemarkSummary;
use crate::data::pairs::PairFile;
use crate::data::template::TemplateChoice;
use crate::data::tokens::TextEncoder;
use crate::device::Device;
use crate::hashes;
use crate::model::dtype::ComputeDtype;
use crate::model::{CausalLm, DtypeChoice, ModelError, ModelFolder};
use crate::progress::{Report, Update};
use crate::study::Study;

/// The stage of an update that says, in its detail, which vectors are about to be discarded.
pub const DISCARD: &str = "discard";

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
    /// The type of weights and of matrix products with them.
    pub dtype: DtypeChoice,
    /// How one vector is made of a response's tokens.
    pub pooling: Pooling,
    /// Whether what both texts of a pair begin with is computed once. Changes nothing but rounding and speed.
    pub share_prompt: bool,
    /// How numbers are stored.
    pub store: StoreDtype,
    /// Also store log-probabilities of the responses.
    pub logps: bool,
    /// The share of this machine; the whole study when absent.
    pub part: Option<Part>,
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
            dtype: DtypeChoice::Auto,
            pooling: Pooling::Mean,
            share_prompt: true,
            store: StoreDtype::F32,
            logps: false,
            part: None,
            replace: false,
        }
    }
}

/// What an extraction did.
#[derive(Debug, Clone, PartialEq)]
pub struct Extracted {
    /// Layers asked for, ascending: complete now, unless this was a part.
    pub layers: Vec<usize>,
    /// Whether log-probabilities were asked for too.
    pub logps: bool,
    /// Pairs in the study.
    pub n_pairs: usize,
    /// Rows asked for: of the whole study, or of the part.
    pub rows: Range<usize>,
    /// The part, when it was one.
    pub part: Option<Part>,
    /// Pairs computed now; the rest of the rows was there.
    pub n_computed: usize,
    /// Tokens the model read now.
    pub n_tokens: u64,
    /// Time spent computing, in seconds.
    pub compute_secs: f64,
    /// The type computed in, and why.
    pub dtype: ComputeDtype,
    /// Tokens in a batch at the end: fewer than asked for when the device ran out of memory.
    pub batch_tokens: usize,
    /// What a reader should know about single pairs, of the whole study.
    pub remarks: RemarkSummary,
    /// Longest text, in tokens, that the model was made for.
    pub context: usize,
}

/// Extracts pair vectors of a study, on all `devices` at once; the same device twice is two workers on it.
///
/// Can be killed at any moment: finished files are whole and are kept, and the run that finishes leaves the same bytes
/// as an uninterrupted one.
///
/// # Errors
///
/// [`ExtractError`]; nothing already written is lost.
///
/// # Panics
///
/// Panics without a device.
pub fn extract(
    study: &Study,
    folder: &ModelFolder,
    devices: &[Device],
    options: &ExtractOptions,
    report: Report,
) -> Result<Extracted, ExtractError> {
    check(options)?;
    let pairs = PairFile::open(&study.pairs())?;
    let layers = layers(&options.layers, folder.config.num_hidden_layers)?;
    let encoder = TextEncoder::new(folder, &options.template, options.max_tokens)?;
    let dtype = options.dtype.on(devices, &folder.stored_dtype()?)?;
    let asked = describe(study, folder, &encoder, pairs.len(), (options, dtype))?;
    let mut series: Vec<Series> = layers.iter().copied().map(Series::Layer).collect();
    series.extend(options.logps.then_some(Series::Logps));
    let wanted = Wanted { series, part: options.part, replace: options.replace };
    let mut plan = Plan::make(study, asked, wanted, report)?;

    let discards = || {
        if let Some(what) = plan.discarded() {
            report(Update { stage: DISCARD, done: 0, total: 0, unit: "files", detail: what.to_owned() });
        }
    };
    if plan.tasks().is_empty() {
        discards();
    }
    let mut batch_tokens = options.batch_tokens;
    let mut totals = Totals::default();
    if !plan.tasks().is_empty() {
        // A model that cannot be loaded changes nothing: it neither binds the study to itself nor discards what is there.
        let mut models: Vec<(&Device, CausalLm, Budget)> = Vec::new();
        for device in devices {
            if !models.iter().any(|(there, ..)| *there == device) {
                models.push((device, folder.load_as(device, dtype.dtype)?, Budget::new(options.batch_tokens)));
            }
        }
        discards();
        let differ = |device: &Device| {
            let found = models.iter().find(|(there, ..)| *there == device);
            let (device, model, budget) = found.expect("loaded on every device");
            Differ {
                pooling: options.pooling,
                logps: options.logps,
                share_prompt: options.share_prompt,
                ..Differ::new(model, &encoder, device, budget)
            }
        };
        let sources: Vec<Differ> = devices.iter().map(differ).collect();
        totals = plan.fill(study, &pairs, &sources, report)?;
        batch_tokens = models.iter().map(|(.., budget)| budget.n_tokens()).min().unwrap_or(batch_tokens);
    }
    plan.finish(study)?;
    Ok(Extracted {
        layers,
        logps: options.logps,
        n_pairs: pairs.len(),
        rows: plan.rows(),
        part: options.part,
        n_computed: totals.n_pairs,
        n_tokens: totals.n_tokens,
        compute_secs: totals.secs,
        dtype,
        batch_tokens,
        remarks: RemarkSummary::read(study)?,
        context: folder.config.context(),
    })
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

/// Refuses layers that a model does not have.
///
/// # Errors
///
/// [`ModelError::Layer`].
pub fn check_layers(asked: &[usize], n_layers: usize) -> Result<(), ModelError> {
    match asked.iter().find(|&&layer| layer > n_layers) {
        Some(&layer) => Err(ModelError::Layer { layer, n_layers }),
        None => Ok(()),
    }
}

fn layers(asked: &[usize], n_layers: usize) -> Result<Vec<usize>, ModelError> {
    if asked.is_empty() {
        return Ok((1..=n_layers).collect());
    }
    check_layers(asked, n_layers)?;
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
    (options, dtype): (&ExtractOptions, ComputeDtype),
) -> Result<VectorsManifest, ExtractError> {
    let model = folder.view(encoder.name(), &options.pooling.to_string())?;
    let template_sha256 = encoder.template_sha256();
    Ok(VectorsManifest {
        format: manifest::FORMAT.into(),
        inputs: manifest::inputs(&model, &template_sha256, options.max_tokens),
        model,
        template_sha256,
        max_tokens: options.max_tokens,
        pairs_sha256: hashes::sha256_of_file(&study.pairs())?,
        n_pairs,
        rows_per_file: options.rows_per_file,
        store: options.store,
        dtype: dtype.name.into(),
        imported: Vec::new(),
    })
}
