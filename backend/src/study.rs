//! The study folder: where everything of one investigation lies.
//!
//! ```text
//! study.toml                                   what was imported, from which files, with which hashes
//! pairs.parquet                                normalised pairs
//! rejects.jsonl                                refused rows: file, row, reason
//! vectors/manifest.json                        what the vectors were made from (model, template, options)
//! vectors/layer-20/manifest.json               the layer's files, once all are there
//! vectors/layer-20/00000000.safetensors        pair vectors of a fixed row range, named by first row
//! vectors/remarks/00000000.jsonl               pairs of that range without a vector or with a cut response
//! vectors/logps/manifest.json                  the files of log-probabilities, once all are there
//! vectors/logps/00000000.parquet               log-probabilities of that range's responses (`extract --logps`)
//! vectors/parts/1-of-3.json                    hashes of a finished part's files (`extract --part 1/3`), until merged
//! index/layer-20/manifest.json                 what the layer's index consists of, once all is there
//! index/layer-20/rotation.safetensors          the basis that the index is in
//! index/layer-20/block-0/00000000.safetensors  a block of dimensions of a fixed row range, named by first row
//! index/layer-20/behaviors/NAME.safetensors    behavior vectors and direction in that basis
//! behaviors/NAME/pairs.jsonl                   prompt, r0, r1, scenario as given
//! behaviors/NAME/selected.jsonl                the response pairs selected from judged rollouts, where they were
//! behaviors/NAME/behavior.json                 counts, method, inputs
//! behaviors/NAME/layer-20.safetensors          behavior vectors and direction
//! behaviors/NAME/sweep.json                    the behavior by layer: separation, steering
//! behaviors/NAME/sweep/layer-20.json           what was read at a layer; beside it, rollouts of the steered model
//! behaviors/NAME/tokens/layer-20.json          what each token of some pairs adds to their scores
//! rankings/NAME/layer-20.parquet               rank, row, id, score, source, snippet
//! diagnosis/NAME-layer-20.json                 whether editing the first pairs of that ranking is likely to help
//! clusters/NAME/discovery.json                 groups of prompts and of pairs, described
//! clusters/NAME/similarity.safetensors         the cosines they were made from
//! clusters/NAME/words.json                     words of every prompt and pair
//! clusters/NAME/pairs.json                     clusters of all pairs by their vectors, described
//! clusters/NAME/labels.safetensors             the cluster of every pair
//! names.cache/                                 what models answered that were asked for names of groups
//! maps/NAME.safetensors                        where every pair lies on a plane
//! edits/NAME.parquet                           pairs to drop or switch: row, id, hash, action, reason, score, rank
//! edits/NAME.decisions.jsonl                   the decisions that an edit set was made of in the app
//! arms/                                        retrained models, see [`crate::validate`]
//! jobs/ID.log                                  what a job of the server printed, see [`crate::jobs`]
//! whence.db                                    what people decide in the app, see [`crate::store`]
//! ```

use std::path::{Path, PathBuf};

pub use whence_shared::study::{MAX_NAME_LEN, is_plain_name};

use crate::files::{self, Context, FileError};

/// A study folder, known by its path alone; opening one reads nothing.
#[derive(Debug, Clone)]
pub struct Study {
    root: PathBuf,
}

impl Study {
    /// The study in folder `root`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder's own name, for titles.
    pub fn name(&self) -> String {
        let root = self.root.canonicalize().unwrap_or_else(|_| self.root.clone());
        root.file_name().map_or_else(|| "study".into(), |name| name.to_string_lossy().into_owned())
    }

    /// `study.toml`.
    pub fn config(&self) -> PathBuf {
        self.root.join("study.toml")
    }

    /// `pairs.parquet`.
    pub fn pairs(&self) -> PathBuf {
        self.root.join("pairs.parquet")
    }

    /// `rejects.jsonl`.
    pub fn rejects(&self) -> PathBuf {
        self.root.join("rejects.jsonl")
    }

    /// `vectors/`.
    pub fn vectors(&self) -> PathBuf {
        self.root.join("vectors")
    }

    /// `vectors/manifest.json`.
    pub fn vectors_manifest(&self) -> PathBuf {
        self.vectors().join("manifest.json")
    }

    /// `vectors/remarks/`.
    pub fn remarks(&self) -> PathBuf {
        self.vectors().join("remarks")
    }

    /// `vectors/logps/`.
    pub fn logps(&self) -> PathBuf {
        self.vectors().join("logps")
    }

    /// `vectors/logps/manifest.json`, an [`crate::extract::logps::LogpsView`].
    pub fn logps_manifest(&self) -> PathBuf {
        self.logps().join("manifest.json")
    }

    /// `vectors/parts/`.
    pub fn parts(&self) -> PathBuf {
        self.vectors().join("parts")
    }

    /// `vectors/parts/NAME.json`, an [`crate::extract::part::PartRecord`].
    pub fn part_record(&self, name: &str) -> PathBuf {
        self.parts().join(format!("{name}.json"))
    }

    /// `vectors/layer-L/`.
    pub fn layer(&self, layer: usize) -> PathBuf {
        self.vectors().join(format!("layer-{layer}"))
    }

    /// `vectors/layer-L/manifest.json`, a [`whence_shared::study::LayerView`].
    pub fn layer_manifest(&self, layer: usize) -> PathBuf {
        self.layer(layer).join("manifest.json")
    }

    /// `index/`.
    pub fn index(&self) -> PathBuf {
        self.root.join("index")
    }

    /// `index/layer-L/`.
    pub fn index_layer(&self, layer: usize) -> PathBuf {
        self.index().join(format!("layer-{layer}"))
    }

    /// `index/layer-L/manifest.json`, a [`whence_shared::index::manifest::IndexManifest`].
    pub fn index_manifest(&self, layer: usize) -> PathBuf {
        self.index_layer(layer).join("manifest.json")
    }

    /// `index/layer-L/rotation.safetensors`, a [`crate::index::Rotation`].
    pub fn index_rotation(&self, layer: usize) -> PathBuf {
        self.index_layer(layer).join("rotation.safetensors")
    }

    /// `index/layer-L/behaviors/NAME.safetensors`.
    pub fn index_behavior(&self, layer: usize, name: &str) -> PathBuf {
        self.index_layer(layer).join("behaviors").join(format!("{name}.safetensors"))
    }

    /// `behaviors/`.
    pub fn behaviors(&self) -> PathBuf {
        self.root.join("behaviors")
    }

    /// `behaviors/NAME/`.
    pub fn behavior(&self, name: &str) -> PathBuf {
        self.behaviors().join(name)
    }

    /// `behaviors/NAME/layer-L.safetensors`.
    pub fn behavior_vectors(&self, name: &str, layer: usize) -> PathBuf {
        self.behavior(name).join(format!("layer-{layer}.safetensors"))
    }

    /// `behaviors/NAME/behavior.json`, a [`whence_shared::study::BehaviorView`].
    pub fn behavior_view(&self, name: &str) -> PathBuf {
        self.behavior(name).join("behavior.json")
    }

    /// `behaviors/NAME/sweep.json`, a [`whence_shared::sweep::SweepView`].
    pub fn sweep(&self, name: &str) -> PathBuf {
        self.behavior(name).join("sweep.json")
    }

    /// `behaviors/NAME/sweep/`.
    pub fn sweep_parts(&self, name: &str) -> PathBuf {
        self.behavior(name).join("sweep")
    }

    /// `behaviors/NAME/tokens/layer-L.json`, a [`whence_shared::tokens::TokensView`].
    pub fn tokens(&self, name: &str, layer: usize) -> PathBuf {
        self.root().join(whence_shared::tokens::path(name, layer))
    }

    /// `rankings/`.
    pub fn rankings(&self) -> PathBuf {
        self.root.join("rankings")
    }

    /// `rankings/NAME/layer-L.parquet`.
    pub fn ranking(&self, behavior: &str, layer: usize) -> PathBuf {
        self.rankings().join(behavior).join(format!("layer-{layer}.parquet"))
    }

    /// `diagnosis/NAME-layer-L.json`, a [`whence_shared::diagnosis::Diagnosis`].
    pub fn diagnosis(&self, behavior: &str, layer: usize) -> PathBuf {
        self.root.join(whence_shared::diagnosis::path(behavior, layer))
    }

    /// `clusters/`.
    pub fn discoveries(&self) -> PathBuf {
        self.root.join("clusters")
    }

    /// `clusters/NAME/`.
    pub fn discovery(&self, name: &str) -> PathBuf {
        self.discoveries().join(name)
    }

    /// Names of the discoveries, in alphabetical order.
    ///
    /// # Errors
    ///
    /// When the folder exists and cannot be listed.
    pub fn discovery_names(&self) -> Result<Vec<String>, FileError> {
        self.entries(&self.discoveries(), |name| {
            self.discovery(name).join("discovery.json").is_file().then(|| name.to_owned())
        })
    }

    /// `clusters/NAME/pairs.json`, a [`whence_shared::clustering::ClusteringView`].
    pub fn clustering(&self, name: &str) -> PathBuf {
        self.discovery(name).join("pairs.json")
    }

    /// `clusters/NAME/labels.safetensors`, a [`whence_shared::clustering::Labels`].
    pub fn labels(&self, name: &str) -> PathBuf {
        self.discovery(name).join("labels.safetensors")
    }

    /// Names of the clusterings of pairs, in alphabetical order.
    ///
    /// # Errors
    ///
    /// When the folder exists and cannot be listed.
    pub fn clustering_names(&self) -> Result<Vec<String>, FileError> {
        self.entries(&self.discoveries(), |name| self.clustering(name).is_file().then(|| name.to_owned()))
    }

    /// `maps/`.
    pub fn maps(&self) -> PathBuf {
        self.root.join("maps")
    }

    /// `maps/NAME.safetensors`, a [`whence_shared::map::PairMap`].
    pub fn map(&self, name: &str) -> PathBuf {
        self.maps().join(format!("{name}.safetensors"))
    }

    /// Names of the maps, in alphabetical order.
    ///
    /// # Errors
    ///
    /// When the folder exists and cannot be listed.
    pub fn map_names(&self) -> Result<Vec<String>, FileError> {
        self.entries(&self.maps(), |name| stem(name, ".safetensors"))
    }

    /// `arms/`.
    pub fn arms(&self) -> PathBuf {
        self.root.join("arms")
    }

    /// `arms/queue.json`, a [`crate::validate::progress::QueueFile`].
    pub fn queue(&self) -> PathBuf {
        self.arms().join("queue.json")
    }

    /// `arms/lock`, see [`crate::validate::lock`].
    pub fn arms_lock(&self) -> PathBuf {
        self.arms().join("lock")
    }

    /// `arms/ARM/seed-N/`; ARM is [`crate::validate::outcome::arm_folder`].
    pub fn run(&self, arm: &str, seed: u64) -> PathBuf {
        self.arms().join(arm).join(format!("seed-{seed}"))
    }

    /// Every run that has a folder, complete or not: its arm's folder and its training seed, by name and number.
    ///
    /// # Errors
    ///
    /// When a folder cannot be listed.
    pub fn runs(&self) -> Result<Vec<(String, u64)>, FileError> {
        let mut runs = Vec::new();
        for arm in self.entries(&self.arms(), |name| Some(name.to_owned()))? {
            runs.extend(self.entries(&self.arms().join(&arm), |name| {
                Some((arm.clone(), name.strip_prefix("seed-")?.parse().ok()?))
            })?);
        }
        Ok(runs)
    }

    /// `judge-cache/`: what judges at endpoints answered, by the hash of what was asked.
    pub fn judge_cache(&self) -> PathBuf {
        self.root.join("judge-cache")
    }

    /// `report.json`.
    pub fn report(&self) -> PathBuf {
        self.root.join("report.json")
    }

    /// `edits/`.
    pub fn edits(&self) -> PathBuf {
        self.root.join("edits")
    }

    /// `edits/NAME.parquet`, a [`crate::edit::EditSet`].
    pub fn edit(&self, name: &str) -> PathBuf {
        self.edits().join(format!("{name}.parquet"))
    }

    /// `edits/NAME.decisions.jsonl`, see [`crate::edit::decisions`].
    pub fn edit_decisions(&self, name: &str) -> PathBuf {
        self.edits().join(format!("{name}.decisions.jsonl"))
    }

    /// `jobs/`.
    pub fn jobs(&self) -> PathBuf {
        self.root.join("jobs")
    }

    /// `jobs/ID.log`: what a job printed.
    pub fn job_log(&self, id: u64) -> PathBuf {
        self.jobs().join(format!("{id}.log"))
    }

    /// `jobs/ID.progress.json`: how far a running job is.
    pub fn job_progress(&self, id: u64) -> PathBuf {
        self.jobs().join(format!("{id}.progress.json"))
    }

    /// `whence.db`, a [`crate::store::Store`].
    pub fn database(&self) -> PathBuf {
        self.root.join("whence.db")
    }

    /// Names of the edit sets, in alphabetical order.
    ///
    /// # Errors
    ///
    /// When the folder exists and cannot be listed.
    pub fn edit_names(&self) -> Result<Vec<String>, FileError> {
        self.entries(&self.edits(), |name| stem(name, ".parquet"))
    }

    /// Stored rankings as `NAME/layer-L`, in alphabetical order.
    ///
    /// # Errors
    ///
    /// When a folder exists and cannot be listed.
    pub fn ranking_names(&self) -> Result<Vec<String>, FileError> {
        let mut names = Vec::new();
        for behavior in self.entries(&self.rankings(), |name| Some(name.to_owned()))? {
            names.extend(self.entries(&self.rankings().join(&behavior), |name| {
                stem(name, ".parquet").map(|stem| format!("{behavior}/{stem}"))
            })?);
        }
        Ok(names)
    }

    /// Names of the behaviors, in alphabetical order.
    ///
    /// # Errors
    ///
    /// When the folder exists and cannot be listed.
    pub fn behavior_names(&self) -> Result<Vec<String>, FileError> {
        self.entries(&self.behaviors(), |name| self.behavior_view(name).is_file().then(|| name.to_owned()))
    }

    /// Layers whose pair vectors are complete, ascending.
    ///
    /// # Errors
    ///
    /// When the folder exists and cannot be listed.
    pub fn complete_layers(&self) -> Result<Vec<usize>, FileError> {
        let mut layers = self.started_layers()?;
        layers.retain(|&layer| self.layer_manifest(layer).is_file());
        Ok(layers)
    }

    /// Layers that have a folder of pair vectors, complete or not, ascending.
    ///
    /// # Errors
    ///
    /// When the folder exists and cannot be listed.
    pub fn started_layers(&self) -> Result<Vec<usize>, FileError> {
        self.entries(&self.vectors(), |name| name.strip_prefix("layer-")?.parse().ok())
    }

    fn entries<T: Ord>(&self, folder: &Path, keep: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, FileError> {
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let mut kept = Vec::new();
        for entry in std::fs::read_dir(folder).at("list", folder)? {
            let entry = entry.at("list", folder)?;
            kept.extend(keep(&entry.file_name().to_string_lossy()));
        }
        kept.sort();
        Ok(kept)
    }
}

/// Name of a whole file without its ending; files still being written begin with a dot.
fn stem(name: &str, ending: &str) -> Option<String> {
    name.strip_suffix(ending).filter(|stem| !stem.starts_with('.')).map(str::to_owned)
}

/// Hash of everything a result was made from: SHA-256 over the parts, each prefixed by its length.
pub fn inputs_hash(parts: &[&str]) -> String {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    files::sha256(&bytes)
}

/// Layers as a message lists them: `1, 2, 3` or `none`.
pub fn numbers(layers: &[usize]) -> String {
    match layers {
        [] => "none".into(),
        layers => layers.iter().map(usize::to_string).collect::<Vec<_>>().join(", "),
    }
}
