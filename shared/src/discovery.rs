//! Discovery: prompts and pairs grouped by what they have to do with each other, before anyone has named a behavior.
//!
//! S\[i, j\] is the cosine of the behavior vector of prompt i (what tuning changed in the response to it) with the vector of
//! pair j (what preferring its chosen response teaches). Prompts whose rows are alike were changed by the same pairs; pairs
//! whose columns are alike changed the same prompts. Both are put into Ward hierarchies, cut where the clusters hold, and
//! described so that a person can read them: [`discover`]. The result is what `clusters/NAME/discovery.json` holds.

//!
//! The matrix itself lies beside it in `similarity.safetensors`: tensor `similarity`, F32 `[n_prompts, n_pairs]`, metadata
//! `format` = [`SIMILARITY_FORMAT`].

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::{Deserialize, Serialize};

use crate::cluster::enrichment::Enrichment;
use crate::cluster::leaf_order;
use crate::cluster::linkage::{Dendrogram, distances, ward_of_distances};
use crate::cluster::members::{self, Distances, Members};
use crate::cluster::points::{ClusterError, Points, check_at_most};
pub use crate::cluster::reading::Text;
use crate::cluster::reading::{Counts, N_EXEMPLARS, N_TERMS, Names};
use crate::cluster::stability::{self, Stability};
use crate::cluster::terms::{Term, TermCounts, words};
use crate::tensors::{self, TensorFile, TensorsError, f32_bytes, f32s};

/// The value of [`DiscoveryView::format`].
pub const FORMAT: &str = "whence.discovery/1";
/// The format of the matrix's file.
pub const SIMILARITY_FORMAT: &str = "whence.similarity/1";

/// Where a hierarchy is cut.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cut {
    /// Into the number of clusters that holds, or one when none does.
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
    /// Their groups.
    pub groups: Groups,
    /// Names that a model made up for them, where one was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Names>,
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

/// A matrix as the bytes of its file. The same matrix gives the same bytes.
///
/// # Panics
///
/// Panics when it is not of that many rows and columns.
pub fn write_similarity(similarity: &[f32], n_prompts: usize, n_pairs: usize) -> Vec<u8> {
    let bytes = f32_bytes(similarity);
    let tensor =
        TensorView::new(Dtype::F32, vec![n_prompts, n_pairs], &bytes).expect("one similarity per prompt and pair");
    let metadata = [("format".to_owned(), SIMILARITY_FORMAT.to_owned())].into();
    tensors::write(vec![("similarity", tensor)], metadata).expect("one tensor of known shape")
}

/// The matrix of a file, row-major.
///
/// # Errors
///
/// When it is no such file, or not of that many rows and columns.
pub fn read_similarity(file: &[u8], n_prompts: usize, n_pairs: usize) -> Result<Vec<f32>, TensorsError> {
    let file = TensorFile::parse(file, SIMILARITY_FORMAT)?;
    Ok(f32s(file.data("similarity", Dtype::F32, &[n_prompts, n_pairs])?))
}

/// Groups the prompts and pairs of a similarity matrix, row-major `[n_prompts, n_pairs]`.
///
/// # Errors
///
/// When a number is not finite, there are more rows or columns than [`stability::MAX_ROWS`], or a cut is not possible.
///
/// # Panics
///
/// Panics when the matrix is not of as many rows and columns as there are texts.
pub fn discover(
    similarity: &[f32],
    prompts: &[Text],
    pairs: &[Text],
    settings: Settings,
) -> Result<Groups, ClusterError> {
    let (n_prompts, n_pairs) = (prompts.len(), pairs.len());
    assert_eq!(similarity.len(), n_prompts * n_pairs, "one similarity per prompt and pair");
    let transposed: Vec<f32> =
        (0..n_pairs).flat_map(|j| (0..n_prompts).map(move |i| similarity[i * n_pairs + j])).collect();
    let of_prompts = group(Points::new(similarity, n_pairs)?, prompts, settings.prompt_cut, settings.stability)?;
    let mut of_pairs = group(Points::new(&transposed, n_prompts)?, pairs, settings.pair_cut, settings.stability)?;
    describe_pairs(&mut of_pairs, pairs);
    let means = means(similarity, &of_prompts, &of_pairs);
    Ok(Groups { prompts: of_prompts, pairs: of_pairs, means })
}

fn group(points: Points, texts: &[Text], cut: Cut, settings: stability::Settings) -> Result<Grouping, ClusterError> {
    check_at_most("discovery", stability::MAX_ROWS, points.n_rows())?;
    let values = distances(points);
    let distances = Distances::new(&values, points.n_rows());
    let dendrogram = ward_of_distances(values.clone(), points.n_rows());
    let stability = stability::stability_of(points, distances, &dendrogram, settings)?;
    let labels = match cut {
        Cut::Stable => dendrogram.cut_into(stability.chosen.unwrap_or(1))?,
        Cut::Into(k) => dendrogram.cut_into(k)?,
        Cut::Height(height) => dendrogram.cut_at(height),
    };
    let members = members::members(distances, &labels);
    let jaccards = members::clusterwise(distances, &dendrogram, members.len(), settings)?;
    let mut counts = TermCounts::new(members.len());
    labels.iter().zip(texts).for_each(|(&label, text)| counts.add(label as usize, words(text.prompt)));
    let first = |rows: &[u32]| rows.iter().copied().take(N_EXEMPLARS).collect();
    let cluster = |((members, jaccard), terms): ((&Members, f64), Vec<Term>)| Cluster {
        size: members.rows.len(),
        silhouette: members.silhouette,
        jaccard,
        typical: first(&members.typical),
        border: first(&members.border),
        terms,
        chosen_terms: Vec::new(),
        rejected_terms: Vec::new(),
        sources: Vec::new(),
    };
    let clusters = members.iter().zip(jaccards).zip(counts.top(N_TERMS)).map(cluster).collect();
    Ok(Grouping { leaf_order: leaf_order::optimal(&dendrogram, distances)?, dendrogram, stability, labels, clusters })
}

/// What pairs have beside prompts: two responses and a source.
fn describe_pairs(grouping: &mut Grouping, pairs: &[Text]) {
    let mut counts = Counts::new(grouping.clusters.len());
    grouping.labels.iter().zip(pairs).for_each(|(&label, pair)| counts.add(label as usize, pair));
    for (cluster, reading) in grouping.clusters.iter_mut().zip(counts.readings()) {
        (cluster.chosen_terms, cluster.rejected_terms) = (reading.chosen_terms, reading.rejected_terms);
        cluster.sources = reading.sources;
    }
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
    use super::*;
    use crate::cluster::partition::adjusted_rand;
    use crate::statistics::random::Random;

    /// Behavior and pair vectors around `k` directions, and decoys around none; similarity matrix and truths.
    fn planted(k: usize, seed: u64) -> (Vec<f32>, Vec<usize>, Vec<usize>) {
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
        let similarity = prompts.iter().flat_map(|a| pairs.iter().map(move |b| cosine(a, b) as f32)).collect();
        (similarity, prompt_kinds, pair_kinds)
    }

    const SETTINGS: Settings = Settings {
        prompt_cut: Cut::Stable,
        pair_cut: Cut::Stable,
        stability: stability::Settings { k_max: 8, n_samples: 10, share: 0.8, n_null: 19, alpha: 0.05, seed: 1 },
    };

    #[test]
    fn planted_groups_are_found_without_their_number() {
        for (k, seed) in [(2, 1), (3, 2), (4, 3)] {
            let (similarity, prompt_kinds, pair_kinds) = planted(k, seed);
            let prompts = vec![Text { prompt: "a request", ..Text::default() }; 60];
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
        let similarity = [0.5, -0.25, 1.0, 0.0, 0.125, -1.0];
        let file = write_similarity(&similarity, 2, 3);
        assert_eq!(read_similarity(&file, 2, 3).unwrap(), similarity);
        assert!(read_similarity(&file, 3, 2).unwrap_err().to_string().contains("expected F32 [3, 2], got F32 [2, 3]"));
        assert!(read_similarity(&file[..file.len() - 1], 2, 3).is_err());
        assert!(read_similarity(b"{}", 2, 3).is_err());
    }

    #[test]
    fn one_prompt_and_equal_pairs_are_defined() {
        let text = Text::default();
        let groups = discover(&[0.5], &[text], &[text], SETTINGS).unwrap();
        assert_eq!((groups.prompts.labels, groups.pairs.labels, groups.means), (vec![0], vec![0], vec![vec![0.5]]));
        let groups = discover(&[0.25; 20], &[text; 4], &[text; 5], SETTINGS).unwrap();
        assert_eq!(groups.prompts.stability.chosen, None);
        assert_eq!(groups.means, [[0.25]]);
        let error = discover(&[0.1, f32::NAN], &[text], &[text; 2], SETTINGS).unwrap_err();
        assert!(error.to_string().contains("row 0, column 1"));
        let cut = Settings { pair_cut: Cut::Into(3), ..SETTINGS };
        assert!(discover(&[0.1, 0.2], &[text], &[text; 2], cut).unwrap_err().to_string().contains("expected 1 to 2"));
    }
}
