//! A study's pair vectors as the tests compare them: whole files by name, and rows by number.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use whence_shared::shard::Shard;

/// Contents of every file under `folder`, by path relative to it.
///
/// # Panics
///
/// Panics when something cannot be read.
pub fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut contents = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap_or_else(|error| panic!("{}: {error}", next.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                contents.insert(path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    contents
}

/// Rows of one layer in order, each `[d_model]`. Every file must start where the one before it ended.
///
/// # Panics
///
/// Panics when a file is not a whole shard of this layer or rows are missing.
pub fn rows(study: &Path, layer: usize) -> Vec<Vec<f32>> {
    let mut rows = Vec::new();
    // Names are first rows, padded with zeros: the order of paths is the order of rows.
    for (path, bytes) in files(&study.join("vectors").join(format!("layer-{layer}"))) {
        if path.extension().is_none_or(|extension| extension != "safetensors") {
            continue;
        }
        let shard = Shard::parse(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!((shard.header.layer, shard.header.first_row), (layer, rows.len()), "{}", path.display());
        rows.extend(shard.to_f32().chunks_exact(shard.d_model).map(<[f32]>::to_vec));
    }
    rows
}
