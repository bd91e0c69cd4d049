//! What each token of the first pairs of a ranking adds to their scores: the verb behind `whence tokens`, after `whence behavior`.
//!
//! The pairs are read again, through the model that the study's vectors were made with and in its text form and pooling; where
//! what comes out is another score than the stored vector gives, something is not what it was, and nothing is written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;
use thiserror::Error;
use whence_shared::pair::{Pair, Side};
use whence_shared::study::BehaviorView;
use whence_shared::tokens::{FORMAT, PairTokens, SideTokens, TokensView};

use super::query::{self, QueryOptions};
use super::{RankError, probe};
use crate::behavior::{BehaviorError, must_be_same_reading};
use crate::data::pairs::PairFile;
use crate::data::template::TemplateChoice;
use crate::data::tokens::{TextEncoder, Tokens, Unreadable};
use crate::device::{self, Device};
use crate::extract::{Budget, Differ, EncodedPairs, ExtractError, VectorsManifest};
use crate::files::{self, FileError};
use crate::model::{DtypeChoice, ModelError, ModelFolder};
use crate::progress::{Report, Update};
use crate::study::Study;

/// The most that a score read again may be from the stored vector's: f16 storage and another device move it by far less.
const TOLERANCE: f64 = 0.02;

/// What stops it. What was stored before stays.
#[derive(Debug, Error)]
pub enum TokensError {
    /// The ranking cannot be made.
    #[error(transparent)]
    Rank(#[from] RankError),
    /// The study's vectors cannot be used, or the model cannot be.
    #[error(transparent)]
    Extract(#[from] ExtractError),
    /// The model or text form is another than the study's.
    #[error(transparent)]
    Behavior(#[from] BehaviorError),
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// A row that the study does not have.
    #[error("--rows: the study has {n_pairs} pairs, numbered from 0, got {row}")]
    Row {
        /// Asked for.
        row: u32,
        /// Pairs there are.
        n_pairs: usize,
    },
    /// No pair was asked for.
    #[error("no pair to read: ask for some with --top, --bottom or --rows")]
    Nothing,
    /// What the pair's tokens add up to is not its score.
    #[error(
        "row {row}: its tokens add up to {got:.3}, but its score is {stored:.3}: the vectors were made in another way; run \
         `whence extract` again with --replace"
    )]
    OtherScore {
        /// The pair.
        row: u32,
        /// By its stored vector.
        stored: f64,
        /// As it was read now.
        got: f64,
    },
    /// A response that could be read and now cannot.
    #[error("pair {id:?}: {reason}")]
    Text {
        /// The pair.
        id: String,
        /// Why.
        reason: Unreadable,
    },
    /// The behavior's own file.
    #[error("{}: {reason}; run `whence behavior` again", path.display())]
    Malformed {
        /// behavior.json.
        path: std::path::PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl From<ModelError> for TokensError {
    fn from(error: ModelError) -> Self {
        Self::Extract(error.into())
    }
}

/// Which pairs to read, and how.
#[derive(Debug, Clone)]
pub struct TokensOptions {
    /// The behavior.
    pub behavior: String,
    /// The layer.
    pub layer: usize,
    /// So many pairs that push hardest toward it.
    pub top: usize,
    /// So many that push hardest away from it.
    pub bottom: usize,
    /// And these rows.
    pub rows: Vec<u32>,
    /// The text form, which must be the study's.
    pub template: TemplateChoice,
    /// The type of weights and of matrix products with them.
    pub dtype: DtypeChoice,
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct TokensRead {
    /// As stored.
    pub view: TokensView,
    /// Pairs that could not be read, such as those with an empty response, and are left out.
    pub n_unreadable: usize,
}

/// Reads pairs token by token and stores what each token adds.
///
/// # Errors
///
/// [`TokensError`]; what was stored before stays.
pub fn tokens(
    study: &Study,
    folder: &ModelFolder,
    device: &Device,
    options: &TokensOptions,
    report: Report,
) -> Result<TokensRead, TokensError> {
    let TokensOptions { behavior, layer, .. } = options;
    let layer = *layer;
    probe::layers_to_rank(study, behavior, &[layer])?;
    let manifest = VectorsManifest::required(study)?;
    probe::must_be_its_pairs(study, &manifest)?;
    let encoder = TextEncoder::new(folder, &options.template, manifest.max_tokens).map_err(ExtractError::from)?;
    must_be_same_reading(study, folder, &encoder, &manifest)?;
    let direction = probe::direction(study, behavior, layer, &manifest)?;

    let pairs = PairFile::open(&study.pairs()).map_err(RankError::from)?;
    let mut rows: BTreeSet<u32> = options.rows.iter().copied().collect();
    if let Some(row) = rows.last().filter(|row| **row as usize >= pairs.len()) {
        return Err(TokensError::Row { row: *row, n_pairs: pairs.len() });
    }
    let mut expected = BTreeMap::new();
    for (k, bottom) in [(options.top, false), (options.bottom, true)] {
        if k > 0 {
            let asked = QueryOptions { layer, expression: behavior.clone(), k, bottom, ..QueryOptions::default() };
            let found = query::query(study, &asked, report)?;
            let found = found.groups.into_iter().flat_map(|group| group.rows);
            expected.extend(found.map(|found| (found.row, found.score)));
        }
    }
    rows.extend(expected.keys());
    if rows.is_empty() {
        return Err(TokensError::Nothing);
    }
    let rows: Vec<u32> = rows.into_iter().collect();
    let mut read = Vec::with_capacity(rows.len());
    pairs.visit_rows(&rows, |_, pair| read.push(pair)).map_err(RankError::from)?;

    let model = folder.load_chosen(device, options.dtype)?;
    let budget = Budget::new(manifest.max_tokens);
    let differ = Differ { pooling: manifest.pooling(study)?, ..Differ::new(&model, &encoder, device, &budget) };
    let encoded = EncodedPairs::new(&encoder, &read);
    let readable: Vec<(usize, [&Tokens; 2])> = encoded.readable().collect();
    let n_unreadable = read.len() - readable.len();
    let is_cpu = device::is_cpu(device);
    let done = AtomicU64::new(0);
    let of_pair = |(at, sides): &(usize, [&Tokens; 2])| -> Result<PairTokens, TokensError> {
        let (row, pair) = (rows[*at], &read[*at]);
        let [chosen, rejected] = match is_cpu {
            true => differ.token_parts(*sides, layer, &direction)?,
            false => device::guarded(|| differ.token_parts(*sides, layer, &direction), ModelError::from)?,
        };
        let found = PairTokens {
            row,
            id: pair.id.clone(),
            chosen: side(&encoder, pair, Side::Chosen, sides[0], chosen)?,
            rejected: side(&encoder, pair, Side::Rejected, sides[1], rejected)?,
        };
        if let Some(stored) = expected.get(&row).filter(|stored| (found.score() - *stored).abs() > TOLERANCE) {
            return Err(TokensError::OtherScore { row, stored: *stored, got: found.score() });
        }
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        report(Update {
            stage: "tokens",
            done,
            total: readable.len() as u64,
            unit: "pairs",
            detail: format!("layer {layer}"),
        });
        Ok(found)
    };
    let found: Vec<PairTokens> = match is_cpu {
        true => readable.par_iter().with_max_len(1).map(of_pair).collect::<Result<_, _>>()?,
        false => readable.iter().map(of_pair).collect::<Result<_, _>>()?,
    };
    let path = study.behavior_view(behavior);
    let defined: BehaviorView = serde_json::from_slice(&files::read(&path)?)
        .map_err(|error| TokensError::Malformed { path, reason: error.to_string() })?;
    let (format, inputs) = (FORMAT.to_owned(), defined.inputs);
    let view = TokensView { format, behavior: behavior.clone(), layer, inputs, pairs: found };
    files::write_json(&study.tokens(behavior, layer), &view)?;
    Ok(TokensRead { view, n_unreadable })
}

fn side(
    encoder: &TextEncoder,
    pair: &Pair,
    side: Side,
    tokens: &Tokens,
    parts: Vec<f32>,
) -> Result<SideTokens, TokensError> {
    let unreadable = |reason: Unreadable| TokensError::Text { id: pair.id.clone(), reason };
    Ok(SideTokens { texts: encoder.pieces(&pair.conversation(side), tokens).map_err(unreadable)?, parts })
}
