//! Progress bars in the terminal, drawn from a verb's progress reports.

use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use whence_backend::progress::Update;

/// Draws one bar per stage on standard error; prints nothing when that is not a terminal.
#[derive(Default)]
pub struct Bars {
    current: Mutex<Option<(&'static str, ProgressBar)>>,
}

impl Bars {
    /// Shows an update, opening a new bar when the stage changes.
    pub fn show(&self, update: Update) {
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
