//! Discovery: prompts and pairs grouped by what they have to do with each other, before anyone has named a behavior.
//!
//! S\[i, j\] is the cosine of the behavior vector of prompt i (what tuning changed in the response to it) with the vector of
//! pair j (what preferring its chosen response teaches). Prompts whose rows are alike were changed by the same pairs; pairs
//! whose columns are alike changed the same prompts. Both are put into Ward hierarchies, cut where the clusters hold, and
//! described so that a person can read them: [`discover`]. The result is what `clusters/NAME/discovery.json` holds. [`cutting`]
//! is where a hierarchy is cut and described, also again and elsewhere; [`words`] is what it is described by.
//!
//! The matrix itself lies beside it in `similarity.safetensors`: tensor `similarity`, F32 `[n_prompts, n_pairs]`, and tensor
//! `prompts`, F32 `[n_prompts, n_prompts]`, the cosines of behavior vectors with each other; metadata `format` =
//! [`SIMILARITY_FORMAT`]. Tensor `lengths`, F32 `[n_prompts]`, says how long these are beside the vectors of the pairs.

pub mod cutting;
pub mod words;

use std::cell::OnceCell;
use std::collections::BTreeSet;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::{Deserialize, Serialize};

use crate::changes::Change;
use crate::cluster::enrichment::Enrichment;
use crate::cluster::leaf_order;
use crate::cluster::linkage::{Dendrogram, distances, ward_of_distances};
use crate::cluster::members::Distances;
use crate::cluster::one_way::{self, Differences, OneWay};
use crate::cluster::partition::by_first_row;
use crate::cluster::points::{ClusterError, Points, check_at_most};
use crate::cluster::reading::Names;
pub use crate::cluster::reading::Text;
use crate::cluster::stability::{self, Stability};
use crate::cluster::terms::Term;
use crate::tensors::{self, TensorFile, TensorsError, f32_bytes, f32s};

use cutting::{Side, Sides};
use words::Words;

/// The value of [`DiscoveryView::format`].
pub const FORMAT: &str = "whence.discovery/2";
/// The format of the matrix's file.
pub const SIMILARITY_FORMAT: &str = "whence.similarity/3";

/// Where a hierarchy is cut.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cut {
    /// Into the number of clusters that holds, or one when none does; of prompts, each change is a cluster of its own.
    Stable,
    /// Into this many.
    Into(usize),
    /// At this height.
    Height(f64),
}

/// One side of the matrix, described: the prompts or the pairs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grouping {
    /// Ward's hierarchy of the rows of this side.
    pub dendrogram: Dendrogram,
    /// Rows in the order that puts neighbours side by side.
    pub leaf_order: Vec<u32>,
    /// Whether there are clusters at all, and how many hold.
    pub stability: Stability,
    /// Cluster of every row, from 0.
    pub labels: Vec<u32>,
    /// The clusters.
    pub clusters: Vec<Cluster>,
}

/// A cluster, for reading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// Rows in it.
    pub size: usize,
    /// Mean silhouette, −1 to 1.
    pub silhouette: f64,
    /// How surely it comes back when rows are drawn again: mean Jaccard index, 0 to 1.
    pub jaccard: f64,
    /// Of prompts: whether it is a change that tuning made, or the difference of any two samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_way: Option<OneWay>,
    /// The most typical rows.
    pub typical: Vec<u32>,
    /// The rows nearest to another cluster.
    pub border: Vec<u32>,
    /// Words that tell its prompts from those of the others.
    pub terms: Vec<Term>,
    /// Of pairs: words that only chosen responses have.
    pub chosen_terms: Vec<Term>,
    /// Of pairs: words that only rejected responses have.
    pub rejected_terms: Vec<Term>,
    /// Of pairs: sources beside their share of all pairs looked at.
    pub sources: Vec<Enrichment>,
}

/// Both sides, and how they meet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Groups {
    /// The prompts.
    pub prompts: Grouping,
    /// The pairs.
    pub pairs: Grouping,
    /// Mean of S over a cluster of prompts and one of pairs, `[n prompt clusters][n pair clusters]`, in [−1, 1].
    pub means: Vec<Vec<f64>>,
    /// What chance makes of differences that are turned about: [`one_way::chance`], by which changes are told.
    #[serde(default)]
    pub chance: Vec<f32>,
}

/// How to look.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Where the prompts are cut.
    pub prompt_cut: Cut,
    /// Where the pairs are cut.
    pub pair_cut: Cut,
    /// How stability is looked at.
    pub stability: stability::Settings,
    /// How changes are told from differences.
    #[serde(default)]
    pub one_way: one_way::Settings,
}

/// What `clusters/NAME/discovery.json` holds. Rows of `prompts` and `pairs` are those of the groups.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiscoveryView {
    /// [`FORMAT`].
    pub format: String,
    /// Its name.
    pub name: String,
    /// The behavior whose prompts these are.
    pub behavior: String,
    /// Layers that were read together.
    pub layers: Vec<usize>,
    /// Which pairs of the study: `all`, `random` or `top`.
    pub sampling: String,
    /// How many pairs the study has.
    pub n_pairs_in_study: usize,
    /// How they were grouped.
    pub settings: Settings,
    /// Hash of what the vectors were made from.
    pub inputs: String,
    /// SHA-256 of pairs.parquet.
    pub pairs_sha256: String,
    /// The prompts.
    pub prompts: Vec<PromptEntry>,
    /// The pairs that were looked at.
    pub pairs: Vec<PairEntry>,
    /// What tuning changed, by prompt, where it changed most first; empty when it was made before there was a scan.
    #[serde(default)]
    pub changes: Vec<Change>,
    /// Whether `words.json` lies beside it: [`words::Words`].
    #[serde(default)]
    pub has_words: bool,
    /// Their groups.
    pub groups: Groups,
    /// Names that a model made up for them, where one was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Names>,
}

impl DiscoveryView {
    /// Why none of these clusters of the prompts is a change, in a clause: which comes nearest, or that there are too few prompts.
    ///
    /// When all of n different prompts moved the same way, chance moves them all the same way once in 2^(n − 1) times.
    pub fn why_no_change(&self, prompts: &[Cluster]) -> String {
        let alpha = self.settings.one_way.alpha;
        let n_different = self.prompts.iter().map(|entry| entry.prompt.as_str()).collect::<BTreeSet<_>>().len();
        let needed = 1 + libm::ceil(libm::log2(1.0 / alpha)) as usize;
        if n_different < needed {
            let prompts = if n_different == 1 { "prompt is" } else { "different prompts are" };
            return format!(
                "{n_different} {prompts} too few to tell a change from chance: it takes {needed}, and some dozens to be sure"
            );
        }
        let ways = (1..).zip(prompts).filter_map(|(number, cluster)| Some((number, cluster.one_way?)));
        let hints = ways.filter(|(_, way)| way.goes_one_way && way.p > alpha && way.n_along > 1);
        let best =
            |(_, a): &(usize, OneWay), (_, b): &(usize, OneWay)| a.p.total_cmp(&b.p).then(b.n_along.cmp(&a.n_along));
        match hints.min_by(best) {
            Some((number, OneWay { n_along, n_against, p, .. })) => format!(
                "group {number} comes nearest, {n_along} prompts along it and {n_against} against, which chance does, too \
                 (p {p:.3}, asked for are {alpha})"
            ),
            None => "no group of prompts has differences that go one way".to_owned(),
        }
    }
}

/// A prompt with both models' responses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptEntry {
    /// The prompt.
    pub prompt: String,
    /// The reference model's response.
    pub r0: String,
    /// The tuned model's response.
    pub r1: String,
    /// Its scenario; empty when none was given.
    pub scenario: String,
}

/// A pair that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairEntry {
    /// Row of the study.
    pub row: u32,
    /// The pair's id.
    pub id: String,
    /// Its source.
    pub source: String,
    /// Its last user turn on one line.
    pub snippet: String,
}

/// What is grouped.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Similarity {
    /// Cosines of behavior vectors with pair vectors, row-major `[n_prompts, n_pairs]`.
    pub of_pairs: Vec<f32>,
    /// Cosines of behavior vectors with each other, row-major `[n_prompts, n_prompts]`.
    pub of_prompts: Vec<f32>,
    /// Length of each behavior vector, `[n_prompts]`: 1 = that of a typical pair vector, the root of the mean square of those of the
    /// pairs; the mean over layers.
    pub lengths: Vec<f32>,
}

impl Similarity {
    /// As the bytes of its file. The same matrices give the same bytes.
    ///
    /// # Panics
    ///
    /// Panics when they are not of that many prompts and pairs.
    pub fn write(&self, n_prompts: usize, n_pairs: usize) -> Vec<u8> {
        let [pairs, prompts, lengths] =
            [&self.of_pairs, &self.of_prompts, &self.lengths].map(|values| f32_bytes(values));
        let tensor = |shape: &[usize], bytes| {
            TensorView::new(Dtype::F32, shape.to_vec(), bytes)
                .expect("a similarity for each two, a length for each prompt")
        };
        let metadata = [("format".to_owned(), SIMILARITY_FORMAT.to_owned())].into();
        let tensors = [
            ("lengths", tensor(&[n_prompts], &lengths)),
            ("prompts", tensor(&[n_prompts, n_prompts], &prompts)),
            ("similarity", tensor(&[n_prompts, n_pairs], &pairs)),
        ];
        tensors::write(tensors.into(), metadata).expect("three tensors of known shape")
    }

    /// The matrices of a file.
    ///
    /// # Errors
    ///
    /// When it is no such file, or not of that many prompts and pairs.
    pub fn read(file: &[u8], n_prompts: usize, n_pairs: usize) -> Result<Self, TensorsError> {
        let file = TensorFile::parse(file, SIMILARITY_FORMAT)?;
        Ok(Self {
            of_pairs: f32s(file.data("similarity", Dtype::F32, &[n_prompts, n_pairs])?),
            of_prompts: f32s(file.data("prompts", Dtype::F32, &[n_prompts, n_prompts])?),
            lengths: f32s(file.data("lengths", Dtype::F32, &[n_prompts])?),
        })
    }
}

/// Groups the prompts and pairs of a similarity matrix.
///
/// # Errors
///
/// When a number is not finite, there are more rows or columns than [`stability::MAX_ROWS`], or a cut is not possible.
///
/// # Panics
///
/// Panics when the matrix is not of as many rows and columns as there are texts.
pub fn discover(
    similarity: &Similarity,
    prompts: &[Text],
    pairs: &[Text],
    settings: Settings,
) -> Result<Groups, ClusterError> {
    let (n_prompts, n_pairs) = (prompts.len(), pairs.len());
    let Similarity { of_pairs, of_prompts, lengths } = similarity;
    assert_eq!(of_pairs.len(), n_prompts * n_pairs, "one similarity per prompt and pair");
    assert_eq!(lengths.len(), n_prompts, "a length per prompt");
    let transposed = cutting::transposed(of_pairs, n_pairs);
    let rows = Points::new(of_pairs, n_pairs)?;
    let differences = Differences { points: rows, products: of_prompts, units: &units(prompts) };
    let sides = Sides {
        prompts: side(rows, settings.stability)?,
        pairs: side(Points::new(&transposed, n_prompts)?, settings.stability)?,
        chance: one_way::chance(differences, settings.stability.k_max, settings.one_way),
        alpha: settings.one_way.alpha,
        similarity: similarity.clone(),
        words: Words::of(prompts, pairs),
        sources: pairs.iter().map(|pair| pair.source.to_owned()).collect(),
    };
    sides.cut(settings.prompt_cut, settings.pair_cut)
}

/// Numbers of prompts: the same for rows of the same prompt.
fn units(prompts: &[Text]) -> Vec<u32> {
    by_first_row(&prompts.iter().map(|text| text.prompt).collect::<Vec<_>>())
}

/// The hierarchy of one side, and whether and where it holds.
fn side(points: Points, settings: stability::Settings) -> Result<Side, ClusterError> {
    check_at_most("discovery", stability::MAX_ROWS, points.n_rows())?;
    let values = distances(points);
    let distances = Distances::new(&values, points.n_rows());
    let dendrogram = ward_of_distances(values.clone(), points.n_rows());
    let stability = stability::stability_of(points, distances, &dendrogram, settings)?;
    let leaf_order = leaf_order::optimal(&dendrogram, distances)?;
    Ok(Side { distances: values, dendrogram, leaf_order, stability, settings, resampled: OnceCell::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::partition::adjusted_rand;
    use crate::statistics::random::Random;

    /// Behavior and pair vectors around `k` directions, and decoys around none; similarity matrix and truths.
    fn planted(k: usize, seed: u64) -> (Similarity, Vec<usize>, Vec<usize>) {
        const WIDTH: usize = 24;
        let mut random = Random::new(seed);
        let directions: Vec<Vec<f64>> = (0..k).map(|_| (0..WIDTH).map(|_| random.normal()).collect()).collect();
        let mut vectors = |n: usize, n_kinds: usize| -> (Vec<Vec<f64>>, Vec<usize>) {
            let kinds: Vec<usize> = (0..n).map(|i| i % n_kinds).collect();
            let vector = |&kind: &usize| {
                let own = directions.get(kind);
                (0..WIDTH).map(|j| own.map_or(0.0, |own| 1.5 * own[j]) + 0.7 * random.normal()).collect()
            };
            (kinds.iter().map(vector).collect(), kinds)
        };
        let ((prompts, prompt_kinds), (pairs, pair_kinds)) = (vectors(60, k), vectors(90, k + 1));
        let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
        let cosine = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>() / norm(a) / norm(b);
        let cosines =
            |of: &[Vec<f64>]| prompts.iter().flat_map(|a| of.iter().map(move |b| cosine(a, b) as f32)).collect();
        let lengths = vec![1.0; prompts.len()];
        (Similarity { of_pairs: cosines(&pairs), of_prompts: cosines(&prompts), lengths }, prompt_kinds, pair_kinds)
    }

    const SETTINGS: Settings = Settings {
        prompt_cut: Cut::Stable,
        pair_cut: Cut::Stable,
        stability: stability::Settings { k_max: 8, n_samples: 10, share: 0.8, n_null: 19, alpha: 0.05, seed: 1 },
        one_way: one_way::Settings { n_turns: 39, alpha: 0.05, seed: 1 },
    };

    #[test]
    fn planted_groups_are_found_without_their_number() {
        for (k, seed) in [(2, 1), (3, 2), (4, 3)] {
            let (similarity, prompt_kinds, pair_kinds) = planted(k, seed);
            let requests: Vec<String> = (0..60).map(|i| format!("request {i}")).collect();
            let prompts: Vec<Text> = requests.iter().map(|prompt| Text { prompt, ..Text::default() }).collect();
            let pairs: Vec<Text> = pair_kinds
                .iter()
                .map(|&kind| Text {
                    prompt: ["apple", "bread", "cheese", "dates", "eggs"][kind],
                    chosen: "certainly here",
                    rejected: "sorry no",
                    source: if kind == 0 { "web" } else { "books" },
                })
                .collect();
            let groups = discover(&similarity, &prompts, &pairs, SETTINGS).unwrap();
            assert_eq!(groups.prompts.stability.chosen, Some(k), "{k}: {:?}", groups.prompts.stability);
            assert!(adjusted_rand(&groups.prompts.labels, &prompt_kinds) > 0.9);
            assert!(adjusted_rand(&groups.pairs.labels, &pair_kinds) > 0.8, "{k}: {:?}", groups.pairs.stability);
            let is_found = |cluster: &Cluster| cluster.one_way.is_some_and(|way| way.is_found());
            assert!(groups.prompts.clusters.iter().all(is_found), "{k}: {:?}", groups.prompts.clusters);
            // Each group of prompts has its group of pairs.
            for means in &groups.means {
                let high = means.iter().filter(|&&mean| mean > 0.5).count();
                assert_eq!(high, 1, "{:?}", groups.means);
            }
            let web = &groups.pairs.clusters[groups.pairs.labels[0] as usize];
            assert_eq!((web.terms[0].term.as_str(), web.sources[0].source.as_str()), ("apple", "web"));
            assert!(web.sources[0].p_adjusted < 1e-6 && web.jaccard > 0.75 && web.silhouette > 0.3);
        }
    }

    #[test]
    fn a_matrix_comes_back_from_its_file_and_no_other_does() {
        let similarity = Similarity {
            of_pairs: vec![0.5, -0.25, 1.0, 0.0, 0.125, -1.0],
            of_prompts: vec![1.0, 0.25, 0.25, 1.0],
            lengths: vec![0.5, 2.0],
        };
        let file = similarity.write(2, 3);
        assert_eq!(Similarity::read(&file, 2, 3).unwrap(), similarity);
        let error = Similarity::read(&file, 3, 2).unwrap_err().to_string();
        assert!(error.contains("expected F32 [3, 2], got F32 [2, 3]"), "{error}");
        assert!(Similarity::read(&file[..file.len() - 1], 2, 3).is_err());
        assert!(Similarity::read(b"{}", 2, 3).is_err());
    }

    #[test]
    fn one_prompt_and_equal_pairs_are_defined() {
        let text = Text::default();
        let of = |of_pairs: &[f32], n_prompts: usize| Similarity {
            of_pairs: of_pairs.to_vec(),
            of_prompts: vec![1.0; n_prompts * n_prompts],
            lengths: vec![1.0; n_prompts],
        };
        let groups = discover(&of(&[0.5], 1), &[text], &[text], SETTINGS).unwrap();
        assert_eq!((groups.prompts.labels, groups.pairs.labels, groups.means), (vec![0], vec![0], vec![vec![0.5]]));
        let groups = discover(&of(&[0.25; 20], 4), &[text; 4], &[text; 5], SETTINGS).unwrap();
        assert_eq!(groups.prompts.stability.chosen, None);
        assert_eq!(groups.means, [[0.25]]);
        let error = discover(&of(&[0.1, f32::NAN], 1), &[text], &[text; 2], SETTINGS).unwrap_err();
        assert!(error.to_string().contains("row 0, column 1"));
        let cut = Settings { pair_cut: Cut::Into(3), ..SETTINGS };
        let error = discover(&of(&[0.1, 0.2], 1), &[text], &[text; 2], cut).unwrap_err();
        assert!(error.to_string().contains("expected 1 to 2"));
    }
}
