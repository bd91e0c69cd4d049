//! Parity with transformers: the same weights and tokens give the same residuals and logits, on every device at hand.
//!
//! The fixtures in tests/fixtures/olmo2 hold what transformers computed; make_olmo2.py says how.

use burn::tensor::{Int, Tensor, TensorData};
use whence_backend::device::{self, DeviceChoice, OpenDevice};
use whence_backend::model::checkpoint::Checkpoint;
use whence_backend::model::{Olmo2Config, Olmo2ForCausalLM};
use whence_tests::fixture::{self, Tensors, relative_difference};

/// Every model with recorded activations.
const MODELS: [&str; 6] = ["mha-tied", "gqa-head-dim", "odd", "sharded", "bf16", "chat"];
/// Those with shapes of their own: on a software rasteriser every shape costs seconds of shader compilation, and how
/// weights are stored does not matter to a device.
const GPU_MODELS: [&str; 3] = ["mha-tied", "gqa-head-dim", "odd"];
/// Largest difference over largest value, f32 against f32.
const CPU_TOLERANCE: f32 = 1e-4;
const GPU_TOLERANCE: f32 = 1e-3;

fn load(name: &str, device: &OpenDevice) -> Olmo2ForCausalLM {
    let folder = fixture::model(name);
    let config = Olmo2Config::read(&folder.join("config.json")).unwrap();
    let mut checkpoint = Checkpoint::open(&folder).unwrap();
    let model = Olmo2ForCausalLM::build(&mut checkpoint, &config, &device.device);
    checkpoint.finish(&[]).unwrap();
    model
}

fn tokens(expected: &Tensors, case: &str, device: &OpenDevice) -> (Tensor<2, Int>, [usize; 2]) {
    let (shape, ids) = expected.i64(&format!("{case}.input_ids"));
    let shape = [shape[0], shape[1]];
    (Tensor::from_data(TensorData::new(ids, shape), &device.device), shape)
}

fn cases(expected: &Tensors) -> Vec<String> {
    expected.names().iter().filter_map(|name| name.strip_suffix(".input_ids").map(str::to_owned)).collect()
}

/// Sets values at padded positions to zero, as the fixtures have them. `values` is `[batch_size, seq_len, width]`.
fn blank_padding(values: &mut [f32], expected: &Tensors, case: &str) {
    if case != "batch" {
        return;
    }
    let (_, mask) = expected.i64("batch.attention_mask");
    let width = values.len() / mask.len();
    for (position, values) in values.chunks_mut(width).enumerate() {
        if mask[position] == 0 {
            values.fill(0.0);
        }
    }
}

fn hidden_states_and_logits_equal_transformers(device: &OpenDevice, models: &[&str], tolerance: f32) {
    for name in models {
        let expected = Tensors::read(&fixture::model(name).join("expected.safetensors"));
        let model = load(name, device);
        let layers: Vec<usize> = (0..=model.n_layers()).collect();
        let cases = cases(&expected);
        assert!(!cases.is_empty(), "{name} has recorded cases");
        for case in cases {
            let (ids, shape) = tokens(&expected, &case, device);
            let compare = |what: String, tensor: Tensor<3>| {
                assert_eq!(tensor.dims()[..2], shape, "{name} {what}");
                let dims = tensor.dims();
                let mut got = tensor.into_data_as::<f32>().try_to_vec::<f32>().unwrap();
                blank_padding(&mut got, &expected, &case);
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
}

#[test]
fn hidden_states_and_logits_equal_transformers_on_cpu() {
    hidden_states_and_logits_equal_transformers(&device::open(DeviceChoice::Cpu).unwrap(), &MODELS, CPU_TOLERANCE);
}

#[test]
fn hidden_states_and_logits_equal_transformers_on_wgpu() {
    match device::open(DeviceChoice::Wgpu) {
        Ok(device) => {
            eprintln!("on {}", device.name);
            hidden_states_and_logits_equal_transformers(&device, &GPU_MODELS, GPU_TOLERANCE);
        }
        Err(error) => eprintln!("skipped: {error}"),
    }
}

#[test]
fn layers_come_in_the_order_asked_for_and_no_layer_changes_another() {
    let device = device::open(DeviceChoice::Cpu).unwrap();
    let model = load("odd", &device);
    let expected = Tensors::read(&fixture::model("odd").join("expected.safetensors"));
    let (ids, _) = tokens(&expected, "len_29", &device);
    let read = |state: Tensor<3>| state.into_data_as::<f32>().try_to_vec::<f32>().unwrap();
    let all: Vec<Vec<f32>> = model.hidden_states(ids.clone(), &[0, 1, 2, 3, 4, 5]).into_iter().map(read).collect();
    for wanted in [vec![3], vec![5, 0], vec![2, 2, 1], vec![0]] {
        let got: Vec<Vec<f32>> = model.hidden_states(ids.clone(), &wanted).into_iter().map(read).collect();
        for (layer, got) in wanted.iter().zip(&got) {
            assert_eq!(*got, all[*layer], "layer {layer} of {wanted:?}");
        }
        assert_eq!(got.len(), wanted.len());
    }
}

#[test]
fn a_sequence_is_the_same_alone_and_padded_in_a_batch() {
    let device = device::open(DeviceChoice::Cpu).unwrap();
    for name in ["mha-tied", "gqa-head-dim", "odd"] {
        let model = load(name, &device);
        let expected = Tensors::read(&fixture::model(name).join("expected.safetensors"));
        let (_, ids) = expected.i64("batch.input_ids");
        let (shape, mask) = expected.i64("batch.attention_mask");
        let last = model.n_layers();
        let (_, recorded) = expected.f32(&format!("batch.hidden_states.{last}"));
        let width = recorded.len() / mask.len();
        for row in 0..shape[0] {
            let at = row * shape[1];
            let n_tokens = mask[at..at + shape[1]].iter().sum::<i64>() as usize;
            let alone = TensorData::new(ids[at..at + n_tokens].to_vec(), [1, n_tokens]);
            let state = model.hidden_states(Tensor::from_data(alone, &device.device), &[last]).remove(0);
            let got = state.into_data_as::<f32>().try_to_vec::<f32>().unwrap();
            let difference = relative_difference(&got, &recorded[at * width..(at + n_tokens) * width]);
            assert!(difference <= CPU_TOLERANCE, "{name} row {row}: {difference:e}");
        }
    }
}
