//! The committed fixtures: where they lie, and reading the tensors that transformers computed.

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

/// The folder `tests`, as cargo says when it runs this: a target directory that several checkouts share may hold what
/// another one compiled.
pub fn package() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

/// The folder `tests/fixtures`.
pub fn folder() -> PathBuf {
    package().join("fixtures")
}

/// The model folder `tests/fixtures/olmo2/NAME`.
pub fn model(name: &str) -> PathBuf {
    folder().join("olmo2").join(name)
}

/// The model folders of an architecture, `tests/fixtures/ARCHITECTURE/NAME`, by name.
///
/// # Panics
///
/// Panics when there are none.
pub fn models(architecture: &str) -> Vec<(String, PathBuf)> {
    let folder = folder().join(architecture);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut models: Vec<(String, PathBuf)> = entries
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("config.json").is_file())
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .collect();
    assert!(!models.is_empty(), "{}: no models", folder.display());
    models.sort();
    models
}

/// One greedy continuation that transformers recorded in `greedy.json` of a model folder.
#[derive(Debug, Clone)]
pub struct Greedy {
    /// What the model continued.
    pub prompt: Vec<u32>,
    /// What would have ended it; absent where nothing does.
    pub eos_token_id: Option<u32>,
    /// What it said, without the end.
    pub continuation: Vec<u32>,
}

/// The greedy continuations of a model folder.
///
/// # Panics
///
/// Panics when they cannot be read.
pub fn greedy(model: &Path) -> Vec<Greedy> {
    let path = model.join("greedy.json");
    let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let cases: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let token = |value: &serde_json::Value| value.as_u64().map(|id| u32::try_from(id).unwrap());
    let tokens = |value: &serde_json::Value| value.as_array().unwrap().iter().map(|id| token(id).unwrap()).collect();
    let case = |case: &serde_json::Value| Greedy {
        prompt: tokens(&case["prompt"]),
        eos_token_id: token(&case["eos_token_id"]),
        continuation: tokens(&case["continuation"]),
    };
    cases.as_array().unwrap().iter().map(case).collect()
}

/// Copies the files of a folder (not its subfolders) into another, which is created.
///
/// # Panics
///
/// Panics when a file cannot be copied.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display())) {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// Tensors of one safetensors file, read as the tests need them.
pub struct Tensors {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Tensors {
    /// Reads a file.
    ///
    /// # Panics
    ///
    /// Panics when it cannot be read.
    pub fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path: path.to_owned(), bytes }
    }

    fn parsed(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap_or_else(|error| panic!("{}: {error}", self.path.display()))
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.parsed().names().into_iter().map(str::to_owned).collect();
        names.sort();
        names
    }

    /// Shape and values of an f32 tensor.
    ///
    /// # Panics
    ///
    /// Panics when it is absent or of another type.
    pub fn f32(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let tensors = self.parsed();
        let view = tensors.tensor(name).unwrap_or_else(|error| panic!("{}: {name}: {error}", self.path.display()));
        assert_eq!(view.dtype(), Dtype::F32, "{name}");
        let values = view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        (view.shape().to_vec(), values)
    }

    /// Shape and values of an i64 tensor.
    ///
    /// # Panics
    ///
    /// Panics when it is absent or of another type.
    pub fn i64(&self, name: &str) -> (Vec<usize>, Vec<i64>) {
        let tensors = self.parsed();
        let view = tensors.tensor(name).unwrap_or_else(|error| panic!("{}: {name}: {error}", self.path.display()));
        assert_eq!(view.dtype(), Dtype::I64, "{name}");
        let values = view.data().as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect();
        (view.shape().to_vec(), values)
    }
}

/// Largest absolute difference over the largest absolute value of `expected`: the measure of every parity test.
///
/// # Panics
///
/// Panics when the lengths differ, or when there is nothing to compare, or when `expected` is all zero.
pub fn relative_difference(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len(), "as many values");
    let scale = expected.iter().fold(0.0f32, |max, x| max.max(x.abs()));
    assert!(scale > 0.0, "something to compare with");
    // NaN must not slip through a maximum.
    assert!(got.iter().all(|x| x.is_finite()), "every value is finite");
    got.iter().zip(expected).fold(0.0f32, |max, (a, b)| max.max((a - b).abs())) / scale
}
