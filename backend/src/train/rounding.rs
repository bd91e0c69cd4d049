//! Training in half precision with f32 master weights (Micikevicius et al. 2017, arXiv 1710.03740): losses and gradients
//! are those of the rounded weights, the optimizer moves the f32 ones, and every step rounds them anew.
//!
//! ```text
//! master weights f32 ─► rounded weights ─► loss ─► gradients f32 ─► AdamW, moments f32 ─► master weights f32
//! ```
//!
//! What is saved in the end are the rounded weights: the model that losses were computed with, and the one that is
//! measured. Where a device computes bf16, matrix products with weights are done in it. The CPU's kernels (burn-flex 0.22)
//! widen every bf16 operand to f32, multiply, and round the product, which is slower than f32 and gains nothing: there
//! only the weights are rounded, and everything is computed in f32. f16 is computed in f32 everywhere: its range is too
//! small for gradients without scaling the loss.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};
use half::{bf16, f16};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::device;
use crate::model::CausalLm;
use crate::model::checkpoint::KeyPath;

/// Values that one thread rounds at once.
const CHUNK: usize = 1 << 14;

/// What the weights of a model in training are rounded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weights {
    /// They are not.
    #[default]
    F32,
    /// 8 bits of precision, the range of f32.
    Bf16,
    /// 11 bits of precision, up to 65504.
    F16,
}

impl Weights {
    /// Whether nothing is rounded.
    pub fn is_f32(&self) -> bool {
        *self == Self::F32
    }

    /// As files have it.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
            Self::F16 => DType::F16,
        }
    }

    /// The type that matrix products with the weights are computed in.
    pub fn computed_on(self, device: &Device) -> DType {
        let is_native = self == Self::Bf16 && !device::is_cpu(device) && device.supports_dtype(DType::BF16);
        if is_native { DType::BF16 } else { DType::F32 }
    }

    /// For people: what is rounded and what is computed in which type.
    pub fn remark(self, device: &Device) -> Option<String> {
        let name = self.dtype().name();
        let computed = match (self, self.computed_on(device)) {
            (Self::F32, _) => return None,
            (_, DType::BF16) => "matrix products with them are computed in it",
            (Self::F16, _) => "everything is computed in f32, as gradients need its range",
            _ if device::is_cpu(device) => "everything is computed in f32, which the CPU does faster",
            _ => "everything is computed in f32, as this device computes nothing else",
        };
        Some(format!("weights are rounded to {name} after every step, from f32 master weights; {computed}"))
    }
}

/// The model with every weight rounded, adapters apart; matrices are then of type `computed`, F32 or the rounded one.
pub fn rounded(model: CausalLm, weights: Weights, computed: DType) -> CausalLm {
    if weights.is_f32() {
        return model;
    }
    model.map(&mut Rounder { weights, computed, path: KeyPath::default() })
}

struct Rounder {
    weights: Weights,
    computed: DType,
    path: KeyPath,
}

impl ModuleMapper for Rounder {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.path.key().contains(".lora.") {
            return param;
        }
        // As in a loaded model: vectors are always f32.
        let computed = if D == 1 { DType::F32 } else { self.computed };
        param.map(|weight| match device::is_cpu(&weight.device()) {
            true => self.weights.round_on_cpu(weight).cast(computed),
            false => weight.cast(self.weights.dtype()).cast(computed),
        })
    }
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }
    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.leave();
    }
}

impl Weights {
    /// In one pass over memory.
    fn round_on_cpu<const D: usize>(self, weight: Tensor<D>) -> Tensor<D> {
        let device = weight.device();
        let mut data: TensorData = weight.into_data();
        let values = data.as_mut_slice::<f32>().expect("trained weights on the CPU are f32");
        values.par_chunks_mut(CHUNK).for_each(|values| match self {
            Self::F32 => {}
            Self::Bf16 => values.iter_mut().for_each(|x| *x = bf16::from_f32(*x).to_f32()),
            Self::F16 => values.iter_mut().for_each(|x| *x = f16::from_f32(*x).to_f32()),
        });
        Tensor::from_data(data, &device)
    }
}
