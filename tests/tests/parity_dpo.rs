//! Parity of training with PyTorch in float64: log-probabilities, every loss, gradients of all weights, a step of AdamW,
//! and the losses of 50 steps. tests/fixtures/make_dpo.py says how the fixtures were made.

use std::path::PathBuf;

use serde_json::Value;
use whence_backend::device::{self, DeviceChoice};
use whence_backend::model::{CausalLm, ModelConfig, checkpoint};
use whence_backend::progress::silent;
use whence_backend::train::dpo::{DpoConfig, DpoObjective, SequencePair, optimize_preferences};
use whence_backend::train::sequences::{Sequence, token_logps};
use whence_backend::train::{Computed, Gradients, ReferenceLogps, Run, TrainConfig, Weights, compute_step};
use whence_tests::fixture::{self, Tensors, relative_difference};

/// Largest difference over largest value, f32 against f64.
const TOLERANCE: f32 = 1e-5;
/// Of a loss after up to 50 steps, absolute.
const TRACK_TOLERANCE: f64 = 1e-3;
const NAMES: [&str; 2] = ["gqa-head-dim", "mha-tied"];

struct Recorded {
    name: &'static str,
    json: Value,
    tensors: Tensors,
    pairs: Vec<SequencePair>,
    reference: ReferenceLogps,
}

impl Recorded {
    fn all() -> Vec<Self> {
        NAMES.iter().map(|name| Self::read(name)).collect()
    }

    fn read(name: &'static str) -> Self {
        let folder: PathBuf = fixture::folder().join("dpo").join(name);
        let json: Value = serde_json::from_slice(&std::fs::read(folder.join("pairs.json")).unwrap()).unwrap();
        let sequence = |value: &Value| Sequence {
            ids: serde_json::from_value(value["ids"].clone()).unwrap(),
            response_start: value["response_start"].as_u64().unwrap() as usize,
        };
        let pair = |pair: &Value| SequencePair {
            id: pair["id"].as_str().unwrap().to_owned(),
            chosen: sequence(&pair["chosen"]),
            rejected: sequence(&pair["rejected"]),
            is_switched: false,
        };
        let pairs = json["pairs"].as_array().unwrap().iter().map(pair).collect();
        let reference = ReferenceLogps {
            reference_chosen_logps: numbers(&json["reference"]["reference_chosen_logps"]),
            reference_rejected_logps: numbers(&json["reference"]["reference_rejected_logps"]),
        };
        Self { name, tensors: Tensors::read(&folder.join("expected.safetensors")), json, pairs, reference }
    }

    fn model(&self) -> CausalLm {
        let folder = fixture::model(self.name);
        let config = ModelConfig::read(&folder.join("config.json")).unwrap();
        let device = device::open(DeviceChoice::Cpu).unwrap().device;
        let mut weights = checkpoint::Checkpoint::open(&folder, burn::tensor::DType::F32).unwrap();
        CausalLm::build(&mut weights, &config, &device)
    }

    /// Settings of the fixture, all pairs at once.
    fn config(&self, settings: &Value) -> DpoConfig {
        let mut config: DpoConfig = serde_json::from_value(settings.clone()).unwrap();
        config.train.batch_size = self.pairs.len();
        if settings.get("warmup_ratio").is_none() {
            config.train.warmup_ratio = 0.0;
        }
        config
    }

    fn compute(&self, model: &CausalLm, config: &DpoConfig) -> Computed {
        let objective = DpoObjective { pairs: &self.pairs, reference: &self.reference, config };
        let rows: Vec<usize> = (0..self.pairs.len()).collect();
        compute_step(model, &objective, &config.train, &rows).unwrap()
    }

    fn variants(&self) -> Vec<(String, Value)> {
        let variants = self.json["losses"].as_object().unwrap();
        variants.iter().map(|(name, recorded)| (name.clone(), recorded.clone())).collect()
    }
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

fn values(gradients: &Gradients, key: &str) -> Vec<f32> {
    let gradient = gradients.get(key).unwrap_or_else(|| panic!("{key} has no gradient")).clone();
    gradient.into_data().as_slice::<f32>().unwrap().to_vec()
}

#[test]
fn log_probabilities_equal_those_of_pytorch() {
    for recorded in Recorded::all() {
        let policy = &recorded.json["policy"];
        let computed = ReferenceLogps::compute(&recorded.model(), &recorded.pairs, &silent).unwrap();
        let differences = [
            relative_difference(&computed.reference_chosen_logps, &numbers(&policy["policy_chosen_logps"])),
            relative_difference(&computed.reference_rejected_logps, &numbers(&policy["policy_rejected_logps"])),
        ];
        let first = &recorded.pairs[0];
        let tokens = token_logps(&recorded.model(), &[&first.chosen, &first.rejected]).into_data();
        let of_tokens = relative_difference(tokens.as_slice::<f32>().unwrap(), &numbers(&policy["tokens"]));
        println!("{}: sums {differences:?}, tokens {of_tokens:.1e}", recorded.name);
        assert!(differences.iter().chain([&of_tokens]).all(|d| *d <= TOLERANCE));
    }
}

#[test]
fn losses_rewards_and_gradients_equal_those_of_pytorch() {
    let (mut worst_loss, mut worst_gradient, mut worst_norm, mut n_gradients) = (0f64, 0f32, 0f32, 0);
    for recorded in Recorded::all() {
        let model = recorded.model();
        for (name, expected) in recorded.variants() {
            let config = recorded.config(&expected["settings"]);
            let computed = recorded.compute(&model, &config);
            let loss = expected["loss"].as_f64().unwrap();
            worst_loss = worst_loss.max((computed.loss - loss).abs() / loss.abs().max(1.0));
            let sums = computed.preferences.unwrap();
            let n_pairs = recorded.pairs.len() as f64;
            for (sum, side) in [(sums.rewards_chosen, "chosen"), (sums.rewards_rejected, "rejected")] {
                let reward = expected["rewards"][side].as_f64().unwrap();
                assert!((sum / n_pairs - reward).abs() < 1e-5 * reward.abs().max(1.0), "{name} {side}");
            }
            assert_eq!(sums.n_accurate / n_pairs, expected["accuracy"].as_f64().unwrap(), "{name}");

            let keys: Vec<String> = computed.gradients.keys().map(str::to_owned).collect();
            let norm = |key: &String| values(&computed.gradients, key).iter().map(|x| x * x).sum::<f32>().sqrt();
            let norms: Vec<f32> = keys.iter().map(norm).collect();
            let (_, expected_norms) = recorded.tensors.f32(&format!("norms.{name}"));
            worst_norm = worst_norm.max(relative_difference(&norms, &expected_norms));
            let whole = expected["grad_norm"].as_f64().unwrap();
            let norm = computed.gradients.norm();
            println!("{} {name}: loss {} for {loss}, gradient's norm {norm} for {whole}", recorded.name, computed.loss);
            worst_loss = worst_loss.max((norm - whole).abs() / whole);
            for key in keys {
                let stored = format!("gradient.{name}.{key}");
                if recorded.tensors.names().contains(&stored) {
                    let (_, expected) = recorded.tensors.f32(&stored);
                    let difference = relative_difference(&values(&computed.gradients, &key), &expected);
                    if difference > TOLERANCE {
                        println!("{} {name}: {key} differs by {difference:.1e}", recorded.name);
                    }
                    worst_gradient = worst_gradient.max(difference);
                    n_gradients += 1;
                }
            }
        }
    }
    println!("losses {worst_loss:.1e}, gradients {worst_gradient:.1e} ({n_gradients} weights), norms {worst_norm:.1e}");
    assert!(n_gradients > 80);
    assert!(worst_loss <= f64::from(TOLERANCE) && worst_gradient <= TOLERANCE && worst_norm <= TOLERANCE);
}

#[test]
fn a_step_of_adamw_ends_where_pytorch_ends() {
    let recorded = Recorded::read(NAMES[0]);
    let config = recorded.config(&recorded.json["step"]["settings"]);
    let run = Run::new(&silent);
    let trained =
        optimize_preferences(recorded.model(), &recorded.pairs, Some(&recorded.reference), &config, &run).unwrap();
    assert_eq!(trained.metrics.len(), 1);
    let (before, after) = (checkpoint::weights_of(&recorded.model()), checkpoint::weights_of(&trained.model));
    let (mut worst, mut moved) = (0f32, 0f32);
    for (key, data) in &after {
        let (_, expected) = recorded.tensors.f32(&format!("stepped.{key}"));
        let (got, before) = (data.as_slice::<f32>().unwrap(), before[key].as_slice::<f32>().unwrap());
        for ((got, expected), before) in got.iter().zip(&expected).zip(before) {
            worst = worst.max((got - expected).abs());
            moved = moved.max((got - before).abs());
        }
    }
    println!("weights differ by {worst:.1e} at most, moved by {moved:.1e} at most");
    assert!(worst <= TOLERANCE && moved > 1e-3);
}

#[test]
fn fifty_steps_go_the_same_way() {
    for recorded in Recorded::all() {
        let track = &recorded.json["track"];
        let mut config = recorded.config(&track["settings"]);
        let expected: Vec<f64> = serde_json::from_value(track["losses"].clone()).unwrap();
        config.train.num_train_epochs = expected.len();
        for gradient_accumulation_steps in [1, 3] {
            config.train = TrainConfig {
                gradient_accumulation_steps,
                batch_size: recorded.pairs.len() / gradient_accumulation_steps,
                ..config.train
            };
            let (pairs, reference) = (&recorded.pairs, Some(&recorded.reference));
            let trained =
                optimize_preferences(recorded.model(), pairs, reference, &config, &Run::new(&silent)).unwrap();
            assert_eq!(trained.metrics.len(), expected.len());
            let differences = trained.losses().into_iter().zip(&expected).map(|(a, b)| (f64::from(a) - b).abs());
            let worst = differences.fold(0.0, f64::max);
            println!("{}, {gradient_accumulation_steps} batches per step: losses differ by {worst:.1e}", recorded.name);
            assert!(worst <= TRACK_TOLERANCE);
            assert!(expected[expected.len() - 1] < 0.7 * expected[0], "something was learned");
        }
    }
}

#[test]
fn fifty_steps_with_weights_rounded_to_bf16_go_the_way_that_pytorch_goes() {
    for recorded in Recorded::all() {
        let losses =
            |name: &str| -> Vec<f64> { serde_json::from_value(recorded.json[name]["losses"].clone()).unwrap() };
        let (expected, unrounded) = (losses("rounded"), losses("track"));
        let mut config = recorded.config(&recorded.json["rounded"]["settings"]);
        config.train = TrainConfig { weights: Weights::Bf16, num_train_epochs: expected.len(), ..config.train };
        let (pairs, reference) = (&recorded.pairs, Some(&recorded.reference));
        let trained = optimize_preferences(recorded.model(), pairs, reference, &config, &Run::new(&silent)).unwrap();
        let apart = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let ours: Vec<f64> = trained.losses().into_iter().map(f64::from).collect();
        let (worst, by_rounding) = (apart(&ours, &expected), apart(&expected, &unrounded));
        println!("{}: losses differ by {worst:.1e}, rounding alone makes {by_rounding:.1e}", recorded.name);
        assert!(worst < by_rounding / 4.0 && worst <= TRACK_TOLERANCE);
        if recorded.name != NAMES[0] {
            continue;
        }
        let (mut n_values, mut n_equal) = (0, 0);
        for (key, data) in checkpoint::weights_of(&trained.model) {
            let (_, expected) = recorded.tensors.f32(&format!("rounded.{key}"));
            for (got, expected) in data.as_slice::<f32>().unwrap().iter().zip(&expected) {
                assert_eq!(got.to_bits() & 0xffff, 0, "{key}: a number of bf16");
                // One step of bf16 where the unrounded weight lies in the middle between two.
                assert!((got - expected).abs() <= expected.abs() / 64.0 + 1e-6, "{key}: {got} for {expected}");
                n_values += 1;
                n_equal += usize::from(got == expected);
            }
        }
        println!("{n_equal} of {n_values} rounded weights are equal");
        assert!(n_equal as f64 > 0.998 * f64::from(n_values));
    }
}
