//! What config.json may and may not say.

use serde_json::{Value, json};

use super::*;
use crate::model::rotary::RopeScaling;

fn small(model_type: &str) -> Value {
    json!({"model_type": model_type, "vocab_size": 10, "hidden_size": 8, "intermediate_size": 16,
           "num_hidden_layers": 8, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 4,
           "eos_token_id": [3, 4]})
}

fn read(config: &Value) -> Result<ModelConfig, ModelError> {
    ModelConfig::from_json(config, Path::new("m/config.json"))
}

fn with(model_type: &str, keys: Value) -> Result<ModelConfig, ModelError> {
    let mut config = small(model_type);
    let Value::Object(keys) = keys else { panic!("expected an object") };
    config.as_object_mut().unwrap().extend(keys);
    read(&config)
}

#[test]
fn defaults_are_those_of_transformers() {
    let mut bare = small("olmo2");
    let map = bare.as_object_mut().unwrap();
    map.remove("num_key_value_heads");
    map.remove("head_dim");
    let config = read(&bare).unwrap();
    assert_eq!((config.head_dim, config.num_key_value_heads), (4, 2));
    assert_eq!((config.rope.theta, config.rms_norm_eps), (10000.0, 1e-5));
    assert_eq!(config.eos_token_ids, [3, 4]);
    assert!(!config.tie_word_embeddings && config.sliding_window.is_none());
    assert_eq!(with("llama", json!({})).unwrap().rms_norm_eps, 1e-6);
    let olmo3 = with("olmo3", json!({})).unwrap();
    assert_eq!((olmo3.rope.theta, olmo3.sliding_window), (500_000.0, Some(4096)));
    let full: Vec<usize> = (0..8).filter(|layer| olmo3.window(*layer).is_none()).collect();
    assert_eq!(full, [3, 7]);
    assert_eq!(with("mistral", json!({})).unwrap().sliding_window, Some(4096));
    assert_eq!(with("mistral", json!({"sliding_window": null})).unwrap().sliding_window, None);
    assert_eq!(with("qwen2", json!({"sliding_window": 64})).unwrap().sliding_window, None);
    let slides =
        with("qwen2", json!({"sliding_window": 64, "use_sliding_window": true, "max_window_layers": 5})).unwrap();
    assert_eq!((slides.window(4), slides.window(5)), (None, Some(64)));
}

#[test]
fn what_is_written_reads_back_the_same() {
    let yarn = json!({"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 16});
    for (model_type, keys) in [
        ("olmo2", json!({"rope_theta": 5e5})),
        ("olmo3", json!({"rope_scaling": yarn, "sliding_window": 8})),
        ("llama", json!({"rope_scaling": {"type": "linear", "factor": 2.0}, "tie_word_embeddings": true})),
        ("mistral", json!({"sliding_window": 8})),
        ("mistral", json!({"sliding_window": null})),
        ("qwen2", json!({"use_sliding_window": true, "sliding_window": 8, "max_window_layers": 3})),
        ("qwen3", json!({"rope_parameters": yarn})),
    ] {
        let config = with(model_type, keys).unwrap();
        let mut again = read(&config.to_json()).unwrap();
        again.eos_token_ids.clone_from(&config.eos_token_ids);
        assert_eq!(again, config);
    }
}

#[test]
fn rotary_parameters_are_found_where_each_version_writes_them() {
    assert_eq!(with("olmo2", json!({"rope_theta": 5e5})).unwrap().rope.theta, 5e5);
    let nested = json!({"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}});
    assert_eq!(with("llama", nested).unwrap().rope.theta, 1e6);
    let by_layer = json!({"rope_parameters": {
        "full_attention": {"rope_type": "yarn", "rope_theta": 7e5, "factor": 4.0, "original_max_position_embeddings": 16},
        "sliding_attention": {"rope_type": "default", "rope_theta": 6e5}}});
    let config = with("olmo3", by_layer).unwrap();
    assert_eq!((config.rope.theta, config.sliding_rope.theta), (7e5, 6e5));
    assert!(matches!(config.rope.scaling, RopeScaling::Yarn { .. }));
    assert_eq!(config.sliding_rope.scaling, RopeScaling::None);
}

#[test]
fn unsupported_options_are_named() {
    for (model_type, keys, named) in [
        ("gpt2", json!({}), "model_type"),
        ("olmo2", json!({"hidden_act": "gelu"}), "hidden_act"),
        ("olmo2", json!({"attention_bias": true}), "attention_bias"),
        ("llama", json!({"attention_bias": true}), "attention_bias"),
        ("llama", json!({"mlp_bias": true}), "mlp_bias"),
        ("qwen3", json!({"attention_bias": true}), "attention_bias"),
        ("llama", json!({"rope_scaling": {"type": "dynamic", "factor": 2.0}}), "rope_scaling.rope_type"),
        ("llama", json!({"rope_scaling": {"rope_type": "longrope", "factor": 2.0}}), "rope_scaling.rope_type"),
        ("llama", json!({"rope_scaling": {"rope_type": "linear"}}), "rope_scaling.factor"),
        ("llama", json!({"rope_scaling": {"rope_type": "linear", "factor": 2.0, "slope": 3}}), "rope_scaling.slope"),
        ("llama", json!({"rope_parameters": {"partial_rotary_factor": 0.5}}), "partial_rotary_factor"),
        ("llama", json!({"sliding_window": 64}), "sliding_window"),
        ("llama", json!({"quantization_config": {"bits": 4}}), "quantization_config"),
        ("llama", json!({"logits_scaling": 2.0}), "logits_scaling"),
        ("olmo3", json!({"rope_parameters": {"rope_type": "default"}}), "rope_parameters.full_attention"),
        ("olmo3", json!({"layer_types": ["full_attention"]}), "layer_types"),
        ("mistral", json!({"layer_types": vec!["full_attention"; 8]}), "layer_types"),
        ("qwen2", json!({"layer_types": vec!["chunked_attention"; 8]}), "layer_types"),
        ("qwen2", json!({"layer_types": vec!["sliding_attention"; 8]}), "sliding_window"),
        ("olmo2", json!({"num_key_value_heads": 3}), "num_key_value_heads"),
        ("olmo2", json!({"head_dim": 3}), "head_dim"),
        ("olmo2", json!({"hidden_size": "wide"}), "hidden_size"),
        ("olmo2", json!({"vocab_size": -1}), "vocab_size"),
    ] {
        let error = with(model_type, keys.clone()).map(|_| keys).unwrap_err().to_string();
        assert!(error.contains(named) && error.contains("m/config.json"), "{named}: {error}");
    }
}

#[test]
fn bookkeeping_changes_nothing() {
    let keys = json!({"torch_dtype": "bfloat16", "use_cache": false, "transformers_version": "4.57.0",
        "pretraining_tp": 1, "attention_dropout": 0.1, "architectures": ["LlamaForCausalLM"], "some_new_flag": false});
    assert_eq!(with("llama", keys).unwrap(), with("llama", json!({})).unwrap());
}

#[test]
fn parameters_are_counted() {
    let config = with("llama", json!({})).unwrap();
    // Two embeddings, eight layers of four 8 × 8 and three 8 × 16 matrices and two norms, one last norm.
    assert_eq!(config.n_parameters(), 2 * 80 + 8 * (4 * 64 + 3 * 128 + 16) + 8);
}
