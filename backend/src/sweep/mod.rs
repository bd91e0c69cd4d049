//! A behavior by layer: where its direction separates responses that show it from those that do not, and where adding it
//! makes the reference model show it. The verb behind `whence sweep`, after `whence behavior`.
//!
//! ```text
//! response pairs ─┬─► activations per layer ─► separation of held-out prompts ──────┐
//! judged rollouts ┘   ([`responses`])        └► direction ─► steered rollouts ─► verdict rates ─► sweep.json
//! test prompts, judge ─────────────────────────────────────┘ ([`steer`])
//! ```
//!
//! Everything is read through the reference model, in the study's text form and pooling. What is done is kept: what was
//! read at a layer in `behaviors/NAME/sweep/layer-L.json`, rollouts and verdicts beside it. The same call continues; one of
//! other layers or strengths, made in the same way, adds to what `sweep.json` holds.

mod earlier;
mod responses;
mod steer;

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use whence_shared::dot::norm;
use whence_shared::pair::Message;
use whence_shared::statistics::separation::{self, Activations, Separation};
use whence_shared::study::BehaviorView;
use whence_shared::sweep::{FORMAT, LayerSweep, Separated, Steered, SteeringView, SweepView};

use crate::behavior::rollouts::prompts;
use crate::behavior::rollouts::{RolloutError, Sampling};
use crate::behavior::{self, BehaviorError, ResponsePair};
use crate::data::template::TemplateChoice;
use crate::data::tokens::TextEncoder;
use crate::device::Device;
use crate::extract::{ExtractError, VectorsManifest};
use crate::files::{self, FileError};
use crate::judge::selection::{self, JudgedFiles, SelectionError};
use crate::judge::{Judge, JudgeError};
use crate::model::steering::Positions;
use crate::model::{CausalLm, DtypeChoice, ModelError, ModelFolder};
use crate::progress::{Report, Update};
use crate::study::{Study, inputs_hash};
use responses::{Reader, Responses};
use steer::{Steerer, random_direction, scaled};

/// How a behavior must have been read to be swept.
const READING: &str = "M0/M0";

/// What stops a sweep. What was done by then is kept.
#[derive(Debug, Error)]
pub enum SweepError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The study's vectors cannot be used.
    #[error(transparent)]
    Extract(#[from] ExtractError),
    /// The model is another than the study's, or the behavior's response pairs cannot be read.
    #[error(transparent)]
    Behavior(#[from] BehaviorError),
    /// The judged rollouts cannot be used.
    #[error(transparent)]
    Judged(#[from] SelectionError),
    /// Rollouts of the steered model cannot be made.
    #[error(transparent)]
    Rollouts(#[from] RolloutError),
    /// Rollouts of the steered model cannot be judged.
    #[error(transparent)]
    Judge(#[from] Box<JudgeError>),
    /// There is no such behavior.
    #[error("{study} has no behavior {name:?}; it has {}: run `whence behavior` first", if known.is_empty() { "none".into() } else { known.join(", ") }, study = study.display())]
    UnknownBehavior {
        /// The study.
        study: PathBuf,
        /// Asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The behavior was not read through the reference model, or has no response pairs.
    #[error(
        "behavior {name:?} was read as {reading}: a sweep reads response pairs through the reference model alone ({READING}); define it from pairs, without --tuned"
    )]
    Reading {
        /// The behavior.
        name: String,
        /// How it was read.
        reading: String,
    },
    /// A strength that makes no sense.
    #[error("--alphas: expected numbers other than 0, each once, got {got}")]
    Alphas {
        /// What was given.
        got: String,
    },
    /// Nothing to steer along.
    #[error(
        "behavior {name:?}, layer {layer}: the direction is zero, there is nothing to steer along; leave this layer out with --layers"
    )]
    NoDirection {
        /// The behavior.
        name: String,
        /// The layer.
        layer: usize,
    },
    /// There is a sweep that was made in another way, which this one cannot be added to.
    #[error(
        "{path} holds a sweep of {there}; {difference}: sweep in the same way to add to it, or pass --replace, which replaces \
         the sweep of {there}", path = path.display()
    )]
    OtherSweep {
        /// The sweep.
        path: PathBuf,
        /// What it is of: its layers and responses.
        there: String,
        /// What differs, with both values.
        difference: String,
    },
    /// What was kept of an earlier run is damaged.
    #[error("{path}: {reason}; remove the file and run the same command again", path = path.display())]
    Part {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl From<ModelError> for SweepError {
    fn from(error: ModelError) -> Self {
        Self::Extract(error.into())
    }
}

/// What to sweep.
pub struct SweepOptions {
    /// Name of the behavior.
    pub behavior: String,
    /// Layers; empty means every layer of the model but the embeddings.
    pub layers: Vec<usize>,
    /// Judged rollouts to be separated; empty means the behavior's own response pairs.
    pub judged: Vec<JudgedFiles>,
    /// Most rollouts of one prompt and verdict.
    pub max_per_prompt: usize,
    /// Folds of the cross-validation.
    pub n_folds: usize,
    /// Deals prompts into folds and draws the random directions.
    pub seed: u64,
    /// The text form, which must be the study's.
    pub template: TemplateChoice,
    /// Most tokens in one padded batch.
    pub batch_tokens: usize,
    /// The type of weights and of matrix products with them.
    pub dtype: DtypeChoice,
    /// How to steer, if at all.
    pub steer: Option<SteerOptions>,
    /// Replace an earlier sweep instead of adding to it, and discard rollouts and verdicts that were made in another way.
    pub replace: bool,
}

/// How to steer.
pub struct SteerOptions {
    /// File of test prompts.
    pub prompts: PathBuf,
    /// Says which rollouts show the behavior.
    pub judge: Judge,
    /// Strengths in units of the layer's mean residual norm; the unsteered model is measured in any case.
    pub alphas: Vec<f64>,
    /// How to sample.
    pub sampling: Sampling,
    /// Which positions are steered.
    pub positions: Positions,
}

/// What was read at one layer: `sweep/layer-L.json`.
#[derive(Debug, Serialize, Deserialize)]
struct LayerPart {
    /// Hash of what it was made from.
    inputs: String,
    direction_norm: f64,
    residual_norm: f64,
    separation: Option<Separation>,
    direction: Vec<f32>,
}

/// Sweeps a behavior over layers and writes `sweep.json`; layers and strengths that an earlier sweep has stay there.
///
/// # Errors
///
/// [`SweepError`]; the same call continues from what was done.
pub fn sweep(
    study: &Study,
    folder: &ModelFolder,
    device: &Device,
    options: &SweepOptions,
    report: Report,
) -> Result<SweepView, SweepError> {
    let alphas = options.steer.as_ref().map(|steer| sorted(&steer.alphas)).transpose()?.unwrap_or_default();
    let steer_prompts = options.steer.as_ref().map(|steer| prompts::read(&steer.prompts)).transpose()?;
    let case = Case::open(study, folder, device, options, report)?;
    let earlier = case.earlier(steer_prompts.as_deref())?;
    case.read_layers()?;
    let steerer = match (&options.steer, &steer_prompts) {
        (Some(steer), Some(prompts)) => Some(Steerer {
            folder,
            model: case.model()?,
            device,
            template: &options.template,
            dtype: options.dtype,
            options: steer,
            prompts,
            parts: study.sweep_parts(&options.behavior),
            replace: options.replace,
            report,
        }),
        _ => None,
    };
    // Read back even when they were just written: what goes on from there is the same whether it was killed or not.
    let mut parts = Vec::new();
    for &layer in &case.layers {
        let path = case.part(layer);
        let part = read_part(&path)?.ok_or_else(|| SweepError::Part { path, reason: "it is gone".into() })?;
        if steerer.is_some() && part.direction_norm == 0.0 {
            return Err(SweepError::NoDirection { name: options.behavior.clone(), layer });
        }
        parts.push((layer, part));
    }
    let steering = steerer.as_ref().map(|steerer| case.steering(steerer)).transpose()?;
    let mut layers = Vec::new();
    for (layer, part) in parts {
        let steered = match &steerer {
            Some(steerer) => case.steered(steerer, layer, &part, &alphas)?,
            None => Vec::new(),
        };
        let LayerPart { direction_norm, residual_norm, separation, .. } = part;
        layers.push(LayerSweep { layer, direction_norm, residual_norm, separation, steered });
    }
    let swept = SweepView {
        format: FORMAT.into(),
        behavior: options.behavior.clone(),
        inputs: case.view.inputs,
        model: folder.name(),
        separated: case.separated,
        steering,
        layers,
    };
    let swept = match earlier {
        Some(earlier) => earlier::merged(earlier, swept),
        None => swept,
    };
    files::write_json(&study.sweep(&options.behavior), &swept)?;
    Ok(swept)
}

/// A behavior, the responses that it is measured on, and what reads them.
struct Case<'a> {
    study: &'a Study,
    folder: &'a ModelFolder,
    device: &'a Device,
    options: &'a SweepOptions,
    report: Report<'a>,
    view: BehaviorView,
    manifest: VectorsManifest,
    encoder: TextEncoder,
    /// Ascending.
    layers: Vec<usize>,
    pairs: Vec<ResponsePair>,
    responses: Responses,
    /// By prompt; none when no prompt could be left out.
    folds: Option<Vec<usize>>,
    separated: Separated,
    /// Hash of what decides a [`LayerPart`].
    inputs: String,
    /// Loaded when first asked for.
    model: OnceCell<CausalLm>,
}

impl<'a> Case<'a> {
    fn open(
        study: &'a Study,
        folder: &'a ModelFolder,
        device: &'a Device,
        options: &'a SweepOptions,
        report: Report<'a>,
    ) -> Result<Self, SweepError> {
        let view = behavior_view(study, &options.behavior)?;
        let manifest = VectorsManifest::required(study)?;
        let layers = layers_of(folder, &options.layers)?;
        let encoder = TextEncoder::new(folder, &options.template, manifest.max_tokens).map_err(ExtractError::from)?;
        behavior::must_be_same_reading(study, folder, &encoder, &manifest)?;
        let pairs = behavior::read_pairs(&study.behavior(&options.behavior).join("pairs.jsonl"))?;
        let mut rollouts = Vec::new();
        for judged in &options.judged {
            rollouts.push(selection::read_judged(judged)?);
        }
        let responses = Responses::gather(&encoder, &pairs, &rollouts, options.max_per_prompt);
        let folds = separation::folds(&responses.has_pairs(), options.n_folds, options.seed);
        let separated = separated(&responses, folds.as_deref(), options);
        let judged = responses.judged_sha256();
        let (n_folds, seed) = (options.n_folds.to_string(), options.seed.to_string());
        let inputs = inputs_hash(&["whence.sweep/1", &view.inputs, &judged, &n_folds, &seed]);
        let model = OnceCell::new();
        Ok(Self {
            study,
            folder,
            device,
            options,
            report,
            view,
            manifest,
            encoder,
            layers,
            pairs,
            responses,
            folds,
            separated,
            inputs,
            model,
        })
    }

    fn model(&self) -> Result<&CausalLm, SweepError> {
        if let Some(model) = self.model.get() {
            return Ok(model);
        }
        let model = self.folder.load_chosen(self.device, self.options.dtype)?;
        Ok(self.model.get_or_init(|| model))
    }

    /// Where what was read at a layer is kept.
    fn part(&self, layer: usize) -> PathBuf {
        self.study.sweep_parts(&self.options.behavior).join(format!("layer-{layer}.json"))
    }

    /// Reads and keeps the layers that are not there yet.
    fn read_layers(&self) -> Result<(), SweepError> {
        let mut missing = Vec::new();
        for &layer in &self.layers {
            if read_part(&self.part(layer))?.is_none_or(|part| part.inputs != self.inputs) {
                missing.push(layer);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let Self { manifest, responses, view, .. } = self;
        let total = responses.tokens.len() as u64;
        let unit = "responses";
        let show = |done| (self.report)(Update { stage: "read", done, total, unit, detail: String::new() });
        show(0);
        let pooling = manifest.pooling(self.study)?;
        let batch_tokens = self.options.batch_tokens;
        let reader = Reader { model: self.model()?, encoder: &self.encoder, pooling, batch_tokens };
        let residual_norms = reader.residual_norms(responses, &missing);
        let all = reader.activations(responses, &missing)?;
        for ((&layer, vectors), residual_norm) in missing.iter().zip(&all).zip(residual_norms) {
            let activations = Activations { vectors, d_model: self.folder.config.hidden_size };
            let direction = separation::direction_of(activations, &responses.pairs, view.method, |_| true);
            let separation = self.folds.as_deref().map(|folds| {
                separation::separation(activations, &responses.pairs, &responses.judged, view.method, folds)
            });
            let direction_norm = f64::from(norm(&direction));
            let inputs = self.inputs.clone();
            let part = LayerPart { inputs, direction_norm, residual_norm, separation, direction };
            files::write_json(&self.part(layer), &part)?;
        }
        show(total);
        Ok(())
    }

    /// How the model is steered, and its rate when it is not.
    fn steering(&self, steerer: &Steerer) -> Result<SteeringView, SweepError> {
        let Steerer { options, prompts, .. } = steerer;
        let own: HashSet<&[Message]> = self.pairs.iter().map(|pair| pair.prompt.as_slice()).collect();
        Ok(SteeringView {
            judge: options.judge.name().to_owned(),
            n_prompts: prompts.len(),
            n_own_prompts: prompts.iter().filter(|prompt| own.contains(prompt.messages.as_slice())).count(),
            n_samples: options.sampling.n_samples,
            temperature: options.sampling.temperature,
            max_new_tokens: options.sampling.max_new_tokens,
            positions: options.positions.name().to_owned(),
            unsteered: steerer.unsteered()?,
        })
    }

    /// Rates at one layer, along the direction and along a random one.
    fn steered(
        &self,
        steerer: &Steerer,
        layer: usize,
        part: &LayerPart,
        alphas: &[f64],
    ) -> Result<Vec<Steered>, SweepError> {
        let random = random_direction(part.direction.len(), layer, self.options.seed);
        let rate = |direction: &[f32], kind, alpha: f64| {
            steerer.steered(layer, &scaled(direction, alpha * part.residual_norm), (kind, alpha))
        };
        alphas
            .iter()
            .map(|&alpha| {
                let (along, random) = (rate(&part.direction, "direction", alpha)?, rate(&random, "random", alpha)?);
                Ok(Steered { alpha, rate: along, random })
            })
            .collect()
    }
}

/// The layers asked for, or all but the embeddings; ascending, each once.
fn layers_of(folder: &ModelFolder, asked: &[usize]) -> Result<Vec<usize>, SweepError> {
    let n_layers = folder.config.num_hidden_layers;
    let layers: BTreeSet<usize> = match asked {
        [] => (1..=n_layers).collect(),
        asked => asked.iter().copied().collect(),
    };
    match layers.iter().find(|&&layer| layer > n_layers) {
        Some(&layer) => Err(ModelError::Layer { layer, n_layers }.into()),
        None => Ok(layers.into_iter().collect()),
    }
}

fn behavior_view(study: &Study, name: &str) -> Result<BehaviorView, SweepError> {
    behavior::check_name(name)?;
    let path = study.behavior_view(name);
    if !path.is_file() {
        let (study, known) = (study.root().to_owned(), study.behavior_names()?);
        return Err(SweepError::UnknownBehavior { study, name: name.to_owned(), known });
    }
    let view: BehaviorView = serde_json::from_slice(&files::read(&path)?)
        .map_err(|error| SweepError::Part { path, reason: format!("not a behavior: {error}") })?;
    if view.reading != READING {
        return Err(SweepError::Reading { name: name.to_owned(), reading: view.reading });
    }
    Ok(view)
}

/// Strengths in ascending order; 0 is always measured and need not be asked for.
fn sorted(alphas: &[f64]) -> Result<Vec<f64>, SweepError> {
    let mut sorted = alphas.to_vec();
    sorted.sort_by(f64::total_cmp);
    let is_fine = sorted.iter().all(|alpha| alpha.is_finite() && *alpha != 0.0)
        && sorted.windows(2).all(|pair| pair[0] < pair[1])
        && !sorted.is_empty();
    is_fine.then_some(sorted).ok_or_else(|| SweepError::Alphas { got: format!("{alphas:?}") })
}

fn separated(responses: &Responses, folds: Option<&[usize]>, options: &SweepOptions) -> Separated {
    let prompts: BTreeSet<usize> = responses.judged.iter().map(|judged| judged.prompt).collect();
    let n_shown = responses.judged.iter().filter(|judged| judged.shows).count();
    let n_not_shown = responses.judged.len() - n_shown;
    let undefined = if folds.is_none() {
        Some("all response pairs are of one prompt: none could be left out to be measured on")
    } else if n_shown == 0 {
        Some("no response shows the behavior")
    } else if n_not_shown == 0 {
        Some("every response shows the behavior")
    } else {
        None
    };
    Separated {
        n_prompts: prompts.len(),
        n_shown,
        n_not_shown,
        n_unreadable: responses.n_unreadable,
        is_of_pairs: options.judged.is_empty(),
        n_folds: folds.and_then(|folds| folds.iter().max()).map_or(0, |last| last + 1),
        seed: options.seed,
        undefined: undefined.map(str::to_owned),
    }
}

fn read_part(path: &Path) -> Result<Option<LayerPart>, SweepError> {
    if !path.is_file() {
        return Ok(None);
    }
    let wrong = |reason: String| SweepError::Part { path: path.to_owned(), reason };
    serde_json::from_slice(&files::read(path)?).map(Some).map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strengths_are_numbers_each_once() {
        assert_eq!(sorted(&[1.0, -0.5, 0.25]).unwrap(), [-0.5, 0.25, 1.0]);
        for wrong in [&[][..], &[0.0], &[1.0, 1.0], &[f64::NAN], &[f64::INFINITY]] {
            let error = sorted(wrong).unwrap_err().to_string();
            assert!(error.contains("--alphas"), "{error}");
        }
    }

    #[test]
    fn vectors_have_the_length_asked_for() {
        let random = random_direction(50, 2, 7);
        assert_eq!(random, random_direction(50, 2, 7));
        assert!(random != random_direction(50, 3, 7) && random != random_direction(50, 2, 8));
        let length = |x: &[f32]| x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        assert!((length(&random) - 1.0).abs() < 1e-6);
        let against = scaled(&random, -2.5);
        assert!((length(&against) - 2.5).abs() < 1e-6 && against[0].signum() != random[0].signum());
    }
}
