//! Behavior and layer: those that the address asks for, or the nearest that the study has.

use std::sync::Arc;

use whence_shared::study::{BehaviorView, LayerView, StudyView};

use super::StudyStatus;
use crate::address::Address;

/// What the reader looks at, as far as the study allows.
#[derive(Debug, Clone, PartialEq)]
pub enum View {
    /// No study yet, or none at all.
    NoStudy,
    /// A study without complete pair vectors.
    NoVectors(Arc<StudyView>),
    /// A study without behaviors.
    NoBehaviors(Arc<StudyView>),
    /// The behavior has no vectors at any layer the pairs have.
    NoSharedLayer(Arc<StudyView>, BehaviorView),
    /// A behavior and a layer to rank by.
    Ready {
        /// The study.
        study: Arc<StudyView>,
        /// The behavior.
        behavior: BehaviorView,
        /// The layer.
        layer: LayerView,
    },
}

/// The behavior and layer that the address asks for, or the nearest there is.
pub(super) fn resolve(status: &StudyStatus, address: &Address) -> View {
    let StudyStatus::Ready(study) = status else { return View::NoStudy };
    if study.layers.is_empty() {
        return View::NoVectors(study.clone());
    }
    let named = study.behaviors.iter().find(|behavior| Some(&behavior.name) == address.behavior.as_ref());
    // Unless one is named, one that somebody looked into: others may be there only to be grouped.
    let diagnosed = || study.behaviors.iter().find(|behavior| !behavior.diagnosed_layers.is_empty());
    let Some(behavior) = named.or_else(diagnosed).or(study.behaviors.first()) else {
        return View::NoBehaviors(study.clone());
    };
    let wanted = address.layer.unwrap_or_else(|| {
        let usual = default_layer(study);
        let diagnosed = behavior.diagnosed_layers.iter().copied();
        diagnosed.min_by_key(|layer| layer.abs_diff(usual)).unwrap_or(usual)
    });
    let shared = shared_layers(study, behavior);
    match shared.into_iter().min_by_key(|layer| layer.layer.abs_diff(wanted)) {
        Some(layer) => View::Ready { study: study.clone(), behavior: behavior.clone(), layer: layer.clone() },
        None => View::NoSharedLayer(study.clone(), behavior.clone()),
    }
}

/// Layers at which both the pairs and the behavior have vectors.
pub fn shared_layers<'a>(study: &'a StudyView, behavior: &BehaviorView) -> Vec<&'a LayerView> {
    study.layers.iter().filter(|layer| behavior.layers.contains(&layer.layer)).collect()
}

/// Five eighths of the depth, where the method was found to work best (layer 20 of 32).
fn default_layer(study: &StudyView) -> usize {
    study.model.as_ref().map_or(0, |model| (model.n_layers * 5).div_ceil(8))
}
