//! Sampling: responses of a model to prompts, with a cache of keys and values.
//!
//! Every sample draws from a random stream of its own, numbered by its place in the list, so what one prompt is answered
//! does not depend on which prompts it is computed with. Prompts that are asked several times are read once.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::CausalLm;
use super::cache::{BatchCache, TextCache};
use super::cpu;
use super::steering::Steering;

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

/// Texts that grow together on one core. More share the cost of reading the weights; fewer split better over cores. A
/// constant, so that results do not depend on the machine.
const TEXTS_PER_CORE: usize = 16;

/// Texts that grow together on a GPU.
const TEXTS_PER_BATCH: usize = 64;

/// One response per prompt, without the token that ended it. Prompts are token ids, none of them empty.
///
/// # Panics
///
/// Panics when a prompt is empty.
pub fn generate(model: &CausalLm, prompts: &[Vec<u32>], config: &GenerationConfig) -> Vec<Vec<u32>> {
    generate_steered(model, prompts, config, None)
}

/// As [`generate`], with a vector added to the residual stream while the model reads and speaks. Random numbers are those of
/// an unsteered run.
///
/// # Panics
///
/// Panics when a prompt is empty, or the vector is not as wide as the model.
pub fn generate_steered(
    model: &CausalLm,
    prompts: &[Vec<u32>],
    config: &GenerationConfig,
    steering: Option<&Steering>,
) -> Vec<Vec<u32>> {
    assert!(prompts.iter().all(|prompt| !prompt.is_empty()), "a prompt has at least one token");
    let mut order: Vec<usize> = (0..prompts.len()).collect();
    // Equals beside each other, so that they are read once; little filling, where there is any.
    order.sort_by(|&a, &b| (prompts[a].len(), &prompts[a], a).cmp(&(prompts[b].len(), &prompts[b], b)));
    let samples: Vec<Sample> = order.iter().map(|&i| Sample::new(i, &prompts[i], config.seed)).collect();
    let mut batches: Vec<Vec<Sample>> = Vec::new();
    let on_cpu = cpu::applies(&model.device());
    let batch_size = if on_cpu { TEXTS_PER_CORE } else { TEXTS_PER_BATCH };
    let mut samples = samples.into_iter().peekable();
    while samples.peek().is_some() {
        batches.push(samples.by_ref().take(batch_size).collect());
    }
    if on_cpu {
        batches.par_iter_mut().with_max_len(1).for_each(|batch| grow_texts(model, batch, config, steering));
    } else {
        batches.iter_mut().for_each(|batch| grow_batch(model, batch, config, steering));
    }
    let mut responses = vec![Vec::new(); prompts.len()];
    for sample in batches.into_iter().flatten() {
        responses[sample.index] = sample.response;
    }
    responses
}

struct Sample<'a> {
    index: usize,
    prompt: &'a [u32],
    response: Vec<u32>,
    is_done: bool,
    rng: ChaCha8Rng,
}

impl<'a> Sample<'a> {
    fn new(index: usize, prompt: &'a [u32], seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(index as u64);
        Self { index, prompt, response: Vec::new(), is_done: false, rng }
    }

    /// Draws the next token from its logits.
    fn take(&mut self, logits: &[f32], config: &GenerationConfig) {
        let id = draw(logits, config, &mut self.rng);
        if config.eos_token_ids.contains(&id) {
            self.is_done = true;
        } else {
            self.response.push(id);
            self.is_done = self.response.len() >= config.max_new_tokens;
        }
    }
}

/// Rows of logits from residuals, `[n_rows, d_model]`.
fn logits(model: &CausalLm, hidden: burn::tensor::Tensor<2>) -> (Vec<f32>, usize) {
    let logits = model.logits_of(hidden);
    let vocab_size = logits.dims()[1];
    (logits.into_data_as::<f32>().try_into_vec().expect("converted to f32"), vocab_size)
}

/// On one core: every text with a cache of its own.
fn grow_texts(model: &CausalLm, samples: &mut [Sample], config: &GenerationConfig, steering: Option<&Steering>) {
    let mut caches: Vec<TextCache> = Vec::with_capacity(samples.len());
    let mut first: Option<(&[u32], Vec<f32>)> = None;
    for sample in samples.iter_mut().filter(|_| config.max_new_tokens > 0) {
        // The same prompt as before: its cache and its logits are there.
        if let Some((_, logits)) = first.as_ref().filter(|(prompt, _)| *prompt == sample.prompt) {
            caches.push(caches.last().expect("the prompt was read").clone());
            sample.take(logits, config);
            continue;
        }
        let mut cache = TextCache::default();
        let (logits, _) = logits(model, model.read_text(sample.prompt, &mut cache, steering));
        sample.take(&logits, config);
        first = Some((sample.prompt, logits));
        caches.push(cache);
    }
    loop {
        let (mut open, mut open_caches): (Vec<&mut Sample>, Vec<&mut TextCache>) =
            samples.iter_mut().zip(caches.iter_mut()).filter(|(sample, _)| !sample.is_done).unzip();
        if open.is_empty() {
            return;
        }
        let ids: Vec<u32> = open.iter().map(|sample| *sample.response.last().expect("one was drawn")).collect();
        let (logits, vocab_size) = logits(model, model.read_next(&ids, &mut open_caches, steering));
        for (sample, logits) in open.iter_mut().zip(logits.chunks_exact(vocab_size)) {
            sample.take(logits, config);
        }
    }
}

/// On a GPU: all texts end in the same column, and finished ones are dropped when they are half of the batch.
fn grow_batch(model: &CausalLm, samples: &mut [Sample], config: &GenerationConfig, steering: Option<&Steering>) {
    if config.max_new_tokens == 0 {
        return;
    }
    let lengths: Vec<usize> = samples.iter().map(|sample| sample.prompt.len()).collect();
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let mut cache = BatchCache::new(&lengths, config.max_new_tokens);
    let mut ids: Vec<u32> = Vec::with_capacity(samples.len() * longest);
    for sample in samples.iter() {
        ids.extend(std::iter::repeat_n(0, longest - sample.prompt.len()));
        ids.extend(sample.prompt);
    }
    let mut rows: Vec<usize> = (0..samples.len()).collect();
    loop {
        let (logits, vocab_size) = logits(model, model.read_columns(&ids, &mut cache, steering));
        for (&row, logits) in rows.iter().zip(logits.chunks_exact(vocab_size)) {
            if !samples[row].is_done {
                samples[row].take(logits, config);
            }
        }
        let open: Vec<usize> = (0..rows.len()).filter(|&i| !samples[rows[i]].is_done).collect();
        if open.is_empty() {
            return;
        }
        if open.len() * 2 <= rows.len() {
            cache.select(&open, &model.device());
            rows = open.iter().map(|&i| rows[i]).collect();
        }
        // A finished text that is still in the batch goes on with any token; nobody looks at it.
        ids = rows.iter().map(|&row| samples[row].response.last().copied().unwrap_or(0)).collect();
    }
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
    use serde_json::json;

    use super::*;
    use crate::device::{self, DeviceChoice};
    use crate::model::ModelConfig;
    use crate::model::checkpoint::RandomParameters;

    fn config(temperature: f32, top_p: f32) -> GenerationConfig {
        GenerationConfig { temperature, top_p, max_new_tokens: 6, eos_token_ids: vec![0], seed: 5 }
    }

    fn model() -> CausalLm {
        let config = json!({
            "model_type": "olmo2", "vocab_size": 16, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2,
            "num_attention_heads": 2,
        });
        let config = ModelConfig::from_json(&config, std::path::Path::new("config.json")).unwrap();
        let device = device::open(DeviceChoice::Cpu).unwrap().device;
        CausalLm::build(&mut RandomParameters::new(1, 0.5), &config, &device)
    }

    /// Greedy sampling without a cache: the whole text is read again for every token.
    fn without_cache(model: &CausalLm, prompt: &[u32], config: &GenerationConfig) -> Vec<u32> {
        let mut ids = prompt.to_vec();
        while ids.len() < prompt.len() + config.max_new_tokens {
            let tokens: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
            let tokens = burn::tensor::TensorData::new(tokens, [1, ids.len()]);
            let all = model.logits(burn::tensor::Tensor::from_data(tokens, &model.device()));
            let vocab_size = all.dims()[2];
            let all = all.into_data_as::<f32>().try_into_vec::<f32>().unwrap();
            let id = draw(&all[all.len() - vocab_size..], config, &mut ChaCha8Rng::seed_from_u64(0));
            if config.eos_token_ids.contains(&id) {
                break;
            }
            ids.push(id);
        }
        ids.split_off(prompt.len())
    }

    #[test]
    fn a_cache_changes_nothing() {
        let model = model();
        let config = GenerationConfig { max_new_tokens: 20, eos_token_ids: vec![10], ..config(0.0, 1.0) };
        let prompts: Vec<Vec<u32>> = (0..20).map(|i| (0..=i % 9).map(|t| (3 * i + t) % 16).collect()).collect();
        let responses = generate(&model, &prompts, &config);
        for (prompt, response) in prompts.iter().zip(&responses) {
            assert_eq!(*response, without_cache(&model, prompt, &config), "{prompt:?}");
        }
        assert!(responses.iter().any(|r| r.len() == 20) && responses.iter().any(|r| r.len() < 20), "{responses:?}");
    }

    #[test]
    fn no_token_asked_for_is_no_token() {
        let config = GenerationConfig { max_new_tokens: 0, ..config(0.0, 1.0) };
        assert_eq!(generate(&model(), &[vec![1, 2]], &config), [Vec::<u32>::new()]);
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
