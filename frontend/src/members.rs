//! Which pairs are in the groups that the filter names, of a discovery or of a clustering: read when a filter names one, for
//! whatever page shows pairs.

use std::sync::Arc;

use leptos::prelude::*;
use leptos::task::spawn_local;
use whence_shared::discovery::{DiscoveryView, PairEntry};
use whence_shared::filter::PairGroup;

use crate::discovery::Discovery;
use crate::maps::Maps;
use crate::state::{State, StudyStatus};

/// What is known of the groups that the filter names; cheap to copy.
#[derive(Clone, Copy)]
pub struct Members {
    /// Why it is not known which pairs they hold.
    pub problem: RwSignal<Option<String>>,
    discovery: Discovery,
    maps: Maps,
    state: State,
}

impl Members {
    /// Nothing yet. Called once, by the root component.
    pub fn start(state: State, discovery: Discovery, maps: Maps) -> Self {
        Self { problem: RwSignal::new(None), discovery, maps, state }
    }

    /// Keeps `State::grouped_rows` as the filter says. Called once, when the pages are loaded.
    pub fn follow(self) {
        let state = self.state;
        let named = Memo::new(move |_| state.filter.with(|filter| filter.groups.clone()));
        let has_study = Memo::new(move |_| matches!(state.study.get(), StudyStatus::Ready(_)));
        Effect::new(move |before: Option<Vec<PairGroup>>| {
            // They may have been made anew.
            state.n_readings.track();
            let groups = named.get();
            if before.is_some_and(|before| before != groups) {
                state.grouped_rows.set(None);
                self.problem.set(None);
            }
            if has_study.get() && !groups.is_empty() {
                let groups = groups.clone();
                spawn_local(async move {
                    let read = self.read(&groups).await;
                    // Others may be named meanwhile.
                    if named.try_get_untracked().as_ref() == Some(&groups) {
                        self.problem.set(read.as_ref().err().cloned());
                        state.grouped_rows.set(read.ok().map(Arc::new));
                    }
                });
            }
            groups
        });
    }

    /// Of this page.
    pub fn here() -> Self {
        expect_context()
    }

    /// Whether it is not known yet which pairs they hold. Tracked.
    pub fn is_reading(self) -> bool {
        let is_named = self.state.filter.with(|filter| !filter.groups.is_empty());
        is_named && self.state.grouped_rows.with(Option::is_none) && self.problem.with(Option::is_none)
    }

    /// Rows of the pairs in any of these groups, ascending.
    async fn read(self, groups: &[PairGroup]) -> Result<Vec<u32>, String> {
        let StudyStatus::Ready(study) = self.state.study.get_untracked() else { return Ok(Vec::new()) };
        let mut rows = Vec::new();
        for group in groups {
            match group {
                PairGroup::Discovered { discovery: name, label, cut } => {
                    let problem = |reason: String| format!("The groups of “{name}” cannot be read: {reason}");
                    let view = self.discovery.groups_of(name).await.map_err(|error| problem(error.to_string()))?;
                    let (theirs, ours) = (&view.pairs_sha256, &study.pairs_sha256);
                    if !theirs.is_empty() && !ours.is_empty() && theirs != ours {
                        return Err(problem("they are of other pairs than the study now has".to_owned()));
                    }
                    rows.extend(discovered(&view, *label, *cut).map_err(problem)?);
                }
                PairGroup::Clustered { clustering: name, label } => {
                    let problem = |reason: String| format!("The clusters of “{name}” cannot be read: {reason}");
                    let labels = self.maps.labels_of(name).await.map_err(problem)?;
                    rows.extend((0..).zip(&labels).filter(|(_, of)| *of == label).map(|(row, _)| row));
                }
            }
        }
        rows.sort_unstable();
        rows.dedup();
        match rows.last() {
            Some(row) if *row as usize >= study.n_pairs => {
                Err(format!("A group names row {row}, and the study has {} pairs", study.n_pairs))
            }
            _ => Ok(rows),
        }
    }
}

/// Rows of the study in one of a discovery's groups of pairs.
fn discovered(view: &DiscoveryView, label: u32, cut: Option<usize>) -> Result<Vec<u32>, String> {
    let grouping = &view.groups.pairs;
    let labels = match cut {
        None => grouping.labels.clone(),
        Some(k) => grouping.dendrogram.cut_into(k).map_err(|error| error.to_string())?,
    };
    let is_in = |(entry, of): (&PairEntry, u32)| (of == label).then_some(entry.row);
    Ok(view.pairs.iter().zip(labels).filter_map(is_in).collect())
}
