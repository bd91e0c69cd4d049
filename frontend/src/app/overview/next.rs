//! What to look at next: a card for each page that has something to show, or the command that makes it have.

use leptos::prelude::*;
use whence_shared::study::StudyView;

use crate::address::Page;
use crate::app::navigation::opens;
use crate::decisions::Decisions;
use crate::number::{count, counted};
use crate::state::State;
use crate::validation::{ReportStatus, Validation};

/// The cards.
pub fn next(study: &StudyView) -> impl IntoView + use<> {
    let validation = Validation::here();
    let decisions = Decisions::here();
    let can_rank = !study.layers.is_empty() && !study.behaviors.is_empty();
    let behaviors: Vec<String> = study.behaviors.iter().map(|behavior| behavior.name.clone()).collect();
    let ranking = match (can_rank, behaviors.as_slice()) {
        (true, [only]) => format!("Which pairs push toward “{only}”, the first of {}.", count(study.n_pairs)),
        (true, many) => format!("Which pairs push toward each of {}.", counted(many.len(), "behavior", "behaviors")),
        (false, _) => "Once there are vectors and a behavior, every pair gets a score.".to_owned(),
    };
    let discover = match study.discoveries.len() {
        0 if can_rank => "Group prompts and pairs without a behavior in mind.".to_owned(),
        0 => "Groups of prompts and pairs, once there are vectors.".to_owned(),
        n => format!("Prompts and pairs in groups: {}.", counted(n, "discovery", "discoveries")),
    };
    let has_map = !study.maps.is_empty() || study.layers.iter().any(|layer| layer.index.is_some());
    let map = format!("All {} on a plane, by what they teach.", counted(study.n_pairs, "pair", "pairs"));
    let validate = move || match validation.report.get() {
        ReportStatus::Ready(report) => {
            let n = report.runs.len();
            format!("{} trained: rates, effects, curves, cost.", counted(n, "model was", "models were"))
        }
        ReportStatus::Loading => "What training again without these pairs changed.".to_owned(),
        ReportStatus::Absent | ReportStatus::Failed(_) => {
            "Whether editing helps, only training again tells: plan it here.".to_owned()
        }
    };
    let edit = move || match decisions.list.with(|list| list.len()) {
        0 => "Keep, drop or switch pairs, one by one or by rules.".to_owned(),
        n => format!("{} so far: see what they do, export them.", counted(n, "decision", "decisions")),
    };
    view! {
        <section class="next" aria-labelledby="next-title">
            <h2 id="next-title">"Look at next"</h2>
            <ul>
                {card(Page::Ranking, move || ranking.clone())}
                {has_map.then(|| card(Page::Map, move || map.clone()))}
                {card(Page::Discover, move || discover.clone())}
                {card(Page::Edit, edit)} {card(Page::Validate, validate)}
            </ul>
        </section>
    }
}

fn card(page: Page, text: impl Fn() -> String + Send + 'static) -> impl IntoView {
    let state = State::here();
    view! {
        <li>
            <a class="card" href=move || state.link_to(page) on:click=opens(state, page)>
                <strong>{page.title()}</strong>
                <span>{text}</span>
            </a>
        </li>
    }
}
