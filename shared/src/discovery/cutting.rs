//! Cutting the two hierarchies of a discovery, wherever a reader wants, and describing what comes out.
//!
//! [`Sides`] holds what does not depend on where they are cut: hierarchies, distances, words, and hierarchies of samples of the
//! rows, by which each cluster's stability is told. The command line cuts once; the app's worker keeps them and cuts as
//! the reader moves.

use std::cell::OnceCell;

use serde::{Deserialize, Serialize};

use super::words::{Counts, Words};
use super::{Cluster, Cut, Grouping, Groups, Settings, Similarity};
use crate::cluster::contrast::{self, Contrast};
use crate::cluster::enrichment::{adjust_together, enrichment};
use crate::cluster::linkage::{Dendrogram, distances};
use crate::cluster::members::{self, Distances, Members, Resampled};
use crate::cluster::one_way::{self, Moved, OneWay};
use crate::cluster::partition::by_first_row;
use crate::cluster::points::{ClusterError, Points};
use crate::cluster::reading::{N_EXEMPLARS, N_TERMS};
use crate::cluster::stability::{self, Stability};

/// Terms of each cluster in a contrast.
const N_CONTRAST_TERMS: usize = 16;

/// One side of the matrix before it is cut.
#[derive(Debug, Clone)]
pub struct Side {
    pub(super) distances: Vec<f64>,
    pub(super) dendrogram: Dendrogram,
    pub(super) leaf_order: Vec<u32>,
    pub(super) stability: Stability,
    pub(super) settings: stability::Settings,
    pub(super) resampled: OnceCell<Resampled>,
}

impl Side {
    /// The side of a grouping that was made of these points, ready to be cut elsewhere.
    pub fn of(points: Points, grouping: &Grouping, settings: stability::Settings) -> Self {
        Self {
            distances: distances(points),
            dendrogram: grouping.dendrogram.clone(),
            leaf_order: grouping.leaf_order.clone(),
            stability: grouping.stability.clone(),
            settings,
            resampled: OnceCell::new(),
        }
    }

    /// Labels of a cut.
    fn labels(&self, cut: Cut) -> Result<Vec<u32>, ClusterError> {
        match cut {
            Cut::Stable => self.dendrogram.cut_into(self.stability.chosen.unwrap_or(1)),
            Cut::Into(k) => self.dendrogram.cut_into(k),
            Cut::Height(height) => Ok(self.dendrogram.cut_at(height)),
        }
    }

    /// Clusters with the words that tell them apart.
    fn describe(&self, labels: Vec<u32>, words: &Words, rows: &[Counts]) -> Grouping {
        let distances = Distances::new(&self.distances, labels.len());
        let members = members::members(distances, &labels);
        let resampled = self.resampled.get_or_init(|| members::resampled(distances, self.settings));
        let jaccards = resampled.jaccards(&labels, members.len());
        let counts = words.by_class(rows, &labels, members.len());
        let first = |rows: &[u32]| rows.iter().copied().take(N_EXEMPLARS).collect();
        let cluster = |((members, jaccard), terms): ((&Members, f64), Vec<_>)| Cluster {
            size: members.rows.len(),
            silhouette: members.silhouette,
            jaccard,
            one_way: None,
            typical: first(&members.typical),
            border: first(&members.border),
            terms,
            chosen_terms: Vec::new(),
            rejected_terms: Vec::new(),
            sources: Vec::new(),
        };
        let clusters = members.iter().zip(jaccards).zip(counts.top(N_TERMS)).map(cluster).collect();
        let (dendrogram, stability) = (self.dendrogram.clone(), self.stability.clone());
        Grouping { leaf_order: self.leaf_order.clone(), dendrogram, stability, labels, clusters }
    }
}

/// Both sides of a matrix before they are cut.
#[derive(Debug, Clone)]
pub struct Sides {
    pub(super) similarity: Similarity,
    pub(super) prompts: Side,
    pub(super) pairs: Side,
    pub(super) words: Words,
    /// Source of every pair.
    pub(super) sources: Vec<String>,
    /// By which changes are told: [`Groups::chance`].
    pub(super) chance: Vec<f32>,
    /// Chance of taking a difference for a change.
    pub(super) alpha: f64,
}

/// One side of the matrix, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SideName {
    /// Its rows.
    Prompts,
    /// Its columns.
    Pairs,
}

/// What tells two clusters of one side apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterContrast {
    /// Words of their prompts.
    pub prompts: Contrast,
    /// Of pairs: words that only chosen responses have.
    pub chosen: Option<Contrast>,
    /// Of pairs: words that only rejected responses have.
    pub rejected: Option<Contrast>,
}

impl Sides {
    /// The sides of groups that were made of this matrix, ready to be cut elsewhere. Without words of pairs (see
    /// [`Words`]), clusters of pairs have no terms.
    ///
    /// # Errors
    ///
    /// When a number is not finite.
    ///
    /// # Panics
    ///
    /// Panics when the matrix, words or sources are not of as many prompts and pairs as the groups.
    pub fn of(
        similarity: Similarity,
        groups: &Groups,
        words: Words,
        sources: Vec<String>,
        settings: Settings,
    ) -> Result<Self, ClusterError> {
        let (n_prompts, n_pairs) = (groups.prompts.labels.len(), groups.pairs.labels.len());
        assert_eq!(similarity.of_pairs.len(), n_prompts * n_pairs, "one similarity per prompt and pair");
        assert_eq!((words.prompts.len(), sources.len()), (n_prompts, n_pairs), "words and sources of these rows");
        let transposed = transposed(&similarity.of_pairs, n_pairs);
        let prompts = Side::of(Points::new(&similarity.of_pairs, n_pairs)?, &groups.prompts, settings.stability);
        let pairs = Side::of(Points::new(&transposed, n_prompts)?, &groups.pairs, settings.stability);
        let (chance, alpha) = (groups.chance.clone(), settings.one_way.alpha);
        Ok(Self { similarity, prompts, pairs, words, sources, chance, alpha })
    }

    /// Cuts and describes both sides.
    ///
    /// # Errors
    ///
    /// When a cut is not possible.
    pub fn cut(&self, prompts: Cut, pairs: Cut) -> Result<Groups, ClusterError> {
        let of_prompts = self.cut_prompts(prompts)?;
        Ok(self.groups(of_prompts, self.cut_pairs(pairs)?))
    }

    /// Cuts and describes the prompts. Where the cut is left to what holds, each change ([`one_way::changes`]) is a cluster of its
    /// own, however the rest is cut, and what remains of the hierarchy's clusters is no change.
    ///
    /// # Errors
    ///
    /// When the cut is not possible.
    pub fn cut_prompts(&self, cut: Cut) -> Result<Grouping, ClusterError> {
        let labels = self.prompts.labels(cut)?;
        let Similarity { of_prompts: products, lengths, .. } = &self.similarity;
        let (moved, dendrogram) = (Moved { products, lengths }, &self.prompts.dendrogram);
        let changes = match cut {
            Cut::Stable => one_way::changes(moved, dendrogram, self.prompts.settings.k_max, &self.chance, self.alpha),
            Cut::Into(_) | Cut::Height(_) => Vec::new(),
        };
        let mut parts: Vec<(usize, u32)> = labels.iter().map(|label| (0, *label)).collect();
        for (number, change) in (1..).zip(&changes) {
            change.rows.iter().for_each(|row| parts[*row as usize] = (number, 0));
        }
        let mut grouping = self.prompts.describe(by_first_row(&parts), &self.words, &self.words.prompts);
        let ways = one_way::one_way(moved, dendrogram, &grouping.labels, &self.chance, self.alpha);
        for (cluster, way) in grouping.clusters.iter_mut().zip(ways) {
            cluster.one_way = Some(OneWay { is_change: way.is_change && cut != Cut::Stable, ..way });
        }
        for change in changes {
            let cluster = grouping.labels[change.rows[0] as usize] as usize;
            grouping.clusters[cluster].one_way = Some(change.way);
        }
        Ok(grouping)
    }

    /// Cuts and describes the pairs.
    ///
    /// # Errors
    ///
    /// When the cut is not possible.
    pub fn cut_pairs(&self, cut: Cut) -> Result<Grouping, ClusterError> {
        let labels = self.pairs.labels(cut)?;
        let mut grouping = self.pairs.describe(labels, &self.words, &self.words.pairs);
        let n_clusters = grouping.clusters.len();
        let top = |rows: &[Counts]| self.words.by_class(rows, &grouping.labels, n_clusters).top(N_TERMS);
        let terms = top(&self.words.chosen).into_iter().zip(top(&self.words.rejected));
        let sources: Vec<&str> = self.sources.iter().map(String::as_str).collect();
        for ((label, cluster), (chosen, rejected)) in grouping.clusters.iter_mut().enumerate().zip(terms) {
            let is_own = |row: &u32| grouping.labels[*row as usize] as usize == label;
            let rows: Vec<u32> = (0..sources.len() as u32).filter(is_own).collect();
            cluster.sources = enrichment(&sources, &rows);
            (cluster.chosen_terms, cluster.rejected_terms) = (chosen, rejected);
        }
        adjust_together(grouping.clusters.iter_mut().map(|cluster| &mut cluster.sources));
        Ok(grouping)
    }

    /// Both sides with the means of the matrix over their clusters.
    pub fn groups(&self, prompts: Grouping, pairs: Grouping) -> Groups {
        Groups {
            means: means(&self.similarity.of_pairs, &prompts, &pairs),
            prompts,
            pairs,
            chance: self.chance.clone(),
        }
    }

    /// What tells two clusters of a grouping apart, by their words.
    ///
    /// # Panics
    ///
    /// Panics when the grouping is of the other side or has no such clusters.
    pub fn contrast(&self, side: SideName, grouping: &Grouping, a: usize, b: usize) -> ClusterContrast {
        let n_clusters = grouping.clusters.len();
        assert!(a < n_clusters && b < n_clusters, "clusters {a} and {b} of {n_clusters}");
        let of = |rows: &[Counts]| {
            contrast::contrast(&self.words.by_class(rows, &grouping.labels, n_clusters), a, b, N_CONTRAST_TERMS)
        };
        let of_pairs = |rows: &[Counts]| (side == SideName::Pairs).then(|| of(rows));
        let prompts = if side == SideName::Prompts { &self.words.prompts } else { &self.words.pairs };
        ClusterContrast {
            prompts: of(prompts),
            chosen: of_pairs(&self.words.chosen),
            rejected: of_pairs(&self.words.rejected),
        }
    }
}

/// The matrix with pairs as rows.
pub(super) fn transposed(similarity: &[f32], n_pairs: usize) -> Vec<f32> {
    let n_prompts = similarity.len() / n_pairs.max(1);
    (0..n_pairs).flat_map(|j| (0..n_prompts).map(move |i| similarity[i * n_pairs + j])).collect()
}

fn means(similarity: &[f32], prompts: &Grouping, pairs: &Grouping) -> Vec<Vec<f64>> {
    let mut sums = vec![vec![0.0; pairs.clusters.len()]; prompts.clusters.len()];
    for (row, &a) in similarity.chunks_exact(pairs.labels.len()).zip(&prompts.labels) {
        for (value, &b) in row.iter().zip(&pairs.labels) {
            sums[a as usize][b as usize] += f64::from(*value);
        }
    }
    for (sums, prompts) in sums.iter_mut().zip(&prompts.clusters) {
        for (sum, pairs) in sums.iter_mut().zip(&pairs.clusters) {
            *sum /= (prompts.size * pairs.size) as f64;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::super::{Text, discover};
    use super::*;
    use crate::statistics::random::Random;

    const SETTINGS: stability::Settings =
        stability::Settings { k_max: 6, n_samples: 6, share: 0.8, n_null: 19, alpha: 0.05, seed: 3 };

    fn settings(prompt_cut: Cut, pair_cut: Cut) -> Settings {
        let one_way = one_way::Settings { n_turns: 9, alpha: 0.2, seed: 3 };
        Settings { prompt_cut, pair_cut, stability: SETTINGS, one_way }
    }

    #[test]
    fn cutting_elsewhere_gives_what_discovering_there_would_have_given() {
        let (n_prompts, n_pairs) = (24, 40);
        let mut random = Random::new(8);
        let of_pairs: Vec<f32> = (0..n_prompts * n_pairs)
            .map(|at| {
                let same = (at / n_pairs) % 3 == (at % n_pairs) % 3;
                (if same { 0.7 } else { 0.0 } + 0.1 * random.normal()) as f32
            })
            .collect();
        let alike = |a: usize, b: usize| {
            if a == b {
                1.0
            } else if a % 3 == b % 3 {
                0.8
            } else {
                0.1
            }
        };
        let of_prompts = (0..n_prompts).flat_map(|a| (0..n_prompts).map(move |b| alike(a, b))).collect();
        let similarity = Similarity { of_pairs, of_prompts, lengths: vec![1.0; n_prompts] };
        let topics = ["kites fly", "rivers flow", "clocks tick"];
        let prompts: Vec<Text> = (0..n_prompts).map(|i| Text { prompt: topics[i % 3], ..Text::default() }).collect();
        let pairs: Vec<Text> = (0..n_pairs)
            .map(|j| {
                let source = if j % 3 == 0 { "web" } else { "books" };
                Text { prompt: topics[j % 3], chosen: topics[(j + 1) % 3], rejected: "no", source }
            })
            .collect();
        let stable = discover(&similarity, &prompts, &pairs, settings(Cut::Stable, Cut::Stable)).unwrap();
        let sources = pairs.iter().map(|pair| pair.source.to_owned()).collect();
        let words = Words::of(&prompts, &pairs);
        let at_hand = settings(Cut::Stable, Cut::Stable);
        let sides = Sides::of(similarity.clone(), &stable, words, sources, at_hand).unwrap();
        for (a, b) in [(Cut::Stable, Cut::Stable), (Cut::Into(5), Cut::Into(2)), (Cut::Height(1.0), Cut::Into(40))] {
            let expected = discover(&similarity, &prompts, &pairs, settings(a, b)).unwrap();
            assert_eq!(sides.cut(a, b).unwrap(), expected, "{a:?} {b:?}");
        }
        assert!(sides.cut(Cut::Into(25), Cut::Stable).is_err());
        let found = sides.contrast(SideName::Prompts, &stable.prompts, 0, 1);
        let first: Vec<&str> = found.prompts.first.iter().map(|term| term.term.as_str()).collect();
        assert_eq!((first, found.chosen), (vec!["fly", "kites"], None));
        let found = sides.contrast(SideName::Pairs, &stable.pairs, 1, 2);
        assert_eq!(found.prompts.second[0].term, "clocks");
        assert_eq!(found.chosen.unwrap().first[0].term, "clocks");
        assert_eq!(found.rejected.unwrap().first, [], "the same words in both");
    }
}
