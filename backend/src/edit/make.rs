//! Making an edit set: which pairs, which action. The verb behind `whence edit`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use whence_shared::pair::Side;

use super::draw::{self, Stratum};
use super::set_file::{self, must_be_its_pairs};
use super::{Decision, Edit, EditError, EditSet, Origin, check_name, decisions, pair_sha256};
use crate::attribute::table::{self, StoredOrder};
use crate::data::pairs::PairFile;
use crate::extract::rows_without_vector;
use crate::files;
use crate::hashes;
use crate::progress::{Report, Update};
use crate::study::Study;

const ROWS_PER_REPORT: usize = 4096;

/// A stored ranking: a behavior's name, and its layer where there are several; or a Parquet file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RankingName {
    /// Name below `rankings/`, or the path of a file that ends in `.parquet`.
    pub name: String,
    /// The layer; may be left out where there is one.
    pub layer: Option<usize>,
}

/// How the pairs of an edit set are chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// The first `k` of a ranking, of the pairs that have a vector.
    Top {
        /// The ranking.
        ranking: RankingName,
        /// How many.
        k: usize,
    },
    /// The last `k` of a ranking, of the pairs that have a vector.
    Bottom {
        /// The ranking.
        ranking: RankingName,
        /// How many.
        k: usize,
    },
    /// All pairs of these sources.
    Sources {
        /// Their names.
        names: Vec<String>,
    },
    /// All pairs of the `n` sources of which the largest share lies among the first `k` of a ranking.
    TopSources {
        /// The ranking.
        ranking: RankingName,
        /// How many sources.
        n: usize,
        /// How many of the ranking.
        k: usize,
    },
    /// Drawn from all pairs.
    Random {
        /// How many.
        n: usize,
    },
    /// Drawn from all pairs, as many as another edit set has, with its actions.
    RandomLike {
        /// The other edit set.
        set: String,
    },
    /// Drawn from the pairs that another edit set keeps, as many of each source and length as that set has.
    StratifiedLike {
        /// The other edit set.
        set: String,
    },
    /// As a file says, pair by pair.
    Decisions {
        /// JSONL or CSV, see [`decisions`].
        path: PathBuf,
    },
}

/// What to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MakeOptions {
    /// Name of the edit set.
    pub name: String,
    /// Which pairs.
    pub way: Way,
    /// What to do with them; `None` = drop, or as the other set or the file says.
    pub action: Option<Decision>,
    /// Decides what is drawn by chance.
    pub seed: u64,
    /// Replace another edit set of this name.
    pub replace: bool,
}

/// Pairs of one source, and what becomes of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceEdits {
    /// The source.
    pub name: String,
    /// Its pairs.
    pub n_pairs: usize,
    /// Of these, dropped.
    pub n_dropped: usize,
    /// Of these, switched.
    pub n_switched: usize,
}

/// An edit set that was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    /// The set.
    pub set: EditSet,
    /// Its file.
    pub path: PathBuf,
    /// SHA-256 of its file.
    pub sha256: String,
    /// Sources with edits, those with most edits first.
    pub sources: Vec<SourceEdits>,
    /// What a reader should know before training on it.
    pub warnings: Vec<String>,
}

/// An edit set that was chosen and is not stored yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// The set.
    pub set: EditSet,
    /// As in [`Made::sources`].
    pub sources: Vec<SourceEdits>,
    /// As in [`Made::warnings`].
    pub warnings: Vec<String>,
}

/// Makes an edit set and stores it.
///
/// # Errors
///
/// As [`choose`]; a name that is taken; a file that cannot be written.
pub fn make(study: &Study, options: &MakeOptions, report: Report) -> Result<Made, EditError> {
    let Chosen { set, sources, warnings } = choose(study, options, report)?;
    let path = set_file::keep(study, &set, options.replace)?;
    let sha256 = files::sha256_of_file(&path)?;
    Ok(Made { set, path, sha256, sources, warnings })
}

/// Chooses the pairs of an edit set. Stores nothing.
///
/// # Errors
///
/// [`EditError`]: pairs, a ranking or decisions that cannot be read or do not belong together, more pairs than there
/// are, a set that edits nothing or drops everything.
pub fn choose(study: &Study, options: &MakeOptions, report: Report) -> Result<Chosen, EditError> {
    check_name(&options.name)?;
    if options.action == Some(Decision::Keep) {
        return Err(option("action", "drop or switch", "keep"));
    }
    let pairs = PairFile::open(&study.pairs())?;
    let sources = pairs.sources()?;
    let pairs_sha256 = hashes::sha256_of_file(&study.pairs())?;
    let maker = Maker { study, options, pairs: &pairs, pairs_sha256: &pairs_sha256, sources: &sources, report };
    let mut warnings = Vec::new();
    let (origin, mut picks) = maker.pick(&mut warnings)?;
    picks.retain(|pick| pick.action != Decision::Keep);
    picks.sort_unstable_by_key(|pick| pick.row);
    if picks.is_empty() {
        let reason = "no pair is to be dropped or switched".to_owned();
        return Err(EditError::Empty { name: options.name.clone(), reason });
    }
    let edits = maker.edits(picks)?;
    let set =
        EditSet { name: options.name.clone(), n_pairs: pairs.len(), pairs_sha256: pairs_sha256.clone(), origin, edits };
    if set.n(Decision::Drop) == set.n_pairs {
        return Err(EditError::NothingLeft { name: set.name, n_pairs: set.n_pairs });
    }
    let by_source = by_source(&set, &sources);
    warnings.extend(
        by_source.iter().filter(|source| source.n_dropped == source.n_pairs).map(|source| {
            format!("source {:?} is emptied: all of its {} pairs are dropped", source.name, source.n_pairs)
        }),
    );
    Ok(Chosen { set, sources: by_source, warnings })
}

fn option(option: &'static str, expected: impl Into<String>, got: impl std::fmt::Display) -> EditError {
    EditError::Option { option, expected: expected.into(), got: format!("{got}") }
}

fn by_source(set: &EditSet, sources: &[String]) -> Vec<SourceEdits> {
    let mut found: BTreeMap<&str, SourceEdits> = BTreeMap::new();
    for name in sources {
        let none = || SourceEdits { name: name.clone(), n_pairs: 0, n_dropped: 0, n_switched: 0 };
        found.entry(name).or_insert_with(none).n_pairs += 1;
    }
    for edit in &set.edits {
        let source = found.get_mut(sources[edit.row as usize].as_str()).expect("every pair has a source");
        match edit.action {
            Decision::Drop => source.n_dropped += 1,
            _ => source.n_switched += 1,
        }
    }
    let n_edits = |source: &SourceEdits| source.n_dropped + source.n_switched;
    let mut found: Vec<SourceEdits> = found.into_values().filter(|source| n_edits(source) > 0).collect();
    found.sort_by_key(|source| std::cmp::Reverse(n_edits(source)));
    found
}

/// A pair that was chosen, before its id and hash are known.
struct Pick {
    row: u32,
    action: Decision,
    reason: String,
    score: Option<f32>,
    rank: Option<u32>,
    /// Where it was chosen by a line that says which hash the pair must have.
    must_have: Option<(usize, String)>,
}

impl Pick {
    fn new(row: u32, action: Decision, reason: String) -> Self {
        Self { row, action, reason, score: None, rank: None, must_have: None }
    }
}

type Picked = (Origin, Vec<Pick>);

struct Maker<'a> {
    study: &'a Study,
    options: &'a MakeOptions,
    pairs: &'a PairFile,
    pairs_sha256: &'a str,
    sources: &'a [String],
    report: Report<'a>,
}

impl Maker<'_> {
    fn pick(&self, warnings: &mut Vec<String>) -> Result<Picked, EditError> {
        match &self.options.way {
            Way::Top { ranking, k } => self.end_of(ranking, *k, "top", warnings),
            Way::Bottom { ranking, k } => self.end_of(ranking, *k, "bottom", warnings),
            Way::Sources { names } => self.sources(names),
            Way::TopSources { ranking, n, k } => self.top_sources(ranking, *n, *k, warnings),
            Way::Random { n } => {
                let n = self.within("random", *n)?;
                let rows = draw::random(self.sources.len(), n, self.options.seed);
                let action = self.action();
                let reason = format!("random, seed {}", self.options.seed);
                let how = format!("{n} drawn from all pairs, seed {}, {}", self.options.seed, action.name());
                let origin = Origin { how, seed: Some(self.options.seed), ..Origin::default() };
                Ok((origin, rows.into_iter().map(|row| Pick::new(row, action, reason.clone())).collect()))
            }
            Way::RandomLike { set } => {
                let (set, origin) = self.other(set, "drawn from all pairs")?;
                let rows = draw::random(self.sources.len(), set.edits.len(), self.options.seed);
                Ok((origin, self.like(&set, rows, "random")))
            }
            Way::StratifiedLike { set } => self.stratified(set, warnings),
            Way::Decisions { path } => self.decisions(path),
        }
    }

    fn action(&self) -> Decision {
        self.options.action.unwrap_or(Decision::Drop)
    }

    /// A number of pairs that there are.
    fn within(&self, name: &'static str, n: usize) -> Result<usize, EditError> {
        let n_pairs = self.sources.len();
        if n == 0 || n > n_pairs {
            return Err(option(name, format!("a number of pairs from 1 to {n_pairs}"), n));
        }
        Ok(n)
    }

    /// The ranks, from 1 and from the end that is asked for, of the `k` pairs there that have a score: one without a vector
    /// stands among the rest with a score of 0, which says nothing of it.
    fn scored(
        &self,
        ranking: &StoredOrder,
        k: usize,
        end: &'static str,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<usize>, EditError> {
        let without = rows_without_vector(self.study)?;
        let is_scored = |rank: &usize| {
            let (row, score) = (ranking.order[rank - 1], ranking.scores[rank - 1]);
            score != 0.0 || !without.contains(&(row as usize))
        };
        let n_pairs = ranking.order.len();
        let ranks: Vec<usize> = match end {
            "bottom" => (1..=n_pairs).rev().filter(is_scored).take(k).collect(),
            _ => (1..=n_pairs).filter(is_scored).take(k).collect(),
        };
        let remarks = self.study.remarks();
        if ranks.len() < k {
            let n_scored = ranks.len();
            let expected = format!(
                "a number of pairs from 1 to {n_scored}: the others of the {n_pairs} have no vector, {} says why",
                remarks.display()
            );
            return Err(option(end, expected, k));
        }
        let reached = ranks.last().map_or(0, |&last| if end == "bottom" { n_pairs + 1 - last } else { last });
        if reached > k {
            warnings.push(format!(
                "{} pairs without a vector were passed over: their score of 0 says nothing of them, {} says why",
                reached - k,
                remarks.display()
            ));
        }
        Ok(ranks)
    }

    fn end_of(
        &self,
        name: &RankingName,
        k: usize,
        end: &'static str,
        warnings: &mut Vec<String>,
    ) -> Result<Picked, EditError> {
        let k = self.within(end, k)?;
        let (ranking, mut origin) = self.ranking(name)?;
        let (action, reason) = (self.action(), format!("{end} {k} of {}", origin.from));
        let ranks = self.scored(&ranking, k, end, warnings)?;
        let picks = ranks.into_iter().map(|rank| Pick {
            score: Some(ranking.scores[rank - 1]),
            rank: Some(rank as u32),
            ..Pick::new(ranking.order[rank - 1], action, reason.clone())
        });
        let picks = picks.collect();
        origin.how = format!("{reason}, {}", action.name());
        Ok((origin, picks))
    }

    fn sources(&self, names: &[String]) -> Result<Picked, EditError> {
        let known: BTreeSet<&str> = self.sources.iter().map(String::as_str).collect();
        if let Some(name) = names.iter().find(|name| !known.contains(name.as_str())) {
            let known_names = known.into_iter().map(str::to_owned).collect();
            return Err(EditError::UnknownSource { name: name.clone(), known_names });
        }
        let action = self.action();
        let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let shown = names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        let how = format!("all pairs of source {shown}, {}", action.name());
        let rows = self.sources.iter().zip(0..).filter(|(source, _)| names.contains(source.as_str()));
        let picks = rows.map(|(source, row)| Pick::new(row, action, format!("source {source}"))).collect();
        Ok((Origin { how, ..Origin::default() }, picks))
    }

    fn top_sources(
        &self,
        name: &RankingName,
        n: usize,
        k: usize,
        warnings: &mut Vec<String>,
    ) -> Result<Picked, EditError> {
        let k = self.within("of", k)?;
        let (ranking, mut origin) = self.ranking(name)?;
        let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for source in self.sources {
            counts.entry(source).or_default().1 += 1;
        }
        for rank in self.scored(&ranking, k, "of", warnings)? {
            counts.entry(&self.sources[ranking.order[rank - 1] as usize]).or_default().0 += 1;
        }
        if n == 0 || n > counts.len() {
            return Err(option("top-sources", format!("a number of sources from 1 to {}", counts.len()), n));
        }
        let mut shares: Vec<(&str, usize, usize)> = counts.into_iter().map(|(name, (a, b))| (name, a, b)).collect();
        // a / b descending without rounding; then the larger count, then the name.
        shares.sort_by(|(x, a, b), (y, c, d)| (c * b).cmp(&(a * d)).then(c.cmp(a)).then(x.cmp(y)));
        let reasons: BTreeMap<&str, String> = shares[..n]
            .iter()
            .map(|(name, in_top, n_pairs)| {
                let percent = 100.0 * *in_top as f64 / *n_pairs as f64;
                (*name, format!("source {name}: {in_top} of its {n_pairs} pairs ({percent:.2} %) in the top {k}"))
            })
            .collect();
        let action = self.action();
        let shown = shares[..n].iter().map(|(name, ..)| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        origin.how = format!(
            "all pairs of the {n} sources with the largest share in the top {k} of {} ({shown}), {}",
            origin.from,
            action.name()
        );
        let picks = ranking.order.iter().zip(&ranking.scores).zip(1..).filter_map(|((&row, &score), rank)| {
            let reason = reasons.get(self.sources[row as usize].as_str())?.clone();
            Some(Pick { score: Some(score), rank: Some(rank), ..Pick::new(row, action, reason) })
        });
        Ok((origin, picks.collect()))
    }

    /// Another edit set of the study, and the origin of one made like it.
    fn other(&self, name: &str, how: &str) -> Result<(EditSet, Origin), EditError> {
        let set = set_file::load(self.study, name)?;
        let path = self.study.edit(name);
        let seed = self.options.seed;
        let action = self.options.action.map_or("its actions", Decision::name);
        let origin = Origin {
            how: format!("as many as edit set {name:?}, {how}, seed {seed}, {action}"),
            from: self.shown(&path),
            from_sha256: files::sha256_of_file(&path)?,
            seed: Some(seed),
        };
        Ok((set, origin))
    }

    /// Drawn rows with the actions of another set, in its order.
    fn like(&self, set: &EditSet, rows: Vec<u32>, how: &str) -> Vec<Pick> {
        let reason = format!("{how} like {}, seed {}", set.name, self.options.seed);
        let actions = set.edits.iter().map(|edit| self.options.action.unwrap_or(edit.action));
        rows.into_iter().zip(actions).map(|(row, action)| Pick::new(row, action, reason.clone())).collect()
    }

    fn stratified(&self, name: &str, warnings: &mut Vec<String>) -> Result<Picked, EditError> {
        let (set, mut origin) = self.other(name, "by source and length, from the pairs that it keeps")?;
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        let mut strata = Vec::with_capacity(self.sources.len());
        for (row, pair) in self.pairs.iter().enumerate() {
            let pair = pair?;
            let n_chars = [Side::Chosen, Side::Rejected].map(|side| pair.response(side).chars().count());
            let n_sources = numbers.len();
            let source = *numbers.entry(&self.sources[row]).or_insert(n_sources);
            strata.push(Stratum { source, length: Stratum::length_of(n_chars[0] + n_chars[1]) });
            self.progress("lengths", row);
        }
        let matched: Vec<u32> = set.edits.iter().map(|edit| edit.row).collect();
        let Some(drawn) = draw::stratified(&strata, &matched, self.options.seed) else {
            let n_others = self.sources.len() - matched.len();
            let expected = format!("an edit set of at most half of the {} pairs", self.sources.len());
            return Err(option("stratified-like", expected, format!("{} with {n_others} others", matched.len())));
        };
        let short = format!("{} of {} strata ran short", drawn.n_short, drawn.n_strata);
        if drawn.n_short > 0 {
            warnings.push(format!(
                "{short}: {} pairs were taken from the nearest length of the same source, {} from another source",
                drawn.n_other_length, drawn.n_other_source
            ));
        }
        origin.how = format!("{}; {short}", origin.how);
        Ok((origin, self.like(&set, drawn.rows, "stratified")))
    }

    fn decisions(&self, path: &Path) -> Result<Picked, EditError> {
        let ids = self.pairs.ids()?;
        let decided = decisions::read(path, &ids)?;
        let from = self.shown(path);
        let how = format!("{} decisions of {from}", decided.len());
        let origin = Origin { how, from, from_sha256: files::sha256_of_file(path)?, seed: None };
        let picks = decided.into_iter().map(|decided| Pick {
            score: decided.score,
            rank: decided.rank,
            must_have: decided.sha256.map(|sha256| (decided.line, sha256)),
            ..Pick::new(
                decided.row,
                match (decided.action, self.options.action) {
                    (Decision::Keep, _) | (_, None) => decided.action,
                    (_, Some(action)) => action,
                },
                decided.reason,
            )
        });
        Ok((origin, picks.collect()))
    }

    fn ranking(&self, name: &RankingName) -> Result<(StoredOrder, Origin), EditError> {
        let path = find_ranking(self.study, name)?;
        let ranking = table::read_order(&path)?;
        let expected = (ranking.order.len(), ranking.made_from.pairs_sha256.as_str());
        let remedy = "run `whence rank` again";
        must_be_its_pairs(&path, expected, (self.sources.len(), self.pairs_sha256), remedy)?;
        // One that lies elsewhere may well be of another model.
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if real(&path).starts_with(real(&self.study.rankings()))
            && let Some(difference) = ranking.made_from.difference(self.study)?
        {
            return Err(EditError::OtherDirection { path, difference });
        }
        let from_sha256 = files::sha256_of_file(&path)?;
        Ok((ranking, Origin { from: self.shown(&path), from_sha256, ..Origin::default() }))
    }

    /// A path as an edit set records it: from the study where it lies in it.
    fn shown(&self, path: &Path) -> String {
        path.strip_prefix(self.study.root()).unwrap_or(path).display().to_string()
    }

    fn progress(&self, stage: &'static str, row: usize) {
        if row.is_multiple_of(ROWS_PER_REPORT) {
            let (done, total) = (row as u64, self.sources.len() as u64);
            (self.report)(Update { stage, done, total, unit: "pairs", detail: String::new() });
        }
    }

    /// Ids and hashes of the picked pairs, whose rows ascend. Reads the pairs once.
    fn edits(&self, picks: Vec<Pick>) -> Result<Vec<Edit>, EditError> {
        let mut edits = Vec::with_capacity(picks.len());
        let mut picks = picks.into_iter().peekable();
        for (row, pair) in self.pairs.iter().enumerate() {
            if picks.peek().is_none() {
                break;
            }
            let pair = pair?;
            self.progress("hash", row);
            let Some(pick) = picks.next_if(|pick| pick.row as usize == row) else { continue };
            let sha256 = pair_sha256(&pair);
            if let (Way::Decisions { path }, Some((line, expected))) = (&self.options.way, &pick.must_have)
                && *expected != sha256
            {
                let reason = format!(
                    "row {row} (id {:?}) is another pair than this was decided on (expected sha256 {expected}, got \
                     {sha256})",
                    pair.id
                );
                return Err(EditError::Decision { path: path.clone(), line: *line, reason });
            }
            let Pick { row, action, reason, score, rank, .. } = pick;
            edits.push(Edit { row, id: pair.id, sha256, action, reason, score, rank });
        }
        Ok(edits)
    }
}

/// The file of a stored ranking.
fn find_ranking(study: &Study, asked: &RankingName) -> Result<PathBuf, EditError> {
    if asked.name.ends_with(".parquet") {
        return Ok(asked.name.clone().into());
    }
    let known_names = study.ranking_names()?;
    let layers = known_names.iter().filter(|name| name.split('/').next() == Some(asked.name.as_str()));
    let found = match asked.layer {
        Some(layer) => Some(format!("{}/layer-{layer}", asked.name)).filter(|name| known_names.contains(name)),
        None => Some(layers.collect::<Vec<_>>()).filter(|names| names.len() == 1).map(|names| names[0].clone()),
    };
    match found {
        Some(name) => Ok(study.rankings().join(format!("{name}.parquet"))),
        None => Err(EditError::UnknownRanking {
            asked: asked.layer.map_or_else(|| asked.name.clone(), |layer| format!("{}/layer-{layer}", asked.name)),
            folder: study.rankings(),
            known_names,
        }),
    }
}
