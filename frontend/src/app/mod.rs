//! What the page shows: one component per file, the root here.
//!
//! Components read `crate::state::State` from the context and never fetch or score by themselves.

mod brush;
mod canvas;
mod charts;
mod copy;
mod decide;
mod diagnosis;
mod dialog;
mod discover;
mod dropdown;
mod edit;
mod export;
mod filters;
mod header;
mod help;
mod histogram;
mod how_to;
mod jobs;
mod keys;
mod later;
mod map;
mod navigation;
mod notice;
mod open;
mod overview;
mod palette;
mod ranking_csv;
mod reading;
mod remark;
mod scatter;
mod share;
mod skeleton;
mod sources;
mod start_here;
mod status_line;
mod sweep;
mod table;
mod tags;
mod tinted;
mod turns;
mod validate;

use std::any::Any;
use std::cell::RefCell;

use leptos::prelude::*;

use crate::address::Page;
use crate::api::{Api, ServerStatus};
use crate::covers::Covers;
use crate::decisions::Decisions;
use crate::diagnosis::Diagnosed;
use crate::discovery::{Discovery, DiscoveryStatus};
use crate::edit_sets::EditSets;
use crate::jobs::Jobs;
use crate::listing::Listing;
use crate::maps::{MapStatus, Maps};
use crate::members::Members;
use crate::parts::{Loaded, Parts};
use crate::state::{RankStatus, State, StudyStatus, View};
use crate::token_parts::TokenParts;
use crate::validation::{ReportStatus, Validation};
use later::Followers;

/// What keys and commands act on; cheap to copy.
#[derive(Clone, Copy)]
pub struct Surroundings {
    /// What is shown.
    pub state: State,
    /// What was decided.
    pub decisions: Decisions,
    /// What is covered.
    pub covers: Covers,
    /// What tokens add to scores.
    pub tokens: TokenParts,
    /// Whether the keys are shown.
    pub help: RwSignal<bool>,
    /// Whether the command palette is open.
    pub palette: RwSignal<bool>,
    /// Whether the dialog is open in which a bundle is opened.
    pub open: RwSignal<bool>,
}

impl Surroundings {
    /// Of this page.
    pub fn here() -> Self {
        expect_context()
    }
}

thread_local! {
    /// What is shown, until something else is.
    static SHOWN: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

/// Shows the app in the page, from the beginning: what was shown before goes.
pub fn mount() {
    drop(SHOWN.take());
    let body = document().body().expect("scripts run when there is a body");
    SHOWN.set(Some(Box::new(mount_to(body, App))));
}

/// The whole app.
#[component]
pub fn App() -> impl IntoView {
    let state = State::start();
    provide_context(state);
    let api = Api::start(state);
    provide_context(api);
    let jobs = Jobs::start(state, api);
    provide_context(jobs);
    let validation = Validation::start(state);
    provide_context(validation);
    provide_context(Diagnosed::start(state, api.is_answering));
    state.rank_when_back(api.is_answering);
    let discovery = Discovery::start(state);
    provide_context(discovery);
    let decisions = Decisions::start(state, api);
    provide_context(decisions);
    let edit_sets = EditSets::start(api, decisions);
    provide_context(edit_sets);
    let listing = Listing::start(state, decisions);
    provide_context(listing);
    let covers = Covers::start();
    provide_context(covers);
    let tokens = TokenParts::start(state);
    provide_context(tokens);
    let [help, palette, open] = std::array::from_fn(|_| RwSignal::new(false));
    let around = Surroundings { state, decisions, covers, tokens, help, palette, open };
    provide_context(around);
    keys::listen(around);
    let maps = Maps::start(state, listing);
    provide_context(maps);
    let members = Members::start(state, discovery, maps);
    provide_context(members);
    let parts = Parts::start(state, later::load);
    provide_context(parts);
    later::follow(Followers { state, decisions, discovery, edit_sets, maps, members, jobs }, parts);
    Effect::new(move || mark_body(Marked { state, validation, discovery, maps, api, jobs, parts }));
    let is_ranking = Memo::new(move |_| state.page.get() == Page::Ranking);
    // The ranking is made when it is first looked at, and stays: its table keeps its place while the other page is read.
    let was_ranking = Memo::new(move |before: Option<&bool>| before == Some(&true) || is_ranking.get());
    let is_ready = Memo::new(move |_| matches!(state.view.get(), View::Ready { .. }));
    // A page that was never ranked has nothing to show beside an error. While the first ranking is under way the panes
    // stand empty, so that nothing moves when it comes.
    let is_hidden =
        Memo::new(move |_| matches!(state.status.get(), RankStatus::Failed(_)) && state.ranking.with(Option::is_none));
    // What is shown while something else was asked for.
    let is_outdated = Memo::new(move |_| state.ranking_wanted().is_none());
    view! {
        <header::Header />
        <remark::Remark />
        <decide::Said />
        <Show when=move || was_ranking.get()>
            <section
                class="status-and-notices"
                aria-label="How far the ranking is"
                hidden=move || !is_ranking.get()
            >
                <status_line::StatusLine />
                <notice::Notices />
            </section>
        </Show>
        <Show when=move || was_ranking.get() && is_ready.get()>
            <main
                class="panes"
                id="ranking"
                tabindex="-1"
                aria-label="Ranking"
                class:outdated=move || is_outdated.get()
                hidden=move || is_hidden.get() || !is_ranking.get()
            >
                <section class="ranking" aria-label="Ranking">
                    <div class="overview">
                        <charts::Charts />
                        <sources::Sources />
                    </div>
                    <diagnosis::DiagnosisCard />
                    <filters::FilterBar />
                    <table::RankedTable />
                </section>
                // The map has a pane of its own; the page has one of them at a time.
                <Show when=move || is_ranking.get()>
                    <reading::ReadingPane />
                </Show>
            </main>
        </Show>
        <Show when=move || state.page.get() == Page::Overview>
            <overview::OverviewPage />
        </Show>
        <later::LaterPage />
        <palette::Palette is_open=around.palette />
        <help::Help is_open=around.help />
        <open::OpenBundle is_open=around.open />
    }
}

/// What `<body>` tells of.
#[derive(Clone, Copy)]
struct Marked {
    state: State,
    validation: Validation,
    discovery: Discovery,
    maps: Maps,
    api: Api,
    jobs: Jobs,
    parts: Parts,
}

/// States on `<body>` how far the page is, for styles, tests and anyone who automates it.
fn mark_body(Marked { state, validation, discovery, maps, api, jobs, parts }: Marked) {
    let page = state.page.get();
    let of_ranking = match (state.study.get(), state.view.get(), state.status.get()) {
        (StudyStatus::Loading, ..) => "loading",
        (StudyStatus::Failed(_), ..) => "failed",
        (_, View::Ready { .. }, status) => match status {
            RankStatus::Idle | RankStatus::Working(_) => "ranking",
            RankStatus::Paused(_) => "paused",
            RankStatus::Stopped => "stopped",
            RankStatus::Ranked => "ranked",
            RankStatus::Failed(_) => "failed",
        },
        _ => "empty",
    };
    let of_discovery = match discovery.status.get() {
        DiscoveryStatus::Loading | DiscoveryStatus::Making => "loading",
        DiscoveryStatus::Absent => "empty",
        // Cut as asked for, or not to be cut so.
        DiscoveryStatus::Ready(_) if discovery.is_cutting.get() => "cutting",
        DiscoveryStatus::Ready(_) => "discovered",
        DiscoveryStatus::Failed(_) => "failed",
    };
    let of_map = match (state.study.get(), maps.status.get()) {
        (StudyStatus::Loading, _) | (_, MapStatus::Loading) => "loading",
        (StudyStatus::Failed(_), _) | (_, MapStatus::Failed(_)) => "failed",
        (_, MapStatus::Absent) => "empty",
        (_, MapStatus::Ready(_)) => "mapped",
    };
    let of_validation = match validation.report.get() {
        ReportStatus::Loading => "loading",
        ReportStatus::Absent => "empty",
        ReportStatus::Ready(_) => "validated",
        ReportStatus::Failed(_) => "failed",
    };
    let of_study = match state.study.get() {
        StudyStatus::Loading => "loading",
        StudyStatus::Failed(_) => "failed",
        StudyStatus::Ready(_) => "ready",
    };
    let of_share = match (of_study, api.server.get()) {
        ("ready", ServerStatus::Asking) => "loading",
        _ => of_study,
    };
    let of_jobs = match (of_share, api.server.get()) {
        ("ready", ServerStatus::Ready(server)) if !server.can_run_jobs => "empty",
        ("ready", ServerStatus::None) => "empty",
        ("ready", ServerStatus::Failed(_)) => "failed",
        ("ready", _) if jobs.list.with(Option::is_none) => "loading",
        (of_share, _) => of_share,
    };
    let of_page = match page {
        Page::Overview => of_study,
        Page::Ranking | Page::Edit => of_ranking,
        Page::Map => of_map,
        Page::Discover => of_discovery,
        Page::Validate => of_validation,
        Page::Jobs => of_jobs,
        Page::Share => of_share,
    };
    let stage = match parts.loaded(page) {
        Loaded::Yes => of_page,
        Loaded::No | Loaded::Loading => "loading",
        Loaded::Failed => "failed",
    };
    let (ranked, certainty) = state.ranking.with(|ranking| {
        ranking.as_ref().map_or_else(Default::default, |ranking| {
            let what = format!("{}/layer-{}", ranking.behavior, ranking.wanted.layer);
            (what, ranking.report.certainty.name())
        })
    });
    let Some(body) = document().body() else { return };
    let marks = body.dataset();
    // Setting a data attribute cannot fail for these names.
    let _ = marks.set("page", page.name());
    let _ = marks.set("state", stage);
    let _ = marks.set("ranked", &ranked);
    let _ = marks.set("certainty", certainty);
}
