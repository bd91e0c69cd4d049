//! AdamW (Loshchilov & Hutter 2017, arXiv 1711.05101) with PyTorch's arithmetic and a state that can be stored by
//! checkpoint key.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;

use super::TrainConfig;
use super::gradients::Gradients;
use crate::device;
use crate::model::CausalLm;
use crate::model::checkpoint::KeyPath;

/// Values that one thread updates at once.
const CHUNK: usize = 1 << 14;

/// What the optimizer remembers of one weight: running averages, flattened, `[n_values]` each.
#[derive(Debug, Clone)]
pub struct Moments {
    /// Of the gradient (torch's `exp_avg`).
    pub first: Tensor<1>,
    /// Of the squared gradient (torch's `exp_avg_sq`).
    pub second: Tensor<1>,
}

/// The optimizer and its state.
#[derive(Debug, Clone)]
pub struct AdamW {
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    weight_decay: f64,
    /// Steps taken.
    pub(super) n_steps: usize,
    /// By checkpoint key; a weight without a gradient so far has none.
    pub(super) moments: BTreeMap<String, Moments>,
}

/// The numbers of one step that all weights share.
#[derive(Debug, Clone, Copy)]
struct Step {
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    /// `1 − learning rate · weight decay`.
    keep: f32,
    /// `learning rate / (1 − beta1ⁿ)`.
    size: f32,
    /// `1 / √(1 − beta2ⁿ)`.
    correction: f32,
}

impl AdamW {
    /// An optimizer that has seen nothing yet.
    pub fn new(config: &TrainConfig) -> Self {
        Self {
            beta1: config.adam_beta1,
            beta2: config.adam_beta2,
            epsilon: config.adam_epsilon,
            weight_decay: config.weight_decay,
            n_steps: 0,
            moments: BTreeMap::new(),
        }
    }

    /// What is remembered of a weight.
    pub fn moments(&self, key: &str) -> Option<&Moments> {
        self.moments.get(key)
    }

    /// Moves every weight that has a gradient against it.
    pub fn step(&mut self, learning_rate: f64, model: CausalLm, gradients: Gradients) -> CausalLm {
        self.n_steps += 1;
        let n = self.n_steps as i32;
        let step = Step {
            beta1: self.beta1 as f32,
            beta2: self.beta2 as f32,
            epsilon: self.epsilon as f32,
            keep: (1.0 - learning_rate * self.weight_decay) as f32,
            size: (learning_rate / (1.0 - self.beta1.powi(n))) as f32,
            correction: (1.0 / (1.0 - self.beta2.powi(n)).sqrt()) as f32,
        };
        let mut updater = Updater { step, gradients, moments: &mut self.moments, path: KeyPath::default() };
        model.map(&mut updater)
    }
}

struct Updater<'a> {
    step: Step,
    gradients: Gradients,
    moments: &'a mut BTreeMap<String, Moments>,
    path: KeyPath,
}

impl ModuleMapper for Updater<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let key = self.path.key();
        let Some(gradient) = self.gradients.remove(&key) else { return param };
        let moments = self
            .moments
            .remove(&key)
            .unwrap_or_else(|| Moments { first: gradient.zeros_like(), second: gradient.zeros_like() });
        let step = self.step;
        param.map(|weight| {
            let (weight, moments) = if device::is_cpu(&weight.device()) {
                step.apply_on_cpu(weight, gradient, moments)
            } else {
                step.apply(weight, gradient, moments)
            };
            self.moments.insert(key, moments);
            weight
        })
    }
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }
    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.leave();
    }
}

impl Step {
    fn apply<const D: usize>(self, weight: Tensor<D>, gradient: Tensor<1>, moments: Moments) -> (Tensor<D>, Moments) {
        let first = moments.first * self.beta1 + gradient.clone() * (1.0 - self.beta1);
        let second = moments.second * self.beta2 + gradient.square() * (1.0 - self.beta2);
        let denominator = second.clone().sqrt() * self.correction + self.epsilon;
        let update = (first.clone() / denominator * self.size).reshape(weight.shape());
        (weight * self.keep - update, Moments { first, second })
    }

    /// The same in one pass over memory.
    fn apply_on_cpu<const D: usize>(
        self,
        weight: Tensor<D>,
        gradient: Tensor<1>,
        moments: Moments,
    ) -> (Tensor<D>, Moments) {
        let device = weight.device();
        let mut data = [weight.into_data(), moments.first.into_data(), moments.second.into_data()];
        let gradient = gradient.into_data();
        let [w, m, v] = data.each_mut().map(floats);
        let g = gradient.as_slice::<f32>().expect("gradients on the CPU are f32");
        let chunks = w.par_chunks_mut(CHUNK).zip(m.par_chunks_mut(CHUNK)).zip(v.par_chunks_mut(CHUNK));
        chunks.zip(g.par_chunks(CHUNK)).for_each(|(((w, m), v), g)| {
            for (((w, m), v), g) in w.iter_mut().zip(m).zip(v).zip(g) {
                *m = *m * self.beta1 + *g * (1.0 - self.beta1);
                *v = *v * self.beta2 + *g * *g * (1.0 - self.beta2);
                let denominator = v.sqrt() * self.correction + self.epsilon;
                *w = *w * self.keep - *m / denominator * self.size;
            }
        });
        let [weight, first, second] = data;
        let moments = Moments { first: Tensor::from_data(first, &device), second: Tensor::from_data(second, &device) };
        (Tensor::from_data(weight, &device), moments)
    }
}

fn floats(data: &mut TensorData) -> &mut [f32] {
    data.as_mut_slice::<f32>().expect("trained weights on the CPU are f32")
}
