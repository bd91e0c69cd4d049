//! Which part of a study is shown to others: some behaviors, some layers, with or without texts and vectors.

use serde::{Deserialize, Serialize};
use whence_shared::clustering::ClusteringView;
use whence_shared::discovery::DiscoveryView;
use whence_shared::shares::{NewBundle, NewShare};
use whence_shared::study::StudyView;

use super::{ViewError, read_or_warn};
use crate::study::{Study, numbers};

/// A part of a study.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// Names of the behaviors; all when absent.
    pub behaviors: Option<Vec<String>>,
    /// Layers; all with complete vectors when absent.
    pub layers: Option<Vec<usize>>,
    /// Whether the texts of pairs are shown: prompts, responses, snippets, metadata, and the words of single pairs. Words
    /// that describe whole groups, and the test prompts of behaviors, are shown either way.
    pub texts: bool,
    /// Whether pair vectors are shown; without them the index alone ranks, with bounds.
    pub vectors: bool,
}

impl From<&NewShare> for Choice {
    fn from(asked: &NewShare) -> Self {
        let NewShare { behaviors, layers, texts, no_vectors, .. } = asked.clone();
        Self { behaviors, layers, texts, vectors: !no_vectors }
    }
}

impl From<NewBundle> for Choice {
    fn from(NewBundle { behaviors, layers, texts, no_vectors }: NewBundle) -> Self {
        Self { behaviors, layers, texts, vectors: !no_vectors }
    }
}

impl Default for Choice {
    /// Everything.
    fn default() -> Self {
        Self { behaviors: None, layers: None, texts: true, vectors: true }
    }
}

impl Choice {
    /// What study.json says of this part, as files without a backend have it.
    ///
    /// # Errors
    ///
    /// When the study lacks something that was chosen, or a file cannot be read.
    pub fn of(&self, study: &Study, mut view: StudyView) -> Result<StudyView, ViewError> {
        self.check(&view)?;
        let has_layer = |layer: usize| self.layers.as_ref().is_none_or(|layers| layers.contains(&layer));
        let has_behavior = |name: &str| self.behaviors.as_ref().is_none_or(|names| names.iter().any(|n| n == name));
        view.layers.retain(|layer| has_layer(layer.layer));
        for layer in &mut view.layers {
            layer.vectors_withheld = !self.vectors;
        }
        view.behaviors.retain(|behavior| has_behavior(&behavior.name));
        for behavior in &mut view.behaviors {
            let of_layers = [&mut behavior.layers, &mut behavior.diagnosed_layers, &mut behavior.token_layers];
            of_layers.into_iter().for_each(|layers| layers.retain(|layer| has_layer(*layer)));
            // They spell out responses of pairs.
            if !self.texts {
                behavior.token_layers.clear();
            }
        }
        view.discoveries.retain(|name| {
            read_or_warn::<DiscoveryView>(&study.discovery(name).join("discovery.json")).is_some_and(|found| {
                has_behavior(&found.behavior) && found.layers.iter().all(|layer| has_layer(*layer))
            })
        });
        view.clusterings.retain(|name| {
            read_or_warn::<ClusteringView>(&study.clustering(name)).is_some_and(|found| has_layer(found.layer))
        });
        view.maps.retain(|map| has_layer(map.layer));
        (view.gather, view.api, view.texts_withheld) = (false, false, !self.texts);
        Ok(view)
    }

    fn check(&self, view: &StudyView) -> Result<(), ViewError> {
        let lacks = |option, asked: String, expected| ViewError::Choice { option, asked, expected };
        for asked in self.behaviors.iter().flatten() {
            let known: Vec<&str> = view.behaviors.iter().map(|behavior| behavior.name.as_str()).collect();
            if !known.contains(&asked.as_str()) {
                let expected =
                    if known.is_empty() { "none: the study has no behaviors".into() } else { known.join(", ") };
                return Err(lacks("behaviors", asked.clone(), expected));
            }
        }
        let known: Vec<usize> = view.layers.iter().map(|layer| layer.layer).collect();
        if let Some(asked) = self.layers.iter().flatten().find(|layer| !known.contains(layer)) {
            return Err(lacks("layers", asked.to_string(), format!("layers with vectors: {}", numbers(&known))));
        }
        let is_chosen = |layer: usize| self.layers.as_ref().is_none_or(|layers| layers.contains(&layer));
        let bare = view.layers.iter().find(|layer| is_chosen(layer.layer) && layer.index.is_none());
        match bare.filter(|_| !self.vectors) {
            Some(layer) => {
                let asked = format!("at layer {}", layer.layer);
                Err(lacks("no-vectors", asked, "an index to rank by; `whence index` makes one".into()))
            }
            None => Ok(()),
        }
    }
}
