//! The committed fixtures: where they lie, and reading the tensors that transformers computed.

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

/// The folder `tests/fixtures`.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// The model folder `tests/fixtures/olmo2/NAME`.
pub fn model(name: &str) -> PathBuf {
    folder().join("olmo2").join(name)
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
