//! Training as its callers see it: interruptions leave no trace, foreign checkpoints are refused, what is wrong is named,
//! and neither accumulation, activation checkpointing nor adapters change what is computed.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::module::Module;
use burn::tensor::{DType, Int, Tensor, TensorData};
use serde_json::Value;
use whence_backend::device::{self, DeviceChoice};
use whence_backend::model::lora::{self, ALL_LINEAR, LoraConfig};
use whence_backend::model::{CausalLm, ModelConfig, checkpoint, folder};
use whence_backend::progress::silent;
use whence_backend::train::checkpoint::FILE;
use whence_backend::train::dpo::{DpoConfig, DpoObjective, LossType, SequencePair, optimize_preferences};
use whence_backend::train::rounding::rounded;
use whence_backend::train::sequences::Sequence;
use whence_backend::train::sft::fine_tune;
use whence_backend::train::{
    Checkpoints, Computed, Gradients, ReferenceLogps, Run, TrainConfig, TrainError, Trained, Weights, compute_step,
};
use whence_tests::fixture::{self, Tensors, relative_difference};

fn model_at(folder: &Path) -> CausalLm {
    let config = ModelConfig::read(&folder.join("config.json")).unwrap();
    let device = device::open(DeviceChoice::Cpu).unwrap().device;
    let mut weights = checkpoint::Checkpoint::open(folder, DType::F32).unwrap();
    CausalLm::build(&mut weights, &config, &device)
}

fn model() -> CausalLm {
    model_at(&fixture::model("gqa-head-dim"))
}

/// Pairs of tokens below 50, of many lengths.
fn pairs(n: usize) -> Vec<SequencePair> {
    let sequence = |seed: usize, n_prompt: usize, n_response: usize| Sequence {
        ids: (0..n_prompt + n_response).map(|t| ((seed * 31 + t * t * 7 + t * 13) % 50) as u32).collect(),
        response_start: n_prompt,
    };
    let pair = |i: usize| SequencePair {
        id: format!("pair-{i}"),
        chosen: sequence(i, 2 + i % 7, 1 + i % 5),
        rejected: sequence(i + 1000, 2 + i % 7, 1 + (i * 3) % 6),
        is_switched: false,
    };
    (0..n).map(pair).collect()
}

fn config() -> DpoConfig {
    DpoConfig {
        loss_type: LossType::DpoNorm,
        beta: 1.0,
        rpo_alpha: 0.1,
        train: TrainConfig {
            num_train_epochs: 2,
            batch_size: 4,
            learning_rate: 1e-3,
            weight_decay: 0.01,
            ..TrainConfig::default()
        },
        ..DpoConfig::default()
    }
}

/// 16 pairs twice, 4 at a time: 8 steps.
const N_STEPS: usize = 8;

fn train_with(model: CausalLm, config: &DpoConfig, run: &Run) -> Result<Trained, TrainError> {
    optimize_preferences(model, &pairs(16), None, config, run)
}

fn bytes(model: &CausalLm) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    checkpoint::save(model, folder.path(), DType::F32).unwrap();
    fs::read(folder.path().join("model.safetensors")).unwrap()
}

fn checkpoints(folder: &Path, every_n_steps: usize) -> Option<Checkpoints> {
    Some(Checkpoints { folder: folder.to_owned(), every_n_steps })
}

/// Runs until `is_cancelled` has been asked `n_steps` times without saying yes.
fn cancelled_after(model: CausalLm, config: &DpoConfig, n_steps: usize, folder: &Path) -> TrainError {
    let asked = AtomicUsize::new(0);
    let is_cancelled = || asked.fetch_add(1, Ordering::Relaxed) >= n_steps;
    let run = Run { is_cancelled: &is_cancelled, checkpoints: checkpoints(folder, 100), ..Run::new(&silent) };
    train_with(model, config, &run).unwrap_err()
}

#[test]
fn a_run_cancelled_anywhere_ends_with_the_same_bytes() {
    let whole = train_with(model(), &config(), &Run::new(&silent)).unwrap();
    assert_eq!(whole.metrics.len(), N_STEPS);
    let expected = bytes(&whole.model);
    assert!(expected != bytes(&model()), "something was learned");
    for stops in [&[0][..], &[1], &[5], &[7], &[2, 1, 3]] {
        let folder = tempfile::tempdir().unwrap();
        let mut n_done = 0;
        for n in stops {
            n_done += n;
            let error = cancelled_after(model(), &config(), *n, folder.path());
            assert!(matches!(error, TrainError::Cancelled { step, .. } if step == n_done), "{error}");
        }
        let run = Run { checkpoints: checkpoints(folder.path(), 100), ..Run::new(&silent) };
        let resumed = train_with(model(), &config(), &run).unwrap();
        assert!(bytes(&resumed.model) == expected, "stopped after {stops:?}");
        assert_eq!(resumed.losses(), whole.losses());
    }
}

#[test]
fn a_killed_run_continues_from_its_last_checkpoint() {
    let expected = bytes(&train_with(model(), &config(), &Run::new(&silent)).unwrap().model);
    let folder = tempfile::tempdir().unwrap();
    let on_step = |step: &whence_backend::train::StepMetrics| assert!(step.step < 6, "killed");
    let run = Run { on_step: &on_step, checkpoints: checkpoints(folder.path(), 2), ..Run::new(&silent) };
    assert!(catch_unwind(AssertUnwindSafe(|| train_with(model(), &config(), &run))).is_err());

    let n_steps = AtomicUsize::new(0);
    let on_step = |_: &whence_backend::train::StepMetrics| {
        n_steps.fetch_add(1, Ordering::Relaxed);
    };
    let run = Run { on_step: &on_step, checkpoints: checkpoints(folder.path(), 2), ..Run::new(&silent) };
    let resumed = train_with(model(), &config(), &run).unwrap();
    assert_eq!(n_steps.into_inner(), N_STEPS - 4, "steps 5 and 6 were lost, 1 to 4 were not");
    assert!(bytes(&resumed.model) == expected);
    // Nothing but the checkpoint is left, and it can be removed.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    checkpoints(folder.path(), 2).unwrap().remove().unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_checkpoint_says_what_it_holds_to_any_reader_of_safetensors() {
    let folder = tempfile::tempdir().unwrap();
    cancelled_after(model(), &config(), 3, folder.path());
    let stored = Tensors::read(&folder.path().join(FILE));
    let weights = checkpoint::weights_of(&model());
    assert_eq!(stored.names().len(), 3 * weights.len());
    for (key, data) in weights {
        let (shape, _) = stored.f32(&format!("weights.{key}"));
        assert_eq!(shape, data.shape().to_vec());
        let (_, second) = stored.f32(&format!("moments.second.{key}"));
        assert!(second.len() == data.num_elements() && second.iter().all(|x| *x >= 0.0));
    }
}

#[test]
fn a_checkpoint_of_another_run_is_refused_and_the_difference_is_named() {
    let folder = tempfile::tempdir().unwrap();
    cancelled_after(model(), &config(), 3, folder.path());
    let before = fs::read(folder.path().join(FILE)).unwrap();
    let run = Run { checkpoints: checkpoints(folder.path(), 1), ..Run::new(&silent) };
    let refused = |model: CausalLm, pairs: &[SequencePair], config: &DpoConfig| {
        optimize_preferences(model, pairs, None, config, &run).unwrap_err().to_string()
    };
    let beta = DpoConfig { beta: 2.0, ..config() };
    let error = refused(model(), &pairs(16), &beta);
    assert!(error.contains("beta: expected 2.0, got 1.0") && !error.contains("learning_rate"), "{error}");
    let rate = DpoConfig { train: TrainConfig { learning_rate: 0.5, ..config().train }, ..config() };
    let error = refused(model(), &pairs(16), &rate);
    assert!(error.contains("learning_rate: expected 0.5, got 0.001") && error.contains(FILE), "{error}");
    let error = refused(model_at(&fixture::model("mha-tied")), &pairs(16), &config());
    assert!(error.contains("model: expected SHA-256"), "{error}");
    let mut other = pairs(16);
    other[3].rejected.ids[1] += 1;
    let error = refused(model(), &other, &config());
    assert!(error.contains("data: expected SHA-256") && !error.contains("order"), "{error}");
    let seed = DpoConfig { train: TrainConfig { seed: 1, ..config().train }, ..config() };
    let error = refused(model(), &pairs(16), &seed);
    assert!(error.contains("seed: expected 1, got 0") && error.contains("order of the rows"), "{error}");
    assert!(fs::read(folder.path().join(FILE)).unwrap() == before, "the checkpoint is untouched");
}

#[test]
fn a_damaged_checkpoint_and_a_disk_that_refuses_are_errors_and_the_earlier_state_stays() {
    let folder = tempfile::tempdir().unwrap();
    cancelled_after(model(), &config(), 3, folder.path());
    let path = folder.path().join(FILE);
    let before = fs::read(&path).unwrap();
    // A folder where the temporary file would go stands for every way in which a disk can refuse.
    let blocked = folder.path().join(format!(".{FILE}.{}.tmp", std::process::id()));
    fs::create_dir(&blocked).unwrap();
    let error = cancelled_after(model(), &config(), 2, folder.path());
    assert!(matches!(error, TrainError::Checkpoint(_)) && error.to_string().contains(FILE), "{error}");
    assert!(fs::read(&path).unwrap() == before);
    fs::remove_dir(&blocked).unwrap();

    for n in [0, 7, 100, before.len() / 2, before.len() - 1] {
        fs::write(&path, &before[..n]).unwrap();
        let error = cancelled_after(model(), &config(), 1, folder.path()).to_string();
        assert!(error.contains("not a complete checkpoint") && error.contains(FILE), "{n}: {error}");
    }
    fs::write(&path, &before).unwrap();
    let error = cancelled_after(model(), &config(), 1, folder.path());
    assert!(matches!(error, TrainError::Cancelled { step: 4, .. }), "{error}");
}

#[test]
fn a_loss_that_is_not_finite_names_step_and_rows_and_keeps_the_last_good_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let pairs = pairs(16);
    let mut reference = ReferenceLogps::compute(&model(), &pairs, &silent).unwrap();
    reference.reference_chosen_logps[11] = f32::NAN;
    let run = Run { checkpoints: checkpoints(folder.path(), 1), ..Run::new(&silent) };
    let error = optimize_preferences(model(), &pairs, Some(&reference), &config(), &run).unwrap_err();
    let TrainError::NotFinite { what, step, rows, .. } = &error else { panic!("{error}") };
    assert_eq!((*what, rows.len()), ("loss", 4));
    assert!(rows.contains(&"pair-11".to_owned()) && error.to_string().contains("pair-11"), "{error}");
    assert_eq!(folder.path().join(FILE).exists(), *step > 1, "the step before left a checkpoint");

    let exploding = DpoConfig { train: TrainConfig { learning_rate: 1e30, ..config().train }, ..config() };
    let error = train_with(model(), &exploding, &Run::new(&silent)).unwrap_err();
    assert!(matches!(error, TrainError::NotFinite { .. }), "{error}");
}

#[test]
fn nonsense_is_refused_before_anything_is_computed() {
    let refused = |pairs: &[SequencePair], config: &DpoConfig| {
        optimize_preferences(model(), pairs, None, config, &Run::new(&silent)).unwrap_err().to_string()
    };
    assert!(refused(&[], &config()).contains("training set is empty"));
    let mut empty = pairs(3);
    empty[1].rejected.response_start = empty[1].rejected.ids.len();
    assert!(refused(&empty, &config()).contains("row pair-1: its response is empty"));
    assert!(refused(&pairs(3), &DpoConfig { beta: 0.0, ..config() }).starts_with("beta: expected a number > 0"));
    let none = TrainConfig { batch_size: 0, ..config().train };
    assert!(refused(&pairs(3), &DpoConfig { train: none, ..config() }).starts_with("batch_size"));
    let short = ReferenceLogps { reference_chosen_logps: vec![0.0], reference_rejected_logps: vec![0.0] };
    let error = optimize_preferences(model(), &pairs(3), Some(&short), &config(), &Run::new(&silent)).unwrap_err();
    assert!(error.to_string().contains("expected one per pair, 3, got 1"), "{error}");
}

fn compute(model: &CausalLm, config: &DpoConfig, pairs: &[SequencePair]) -> Computed {
    let mut reference = ReferenceLogps::compute(model, pairs, &silent).unwrap();
    // Otherwise every pair costs log 2.
    for (i, logp) in reference.reference_chosen_logps.iter_mut().enumerate() {
        *logp += (i as f32).sin();
    }
    let objective = DpoObjective { pairs, reference: &reference, config };
    compute_step(model, &objective, &config.train, &(0..pairs.len()).collect::<Vec<_>>()).unwrap()
}

fn values(gradients: &Gradients, key: &str) -> Vec<f32> {
    let gradient = gradients.get(key).unwrap_or_else(|| panic!("{key} has no gradient")).clone();
    gradient.into_data().as_slice::<f32>().unwrap().to_vec()
}

/// Largest difference of any gradient, relative to the largest element of its weight's.
fn difference(a: &Computed, b: &Computed) -> f32 {
    assert_eq!(a.gradients.keys().collect::<Vec<_>>(), b.gradients.keys().collect::<Vec<_>>());
    assert!((a.loss - b.loss).abs() <= 1e-6 * a.loss.abs(), "{} {}", a.loss, b.loss);
    let of = |key: &str| relative_difference(&values(&a.gradients, key), &values(&b.gradients, key));
    a.gradients.keys().map(of).fold(0.0, f32::max)
}

#[test]
fn small_batches_add_up_to_a_large_one() {
    for loss_type in [LossType::Sigmoid, LossType::DpoNorm, LossType::Ipo] {
        let with = |batch_size, gradient_accumulation_steps| DpoConfig {
            loss_type,
            beta: 0.5,
            rpo_alpha: 0.3,
            train: TrainConfig { batch_size, gradient_accumulation_steps, ..TrainConfig::default() },
            ..DpoConfig::default()
        };
        let pairs = pairs(12);
        let whole = compute(&model(), &with(12, 1), &pairs);
        for (batch_size, n) in [(6, 2), (3, 4), (1, 12), (5, 3)] {
            let difference = difference(&whole, &compute(&model(), &with(batch_size, n), &pairs));
            assert!(difference < 5e-6, "{loss_type:?} {batch_size} × {n}: {difference}");
        }
    }
}

#[test]
fn activation_checkpointing_gives_the_same_gradients_in_every_architecture() {
    let mut worst = 0f32;
    for architecture in ["olmo2", "olmo3", "llama", "mistral", "qwen2", "qwen3"] {
        for (name, folder) in fixture::models(architecture) {
            let model = model_at(&folder);
            let with = |activation_checkpointing| DpoConfig {
                train: TrainConfig { activation_checkpointing, ..config().train },
                ..config()
            };
            let pairs = pairs(5);
            let difference = difference(&compute(&model, &with(false), &pairs), &compute(&model, &with(true), &pairs));
            println!("{architecture}/{name}: {difference:.1e}");
            worst = worst.max(difference);
        }
    }
    // The way there takes the fast path for inference, which rounds differently.
    assert!(worst < 2e-5, "{worst}");
}

#[test]
fn fine_tuning_takes_the_same_settings() {
    let sequences: Vec<Sequence> = pairs(8).into_iter().map(|pair| pair.chosen).collect();
    let train = TrainConfig { num_train_epochs: 6, ..config().train };
    let losses = |config: &TrainConfig| fine_tune(model(), &sequences, config, &Run::new(&silent)).unwrap().losses();
    let plain = losses(&train);
    assert!(plain[plain.len() - 1] < 0.8 * plain[0], "{plain:?}");
    let checkpointed = losses(&TrainConfig { activation_checkpointing: true, ..train });
    assert!(plain.iter().zip(&checkpointed).all(|(a, b)| (a - b).abs() < 1e-3), "{plain:?} {checkpointed:?}");
}

fn lora_config(targets: &[&str]) -> LoraConfig {
    let target_modules = targets.iter().map(|&t| t.to_owned()).collect();
    LoraConfig { r: 3, lora_alpha: 5.0, target_modules, lora_dropout: 0.0, seed: 7 }
}

fn adapted(targets: &[&str]) -> CausalLm {
    lora::adapt(model(), &lora_config(targets)).unwrap()
}

fn logits(model: &CausalLm) -> Vec<f32> {
    let ids: Vec<i32> = (0..24).map(|i| (i * 5) % 60).collect();
    let tokens = Tensor::<2, Int>::from_data(TensorData::new(ids, [2, 12]), &model.device());
    model.logits(tokens).into_data().as_slice::<f32>().unwrap().to_vec()
}

#[test]
fn adapters_change_nothing_until_trained_and_merge_into_the_same_function() {
    let targets = ["q_proj", "self_attn.v_proj", "down_proj"];
    let fresh = adapted(&targets);
    assert_eq!(fresh.n_adapters(), 2 * 3);
    assert_eq!(logits(&fresh), logits(&model()));
    let trained = train_with(fresh, &config(), &Run::new(&silent)).unwrap().model;
    let merged = lora::merge(trained.clone());
    assert_eq!(merged.n_adapters(), 0);
    let difference = relative_difference(&logits(&merged), &logits(&trained));
    assert!(difference < 1e-5, "{difference}");
    assert!(relative_difference(&logits(&trained), &logits(&model())) > 1e-3, "something was learned");

    let (before, after) = (checkpoint::weights_of(&model()), checkpoint::weights_of(&trained));
    for (key, weight) in before {
        assert!(weight == after[&key], "{key} is frozen");
    }
    let changed = checkpoint::weights_of(&merged);
    let untouched = |key: &str| checkpoint::weights_of(&model())[key] == changed[key];
    assert!(untouched("model.layers.0.self_attn.k_proj.weight") && !untouched("model.layers.0.mlp.down_proj.weight"));

    let error = lora::adapt(trained, &LoraConfig::default()).unwrap_err().to_string();
    assert!(error.contains("has adapters already"), "{error}");
    let error = lora::adapt(model(), &LoraConfig { r: 0, ..LoraConfig::default() }).unwrap_err().to_string();
    assert_eq!(error, "lora: r: expected at least 1, got 0");
    for wrong in ["c_attn", "proj", "", "layers.9.self_attn.q_proj"] {
        let error = lora::adapt(model(), &lora_config(&["q_proj", wrong])).unwrap_err().to_string();
        assert!(error.contains(&format!("the model has no {wrong:?}")), "{error}");
        assert!(error.contains("down_proj, gate_proj, k_proj") && !error.contains("\"q_proj\""), "{error}");
    }
    assert_eq!(adapted(&["layers.1.self_attn.q_proj"]).n_adapters(), 1);
}

#[test]
fn adapters_have_the_gradients_that_the_chain_rule_gives() {
    let targets = ALL_LINEAR;
    let scale = 5.0 / 3.0;
    let model = train_with(adapted(&targets), &config(), &Run::new(&silent)).unwrap().model;
    let dense = lora::merge(model.clone());
    let pairs = pairs(6);
    for activation_checkpointing in [false, true] {
        let train = TrainConfig { activation_checkpointing, ..config().train };
        let config = DpoConfig { train, ..config() };
        let (thin, whole) = (compute(&model, &config, &pairs), compute(&dense, &config, &pairs));
        let weights = checkpoint::weights_of(&model);
        let keys: Vec<String> =
            thin.gradients.keys().filter_map(|key| key.strip_suffix(".lora.lora_a")).map(str::to_owned).collect();
        assert_eq!(thin.gradients.keys().count(), 2 * keys.len(), "nothing else is trained");
        assert_eq!(keys.len(), 2 * 7);
        let mut worst = 0f32;
        for key in keys {
            let matrix = |data: &TensorData| {
                let shape = data.shape().to_vec();
                Tensor::<2>::from_data(
                    TensorData::new(data.as_slice::<f32>().unwrap().to_vec(), shape),
                    &model.device(),
                )
            };
            let a = matrix(&weights[&format!("{key}.lora.lora_a")]);
            let b = matrix(&weights[&format!("{key}.lora.lora_b")]);
            let slope = values(&whole.gradients, &format!("{key}.weight"));
            let slope = matrix(&TensorData::new(slope, [b.dims()[0], a.dims()[1]]));
            let expected = [b.transpose().matmul(slope.clone()) * scale, slope.matmul(a.transpose()) * scale];
            for (name, expected) in ["lora_a", "lora_b"].iter().zip(expected) {
                let expected = expected.into_data();
                let got = values(&thin.gradients, &format!("{key}.lora.{name}"));
                worst = worst.max(relative_difference(&got, expected.as_slice::<f32>().unwrap()));
            }
        }
        println!("adapters' gradients differ from the chain rule's by {worst:.1e}");
        assert!(worst < 1e-5, "{worst}");
    }
}

#[test]
fn adapters_resume_and_are_saved_as_peft_saves_them() {
    let config = config();
    let whole = train_with(adapted(&ALL_LINEAR), &config, &Run::new(&silent)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    cancelled_after(adapted(&ALL_LINEAR), &config, 5, folder.path());
    let stored = Tensors::read(&folder.path().join(FILE));
    assert!(stored.names().iter().all(|name| name.contains(".lora.")), "frozen weights are not stored");
    let run = Run { checkpoints: checkpoints(folder.path(), 100), ..Run::new(&silent) };
    let resumed = train_with(adapted(&ALL_LINEAR), &config, &run).unwrap();
    assert!(bytes(&resumed.model) == bytes(&whole.model));

    lora::save_adapter(&whole.model, &lora_config(&ALL_LINEAR), "base/model", folder.path()).unwrap();
    let adapter: Value = serde_json::from_slice(&fs::read(folder.path().join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!((adapter["r"].as_u64(), adapter["base_model_name_or_path"].as_str()), (Some(3), Some("base/model")));
    let tensors = Tensors::read(&folder.path().join("adapter_model.safetensors"));
    assert_eq!(tensors.names().len(), 2 * 7 * 2);
    let (shape, _) = tensors.f32("base_model.model.model.layers.1.mlp.up_proj.lora_A.weight");
    assert_eq!(shape, [3, 40]);

    // What is saved as a model folder has the adapters merged in.
    let model_config = ModelConfig::read(&fixture::model("gqa-head-dim").join("config.json")).unwrap();
    folder::save(&whole.model, &model_config, folder.path()).unwrap();
    let difference = relative_difference(&logits(&model_at(folder.path())), &logits(&whole.model));
    assert!(difference < 1e-5, "{difference}");
}

#[test]
fn dropout_is_drawn_anew_every_step_and_resumes_exactly() {
    let start = |lora_dropout| lora::adapt(model(), &LoraConfig { lora_dropout, ..lora_config(&ALL_LINEAR) }).unwrap();
    assert!(lora::adapt(model(), &LoraConfig { lora_dropout: 1.0, ..lora_config(&ALL_LINEAR) }).is_err());
    let whole = train_with(start(0.5), &config(), &Run::new(&silent)).unwrap();
    assert!(bytes(&whole.model) != bytes(&train_with(start(0.0), &config(), &Run::new(&silent)).unwrap().model));
    let folder = tempfile::tempdir().unwrap();
    cancelled_after(start(0.5), &config(), 5, folder.path());
    let run = Run { checkpoints: checkpoints(folder.path(), 100), ..Run::new(&silent) };
    let error = train_with(start(0.25), &config(), &run).unwrap_err().to_string();
    assert!(error.contains("lora_dropout: expected 0.25, got 0.5"), "{error}");
    assert!(bytes(&train_with(start(0.5), &config(), &run).unwrap().model) == bytes(&whole.model));
    // Outside training nothing is left out.
    assert_eq!(logits(&whole.model), logits(&whole.model.clone().valid()));
    let masked = whole.model.masked(1);
    assert!(logits(&masked) != logits(&whole.model) && logits(&masked) != logits(&whole.model.masked(2)));
    // The way there that activation checkpointing takes twice leaves out the same inputs.
    let with = |activation_checkpointing| DpoConfig {
        train: TrainConfig { activation_checkpointing, ..config().train },
        ..config()
    };
    let difference = difference(&compute_as_is(&masked, &with(false)), &compute_as_is(&masked, &with(true)));
    assert!(difference < 2e-5, "{difference}");
    // In the mean over masks an adapter's output is what it is without.
    let n_masks = 400;
    let mut mean = vec![0f32; logits(&whole.model).len()];
    let one =
        lora::adapt(model(), &LoraConfig { lora_dropout: 0.3, ..lora_config(&["layers.1.mlp.down_proj"]) }).unwrap();
    let one = train_with(one, &config(), &Run::new(&silent)).unwrap().model;
    for seed in 0..n_masks {
        logits(&one.masked(seed)).iter().zip(&mut mean).for_each(|(x, mean)| *mean += x / n_masks as f32);
    }
    let off = |of: &CausalLm| relative_difference(&logits(of), &logits(&one));
    let of_mean = relative_difference(&mean, &logits(&one));
    assert!(of_mean < off(&one.masked(3)) / 4.0, "{of_mean} {}", off(&one.masked(3)));
}

/// As [`compute`], with reference log-probabilities of the plain model.
fn compute_as_is(masked: &CausalLm, config: &DpoConfig) -> Computed {
    let pairs = pairs(5);
    let reference = ReferenceLogps::compute(&model(), &pairs, &silent).unwrap();
    let objective = DpoObjective { pairs: &pairs, reference: &reference, config };
    compute_step(masked, &objective, &config.train, &[0, 1, 2, 3, 4]).unwrap()
}

#[test]
fn rounded_weights_resume_from_their_masters_and_adapters_stay_whole() {
    for weights in [Weights::Bf16, Weights::F16] {
        let config = DpoConfig { train: TrainConfig { weights, ..config().train }, ..config() };
        for targets in [&[][..], &["q_proj", "up_proj"]] {
            let start = || if targets.is_empty() { model() } else { adapted(targets) };
            let whole = train_with(start(), &config, &Run::new(&silent)).unwrap();
            let folder = tempfile::tempdir().unwrap();
            cancelled_after(start(), &config, 3, folder.path());
            let run = Run { checkpoints: checkpoints(folder.path(), 2), ..Run::new(&silent) };
            let resumed = train_with(start(), &config, &run).unwrap();
            assert!(bytes(&resumed.model) == bytes(&whole.model), "{weights:?} {targets:?}");
            assert_eq!(resumed.losses(), whole.losses());
            let is_rounded = |x: &f32| match weights {
                Weights::Bf16 => half::bf16::from_f32(*x).to_f32() == *x,
                _ => half::f16::from_f32(*x).to_f32() == *x,
            };
            for (key, data) in checkpoint::weights_of(&whole.model) {
                let n_whole = data.as_slice::<f32>().unwrap().iter().filter(|x| !is_rounded(x)).count();
                assert_eq!(n_whole > 0, key.contains(".lora."), "{key}");
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    cancelled_after(model(), &config(), 3, folder.path());
    let half = DpoConfig { train: TrainConfig { weights: Weights::Bf16, ..config().train }, ..config() };
    let run = Run { checkpoints: checkpoints(folder.path(), 2), ..Run::new(&silent) };
    let error = train_with(model(), &half, &run).unwrap_err().to_string();
    assert!(error.contains("weights: expected \"bf16\", got nothing"), "{error}");
}

/// What a device that computes bf16 does, here with the CPU's slow kernels for it.
#[test]
fn products_in_bf16_have_nearly_the_gradients_of_products_in_f32() {
    for targets in [&[][..], &ALL_LINEAR] {
        let start = || if targets.is_empty() { model() } else { adapted(targets) };
        let computed = |computed: DType| compute(&rounded(start(), Weights::Bf16, computed), &config(), &pairs(6));
        let (exact, narrow) = (computed(DType::F32), computed(DType::BF16));
        assert!((exact.loss - narrow.loss).abs() < 0.01 * exact.loss.abs(), "{} {}", exact.loss, narrow.loss);
        assert!(exact.gradients.keys().eq(narrow.gradients.keys()));
        let (mut dot, mut norms) = (0f64, [0f64; 2]);
        for key in exact.gradients.keys() {
            for (a, b) in values(&exact.gradients, key).into_iter().zip(values(&narrow.gradients, key)) {
                dot += f64::from(a) * f64::from(b);
                norms = [norms[0] + f64::from(a).powi(2), norms[1] + f64::from(b).powi(2)];
            }
        }
        let cosine = dot / (norms[0] * norms[1]).sqrt();
        println!("{targets:?}: cosine of the gradients {cosine:.5}");
        assert!(cosine > 0.995 && exact.loss != narrow.loss, "{cosine}");
    }
}

#[test]
fn half_precision_folders_are_half_the_size_and_nearly_the_same_model() {
    let model_config = ModelConfig::read(&fixture::model("gqa-head-dim").join("config.json")).unwrap();
    let size = |dtype: DType| {
        let folder = tempfile::tempdir().unwrap();
        folder::save_as(&model(), &model_config, folder.path(), dtype).unwrap();
        let difference = relative_difference(&logits(&model_at(folder.path())), &logits(&model()));
        assert!(difference < if dtype == DType::F32 { 1e-7 } else { 0.1 }, "{dtype:?}: {difference}");
        fs::metadata(folder.path().join("model.safetensors")).unwrap().len()
    };
    let whole = size(DType::F32);
    for dtype in [DType::BF16, DType::F16] {
        assert!(size(dtype) < whole * 11 / 20);
    }
}

#[test]
fn a_model_in_half_precision_is_not_trained() {
    let folder = fixture::model("gqa-head-dim");
    let config_of = ModelConfig::read(&folder.join("config.json")).unwrap();
    let device = device::open(DeviceChoice::Cpu).unwrap().device;
    let mut weights = checkpoint::Checkpoint::open(&folder, DType::BF16).unwrap();
    let half = CausalLm::build(&mut weights, &config_of, &device).valid();
    let reference = ReferenceLogps::compute(&model(), &pairs(16), &silent).unwrap();
    let run = Run::new(&silent);
    let error = optimize_preferences(half, &pairs(16), Some(&reference), &config(), &run).unwrap_err().to_string();
    assert!(error.contains("expected f32, got bf16") && error.contains("--dtype f32"), "{error}");
}
