//! The diagnosis of a ranking as it lies in a static folder, made by the function that `whence diagnose` uses.

use whence_shared::diagnosis::figures::Draws;
use whence_shared::diagnosis::{self, Diagnosis, Evidence, Subject};
use whence_shared::index::manifest::hashed_vectors;
use whence_shared::statistics::random::Random;

use super::{StaticStudy, sha256};

impl StaticStudy {
    /// Diagnoses the first `k` pairs of a behavior's ranking, with random directions that see only noise, and writes the file.
    ///
    /// # Panics
    ///
    /// Panics when the study has no such behavior or layer, or the file cannot be written.
    pub fn write_diagnosis(&self, behavior: &str, layer: usize, k: usize) -> Diagnosis {
        let scores: Vec<f64> = self.native_ranking(behavior, layer).scores.into_iter().map(f64::from).collect();
        let mut random = Random::new(1);
        let mut draws = Draws::new(scores.len(), k);
        (0..20).for_each(|_| draws.add(&scores.iter().map(|_| 0.1 * random.normal()).collect::<Vec<_>>()));
        let view = self.view.layers.iter().find(|view| view.layer == layer).expect("a layer of the study");
        let hashes = view.shards.iter().map(|shard| shard.sha256.as_str());
        let found = diagnosis::diagnose(&Evidence {
            of: Subject {
                behavior: behavior.to_owned(),
                layer,
                k,
                n_pairs: scores.len(),
                seed: 0,
                pairs_sha256: sha256(b"pairs"),
                vectors_sha256: sha256(hashed_vectors(hashes).as_bytes()),
                behavior_sha256: sha256(b"behavior"),
            },
            scores: &scores,
            random_directions: &draws,
            sources: &(0..scores.len() as u32).map(|row| row % 4).collect::<Vec<_>>(),
            anisotropy: Some(0.02),
            halves: &[],
            layers: &[],
            covariates: &[],
        });
        let found = found.expect("pairs, and no more than there are");
        self.write(&diagnosis::path(behavior, layer), &serde_json::to_vec(&found).unwrap());
        found
    }
}
