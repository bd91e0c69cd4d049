//! Every address of a part of a study, and what answers it: files as they lie, and JSON that is made. A report writes all
//! of them; a read-only share answers these and no others.

use std::borrow::Cow;
use std::path::PathBuf;

use whence_shared::clustering::ClusteringView;
use whence_shared::discovery::DiscoveryView;
use whence_shared::index::manifest::IndexManifest;
use whence_shared::study::{LayerView, StudyView};

use super::choice::Choice;
use super::chunks::{self, Kind};
use super::columns::columns;
use super::pairs::{OpenPairs, config_of};
use super::study::assemble;
use super::{ViewError, json, nearest, read_json, read_or_warn};
use crate::data::config::StudyConfig;
use crate::files;
use crate::progress::{Report, Update};
use crate::study::Study;
use crate::validate::progress;

/// Of how many pairs, the first of each behavior's ranking, [`Shown::find_nearest`] finds the nearest ones.
const N_WITH_NEAREST: usize = 25;

/// What is behind an address.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// A file of the study.
    File(PathBuf),
    /// These bytes.
    Bytes(Vec<u8>),
    /// A chunk of pairs, made when it is asked for.
    Chunk(Kind, usize),
    /// The columns of all pairs, made when they are asked for.
    Columns,
}

/// A part of a study, ready to be shown.
#[derive(Debug)]
pub struct Shown<'a> {
    study: &'a Study,
    pairs: &'a OpenPairs,
    config: StudyConfig,
    choice: &'a Choice,
    view: StudyView,
    /// What [`Shown::find_nearest`] found: addresses and what they answer.
    nearest: Vec<(String, Content)>,
}

impl<'a> Shown<'a> {
    /// Looks at the study as it is now.
    ///
    /// # Errors
    ///
    /// When it lacks something that was chosen, or cannot be read.
    pub fn new(study: &'a Study, pairs: &'a OpenPairs, choice: &'a Choice) -> Result<Self, ViewError> {
        let view = choice.of(study, assemble(study, pairs)?)?;
        Ok(Self { study, pairs, config: config_of(study, pairs)?, choice, view, nearest: Vec::new() })
    }

    /// Finds the pairs nearest to those that rank first by each behavior: where no server answers, these are there and no others.
    ///
    /// # Errors
    ///
    /// When the vectors cannot be read.
    pub fn find_nearest(&mut self, report: Report) -> Result<(), ViewError> {
        let n_pairs = self.view.n_pairs;
        self.view.nearest = false;
        self.nearest.clear();
        let total = self.view.layers.len() as u64;
        for (layer, done) in self.view.layers.iter_mut().zip(0..) {
            let number = layer.layer;
            report(Update { stage: "nearest", done, total, unit: "layers", detail: format!("layer {number}") });
            let mut rows = Vec::new();
            for behavior in self.view.behaviors.iter().filter(|behavior| behavior.layers.contains(&number)) {
                rows.extend(nearest::first(self.study, &behavior.name, number, N_WITH_NEAREST.min(n_pairs))?);
            }
            rows.sort_unstable();
            rows.dedup();
            for &row in &rows {
                let found = nearest::nearest(self.study, n_pairs, number, row)?;
                self.nearest.push((format!("nearest/{number}/{row}.json"), Content::Bytes(json(&found))));
            }
            layer.nearest_rows = rows;
        }
        report(Update { stage: "nearest", done: total, total, unit: "layers", detail: String::new() });
        Ok(())
    }

    /// What its study.json says.
    pub fn view(&self) -> &StudyView {
        &self.view
    }

    /// SHA-256 of its pairs.parquet.
    pub fn pairs_sha256(&self) -> &str {
        &self.pairs.sha256
    }

    /// All addresses, relative to the folder of study.json, in alphabetical order, and what is behind them.
    ///
    /// # Errors
    ///
    /// When the study cannot be read.
    pub fn entries(&self) -> Result<Vec<(String, Content)>, ViewError> {
        let mut entries = vec![("study.json".to_owned(), Content::Bytes(json(&self.view)))];
        entries.extend(self.nearest.iter().cloned());
        let kinds = [Some(Kind::Rows), self.choice.texts.then_some(Kind::Texts)];
        for kind in kinds.into_iter().flatten() {
            let chunk = |number| (format!("{}/{number}.json", kind.name()), Content::Chunk(kind, number));
            entries.extend((0..kind.n_chunks(self.view.n_pairs)).map(chunk));
        }
        // What the metadata of pairs say may quote them.
        entries.extend(self.choice.texts.then(|| (whence_shared::columns::PATH.to_owned(), Content::Columns)));
        let mut paths = Vec::new();
        for layer in &self.view.layers {
            self.of_layer(layer, &mut paths)?;
        }
        for behavior in &self.view.behaviors {
            let name = &behavior.name;
            paths.extend(behavior.layers.iter().map(|layer| format!("behaviors/{name}/layer-{layer}.safetensors")));
            paths.extend(behavior.layers.iter().map(|&layer| whence_shared::diagnosis::path(name, layer)));
            paths.extend(["pairs.jsonl", "sweep.json"].map(|file| format!("behaviors/{name}/{file}")));
            paths.extend(behavior.token_layers.iter().map(|&layer| whence_shared::tokens::path(name, layer)));
        }
        self.of_groups(&mut paths, &mut entries)?;
        paths.extend(self.view.maps.iter().map(|map| format!("maps/{}.safetensors", map.name)));
        let mut runs = progress::runs(self.study)?;
        if self.shows_validation()? {
            paths.push("report.json".to_owned());
        } else {
            runs.runs.clear();
            runs.is_under_way = None;
        }
        paths.extend(runs.runs.iter().map(|run| run.metrics_path()));
        entries.push(("runs.json".to_owned(), Content::Bytes(json(&runs))));
        let file = |path: String| {
            let file = self.study.root().join(&path);
            file.is_file().then_some((path, Content::File(file)))
        };
        entries.extend(paths.into_iter().filter_map(file));
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(entries)
    }

    /// Whether what retraining found is shown: unless every behavior is, the report must say that it is of one that is.
    fn shows_validation(&self) -> Result<bool, ViewError> {
        let Some(chosen) = &self.choice.behaviors else { return Ok(true) };
        let known = self.study.behavior_names()?;
        if known.iter().all(|name| chosen.contains(name)) {
            return Ok(true);
        }
        let path = self.study.report();
        let report: serde_json::Value = path.is_file().then(|| read_or_warn(&path)).flatten().unwrap_or_default();
        // Its measure may be named after the behavior, and the diagnosis that it quotes is of one by name.
        let of = [&report["behavior"], &report["diagnosis"]["of"]["behavior"]];
        let mut named = of.into_iter().filter_map(|name| known.iter().find(|known| name == *known)).peekable();
        Ok(named.peek().is_some() && named.all(|name| chosen.contains(name)))
    }

    /// The bytes behind an address that is no file.
    ///
    /// # Errors
    ///
    /// When the pairs cannot be read.
    ///
    /// # Panics
    ///
    /// Panics when it is a file: those are large, and read in pieces.
    pub fn bytes<'c>(&self, content: &'c Content) -> Result<Cow<'c, [u8]>, ViewError> {
        match content {
            Content::Bytes(bytes) => Ok(Cow::Borrowed(bytes)),
            Content::Chunk(kind, number) => {
                chunks::chunk(*kind, *number, self.pairs, &self.config, self.choice.texts).map(Cow::Owned)
            }
            Content::Columns => columns(self.pairs, &self.config).map(Cow::Owned),
            Content::File(path) => panic!("{} is read in pieces", path.display()),
        }
    }

    /// Vectors and index of a layer. The rotation is not among them: only a backend needs it.
    fn of_layer(&self, layer: &LayerView, paths: &mut Vec<String>) -> Result<(), ViewError> {
        if self.choice.vectors {
            paths.extend(layer.shards.iter().map(|shard| shard.path.clone()));
        }
        let Some(index) = &layer.index else { return Ok(()) };
        let path = self.study.root().join(&index.path);
        let manifest = IndexManifest::parse(&files::read(&path)?)
            .map_err(|error| ViewError::Malformed { path, reason: error.to_string() })?;
        paths.push(index.path.clone());
        paths.extend(manifest.blocks.iter().flat_map(|block| &block.files).map(|file| file.path.clone()));
        let rotated = |name: &String| format!("index/layer-{}/behaviors/{name}.safetensors", layer.layer);
        paths.extend(self.view.behaviors.iter().map(|behavior| rotated(&behavior.name)));
        Ok(())
    }

    /// Discoveries and clusterings; where texts are withheld, without those of single pairs.
    fn of_groups(&self, paths: &mut Vec<String>, entries: &mut Vec<(String, Content)>) -> Result<(), ViewError> {
        for name in &self.view.discoveries {
            paths.push(format!("clusters/{name}/similarity.safetensors"));
            let path = format!("clusters/{name}/discovery.json");
            if self.choice.texts {
                paths.extend([path, format!("clusters/{name}/words.json")]);
                continue;
            }
            let mut found: DiscoveryView = read_json(&self.study.root().join(&path))?;
            found.has_words = false;
            found.pairs.iter_mut().for_each(|pair| pair.snippet.clear());
            entries.push((path, Content::Bytes(json(&found))));
        }
        for name in &self.view.clusterings {
            paths.push(format!("clusters/{name}/labels.safetensors"));
            let path = format!("clusters/{name}/pairs.json");
            if self.choice.texts {
                paths.push(path);
                continue;
            }
            let mut found: ClusteringView = read_json(&self.study.root().join(&path))?;
            found.pairs.iter_mut().for_each(|pair| pair.snippet.clear());
            entries.push((path, Content::Bytes(json(&found))));
        }
        Ok(())
    }
}

/// Whether a segment of a path, already percent-decoded, cannot lead elsewhere: letters, digits, `-`, `_` and `.`, not
/// beginning with a dot.
pub fn is_plain_segment(segment: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !segment.is_empty() && !segment.starts_with('.') && segment.chars().all(is_plain)
}
