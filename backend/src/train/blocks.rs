//! The way back with less memory: of the way there only the input of every layer is kept, and each layer is computed
//! again when its turn comes (Chen et al. 2016, arXiv 1604.06174).
//!
//! ```text
//! there, no gradients:  tokens ─► x₀ ─► layer 1 ─► x₁ ─► … ─► x_L ─► log-probabilities ─► loss
//! back:                 loss ─► ∂/∂log-probabilities ─► head again ─► ∂/∂x_L ─► layer L again ─► … ─► ∂/∂x₀ ─► embedding
//! ```
//!
//! Each arrow on the way back is a graph of its own whose input is a leaf: `∂/∂input` of `Σ output · ∂/∂output` is what the
//! next arrow is given.

use burn::module::Module;
use burn::tensor::{IndexingUpdateOp, Tensor};

use super::sequences::{Padded, target_logps};
use super::{Computed, Gradients, Objective, Part, PartLoss};
use crate::model::CausalLm;

/// Positions whose logits are held at once on the way back.
const HEAD_ROWS: usize = 512;

/// Loss and gradients of a part.
pub fn compute(model: &CausalLm, objective: &dyn Objective, part: Part) -> Computed {
    let padded = Padded::of(&objective.sequences(part.rows));
    let device = model.device();
    let mut inputs = Vec::with_capacity(model.n_layers());
    let residual = {
        let pass = model.pass(&padded.rows, padded.seq_len);
        (0..model.n_layers()).fold(model.embed(padded.tokens(&device)), |x, layer| {
            inputs.push(x.clone());
            model.forward_layer(layer, x, &pass)
        })
    };
    let shape = residual.shape();
    let hidden = residual.select(0, padded.positions(&device));

    let logps = model.logps_of(&hidden, &padded.targets).autodiff().require_grad();
    let PartLoss { loss, preferences } = objective.loss(part, logps.clone());
    let value = f64::from(loss.clone().into_scalar::<f32>());
    let mut recorded = loss.backward();
    let slope = logps.grad_remove(&mut recorded).expect("the loss depends on log-probabilities");

    let replica = model.clone().train();
    let mut gradients = Gradients::default();
    let mut slopes = Vec::new();
    for (i, targets) in padded.targets.chunks(HEAD_ROWS).enumerate() {
        let input = hidden.clone().narrow(0, i * HEAD_ROWS, targets.len()).autodiff().require_grad();
        let output = target_logps(&replica, input.clone(), targets);
        let slope = slope.clone().narrow(0, i * HEAD_ROWS, targets.len());
        slopes.push(back(&replica, &input, output, slope, &mut gradients));
    }
    let zeros = Tensor::<2>::zeros(shape, &device);
    let mut slope = zeros.select_assign(0, padded.positions(&device), Tensor::cat(slopes, 0), IndexingUpdateOp::Add);
    let pass = replica.pass(&padded.rows, padded.seq_len);
    while let Some(input) = inputs.pop() {
        let input = input.autodiff().require_grad();
        let output = replica.forward_layer(inputs.len(), input.clone(), &pass);
        slope = back(&replica, &input, output, slope, &mut gradients);
    }
    let embedded = replica.embed(padded.tokens(&replica.device()));
    // Adapters leave the embedding as it is.
    if embedded.is_tracked() {
        let mut recorded = (embedded * slope.autodiff()).sum().backward();
        gradients.add(Gradients::take(&mut recorded, &replica));
    }
    Computed { loss: value, gradients, preferences }
}

/// From `∂loss/∂output` to `∂loss/∂input`; what the loss's slope in weights gains on the way is added to `gradients`.
fn back<const D: usize, const E: usize>(
    replica: &CausalLm,
    input: &Tensor<D>,
    output: Tensor<E>,
    slope: Tensor<E>,
    gradients: &mut Gradients,
) -> Tensor<D> {
    let mut recorded = (output * slope.autodiff()).sum().backward();
    gradients.add(Gradients::take(&mut recorded, replica));
    input.grad_remove(&mut recorded).expect("the output depends on its input")
}
