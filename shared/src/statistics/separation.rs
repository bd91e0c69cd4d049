//! How well a direction separates responses that show a behavior from those that do not, on prompts that it was not made
//! of.
//!
//! Prompts are dealt into folds. For each fold the direction is made of the response pairs of all other folds, and the
//! responses of the fold are projected on it: direction and responses never share a prompt, so that what is measured would
//! hold for new prompts. (A direction of few pairs in thousands of dimensions separates the very responses it is made of
//! whatever they are.) Every fold has its own direction, so projections are compared within a fold only.
//!
//! - AUROC: probability that a response that shows the behavior projects further than one that does not, ties counting
//!   half (the Mann–Whitney statistic; Hanley & McNeil, *The meaning and use of the area under a receiver operating
//!   characteristic curve*, 1982). The same within prompts compares responses to one prompt only: what prompts differ in
//!   is then out of play.
//! - d′: distance of the two means in standard deviations (Green & Swets, *Signal Detection Theory and Psychophysics*,
//!   1966). The mean over folds, weighted by n₁n₀/(n₁ + n₀), of the difference of a fold's means, divided by the pooled
//!   standard deviation within the classes of each fold.

use serde::{Deserialize, Serialize};

use super::outcomes::mean;
use super::random::Random;
use crate::direction::{DirectionMethod, direction};

/// What [`separation`] found at one layer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Separation {
    /// In [0, 1], 0.5 = not at all; none unless a fold has both kinds of responses.
    pub auroc: Option<f64>,
    /// The same, comparing responses to the same prompt only; none unless a prompt has both kinds.
    pub auroc_within_prompts: Option<f64>,
    /// In standard deviations, 0 = not at all; none where no fold has both kinds, or nothing varies within a kind.
    pub d_prime: Option<f64>,
}

/// Responses, as activations at one layer.
#[derive(Debug, Clone, Copy)]
pub struct Activations<'a> {
    /// Row-major `[n_responses, d_model]`.
    pub vectors: &'a [f32],
    /// Width of a vector.
    pub d_model: usize,
}

impl Activations<'_> {
    fn row(&self, response: usize) -> &[f32] {
        &self.vectors[response * self.d_model..(response + 1) * self.d_model]
    }
}

/// A response pair of the behavior: what directions are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairOfResponses {
    /// The response that shows the behavior.
    pub r1: usize,
    /// The one that does not.
    pub r0: usize,
    /// Their prompt's number.
    pub prompt: usize,
    /// For the mean over scenarios.
    pub scenario: String,
}

/// A judged response: what is separated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JudgedResponse {
    /// Which response.
    pub response: usize,
    /// Its prompt's number.
    pub prompt: usize,
    /// Whether it shows the behavior.
    pub shows: bool,
}

/// The fold of every prompt, `[n_prompts]`; `has_pairs` says which prompts have response pairs. Prompts are dealt in random
/// order, those with pairs first, so that every fold leaves pairs to make a direction of.
///
/// `None` when fewer than two prompts have pairs: no prompt could be left out.
pub fn folds(has_pairs: &[bool], n_folds: usize, seed: u64) -> Option<Vec<usize>> {
    let n_with_pairs = has_pairs.iter().filter(|has| **has).count();
    let n_folds = n_folds.min(n_with_pairs);
    if n_folds < 2 {
        return None;
    }
    let mut order: Vec<usize> = (0..has_pairs.len()).collect();
    Random::new(seed).shuffle(&mut order);
    order.sort_by_key(|&prompt| !has_pairs[prompt]);
    let mut folds = vec![0; has_pairs.len()];
    for (i, prompt) in order.into_iter().enumerate() {
        folds[prompt] = i % n_folds;
    }
    Some(folds)
}

/// The direction of response pairs; of those with `keep` only.
pub fn direction_of(
    activations: Activations,
    pairs: &[PairOfResponses],
    method: DirectionMethod,
    keep: impl Fn(&PairOfResponses) -> bool,
) -> Vec<f32> {
    let (mut rows, mut scenarios) = (Vec::new(), Vec::new());
    for pair in pairs.iter().filter(|pair| keep(pair)) {
        rows.extend(activations.row(pair.r1).iter().zip(activations.row(pair.r0)).map(|(a, b)| a - b));
        scenarios.push(pair.scenario.clone());
    }
    direction(method, &rows, &scenarios, activations.d_model)
}

/// Measures the separation of `responses` by directions of `pairs`, cross-validated over `folds` ([`folds`]).
pub fn separation(
    activations: Activations,
    pairs: &[PairOfResponses],
    responses: &[JudgedResponse],
    method: DirectionMethod,
    folds: &[usize],
) -> Separation {
    let n_folds = folds.iter().max().map_or(0, |last| last + 1);
    let (mut by_fold, mut within) = (Compared::default(), Compared::default());
    let mut distance = Distance::default();
    for fold in 0..n_folds {
        let direction = direction_of(activations, pairs, method, |pair| folds[pair.prompt] != fold);
        let direction: Vec<f64> = direction.into_iter().map(f64::from).collect();
        let norm = direction.iter().map(|x| x * x).sum::<f64>().sqrt();
        let project = |response: usize| {
            let dot: f64 = direction.iter().zip(activations.row(response)).map(|(a, b)| a * f64::from(*b)).sum();
            if norm == 0.0 { 0.0 } else { dot / norm }
        };
        let mut projected: Vec<(usize, f64, bool)> = responses
            .iter()
            .filter(|judged| folds[judged.prompt] == fold)
            .map(|judged| (judged.prompt, project(judged.response), judged.shows))
            .collect();
        by_fold.add(projected.iter().map(|(_, x, shows)| (*x, *shows)));
        distance.add(&projected);
        projected.sort_by_key(|(prompt, ..)| *prompt);
        for of_prompt in projected.chunk_by(|a, b| a.0 == b.0) {
            within.add(of_prompt.iter().map(|(_, x, shows)| (*x, *shows)));
        }
    }
    Separation { auroc: by_fold.share(), auroc_within_prompts: within.share(), d_prime: distance.d_prime() }
}

/// Comparisons of a response that shows the behavior with one that does not.
#[derive(Debug, Default)]
struct Compared {
    won: f64,
    n: f64,
}

impl Compared {
    /// Compares all with all.
    fn add(&mut self, values: impl Iterator<Item = (f64, bool)>) {
        let mut values: Vec<(f64, bool)> = values.collect();
        values.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut n_below = 0.0;
        for equal in values.chunk_by(|a, b| a.0 == b.0) {
            let n_shown = equal.iter().filter(|(_, shows)| *shows).count() as f64;
            let n_others = equal.len() as f64 - n_shown;
            self.won += n_shown * (n_below + 0.5 * n_others);
            n_below += n_others;
        }
        self.n += n_below * (values.len() as f64 - n_below);
    }

    fn share(&self) -> Option<f64> {
        (self.n > 0.0).then(|| self.won / self.n)
    }
}

/// What d′ is made of.
#[derive(Debug, Default)]
struct Distance {
    difference: f64,
    weight: f64,
    squares: f64,
    df: f64,
}

impl Distance {
    fn add(&mut self, fold: &[(usize, f64, bool)]) {
        let of =
            |kind: bool| -> Vec<f64> { fold.iter().filter(|(.., shows)| *shows == kind).map(|(_, x, _)| *x).collect() };
        let kinds = [of(true), of(false)];
        for values in kinds.iter().filter(|values| !values.is_empty()) {
            let mean = mean(values);
            self.squares += values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>();
            self.df += values.len() as f64 - 1.0;
        }
        let [n1, n0] = kinds.each_ref().map(|values| values.len() as f64);
        if n1 > 0.0 && n0 > 0.0 {
            let weight = n1 * n0 / (n1 + n0);
            self.difference += weight * (mean(&kinds[0]) - mean(&kinds[1]));
            self.weight += weight;
        }
    }

    fn d_prime(&self) -> Option<f64> {
        let spread = (self.df > 0.0).then(|| (self.squares / self.df).sqrt()).filter(|spread| *spread > 0.0)?;
        (self.weight > 0.0).then(|| self.difference / self.weight / spread)
    }
}

#[cfg(test)]
mod tests {
    use super::super::distribution::normal_quantile;
    use super::*;

    /// Prompts with as many responses of each kind; those that show it are `delta` further along the first axis.
    struct Made {
        vectors: Vec<f32>,
        d_model: usize,
        pairs: Vec<PairOfResponses>,
        responses: Vec<JudgedResponse>,
        folds: Vec<usize>,
    }

    impl Made {
        fn new(n_prompts: usize, n_each: usize, d_model: usize, delta: f64, seed: u64) -> Self {
            let mut random = Random::new(seed);
            let (mut vectors, mut pairs, mut responses) = (Vec::new(), Vec::new(), Vec::new());
            for prompt in 0..n_prompts {
                for _ in 0..n_each {
                    let r1 = responses.len();
                    for shows in [true, false] {
                        responses.push(JudgedResponse { response: responses.len(), prompt, shows });
                        let along = |i: usize| if shows && i == 0 { delta } else { 0.0 };
                        vectors.extend((0..d_model).map(|i| (random.normal() + along(i)) as f32));
                    }
                    pairs.push(PairOfResponses { r1, r0: r1 + 1, prompt, scenario: prompt.to_string() });
                }
            }
            let folds = folds(&vec![true; n_prompts], 5, seed).unwrap();
            Self { vectors, d_model, pairs, responses, folds }
        }

        fn separation(&self) -> Separation {
            let activations = Activations { vectors: &self.vectors, d_model: self.d_model };
            separation(activations, &self.pairs, &self.responses, DirectionMethod::Mean, &self.folds)
        }

        /// With a direction of all pairs, which is how it must not be done.
        fn auroc_of_its_own(&self) -> f64 {
            let activations = Activations { vectors: &self.vectors, d_model: self.d_model };
            let direction = direction_of(activations, &self.pairs, DirectionMethod::Mean, |_| true);
            let dot = |response| -> f64 {
                direction.iter().zip(activations.row(response)).map(|(a, b)| f64::from(a * b)).sum()
            };
            let mut compared = Compared::default();
            compared.add(self.responses.iter().map(|judged| (dot(judged.response), judged.shows)));
            compared.share().unwrap()
        }
    }

    #[test]
    fn a_known_distance_is_found() {
        // Φ(d′/√2), as two normal distributions of equal variance have it.
        for (delta, auroc) in [(0.5, 0.638_163), (1.0, 0.760_250), (2.0, 0.921_350)] {
            assert!((normal_quantile(auroc) * std::f64::consts::SQRT_2 - delta).abs() < 1e-4, "the table is right");
            let found: Vec<Separation> = (0..40).map(|seed| Made::new(80, 8, 3, delta, seed).separation()).collect();
            let mean = |value: fn(&Separation) -> Option<f64>| {
                found.iter().map(|found| value(found).unwrap()).sum::<f64>() / found.len() as f64
            };
            assert!((mean(|found| found.d_prime) - delta).abs() < 0.03, "{delta}: {found:?}");
            assert!((mean(|found| found.auroc) - auroc).abs() < 0.008, "{delta}: {found:?}");
            assert!((mean(|found| found.auroc_within_prompts) - auroc).abs() < 0.008, "{delta}: {found:?}");
        }
    }

    #[test]
    fn noise_is_not_separated_although_a_direction_separates_what_it_is_made_of() {
        let (mut own, mut honest) = (0.0, 0.0);
        for seed in 0..10 {
            let made = Made::new(20, 1, 300, 0.0, seed);
            own += made.auroc_of_its_own() / 10.0;
            honest += made.separation().auroc.unwrap() / 10.0;
        }
        assert!(own > 0.95 && (honest - 0.5).abs() < 0.08, "{own} of its own, {honest} of others");
    }

    #[test]
    fn place_and_scale_of_activations_do_not_matter() {
        let mut made = Made::new(12, 3, 4, 1.0, 2);
        let before = made.separation();
        // Exact in binary, so that no projection is rounded otherwise.
        made.vectors.iter_mut().for_each(|x| *x *= 4.0);
        let scaled = made.separation();
        assert_eq!(scaled.auroc, before.auroc);
        assert!((scaled.d_prime.unwrap() - before.d_prime.unwrap()).abs() < 1e-9);
        made.vectors.iter_mut().enumerate().for_each(|(i, x)| *x += [3.0, -5.0, 1.0, 0.5][i % 4]);
        let moved = made.separation();
        assert!((moved.auroc.unwrap() - before.auroc.unwrap()).abs() < 0.01, "{moved:?} {before:?}");
        assert!((moved.d_prime.unwrap() - before.d_prime.unwrap()).abs() < 1e-3, "{moved:?} {before:?}");
    }

    #[test]
    fn what_prompts_differ_in_is_out_of_play_within_prompts() {
        // The projection says which prompt it is, and nothing else.
        let mut made = Made::new(20, 2, 1, 0.0, 1);
        made.vectors.iter_mut().enumerate().for_each(|(i, x)| *x = (i / 4) as f32);
        made.pairs.iter_mut().for_each(|pair| (pair.r1, pair.r0) = (79, 0));
        let found = made.separation();
        assert_eq!(found.auroc_within_prompts, Some(0.5), "all tied");
        // Prompts of one kind each: only whole prompts can be compared.
        made.responses.iter_mut().for_each(|judged| judged.shows = judged.prompt >= 10);
        let found = made.separation();
        assert_eq!((found.auroc, found.auroc_within_prompts), (Some(1.0), None));
    }

    #[test]
    fn what_cannot_be_measured_is_none() {
        let mut made = Made::new(6, 1, 2, 1.0, 3);
        made.responses.iter_mut().for_each(|judged| judged.shows = true);
        assert_eq!(made.separation(), Separation { auroc: None, auroc_within_prompts: None, d_prime: None });
        made.responses.clear();
        assert_eq!(made.separation().auroc, None);
        let mut flat = Made::new(6, 1, 2, 1.0, 3);
        flat.vectors.fill(1.0);
        let found = flat.separation();
        assert_eq!((found.auroc, found.d_prime), (Some(0.5), None), "a direction of norm zero ties everything");
        assert_eq!(folds(&[true], 5, 0), None);
        assert_eq!(folds(&[true, false, false], 5, 0), None);
    }

    #[test]
    fn folds_are_even_and_leave_pairs_to_every_other_one() {
        for seed in 0..20 {
            let has_pairs: Vec<bool> = (0..17).map(|i| i % 3 == 0).collect();
            let folds = folds(&has_pairs, 5, seed).unwrap();
            for fold in 0..5 {
                let of_fold = |has: bool| (0..17).filter(|&i| folds[i] == fold && has_pairs[i] == has).count();
                assert!((1..=2).contains(&of_fold(true)) && (3..=4).contains(&(of_fold(true) + of_fold(false))));
            }
        }
        assert_eq!(folds(&[true; 3], 5, 1).unwrap().iter().max(), Some(&2), "as many folds as prompts with pairs");
    }
}
