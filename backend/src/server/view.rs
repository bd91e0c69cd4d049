//! `/data/study.json`: what the study holds, assembled from its folder on every request, so that what a verb just wrote
//! is there on reload.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use axum::extract::State as Extract;
use axum::http::HeaderMap;
use axum::response::Response;
use whence_shared::map::PairMap;
use whence_shared::study::{BehaviorView, FORMAT, IndexView, LayerView, MapView, StudyView};

use super::State;
use super::chunks::{blocking, json_response};
use super::error::RequestError;
use super::pairs::{OpenPairs, config_of};
use crate::extract::{LayerFiles, VectorsManifest};
use crate::files;
use crate::index::IndexState;
use crate::study::Study;

/// Answers `/data/study.json`.
pub async fn study(Extract(state): Extract<State>, headers: HeaderMap) -> Result<Response, RequestError> {
    let json = blocking(move || {
        let pairs = state.pairs.current()?;
        let view = assemble(&state.study, &pairs)?;
        serde_json::to_vec(&view).map_err(RequestError::study)
    })
    .await?;
    let etag = files::sha256(&json);
    Ok(json_response(&headers, &etag, json.into()))
}

/// What a study looks like from outside. Vectors that were made from other pairs, and behaviors' vectors that were made
/// with another model, are left out: they cannot be shown together.
///
/// # Errors
///
/// When the study's own files cannot be read.
pub fn assemble(study: &Study, pairs: &OpenPairs) -> Result<StudyView, RequestError> {
    let config = config_of(study, pairs)?;
    let manifest = VectorsManifest::read(study).map_err(RequestError::study)?;
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
            let mut view: LayerView = read_json(&study.layer_manifest(layer))?;
            if view.n_rows == manifest.n_pairs {
                view.index = index(study, manifest, layer)?;
                layers.push(view);
            }
        }
        for name in study.behavior_names()? {
            let mut view: BehaviorView = read_json(&study.behavior_view(&name))?;
            view.has_sweep = study.sweep(&name).is_file();
            view.layers.retain(|&layer| {
                inputs_of(&study.behavior_vectors(&name, layer)).is_some_and(|inputs| inputs == manifest.inputs)
            });
            behaviors.push(view);
        }
    }
    Ok(StudyView {
        format: FORMAT.into(),
        name: study.name(),
        n_pairs: pairs.file.len(),
        sources: config.sources,
        health: config.health,
        model: manifest.map(|manifest| manifest.model),
        layers,
        behaviors,
        discoveries: study.discovery_names()?,
        clusterings: study.clustering_names()?,
        maps: maps(study, pairs.file.len())?,
        gather: true,
    })
}

/// The index of a layer, if it is whole and of the vectors that are there.
fn index(study: &Study, manifest: &VectorsManifest, layer: usize) -> Result<Option<IndexView>, RequestError> {
    let vectors = LayerFiles::open(study, layer, manifest).map_err(RequestError::study)?;
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

/// The maps of these pairs. Others, and files that are no map, are left out.
fn maps(study: &Study, n_pairs: usize) -> Result<Vec<MapView>, RequestError> {
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

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, RequestError> {
    serde_json::from_slice(&files::read(path)?)
        .map_err(|error| RequestError::study(format!("{}: {error}", path.display())))
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
