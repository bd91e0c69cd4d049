//! OLMo 3 (Team OLMo 2025): OLMo 2's decoder layer, three of four layers sliding over the last tokens only.
//!
//! Layers that see everything may stretch their rotary embedding (YaRN); sliding layers never do, since they never look
//! further back than they were trained to.

use serde_json::json;

use super::ModelError;
use super::config::{Absent, Architecture, LayerType, ModelConfig};
use super::keys::Keys;
pub use super::olmo2::Olmo2DecoderLayer as Olmo3DecoderLayer;
use super::rotary::{RopeConfig, RopeScaling};

/// Sliding window and rotary base that transformers takes when config.json does not state them.
const DEFAULT_WINDOW: usize = 4096;
const DEFAULT_THETA: f64 = 500_000.0;

/// Reads what config.json says of an OLMo 3 model.
pub(super) fn config(keys: &Keys) -> Result<ModelConfig, ModelError> {
    keys.only("attention_bias", &json!(false))?;
    let absent = Absent { rms_norm_eps: 1e-5, rope_theta: DEFAULT_THETA, ..Absent::LLAMA };
    // Newer files state the rotary embedding per type of layer, older ones once, and then scaling is for full layers.
    let nested = keys.object("rope_parameters")?;
    let mut config = match &nested {
        None => {
            let config = ModelConfig::common(Architecture::Olmo3, keys, &absent)?;
            let sliding_rope = RopeConfig::plain(config.rope.theta);
            ModelConfig { sliding_rope, ..config }
        }
        Some(nested) => {
            if keys.object("rope_scaling")?.is_some_and(|scaling| !scaling.is_empty()) {
                let expected = "null, as rope_parameters states the rotary embedding";
                return Err(keys.error("rope_scaling", expected, "an object"));
            }
            let mut config = ModelConfig::common_without_rope(Architecture::Olmo3, keys, &absent)?;
            let theta = keys.number_or("rope_theta", DEFAULT_THETA)?;
            let of = |layer_type: &str| match nested.object(layer_type)? {
                Some(keys) => RopeConfig::read_parameters(&keys, theta, config.max_position_embeddings),
                None => Err(nested.error(layer_type, "an object: rope parameters per type of layer", "nothing")),
            };
            (config.rope, config.sliding_rope) = (of("full_attention")?, of("sliding_attention")?);
            nested.refuse_unread()?;
            config
        }
    };
    for rope in [&mut config.rope, &mut config.sliding_rope] {
        if let RopeScaling::Yarn { truncate: false, .. } = rope.scaling {
            return Err(keys.error("rope_parameters.truncate", "true, the only one implemented", "false"));
        }
    }
    let window = keys.positive_or_null("sliding_window", DEFAULT_WINDOW)?;
    let default = |layer: usize| if (layer + 1).is_multiple_of(4) { LayerType::Full } else { LayerType::Sliding };
    config.with_layer_types(keys, window, default)
}
