//! Chosen rows' own vectors, which decide what the index leaves open: gathered by a backend in one request, else cut out
//! of the vector files by Range requests, else read with the whole files that hold them.

use std::rc::Rc;

use futures_util::{StreamExt, TryStreamExt};
use js_sys::Uint8Array;
use web_sys::RequestCache;
use whence_shared::index::query::Direction;
use whence_shared::index::select::Costs;
use whence_shared::rank::Probe;
use whence_shared::shard::Shard;
use whence_shared::study::{LayerView, ShardView};

use super::calls::RangePlan;
use super::files::Files;
use super::opening::{Plan, file_of};
use super::scorer::{check_shard, fill};
use super::session::Session;
use crate::fetch::{FetchError, File, Transfer};
use crate::protocol::{RankError, RankRequest};

/// What a separate range costs beside its bytes: headers, and latency in which others could have been sent.
const RANGE_OVERHEAD_BYTES: u64 = 4 << 10;
/// Most bytes of rows per gather request; the server's own limit is on their number.
const MAX_GATHER_BYTES: u64 = 16 << 20;
/// Most rows per gather request.
const MAX_GATHER_ROWS: usize = 65_536;
/// Most bytes per Range request.
const MAX_RANGE_BYTES: u64 = 8 << 20;
/// Range requests under way at a time: browsers let all of them go to a host of HTTP/2, and six to any other.
const N_REQUESTS: usize = 16;

/// How rows can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// A backend gathers them.
    Gather,
    /// Parts of files.
    Ranges,
    /// Whole files only.
    WholeFiles,
    /// Not at all.
    Nothing,
}

impl Access {
    /// What a request promises.
    pub fn of(request: &RankRequest) -> Self {
        match request.gather {
            _ if request.layer.vectors_withheld => Self::Nothing,
            true => Self::Gather,
            false => Self::Ranges,
        }
    }
}

/// What reading some rows takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RowCosts {
    n_rows: u64,
    bytes_per_row: u64,
    n_ranges: u64,
    bytes_per_range: u64,
}

impl RowCosts {
    /// All of it, in bytes.
    pub fn n_bytes(&self) -> u64 {
        self.n_rows * self.bytes_per_row + self.n_ranges * self.bytes_per_range
    }

    /// Beside what the next block costs.
    pub fn with_block(self, next_block_bytes: Option<u64>) -> Costs {
        let Self { n_rows, bytes_per_row, n_ranges, bytes_per_range } = self;
        Costs { n_rows, bytes_per_row, n_ranges, bytes_per_range, next_block_bytes }
    }
}

fn n_row_bytes(layer: &LayerView) -> u64 {
    (layer.d_model * layer.dtype.n_bytes()) as u64
}

/// What reading rows, ascending, takes.
pub fn costs(rows: &[u32], layer: &LayerView, access: Access) -> RowCosts {
    let bytes_per_row = n_row_bytes(layer);
    match access {
        Access::Gather => RowCosts { n_rows: rows.len() as u64, bytes_per_row, ..RowCosts::default() },
        Access::Ranges => {
            let stretches = stretches(rows, layer);
            // Rows between wanted ones are read as well.
            let n_rows = stretches.iter().map(|stretch| (stretch.end - stretch.first) as u64).sum();
            let n_ranges = stretches.len() as u64;
            RowCosts { n_rows, bytes_per_row, n_ranges, bytes_per_range: RANGE_OVERHEAD_BYTES }
        }
        Access::WholeFiles => {
            let mut shards: Vec<usize> = rows.iter().map(|&row| shard_of(row, layer)).collect();
            shards.dedup();
            let n_rows = shards.iter().map(|&shard| layer.shards[shard].n_rows as u64).sum();
            RowCosts { n_rows, bytes_per_row, ..RowCosts::default() }
        }
        Access::Nothing => RowCosts::default(),
    }
}

fn shard_of(row: u32, layer: &LayerView) -> usize {
    layer.shards.partition_point(|shard| shard.first_row + shard.n_rows <= row as usize)
}

/// Neighbouring rows of one file, with the rows between them that are cheaper to read than to leave out.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stretch {
    shard: usize,
    first: usize,
    end: usize,
    /// Those that are wanted.
    rows: Vec<u32>,
}

fn stretches(rows: &[u32], layer: &LayerView) -> Vec<Stretch> {
    let n_row_bytes = n_row_bytes(layer);
    let mut stretches: Vec<Stretch> = Vec::new();
    for &row in rows {
        let (shard, at) = (shard_of(row, layer), row as usize);
        let joins = stretches.last().is_some_and(|last| {
            let n_gap_bytes = (at - last.end) as u64 * n_row_bytes;
            let n_bytes = (at + 1 - last.first) as u64 * n_row_bytes;
            last.shard == shard && n_gap_bytes <= RANGE_OVERHEAD_BYTES && n_bytes <= MAX_RANGE_BYTES
        });
        match stretches.last_mut().filter(|_| joins) {
            Some(last) => {
                last.end = at + 1;
                last.rows.push(row);
            }
            None => stretches.push(Stretch { shard, first: at, end: at + 1, rows: vec![row] }),
        }
    }
    stretches
}

/// Reads rows.
pub struct RowReader<'a> {
    /// What is asked for.
    pub request: &'a RankRequest,
    /// The query.
    pub session: &'a Session,
    /// Whole files come through here.
    pub files: &'a Rc<Files>,
    /// How to stop.
    pub transfer: &'a Transfer,
}

impl RowReader<'_> {
    fn plan(&self) -> &Plan {
        &self.session.plan
    }

    fn exact_directions(&self) -> &[Direction] {
        &self.plan().exact
    }

    /// How many of `rows`, ascending, one call of [`RowReader::read`] should take.
    pub fn n_at_once(&self) -> usize {
        let n = MAX_GATHER_BYTES / n_row_bytes(&self.request.layer).max(1);
        (n as usize).clamp(1, MAX_GATHER_ROWS)
    }

    /// Exact scores of rows, ascending; of others too where whole files had to be read.
    ///
    /// # Errors
    ///
    /// When they do not arrive, or contradict what the index says of them. [`FetchError::NoRanges`], or a backend that
    /// does not gather: then [`Session::access`] has changed, and what to read next may be something else.
    pub async fn read(&self, rows: &[u32]) -> Result<Vec<(u32, f64)>, RankError> {
        match self.session.access.get() {
            Access::Gather => self.gather(rows).await,
            Access::Ranges => self.ranges(rows).await,
            Access::WholeFiles => self.whole_files(rows).await,
            Access::Nothing => Ok(Vec::new()),
        }
    }

    async fn gather(&self, rows: &[u32]) -> Result<Vec<(u32, f64)>, RankError> {
        let layer = &self.request.layer;
        let path = format!("gather/layer-{}", layer.layer);
        let json = serde_json::json!({ "rows": rows }).to_string();
        let file = File::new(&self.request.data, &path);
        let n_bytes = rows.len() as u64 * n_row_bytes(layer);
        let bytes = match file.post(&json, n_bytes, self.transfer).await {
            Err(error @ FetchError::Status { status: 404 | 405 | 501, .. }) => {
                self.session.access.set(Access::Ranges);
                return Err(RankError::Fetch(error));
            }
            bytes => bytes.map_err(RankError::Fetch)?,
        };
        let rows: Vec<(u32, usize)> = rows.iter().enumerate().map(|(i, &row)| (row, i)).collect();
        let scored = self.scored(&bytes, &rows);
        match scored.iter().find(|(row, score)| self.session.contradicts(*row, *score)) {
            Some(&(row, _)) => Err(RankError::Bounds { path, row }),
            None => Ok(scored),
        }
    }

    async fn ranges(&self, rows: &[u32]) -> Result<Vec<(u32, f64)>, RankError> {
        let stretches = stretches(rows, &self.request.layer);
        let parts = futures_util::stream::iter(&stretches).map(|stretch| self.stretch(stretch));
        let scored: Result<Vec<_>, RankError> = parts.buffer_unordered(N_REQUESTS).try_collect().await;
        match scored {
            Ok(scored) => Ok(scored.into_iter().flatten().collect()),
            Err(error) => {
                if matches!(error, RankError::Fetch(FetchError::NoRanges { .. })) {
                    self.session.access.set(Access::WholeFiles);
                    self.session
                        .remark("the server does not answer Range requests: whole files are read instead".to_owned());
                }
                Err(error)
            }
        }
    }

    async fn stretch(&self, stretch: &Stretch) -> Result<Vec<(u32, f64)>, RankError> {
        let layer = &self.request.layer;
        let (shard, n_row_bytes) = (&layer.shards[stretch.shard], n_row_bytes(layer));
        let offset = self.plan().vector_offsets[stretch.shard];
        let at = |row: usize| offset + (row - shard.first_row) as u64 * n_row_bytes;
        let rows: Vec<(u32, usize)> = stretch.rows.iter().map(|&row| (row, row as usize - stretch.first)).collect();
        let mut contradicting = 0;
        // Parts of files fit no cache well, and looking each up takes longer than fetching it. What contradicts the
        // index may still come from a cache on the way that holds another version of the file.
        for cache in [RequestCache::NoStore, RequestCache::Reload] {
            let file = File { folder: &self.request.data, path: &shard.path, cache };
            let range = at(stretch.first)..at(stretch.end);
            let bytes = file.part(range, shard.n_bytes, self.transfer).await.map_err(RankError::Fetch)?;
            let scored = self.scored(&bytes, &rows);
            match scored.iter().find(|(row, score)| self.session.contradicts(*row, *score)) {
                Some(&(row, _)) => contradicting = row,
                None => return Ok(scored),
            }
        }
        Err(RankError::Bounds { path: shard.path.clone(), row: contradicting })
    }

    /// Scores rows whose places in `bytes` are given.
    fn scored(&self, bytes: &Uint8Array, rows: &[(u32, usize)]) -> Vec<(u32, f64)> {
        let layer = &self.request.layer;
        let width = n_row_bytes(layer) as usize;
        let bytes = bytes.to_vec();
        let mut row_values = vec![0.0; layer.d_model];
        let probe = Probe::new(self.exact_directions());
        rows.iter()
            .map(|&(row, i)| {
                layer.dtype.widen(&bytes[i * width..(i + 1) * width], &mut row_values);
                (row, probe.score(&row_values))
            })
            .collect()
    }

    async fn whole_files(&self, rows: &[u32]) -> Result<Vec<(u32, f64)>, RankError> {
        let layer = &self.request.layer;
        let mut shards: Vec<usize> = rows.iter().map(|&row| shard_of(row, layer)).collect();
        shards.dedup();
        let mut scored = Vec::new();
        let mut buffer = Vec::new();
        for shard in shards {
            let view = &layer.shards[shard];
            let file = file_of(view);
            let arrived = self.files.get(&self.request.data, &file, self.transfer).await?;
            fill(&mut buffer, &arrived.bytes);
            scored.extend(self.whole_file(view, &buffer)?);
        }
        Ok(scored)
    }

    fn whole_file(&self, view: &ShardView, bytes: &[u8]) -> Result<Vec<(u32, f64)>, RankError> {
        let layer = &self.request.layer;
        let file = file_of(view);
        let plan = RangePlan { index: 0, first_row: view.first_row, n_rows: view.n_rows, files: Vec::new() };
        let wrong = |reason: String| RankError::File { path: file.path.clone(), reason };
        let shard = Shard::parse(bytes).map_err(|error| wrong(error.to_string()))?;
        check_shard(&shard, &view.path, &plan, layer.layer, layer.d_model, &self.plan().inputs)?;
        let scored: Vec<(u32, f64)> = Probe::new(self.exact_directions())
            .scores(&shard)
            .enumerate()
            .map(|(i, score)| ((view.first_row + i) as u32, score))
            .collect();
        match scored.iter().find(|(row, score)| self.session.contradicts(*row, *score)) {
            Some(&(row, _)) => Err(RankError::Bounds { path: view.path.clone(), row }),
            None => Ok(scored),
        }
    }
}
