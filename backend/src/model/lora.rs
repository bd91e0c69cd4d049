//! Low-rank adapters (Hu et al. 2021, arXiv 2106.09685): `y = W x + (lora_alpha / r) · B (A x)`, with `W` frozen.
//!
//! An adapter is two thin products beside its projection; the dense `W + B A` exists only once training is over and
//! [`merge`] makes it for saving. Names, initialisation and files are PEFT's: [`save_adapter`] writes a folder that
//! `PeftModel.from_pretrained` reads.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::{Deserialize, Serialize};
use serde_json::json;
use thiserror::Error;

use super::CausalLm;
use crate::files::{self, FileError};

/// A projection that can have an adapter, by the last part of its checkpoint key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetModule {
    /// Queries.
    QProj,
    /// Keys.
    KProj,
    /// Values.
    VProj,
    /// Attention's output.
    OProj,
    /// The gate of the MLP.
    GateProj,
    /// The MLP's way in.
    UpProj,
    /// The MLP's way out.
    DownProj,
}

impl TargetModule {
    /// Every projection of a decoder layer.
    pub const ALL: [Self; 7] =
        [Self::QProj, Self::KProj, Self::VProj, Self::OProj, Self::GateProj, Self::UpProj, Self::DownProj];

    /// As in checkpoint keys: `q_proj`.
    pub fn name(self) -> &'static str {
        match self {
            Self::QProj => "q_proj",
            Self::KProj => "k_proj",
            Self::VProj => "v_proj",
            Self::OProj => "o_proj",
            Self::GateProj => "gate_proj",
            Self::UpProj => "up_proj",
            Self::DownProj => "down_proj",
        }
    }
}

/// Which adapters a model is given, with PEFT's names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraConfig {
    /// Inner width of every adapter, ≥ 1. Default 8.
    pub r: usize,
    /// An adapter's output is multiplied by `lora_alpha / r`. Default 16.
    pub lora_alpha: f64,
    /// Which projections get one, in every layer. Default all seven.
    pub target_modules: Vec<TargetModule>,
    /// Decides the initial values. Default 0.
    pub seed: u64,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self { r: 8, lora_alpha: 16.0, target_modules: TargetModule::ALL.to_vec(), seed: 0 }
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
}

impl Lora {
    /// # Shapes
    ///
    /// - `x`: `[n_tokens, d_input]`
    /// - output: `[n_tokens, d_output]`
    pub(super) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let inner = x.matmul(self.lora_a.val().transpose()) * self.scale;
        inner.matmul(self.lora_b.val().transpose())
    }
}

impl CausalLm {
    /// How many projections have an adapter.
    pub fn n_adapters(&self) -> usize {
        self.clone().projections().iter().filter(|(_, projection)| projection.lora.is_some()).count()
    }
}

/// Gives a model adapters that change nothing yet, and freezes everything else: `A` uniform in `±1/√d_input` (Kaiming
/// with `a = √5`, as PEFT), `B` zero. The same seed gives the same numbers on every machine.
///
/// # Errors
///
/// [`LoraError`] for a setting that makes no sense, or a model that has adapters.
pub fn adapt(model: CausalLm, config: &LoraConfig) -> Result<CausalLm, LoraError> {
    let refused = |key, expected, got: String| Err(LoraError::Config { key, expected, got });
    if config.r == 0 {
        return refused("r", "at least 1", config.r.to_string());
    }
    if !config.lora_alpha.is_finite() || config.lora_alpha <= 0.0 {
        return refused("lora_alpha", "a positive number", config.lora_alpha.to_string());
    }
    let targets: BTreeSet<&str> = config.target_modules.iter().map(|target| target.name()).collect();
    if targets.is_empty() {
        return refused("target_modules", "at least one projection", "none".into());
    }
    if model.n_adapters() > 0 {
        return Err(LoraError::AlreadyAdapted);
    }
    let device = model.device();
    let mut model = model.set_require_grad(false);
    let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
    for (key, projection) in model.projections() {
        if !targets.contains(key.rsplit('.').next().unwrap_or_default()) {
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
        projection.weight = Param::from_tensor(weight.clone() + delta.cast(weight.dtype()));
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
    let targets: BTreeSet<&str> = config.target_modules.iter().map(|target| target.name()).collect();
    let adapter = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": config.r,
        "lora_alpha": config.lora_alpha,
        "lora_dropout": 0.0,
        "target_modules": targets,
        "bias": "none",
        "fan_in_fan_out": false,
        "init_lora_weights": true,
        "inference_mode": true,
    });
    files::write_json(&folder.join("adapter_config.json"), &adapter)
}
