//! Weights: safetensors files, single or sharded by an index, memory-mapped and converted to the compute type as
//! they are taken.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};
use half::{bf16, f16};
use memmap2::Mmap;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use super::ModelError;
use super::layers::Parameters;
use crate::files::{self, Context};

/// The single weights file.
pub const SINGLE: &str = "model.safetensors";
/// The index of a sharded checkpoint.
pub const INDEX: &str = "model.safetensors.index.json";

/// Files of a checkpoint in `folder`, in a fixed order: the single file, or those that the index names.
///
/// # Errors
///
/// When there is neither, or the index is malformed or names a file that is not there.
pub fn weight_files(folder: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let single = folder.join(SINGLE);
    let index = folder.join(INDEX);
    if single.is_file() {
        return Ok(vec![single]);
    }
    if !index.is_file() {
        let hint = if folder.join("pytorch_model.bin").is_file() {
            "; this folder has only pickled weights: save it again with safe_serialization=True"
        } else {
            ""
        };
        return Err(ModelError::Missing { folder: folder.into(), file: format!("{SINGLE} or {INDEX}"), hint });
    }
    let malformed = |got: String| ModelError::Config {
        path: index.clone(),
        key: "weight_map".into(),
        expected: "an object from weight names to file names".into(),
        got,
    };
    let value: Value = serde_json::from_slice(&files::read(&index)?).map_err(|error| malformed(error.to_string()))?;
    let map = value.get("weight_map").and_then(Value::as_object).ok_or_else(|| malformed("none".into()))?;
    let mut names = BTreeSet::new();
    for file in map.values() {
        let name =
            file.as_str().filter(|name| !name.contains(['/', '\\'])).ok_or_else(|| malformed(file.to_string()))?;
        names.insert(name.to_owned());
    }
    names
        .into_iter()
        .map(|name| {
            let path = folder.join(&name);
            let missing = || ModelError::Missing {
                folder: folder.into(),
                file: name,
                hint: "; the index names this file: the download is incomplete",
            };
            if path.is_file() { Ok(path) } else { Err(missing()) }
        })
        .collect()
}

/// An open checkpoint: hands out weights by key and remembers what went wrong, so that all missing keys are reported
/// together.
pub struct Checkpoint {
    folder: PathBuf,
    files: Vec<(PathBuf, Mmap)>,
    /// Key → file index.
    index: BTreeMap<String, usize>,
    /// What matrices are converted to; vectors (norms, biases) are always f32.
    dtype: DType,
    taken: BTreeSet<String>,
    missing: Vec<String>,
    first_error: Option<ModelError>,
}

impl Checkpoint {
    /// Opens the weights of a model folder, whose matrices will be taken as `dtype` (F32, BF16 or F16).
    ///
    /// # Errors
    ///
    /// When a file is missing or not a complete safetensors file.
    pub fn open(folder: &Path, dtype: DType) -> Result<Self, ModelError> {
        let mut opened = Vec::new();
        let mut index = BTreeMap::new();
        for (i, path) in weight_files(folder)?.into_iter().enumerate() {
            let file = File::open(&path).at("open", &path)?;
            // SAFETY: the mapping is only read. A file that another process truncates meanwhile ends this process, as
            // with every memory-mapped reader.
            let mapped = unsafe { Mmap::map(&file) }.at("map", &path)?;
            let tensors = SafeTensors::deserialize(&mapped)
                .map_err(|error| ModelError::Truncated { path: path.clone(), reason: error.to_string() })?;
            for name in tensors.names() {
                index.insert(name.to_owned(), i);
            }
            opened.push((path, mapped));
        }
        Ok(Self {
            folder: folder.to_owned(),
            files: opened,
            index,
            dtype,
            taken: BTreeSet::new(),
            missing: Vec::new(),
            first_error: None,
        })
    }

    /// Whether the checkpoint has a weight.
    pub fn has(&self, key: &str) -> bool {
        self.index.contains_key(key)
    }

    /// Keys of the decoder layers' projections, without `.weight`, in key order.
    pub fn projections(&self) -> Vec<String> {
        let mut keys = Vec::new();
        for (_, mapped) in &self.files {
            let Ok(tensors) = SafeTensors::deserialize(mapped) else { continue };
            let matrices = tensors.iter().filter(|(_, view)| view.shape().len() == 2).map(|(key, _)| key);
            let of_layers = matrices.filter(|key| key.starts_with("model.layers."));
            keys.extend(of_layers.filter_map(|key| Some(key.strip_suffix(".weight")?.to_owned())));
        }
        keys.sort();
        keys
    }

    /// To be called when the model is built: reports what was wrong, missing or left over.
    ///
    /// `ignored` are keys that may be left over, such as a stored copy of a tied projection.
    ///
    /// # Errors
    ///
    /// The first wrong weight, else all missing keys, else all unused keys.
    pub fn finish(self, ignored: &[&str]) -> Result<(), ModelError> {
        if let Some(error) = self.first_error {
            return Err(error);
        }
        if !self.missing.is_empty() {
            return Err(ModelError::MissingKeys { folder: self.folder, keys: self.missing });
        }
        let unused: Vec<String> = self
            .index
            .into_keys()
            .filter(|key| !self.taken.contains(key) && !ignored.contains(&key.as_str()))
            // Old exports store the rotary table; it follows from the configuration.
            .filter(|key| !key.ends_with("rotary_emb.inv_freq"))
            .collect();
        if unused.is_empty() { Ok(()) } else { Err(ModelError::UnusedKeys { folder: self.folder, keys: unused }) }
    }

    fn read(&self, key: &str, shape: &[usize]) -> Result<Option<TensorData>, ModelError> {
        let Some(&file) = self.index.get(key) else { return Ok(None) };
        let (path, mapped) = &self.files[file];
        let truncated = |error: safetensors::SafeTensorError| ModelError::Truncated {
            path: path.clone(),
            reason: error.to_string(),
        };
        let view = SafeTensors::deserialize(mapped).and_then(|t| t.tensor(key)).map_err(truncated)?;
        if view.shape() != shape {
            return Err(ModelError::Shape {
                path: path.clone(),
                key: key.into(),
                expected: shape.to_vec(),
                got: view.shape().to_vec(),
            });
        }
        let values = to_f32(&view).ok_or_else(|| ModelError::Dtype {
            path: path.clone(),
            key: key.into(),
            got: format!("{:?}", view.dtype()),
        })?;
        if let Some(index) = values.iter().position(|x| !x.is_finite()) {
            let value = values[index];
            return Err(ModelError::NotFinite { path: path.clone(), key: key.into(), index, value });
        }
        let dtype = if shape.len() == 1 { DType::F32 } else { self.dtype };
        Ok(Some(match dtype {
            DType::BF16 => TensorData::new(values.into_iter().map(bf16::from_f32).collect(), shape.to_vec()),
            DType::F16 => {
                let largest = f16::MAX.to_f32();
                if let Some(index) = values.iter().position(|x| x.abs() > largest) {
                    let value = values[index];
                    return Err(ModelError::TooLargeForF16 { path: path.clone(), key: key.into(), index, value });
                }
                TensorData::new(values.into_iter().map(f16::from_f32).collect(), shape.to_vec())
            }
            _ => TensorData::new(values, shape.to_vec()),
        }))
    }

    /// The type that most weights are stored in, for people: `BF16`.
    pub fn stored_dtype(&self) -> String {
        let mut bytes: BTreeMap<String, usize> = BTreeMap::new();
        for (_, mapped) in &self.files {
            let Ok(tensors) = SafeTensors::deserialize(mapped) else { continue };
            for (_, view) in tensors.iter() {
                *bytes.entry(format!("{:?}", view.dtype())).or_default() += view.data().len();
            }
        }
        bytes.into_iter().max_by_key(|(_, bytes)| *bytes).map_or_else(|| "nothing".into(), |(name, _)| name)
    }
}

impl Parameters for Checkpoint {
    fn tensor<const D: usize>(&mut self, key: &str, shape: [usize; D], device: &Device) -> Tensor<D> {
        self.taken.insert(key.to_owned());
        match self.read(key, &shape) {
            Ok(Some(data)) => {
                let dtype = data.dtype();
                return Tensor::from_data(data, (device, dtype));
            }
            Ok(None) => self.missing.push(key.to_owned()),
            Err(error) => self.first_error = self.first_error.take().or(Some(error)),
        }
        // A placeholder that `finish` keeps from ever being used, not of the wanted size: that may be absurd.
        Tensor::zeros([1; D], device)
    }
}

fn to_f32(view: &TensorView) -> Option<Vec<f32>> {
    let halves = view.data().as_chunks::<2>().0;
    Some(match view.dtype() {
        Dtype::F32 => view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::BF16 => halves.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::F16 => halves.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        _ => return None,
    })
}

/// Random weights for training from scratch: projections and embeddings from a truncated normal distribution with
/// standard deviation `std` (as transformers' `initializer_range`), norms at one. Seeded: the same on every machine.
#[derive(Debug)]
pub struct RandomParameters {
    rng: ChaCha8Rng,
    std: f32,
}

impl RandomParameters {
    /// Random weights of a seed.
    pub fn new(seed: u64, std: f32) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed), std }
    }

    /// One normal number by the Box–Muller transform, redrawn beyond three standard deviations.
    fn normal(&mut self) -> f32 {
        let mut uniform = || (f64::from(self.rng.next_u32()) + 0.5) / f64::from(u32::MAX);
        loop {
            let z = (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
            if z.abs() <= 3.0 {
                return z as f32 * self.std;
            }
        }
    }
}

impl Parameters for RandomParameters {
    fn tensor<const D: usize>(&mut self, _key: &str, shape: [usize; D], device: &Device) -> Tensor<D> {
        let n_values = shape.iter().product();
        // Vectors are norms, matrices are everything else.
        let values: Vec<f32> =
            if D == 1 { vec![1.0; n_values] } else { (0..n_values).map(|_| self.normal()).collect() };
        Tensor::from_data(TensorData::new(values, shape), device)
    }
}

/// Where a visit of a module stands, as a checkpoint's key. A visitor enters and leaves it as it enters and leaves modules.
#[derive(Debug, Default)]
pub struct KeyPath {
    path: Vec<String>,
    /// Leading parts of the path that are no part of a checkpoint's keys: a model of any architecture is a decoder in a
    /// shell.
    n_shells: usize,
}

impl KeyPath {
    /// To be called by `enter_module`.
    pub fn enter(&mut self, name: &str, container_type: &str) {
        self.path.push(name.to_owned());
        if container_type.starts_with("Enum:") {
            self.n_shells = self.path.len();
        }
    }

    /// To be called by `exit_module`.
    pub fn leave(&mut self) {
        self.path.pop();
    }

    /// The key of the weight that is visited.
    pub fn key(&self) -> String {
        self.path[self.n_shells..].join(".")
    }
}

/// All weights of a module by checkpoint key, as f32, in key order.
pub fn weights_of<M: Module>(module: &M) -> BTreeMap<String, TensorData> {
    #[derive(Default)]
    struct Collector {
        path: KeyPath,
        weights: BTreeMap<String, TensorData>,
    }
    impl ModuleVisitor for Collector {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.weights.insert(self.path.key(), param.val().into_data_as::<f32>());
        }
        fn enter_module(&mut self, name: &str, container_type: &str) {
            self.path.enter(name, container_type);
        }
        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.leave();
        }
    }
    let mut collector = Collector::default();
    module.visit(&mut collector);
    collector.weights
}

/// Writes a module's weights as `model.safetensors`, atomically: all of them as `dtype` (F32, BF16 or F16), as published
/// models have them. The same weights give the same bytes.
///
/// # Errors
///
/// When the file cannot be written, or a weight is too large for f16.
pub fn save<M: Module>(module: &M, folder: &Path, dtype: DType) -> Result<(), ModelError> {
    let weights = weights_of(module);
    let path = folder.join(SINGLE);
    let broken =
        |error: safetensors::SafeTensorError| ModelError::Truncated { path: path.clone(), reason: error.to_string() };
    let stored = match dtype {
        DType::BF16 => Dtype::BF16,
        DType::F16 => Dtype::F16,
        _ => Dtype::F32,
    };
    let mut halves = BTreeMap::new();
    for (key, data) in weights.iter().filter(|_| stored != Dtype::F32) {
        let values = data.as_slice::<f32>().expect("weights are collected as f32");
        let largest = f16::MAX.to_f32();
        if let Some(index) = values.iter().position(|x| stored == Dtype::F16 && x.abs() > largest) {
            return Err(ModelError::TooLargeForF16 { path, key: key.clone(), index, value: values[index] });
        }
        let narrow = |x: &f32| match stored {
            Dtype::BF16 => bf16::from_f32(*x).to_le_bytes(),
            _ => f16::from_f32(*x).to_le_bytes(),
        };
        halves.insert(key, values.iter().flat_map(narrow).collect::<Vec<u8>>());
    }
    let mut views = Vec::with_capacity(weights.len());
    for (key, data) in &weights {
        let shape: Vec<usize> = data.shape().to_vec();
        let bytes = halves.get(key).map_or_else(|| data.bytes(), Vec::as_slice);
        views.push((key.as_str(), TensorView::new(stored, shape, bytes).map_err(broken)?));
    }
    // transformers refuses files without this hint at the framework.
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(broken)?;
    files::write(&path, &bytes)?;
    Ok(())
}
