//! Mistral (Jiang et al. 2023, arXiv 2310.06825): Llama's decoder layer; where `sliding_window` is stated, every layer
//! sees that many tokens only.

use serde_json::json;

use super::ModelError;
use super::config::{Absent, Architecture, LayerType, ModelConfig};
use super::keys::Keys;
pub use super::llama::LlamaDecoderLayer as MistralDecoderLayer;

/// Sliding window that transformers takes when config.json does not mention one; null means none.
const DEFAULT_WINDOW: usize = 4096;

/// Reads what config.json says of a Mistral model.
pub(super) fn config(keys: &Keys) -> Result<ModelConfig, ModelError> {
    keys.only("attention_bias", &json!(false))?;
    let absent = Absent { num_key_value_heads: Some(8), ..Absent::LLAMA };
    let config = ModelConfig::common(Architecture::Mistral, keys, &absent)?;
    let window = keys.positive_or_null("sliding_window", DEFAULT_WINDOW)?;
    let layer_type = if window.is_some() { LayerType::Sliding } else { LayerType::Full };
    let config = config.with_layer_types(keys, window, |_| layer_type)?;
    if config.layer_types.iter().any(|stated| *stated != layer_type) {
        // transformers does not look at the list for this architecture.
        return Err(keys.error("layer_types", "every layer as sliding_window says", "a mixture"));
    }
    Ok(config)
}
