//! What the page is told: progress, and rankings as far as they are known; not so often that telling is what takes the time.

use js_sys::{Float32Array, Uint32Array};
use whence_shared::index::select::Selection;

use super::super::now_ms;
use super::super::session::{Session, certainty};
use super::Coordinator;
use super::run::Run;
use crate::protocol::{Certainty, Progress, RankCost, RankRequest, Reading, Reply, Report, Stage};

/// Milliseconds between two rankings that are not the result of a selection.
const REPORT_MS: f64 = 350.0;
/// Milliseconds between two progress replies.
const PROGRESS_MS: f64 = 50.0;

/// What is known of the wanted pairs.
pub(super) struct Selected {
    pub(super) selection: Selection,
    /// Pairs that may be among them.
    pub(super) n_candidates: usize,
}

impl Coordinator {
    /// Begins a step.
    pub(super) fn tell(&self, run: &Run, reading: Reading, n_bytes_total: u64) {
        run.n_bytes_before.set(self.counted().n_bytes);
        run.step_ms.set((reading != Reading::Opening).then(now_ms));
        run.progress.replace(Progress { reading, n_bytes_total, ..Progress::default() });
        self.tell_now(run);
    }

    pub(super) fn maybe_tell(&self, run: &Run) {
        if now_ms() - run.told_ms.get() > PROGRESS_MS {
            self.tell_now(run);
        }
    }

    pub(super) fn tell_now(&self, run: &Run) {
        run.told_ms.set(now_ms());
        let n_bytes_done = self.counted().n_bytes.saturating_sub(run.n_bytes_before.get());
        let progress = Progress { n_bytes_done, ..run.progress.borrow().clone() };
        self.reply(&Reply::Progress { id: run.request.id, progress }, &[]);
    }

    /// Notes what a step took, now that it is known what came of it. Steps of rows that follow one another are one.
    pub(super) fn end_stage(&self, run: &Run, session: &Session, n_candidates: usize) {
        let Some(start_ms) = run.step_ms.take() else { return };
        let reading = run.progress.borrow().reading;
        let n_bytes = self.counted().n_bytes.saturating_sub(run.n_bytes_before.get());
        let ms = now_ms() - start_ms;
        let mut stages = session.stages.borrow_mut();
        match stages.last_mut() {
            Some(last) if last.reading == reading && reading == Reading::Rows => {
                last.n_bytes += n_bytes;
                last.ms += ms;
                last.n_candidates = n_candidates;
            }
            _ => stages.push(Stage { reading, n_bytes, ms, n_candidates }),
        }
    }

    pub(super) fn note_certainty(&self, run: &Run, sure: Certainty) {
        let now = Some((now_ms() - run.start_ms, self.counted().n_bytes));
        if !matches!(sure, Certainty::Estimate(_)) {
            run.certified.set(run.certified.get().or(now));
        }
        if sure == Certainty::Exact {
            run.exact.set(run.exact.get().or(now));
        }
    }

    /// Reports between two selections, but not so often that reporting is what takes the time.
    pub(super) fn maybe_report(&self, run: &Run, session: &Session, selected: Option<&Selected>) {
        if now_ms() - run.reported_ms.get() > REPORT_MS {
            self.report(run, session, selected, false, None);
        }
    }

    /// Sends the ranking as it is now; `selected` is what was just found out about the wanted pairs.
    pub(super) fn report(
        &self,
        run: &Run,
        session: &Session,
        selected: Option<&Selected>,
        is_final: bool,
        n_bytes_to_exact: Option<u64>,
    ) {
        let RankRequest { id, k, end, ref layer, .. } = run.request;
        let order_ms = now_ms();
        let (order, places) = session.order(end);
        let order_ms = now_ms() - order_ms;
        let (scores, n_scored, histogram) = session.shown(&order, k);
        let counts = self.counted();
        let known = session.known.borrow();
        let report = Report {
            k,
            end,
            certainty: selected.map_or_else(|| session.estimate(&order, k), |selected| certainty(&selected.selection)),
            is_all_exact: known.radii.iter().all(|radius| *radius == 0.0),
            is_final,
            n_scored,
            n_candidates: selected.map(|selected| selected.n_candidates),
            n_bytes_to_exact,
            way: session.plan.way.clone(),
            histogram,
            cost: RankCost {
                n_rows: layer.n_rows,
                d_model: layer.d_model,
                n_bytes: counts.n_bytes,
                n_bytes_downloaded: counts.n_bytes_downloaded,
                n_bytes_total: session.plan.n_bytes,
                n_workers: session.n_active,
                score_ms: session.score_ms.get(),
                order_ms,
                total_ms: now_ms() - run.start_ms,
                first_ms: run.first_ms.get(),
                certified: run.certified.get(),
                exact: run.exact.get(),
            },
            stages: session.stages.borrow().clone(),
            remarks: session.remarks.borrow().clone(),
        };
        let arrays = [
            Float32Array::from(scores.as_slice()).into(),
            Float32Array::from(known.radii.as_slice()).into(),
            Uint32Array::from(order.as_slice()).into(),
            Uint32Array::from(places.as_slice()).into(),
        ];
        self.reply(&Reply::Ranking { id, report: Box::new(report) }, &arrays);
        run.reported_ms.set(now_ms());
    }
}
