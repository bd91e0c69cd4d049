//! What the page knows of retraining: the report, the runs under way and their curves. While runs are under way all three
//! are asked for again every few seconds; a server says in a few bytes that nothing changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use leptos::prelude::*;
use leptos::task::spawn_local;
use thiserror::Error;
use whence_shared::validation::{
    REPORT_FORMAT, RUNS_FORMAT, RunStage, RunsView, TrainingStep, ValidationReport, arm_folder, metrics_path,
    training_steps,
};

use crate::address::Page;
use crate::fetch::{FetchError, File, Transfer, sleep};
use crate::state::State;

/// Pause between two looks while runs are under way, in milliseconds.
const PAUSE_MS: f64 = 3_000.0;
/// The same when none is, but somebody may start one.
const IDLE_PAUSE_MS: f64 = 15_000.0;
/// Bytes of metrics that are read in one turn, so that the page answers meanwhile.
const BYTES_PER_TURN: usize = 128 << 10;

/// Why there is no report to show.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReportError {
    /// It did not arrive, or is no report.
    #[error("{0}")]
    Fetch(#[from] FetchError),
    /// It is of another version.
    #[error("report.json: expected format {REPORT_FORMAT:?}, got {got:?}")]
    Format {
        /// What it says.
        got: String,
    },
}

/// The report, once it is there.
#[derive(Debug, Clone, PartialEq)]
pub enum ReportStatus {
    /// On its way.
    Loading,
    /// Nothing was compared yet.
    Absent,
    /// Here.
    Ready(Arc<ValidationReport>),
    /// Not to be had.
    Failed(ReportError),
}

/// A run: folder of its arm, and training seed.
pub type RunKey = (String, u64);
/// A run's optimizer steps, or why they cannot be shown.
pub type Curve = Result<Arc<Vec<TrainingStep>>, FetchError>;

/// All of the above; cheap to copy.
#[derive(Clone, Copy)]
pub struct Validation {
    /// The report.
    pub report: RwSignal<ReportStatus>,
    /// Why the report shown may not be the latest.
    pub stale: RwSignal<Option<ReportError>>,
    /// Every run that is planned or begun; none where nobody says.
    pub runs: RwSignal<Option<Arc<RunsView>>>,
    /// Curves, as far as they are there.
    pub curves: RwSignal<BTreeMap<RunKey, Curve>>,
    state: State,
    /// Which watch is on: an older one ends.
    watch: StoredValue<u32>,
    /// Steps that each curve had when it was fetched, as far as that was known.
    n_fetched: StoredValue<BTreeMap<RunKey, Option<usize>>>,
}

impl Validation {
    /// Watches while the page is shown. Called once, by the root component.
    pub fn start(state: State) -> Self {
        let validation = Self {
            report: RwSignal::new(ReportStatus::Loading),
            stale: RwSignal::new(None),
            runs: RwSignal::new(None),
            curves: RwSignal::default(),
            state,
            watch: StoredValue::new(0),
            n_fetched: StoredValue::default(),
        };
        Effect::new(move || {
            if has_report(state.page.get()) {
                validation.look();
            }
        });
        validation
    }

    /// Of this page.
    pub fn here() -> Self {
        expect_context()
    }

    /// Looks now, and goes on looking.
    pub fn look(self) {
        let watch = self.watch.with_value(|watch| watch + 1);
        self.watch.set_value(watch);
        let is_on = move || self.watch.get_value() == watch && has_report(self.state.page.get_untracked());
        spawn_local(async move {
            while is_on() {
                if !document().hidden() {
                    self.fetch_runs().await;
                    self.fetch_report().await;
                    if self.state.page.get_untracked() == Page::Validate {
                        self.fetch_curves(&is_on).await;
                    }
                }
                let is_under_way = self.runs.with_untracked(|runs| runs.as_ref().map(|runs| !runs.is_complete()));
                match is_under_way {
                    Some(true) => sleep(PAUSE_MS).await,
                    Some(false) => sleep(IDLE_PAUSE_MS).await,
                    // A static folder: what is there is all there is.
                    None => break,
                }
            }
        });
    }

    async fn fetch_runs(self) {
        match File::new(&self.state.data_folder(), "runs.json").json::<RunsView>().await {
            Ok(runs) if runs.format == RUNS_FORMAT => {
                if self.runs.with_untracked(|known| known.as_deref() != Some(&runs)) {
                    self.runs.set(Some(Arc::new(runs)));
                }
            }
            // What was known is still the best guess; without any, progress is simply not shown.
            Ok(_) | Err(_) => {}
        }
    }

    async fn fetch_report(self) {
        let found = match File::new(&self.state.data_folder(), "report.json").json::<ValidationReport>().await {
            Ok(report) if report.format != REPORT_FORMAT => {
                ReportStatus::Failed(ReportError::Format { got: report.format })
            }
            Ok(report) => ReportStatus::Ready(Arc::new(report)),
            Err(FetchError::Status { status: 404, .. }) => ReportStatus::Absent,
            Err(error) => ReportStatus::Failed(error.into()),
        };
        let is_shown = self.report.with_untracked(|report| matches!(report, ReportStatus::Ready(_)));
        match found {
            // What was read before stays: it was whole.
            ReportStatus::Failed(error) if is_shown => self.stale.set(Some(error)),
            found => {
                if self.stale.with_untracked(Option::is_some) {
                    self.stale.set(None);
                }
                if self.report.with_untracked(|report| *report != found) {
                    self.report.set(found);
                }
            }
        }
    }

    /// Curves that are not there yet or have grown, one after the other.
    async fn fetch_curves(self, is_on: &impl Fn() -> bool) {
        for (key, n_steps) in self.known_runs() {
            if self.n_fetched.with_value(|fetched| fetched.get(&key) == Some(&n_steps)) {
                continue;
            }
            if !is_on() {
                return;
            }
            let path = metrics_path(&key.0, key.1);
            let curve = self.fetch_curve(&path).await.map(Arc::new);
            self.n_fetched.update_value(|fetched| {
                fetched.insert(key.clone(), n_steps);
            });
            self.curves.update(|curves| {
                curves.insert(key, curve);
            });
            sleep(0.0).await;
        }
    }

    async fn fetch_curve(self, path: &str) -> Result<Vec<TrainingStep>, FetchError> {
        let bytes = File::new(&self.state.data_folder(), path).bytes(&Transfer::default()).await?.to_vec();
        let text = String::from_utf8_lossy(&bytes);
        let (mut steps, mut rest, mut n_lines) = (Vec::new(), &*text, 0);
        while !rest.is_empty() {
            // Whole lines: text is cut where one ends.
            let end = match rest.as_bytes().get(BYTES_PER_TURN..) {
                Some(after) => BYTES_PER_TURN + after.iter().position(|b| *b == b'\n').map_or(after.len(), |at| at + 1),
                None => rest.len(),
            };
            let (lines, later) = rest.split_at(end);
            let read = training_steps(lines).map_err(|(line, reason)| FetchError::Json {
                path: path.to_owned(),
                reason: format!("line {}: {reason}", n_lines + line),
            })?;
            n_lines += lines.lines().count();
            steps.extend(read);
            rest = later;
            sleep(0.0).await;
        }
        Ok(steps)
    }

    /// Runs with a curve, and how long it is as far as that is known.
    fn known_runs(self) -> BTreeMap<RunKey, Option<usize>> {
        let mut known = BTreeMap::new();
        if let ReportStatus::Ready(report) = self.report.get_untracked() {
            known.extend(report.runs.iter().map(|run| ((arm_folder(&run.arm, run.k), run.seed), None)));
        }
        if let Some(runs) = self.runs.get_untracked() {
            let begun = runs.runs.iter().filter(|run| run.stage > RunStage::Waiting && run.n_steps > 0);
            known.extend(begun.map(|run| ((run.folder.clone(), run.seed), Some(run.n_steps))));
        }
        known
    }
}

/// Whether a page shows what retraining found.
fn has_report(page: Page) -> bool {
    matches!(page, Page::Validate | Page::Overview)
}
