//! Steering: a vector added to the residual stream while a model generates, to see whether a direction brings a behavior about.
//! Used by [`super::generate`], below `whence sweep`.
//!
//! The vector is added after block ℓ (0 = after the embedding), to every position whose logits a response token is drawn
//! from: the last token of the prompt and every generated token. On request it is added to the rest of the prompt as well.
//! What later layers and later tokens see is the changed stream, through the cache of keys and values too.

use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::files;

/// Which positions a vector is added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Positions {
    /// The last token of the prompt, which the first response token is drawn from, and every generated token.
    #[default]
    Response,
    /// Every token of prompt and response.
    All,
}

impl Positions {
    /// `response` or `all`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Response => "response",
            Self::All => "all",
        }
    }
}

/// A vector, and where to add it.
#[derive(Debug, Clone)]
pub struct Steering {
    layer: usize,
    positions: Positions,
    /// `[d_model]`.
    vector: Tensor<1>,
    sha256: String,
}

impl Steering {
    /// Adds `vector`, `[d_model]`, after block `layer`.
    pub fn new(layer: usize, vector: &[f32], positions: Positions, device: &Device) -> Self {
        let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
        let data = TensorData::new(vector.to_vec(), [vector.len()]);
        Self { layer, positions, vector: Tensor::from_data(data, device), sha256: files::sha256(&bytes) }
    }

    /// The layer after which it is added, 0 = embeddings.
    pub fn layer(&self) -> usize {
        self.layer
    }

    /// Where it is added.
    pub fn positions(&self) -> Positions {
        self.positions
    }

    /// SHA-256 of the vector, as little-endian f32.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The stream after layer `layer`, with the vector where it belongs. `x` holds the new tokens of `n_texts` texts, as many
    /// of each: first those of the prompt, which end in the same column, then one at a time.
    ///
    /// # Shapes
    ///
    /// - `x`, output: `[n_texts · n_new, d_model]`, text by text
    pub(super) fn add(&self, layer: usize, x: Tensor<2>, n_texts: usize) -> Tensor<2> {
        if layer != self.layer {
            return x;
        }
        let [n_tokens, d_model] = x.dims();
        let n_new = n_tokens / n_texts;
        if n_new == 1 || self.positions == Positions::All {
            return x + self.vector.clone().unsqueeze();
        }
        let x = x.reshape([n_texts, n_new, d_model]);
        let last = x.clone().narrow(1, n_new - 1, 1) + self.vector.clone().unsqueeze();
        Tensor::cat(vec![x.narrow(1, 0, n_new - 1), last], 1).reshape([n_tokens, d_model])
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Int;
    use serde_json::json;

    use super::*;
    use crate::device::{self, DeviceChoice};
    use crate::model::checkpoint::RandomParameters;
    use crate::model::generate::{GenerationConfig, generate, generate_steered};
    use crate::model::{CausalLm, ModelConfig};

    const N_LAYERS: usize = 3;
    const D_MODEL: usize = 8;
    const POSITIONS: [Positions; 2] = [Positions::Response, Positions::All];

    /// The CPU, and a GPU or its stand-in where there is one.
    fn devices() -> Vec<Device> {
        let open = |choice| device::open(choice).map(|opened| opened.device);
        let gpu = open(DeviceChoice::Wgpu).map_err(|error| eprintln!("skipped: {error}")).ok();
        [open(DeviceChoice::Cpu).unwrap()].into_iter().chain(gpu).collect()
    }

    fn model(device: &Device) -> CausalLm {
        let config = json!({
            "model_type": "olmo2", "vocab_size": 16, "hidden_size": D_MODEL, "intermediate_size": 16,
            "num_hidden_layers": N_LAYERS, "num_attention_heads": 2,
        });
        let config = ModelConfig::from_json(&config, std::path::Path::new("config.json")).unwrap();
        CausalLm::build(&mut RandomParameters::new(1, 0.5), &config, device)
    }

    fn vector() -> Vec<f32> {
        (0..D_MODEL).map(|i| 2.0 * (i as f32 * 1.7 + 0.4).sin()).collect()
    }

    fn greedy(max_new_tokens: usize) -> GenerationConfig {
        GenerationConfig { temperature: 0.0, top_p: 1.0, max_new_tokens, eos_token_ids: vec![0], seed: 5 }
    }

    fn prompts() -> Vec<Vec<u32>> {
        (0..20).map(|i| (0..=i % 6).map(|t| 1 + (5 * i + t) % 15).collect()).collect()
    }

    fn tokens(ids: &[u32], device: &Device) -> Tensor<2, Int> {
        let ids: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
        Tensor::from_data(TensorData::new(ids.clone(), [1, ids.len()]), device)
    }

    fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        x.into_data_as::<f32>().try_into_vec().unwrap()
    }

    /// Adds the vector by itself to the columns from `first` on, in a pass over a whole text.
    fn states(model: &CausalLm, ids: &[u32], steering: &Steering, first: usize, layers: &[usize]) -> Vec<Vec<f32>> {
        let hook = |layer: usize, x: Tensor<2>| {
            if layer != steering.layer {
                return x;
            }
            let mut all = values(x.clone());
            for row in all.chunks_exact_mut(D_MODEL).skip(first) {
                row.iter_mut().zip(values(steering.vector.clone())).for_each(|(x, v)| *x += v);
            }
            Tensor::from_data(TensorData::new(all, x.dims()), &x.device())
        };
        model.hooked_states(tokens(ids, &model.device()), layers, Some(&hook)).into_iter().map(values).collect()
    }

    #[test]
    fn a_zero_vector_changes_no_token() {
        for device in devices() {
            let model = model(&device);
            for (layer, positions) in [(0, Positions::All), (2, Positions::Response), (N_LAYERS, Positions::All)] {
                let steering = Steering::new(layer, &[0.0; D_MODEL], positions, &device);
                for temperature in [0.0, 1.0] {
                    let config = GenerationConfig { temperature, ..greedy(12) };
                    let steered = generate_steered(&model, &prompts(), &config, Some(&steering));
                    assert_eq!(steered, generate(&model, &prompts(), &config), "layer {layer}, {temperature}");
                }
            }
        }
    }

    #[test]
    fn the_stream_differs_by_the_vector_at_its_layer_and_nowhere_before() {
        let device = devices().remove(0);
        let model = model(&device);
        let ids = [3, 1, 4, 1, 5, 9];
        let all: Vec<usize> = (0..=N_LAYERS).collect();
        let plain: Vec<Vec<f32>> = model.hidden_states(tokens(&ids, &device), &all).into_iter().map(values).collect();
        for layer in 0..=N_LAYERS {
            for positions in POSITIONS {
                let steering = Steering::new(layer, &vector(), positions, &device);
                let hook = |layer, x| steering.add(layer, x, 1);
                let steered = model.hooked_states(tokens(&ids, &device), &all, Some(&hook));
                let steered: Vec<Vec<f32>> = steered.into_iter().map(values).collect();
                assert_eq!(steered[..layer], plain[..layer], "below layer {layer}");
                for (i, (got, plain)) in steered[layer].iter().zip(&plain[layer]).enumerate() {
                    let is_steered = positions == Positions::All || i / D_MODEL == ids.len() - 1;
                    let expected = if is_steered { plain + vector()[i % D_MODEL] } else { *plain };
                    assert_eq!(*got, expected, "layer {layer}, {positions:?}, element {i}");
                }
                assert!((layer + 1..=N_LAYERS).all(|above| steered[above] != plain[above]), "and above it shows");
            }
        }
    }

    #[test]
    fn with_a_cache_every_position_is_steered_as_in_a_whole_pass() {
        for device in devices() {
            let model = model(&device);
            for layer in [0, 1, N_LAYERS] {
                for positions in POSITIONS {
                    let steering = Steering::new(layer, &vector(), positions, &device);
                    let steered = generate_steered(&model, &prompts(), &greedy(10), Some(&steering));
                    for (prompt, response) in prompts().iter().zip(&steered) {
                        let first = if positions == Positions::All { 0 } else { prompt.len() - 1 };
                        let mut ids = prompt.clone();
                        while ids.len() < prompt.len() + 10 {
                            let hidden = states(&model, &ids, &steering, first, &[N_LAYERS]).remove(0);
                            let last = hidden[hidden.len() - D_MODEL..].to_vec();
                            let last = Tensor::from_data(TensorData::new(last, [1, D_MODEL]), &device);
                            let logits = values(model.logits_of(last));
                            let best =
                                (0..logits.len()).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
                            if best == 0 {
                                break;
                            }
                            ids.push(best as u32);
                        }
                        assert_eq!(*response, ids[prompt.len()..], "layer {layer}, {positions:?}, {prompt:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_a_steered_prompt_is_answered_does_not_depend_on_its_neighbors() {
        for device in devices() {
            let model = model(&device);
            for positions in POSITIONS {
                let steering = Steering::new(2, &vector(), positions, &device);
                let together = generate_steered(&model, &prompts(), &greedy(10), Some(&steering));
                for (prompt, response) in prompts().iter().zip(&together) {
                    let alone = generate_steered(&model, std::slice::from_ref(prompt), &greedy(10), Some(&steering));
                    assert_eq!(alone, std::slice::from_ref(response));
                }
                assert_ne!(together, generate(&model, &prompts(), &greedy(10)), "the vector does something");
            }
        }
    }
}
