//! Parity with transformers: the same weights and tokens give the same residuals, logits and greedy continuations, for
//! every architecture, on every device at hand.
//!
//! The fixtures in tests/fixtures/ARCHITECTURE hold what transformers computed; make_models.py says how, and which
//! options each model was made to show.

use burn::module::Module;
use burn::tensor::{DType, Int, Tensor, TensorData};
use whence_backend::device::{self, DeviceChoice, OpenDevice};
use whence_backend::model::checkpoint::Checkpoint;
use whence_backend::model::generate::{GenerationConfig, generate};
use whence_backend::model::{CausalLm, ModelConfig, folder};
use whence_tests::fixture::{self, Greedy, Tensors, relative_difference};

/// Every architecture with recorded activations; all its models are tested on the CPU.
const ARCHITECTURES: [&str; 6] = ["olmo2", "olmo3", "llama", "mistral", "qwen2", "qwen3"];
/// Models for the GPU, the shapes and options among them that differ: on a software rasteriser every shape costs seconds
/// of shader compilation, and how weights are stored does not matter to a device.
const GPU_MODELS: [(&str, &[&str]); 6] = [
    ("olmo2", &["gqa-head-dim", "odd"]),
    ("olmo3", &["yarn-released"]),
    ("llama", &["gqa-tied"]),
    ("mistral", &["window"]),
    ("qwen2", &["window"]),
    ("qwen3", &["yarn"]),
];
/// Of those, what generates there: every step of a growing text is another shape.
const GPU_GENERATION_MODELS: [(&str, &[&str]); 1] = [("olmo3", &["yarn-released"])];
/// Largest difference over largest value, f32 against f32.
const CPU_TOLERANCE: f32 = 1e-4;
const GPU_TOLERANCE: f32 = 1e-3;
/// Tokens that make_models.py asked for.
const N_NEW_TOKENS: usize = 24;

/// A model with what was recorded of it.
struct Recorded {
    /// ARCHITECTURE/NAME.
    name: String,
    model: CausalLm,
    expected: Tensors,
    greedy: Vec<Greedy>,
}

impl Recorded {
    fn load(architecture: &str, name: &str, device: &OpenDevice) -> Self {
        Self::load_as(architecture, name, device, DType::F32)
    }

    fn load_as(architecture: &str, name: &str, device: &OpenDevice, dtype: DType) -> Self {
        let folder = fixture::folder().join(architecture).join(name);
        let config = ModelConfig::read(&folder.join("config.json")).unwrap();
        let mut checkpoint = Checkpoint::open(&folder, dtype).unwrap();
        let model = CausalLm::build(&mut checkpoint, &config, &device.device);
        checkpoint.finish(&[]).unwrap();
        assert_eq!(model.num_params(), config.n_parameters(), "{architecture}/{name}");
        let expected = Tensors::read(&folder.join("expected.safetensors"));
        Self { name: format!("{architecture}/{name}"), model, expected, greedy: fixture::greedy(&folder) }
    }

    /// Names of the recorded token batches.
    fn cases(&self) -> Vec<String> {
        let names = self.expected.names();
        let cases: Vec<String> =
            names.iter().filter_map(|name| name.strip_suffix(".input_ids")).map(Into::into).collect();
        assert!(!cases.is_empty(), "{} has recorded cases", self.name);
        cases
    }

    fn tokens(&self, case: &str, device: &OpenDevice) -> (Tensor<2, Int>, [usize; 2]) {
        let (shape, ids) = self.expected.i64(&format!("{case}.input_ids"));
        let shape = [shape[0], shape[1]];
        (Tensor::from_data(TensorData::new(ids, shape), &device.device), shape)
    }

    /// Sets values at padded positions to zero, as the fixtures have them. `values` is `[batch_size, seq_len, width]`.
    fn blank_padding(&self, values: &mut [f32], case: &str) {
        if case != "batch" {
            return;
        }
        let (_, mask) = self.expected.i64("batch.attention_mask");
        let width = values.len() / mask.len();
        for (position, values) in values.chunks_mut(width).enumerate() {
            if mask[position] == 0 {
                values.fill(0.0);
            }
        }
    }
}

/// Runs `check` on every model of every architecture.
fn each_model(device: &OpenDevice, check: impl Fn(&Recorded)) {
    for architecture in ARCHITECTURES {
        for (name, _) in fixture::models(architecture) {
            check(&Recorded::load(architecture, &name, device));
        }
    }
}

/// Runs `check` on some models on the GPU, where there is a GPU.
fn each_gpu_model(models: &[(&str, &[&str])], check: impl Fn(&Recorded, &OpenDevice)) {
    match device::open(DeviceChoice::Wgpu) {
        Ok(device) => {
            eprintln!("on {}", device.name);
            for (architecture, names) in models {
                names.iter().for_each(|name| check(&Recorded::load(architecture, name, &device), &device));
            }
        }
        Err(error) => eprintln!("skipped: {error}"),
    }
}

fn values(tensor: Tensor<3>) -> Vec<f32> {
    tensor.into_data_as::<f32>().try_to_vec::<f32>().unwrap()
}

fn hidden_states_and_logits_equal_transformers(recorded: &Recorded, device: &OpenDevice, tolerance: f32) {
    let Recorded { name, model, expected, .. } = recorded;
    let layers: Vec<usize> = (0..=model.n_layers()).collect();
    for case in recorded.cases() {
        let (ids, shape) = recorded.tokens(&case, device);
        let compare = |what: String, tensor: Tensor<3>| {
            let dims = tensor.dims();
            assert_eq!(dims[..2], shape, "{name} {what}");
            let mut got = values(tensor);
            recorded.blank_padding(&mut got, &case);
            let (expected_shape, values) = expected.f32(&what);
            assert_eq!(expected_shape, dims, "{name} {what}");
            let difference = relative_difference(&got, &values);
            assert!(difference <= tolerance, "{name} {what}: relative difference {difference:e} > {tolerance:e}");
        };
        for (layer, state) in model.hidden_states(ids.clone(), &layers).into_iter().enumerate() {
            compare(format!("{case}.hidden_states.{layer}"), state);
        }
        compare(format!("{case}.logits"), model.logits(ids));
    }
}

fn greedy_continuations_equal_transformers(recorded: &Recorded) {
    let Recorded { name, model, greedy, .. } = recorded;
    let continued = |cases: &[&Greedy]| {
        let prompts: Vec<Vec<u32>> = cases.iter().map(|case| case.prompt.clone()).collect();
        let eos_token_ids = cases[0].eos_token_id.into_iter().collect();
        let config =
            GenerationConfig { temperature: 0.0, top_p: 1.0, max_new_tokens: N_NEW_TOKENS, eos_token_ids, seed: 0 };
        generate(model, &prompts, &config)
    };
    // Prompts of unequal length that nothing ends, together; then those that a token ends.
    let (ended, endless): (Vec<&Greedy>, Vec<&Greedy>) = greedy.iter().partition(|case| case.eos_token_id.is_some());
    assert!(endless.len() > 1 && !ended.is_empty(), "{name}: both kinds are recorded");
    for (case, got) in endless.iter().zip(continued(&endless)) {
        assert_eq!(case.continuation.len(), N_NEW_TOKENS, "{name}");
        assert_eq!(got, case.continuation, "{name}: a prompt of {} tokens", case.prompt.len());
    }
    for case in ended {
        assert_eq!(continued(&[case])[0], case.continuation, "{name}: ended by {:?}", case.eos_token_id);
    }
}

#[test]
fn hidden_states_and_logits_equal_transformers_on_cpu() {
    let device = device::open(DeviceChoice::Cpu).unwrap();
    each_model(&device, |recorded| hidden_states_and_logits_equal_transformers(recorded, &device, CPU_TOLERANCE));
}

#[test]
fn hidden_states_and_logits_equal_transformers_on_wgpu() {
    each_gpu_model(&GPU_MODELS, |recorded, device| {
        hidden_states_and_logits_equal_transformers(recorded, device, GPU_TOLERANCE);
    });
}

#[test]
fn greedy_continuations_equal_transformers_on_cpu() {
    let device = device::open(DeviceChoice::Cpu).unwrap();
    each_model(&device, greedy_continuations_equal_transformers);
}

#[test]
fn greedy_continuations_equal_transformers_on_wgpu() {
    each_gpu_model(&GPU_GENERATION_MODELS, |recorded, _| greedy_continuations_equal_transformers(recorded));
}

/// In half precision near ties fall either way: what must hold is that a cache in it gives what no cache gives.
#[test]
fn a_cache_in_half_precision_gives_what_no_cache_gives() {
    each_gpu_model(&GPU_GENERATION_MODELS, |recorded, device| {
        if !device.device.supports_dtype(DType::F16) {
            eprintln!("skipped: {} does not compute in f16", device.name);
            return;
        }
        let (architecture, name) = recorded.name.split_once('/').unwrap();
        let Recorded { model, greedy, .. } = Recorded::load_as(architecture, name, device, DType::F16);
        let prompt = &greedy[0].prompt;
        let config =
            GenerationConfig { temperature: 0.0, top_p: 1.0, max_new_tokens: 6, eos_token_ids: Vec::new(), seed: 0 };
        let ids = generate(&model, std::slice::from_ref(prompt), &config).remove(0);
        let all: Vec<i32> = prompt.iter().chain(&ids).map(|id| *id as i32).collect();
        let tokens = Tensor::from_data(TensorData::new(all.clone(), [1, all.len()]), &device.device);
        let logits = model.logits(tokens);
        let vocab_size = logits.dims()[2];
        let logits = values(logits);
        for (i, id) in ids.iter().enumerate() {
            let row = &logits[(prompt.len() + i - 1) * vocab_size..][..vocab_size];
            let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let chosen = row[*id as usize];
            assert!(
                highest - chosen < 0.02 * highest.abs().max(1.0),
                "{}: token {i}: {chosen} of {highest}",
                recorded.name
            );
        }
    });
}

#[test]
fn what_is_saved_is_loaded_as_the_same_model() {
    let device = device::open(DeviceChoice::Cpu).unwrap();
    each_model(&device, |recorded| {
        let folder = tempfile::tempdir().unwrap();
        let (architecture, name) = recorded.name.split_once('/').unwrap();
        let original = fixture::folder().join(architecture).join(name).join("config.json");
        let config = ModelConfig::read(&original).unwrap();
        folder::save(&recorded.model, &config, folder.path()).unwrap();
        let again = ModelConfig::read(&folder.path().join("config.json")).unwrap();
        let mut checkpoint = Checkpoint::open(folder.path(), DType::F32).unwrap();
        let model = CausalLm::build(&mut checkpoint, &again, &device.device);
        checkpoint.finish(&[]).unwrap();
        let (ids, _) = recorded.tokens(&recorded.cases()[0], &device);
        assert_eq!(values(model.logits(ids.clone())), values(recorded.model.logits(ids)), "{}", recorded.name);
    });
}

#[test]
fn layers_come_in_the_order_asked_for_and_no_layer_changes_another() {
    let device = device::open(DeviceChoice::Cpu).unwrap();
    each_model(&device, |recorded| {
        let model = &recorded.model;
        let (ids, _) = recorded.tokens(&recorded.cases()[0], &device);
        let last = model.n_layers();
        let all: Vec<usize> = (0..=last).collect();
        let all: Vec<Vec<f32>> = model.hidden_states(ids.clone(), &all).into_iter().map(values).collect();
        for wanted in [vec![1], vec![last, 0], vec![2, 2, 1], vec![0]] {
            let got: Vec<Vec<f32>> = model.hidden_states(ids.clone(), &wanted).into_iter().map(values).collect();
            for (layer, got) in wanted.iter().zip(&got) {
                assert_eq!(*got, all[*layer], "{}: layer {layer} of {wanted:?}", recorded.name);
            }
            assert_eq!(got.len(), wanted.len());
        }
    });
}

#[test]
fn a_sequence_is_the_same_alone_and_padded_in_a_batch() {
    let device = device::open(DeviceChoice::Cpu).unwrap();
    each_model(&device, |recorded| {
        let Recorded { name, model, expected, .. } = recorded;
        let last = model.n_layers();
        // Recorded alone, computed together.
        let alone: Vec<String> = recorded.cases().into_iter().filter(|case| case != "batch").collect();
        let rows: Vec<Vec<i64>> = alone.iter().map(|case| expected.i64(&format!("{case}.input_ids")).1).collect();
        let seq_len = rows.iter().map(Vec::len).max().unwrap();
        let padded: Vec<i64> =
            rows.iter().flat_map(|row| row.iter().copied().chain(vec![0; seq_len - row.len()])).collect();
        let tokens = Tensor::from_data(TensorData::new(padded, [rows.len(), seq_len]), &device.device);
        let got = values(model.hidden_states(tokens, &[last]).remove(0));
        for ((case, ids), got) in alone.iter().zip(&rows).zip(got.chunks_exact(got.len() / rows.len())) {
            let (shape, recorded) = expected.f32(&format!("{case}.hidden_states.{last}"));
            let difference = relative_difference(&got[..ids.len() * shape[2]], &recorded);
            assert!(difference <= CPU_TOLERANCE, "{name} {case} in a batch: {difference:e}");
        }
        // Recorded together, computed alone.
        if !recorded.cases().iter().any(|case| case == "batch") {
            return;
        }
        let (_, ids) = expected.i64("batch.input_ids");
        let (shape, mask) = expected.i64("batch.attention_mask");
        let (_, states) = expected.f32(&format!("batch.hidden_states.{last}"));
        let width = states.len() / mask.len();
        for row in 0..shape[0] {
            let at = row * shape[1];
            let n_tokens = mask[at..at + shape[1]].iter().sum::<i64>() as usize;
            let alone = TensorData::new(ids[at..at + n_tokens].to_vec(), [1, n_tokens]);
            let got = values(model.hidden_states(Tensor::from_data(alone, &device.device), &[last]).remove(0));
            let difference = relative_difference(&got, &states[at * width..(at + n_tokens) * width]);
            assert!(difference <= CPU_TOLERANCE, "{name} row {row}: {difference:e}");
        }
    });
}
