//! Parity with transformers from end to end: `whence import` and `whence extract` on pairs with known vectors.

use std::ffi::OsStr;
use std::path::Path;

use whence_backend::device::{self, DeviceChoice};
use whence_tests::binary::whence;
use whence_tests::fixture::{self, Tensors, relative_difference};
use whence_tests::vectors;

fn pair_vectors_equal_transformers(device: &str, tolerance: f32) {
    let root = tempfile::tempdir().unwrap();
    let (model, study) = (fixture::model("chat"), root.path().join("study"));
    let arg = |path: &Path| path.as_os_str().to_owned();
    whence([OsStr::new("import"), &arg(&model.join("pairs.jsonl")), OsStr::new("--study"), &arg(&study)]).succeeds();
    let args = ["extract", "--layers", "0-3", "--device", device].map(Into::into);
    let folders = ["--model".into(), arg(&model), "--study".into(), arg(&study)];
    whence(args.into_iter().chain(folders)).succeeds();

    let expected = Tensors::read(&model.join("expected_pairs.safetensors"));
    for layer in 0..=3 {
        let (shape, values) = expected.f32(&format!("vectors.{layer}"));
        let rows = vectors::rows(&study, layer);
        assert_eq!([rows.len(), rows[0].len()], shape[..], "layer {layer}");
        for (row, (got, expected)) in rows.iter().zip(values.chunks_exact(shape[1])).enumerate() {
            let difference = relative_difference(got, expected);
            assert!(difference <= tolerance, "layer {layer}, row {row}: {difference:e} > {tolerance:e}");
        }
    }
}

#[test]
fn pair_vectors_equal_transformers_on_cpu() {
    pair_vectors_equal_transformers("cpu", 1e-4);
}

#[test]
fn pair_vectors_equal_transformers_on_wgpu() {
    match device::open(DeviceChoice::Wgpu) {
        Ok(_) => pair_vectors_equal_transformers("wgpu", 1e-3),
        Err(error) => eprintln!("skipped: {error}"),
    }
}
