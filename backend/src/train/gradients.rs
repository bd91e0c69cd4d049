//! Gradients by checkpoint key: taken from a model's replica, added up over parts and batches, clipped.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DType, Gradients as Recorded, Tensor};

use crate::device;
use crate::model::CausalLm;
use crate::model::checkpoint::KeyPath;

/// Gradients of a loss with respect to a model's trained weights, by checkpoint key.
#[derive(Debug, Clone, Default)]
pub struct Gradients {
    /// Flattened, row-major, f32; off the gradient graph.
    by_key: BTreeMap<String, Tensor<1>>,
}

impl Gradients {
    /// Takes the gradients of a model's weights out of what a backward pass recorded.
    pub fn take(recorded: &mut Recorded, model: &CausalLm) -> Self {
        struct Taker<'a> {
            recorded: &'a mut Recorded,
            path: KeyPath,
            by_key: BTreeMap<String, Tensor<1>>,
        }
        impl ModuleVisitor for Taker<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if let Some(gradient) = param.val().grad_remove(self.recorded) {
                    let n_values = gradient.shape().num_elements();
                    self.by_key.insert(self.path.key(), gradient.reshape([n_values]).cast(DType::F32));
                }
            }
            fn enter_module(&mut self, name: &str, container_type: &str) {
                self.path.enter(name, container_type);
            }
            fn exit_module(&mut self, _name: &str, _container_type: &str) {
                self.path.leave();
            }
        }
        let mut taker = Taker { recorded, path: KeyPath::default(), by_key: BTreeMap::new() };
        model.visit(&mut taker);
        Self { by_key: taker.by_key }
    }

    /// Keys of the weights that have a gradient.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.by_key.keys().map(String::as_str)
    }

    /// A weight's gradient, flattened.
    pub fn get(&self, key: &str) -> Option<&Tensor<1>> {
        self.by_key.get(key)
    }

    /// Takes a weight's gradient out.
    pub(super) fn remove(&mut self, key: &str) -> Option<Tensor<1>> {
        self.by_key.remove(key)
    }

    /// Adds another loss's gradients.
    pub fn add(&mut self, other: Self) {
        for (key, gradient) in other.by_key {
            let sum = match self.by_key.remove(&key) {
                Some(sum) => sum + gradient,
                None => gradient,
            };
            self.by_key.insert(key, sum);
        }
    }

    /// The Euclidean norm of all gradients together; NaN or infinite when any of them is.
    pub fn norm(&self) -> f64 {
        self.by_key.values().map(sum_of_squares).sum::<f64>().sqrt()
    }

    /// Multiplies every gradient by the same factor so that their joint norm, which is `norm`, becomes at most `max_norm`.
    pub(super) fn clip(&mut self, norm: f64, max_norm: f64) {
        // As torch.nn.utils.clip_grad_norm_ has it, small term included.
        let factor = max_norm / (norm + 1e-6);
        if factor < 1.0 {
            for gradient in self.by_key.values_mut() {
                *gradient = gradient.clone() * factor;
            }
        }
    }
}

fn sum_of_squares(gradient: &Tensor<1>) -> f64 {
    if !device::is_cpu(&gradient.device()) {
        return f64::from(gradient.clone().square().sum().into_scalar::<f32>());
    }
    // Summed here, in lanes: a device may sum in an order that depends on its threads.
    const LANES: usize = 8;
    let data = gradient.clone().into_data();
    let values = data.as_slice::<f32>().expect("gradients on the CPU are f32");
    let mut sums = [0f64; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            sums[lane] += f64::from(chunk[lane]) * f64::from(chunk[lane]);
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>()
}
