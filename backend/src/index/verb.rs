//! `index`: the vector files of a study in, block files and their manifest out, layer by layer, range by range.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use whence_shared::index::block::{self, Block, BlockHeader, ROWS_PER_FILE};
use whence_shared::index::manifest::{BlockView, FORMAT, FileView, IndexManifest, RotationView};
use whence_shared::index::query::{Direction, Query};

use super::IndexError;
use super::behaviors::{self, remove_others};
use super::columns::{self, BlockColumns, RangeFiles, normalise};
use super::recall::Recall;
use super::rotation::{self, Rotation};
use super::state::{self, IndexState};
use crate::extract::{self, BehaviorFile, LayerFiles, VectorsManifest};
use crate::files::{self, Context};
use crate::progress::{Report, Update};
use crate::study::Study;

/// Rows that recall is measured with as queries.
const N_QUERY_ROWS: usize = 64;
/// Behaviors that recall is measured with, in alphabetical order.
const MAX_BEHAVIORS: usize = 64;
const QUERY_SEED: u64 = 0x0072_6563_616c_6c21;
/// How far a unit vector may be from itself after the rotation.
pub const ROTATION_ERROR: f64 = 1e-10;

/// What to index.
#[derive(Debug, Clone, Default)]
pub struct IndexOptions {
    /// Layers; empty means every layer with complete pair vectors.
    pub layers: Vec<usize>,
    /// Compare the files of an index that is there with their SHA-256, not only their sizes.
    pub verify: bool,
}

/// What indexing a layer did.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexedLayer {
    /// The manifest.
    pub manifest: IndexManifest,
    /// Size of the manifest's block files together, in bytes.
    pub n_bytes: u64,
    /// Block files written now.
    pub n_made: usize,
    /// Block files that were there.
    pub n_kept: usize,
    /// Why an index that was there could not be used as it was.
    pub why: Option<String>,
    /// Behaviors whose vectors were rotated now.
    pub n_behaviors: usize,
}

/// Makes the indexes of a study, or completes them; what is up to date is kept. Can be killed at any moment: started
/// again, it keeps finished files and leaves the same bytes as an uninterrupted run.
///
/// # Errors
///
/// [`IndexError`]; nothing already written is lost.
pub fn index(study: &Study, options: &IndexOptions, report: Report) -> Result<Vec<IndexedLayer>, IndexError> {
    let manifest = VectorsManifest::required(study)?;
    let layers = extract::complete_layers(study, &options.layers)?;
    let one = |layer| {
        let vectors = LayerFiles::open(study, layer, &manifest)?;
        LayerIndex { study, manifest: &manifest, vectors, verify: options.verify, report }.make()
    };
    layers.into_iter().map(one).collect()
}

/// One layer's index in the making.
struct LayerIndex<'a> {
    study: &'a Study,
    manifest: &'a VectorsManifest,
    vectors: LayerFiles,
    verify: bool,
    report: Report<'a>,
}

/// A range's columns as stored, and the files they stand in; one of each per block.
type KeptRange = (Vec<BlockColumns>, Vec<FileView>);

/// Kinds of queries, by what the manifest calls them, and how many there are of each.
type QueryKinds = Vec<(String, usize)>;

impl LayerIndex<'_> {
    fn layer(&self) -> usize {
        self.vectors.view().layer
    }

    fn make(&self) -> Result<IndexedLayer, IndexError> {
        let why = match self.usable()? {
            Ok(manifest) => {
                let rotation = || state::rotation_of(self.study, &manifest);
                let n_behaviors =
                    behaviors::refresh_layer(self.study, self.layer(), self.manifest, &manifest, rotation)?;
                let n_kept = manifest.blocks.iter().map(|block| block.files.len()).sum();
                return Ok(IndexedLayer {
                    n_bytes: manifest.n_bytes(),
                    manifest,
                    n_made: 0,
                    n_kept,
                    why: None,
                    n_behaviors,
                });
            }
            Err(why) => why,
        };
        // An index whose files are being replaced must not look whole meanwhile.
        let path = self.study.index_manifest(self.layer());
        if path.exists() {
            fs::remove_file(&path).at("remove", &path)?;
        }
        let (rotation, rotation_view) = self.rotation()?;
        let inputs = state::index_inputs(&self.vectors, &rotation_view.sha256);
        let (mut manifest, n_made) = self.blocks(&rotation, rotation_view, &inputs)?;
        manifest.vector_offsets = self.vector_offsets()?;
        let n_behaviors =
            behaviors::refresh_layer(self.study, self.layer(), self.manifest, &manifest, || Ok(rotation.clone()))?;
        self.remove_strays(&manifest)?;
        files::write_json(&path, &manifest)?;
        let n_files: usize = manifest.blocks.iter().map(|block| block.files.len()).sum();
        Ok(IndexedLayer { n_bytes: manifest.n_bytes(), manifest, n_made, n_kept: n_files - n_made, why, n_behaviors })
    }

    /// The manifest of an index that needs nothing, or why there is work to do when an index was there.
    fn usable(&self) -> Result<Result<IndexManifest, Option<String>>, IndexError> {
        let manifest = match IndexState::of(self.study, &self.vectors) {
            IndexState::Absent => return Ok(Err(None)),
            IndexState::Stale { why } => return Ok(Err(Some(why))),
            IndexState::Current(manifest) => *manifest,
        };
        if let Err(error) = state::rotation_of(self.study, &manifest) {
            return Ok(Err(Some(format!("its rotation cannot be used ({error})"))));
        }
        if self.verify {
            for file in manifest.blocks.iter().flat_map(|block| &block.files) {
                let path = self.study.root().join(&file.path);
                if files::sha256_of_file(&path)? != file.sha256 {
                    // What a manifest vouches for and is not there any more is made again.
                    fs::remove_file(&path).at("remove", &path)?;
                    return Ok(Err(Some(format!("{} is damaged", path.display()))));
                }
            }
        }
        Ok(Ok(manifest))
    }

    fn say(&self, stage: &'static str, done: usize) {
        let (done, total) = (done as u64, self.vectors.view().n_rows as u64);
        (self.report)(Update { stage, done, total, unit: "rows", detail: format!("layer {}", self.layer()) });
    }

    /// The rotation that an interrupted run left, or a new one.
    fn rotation(&self) -> Result<(Rotation, RotationView), IndexError> {
        let path = self.study.index_rotation(self.layer());
        let inputs = state::rotation_inputs(&self.vectors);
        let d_model = self.vectors.view().d_model;
        let view = |rotation: &Rotation, bytes: &[u8]| RotationView {
            path: format!("index/layer-{}/rotation.safetensors", self.layer()),
            sha256: files::sha256(bytes),
            n_directions: rotation.n_directions(),
            n_sampled_rows: rotation.n_sampled_rows(),
        };
        if let Ok(bytes) = fs::read(&path)
            && let Ok((rotation, there)) = Rotation::parse(&bytes)
            && there == inputs
            && rotation.d_model() == d_model
        {
            let view = view(&rotation, &bytes);
            return Ok((rotation, view));
        }
        (self.report)(Update {
            stage: "rotate",
            done: 0,
            total: 0,
            unit: "rows",
            detail: format!("layer {}: finding principal directions", self.layer()),
        });
        let rows = rotation::sampled_rows(self.vectors.view().n_rows);
        let sample: Vec<f32> = self.unit_rows(&rows)?.into_iter().flatten().collect();
        let rotation = Rotation::find(&sample, d_model);
        let bytes = rotation.to_bytes(&inputs);
        files::write(&path, &bytes)?;
        let view = view(&rotation, &bytes);
        Ok((rotation, view))
    }

    /// Unit vectors of some rows, ascending; zeros where a row is zero.
    fn unit_rows(&self, rows: &[usize]) -> Result<Vec<Vec<f32>>, IndexError> {
        let d = self.vectors.view().d_model;
        let (mut row, mut unit) = (vec![0f32; d], vec![0f64; d]);
        let mut units = Vec::with_capacity(rows.len());
        for of_file in rows.chunk_by(|&a, &b| self.vectors.file_of(a) == self.vectors.file_of(b)) {
            let file = self.vectors.map(self.vectors.file_of(of_file[0]), false)?;
            let shard = file.shard();
            for &i in of_file {
                shard.read_row(i - shard.header.first_row, &mut row);
                if !normalise(&row, &mut unit) {
                    return Err(IndexError::NotFinite { path: file.path().to_owned(), row: i });
                }
                units.push(unit.iter().map(|x| *x as f32).collect());
            }
        }
        Ok(units)
    }

    /// Directions that recall is measured with: unit vectors, row-major, and how many of each kind.
    fn recall_queries(&self) -> Result<(Vec<f64>, QueryKinds), IndexError> {
        let d = self.vectors.view().d_model;
        let mut directions = self.unit_rows(&rotation::spread(self.vectors.view().n_rows, N_QUERY_ROWS, QUERY_SEED))?;
        let is_zero = |direction: &Vec<f32>| direction.iter().all(|x| *x == 0.0);
        directions.retain(|direction| !is_zero(direction));
        let n_rows = directions.len();
        for name in self.study.behavior_names()? {
            // A behavior of another model is none of this index's business; `whence rank` says what is wrong with it.
            let Ok(Some(behavior)) = BehaviorFile::read(self.study, &name, self.layer(), self.manifest) else {
                continue;
            };
            if !is_zero(&behavior.direction) && directions.len() < n_rows + MAX_BEHAVIORS {
                directions.push(behavior.direction);
            }
        }
        let groups = vec![("sampled rows".to_owned(), n_rows), ("behaviors".to_owned(), directions.len() - n_rows)];
        let mut units = vec![0.0; directions.len() * d];
        for (unit, direction) in units.chunks_exact_mut(d).zip(&directions) {
            normalise(direction, unit);
        }
        Ok((units, groups))
    }

    /// Makes or keeps every block file; returns the manifest without vector offsets, and how many files were made.
    fn blocks(
        &self,
        rotation: &Rotation,
        rotation_view: RotationView,
        inputs: &str,
    ) -> Result<(IndexManifest, usize), IndexError> {
        let view = self.vectors.view();
        let widths = block::widths(view.d_model);
        let (units, groups) = self.recall_queries()?;
        let mut rotated = units.clone();
        rotation.apply(&mut rotated);
        let queries = rotated
            .chunks_exact(view.d_model)
            .map(|unit| Query::new(&Direction { values: unit.to_vec(), error: ROTATION_ERROR }, &widths))
            .collect();
        let mut recall = Recall::new(groups, queries);
        let mut energy = Energy::new(widths.len());
        let mut files_of: Vec<Vec<FileView>> = vec![Vec::new(); widths.len()];
        let mut n_made = 0;
        for first_row in (0..view.n_rows).step_by(ROWS_PER_FILE) {
            self.say("index", first_row);
            let rows = first_row..(first_row + ROWS_PER_FILE).min(view.n_rows);
            let headers = headers(self.layer(), &widths, first_row, inputs);
            let range = RangeFiles::map(&self.vectors, rows.start, rows.len(), true)?;
            let kept = self.kept(&headers, &widths, &rows)?;
            let wanted = kept.is_none().then_some(rotation);
            let pass = columns::pass(&range, wanted, &widths, &units)?;
            let columns = match kept {
                Some((columns, files)) => {
                    files_of.iter_mut().zip(files).for_each(|(list, file)| list.push(file));
                    columns
                }
                None => {
                    for ((header, columns), list) in headers.iter().zip(&pass.blocks).zip(&mut files_of) {
                        list.push(self.write(header, columns)?);
                        n_made += 1;
                    }
                    pass.blocks
                }
            };
            energy.add(&columns);
            let blocks: Vec<Block> = columns.iter().zip(headers).map(|(c, header)| c.as_block(header)).collect();
            recall.look(&blocks, &pass.cosines);
        }
        self.say("index", view.n_rows);
        let mut recalls = recall.views().into_iter();
        let mut first_dim = 0;
        let mut blocks = Vec::new();
        for ((width, files), energy) in widths.into_iter().zip(files_of).zip(energy.shares()) {
            blocks.push(BlockView { first_dim, width, energy, recall: recalls.next().unwrap_or_default(), files });
            first_dim += width;
        }
        let manifest = IndexManifest {
            format: FORMAT.into(),
            layer: self.layer(),
            d_model: view.d_model,
            n_rows: view.n_rows,
            inputs: inputs.to_owned(),
            vectors_inputs: self.vectors.inputs().to_owned(),
            vectors_sha256: self.vectors.sha256(),
            blocks,
            rotation: rotation_view,
            vector_offsets: Vec::new(),
        };
        Ok((manifest, n_made))
    }

    fn block_path(&self, header: &BlockHeader) -> String {
        format!("index/layer-{}/block-{}/{:08}.safetensors", header.layer, header.block, header.first_row)
    }

    /// The blocks of a range, if all its files are there and were made from the same.
    fn kept(
        &self,
        headers: &[BlockHeader],
        widths: &[usize],
        rows: &Range<usize>,
    ) -> Result<Option<KeptRange>, IndexError> {
        let (mut columns, mut files) = (Vec::new(), Vec::new());
        for (header, &width) in headers.iter().zip(widths) {
            let path = self.block_path(header);
            let Ok(bytes) = fs::read(self.study.root().join(&path)) else { return Ok(None) };
            let Ok(block) = Block::parse(&bytes) else { return Ok(None) };
            if block.header != *header || block.n_rows != rows.len() || block.width != width {
                return Ok(None);
            }
            files.push(file_view(path, header, block.n_rows, &bytes));
            columns.push(BlockColumns::of_block(block));
        }
        Ok(Some((columns, files)))
    }

    fn write(&self, header: &BlockHeader, columns: &BlockColumns) -> Result<FileView, IndexError> {
        let relative = self.block_path(header);
        let path = self.study.root().join(&relative);
        let bytes = block::write(header, columns.width, &columns.columns())
            .map_err(|source| IndexError::Block { path: path.clone(), source })?;
        files::write(&path, &bytes)?;
        Ok(file_view(relative, header, columns.scale.len(), &bytes))
    }

    fn vector_offsets(&self) -> Result<Vec<u64>, IndexError> {
        let n_files = self.vectors.view().shards.len();
        (0..n_files).map(|i| Ok(self.vectors.map(i, false)?.vectors().1)).collect()
    }

    /// Removes what an earlier index of another shape left.
    fn remove_strays(&self, manifest: &IndexManifest) -> Result<(), IndexError> {
        let root = self.study.index_layer(self.layer());
        let listed: Vec<PathBuf> = manifest
            .blocks
            .iter()
            .flat_map(|block| &block.files)
            .map(|file| self.study.root().join(&file.path))
            .collect();
        for entry in fs::read_dir(&root).at("list", &root)? {
            let folder = entry.at("list", &root)?.path();
            let is_block = folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("block-"));
            if folder.is_dir() && is_block {
                remove_others(&folder, |path: &Path| listed.iter().any(|listed| listed == path))?;
                // Only when nothing is left in it.
                let _ = fs::remove_dir(&folder);
            }
        }
        Ok(())
    }
}

fn headers(layer: usize, widths: &[usize], first_row: usize, inputs: &str) -> Vec<BlockHeader> {
    let mut first_dim = 0;
    let mut headers = Vec::new();
    for (block, width) in widths.iter().enumerate() {
        headers.push(BlockHeader { layer, block, first_dim, first_row, inputs: inputs.to_owned() });
        first_dim += width;
    }
    headers
}

fn file_view(path: String, header: &BlockHeader, n_rows: usize, bytes: &[u8]) -> FileView {
    let (n_bytes, sha256) = (bytes.len() as u64, files::sha256(bytes));
    FileView { path, first_row: header.first_row, n_rows, n_bytes, sha256 }
}

/// Share of the rows' energy in the blocks so far: rows have unit length, and what a block leaves is stored with it.
struct Energy {
    /// `[n_blocks]`.
    sums: Vec<f64>,
    n_rows: usize,
}

impl Energy {
    fn new(n_blocks: usize) -> Self {
        Self { sums: vec![0.0; n_blocks], n_rows: 0 }
    }

    fn add(&mut self, blocks: &[BlockColumns]) {
        let Some(first) = blocks.first() else { return };
        let is_zero =
            |row: usize| first.scale[row] == 0.0 && first.error_norm[row] == 0.0 && first.tail_norm[row] == 0.0;
        for row in (0..first.scale.len()).filter(|&row| !is_zero(row)) {
            self.n_rows += 1;
            for (sum, block) in self.sums.iter_mut().zip(blocks) {
                let tail = f64::from(block.tail_norm[row]);
                *sum += (1.0 - tail * tail).max(0.0);
            }
        }
    }

    fn shares(&self) -> impl Iterator<Item = f64> {
        let n_rows = self.n_rows;
        self.sums.iter().map(move |sum| if n_rows == 0 { 1.0 } else { sum / n_rows as f64 })
    }
}
