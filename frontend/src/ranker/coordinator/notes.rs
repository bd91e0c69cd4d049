//! Notes while files are read, the scorers' and those of the coordinator's own downloads: scores enter the session, and bytes
//! are counted.

use js_sys::{Array, Float32Array, Float64Array};
use wasm_bindgen::prelude::*;

use super::super::calls::Note;
use super::Coordinator;
use crate::fetch::Event;
use crate::protocol::Retrying;

/// Stands for the coordinator among the scorers.
const OWN: usize = usize::MAX;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) n_bytes: u64,
    pub(super) n_bytes_downloaded: u64,
}

impl Coordinator {
    pub(super) fn on_note(&self, scorer: usize, note: Note, message: &Array) {
        let Some(session) = self.session.borrow().clone() else { return };
        let run = self.run.borrow().clone();
        match note {
            Note::StoreFull => session.remark("the browser gives no more room to keep files: going on without".into()),
            Note::Bytes { session: of, n_bytes, n_bytes_downloaded } if of == session.number => {
                self.counts.borrow_mut().insert(scorer, Counts { n_bytes, n_bytes_downloaded });
                if let Some(run) = run {
                    run.progress.borrow_mut().retrying = None;
                    self.maybe_tell(&run);
                }
            }
            Note::Retrying { session: of, n_vain, error } if of == session.number => {
                if let Some(run) = run {
                    run.progress.borrow_mut().retrying = Some(Retrying { n_vain, error });
                    self.tell_now(&run);
                }
            }
            Note::Scored { session: of, range, n_files, score_ms, is_kept } if of == session.number => {
                let plan = &session.plan.ranges[range];
                {
                    let mut known = session.known.borrow_mut();
                    let rows = plan.first_row..plan.first_row + plan.n_rows;
                    message.get(1).unchecked_into::<Float64Array>().copy_to(&mut known.scores[rows.clone()]);
                    message.get(2).unchecked_into::<Float32Array>().copy_to(&mut known.radii[rows]);
                    known.ranges[range].n_files = n_files;
                }
                session.score_ms.set(session.score_ms.get() + score_ms);
                if is_kept {
                    self.at_hand.borrow_mut().insert(plan.files[n_files - 1].sha256.clone());
                }
                if let Some(run) = run {
                    run.progress.borrow_mut().n_rows += plan.n_rows;
                    self.maybe_tell(&run);
                    self.maybe_report(&run, &session, None);
                }
            }
            // Of a query that another one replaced.
            Note::Bytes { .. } | Note::Retrying { .. } | Note::Scored { .. } => {}
        }
    }

    pub(super) fn on_own_event(&self, id: u32, event: Event) {
        let run = self.run.borrow().clone();
        let Some(run) = run.filter(|run| run.request.id == id) else { return };
        {
            let mut counts = self.counts.borrow_mut();
            let own = counts.entry(OWN).or_default();
            match event {
                Event::Arrived(n) => {
                    own.n_bytes += n;
                    own.n_bytes_downloaded += n;
                    run.progress.borrow_mut().retrying = None;
                }
                Event::Lost(n) => own.n_bytes = own.n_bytes.saturating_sub(n),
                Event::Retrying(n_vain, error) => {
                    run.progress.borrow_mut().retrying = Some(Retrying { n_vain, error });
                    run.told_ms.set(0.0);
                }
            }
        }
        self.maybe_tell(&run);
    }

    /// Makes what all have read the coordinator's own.
    pub(super) fn keep_counts(&self) {
        let all = self.counted();
        self.counts.replace([(OWN, all)].into());
    }

    pub(super) fn counted(&self) -> Counts {
        let counts = self.counts.borrow();
        counts.values().fold(Counts::default(), |sum, counts| Counts {
            n_bytes: sum.n_bytes + counts.n_bytes,
            n_bytes_downloaded: sum.n_bytes_downloaded + counts.n_bytes_downloaded,
        })
    }
}
