//! Rotary position embedding (Su et al. 2021) in the half-split layout that Hugging Face's models use: dimension `i` is
//! rotated together with dimension `i + head_dim / 2`, by `position · θ^(−2i / head_dim)`, with the ways of stretching it
//! to longer texts that published models use.

use std::f64::consts::TAU;
use std::sync::{Arc, Mutex};

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::{Value, json};

use super::ModelError;
use super::cpu_gradients::Turn;
use super::keys::Keys;
use super::{cpu, cpu_gradients};

/// The base and the stretching of a rotary embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// Base of the frequencies.
    pub theta: f64,
    /// How frequencies are changed for texts longer than the model was first trained on.
    pub scaling: RopeScaling,
}

/// How rotary frequencies are stretched, by transformers' `rope_type`.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// `default`: not at all.
    None,
    /// `linear`: every frequency divided by `factor` (Chen et al. 2023, arXiv 2306.15595).
    Linear {
        /// > 0.
        factor: f64,
    },
    /// `llama3`: low frequencies divided by `factor`, high ones kept, a linear blend between (Llama 3.1's).
    Llama3 {
        /// > 0.
        factor: f64,
        /// Wavelengths above `original_max_position_embeddings / low_freq_factor` are divided.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_position_embeddings / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// Longest text before stretching.
        original_max_position_embeddings: f64,
    },
    /// `yarn` (Peng et al. 2023, arXiv 2309.00071): a ramp over dimensions between kept and divided frequencies, and
    /// rotated queries and keys scaled by `attention_factor`.
    Yarn {
        /// > 0.
        factor: f64,
        /// Scales cosines and sines.
        attention_factor: f64,
        /// Dimensions that turn more often than this over the original length are kept.
        beta_fast: f64,
        /// Dimensions that turn less often than this are divided.
        beta_slow: f64,
        /// Longest text before stretching.
        original_max_position_embeddings: f64,
        /// Whether the ends of the ramp are rounded to whole dimensions.
        truncate: bool,
    },
}

impl RopeConfig {
    /// A rotary embedding without stretching.
    pub fn plain(theta: f64) -> Self {
        Self { theta, scaling: RopeScaling::None }
    }

    /// Reads `rope_theta` and `rope_scaling` (transformers 4), else `rope_parameters` (5).
    ///
    /// # Errors
    ///
    /// [`ModelError::Config`] names a kind of scaling or an option that is not implemented.
    pub fn read(keys: &Keys, default_theta: f64, max_position_embeddings: usize) -> Result<Self, ModelError> {
        let theta = keys.number_or("rope_theta", default_theta)?;
        keys.only("partial_rotary_factor", &json!(1.0))?;
        let parameters = keys.object("rope_parameters")?;
        // Where both are there, transformers goes by the older one.
        match keys.object("rope_scaling")?.filter(|keys| !keys.is_empty()).or(parameters) {
            None => Ok(Self::plain(theta)),
            Some(keys) => Self::read_parameters(&keys, theta, max_position_embeddings),
        }
    }

    /// Reads one object of rope parameters; `theta` is what holds when it states none.
    ///
    /// # Errors
    ///
    /// As [`RopeConfig::read`].
    pub fn read_parameters(keys: &Keys, theta: f64, max_position_embeddings: usize) -> Result<Self, ModelError> {
        let theta = keys.number_or("rope_theta", theta)?;
        keys.only("partial_rotary_factor", &json!(1.0))?;
        let old_name = keys.get("type").and_then(Value::as_str).map(str::to_owned);
        let kind = match keys.get("rope_type") {
            Some(_) => keys.text("rope_type")?,
            None => old_name.unwrap_or_else(|| "default".into()),
        };
        let required = |key: &str| {
            let number = keys.number(key)?;
            number.ok_or_else(|| keys.error(key, &format!("a number (rope_type is {kind:?})"), "nothing"))
        };
        let original = || keys.number_or("original_max_position_embeddings", max_position_embeddings as f64);
        let scaling = match kind.as_str() {
            "default" => RopeScaling::None,
            "linear" => RopeScaling::Linear { factor: required("factor")? },
            "llama3" => RopeScaling::Llama3 {
                factor: required("factor")?,
                low_freq_factor: required("low_freq_factor")?,
                high_freq_factor: required("high_freq_factor")?,
                original_max_position_embeddings: original()?,
            },
            "yarn" => {
                let original_max_position_embeddings = original()?;
                let factor = match keys.number("factor")? {
                    Some(factor) => factor,
                    None => max_position_embeddings as f64 / original_max_position_embeddings,
                };
                let (mscale, all) = (keys.number("mscale")?, keys.number("mscale_all_dim")?);
                let grown = |mscale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 };
                let attention_factor = match (keys.number("attention_factor")?, mscale, all) {
                    (Some(stated), _, _) => stated,
                    (None, Some(mscale), Some(all)) => grown(mscale) / grown(all),
                    _ => grown(1.0),
                };
                RopeScaling::Yarn {
                    factor,
                    attention_factor,
                    beta_fast: keys.number_or("beta_fast", 32.0)?,
                    beta_slow: keys.number_or("beta_slow", 1.0)?,
                    original_max_position_embeddings,
                    truncate: keys.bool_or("truncate", true)?,
                }
            }
            _ => return Err(keys.error("rope_type", "one of default, linear, llama3, yarn", &format!("{kind:?}"))),
        };
        keys.refuse_unread()?;
        Ok(Self { theta, scaling })
    }

    /// `rope_scaling` as transformers reads it; null when nothing is stretched.
    pub fn scaling_to_json(&self) -> Value {
        match &self.scaling {
            RopeScaling::None => Value::Null,
            RopeScaling::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
                json!({
                    "rope_type": "llama3",
                    "factor": factor,
                    "low_freq_factor": low_freq_factor,
                    "high_freq_factor": high_freq_factor,
                    "original_max_position_embeddings": *original_max_position_embeddings as u64,
                })
            }
            RopeScaling::Yarn {
                factor,
                attention_factor,
                beta_fast,
                beta_slow,
                original_max_position_embeddings,
                truncate,
            } => json!({
                "rope_type": "yarn",
                "factor": factor,
                "attention_factor": attention_factor,
                "beta_fast": beta_fast,
                "beta_slow": beta_slow,
                "original_max_position_embeddings": *original_max_position_embeddings as u64,
                "truncate": truncate,
            }),
        }
    }

    /// Radians per position of each pair of dimensions, `[head_dim / 2]`, and the factor on cosines and sines.
    fn frequencies(&self, head_dim: usize) -> (Vec<f32>, f32) {
        // In f32 as transformers computes it: the angles of far positions depend on this rounding.
        let plain: Vec<f32> =
            (0..head_dim / 2).map(|i| 1.0 / (self.theta as f32).powf((2 * i) as f32 / head_dim as f32)).collect();
        match &self.scaling {
            RopeScaling::None => (plain, 1.0),
            RopeScaling::Linear { factor } => (plain.iter().map(|f| f / *factor as f32).collect(), 1.0),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings: original,
            } => {
                let scaled = |&f: &f32| {
                    let f = f64::from(f);
                    let wavelength = TAU / f;
                    if wavelength < original / high_freq_factor {
                        return f as f32;
                    }
                    if wavelength > original / low_freq_factor {
                        return (f / factor) as f32;
                    }
                    let kept = (original / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
                    ((1.0 - kept) * f / factor + kept * f) as f32
                };
                (plain.iter().map(scaled).collect(), 1.0)
            }
            RopeScaling::Yarn {
                factor,
                attention_factor,
                beta_fast,
                beta_slow,
                original_max_position_embeddings: original,
                truncate,
            } => {
                let d = head_dim as f64;
                // The dimension that turns `n` times over the original length.
                let turning = |n: f64| d * (original / (n * TAU)).ln() / (2.0 * self.theta.ln());
                let (low, high) = (turning(*beta_fast), turning(*beta_slow));
                let (low, high) = if *truncate { (low.floor(), high.ceil()) } else { (low, high) };
                let (low, high) = (low.max(0.0), high.min(d - 1.0));
                let width = if high - low == 0.0 { 0.001 } else { high - low };
                let scaled = |(i, &f): (usize, &f32)| {
                    let divided = ((i as f64 - low) / width).clamp(0.0, 1.0);
                    let f = f64::from(f);
                    (f / factor * divided + f * (1.0 - divided)) as f32
                };
                (plain.iter().enumerate().map(scaled).collect(), *attention_factor as f32)
            }
        }
    }
}

/// Cosines and sines of positions `0..n`, `[n, head_dim / 2]` row-major.
#[derive(Debug, Default)]
struct Table {
    cos: Arc<[f32]>,
    sin: Arc<[f32]>,
}

/// The rotary embedding of a model: knows the frequencies and keeps the longest table it has needed.
#[derive(Debug, Clone)]
pub struct Rotary {
    frequencies: Vec<f32>,
    factor: f32,
    longest: Arc<Mutex<Arc<Table>>>,
}

/// The rotation of the tokens of one forward pass, shared by all layers.
#[derive(Debug, Clone)]
pub struct Rotation {
    table: Arc<Table>,
    /// Position of every token, `[n_tokens]`.
    positions: Arc<Vec<u32>>,
    half: usize,
    /// `[n_tokens, 1, half]` each, where no fast path applies.
    tensors: Option<(Tensor<3>, Tensor<3>)>,
}

impl Rotary {
    /// Rotary embedding for heads of `head_dim` (even).
    pub fn new(head_dim: usize, config: &RopeConfig) -> Self {
        let (frequencies, factor) = config.frequencies(head_dim);
        Self { frequencies, factor, longest: Arc::default() }
    }

    /// The rotation of tokens at `positions`, in the order of the tokens.
    pub fn rotation(&self, positions: &Arc<Vec<u32>>, device: &Device) -> Rotation {
        let half = self.frequencies.len();
        let n_positions = positions.iter().max().map_or(0, |last| *last as usize + 1);
        let table = {
            let mut longest = self.longest.lock().expect("building a table does not panic");
            if longest.cos.len() < n_positions * half {
                *longest = Arc::new(self.table(n_positions.next_power_of_two()));
            }
            longest.clone()
        };
        let tensors = (!cpu::applies(device) && !cpu_gradients::applies(device)).then(|| {
            let tensor = |values: &[f32]| {
                let rows = positions.iter().flat_map(|&p| &values[p as usize * half..(p as usize + 1) * half]);
                let data = TensorData::new(rows.copied().collect::<Vec<_>>(), [positions.len(), 1, half]);
                Tensor::from_data(data, device)
            };
            (tensor(&table.cos), tensor(&table.sin))
        });
        Rotation { table, positions: positions.clone(), half, tensors }
    }

    fn table(&self, n_positions: usize) -> Table {
        let angles = || (0..n_positions).flat_map(|position| self.frequencies.iter().map(move |f| position as f32 * f));
        Table {
            cos: angles().map(|angle| angle.cos() * self.factor).collect(),
            sin: angles().map(|angle| angle.sin() * self.factor).collect(),
        }
    }
}

impl Rotation {
    /// Rotates queries or keys.
    ///
    /// # Shapes
    ///
    /// - `x`, output: `[n_tokens, n_heads · head_dim]`
    pub fn apply(&self, x: Tensor<2>) -> Tensor<2> {
        let half = self.half;
        let Some((cos, sin)) = &self.tensors else {
            if x.device().is_autodiff() {
                let (cos, sin) = (self.table.cos.clone(), self.table.sin.clone());
                return cpu_gradients::rotate(x, &Turn { positions: self.positions.clone(), half, cos, sin });
            }
            return cpu::rotate(x, &self.positions, half, [&self.table.cos, &self.table.sin]);
        };
        let [n_tokens, d_token] = x.dims();
        let x = x.reshape([n_tokens, d_token / (2 * half), 2 * half]);
        let first = x.clone().narrow(2, 0, half);
        let second = x.narrow(2, half, half);
        let rotated_first = first.clone() * cos.clone() - second.clone() * sin.clone();
        let rotated_second = second * cos.clone() + first * sin.clone();
        Tensor::cat(vec![rotated_first, rotated_second], 2).reshape([n_tokens, d_token])
    }
}
