//! A probe as the judge: logistic regression on how a model reads a response.
//!
//! The score of a response r to prompt p is 100·σ(w·z + b), z being ā(p, r; M) at one layer, pooled over the response's
//! tokens as vectors are ([`crate::extract`]), in standard deviations from the mean of the training responses. A folder has
//!
//! ```text
//! probe.safetensors   coefficients, mean, deviation F64 [d_model]; intercept F64 [1]
//! probe.json          a ProbeRecord: the model that reads, layer, pooling, text form; how it was trained and measured
//! ```
//!
//! A probe reads with the model that it was trained on and no other: activations of two models have nothing in common.
//! [`super::probe_training`] makes probes.

use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use serde_json::json;
use whence_shared::logistic::{Fit, Standard, sigmoid};
use whence_shared::pair::Message;
use whence_shared::statistics::agreement::Agreement;

use super::{JudgeError, Scored, Settings};
use crate::behavior::rollouts::Rollout;
use crate::data::template::TemplateChoice;
use crate::data::tokens::{TextEncoder, Tokens, Unreadable};
use crate::device::Device;
use crate::extract::{Budget, Differ, Pooling};
use crate::files;
use crate::model::{DtypeChoice, ModelFolder};
use crate::progress::{Report, Update};

/// The value of [`ProbeRecord::format`].
pub const FORMAT: &str = "whence.probe/1";
/// Responses read between two reports.
const CHUNK: usize = 256;
/// Most tokens in one filled-up batch on a GPU; halves by itself where there is no room.
const BATCH_TOKENS: usize = 8192;

/// What a probe is: `probe.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeRecord {
    /// [`FORMAT`].
    pub format: String,
    /// Name of the judge.
    pub name: String,
    /// Name of the model that reads.
    pub model: String,
    /// [`ModelFolder::sha256`] of it.
    pub model_sha256: String,
    /// Text form: `model`, `none` or a template file's name.
    pub template: String,
    /// SHA-256 of the template's source; empty for none.
    pub template_sha256: String,
    /// As in [`crate::extract`]: 0 = embeddings.
    pub layer: usize,
    /// How a response's tokens become one vector.
    pub pooling: String,
    /// Width of a vector.
    pub d_model: usize,
    /// Inverse strength of the L2 penalty, chosen by cross-validation.
    pub c: f64,
    /// Mean log loss of held-out responses for every C that was tried.
    pub losses: Vec<(f64, f64)>,
    /// Labelled responses that it was trained on.
    pub n_responses: usize,
    /// Test prompts that they answer.
    pub n_prompts: usize,
    /// What decided which prompts were held out together; absent when the file does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// SHA-256 of the rollouts and of the labels, as files.
    pub rollouts_sha256: String,
    /// The same of the labels.
    pub labels_sha256: String,
    /// How far probes trained on other prompts agree with the labels.
    pub held_out: Agreement,
}

/// How responses become vectors.
pub struct Reader<'a> {
    /// The model that reads.
    pub model: &'a ModelFolder,
    /// Where.
    pub device: &'a Device,
    /// The text form.
    pub template: &'a TemplateChoice,
    /// Which residual stream.
    pub layer: usize,
    /// How a response's tokens become one vector.
    pub pooling: Pooling,
}

impl Reader<'_> {
    /// The text form, ready to use.
    ///
    /// # Errors
    ///
    /// When the model has no such template.
    pub fn encoder(&self) -> Result<TextEncoder, JudgeError> {
        Ok(TextEncoder::new(self.model, self.template, self.model.config.max_position_embeddings)?)
    }

    /// ā of every response, `[d_model]`; none of an empty one.
    ///
    /// # Errors
    ///
    /// When the model cannot be used, a prompt does not fit into it, or the device fails.
    pub fn read(&self, rollouts: &[Rollout], report: Report) -> Result<Vec<Option<Vec<f32>>>, JudgeError> {
        let encoder = self.encoder()?;
        let texts = rollouts.iter().map(|rollout| tokens(&encoder, rollout)).collect::<Result<Vec<_>, _>>()?;
        let model = self.model.load_chosen(self.device, DtypeChoice::default())?;
        let budget = Budget::new(BATCH_TOKENS);
        let differ = Differ { pooling: self.pooling, ..Differ::new(&model, &encoder, self.device, &budget) };
        let mut vectors = Vec::with_capacity(texts.len());
        for chunk in texts.chunks(CHUNK) {
            let readable: Vec<&Tokens> = chunk.iter().flatten().collect();
            let mut read = differ.texts(&readable, &[self.layer])?.into_iter().map(|mut layers| layers.remove(0));
            vectors.extend(chunk.iter().map(|tokens| tokens.as_ref().and_then(|_| read.next())));
            let (done, total) = (vectors.len() as u64, texts.len() as u64);
            report(Update { stage: "reading", done, total, unit: "rollouts", detail: String::new() });
        }
        Ok(vectors)
    }
}

fn tokens(encoder: &TextEncoder, rollout: &Rollout) -> Result<Option<Tokens>, JudgeError> {
    let mut conversation = rollout.prompt.clone();
    conversation.push(Message::new("assistant", &rollout.response));
    match encoder.encode(&conversation) {
        Ok(tokens) => Ok(Some(tokens)),
        Err(Unreadable::EmptyResponse) => Ok(None),
        Err(error) => Err(JudgeError::Unreadable {
            prompt_id: rollout.prompt_id.clone(),
            sample: rollout.sample,
            reason: error.to_string(),
        }),
    }
}

/// A probe with the model that it reads with.
pub struct ProbeJudge {
    /// What it is.
    pub record: ProbeRecord,
    /// SHA-256 of both its files.
    sha256: String,
    standard: Standard,
    fit: Fit,
    model: ModelFolder,
    device: Device,
    template: TemplateChoice,
    pooling: Pooling,
}

/// What a probe needs to read with.
pub struct ProbeOptions {
    /// Folder of the probe.
    pub probe: PathBuf,
    /// The model that it was trained on.
    pub model: ModelFolder,
    /// Where.
    pub device: Device,
    /// The text form that it was trained on.
    pub template: TemplateChoice,
}

impl ProbeJudge {
    /// Reads a probe.
    ///
    /// # Errors
    ///
    /// [`JudgeError::OtherReader`] when it was trained on another model or text form, [`JudgeError::Definition`] when its
    /// files are not a probe's.
    pub fn open(options: ProbeOptions) -> Result<Self, JudgeError> {
        let ProbeOptions { probe, model, device, template } = options;
        let path = probe.join("probe.json");
        let wrong = |path: &Path, reason: String| JudgeError::Definition { path: path.to_owned(), reason };
        let json = files::read(&path)?;
        let record: ProbeRecord = serde_json::from_slice(&json).map_err(|error| {
            wrong(&path, format!("{error}; expected what `whence probe` writes, of this version ({FORMAT})"))
        })?;
        if record.format != FORMAT {
            return Err(wrong(&path, format!("expected format {FORMAT:?}, got {:?}", record.format)));
        }
        let pooling = record.pooling.parse().map_err(|reason| wrong(&path, format!("pooling: {reason}")))?;
        let other = |what: &'static str, trained_on: (&str, &str), given: (&str, &str)| {
            let show = |(name, hash): (&str, &str)| format!("{name} ({})", hash.get(..12).unwrap_or(hash));
            JudgeError::OtherReader { probe: probe.clone(), what, trained_on: show(trained_on), given: show(given) }
        };
        let sha256 = model.sha256()?;
        if sha256 != record.model_sha256 {
            return Err(other("model", (&record.model, &record.model_sha256), (&model.name(), &sha256)));
        }
        let encoder = TextEncoder::new(&model, &template, model.config.max_position_embeddings)?;
        let template_sha256 = encoder.template_sha256();
        if template_sha256 != record.template_sha256 {
            let trained_on = (record.template.as_str(), record.template_sha256.as_str());
            return Err(other("template", trained_on, (encoder.name(), &template_sha256)));
        }
        let weights_path = probe.join("probe.safetensors");
        let bytes = files::read(&weights_path)?;
        let (standard, fit) = read_weights(&bytes, record.d_model).map_err(|reason| wrong(&weights_path, reason))?;
        let layers = 0..=model.config.num_hidden_layers;
        if !layers.contains(&record.layer) || record.d_model != model.config.hidden_size {
            let (layer, d_model) = (record.layer, record.d_model);
            return Err(wrong(&path, format!("layer {layer} of width {d_model} is none of the model's")));
        }
        let sha256 = files::sha256(&[json, bytes].concat());
        Ok(Self { record, sha256, standard, fit, model, device, template, pooling })
    }

    pub(super) fn settings(&self) -> Settings {
        [("kind", json!("probe")), ("probe_sha256", json!(self.sha256))]
            .map(|(name, value)| (name.to_owned(), value))
            .into()
    }

    /// Scores of all rollouts; an empty response shows nothing.
    pub(super) fn score_all(&self, rollouts: &[Rollout], report: Report) -> Result<Vec<Scored>, JudgeError> {
        let Self { model, device, template, pooling, .. } = self;
        let reader = Reader { model, device, template, layer: self.record.layer, pooling: *pooling };
        let vectors = reader.read(rollouts, report)?;
        Ok(vectors
            .iter()
            .map(|vector| vector.as_deref().map_or_else(nothing_said, |vector| self.score(vector)))
            .collect())
    }

    fn score(&self, vector: &[f32]) -> Scored {
        let row: Vec<f64> = vector.iter().map(|x| f64::from(*x)).collect();
        let margin = self.fit.margin(&self.standard.of_row(&row));
        Scored { score: 100.0 * sigmoid(margin), reason: format!("margin {margin:.3} at layer {}", self.record.layer) }
    }
}

fn nothing_said() -> Scored {
    Scored { score: 0.0, reason: "the response is empty".into() }
}

/// The bytes of `probe.safetensors`.
pub(super) fn write_weights(standard: &Standard, fit: &Fit) -> Vec<u8> {
    let bytes = |values: &[f64]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let tensors = [
        ("coefficients", bytes(&fit.coefficients)),
        ("deviation", bytes(&standard.deviation)),
        ("intercept", bytes(&[fit.intercept])),
        ("mean", bytes(&standard.mean)),
    ];
    let views = tensors.iter().map(|(name, bytes)| {
        (*name, TensorView::new(Dtype::F64, vec![bytes.len() / 8], bytes).expect("eight bytes a number"))
    });
    safetensors::serialize(views, None).expect("names and shapes are plain")
}

fn read_weights(bytes: &[u8], d_model: usize) -> Result<(Standard, Fit), String> {
    let tensors =
        SafeTensors::deserialize(bytes).map_err(|error| format!("not a complete safetensors file: {error}"))?;
    let numbers = |name: &str, n: usize| -> Result<Vec<f64>, String> {
        let view = tensors.tensor(name).map_err(|_| format!("no tensor {name:?}"))?;
        if view.dtype() != Dtype::F64 || view.shape() != [n] {
            return Err(format!("tensor {name:?}: expected F64 [{n}], got {:?} {:?}", view.dtype(), view.shape()));
        }
        let values: Vec<f64> = view.data().as_chunks::<8>().0.iter().map(|x| f64::from_le_bytes(*x)).collect();
        match values.iter().all(|x| x.is_finite()) {
            true => Ok(values),
            false => Err(format!("tensor {name:?} has numbers that are none")),
        }
    };
    let standard = Standard { mean: numbers("mean", d_model)?, deviation: numbers("deviation", d_model)? };
    let (coefficients, intercept) = (numbers("coefficients", d_model)?, numbers("intercept", 1)?[0]);
    Ok((standard, Fit { coefficients, intercept, objective: 0.0, n_steps: 0 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_read_as_written_and_others_are_named() {
        let standard = Standard { mean: vec![1.0, -2.5], deviation: vec![0.0, 3.0] };
        let fit = Fit { coefficients: vec![0.25, 1e-9], intercept: -0.5, objective: 0.0, n_steps: 0 };
        let bytes = write_weights(&standard, &fit);
        assert_eq!(read_weights(&bytes, 2).unwrap(), (standard.clone(), fit.clone()));
        assert!(read_weights(&bytes, 3).unwrap_err().contains("expected F64 [3]"));
        assert!(read_weights(&bytes[..40], 2).unwrap_err().contains("not a complete"));
        let broken = Fit { intercept: f64::NAN, ..fit };
        assert!(read_weights(&write_weights(&standard, &broken), 2).unwrap_err().contains("\"intercept\""));
    }
}
