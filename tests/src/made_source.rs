//! Extraction without a model: seeded made-up activations through the real plan, pipeline, writer and manifests. What
//! tests of scale and of parts start from, where a model would only cost time.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use whence_backend::data::pairs::PairFile;
use whence_backend::extract::differ::BlockProgress;
use whence_backend::extract::pipeline::Totals;
use whence_backend::extract::plan::{Plan, Wanted};
use whence_backend::extract::range::Series;
use whence_backend::extract::{Block, BlockSource, ExtractError, PairLogps, Part, Remark, VectorsManifest, manifest};
use whence_backend::files;
use whence_backend::model::ModelError;
use whence_backend::progress::Report;
use whence_backend::study::Study;
use whence_shared::pair::Pair;
use whence_shared::shard::StoreDtype;
use whence_shared::study::ModelView;

/// Sizes of a made-up extraction.
#[derive(Debug, Clone)]
pub struct Made {
    /// Width of the vectors.
    pub d_model: usize,
    /// Layers.
    pub layers: Vec<usize>,
    /// Rows per file.
    pub rows_per_file: usize,
    /// Whether to store log-probabilities too.
    pub logps: bool,
    /// Workers.
    pub n_workers: usize,
    /// The part, if one.
    pub part: Option<Part>,
    /// Fail once so many ranges have been computed: as good as a kill, within one process.
    pub fails_after: Option<usize>,
}

impl Made {
    /// Vectors `[n_pairs, d_model]` at `n_layers` layers, stored in f16.
    pub fn new(d_model: usize, n_layers: usize, rows_per_file: usize) -> Self {
        let layers = (1..=n_layers).collect();
        Self { d_model, layers, rows_per_file, logps: false, n_workers: 1, part: None, fails_after: None }
    }

    /// Runs the extraction of a study with pairs, continuing what is there.
    ///
    /// # Errors
    ///
    /// As a real extraction, and where [`Made::fails_after`] says.
    pub fn extract(&self, study: &Study, report: Report) -> Result<Totals, ExtractError> {
        let pairs = PairFile::open(&study.pairs())?;
        let manifest = self.manifest(&pairs)?;
        let mut series: Vec<Series> = self.layers.iter().copied().map(Series::Layer).collect();
        series.extend(self.logps.then_some(Series::Logps));
        let mut plan = Plan::make(study, manifest, Wanted { series, part: self.part, replace: false }, report)?;
        let n_left = AtomicUsize::new(self.fails_after.unwrap_or(usize::MAX));
        let source = || Source { d_model: self.d_model, logps: self.logps, n_left: &n_left };
        let sources: Vec<Source> = (0..self.n_workers).map(|_| source()).collect();
        let totals = plan.fill(study, &pairs, &sources, report)?;
        plan.finish(study)?;
        Ok(totals)
    }

    fn manifest(&self, pairs: &PairFile) -> Result<VectorsManifest, ExtractError> {
        let model = ModelView {
            name: "made up".into(),
            architecture: "none".into(),
            n_layers: self.layers.len(),
            d_model: self.d_model,
            sha256: files::sha256(b"made up"),
            template: "none".into(),
            pooling: "mean".into(),
        };
        Ok(VectorsManifest {
            format: manifest::FORMAT.into(),
            inputs: manifest::inputs(&model, "", 64),
            model,
            template_sha256: String::new(),
            max_tokens: 64,
            pairs_sha256: pairs.sha256()?,
            n_pairs: pairs.len(),
            rows_per_file: self.rows_per_file,
            store: StoreDtype::F16,
            dtype: "f32".into(),
            imported: Vec::new(),
        })
    }
}

/// Made-up activations: a pair's vector depends on its id and the layer alone.
struct Source<'a> {
    d_model: usize,
    logps: bool,
    n_left: &'a AtomicUsize,
}

impl BlockSource for Source<'_> {
    type Prepared = Vec<String>;

    fn prepare(&self, pairs: &[Pair]) -> Vec<String> {
        pairs.iter().map(|pair| pair.id.clone()).collect()
    }

    fn compute(
        &self,
        prepared: &Vec<String>,
        first_row: usize,
        layers: &[usize],
        progress: BlockProgress,
    ) -> Result<Block, ModelError> {
        if self.n_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_err() {
            return Err(ModelError::DeviceLost("as the test asked".into()));
        }
        let n_pairs = prepared.len();
        let of_layer = |&layer: &usize| {
            let mut vectors = vec![0f32; n_pairs * self.d_model];
            for (row, id) in vectors.chunks_exact_mut(self.d_model).zip(prepared) {
                fill(row, seed(id) ^ ((layer as u64) << 56));
            }
            vectors
        };
        let vectors: Vec<Vec<f32>> = layers.iter().map(of_layer).collect();
        let logps = |id: &String| {
            let x = -((seed(id) % 1000) as f32) / 10.0;
            PairLogps { chosen_sum: x, chosen_mean: x / 8.0, rejected_sum: x - 1.0, rejected_mean: (x - 1.0) / 8.0 }
        };
        let remark = |(i, id): (usize, &String)| Remark {
            row: first_row + i,
            id: id.clone(),
            side: "chosen".into(),
            no_vector: false,
            beyond_context: false,
            reason: "made up".into(),
        };
        // One pair in a hundred has something to be said about it.
        let remarks = prepared.iter().enumerate().filter(|(i, _)| (first_row + i).is_multiple_of(100)).map(remark);
        progress(n_pairs as u64, n_pairs as u64);
        Ok(Block {
            vectors,
            d_model: if layers.is_empty() { 0 } else { self.d_model },
            remarks: remarks.collect(),
            n_tokens: n_pairs as u64,
            logps: self.logps.then(|| prepared.iter().map(logps).collect()),
        })
    }
}

/// Vector of a pair at a layer, `[d_model]`.
pub fn vector(id: &str, layer: usize, d_model: usize) -> Vec<f32> {
    let mut row = vec![0.0; d_model];
    fill(&mut row, seed(id) ^ ((layer as u64) << 56));
    row
}

// FNV-1a: the same everywhere.
fn seed(id: &str) -> u64 {
    id.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Numbers in [−1, 1) by xorshift: cheap enough that writing, not making them, is what is measured.
fn fill(row: &mut [f32], seed: u64) {
    let mut state = seed | 1;
    for x in row {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *x = (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
    }
}

/// Writes a JSONL file of `n_pairs` short preference pairs, line by line.
///
/// # Errors
///
/// When the file cannot be written.
pub fn write_rows(path: &Path, n_pairs: usize) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = BufWriter::new(fs::File::create(path)?);
    for i in 0..n_pairs {
        let source = ["tulu", "wildchat", "synthetic", "persona"][i * 7 % 4];
        writeln!(
            file,
            r#"{{"id":"pair-{i}","prompt":"question {i} about the tides, the harbour and the evening train","chosen":"an answer of some length, number {i}, that explains itself","rejected":"a shorter answer {i}","source":"{source}"}}"#
        )?;
    }
    file.flush()
}

/// A study beside another, with the same pairs and nothing else: what a person copies to another machine.
///
/// # Errors
///
/// When a file cannot be copied.
pub fn copy_without_vectors(study: &Study, to: &Path) -> std::io::Result<Study> {
    fs::create_dir_all(to)?;
    let copy = Study::at(to);
    fs::copy(study.pairs(), copy.pairs())?;
    fs::copy(study.config(), copy.config())?;
    Ok(copy)
}
