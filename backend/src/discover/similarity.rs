//! The matrix that is grouped: cosines of behavior vectors with pair vectors, over one or several layers.
//!
//! Several layers are concatenated, each layer's vector at unit length first, so that each counts the same: the cosine of
//! such vectors is the mean of the layers' cosines. A vector that is zero at a layer counts as 0 there.

use rayon::prelude::*;
use whence_shared::changes::{lengths_beside, mean_over_layers, norms, relative_norms};
use whence_shared::cluster::points::to_unit_rows;
use whence_shared::discovery::Similarity;
use whence_shared::dot::dot;
use whence_shared::statistics::random::Random;

use crate::attribute::RankError;
use crate::extract::{BehaviorFile, LayerFiles, VectorFileError, VectorsManifest};
use crate::progress::{Report, Update};
use crate::study::Study;

/// Rows whose cosines with all prompts are held at once while the top is looked for: memory does not grow with the study.
const ROWS_AT_ONCE: usize = 1 << 14;

/// Which pairs are looked at when there are more than asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampling {
    /// Drawn at random: what is found is in the proportions of the data.
    Random,
    /// Those with the greatest cosine with any prompt: also what is rare is found, but everything looks more alike.
    Top,
}

impl Sampling {
    /// `random` or `top`.
    pub fn name(self) -> &'static str {
        match self {
            Sampling::Random => "random",
            Sampling::Top => "top",
        }
    }
}

/// The rows of one vector file, and where their cosines go.
struct Part<'a> {
    file: usize,
    rows: &'a [u32],
    columns: &'a mut [Vec<f32>],
}

/// Rows' cosines with all prompts.
struct Columns {
    /// By row, `[n_prompts]` each.
    cosines: Vec<Vec<f32>>,
    /// Lengths of the rows, by layer.
    lengths: Vec<Lengths>,
}

/// How long the vectors of some rows are, those of length zero left out.
#[derive(Debug, Clone, Copy, Default)]
struct Lengths {
    /// Sum of their squares.
    squares: f64,
    n: usize,
}

impl Lengths {
    fn add(&mut self, other: Self) {
        self.squares += other.squares;
        self.n += other.n;
    }

    fn mean_square(self) -> f64 {
        self.squares / self.n.max(1) as f64
    }
}

/// The vectors of prompts and pairs at the layers that are read together.
pub struct Vectors {
    /// Per layer, behavior vectors at unit length, `[n_prompts, d_model]`.
    prompts: Vec<Vec<f32>>,
    /// Per layer, norms of the behavior vectors, `[n_prompts]`.
    norms: Vec<Vec<f64>>,
    layers: Vec<LayerFiles>,
    d_model: usize,
}

impl Vectors {
    /// Opens the files of all layers.
    ///
    /// # Errors
    ///
    /// When one is missing, damaged, or was made from something else.
    pub fn open(
        study: &Study,
        behavior: &str,
        layers: &[usize],
        manifest: &VectorsManifest,
    ) -> Result<Self, RankError> {
        let d_model = manifest.model.d_model;
        let rows = |&layer: &usize| {
            let path = study.behavior_vectors(behavior, layer);
            let file = BehaviorFile::read(study, behavior, layer, manifest)?;
            Ok(file.ok_or_else(|| RankError::NoDirection { behavior: behavior.to_owned(), layer, path })?.vectors)
        };
        let mut prompts = layers.iter().map(rows).collect::<Result<Vec<_>, RankError>>()?;
        let norms = prompts.iter().map(|rows| norms(rows, d_model)).collect();
        prompts.iter_mut().for_each(|rows| to_unit_rows(rows, d_model));
        Ok(Self {
            prompts,
            norms,
            layers: layers.iter().map(|&layer| LayerFiles::open(study, layer, manifest)).collect::<Result<_, _>>()?,
            d_model,
        })
    }

    /// How far each prompt's response moved beside the others: [`whence_shared::changes::Change::norm`].
    pub fn relative_norms(&self) -> Vec<f64> {
        mean_over_layers(&self.norms.iter().map(|norms| relative_norms(norms)).collect::<Vec<_>>())
    }

    /// How many prompts.
    pub fn n_prompts(&self) -> usize {
        self.prompts.first().map_or(0, |rows| rows.len() / self.d_model)
    }

    /// Cosines of all prompts with each other, the mean over layers, row-major `[n_prompts, n_prompts]`, in [−1, 1]. A prompt
    /// whose vector is zero at some layers has less than 1 with itself.
    fn of_prompts(&self) -> Vec<f32> {
        let rows = |layer: usize| self.prompts[layer].chunks_exact(self.d_model);
        let mut cosines = vec![0f32; self.n_prompts() * self.n_prompts()];
        for layer in 0..self.prompts.len() {
            let all = rows(layer).flat_map(|a| rows(layer).map(move |b| dot(a, b)));
            cosines.iter_mut().zip(all).for_each(|(sum, cosine)| *sum += cosine / self.prompts.len() as f32);
        }
        cosines
    }

    /// Rows of at most `n_pairs` pairs, ascending, and what prompts have to do with them and with each other.
    ///
    /// # Errors
    ///
    /// When a vector file cannot be read.
    pub fn similarity(
        &self,
        n_pairs: usize,
        sampling: Sampling,
        seed: u64,
        report: Report,
    ) -> Result<(Vec<u32>, Similarity), RankError> {
        let n_all = self.layers.first().map_or(0, |layer| layer.view().n_rows);
        let mut rows: Vec<u32> = (0..n_all as u32).collect();
        // Of the pairs that are looked at, or of all where these are the nearest ones: those are shorter than others.
        let mut typical = None;
        if n_pairs < n_all {
            match sampling {
                Sampling::Random => Random::new(seed).shuffle(&mut rows),
                Sampling::Top => {
                    let mut best = Vec::with_capacity(n_all);
                    let of_all = typical.insert(vec![Lengths::default(); self.layers.len()]);
                    for some in rows.chunks(ROWS_AT_ONCE) {
                        let columns = self.columns(some, report)?;
                        of_all.iter_mut().zip(&columns.lengths).for_each(|(sum, part)| sum.add(*part));
                        best.extend(columns.cosines.iter().map(|column| column.iter().copied().fold(-1.0, f32::max)));
                    }
                    rows.sort_by(|&a, &b| best[b as usize].total_cmp(&best[a as usize]).then(a.cmp(&b)));
                }
            }
            rows.truncate(n_pairs);
            rows.sort_unstable();
        }
        let columns = self.columns(&rows, report)?;
        let cosines = &columns.cosines;
        let of_pairs = (0..self.n_prompts()).flat_map(|prompt| cosines.iter().map(move |column| column[prompt]));
        let typical = typical.as_ref().unwrap_or(&columns.lengths);
        if let Some((_, layer)) = typical.iter().zip(&self.layers).find(|(lengths, _)| lengths.n == 0) {
            return Err(RankError::NoLength { layer: layer.view().layer });
        }
        let by_layer = self.norms.iter().zip(typical);
        let lengths: Vec<Vec<f64>> =
            by_layer.map(|(norms, lengths)| lengths_beside(norms, lengths.mean_square())).collect();
        let similarity = Similarity {
            of_pairs: of_pairs.collect(),
            of_prompts: self.of_prompts(),
            lengths: mean_over_layers(&lengths).into_iter().map(|length| length as f32).collect(),
        };
        Ok((rows, similarity))
    }

    /// Per row, given in ascending order, the mean over layers of its cosines with every prompt.
    fn columns(&self, rows: &[u32], report: Report) -> Result<Columns, RankError> {
        let mut all = vec![vec![0f32; self.n_prompts()]; rows.len()];
        let mut lengths = Vec::with_capacity(self.layers.len());
        for (done, (layer, prompts)) in self.layers.iter().zip(&self.prompts).enumerate() {
            let detail = format!("layer {}", layer.view().layer);
            report(Update {
                stage: "similarity",
                done: done as u64,
                total: self.layers.len() as u64,
                unit: "layers",
                detail,
            });
            // Rows and columns of each vector file, so that a file is mapped once.
            let mut parts: Vec<Part> = Vec::new();
            let (mut rest, mut columns) = (rows, all.as_mut_slice());
            while let Some(&first) = rest.first() {
                let file = layer.file_of(first as usize);
                let end = layer.view().shards[file].first_row + layer.view().shards[file].n_rows;
                let n = rest.partition_point(|&row| (row as usize) < end);
                let (part, others) = columns.split_at_mut(n);
                parts.push(Part { file, rows: &rest[..n], columns: part });
                (rest, columns) = (&rest[n..], others);
            }
            let of_parts = parts.into_par_iter().map(|Part { file, rows, columns }| {
                let mapped = layer.map(file, false)?;
                let mut vector = vec![0f32; self.d_model];
                let mut lengths = Lengths::default();
                for (&row, column) in rows.iter().zip(columns) {
                    mapped.read_finite_row(row as usize, &mut vector)?;
                    let square = f64::from(dot(&vector, &vector));
                    lengths.add(Lengths { squares: square, n: usize::from(square > 0.0) });
                    to_unit_rows(&mut vector, self.d_model);
                    for (sum, prompt) in column.iter_mut().zip(prompts.chunks_exact(self.d_model)) {
                        *sum += dot(prompt, &vector) / self.layers.len() as f32;
                    }
                }
                Ok(lengths)
            });
            let of_parts = of_parts.collect::<Result<Vec<Lengths>, VectorFileError>>()?;
            // In the order of the files: the same sum however many threads there are.
            lengths.push(of_parts.into_iter().fold(Lengths::default(), |mut sum, part| {
                sum.add(part);
                sum
            }));
        }
        Ok(Columns { cosines: all, lengths })
    }
}
