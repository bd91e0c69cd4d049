//! Low-rank adapters (Hu et al. 2021, arXiv 2106.09685): `y = W x + (lora_alpha / r) · B (A x)`, with `W` frozen.
//!
//! An adapter is two thin products beside its projection; the dense `W + B A` exists only once training is over and
//! [`merge`] makes it for saving. Names, initialisation and files are PEFT's: [`save_adapter`] writes a folder that
//! `PeftModel.from_pretrained` reads.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::module::{Module, Param};
use burn::tensor::{DType, Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::{Deserialize, Serialize};
use serde_json::json;
use thiserror::Error;
use whence_shared::statistics::random::Random;

use super::CausalLm;
use crate::files::{self, FileError};

/// Every projection of a decoder layer, by the last part of its checkpoint key: what `all-linear` means to PEFT.
pub const ALL_LINEAR: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// Which adapters a model is given, with PEFT's names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraConfig {
    /// Inner width of every adapter, ≥ 1. Default 8.
    pub r: usize,
    /// An adapter's output is multiplied by `lora_alpha / r`. Default 16.
    pub lora_alpha: f64,
    /// Which projections get one: ends of checkpoint keys, as in PEFT. `q_proj` means those of every layer,
    /// `layers.3.self_attn.q_proj` that of one. Default [`ALL_LINEAR`].
    pub target_modules: Vec<String>,
    /// Share of an adapter's inputs that every step of training leaves out, 0 ≤ … < 1. Default 0.
    pub lora_dropout: f64,
    /// Decides the initial values. Default 0.
    pub seed: u64,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            r: 8,
            lora_alpha: 16.0,
            target_modules: ALL_LINEAR.map(str::to_owned).into(),
            lora_dropout: 0.0,
            seed: 0,
        }
    }
}

/// Why a model cannot be given adapters.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LoraError {
    /// A setting makes no sense.
    #[error("lora: {key}: expected {expected}, got {got}")]
    Config {
        /// The setting.
        key: &'static str,
        /// What can be used.
        expected: &'static str,
        /// What was given.
        got: String,
    },
    /// It has no such projections.
    #[error(
        "lora: target_modules: the model has no {asked}; expected some of {known}, or a longer end of a key, such as \
         {example}", asked = asked.join(", "), known = known.join(", ")
    )]
    UnknownModules {
        /// What it has not.
        asked: Vec<String>,
        /// Last parts of the keys that it has.
        known: Vec<String>,
        /// One of its keys.
        example: String,
    },
    /// It has some already.
    #[error("lora: the model has adapters already: merge them first")]
    AlreadyAdapted,
}

/// One adapter.
#[derive(Module, Debug)]
pub(super) struct Lora {
    /// `[r, d_input]`.
    lora_a: Param<Tensor<2>>,
    /// `[d_output, r]`.
    lora_b: Param<Tensor<2>>,
    /// `lora_alpha / r`.
    scale: f64,
    /// Share of inputs left out in training.
    dropout: f64,
    /// Which ones; 0 outside training: none.
    mask_seed: u64,
}

impl Lora {
    /// # Shapes
    ///
    /// - `x`: `[n_tokens, d_input]`
    /// - output: `[n_tokens, d_output]`
    pub(super) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = if self.has_mask() { x.clone() * self.mask(&x) } else { x };
        let inner = x.matmul(self.lora_a.val().transpose()) * self.scale;
        inner.matmul(self.lora_b.val().transpose())
    }

    fn has_mask(&self) -> bool {
        self.dropout > 0.0 && self.mask_seed != 0
    }

    /// Zeros for inputs left out, `1 / (1 − dropout)` for the others, so that the mean stays: decided by the seed and the
    /// place alone, so that a way there that is taken twice leaves out the same ones.
    fn mask(&self, x: &Tensor<2>) -> Tensor<2> {
        let shape = x.dims();
        let mut random = Random::new(self.mask_seed);
        let kept = (1.0 / (1.0 - self.dropout)) as f32;
        let mut value = || if random.uniform() < self.dropout { 0.0 } else { kept };
        let values: Vec<f32> = (0..shape[0] * shape[1]).map(|_| value()).collect();
        Tensor::from_data(TensorData::new(values, shape), &x.device())
    }
}

impl CausalLm {
    /// How many projections have an adapter.
    pub fn n_adapters(&self) -> usize {
        self.clone().projections().iter().filter(|(_, projection)| projection.lora.is_some()).count()
    }

    /// Numbers that training moves: those of the adapters where there are some, else all.
    pub fn n_trained(&self) -> usize {
        if self.n_adapters() == 0 {
            return self.num_params();
        }
        self.clone()
            .projections()
            .iter()
            .filter_map(|(_, projection)| Some(projection.lora.as_ref()?.num_params()))
            .sum()
    }

    /// What the adapters' output is multiplied by, and their dropout; `None` without adapters.
    pub fn lora_numbers(&self) -> Option<(f64, f64)> {
        let numbers = |lora: &Lora| (lora.scale, lora.dropout);
        self.clone().projections().iter().find_map(|(_, projection)| projection.lora.as_ref().map(numbers))
    }

    /// The model as one pass of training sees it: every adapter leaves out other inputs, which `seed` and what was said
    /// before decide. The same model where nothing is left out.
    #[must_use]
    pub fn masked(&self, seed: u64) -> Self {
        if self.lora_numbers().is_none_or(|(_, dropout)| dropout == 0.0) {
            return self.clone();
        }
        let mut model = self.clone();
        let mut random = Random::new(seed);
        for lora in model.projections().into_iter().filter_map(|(_, projection)| projection.lora.as_mut()) {
            lora.mask_seed = Random::new(lora.mask_seed ^ random.bits()).bits().max(1);
        }
        model
    }
}

impl LoraConfig {
    /// Refuses numbers that make no sense.
    ///
    /// # Errors
    ///
    /// [`LoraError::Config`] names the setting.
    pub fn check(&self) -> Result<(), LoraError> {
        let refused = |key, expected, got: String| Err(LoraError::Config { key, expected, got });
        if self.r == 0 {
            return refused("r", "at least 1", self.r.to_string());
        }
        if !self.lora_alpha.is_finite() || self.lora_alpha <= 0.0 {
            return refused("lora_alpha", "a positive number", self.lora_alpha.to_string());
        }
        if !(0.0..1.0).contains(&self.lora_dropout) {
            return refused("lora_dropout", "a number in [0, 1)", self.lora_dropout.to_string());
        }
        if self.target_modules.is_empty() {
            return refused("target_modules", "at least one projection", "none".into());
        }
        Ok(())
    }

    /// Refuses names that mean none of a model's projections, given by checkpoint key without `.weight`.
    ///
    /// # Errors
    ///
    /// [`LoraError::UnknownModules`] names them, and what there is.
    pub fn check_modules(&self, keys: &[String]) -> Result<(), LoraError> {
        let is_unknown = |target: &&String| !keys.iter().any(|key| means(target, key));
        let asked: Vec<String> = self.target_modules.iter().filter(is_unknown).map(|t| format!("{t:?}")).collect();
        if asked.is_empty() {
            return Ok(());
        }
        let known: BTreeSet<&str> = keys.iter().filter_map(|key| key.rsplit('.').next()).collect();
        Err(LoraError::UnknownModules {
            asked,
            known: known.into_iter().map(str::to_owned).collect(),
            example: keys.first().cloned().unwrap_or_default(),
        })
    }

    fn has(&self, key: &str) -> bool {
        self.target_modules.iter().any(|target| means(target, key))
    }
}

/// Whether a target is a key, or a dotted end of it.
fn means(target: &str, key: &str) -> bool {
    key.strip_suffix(target).is_some_and(|before| !target.is_empty() && (before.is_empty() || before.ends_with('.')))
}

/// Gives a model adapters that change nothing yet, and freezes everything else: `A` uniform in `±1/√d_input` (Kaiming
/// with `a = √5`, as PEFT), `B` zero. The same seed gives the same numbers on every machine.
///
/// # Errors
///
/// [`LoraError`] for a setting that makes no sense, a name that no projection has, or a model that has adapters.
pub fn adapt(model: CausalLm, config: &LoraConfig) -> Result<CausalLm, LoraError> {
    config.check()?;
    if model.n_adapters() > 0 {
        return Err(LoraError::AlreadyAdapted);
    }
    let device = model.device();
    let mut model = model.set_require_grad(false);
    config.check_modules(&model.projections().into_iter().map(|(key, _)| key).collect::<Vec<_>>())?;
    let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
    for (key, projection) in model.projections() {
        if !config.has(&key) {
            continue;
        }
        let [d_output, d_input] = projection.weight.dims();
        let bound = 1.0 / (d_input as f64).sqrt();
        let mut uniform = || ((f64::from(rng.next_u32()) + 0.5) / f64::from(1u32 << 31) - 1.0) * bound;
        let values: Vec<f32> = (0..config.r * d_input).map(|_| uniform() as f32).collect();
        projection.lora = Some(Lora {
            lora_a: Param::from_tensor(Tensor::from_data(TensorData::new(values, [config.r, d_input]), &device)),
            lora_b: Param::from_tensor(Tensor::zeros([d_output, config.r], &device)),
            scale: config.lora_alpha / config.r as f64,
            dropout: config.lora_dropout,
            mask_seed: 0,
        });
    }
    Ok(model)
}

/// Adds every adapter to its projection's weight and takes it away: the same function, without adapters. All weights can
/// be trained again.
pub fn merge(mut model: CausalLm) -> CausalLm {
    for (_, projection) in model.projections() {
        let Some(lora) = projection.lora.take() else { continue };
        let weight = projection.weight.val();
        let delta = lora.lora_b.val().matmul(lora.lora_a.val()) * lora.scale;
        let dtype = weight.dtype();
        projection.weight = Param::from_tensor((weight.cast(DType::F32) + delta).cast(dtype));
    }
    model.set_require_grad(true)
}

/// Writes the adapters alone, in PEFT's layout: `adapter_config.json` and `adapter_model.safetensors`, f32, atomically.
/// `base` is the name or path that PEFT is to load the frozen weights from.
///
/// # Errors
///
/// When a file cannot be written.
pub fn save_adapter(model: &CausalLm, config: &LoraConfig, base: &str, folder: &Path) -> Result<(), FileError> {
    let mut tensors = BTreeMap::new();
    for (key, projection) in model.clone().projections() {
        let Some(lora) = &projection.lora else { continue };
        for (name, weight) in [("lora_A", &lora.lora_a), ("lora_B", &lora.lora_b)] {
            let data = weight.val().into_data_as::<f32>();
            tensors.insert(format!("base_model.model.{key}.{name}.weight"), data);
        }
    }
    let views = tensors.iter().map(|(key, data)| {
        let view = TensorView::new(Dtype::F32, data.shape().to_vec(), data.bytes());
        (key.as_str(), view.expect("a tensor has as many values as its shape says"))
    });
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    let bytes = safetensors::serialize(views, Some(metadata)).expect("names and shapes are valid");
    files::write(&folder.join("adapter_model.safetensors"), &bytes)?;
    let adapter = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": config.r,
        "lora_alpha": config.lora_alpha,
        "lora_dropout": config.lora_dropout,
        "target_modules": config.target_modules,
        "bias": "none",
        "fan_in_fan_out": false,
        "init_lora_weights": true,
        "inference_mode": true,
    });
    files::write_json(&folder.join("adapter_config.json"), &adapter)
}
