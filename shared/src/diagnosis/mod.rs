//! Diagnosis of a ranking: whether attribution is likely to help at all, before anything is trained again.
//!
//! A ranking always has a first hundred. Dropping them undoes a behavior only if few pairs taught it; where very many
//! pairs push a little, no small set does. [`diagnose`] looks at how concentrated the push is ([`figures`]), beside what
//! shuffled labels and random directions give; at the sources of the first k; at whether halves of the test prompts and
//! other layers rank the same pairs first; at how far all vectors point the same way ([`anisotropy`]); and at what else
//! the score goes with ([`mod@confounds`]). [`verdict`] says what that means, by thresholds calibrated on testbeds where the
//! answer is known; [`card`] is how a reader sees it.
//!
//! ```text
//! diagnosis/NAME-layer-L.json     Diagnosis
//! ```

pub mod anisotropy;
pub mod card;
pub mod confounds;
pub mod figures;
pub mod verdict;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::confounds::{Confound, Covariate, Moved, confounds, spearman};
use self::figures::{Draws, Excess, Figures, Null, sorted};
pub use self::verdict::{Expectation, Verdict};
use crate::rank::order;
use crate::stability::{Spread, overlap_at_k};

/// The value of [`Diagnosis::format`].
pub const FORMAT: &str = "whence.diagnosis/1";

/// A diagnosis's file, below the study.
pub fn path(behavior: &str, layer: usize) -> String {
    format!("diagnosis/{behavior}-layer-{layer}.json")
}

/// What a ranking's diagnosis found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// [`FORMAT`].
    pub format: String,
    /// What it is of.
    pub of: Subject,
    /// What follows, in words.
    pub verdict: Verdict,
    /// How concentrated the push is.
    pub figures: Figures,
    /// The same with chosen and rejected of random pairs swapped.
    pub shuffled_labels: Null,
    /// The same toward random directions.
    pub random_directions: Null,
    /// The push beyond random directions, which decides.
    pub excess: Excess,
    /// Sources in effect, e^entropy: of the first k, and of all pairs.
    pub sources: [f64; 2],
    /// Mean cosine between pair vectors, in [−1, 1]; none with fewer than two vectors.
    pub anisotropy: Option<f64>,
    /// Share of the first k on which halves of the test prompts agree; none with one prompt.
    pub split_half: Option<Spread>,
    /// Against the rankings of other layers, ascending.
    pub layers: Vec<LayerAgreement>,
    /// What else the score goes with.
    pub confounds: Vec<Confound>,
}

/// What a diagnosis is of, and what it was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The behavior.
    pub behavior: String,
    /// The layer, 0 = embeddings.
    pub layer: usize,
    /// How many pairs count as the first.
    pub k: usize,
    /// Pairs ranked.
    pub n_pairs: usize,
    /// Seed of all that is drawn.
    pub seed: u64,
    /// SHA-256 of pairs.parquet.
    pub pairs_sha256: String,
    /// SHA-256 over the layer's vector files.
    pub vectors_sha256: String,
    /// SHA-256 of the behavior's file at the layer.
    pub behavior_sha256: String,
}

/// How another layer's ranking agrees.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LayerAgreement {
    /// The other layer.
    pub layer: usize,
    /// Where its ranking differs.
    pub moved: Moved,
}

/// What a diagnosis is made from. Scores are cosines in [−1, 1], by row.
#[derive(Debug, Clone)]
pub struct Evidence<'a> {
    /// What it is of.
    pub of: Subject,
    /// Of the pairs.
    pub scores: &'a [f64],
    /// The same pairs toward random directions, at least one.
    pub random_directions: &'a Draws,
    /// Source of each pair, as a number.
    pub sources: &'a [u32],
    /// Mean cosine between pair vectors.
    pub anisotropy: Option<f64>,
    /// Rankings by each half of the test prompts, for every split.
    pub halves: &'a [[Vec<u32>; 2]],
    /// Scores at other layers, ascending.
    pub layers: &'a [(usize, Vec<f64>)],
    /// What the score may go with.
    pub covariates: &'a [Covariate],
}

/// What cannot be diagnosed.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum DiagnosisError {
    /// No pair.
    #[error("there is no pair to diagnose a ranking of")]
    Empty,
    /// Nothing, or more than there is, counts as the first.
    #[error("k: expected 1 to {n_pairs}, the number of pairs, got {k}; give another with -k")]
    K {
        /// As asked.
        k: usize,
        /// Pairs there are.
        n_pairs: usize,
    },
    /// A score that is no number.
    #[error("row {row} has the score {score} at layer {layer}: run `whence extract` again with --replace")]
    NotFinite {
        /// The row, from 0.
        row: usize,
        /// Its score.
        score: f64,
        /// At this layer.
        layer: usize,
    },
}

/// Draws of shuffled labels.
pub const N_SHUFFLES: usize = 40;
/// Random directions that a null is made of.
pub const N_DIRECTIONS: usize = 40;
/// Splits of the test prompts.
pub const N_SPLITS: usize = 10;

/// Diagnoses a ranking. The same evidence gives the same diagnosis everywhere.
///
/// # Errors
///
/// [`DiagnosisError`]: no pair, no sensible k, or a score that is not finite.
///
/// # Panics
///
/// Panics when columns are not as long as the scores, or no random direction was drawn.
pub fn diagnose(evidence: &Evidence) -> Result<Diagnosis, DiagnosisError> {
    let Evidence { of, scores, sources, .. } = evidence;
    let k = of.k;
    check(scores, k, of.layer)?;
    for (layer, scores) in evidence.layers {
        check(scores, k, *layer)?;
    }
    let ranked = order(scores);
    let split_half: Vec<f64> = evidence.halves.iter().map(|[a, b]| overlap_at_k(a, b, k)).collect();
    let agreement = |(layer, other): &(usize, Vec<f64>)| LayerAgreement {
        layer: *layer,
        moved: Moved { overlap: overlap_at_k(&ranked, &order(other), k), spearman: spearman(scores, other) },
    };
    let descending = sorted(scores);
    let first: Vec<u32> = ranked[..k].iter().map(|row| sources[*row as usize]).collect();
    let mut diagnosis = Diagnosis {
        format: FORMAT.to_owned(),
        of: of.clone(),
        verdict: Verdict::default(),
        figures: Figures::of(&descending, k),
        shuffled_labels: Draws::of_shuffled_labels(scores, k, N_SHUFFLES, of.seed).null().expect("several draws"),
        random_directions: evidence.random_directions.null().expect("at least one draw"),
        excess: evidence.random_directions.excess(&descending),
        sources: [sources_in_effect(&first), sources_in_effect(sources)],
        anisotropy: evidence.anisotropy,
        split_half: Spread::of(&split_half),
        layers: evidence.layers.iter().map(agreement).collect(),
        confounds: confounds(scores, k, evidence.covariates, sources),
    };
    diagnosis.verdict = Verdict::of(&diagnosis);
    Ok(diagnosis)
}

fn check(scores: &[f64], k: usize, layer: usize) -> Result<(), DiagnosisError> {
    if scores.is_empty() {
        return Err(DiagnosisError::Empty);
    }
    if k == 0 || k > scores.len() {
        return Err(DiagnosisError::K { k, n_pairs: scores.len() });
    }
    match scores.iter().position(|score| !score.is_finite()) {
        Some(row) => Err(DiagnosisError::NotFinite { row, score: scores[row], layer }),
        None => Ok(()),
    }
}

/// e^entropy of a list of sources: how many there are in effect, the number of different ones when each comes as often.
fn sources_in_effect(sources: &[u32]) -> f64 {
    let mut sorted = sources.to_vec();
    sorted.sort_unstable();
    let n = sources.len() as f64;
    let entropy: f64 = sorted
        .chunk_by(|a, b| a == b)
        .map(|same| {
            let share = same.len() as f64 / n;
            -share * libm::log(share)
        })
        .sum();
    libm::exp(entropy)
}

#[cfg(test)]
mod tests {
    use super::verdict::concentration;
    use super::*;
    use crate::statistics::random::Random;

    fn subject(k: usize, n_pairs: usize) -> Subject {
        let hash = "0".repeat(64);
        Subject {
            behavior: "obeys".into(),
            layer: 3,
            k,
            n_pairs,
            seed: 1,
            pairs_sha256: hash.clone(),
            vectors_sha256: hash.clone(),
            behavior_sha256: hash,
        }
    }

    /// Diagnosis of scores alone, with random directions that see noise of standard deviation 0.1, and halves of the test prompts
    /// that agree.
    fn of_scores(scores: &[f64], k: usize) -> Result<Diagnosis, DiagnosisError> {
        of_scores_and_halves(scores, k, &[[order(scores), order(scores)]])
    }

    fn of_scores_and_halves(scores: &[f64], k: usize, halves: &[[Vec<u32>; 2]]) -> Result<Diagnosis, DiagnosisError> {
        let mut random = Random::new(5);
        let mut draws = Draws::new(scores.len(), k.max(1));
        if !scores.is_empty() {
            (0..20).for_each(|_| draws.add(&scores.iter().map(|_| 0.1 * random.normal()).collect::<Vec<_>>()));
        }
        diagnose(&Evidence {
            of: subject(k, scores.len()),
            scores,
            random_directions: &draws,
            sources: &(0..scores.len() as u32).map(|row| row % 4).collect::<Vec<_>>(),
            anisotropy: None,
            halves,
            layers: &[],
            covariates: &[],
        })
    }

    /// `n_pushing` of 2,000 pairs score around `score`, the others around 0.
    fn made(n_pushing: usize, score: f64) -> Vec<f64> {
        let mut random = Random::new(n_pushing as u64);
        (0..2000).map(|row| 0.1 * random.normal() + if row < n_pushing { score } else { 0.0 }).collect()
    }

    #[test]
    fn the_same_push_is_expected_to_yield_where_few_hold_it_and_not_where_many_do() {
        let expectation =
            |n_pushing: usize, score: f64| of_scores(&made(n_pushing, score), 100).unwrap().verdict.expectation;
        assert_eq!(expectation(100, 0.6), Expectation::Helps);
        assert_eq!(expectation(120, 0.6), Expectation::Helps);
        assert_eq!(expectation(900, 0.6), Expectation::Diffuse);
        assert_eq!(expectation(900, 0.3), Expectation::Diffuse);
    }

    #[test]
    fn a_ranking_that_does_not_stand_out_is_not_expected_to_help() {
        let found = of_scores(&made(0, 0.0), 100).unwrap();
        assert_eq!((found.verdict.expectation, concentration(&found)), (Expectation::Diffuse, 0.0));
        assert!(found.verdict.text.contains("hardly harder"), "{}", found.verdict.text);
        let found = of_scores(&[0.0; 500], 20).unwrap();
        assert_eq!((found.verdict.expectation, found.figures.top_mass), (Expectation::Unclear, 0.0));
    }

    #[test]
    fn what_is_asked_about_does_not_make_a_signal_a_concentrated_one() {
        // Many pairs push no harder than random directions let expect of so many, but for the very first.
        let mut random = Random::new(12);
        let scores: Vec<f64> = (0..2000).map(|_| 0.108 * random.normal()).collect();
        for k in [20, 50, 100, 200] {
            assert_eq!(of_scores(&scores, k).unwrap().verdict.expectation, Expectation::Diffuse, "k {k}");
        }
        // Twenty of the hundred that hold a push do not undo it, and how many there are is said.
        let few = of_scores(&made(100, 0.6), 20).unwrap().verdict;
        assert!(few.expectation == Expectation::Diffuse && few.text.contains("Ask again with k = "), "{few:?}");
    }

    #[test]
    fn degenerate_rankings_have_a_diagnosis_or_a_clear_error() {
        let one = of_scores(&[0.7], 1).unwrap();
        assert_eq!(one.verdict.expectation, Expectation::Unclear, "the first of one pair is all there is");
        assert_eq!((one.anisotropy, one.sources), (None, [1.0, 1.0]));
        let of_one_prompt = of_scores_and_halves(&made(100, 0.6), 100, &[]).unwrap();
        assert_eq!((of_one_prompt.split_half, of_one_prompt.verdict.expectation), (None, Expectation::Unclear));
        assert!(of_one_prompt.verdict.text.contains("one test prompt"), "{}", of_one_prompt.verdict.text);
        let same = of_scores(&[0.6; 1000], 50).unwrap();
        assert_eq!(same.verdict.expectation, Expectation::Diffuse);
        assert_eq!(of_scores(&[], 1).unwrap_err(), DiagnosisError::Empty);
        for k in [0, 4] {
            assert_eq!(of_scores(&[0.1, 0.2, 0.3], k).unwrap_err(), DiagnosisError::K { k, n_pairs: 3 });
        }
        for score in [f64::NAN, f64::INFINITY] {
            let error = of_scores(&[0.1, score], 1).unwrap_err();
            assert!(matches!(error, DiagnosisError::NotFinite { row: 1, layer: 3, .. }), "{error}");
        }
        let mut draws = Draws::new(2, 1);
        draws.add(&[0.0, 0.1]);
        let empty = Evidence {
            of: subject(1, 2),
            scores: &[0.1, 0.2],
            random_directions: &draws,
            sources: &[0, 0],
            anisotropy: None,
            halves: &[],
            layers: &[(1, vec![0.0, f64::NAN])],
            covariates: &[],
        };
        assert!(matches!(diagnose(&empty), Err(DiagnosisError::NotFinite { row: 1, layer: 1, .. })));
        let rows: Vec<u32> = vec![0, 1];
        let layers = [(1, vec![0.3, 0.1])];
        let halves = [[rows.clone(), rows]];
        let found = diagnose(&Evidence { layers: &layers, halves: &halves, ..empty }).unwrap();
        assert_eq!((found.random_directions.n_draws, found.split_half.unwrap().mean), (1, 1.0));
        assert_eq!((found.layers[0].moved.overlap, found.layers[0].moved.spearman), (0.0, Some(-1.0)));
    }

    #[test]
    fn a_diagnosis_survives_its_file_and_does_not_depend_on_when_it_is_made() {
        let scores = made(300, 0.5);
        let found = of_scores(&scores, 100).unwrap();
        let read: Diagnosis = serde_json::from_str(&serde_json::to_string(&found).unwrap()).unwrap();
        // Numbers may differ in their last bit: serde_json reads them that closely.
        assert_eq!((read.of, &read.verdict), (found.of.clone(), &found.verdict));
        assert!((read.excess.top_share - found.excess.top_share).abs() < 1e-15);
        assert_eq!(of_scores(&scores, 100).unwrap(), found);
    }

    #[test]
    fn sources_in_effect_are_their_number_when_each_comes_as_often() {
        assert!((sources_in_effect(&[3, 1, 2, 1, 2, 3]) - 3.0).abs() < 1e-12);
        assert!((sources_in_effect(&[7; 5]) - 1.0).abs() < 1e-12);
        let lopsided = sources_in_effect(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert!((1.3..1.5).contains(&lopsided), "{lopsided}");
    }
}
