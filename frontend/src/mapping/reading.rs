//! From files to a map: stored maps, the first two dimensions of an index, and what points are colored by.

use std::collections::HashSet;
use std::rc::Rc;

use js_sys::{Float32Array, Int32Array, Uint8Array, Uint32Array};
use wasm_bindgen::JsValue;
use whence_shared::clustering::{ClusteringView, FORMAT, Labels};
use whence_shared::columns::{PATH, RowColumns};
use whence_shared::index::block::Block;
use whence_shared::index::manifest::hashed_vectors;
use whence_shared::map::PairMap;
use whence_shared::plane::Frame;
use whence_shared::plane::grid::Grid;
use whence_shared::study::{LayerView, MapView, ROWS_PER_ROW_CHUNK, RowChunk};

use super::calls::{Answer, Asked, Call, Facts, Grouping, GroupingFacts, MapOf, Note, Opening};
use crate::assigning::rounds;
use crate::fetch::{FetchError, File, Transfer, sha256};
use crate::ranker::calls::FileRef;
use crate::ranker::files::Files;
use crate::ranker::opening::manifest;

/// Most bytes of index blocks that wait to be written to the browser's store.
const MAX_WAITING_BYTES: u64 = 16 << 20;
/// Chunks of rows that are asked for at a time.
const CHUNKS_AT_A_TIME: usize = 4;

/// An answer and the arrays that follow it.
type Answered = (Answer, Vec<JsValue>);

/// Answers a call.
///
/// # Errors
///
/// In words: a file that does not arrive or does not fit, and what to do about it.
pub async fn answer(call: Call, files: &Rc<Files>, tell: &impl Fn(Note)) -> Result<Answered, String> {
    files.prepare(Some(MAX_WAITING_BYTES), 0, &HashSet::new()).await;
    match call {
        Call::Open(opening) => {
            let Opening { asked, of } = *opening;
            let (facts, points) = match of {
                MapOf::Stored(view, layer) => stored(&asked, &view, layer.as_ref(), files).await?,
                MapOf::Index(layer) => of_index(&asked, &layer, files, tell).await?,
            };
            Ok((Answer::Opened(facts), arrays_of(&points)))
        }
        Call::Sources(asked) => {
            let sources = sources(&asked, tell).await?;
            Ok((Answer::Sources, vec![Uint32Array::from(sources.as_slice()).into()]))
        }
        Call::Clusters(asked, name) => {
            let (view, labels) = clusters(&asked, &name, files).await?;
            Ok((Answer::Clusters(Box::new(view)), vec![Int32Array::from(labels.as_slice()).into()]))
        }
        Call::Group(grouping) => {
            let (facts, labels) = grouped(&grouping, files, tell).await?;
            Ok((Answer::Grouped(facts), vec![Uint32Array::from(labels.as_slice()).into()]))
        }
    }
}

/// Points by row and their grid, as they follow [`Answer::Opened`].
fn arrays_of(points: &[f32]) -> Vec<JsValue> {
    let frame = Frame::around(points);
    let unit: Vec<f32> = points.as_chunks::<2>().0.iter().flat_map(|point| frame.unit(*point)).collect();
    let grid = Grid::new(&unit);
    let (starts, rows, sorted) = grid.parts();
    vec![
        Float32Array::from(points).into(),
        Uint32Array::from(starts).into(),
        Uint32Array::from(rows).into(),
        Float32Array::from(sorted).into(),
    ]
}

async fn stored(
    asked: &Asked,
    view: &MapView,
    layer: Option<&LayerView>,
    files: &Rc<Files>,
) -> Result<(Facts, Vec<f32>), String> {
    let path = format!("maps/{}.safetensors", view.name);
    let file = FileRef { path: path.clone(), n_bytes: view.n_bytes, sha256: view.sha256.clone() };
    let bytes = bytes_of(&asked.data, &file, files).await?;
    let map = PairMap::parse(&bytes, asked.n_pairs).map_err(|error| format!("{path}: {error}"))?;
    if let Some(layer) = layer {
        let hashes = hashed_vectors(layer.shards.iter().map(|shard| shard.sha256.as_str()));
        if sha256(&Uint8Array::from(hashes.as_bytes())).await != map.vectors_sha256 {
            return Err(format!(
                "{path}: made from other pair vectors than those of layer {} here; run whence map again",
                map.layer
            ));
        }
    }
    let facts = Facts {
        method: Some(map.method),
        layer: map.layer,
        n_fitted: map.n_fitted,
        trustworthiness: map.trustworthiness,
    };
    Ok((facts, map.points))
}

async fn of_index(
    asked: &Asked,
    layer: &LayerView,
    files: &Rc<Files>,
    tell: &impl Fn(Note),
) -> Result<(Facts, Vec<f32>), String> {
    let index = layer.index.as_ref().ok_or("this layer has no index; run whence index")?;
    let transfer = Transfer::default();
    let manifest = manifest(&asked.data, layer, index, files, &transfer).await.map_err(|error| error.to_string())?;
    let block = manifest.blocks.first().filter(|block| block.width >= 2);
    let block = block.ok_or("vectors of width 1 have no second dimension to draw")?;
    let mut points = vec![0.0; 2 * asked.n_pairs];
    for (i, file) in block.files.iter().enumerate() {
        tell(Note::Read(i, block.files.len()));
        let bytes = bytes_of(&asked.data, &file.into(), files).await?;
        let wrong = |reason: String| format!("{}: {reason}", file.path);
        let rows = Block::parse(&bytes).map_err(|error| wrong(error.to_string()))?;
        let fits = (rows.header.first_row, rows.n_rows, rows.width) == (file.first_row, file.n_rows, block.width);
        if !fits || file.first_row + file.n_rows > asked.n_pairs {
            return Err(wrong("it holds other rows than the manifest says; run whence index again".into()));
        }
        let out = points[2 * file.first_row..].as_chunks_mut::<2>().0;
        for ((codes, scale), point) in rows.codes.chunks_exact(rows.width).zip(&rows.scale).zip(out) {
            *point = [f32::from(codes[0]) * scale, f32::from(codes[1]) * scale];
        }
    }
    let facts = Facts { method: None, layer: layer.layer, n_fitted: asked.n_pairs, trustworthiness: None };
    Ok((facts, points))
}

/// The source of every pair, from the file of columns where the study has one.
async fn sources(asked: &Asked, tell: &impl Fn(Note)) -> Result<Vec<u32>, String> {
    match File::new(&asked.data, PATH).bytes(&Transfer::default()).await {
        Ok(bytes) => {
            let columns = RowColumns::parse(&bytes.to_vec(), asked.n_pairs);
            let columns = columns.map_err(|error| format!("{PATH}: {error}"))?;
            let is_theirs = asked.pairs_sha256.is_empty() || columns.pairs_sha256 == asked.pairs_sha256;
            is_theirs
                .then_some(columns.source)
                .ok_or_else(|| format!("{PATH} is of other pairs than the study now has"))
        }
        Err(FetchError::Status { status: 404, .. }) => sources_of_chunks(asked, tell).await,
        Err(error) => Err(error.to_string()),
    }
}

/// The source of every pair: rows come in chunks that hold more, of which this is all that is kept.
async fn sources_of_chunks(asked: &Asked, tell: &impl Fn(Note)) -> Result<Vec<u32>, String> {
    let n_chunks = asked.n_pairs.div_ceil(ROWS_PER_ROW_CHUNK);
    let mut sources = Vec::with_capacity(asked.n_pairs);
    let chunks: Vec<usize> = (0..n_chunks).collect();
    for some in chunks.chunks(CHUNKS_AT_A_TIME) {
        tell(Note::Read(some[0], n_chunks));
        let paths: Vec<String> = some.iter().map(|n| format!("rows/{n}.json")).collect();
        let requests: Vec<File> = paths.iter().map(|path| File::new(&asked.data, path)).collect();
        let arrived = futures_util::future::join_all(requests.iter().map(|file| file.json::<RowChunk>())).await;
        for (chunk, path) in arrived.into_iter().zip(&paths) {
            let chunk = chunk.map_err(|error| error.to_string())?;
            if chunk.first_row != sources.len() {
                return Err(format!("{path}: expected rows from {}, got {}", sources.len(), chunk.first_row));
            }
            sources.extend(chunk.source);
        }
    }
    match sources.len() == asked.n_pairs {
        true => Ok(sources),
        false => Err(format!("rows/: expected {} pairs, got {}", asked.n_pairs, sources.len())),
    }
}

async fn clusters(asked: &Asked, name: &str, files: &Rc<Files>) -> Result<(ClusteringView, Vec<i32>), String> {
    let path = format!("clusters/{name}/pairs.json");
    let view: ClusteringView = File::new(&asked.data, &path).json().await.map_err(|error| error.to_string())?;
    if view.format != FORMAT {
        return Err(format!("{path}: expected format {FORMAT:?}, got {:?}", view.format));
    }
    if view.n_pairs != asked.n_pairs {
        let (expected, got) = (asked.n_pairs, view.n_pairs);
        return Err(format!("{path}: expected clusters of {expected} pairs, got {got}; run whence cluster again"));
    }
    let path = format!("clusters/{name}/labels.safetensors");
    let bytes = files.listed(&asked.data, &path, &view.labels_sha256, &Transfer::default()).await;
    let bytes = bytes.map_err(|error| error.to_string())?.to_vec();
    let labels = Labels::parse(&bytes, asked.n_pairs).map_err(|error| format!("{path}: {error}"))?;
    Ok((view, labels.labels))
}

async fn grouped(
    grouping: &Grouping,
    files: &Rc<Files>,
    tell: &impl Fn(Note),
) -> Result<(GroupingFacts, Vec<u32>), String> {
    let Grouping { asked, layer, k } = grouping;
    let index = layer.index.as_ref().ok_or("this layer has no index; run whence index")?;
    let manifest = manifest(&asked.data, layer, index, files, &Transfer::default()).await;
    let manifest = manifest.map_err(|error| error.to_string())?;
    let block = manifest.blocks.first().ok_or("the index has no blocks; run whence index again")?;
    let (facts, labels) = rounds::group(&asked.data, block, *k, tell).await?;
    match labels.len() == asked.n_pairs {
        true => Ok((facts, labels)),
        false => Err(format!("the index has {} pairs, expected {}", labels.len(), asked.n_pairs)),
    }
}

async fn bytes_of(data: &str, file: &FileRef, files: &Rc<Files>) -> Result<Vec<u8>, String> {
    let arrived = files.get(data, file, &Transfer::default()).await.map_err(|error| error.to_string())?;
    Ok(arrived.bytes.to_vec())
}
