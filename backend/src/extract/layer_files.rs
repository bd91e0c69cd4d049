//! The vector files of a complete layer, as the verbs after extraction read them: checked against the manifests and
//! memory-mapped, one at a time.

use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::SafeTensors;
use thiserror::Error;
use whence_shared::index::manifest::hashed_vectors;
use whence_shared::shard::{Shard, ShardError};
use whence_shared::study::{LayerView, ShardView};

use super::VectorsManifest;
use crate::files::{self, Context, FileError};
use crate::study::Study;

const MEND_MANIFEST: &str = "the manifest is damaged: run `whence extract` for this layer again, which writes it anew";
const EXTRACT_AGAIN: &str = "remove the file and run `whence extract` again: the rest is kept";

/// A vector file or manifest that cannot be used.
#[derive(Debug, Error)]
pub enum VectorFileError {
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file that is no vector file.
    #[error("{}: {source}; {remedy}", path.display())]
    Shard {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ShardError,
        /// What to do.
        remedy: &'static str,
    },
    /// A vector file, manifest or behavior file that does not fit the others.
    #[error("{}: {what}: expected {expected}, got {got}; {remedy}", path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// What the rest of the study says.
        expected: String,
        /// What the file says.
        got: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A manifest that cannot be understood.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what to do.
        reason: String,
    },
}

/// The vector files of one layer, known from its manifest.
#[derive(Debug, Clone)]
pub struct LayerFiles {
    root: PathBuf,
    inputs: String,
    view: LayerView,
}

impl LayerFiles {
    /// Reads a layer's manifest and checks it against the study's.
    ///
    /// # Errors
    ///
    /// When it is missing, damaged, or does not cover every pair once.
    pub fn open(study: &Study, layer: usize, manifest: &VectorsManifest) -> Result<Self, VectorFileError> {
        let path = study.layer_manifest(layer);
        let view: LayerView = serde_json::from_slice(&files::read(&path)?).map_err(|error| {
            VectorFileError::Malformed { path: path.clone(), reason: format!("{error}; {MEND_MANIFEST}") }
        })?;
        let fit = Fit { path: &path, remedy: MEND_MANIFEST };
        fit.same("layer", &layer, &view.layer)?;
        fit.same("number of rows", &manifest.n_pairs, &view.n_rows)?;
        fit.same("width", &manifest.model.d_model, &view.d_model)?;
        let mut next_row = 0;
        for shard in &view.shards {
            fit.same("first row of the next file", &next_row, &shard.first_row)?;
            next_row += shard.n_rows;
        }
        fit.same("rows in all files", &view.n_rows, &next_row)?;
        Ok(Self { root: study.root().to_owned(), inputs: manifest.inputs.clone(), view })
    }

    /// The layer's manifest.
    pub fn view(&self) -> &LayerView {
        &self.view
    }

    /// Hash of everything the vectors were made from.
    pub fn inputs(&self) -> &str {
        &self.inputs
    }

    /// SHA-256 over the SHA-256s of the files, in order: changes when any number of any vector does.
    pub fn sha256(&self) -> String {
        let hashes = self.view.shards.iter().map(|shard| shard.sha256.as_str());
        files::sha256(hashed_vectors(hashes).as_bytes())
    }

    /// Which file holds a row.
    ///
    /// # Panics
    ///
    /// Panics when there is no such row.
    pub fn file_of(&self, row: usize) -> usize {
        assert!(row < self.view.n_rows, "row {row} of {}", self.view.n_rows);
        self.view.shards.partition_point(|shard| shard.first_row + shard.n_rows <= row)
    }

    /// Maps the `i`-th file and checks its header, and its SHA-256 with `verify`.
    ///
    /// # Errors
    ///
    /// When it is missing, damaged or does not belong to the rest.
    ///
    /// # Panics
    ///
    /// Panics when there is no such file.
    pub fn map(&self, i: usize, verify: bool) -> Result<MappedFile, VectorFileError> {
        let view: &ShardView = &self.view.shards[i];
        let path = self.root.join(&view.path);
        let file = File::open(&path).map_err(|source| FileError { action: "open", path: path.clone(), source })?;
        // SAFETY: a study's files are written under another name and renamed; nobody writes into one that has its name,
        // so the mapped bytes do not change. Someone truncating it by hand meanwhile would end the process, not corrupt
        // data.
        let bytes = unsafe { Mmap::map(&file) }.at("map", &path)?;
        let fit = Fit { path: &path, remedy: EXTRACT_AGAIN };
        fit.same("size in bytes", &view.n_bytes, &(bytes.len() as u64))?;
        if verify {
            fit.same("SHA-256", &view.sha256, &files::sha256(&bytes))?;
        }
        let not_ours = |source| VectorFileError::Shard { path: path.clone(), source, remedy: EXTRACT_AGAIN };
        let shard = Shard::parse(&bytes).map_err(not_ours)?;
        fit.same("model and text form (inputs)", &self.inputs, &shard.header.inputs)?;
        fit.same("layer", &self.view.layer, &shard.header.layer)?;
        fit.same("first row", &view.first_row, &shard.header.first_row)?;
        fit.same("number of rows", &view.n_rows, &shard.n_rows)?;
        fit.same("width", &self.view.d_model, &shard.d_model)?;
        fit.same("type of numbers", &self.view.dtype.name(), &shard.dtype.name())?;
        Ok(MappedFile { path, bytes })
    }
}

/// A vector file in memory, known to be whole.
#[derive(Debug)]
pub struct MappedFile {
    path: PathBuf,
    bytes: Mmap,
}

impl MappedFile {
    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The vectors.
    ///
    /// # Panics
    ///
    /// Never, unless the file changed on disk since it was mapped.
    pub fn shard(&self) -> Shard<'_> {
        Shard::parse(&self.bytes).expect("checked when it was mapped")
    }

    /// Reads the vector of a row of the study that lies in this file, `[d_model]`.
    ///
    /// # Errors
    ///
    /// When it holds a number that is not finite.
    ///
    /// # Panics
    ///
    /// Panics when the row lies in another file or `out` has another width.
    pub fn read_finite_row(&self, row: usize, out: &mut [f32]) -> Result<(), VectorFileError> {
        let shard = self.shard();
        shard.read_row(row - shard.header.first_row, out);
        let Some(column) = out.iter().position(|x| !x.is_finite()) else { return Ok(()) };
        Err(VectorFileError::Malformed {
            path: self.path.clone(),
            reason: format!(
                "row {row}, column {column}: expected a finite number, got {}; remove the file and run `whence extract` again: \
                 the rest is kept",
                out[column]
            ),
        })
    }

    /// The vectors' bytes as they lie, row-major in the stored type, and how many bytes of the file are before them.
    ///
    /// # Panics
    ///
    /// Never, unless the file changed on disk since it was mapped.
    pub fn vectors(&self) -> (&[u8], u64) {
        let (header_len, header) = SafeTensors::read_metadata(&self.bytes).expect("checked when it was mapped");
        let (start, end) = header.info("vectors").expect("checked when it was mapped").data_offsets;
        let data = 8 + header_len;
        (&self.bytes[data + start..data + end], (data + start) as u64)
    }
}

/// Compares what a file says with what it should.
pub(crate) struct Fit<'a> {
    /// The file.
    pub path: &'a Path,
    /// What to do when they differ.
    pub remedy: &'static str,
}

impl Fit<'_> {
    /// # Errors
    ///
    /// [`VectorFileError::Mismatch`] when the two differ.
    pub fn same<T: PartialEq + ToString>(
        &self,
        what: &'static str,
        expected: &T,
        got: &T,
    ) -> Result<(), VectorFileError> {
        if expected == got {
            return Ok(());
        }
        Err(VectorFileError::Mismatch {
            path: self.path.to_owned(),
            what,
            expected: expected.to_string(),
            got: got.to_string(),
            remedy: self.remedy,
        })
    }
}
