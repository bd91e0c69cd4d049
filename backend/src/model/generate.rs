//! Sampling: responses of a model to prompts.
//!
//! Every sample draws from a random stream of its own, numbered by its place in the list, so what one prompt is answered
//! does not depend on which prompts it is computed with.

use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::Olmo2ForCausalLM;

/// How to sample, with transformers' names.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct GenerationConfig {
    /// Divides the logits; 0 = greedy.
    pub temperature: f32,
    /// Only the most probable tokens that together have this probability are drawn from; 1 = all.
    pub top_p: f32,
    /// Most tokens in a response.
    pub max_new_tokens: usize,
    /// Ends a response; not part of it.
    pub eos_token_ids: Vec<u32>,
    /// Decides what is drawn.
    pub seed: u64,
}

/// Prompts computed together. More share the cost of an operation; fewer pad less and split better over cores.
const BATCH_SIZE: usize = 32;

/// One response per prompt, without the end-of-turn token. Prompts are token ids, none of them empty.
///
/// # Panics
///
/// Panics when a prompt is empty.
pub fn generate(model: &Olmo2ForCausalLM, prompts: &[Vec<u32>], config: &GenerationConfig) -> Vec<Vec<u32>> {
    assert!(prompts.iter().all(|prompt| !prompt.is_empty()), "a prompt has at least one token");
    let mut order: Vec<usize> = (0..prompts.len()).collect();
    order.sort_by_key(|&i| prompts[i].len());
    let batches: Vec<Vec<Sample>> = order
        .par_chunks(BATCH_SIZE)
        .map(|indices| {
            let start = |&i: &usize| {
                let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
                rng.set_stream(i as u64);
                Sample { index: i, ids: prompts[i].clone(), n_prompt: prompts[i].len(), is_done: false, rng }
            };
            let mut samples: Vec<Sample> = indices.iter().map(start).collect();
            for _ in 0..config.max_new_tokens {
                if !extend(model, &mut samples, config) {
                    break;
                }
            }
            samples
        })
        .collect();
    let mut responses = vec![Vec::new(); prompts.len()];
    for mut sample in batches.into_iter().flatten() {
        responses[sample.index] = sample.ids.split_off(sample.n_prompt);
    }
    responses
}

struct Sample {
    index: usize,
    ids: Vec<u32>,
    n_prompt: usize,
    is_done: bool,
    rng: ChaCha8Rng,
}

/// Appends one token to every unfinished sample; false when all are finished.
fn extend(model: &Olmo2ForCausalLM, samples: &mut [Sample], config: &GenerationConfig) -> bool {
    let mut open: Vec<&mut Sample> = samples.iter_mut().filter(|sample| !sample.is_done).collect();
    let Some(seq_len) = open.iter().map(|sample| sample.ids.len()).max() else { return false };
    let device = model.devices().remove(0);
    let mut tokens = vec![0i32; open.len() * seq_len];
    let mut last = Vec::with_capacity(open.len());
    for (row, sample) in open.iter().enumerate() {
        for (token, &id) in tokens[row * seq_len..].iter_mut().zip(&sample.ids) {
            *token = id as i32;
        }
        last.push((row * seq_len + sample.ids.len() - 1) as i32);
    }
    let tokens = Tensor::<2, Int>::from_data(TensorData::new(tokens, [open.len(), seq_len]), &device);
    let last = Tensor::<1, Int>::from_data(TensorData::new(last, [open.len()]), &device);
    let hidden = model.hidden_states(tokens, &[model.n_layers()]).remove(0);
    let [batch_size, _, d_model] = hidden.dims();
    let logits = model.logits_of(hidden.reshape([batch_size * seq_len, d_model]).select(0, last));
    let vocab_size = logits.dims()[1];
    let logits = logits.into_data_as::<f32>();
    let logits = logits.as_slice::<f32>().expect("converted to f32");
    for (sample, logits) in open.iter_mut().zip(logits.chunks_exact(vocab_size)) {
        let id = draw(logits, config, &mut sample.rng);
        if config.eos_token_ids.contains(&id) {
            sample.is_done = true;
        } else {
            sample.ids.push(id);
        }
    }
    true
}

/// Draws one token id. Ties are broken by the lower id.
fn draw(logits: &[f32], config: &GenerationConfig, rng: &mut ChaCha8Rng) -> u32 {
    let by_logit = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    let ids = 0..logits.len() as u32;
    let best = ids.clone().min_by(by_logit).unwrap_or(0);
    if config.temperature <= 0.0 {
        return best;
    }
    let highest = f64::from(logits[best as usize]);
    let weight = |id: u32| ((f64::from(logits[id as usize]) - highest) / f64::from(config.temperature)).exp();
    let mut candidates: Vec<u32> = ids.collect();
    let mut total: f64 = candidates.iter().map(|&id| weight(id)).sum();
    if config.top_p < 1.0 {
        candidates.sort_unstable_by(by_logit);
        let enough = f64::from(config.top_p) * total;
        let mut mass = 0.0;
        // The token that crosses the threshold still belongs.
        let n_kept = candidates
            .iter()
            .position(|&id| {
                mass += weight(id);
                mass >= enough
            })
            .map_or(candidates.len(), |i| i + 1);
        candidates.truncate(n_kept);
        total = candidates.iter().map(|&id| weight(id)).sum();
    }
    let mut point = (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64 * total;
    for &id in &candidates {
        point -= weight(id);
        if point < 0.0 {
            return id;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{self, DeviceChoice};
    use crate::model::Olmo2Config;
    use crate::model::checkpoint::RandomParameters;

    fn config(temperature: f32, top_p: f32) -> GenerationConfig {
        GenerationConfig { temperature, top_p, max_new_tokens: 6, eos_token_ids: vec![0], seed: 5 }
    }

    fn model() -> Olmo2ForCausalLM {
        let config = Olmo2Config {
            vocab_size: 16,
            hidden_size: 8,
            intermediate_size: 16,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            num_key_value_heads: 2,
            head_dim: 4,
            max_position_embeddings: 64,
            rms_norm_eps: 1e-6,
            rope_theta: 10000.0,
            tie_word_embeddings: false,
            eos_token_ids: vec![0],
            bos_token_id: Some(0),
            pad_token_id: None,
        };
        let device = device::open(DeviceChoice::Cpu).unwrap().device;
        Olmo2ForCausalLM::build(&mut RandomParameters::new(1, 0.5), &config, &device)
    }

    #[test]
    fn the_same_seed_gives_the_same_samples_and_another_seed_others() {
        let (model, prompts) = (model(), vec![vec![1, 2, 3]; 8]);
        let first = generate(&model, &prompts, &config(1.0, 1.0));
        assert_eq!(first, generate(&model, &prompts, &config(1.0, 1.0)));
        assert_ne!(first, generate(&model, &prompts, &GenerationConfig { seed: 6, ..config(1.0, 1.0) }));
        assert!(first.iter().any(|response| *response != first[0]), "samples of one prompt differ: {first:?}");
    }

    #[test]
    fn what_a_prompt_is_answered_does_not_depend_on_its_neighbors() {
        let model = model();
        let prompts: Vec<Vec<u32>> = (0..40).map(|i| (0..=i % 7).map(|t| 1 + (i + t) % 15).collect()).collect();
        let together = generate(&model, &prompts, &config(0.0, 1.0));
        for (prompt, response) in prompts.iter().zip(&together) {
            assert_eq!(
                generate(&model, std::slice::from_ref(prompt), &config(0.0, 1.0)),
                std::slice::from_ref(response)
            );
        }
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let logits = [0.0, 2f32.ln(), f32::NEG_INFINITY, 5f32.ln()];
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut counts = [0i32; 4];
        for _ in 0..8000 {
            counts[draw(&logits, &config(1.0, 1.0), &mut rng) as usize] += 1;
        }
        for (count, expected) in counts.iter().zip([1000, 2000, 0, 5000]) {
            assert!((count - expected).abs() < 200, "{counts:?}");
        }
    }

    #[test]
    fn greedy_and_small_top_p_take_the_most_probable_token() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        for _ in 0..100 {
            assert_eq!(draw(&[0.0, 3.0, 3.0, 1.0], &config(0.0, 1.0), &mut rng), 1, "ties go to the lower id");
            assert_eq!(draw(&[0.0, 3.0, 2.9, 1.0], &config(1.0, 0.3), &mut rng), 1);
        }
    }
}
