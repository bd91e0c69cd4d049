//! Random models in Hugging Face form, of any size, and random pairs: what benchmarks read on both sides.
//!
//! Written without the backend's own types, so that nothing a benchmark compares is made by what it measures. Seeded: the
//! same call gives the same bytes.

use std::fs;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;
use whence_shared::pair::{Message, Pair};

use crate::fixture;

/// The size of a model of the OLMo 2 architecture.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Decoder layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Query, key and value heads.
    pub heads: usize,
    /// Inner width of the MLP.
    pub intermediate: usize,
    /// Rows of the embedding and of the output projection.
    pub vocab: usize,
}

/// Knuth's 64-bit linear congruential generator; its upper bits are good enough for weights, words and lengths.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    fn below(&mut self, n: usize) -> usize {
        self.bits() as usize % n
    }

    /// Uniform in [−√3, √3): of mean zero and variance one.
    fn unit_variance(&mut self) -> f32 {
        (self.bits() as f32 / (1u32 << 30) as f32 - 1.0) * 3f32.sqrt()
    }
}

/// Writes a model folder: config.json, model.safetensors in `dtype` (norms always in f32), and the tokenizer and chat template of the fixture
/// `olmo2/chat`, whose few tokens are the first of the vocabulary.
///
/// # Panics
///
/// Panics when a file cannot be written, or `dtype` is none of F32, BF16 and F16.
pub fn write(folder: &Path, shape: &Shape, dtype: Dtype) {
    fs::create_dir_all(folder).unwrap();
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(fixture::model("chat").join(file), folder.join(file)).unwrap();
    }
    let config = json!({
        "architectures": ["Olmo2ForCausalLM"], "model_type": "olmo2", "vocab_size": shape.vocab,
        "hidden_size": shape.hidden, "intermediate_size": shape.intermediate, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads, "num_key_value_heads": shape.heads, "hidden_act": "silu",
        "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "rope_theta": 500_000.0, "rope_scaling": null,
        "tie_word_embeddings": false, "attention_bias": false, "torch_dtype": torch_name(dtype),
        "bos_token_id": null, "eos_token_id": 0, "pad_token_id": 1,
    });
    fs::write(folder.join("config.json"), config.to_string()).unwrap();

    let (outer, inner) = (shape.hidden, shape.intermediate);
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![shape.vocab, outer]),
        ("model.norm.weight".to_owned(), vec![outer]),
        ("lm_head.weight".to_owned(), vec![shape.vocab, outer]),
    ];
    for layer in 0..shape.layers {
        let mut push = |name: &str, dims: &[usize]| {
            shapes.push((format!("model.layers.{layer}.{name}.weight"), dims.to_vec()));
        };
        for name in ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"] {
            push(name, &[outer, outer]);
        }
        for name in ["self_attn.q_norm", "self_attn.k_norm", "post_attention_layernorm", "post_feedforward_layernorm"] {
            push(name, &[outer]);
        }
        push("mlp.gate_proj", &[inner, outer]);
        push("mlp.up_proj", &[inner, outer]);
        push("mlp.down_proj", &[outer, inner]);
    }
    let mut random = Random(7);
    let tensors: Vec<(String, Vec<usize>, Dtype, Vec<u8>)> = shapes
        .into_iter()
        .map(|(key, dims)| {
            // Norms are ones; matrices keep the variance of what they multiply; embeddings have variance one.
            let scale = if key.contains("embed") { 1.0 } else { 1.0 / (dims[dims.len() - 1] as f32).sqrt() };
            let is_norm = dims.len() == 1;
            let dtype = if is_norm { Dtype::F32 } else { dtype };
            let mut bytes = Vec::with_capacity(dims.iter().product::<usize>() * 4);
            for _ in 0..dims.iter().product() {
                push_as(dtype, if is_norm { 1.0 } else { random.unit_variance() * scale }, &mut bytes);
            }
            (key, dims, dtype, bytes)
        })
        .collect();
    let views = tensors
        .iter()
        .map(|(key, dims, dtype, bytes)| (key.as_str(), TensorView::new(*dtype, dims.clone(), bytes).unwrap()));
    // transformers wants to be told that the tensors are PyTorch's.
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    safetensors::serialize_to_file(views, Some(metadata), &folder.join("model.safetensors")).unwrap();
}

/// What `torch_dtype` calls a type of weights.
fn torch_name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F32 => "float32",
        Dtype::BF16 => "bfloat16",
        Dtype::F16 => "float16",
        other => panic!("no model is written in {other:?}"),
    }
}

fn push_as(dtype: Dtype, value: f32, bytes: &mut Vec<u8>) {
    match dtype {
        Dtype::BF16 => bytes.extend(half::bf16::from_f32(value).to_le_bytes()),
        Dtype::F16 => bytes.extend(half::f16::from_f32(value).to_le_bytes()),
        _ => bytes.extend(value.to_le_bytes()),
    }
}

/// Random token ids below `vocab`, `n_sequences` rows of `seq_len`.
pub fn sequences(n_sequences: usize, seq_len: usize, vocab: usize) -> Vec<Vec<i64>> {
    let mut random = Random(11);
    (0..n_sequences).map(|_| (0..seq_len).map(|_| random.below(vocab) as i64).collect()).collect()
}

/// Pairs of random words. Prompts have `n_prompt_words` on average, responses `n_response_words`, and lengths vary by half
/// of that in both directions.
pub fn pairs(n_pairs: usize, n_prompt_words: usize, n_response_words: usize) -> Vec<Pair> {
    const WORDS: [&str; 24] = [
        "answer", "bread", "brick", "careful", "chair", "clock", "door", "early", "flour", "garden", "give", "hello",
        "kettle", "kind", "letter", "market", "morning", "never", "paper", "please", "quiet", "river", "story", "tea",
    ];
    let mut random = Random(1);
    let mut text = |mean: usize| {
        let n_words = mean / 2 + random.below(mean + 1);
        (0..n_words).map(|_| WORDS[random.below(WORDS.len())]).collect::<Vec<_>>().join(" ")
    };
    (0..n_pairs)
        .map(|i| Pair {
            id: format!("pair-{i}"),
            prompt: vec![Message::new("user", text(n_prompt_words))],
            chosen: vec![Message::new("assistant", text(n_response_words))],
            rejected: vec![Message::new("assistant", text(n_response_words))],
            source: "random words".into(),
            metadata: "{}".into(),
        })
        .collect()
}
