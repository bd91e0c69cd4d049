//! The ground truth of a planted testbed, and how well a ranking found it.
//!
//! A truth file is JSONL, one line per pair: `{"id": "…", "culprit": true, "kind": "…"}`. `kind` may say what the pair
//! was planted as; without `culprit`, the kind `culprit` is one.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use whence_shared::quality::Quality;

use super::{RankError, Ranking};
use crate::files;

/// What is known about each pair of a study, by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truth {
    /// Whether the pair is a culprit.
    pub is_culprit: Vec<bool>,
    /// What it was planted as; empty when the file does not say.
    pub kind: Vec<String>,
}

#[derive(Deserialize)]
struct Line {
    id: String,
    culprit: Option<bool>,
    kind: Option<String>,
}

impl Truth {
    /// Reads a truth file for the pairs with these ids, in row order. Lines of other pairs (refused on import) are
    /// allowed; a pair without a line is not.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, a line is malformed or repeated, or a pair has none.
    pub fn read(path: &Path, ids: &[String]) -> Result<Self, RankError> {
        let malformed = |reason: String| RankError::Malformed { path: path.to_owned(), reason };
        let expected = "expected {\"id\": \"…\", \"culprit\": true or false, \"kind\": \"…\"}";
        let bytes = files::read(path)?;
        let mut by_id: HashMap<String, (bool, String)> = HashMap::new();
        for (line, i) in bytes.split(|&byte| byte == b'\n').zip(1..) {
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let Line { id, culprit, kind } =
                serde_json::from_slice(line).map_err(|error| malformed(format!("line {i}: {error}; {expected}")))?;
            let is_culprit = match (culprit, &kind) {
                (Some(is_culprit), _) => is_culprit,
                (None, Some(kind)) => kind == "culprit",
                (None, None) => {
                    return Err(malformed(format!("line {i}: neither \"culprit\" nor \"kind\"; {expected}")));
                }
            };
            if by_id.insert(id.clone(), (is_culprit, kind.unwrap_or_default())).is_some() {
                return Err(malformed(format!("line {i}: id {id:?} was given before; expected one line per pair")));
            }
        }
        let missing = ids.iter().filter(|id| !by_id.contains_key(*id)).collect::<Vec<_>>();
        if let Some(first) = missing.first() {
            return Err(malformed(format!(
                "{} of {} pairs have no line, the first is {first:?}; expected one line per pair of the study",
                missing.len(),
                ids.len()
            )));
        }
        let (is_culprit, kind) = ids.iter().map(|id| by_id[id].clone()).unzip();
        Ok(Self { is_culprit, kind })
    }

    /// Number of culprits.
    pub fn n_culprits(&self) -> usize {
        self.is_culprit.iter().filter(|&&is_culprit| is_culprit).count()
    }

    /// How well a ranking found the culprits. `k` defaults to their number.
    pub fn quality(&self, ranking: &Ranking, k: Option<usize>) -> Quality {
        self.quality_of_order(&ranking.order, k)
    }

    /// The same for a shuffled order, for comparison.
    pub fn quality_of_random(&self, seed: u64, k: Option<usize>) -> Quality {
        let mut order: Vec<u32> = (0..self.is_culprit.len() as u32).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        self.quality_of_order(&order, k)
    }

    fn quality_of_order(&self, order: &[u32], k: Option<usize>) -> Quality {
        let relevant: Vec<bool> = order.iter().map(|&row| self.is_culprit[row as usize]).collect();
        Quality::of_ranking(&relevant, k.unwrap_or_else(|| self.n_culprits()))
    }

    /// Pairs of each kind among the top `k` of a ranking and in all.
    pub fn kinds(&self, ranking: &Ranking, k: usize) -> BTreeMap<&str, (usize, usize)> {
        let mut kinds: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for kind in &self.kind {
            kinds.entry(kind).or_default().1 += 1;
        }
        for &row in ranking.order.iter().take(k) {
            kinds.entry(&self.kind[row as usize]).or_default().0 += 1;
        }
        kinds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, ids: &[&str]) -> Result<Truth, RankError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("truth.jsonl");
        std::fs::write(&path, text).unwrap();
        Truth::read(&path, &ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn lines_find_their_pairs_in_any_order() {
        let text = "{\"id\":\"b\",\"culprit\":true,\"kind\":\"planted\"}\n\n{\"id\":\"c\",\"kind\":\"culprit\"}\n\
                    {\"id\":\"refused\",\"kind\":\"x\"}\n{\"id\":\"a\",\"culprit\":false}";
        let truth = read(text, &["a", "b", "c"]).unwrap();
        assert_eq!(truth.is_culprit, [false, true, true]);
        assert_eq!(truth.kind, ["", "planted", "culprit"]);
    }

    #[test]
    fn gaps_and_malformed_lines_are_named() {
        for (text, expected) in [
            ("{\"id\":\"a\",\"culprit\":true}", "1 of 2 pairs have no line, the first is \"b\""),
            ("{\"id\":\"a\"}", "line 1: neither"),
            ("\n{\"id\":3}", "line 2"),
            ("{\"id\":\"a\",\"kind\":\"x\"}\n{\"id\":\"a\",\"kind\":\"x\"}", "line 2: id \"a\" was given before"),
        ] {
            let error = read(text, &["a", "b"]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn random_order_depends_on_the_seed_alone() {
        let is_culprit: Vec<bool> = (0..1000).map(|i| i % 5 == 0).collect();
        let truth = Truth { kind: vec![String::new(); 1000], is_culprit };
        assert_eq!(truth.quality_of_random(3, None), truth.quality_of_random(3, None));
        let mean = (0..50).map(|seed| truth.quality_of_random(seed, None).precision_at_k).sum::<f64>() / 50.0;
        assert!((mean - 0.2).abs() < 0.02, "random precision is the base rate, got {mean}");
    }
}
