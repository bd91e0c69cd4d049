//! The study: how far it is, what it is called, and reading it again after something was made in it.

use std::sync::Arc;

use leptos::prelude::*;
use thiserror::Error;
use whence_shared::study::{FORMAT, StudyView};

use super::{State, View};
use crate::fetch::{FetchError, File};

/// Why there is no study to show.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StudyError {
    /// study.json did not arrive.
    #[error("{0}")]
    Fetch(#[from] FetchError),
    /// study.json is of another version.
    #[error("data/study.json: expected format {FORMAT:?}, got {got:?}")]
    Format {
        /// What it says.
        got: String,
    },
}

/// The study, once it is there.
#[derive(Debug, Clone, PartialEq)]
pub enum StudyStatus {
    /// On its way.
    Loading,
    /// Here.
    Ready(Arc<StudyView>),
    /// Not to be had.
    Failed(StudyError),
}

impl State {
    /// The study's folder as commands name it. Tracked.
    pub fn study_name(self) -> String {
        self.study.with(|study| match study {
            StudyStatus::Ready(study) => study.name.clone(),
            _ => "STUDY_FOLDER".to_owned(),
        })
    }

    /// Whether the study is shown without the texts of its pairs. Tracked.
    pub fn are_texts_withheld(self) -> bool {
        self.study.with(|study| matches!(study, StudyStatus::Ready(study) if study.texts_withheld))
    }

    /// Absolute address of the folder that holds the study, with a final slash.
    pub fn data_folder(self) -> String {
        self.data.get_value()
    }

    /// Reads the study again, after something was made in it. What was read before stays where it cannot be read now.
    pub async fn read_again(self) {
        let Ok(study) = read(&self.data.get_value()).await else { return };
        let before = self.view.get_untracked();
        let is_other = self.study.with_untracked(|known| !matches!(known, StudyStatus::Ready(it) if **it == study));
        if is_other {
            self.study.set(StudyStatus::Ready(Arc::new(study)));
        }
        if is_made_anew(&before, &self.view.get_untracked()) {
            // The worker keeps what it read of the old files.
            self.client.set_value(None);
            self.request.update_value(|(_, asked)| *asked = None);
            untrack(|| self.rank());
        }
        self.n_readings.update(|n| *n += 1);
    }
}

/// Reads the study in a folder.
pub(super) async fn read(data: &str) -> Result<StudyView, StudyError> {
    let study: StudyView = File::new(data, "study.json").json().await?;
    if study.format == FORMAT { Ok(study) } else { Err(StudyError::Format { got: study.format }) }
}

/// Whether what is ranked has the same name as before and other vectors.
fn is_made_anew(before: &View, after: &View) -> bool {
    let (View::Ready { behavior: b, layer: l, .. }, View::Ready { behavior, layer, .. }) = (before, after) else {
        return false;
    };
    let is_same_name = b.name == behavior.name && l.layer == layer.layer;
    is_same_name && ((&b.inputs, b.n_pairs) != (&behavior.inputs, behavior.n_pairs) || l.shards != layer.shards)
}
