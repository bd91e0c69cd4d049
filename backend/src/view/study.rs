//! `study.json`: what the study holds, assembled from its folder every time, so that what a verb just wrote is there.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use whence_shared::map::PairMap;
use whence_shared::study::{BehaviorView, FORMAT, IndexView, LayerView, MapView, StudyView};

use super::pairs::{OpenPairs, config_of};
use super::{ViewError, read_json};
use crate::extract::{LayerFiles, VectorsManifest};
use crate::files;
use crate::index::IndexState;
use crate::study::Study;

/// What a study looks like from outside. Vectors that were made from other pairs, and behaviors' vectors that were made
/// with another model, are left out: they cannot be shown together. So are layers and behaviors whose files cannot be read: the
/// others can.
///
/// # Errors
///
/// When the study's own files cannot be read.
pub fn assemble(study: &Study, pairs: &OpenPairs) -> Result<StudyView, ViewError> {
    let config = config_of(study, pairs)?;
    let manifest = VectorsManifest::read(study)?;
    let manifest = manifest.filter(|manifest| {
        let is_theirs = manifest.pairs_sha256 == pairs.sha256;
        if !is_theirs {
            tracing::warn!("the vectors were made from other pairs: run `whence extract` again with --replace");
        }
        is_theirs
    });
    let mut layers = Vec::new();
    let mut behaviors = Vec::new();
    if let Some(manifest) = &manifest {
        for layer in study.complete_layers()? {
            match of_layer(study, manifest, layer) {
                Ok(Some(view)) => layers.push(view),
                Ok(None) => {}
                Err(error) => tracing::warn!("layer {layer} is left out: {error}: run `whence extract` again"),
            }
        }
        for name in study.behavior_names()? {
            let mut view: BehaviorView = match read_json(&study.behavior_view(&name)) {
                Ok(view) => view,
                Err(error) => {
                    tracing::warn!("behavior {name} is left out: {error}: run `whence behavior` again");
                    continue;
                }
            };
            view.has_sweep = study.sweep(&name).is_file();
            view.layers.retain(|&layer| {
                inputs_of(&study.behavior_vectors(&name, layer)).is_some_and(|inputs| inputs == manifest.inputs)
            });
            // What there is at layers that are left out is left out, too.
            let with = |has: &dyn Fn(usize) -> bool| view.layers.iter().copied().filter(|layer| has(*layer)).collect();
            view.token_layers = with(&|layer| study.tokens(&name, layer).is_file());
            view.diagnosed_layers = with(&|layer| study.diagnosis(&name, layer).is_file());
            behaviors.push(view);
        }
    }
    Ok(StudyView {
        format: FORMAT.into(),
        name: study.name(),
        n_pairs: pairs.file.len(),
        pairs_sha256: pairs.sha256.clone(),
        sources: config.sources,
        health: config.health,
        model: manifest.map(|manifest| manifest.model),
        layers,
        behaviors,
        discoveries: study.discovery_names()?,
        clusterings: study.clustering_names()?,
        maps: maps(study, pairs.file.len())?,
        gather: true,
        api: true,
        nearest: true,
        texts_withheld: false,
    })
}

/// A layer, if it has a row for each pair.
fn of_layer(study: &Study, manifest: &VectorsManifest, layer: usize) -> Result<Option<LayerView>, ViewError> {
    let view: LayerView = read_json(&study.layer_manifest(layer))?;
    if view.n_rows != manifest.n_pairs {
        return Ok(None);
    }
    Ok(Some(LayerView { index: index(study, manifest, layer)?, ..view }))
}

/// The maps of these pairs. Others, and files that are no map, are left out.
fn maps(study: &Study, n_pairs: usize) -> Result<Vec<MapView>, ViewError> {
    let mut views = Vec::new();
    for name in study.map_names()? {
        let bytes = files::read(&study.map(&name))?;
        match PairMap::parse(&bytes, n_pairs) {
            Ok(map) => views.push(MapView {
                layer: map.layer,
                method: map.method.name().to_owned(),
                n_bytes: bytes.len() as u64,
                sha256: files::sha256(&bytes),
                name,
            }),
            Err(error) => tracing::warn!("maps/{name}.safetensors is left out: {error}: run `whence map` again"),
        }
    }
    Ok(views)
}

/// The index of a layer, if it is whole and of the vectors that are there.
fn index(study: &Study, manifest: &VectorsManifest, layer: usize) -> Result<Option<IndexView>, ViewError> {
    let vectors = LayerFiles::open(study, layer, manifest)?;
    match IndexState::of(study, &vectors) {
        IndexState::Absent => Ok(None),
        IndexState::Stale { why } => {
            tracing::warn!("the index of layer {layer} is left out: {why}: run `whence index`");
            Ok(None)
        }
        IndexState::Current(index) => Ok(Some(IndexView {
            path: format!("index/layer-{layer}/manifest.json"),
            n_bytes: index.n_bytes(),
            sha256: files::sha256(&files::read(&study.index_manifest(layer))?),
        })),
    }
}

/// What a vector file says it was made from, read from its header alone: the files are large. (The safetensors crate
/// reads a header only together with the data it describes.)
fn inputs_of(path: &Path) -> Option<String> {
    const MAX_HEADER_BYTES: u64 = 1 << 20;
    let mut file = File::open(path).ok()?;
    let mut n_bytes = [0; 8];
    file.read_exact(&mut n_bytes).ok()?;
    let header = file.take(u64::from_le_bytes(n_bytes).min(MAX_HEADER_BYTES));
    let header: serde_json::Value = serde_json::from_reader(BufReader::new(header)).ok()?;
    header["__metadata__"]["inputs"].as_str().map(str::to_owned)
}
