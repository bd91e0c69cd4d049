//! `query`: the pairs that push hardest along any direction, certified, mostly without reading all vectors.
//!
//! The direction is an [`super::expression`] over behaviors, pairs and files, evaluated in f64 in the
//! model's own space; [`crate::index::Ranker`] finds the rows.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use whence_shared::index::query::Direction;

use super::RankError;
use super::expression::{self, Term, Vectors};
use super::probe::must_be_its_pairs;
use crate::behavior::read_pairs;
use crate::convert::array::Array;
use crate::data::pairs::{PairFile, SNIPPET_CHARS};
use crate::extract::{self, BehaviorFile, LayerFiles, VectorsManifest};
use crate::index::ranker::{Scored, Stage};
use crate::index::{Ranker, Wanted};
use crate::progress::{Report, Update};
use crate::study::Study;

/// What to ask.
#[derive(Debug, Clone, Default)]
pub struct QueryOptions {
    /// The layer, 0 = embeddings.
    pub layer: usize,
    /// The direction, as [`expression::parse`] reads it.
    pub expression: String,
    /// How many pairs.
    pub k: usize,
    /// The pairs that push hardest away instead.
    pub bottom: bool,
    /// `k` of each source instead of all together.
    pub per_source: bool,
    /// Read every vector even where there is an index.
    pub no_index: bool,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Queried {
    /// The layer.
    pub layer: usize,
    /// The direction asked for.
    pub expression: String,
    /// Pairs asked for, of each source with `per_source`.
    pub k: usize,
    /// Whether the lowest scores were asked for.
    pub bottom: bool,
    /// What it took.
    pub reading: Reading,
    /// Whether the pairs are for certain the best ones: always, and always exact.
    pub certified: bool,
    /// The pairs, best first; by source where that was asked for, sources in alphabetical order.
    pub groups: Vec<QueriedGroup>,
}

/// Pairs of one source, or of all.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QueriedGroup {
    /// The source; absent when all were asked for together.
    pub source: Option<String>,
    /// Best first.
    pub rows: Vec<QueriedRow>,
}

/// One pair of an answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QueriedRow {
    /// From 1.
    pub rank: usize,
    /// Row of pairs.parquet, from 0.
    pub row: u32,
    /// Exact, in [−1, 1].
    pub score: f64,
    /// The pair's id.
    pub id: String,
    /// The pair's source.
    pub source: String,
    /// Its last user turn on one line.
    pub snippet: String,
}

/// How much was read.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reading {
    /// Why every vector was read; absent when the index was used.
    pub why_no_index: Option<String>,
    /// Bytes read in all.
    pub n_bytes: u64,
    /// Bytes read when the pairs were certain; their exact scores took the rest.
    pub n_bytes_certified: u64,
    /// Bytes of the whole index, if there is one.
    pub n_bytes_index: Option<u64>,
    /// Bytes of all vectors.
    pub n_bytes_vectors: u64,
    /// Step by step.
    pub stages: Vec<Stage>,
}

/// Answers a query.
///
/// # Errors
///
/// [`RankError`]: an expression that cannot be read or names what is not there, and whatever is wrong with the study.
pub fn query(study: &Study, options: &QueryOptions, report: Report) -> Result<Queried, RankError> {
    let (ranker, directions) = open(study, options)?;
    report(Update { stage: "query", done: 0, total: 0, unit: "rows", detail: options.expression.clone() });
    let pairs = PairFile::open(&study.pairs())?;
    let sources = if options.per_source { Some(Sources::read(&pairs)?) } else { None };
    let groups = sources.as_ref().map(|sources| sources.of_row.as_slice());
    let found = ranker.find(&directions, Wanted { k: options.k, bottom: options.bottom, groups })?;

    let names = sources.map_or_else(|| vec![None], |sources| sources.names.into_iter().map(Some).collect());
    let labelled = |(source, rows): (Option<String>, &Vec<Scored>)| -> Result<QueriedGroup, RankError> {
        let rows = rows.iter().zip(1..).map(|(scored, rank)| labelled(&pairs, *scored, rank));
        Ok(QueriedGroup { source, rows: rows.collect::<Result<_, _>>()? })
    };
    Ok(Queried {
        layer: options.layer,
        expression: options.expression.clone(),
        k: options.k,
        bottom: options.bottom,
        certified: true,
        groups: names.into_iter().zip(&found.groups).map(labelled).collect::<Result<_, _>>()?,
        reading: Reading {
            why_no_index: ranker.why_no_index().map(str::to_owned),
            n_bytes: found.n_bytes(),
            n_bytes_certified: found.n_bytes_certified(),
            n_bytes_index: ranker.index_bytes(),
            n_bytes_vectors: ranker.vector_bytes(),
            stages: found.stages,
        },
    })
}

/// The rows of an answer and their scores, best first; nothing is read of the pairs themselves.
///
/// # Errors
///
/// As [`query`].
pub fn scored(study: &Study, layer: usize, expression: String, k: usize) -> Result<Vec<Scored>, RankError> {
    let (ranker, directions) = open(study, &QueryOptions { layer, expression, k, ..QueryOptions::default() })?;
    let found = ranker.find(&directions, Wanted { k, bottom: false, groups: None })?;
    Ok(found.groups.concat())
}

/// What finds the rows, and what they are compared with.
fn open(study: &Study, options: &QueryOptions) -> Result<(Ranker, Vec<Direction>), RankError> {
    if options.k == 0 {
        return Err(RankError::Expression { expression: "-k".into(), reason: "expected at least 1, got 0".into() });
    }
    let wrong = |reason| RankError::Expression { expression: options.expression.clone(), reason };
    let term = expression::parse(&options.expression).map_err(wrong)?;
    let manifest = VectorsManifest::required(study)?;
    must_be_its_pairs(study, &manifest)?;
    extract::complete_layers(study, &[options.layer])?;
    let files = LayerFiles::open(study, options.layer, &manifest)?;
    let source = Source { study, manifest: &manifest, files: &files, expression: &options.expression };
    let directions = source.directions(&term)?;
    let ranker = if options.no_index { Ranker::without_index(files) } else { Ranker::open(study, files) };
    Ok((ranker, directions))
}

fn labelled(pairs: &PairFile, scored: Scored, rank: usize) -> Result<QueriedRow, RankError> {
    let row = scored.row as usize;
    let mut read = pairs.read(row..row + 1)?;
    let pair = read.pop().expect("one row was asked for");
    let snippet = pair.snippet(SNIPPET_CHARS);
    Ok(QueriedRow { rank, row: scored.row, score: scored.score, id: pair.id, source: pair.source, snippet })
}

/// Sources of all pairs, numbered in alphabetical order.
struct Sources {
    names: Vec<String>,
    /// `[n_pairs]`.
    of_row: Vec<u32>,
}

impl Sources {
    fn read(pairs: &PairFile) -> Result<Self, RankError> {
        let of_row = pairs.sources()?;
        let mut names = of_row.clone();
        names.sort_unstable();
        names.dedup();
        let numbers: BTreeMap<&str, u32> = names.iter().map(String::as_str).zip(0..).collect();
        let of_row = of_row.iter().map(|name| numbers[name.as_str()]).collect();
        Ok(Self { names, of_row })
    }
}

/// Where an expression's vectors come from: a layer of a study.
struct Source<'a> {
    study: &'a Study,
    manifest: &'a VectorsManifest,
    files: &'a LayerFiles,
    expression: &'a str,
}

impl Source<'_> {
    fn directions(&self, term: &Term) -> Result<Vec<Direction>, RankError> {
        let directions = term.evaluate(self)?;
        if directions.iter().any(|direction| !direction.norm().is_finite()) {
            return Err(self.meaningless("its numbers are too large".into()));
        }
        if directions.iter().all(|direction| direction.norm() == 0.0) {
            return Err(self.meaningless("the direction is zero: every pair scores 0".into()));
        }
        Ok(directions)
    }

    fn read_behavior(&self, name: &str) -> Result<BehaviorFile, RankError> {
        let known_names = self.study.behavior_names()?;
        let study = || self.study.root().to_owned();
        if !known_names.iter().any(|known| known == name) {
            return Err(RankError::UnknownBehavior { name: name.to_owned(), study: study(), known_names });
        }
        let layer = self.files.view().layer;
        BehaviorFile::read(self.study, name, layer, self.manifest)?.ok_or_else(|| RankError::NoDirection {
            behavior: name.to_owned(),
            layer,
            path: self.study.behavior_vectors(name, layer),
        })
    }
}

impl Vectors for Source<'_> {
    type Error = RankError;

    fn behavior(&self, name: &str) -> Result<Direction, RankError> {
        Ok(Direction::exact(&self.read_behavior(name)?.direction))
    }

    fn bank(&self, name: &str) -> Result<Vec<Direction>, RankError> {
        let behavior = self.read_behavior(name)?;
        let vectors: Vec<Direction> =
            behavior.vectors.chunks_exact(self.files.view().d_model).map(Direction::exact).collect();
        // A behavior that was taken in as vectors has no response pairs.
        let pairs = read_pairs(&self.study.behavior(name).join("pairs.jsonl")).unwrap_or_default();
        let has_scenarios = pairs.len() == vectors.len() && pairs.iter().any(|pair| !pair.scenario.is_empty());
        if !has_scenarios {
            return Ok(vectors);
        }
        let mut by_scenario: BTreeMap<&str, Vec<(f64, &Direction)>> = BTreeMap::new();
        for (pair, vector) in pairs.iter().zip(&vectors) {
            by_scenario.entry(&pair.scenario).or_default().push((1.0, vector));
        }
        Ok(by_scenario.values().map(|vectors| Direction::weighted_sum(vectors)).collect())
    }

    fn row(&self, row: usize) -> Result<Direction, RankError> {
        let n_rows = self.files.view().n_rows;
        if row >= n_rows {
            return Err(self.meaningless(format!("row:{row}: the study has {n_rows} pairs, numbered from 0")));
        }
        let file = self.files.map(self.files.file_of(row), false)?;
        let shard = file.shard();
        let mut values = vec![0.0; shard.d_model];
        shard.read_row(row - shard.header.first_row, &mut values);
        Ok(Direction::exact(&values))
    }

    fn file(&self, file: &str) -> Result<Direction, RankError> {
        let (path, tensor) = match file.split_once('#') {
            Some((path, tensor)) => (path, Some(tensor)),
            None => (file, None),
        };
        let array = Array::open(Path::new(path), tensor, self.study.root())?;
        let d_model = self.files.view().d_model;
        if (array.n_rows(), array.width()) != (1, d_model) {
            let got = format!("{} of {}", array.n_rows(), array.width());
            return Err(self.meaningless(format!("{file}: expected one vector of {d_model} numbers, got {got}")));
        }
        let mut values = vec![0.0; d_model];
        array.read_row(0, &mut values)?;
        Ok(Direction::exact(&values))
    }

    fn meaningless(&self, reason: String) -> RankError {
        RankError::Expression { expression: self.expression.to_owned(), reason }
    }
}
