//! Charts as files: a quiet menu beside each that saves it as PNG or SVG, title and axes in the picture, so that it can stand
//! in a report.
//!
//! The menu is here; how pictures are drawn and written ([`paper`], [`writing`]) belongs to a part of the app that is loaded
//! when it is needed ([`super::later`]).

pub mod paper;
pub mod writing;

use std::sync::Arc;

use leptos::html;
use leptos::prelude::*;
use leptos::task::spawn_local;
use whence_shared::validation::ValidationReport;

use super::canvas::Ink;
use super::dropdown::{Dropdown, close_by_id};
use super::{histogram, later, scatter, sweep};
use crate::protocol::{Of, Query};
use crate::state::State;
use paper::Paper;

/// How a picture is saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As pixels.
    Png,
    /// As shapes and text.
    Svg,
}

impl Form {
    /// Both.
    const ALL: [Self; 2] = [Self::Png, Self::Svg];

    /// As the menu names it.
    fn name(self) -> &'static str {
        match self {
            Self::Png => "PNG",
            Self::Svg => "SVG",
        }
    }

    /// How names of such files end.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Svg => "svg",
        }
    }
}

/// A chart that is to be saved.
pub struct Picture {
    /// Name of the file without its ending.
    pub file: String,
    /// What it shows, above it.
    pub title: String,
    /// What else a reader of it must know, below the title.
    pub about: String,
    /// The chart itself.
    pub drawing: Drawing,
}

/// What is drawn. A chart of the first pages is drawn by the part of the app that saves it, others draw themselves.
pub enum Drawing {
    /// Pairs by score, in CSS pixels.
    Histogram(histogram::Chart, [f64; 2]),
    /// Pairs by score and length, in CSS pixels.
    Scatter(scatter::Chart, [f64; 2]),
    /// A behavior by layer, and the layer that ranks.
    Sweep(Vec<Arc<sweep::Chart>>, Option<f64>),
    /// What each edit changed.
    Forest(Arc<ValidationReport>),
    /// Drawn already.
    Drawn(Paper),
}

impl Picture {
    /// Of the ranking that is shown: the name of the file says which, and so does the title.
    pub fn of_ranking(state: State, what: &str, title: &str, about: &str, drawing: Drawing) -> Option<Self> {
        let study = state.study_name();
        state.ranking.with_untracked(|ranking| {
            let ranking = ranking.as_ref()?;
            let layer = ranking.wanted.layer;
            Some(Self {
                file: file_name(&[&study, &ranking.behavior, &format!("layer-{layer}"), what]),
                title: format!("{title}: {}, layer {layer}", query_text(&ranking.wanted.query)),
                about: format!("{about} Study {study}."),
                drawing,
            })
        })
    }
}

/// What was ranked by, in words.
fn query_text(query: &Query) -> String {
    let of = match &query.of {
        Of::Direction(name) => format!("“{name}”"),
        Of::Bank(name) => format!("largest with any prompt of “{name}”"),
        Of::Subset(name, rows) => format!("{} prompts of “{name}”", rows.len()),
        Of::Sum(parts) => {
            let parts: Vec<String> = parts
                .iter()
                .map(|(weight, name)| format!("{} × “{name}”", weight.to_string().replace('-', "−")))
                .collect();
            parts.join(" + ")
        }
    };
    query.without.iter().fold(of, |text, name| format!("{text} without “{name}”"))
}

/// A file's name of what it is of: parts joined, anything else than letters, digits, dots and underscores as hyphens.
pub fn file_name(parts: &[&str]) -> String {
    let plain = |c: char| if c.is_alphanumeric() || matches!(c, '.' | '_') { c } else { '-' };
    let parts: Vec<String> = parts.iter().map(|part| part.chars().map(plain).collect()).collect();
    parts.join("-")
}

/// CSS pixels of a chart's canvas, across and down; `None` as long as it has none.
pub fn size_of(canvas: NodeRef<html::Canvas>) -> Option<[f64; 2]> {
    let canvas = canvas.get_untracked()?;
    let size = [canvas.client_width(), canvas.client_height()].map(f64::from);
    size.iter().all(|px| *px >= 1.0).then_some(size)
}

/// The menu of a chart.
#[component]
pub fn Export(
    /// Of the whole, for links and tests.
    id: &'static str,
    /// The chart as it is now; made when it is asked for.
    #[prop(into)]
    picture: Callback<(), Option<Picture>>,
) -> impl IntoView {
    let problem = RwSignal::new(None::<String>);
    let is_working = RwSignal::new(false);
    let save = move |form: Form| {
        let Some((picture, root)) = untrack(|| picture.run(())).zip(document().document_element()) else {
            problem.set(Some("There is nothing to save yet.".to_owned()));
            return;
        };
        problem.set(None);
        is_working.set(true);
        let ink = Ink::of(&root);
        spawn_local(async move {
            let said = match later::saved(picture, form, ink).await {
                Ok(Ok(())) => None,
                Ok(Err(reason)) => Some(format!("The chart cannot be saved: {reason}.")),
                Err(error) => Some(format!("The chart cannot be saved: {error}.")),
            };
            if said.is_none() {
                close_by_id(id);
            }
            // The chart may be gone.
            let _ = problem.try_set(said);
            let _ = is_working.try_set(false);
        });
    };
    let button = move |form: Form| {
        view! {
            <button type="button" data-form=form.ending() aria-disabled=move || is_working.get().then_some("true") on:click=move |_| {
                if !is_working.get_untracked() {
                    save(form);
                }
            }>
                {form.name()}
            </button>
        }
    };
    view! {
        <div class="export">
            <Dropdown id summary="Export">
                {Form::ALL.map(button)}
                {move || problem.get().map(|text| view! { <p class="problem" role="alert">{text}</p> })}
            </Dropdown>
        </div>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_have_nothing_that_a_folder_or_a_shell_takes_for_something_else() {
        assert_eq!(file_name(&["a study", "é/..\\“x”", "layer-2", "scores"]), "a-study-é-..--x--layer-2-scores");
    }

    #[test]
    fn what_was_ranked_by_is_said_whole() {
        let mut query = Query::direction("flattery");
        assert_eq!(query_text(&query), "“flattery”");
        query.without.push("refusals".to_owned());
        assert_eq!(query_text(&query), "“flattery” without “refusals”");
        query.of = Of::Sum(vec![(1.0, "a".to_owned()), (-0.5, "b".to_owned())]);
        assert_eq!(query_text(&query), "1 × “a” + −0.5 × “b” without “refusals”");
    }
}
