//! Progress bars in the terminal, drawn from a verb's progress reports; for a server that runs the verb as a job, a file.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use whence_backend::jobs::PROGRESS;
use whence_backend::progress::Update;
use whence_shared::jobs::JobProgress;

/// How often the file is written at most.
const FILE_PAUSE: Duration = Duration::from_millis(250);

/// Draws one bar per stage on standard error; prints nothing when that is not a terminal.
pub struct Bars {
    current: Mutex<Option<(&'static str, ProgressBar)>>,
    file: Option<Mutex<ProgressFile>>,
}

impl Default for Bars {
    fn default() -> Self {
        let file = std::env::var_os(PROGRESS).map(|path| Mutex::new(ProgressFile::new(path.into())));
        Self { current: Mutex::default(), file }
    }
}

/// The last update, for whoever looks from outside.
struct ProgressFile {
    path: PathBuf,
    /// The stage, when it began and how much of it was done then.
    stage: Option<(&'static str, Instant, u64)>,
    written: Option<Instant>,
}

impl ProgressFile {
    fn new(path: PathBuf) -> Self {
        Self { path, stage: None, written: None }
    }

    fn write(&mut self, update: &Update) {
        let is_new = self.stage.is_none_or(|(stage, ..)| stage != update.stage);
        if is_new {
            self.stage = Some((update.stage, Instant::now(), update.done));
        } else if self.written.is_some_and(|written| written.elapsed() < FILE_PAUSE) {
            return;
        }
        self.written = Some(Instant::now());
        let (_, start, done_before) = self.stage.expect("set above");
        let per_second = update.done.saturating_sub(done_before) as f64 / start.elapsed().as_secs_f64();
        let per_second = Some(per_second).filter(|rate| rate.is_finite() && *rate > 0.0);
        let left = update.total.saturating_sub(update.done) as f64;
        let progress = JobProgress {
            stage: update.stage.to_owned(),
            done: update.done,
            total: update.total,
            unit: update.unit.to_owned(),
            detail: update.detail.clone(),
            per_second,
            seconds_left: per_second.filter(|_| update.total > 0).map(|rate| left / rate),
        };
        // Best effort, and not synced: the next one comes soon.
        let temporary = self.path.with_extension("tmp");
        let json = serde_json::to_vec(&progress).unwrap_or_default();
        let _ = std::fs::write(&temporary, json).and_then(|()| std::fs::rename(&temporary, &self.path));
    }
}

impl Bars {
    /// Shows an update, opening a new bar when the stage changes.
    pub fn show(&self, update: Update) {
        if let Some(file) = &self.file {
            file.lock().expect("writing does not panic").write(&update);
        }
        let mut current = self.current.lock().expect("drawing does not panic");
        if current.as_ref().is_none_or(|(stage, _)| *stage != update.stage) {
            if let Some((_, bar)) = current.take() {
                bar.finish_and_clear();
            }
            let bar = ProgressBar::with_draw_target(Some(update.total), ProgressDrawTarget::stderr());
            let template = if update.total == 0 {
                format!("{:>9} {{spinner}} {{pos}} {} {{msg}}", update.stage, update.unit)
            } else {
                format!(
                    "{:>9} [{{bar:32}}] {{pos}}/{{len}} {unit}  {{per_sec:>9}} {unit}  {{msg}}  {{eta}} left",
                    update.stage,
                    unit = update.unit
                )
            };
            bar.set_style(
                ProgressStyle::with_template(&template)
                    .expect("the template is fixed text")
                    .with_key("per_sec", |state: &indicatif::ProgressState, w: &mut dyn std::fmt::Write| {
                        let _ = write!(w, "{:.0}/s", state.per_sec());
                    })
                    .progress_chars("━╸ "),
            );
            *current = Some((update.stage, bar));
        }
        let (_, bar) = current.as_ref().expect("set above");
        bar.set_length(update.total);
        bar.set_position(update.done);
        bar.set_message(update.detail);
        if update.total > 0 && update.done >= update.total {
            bar.finish_and_clear();
        }
    }

    /// Takes a bar that was left unfinished away.
    pub fn clear(&self) {
        if let Some((_, bar)) = self.current.lock().expect("drawing does not panic").take() {
            bar.finish_and_clear();
        }
    }
}
