//! Pages that are loaded later ([`crate::parts`]): until then what will stand there, or why it does not.

use futures_util::FutureExt;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_split_helpers::wasm_split;

use super::canvas::Ink;
use super::export::{Form, Picture, writing};
use super::skeleton::Skeleton;
use super::{discover, edit, jobs, map, share, validate};
use crate::address::Page;
use crate::decisions::Decisions;
use crate::discovery::Discovery;
use crate::edit_sets::EditSets;
use crate::jobs::Jobs;
use crate::maps::Maps;
use crate::members::Members;
use crate::parts::{Awaited, Loaded, NotLoaded, Parts};
use crate::state::State;

/// Makes a page, once its part of the app is here.
#[wasm_split(pages, preload(load_pages), fallible)]
fn made(page: Page) -> Result<AnyView, NotLoaded> {
    Ok(match page {
        Page::Overview | Page::Ranking => ().into_any(),
        Page::Edit => view! { <edit::EditPage /> }.into_any(),
        Page::Map => view! { <map::MapPage /> }.into_any(),
        Page::Discover => view! { <discover::DiscoverPage /> }.into_any(),
        Page::Validate => view! { <validate::ValidatePage /> }.into_any(),
        Page::Jobs => view! { <jobs::JobsPage /> }.into_any(),
        Page::Share => view! { <share::SharePage /> }.into_any(),
    })
}

/// What follows what is looked at, for these pages alone.
#[derive(Clone, Copy)]
pub struct Followers {
    /// What is shown.
    pub state: State,
    /// What was decided.
    pub decisions: Decisions,
    /// Groups.
    pub discovery: Discovery,
    /// Edit sets.
    pub edit_sets: EditSets,
    /// Maps.
    pub maps: Maps,
    /// Groups that the filter names.
    pub members: Members,
    /// The backend's jobs.
    pub jobs: Jobs,
}

/// Has them follow, now that their part of the app is here.
#[wasm_split(pages, fallible)]
fn following(followers: Followers, owner: Owner) -> Result<(), NotLoaded> {
    let Followers { state, decisions, discovery, edit_sets, maps, members, jobs } = followers;
    owner.with(|| {
        discovery.follow();
        edit_sets.follow(state);
        maps.follow(decisions);
        members.follow();
        jobs.follow();
    });
    Ok(())
}

/// Has them follow as soon as their part of the app is here. Called once, by the root component, with which they end.
pub fn follow(followers: Followers, parts: Parts) {
    let owner = Owner::current().expect("a component calls this");
    let are_here = Memo::new(move |_| parts.loaded(Page::Map) == Loaded::Yes);
    Effect::new(move || {
        if are_here.get() {
            let owner = owner.clone();
            spawn_local(async move {
                // What follows is in the part that has just arrived.
                let _ = following(followers, owner).await;
            });
        }
    });
}

/// Draws a picture and saves it, by what is in this part of the app.
#[wasm_split(pages, fallible)]
fn saving(picture: Picture, form: Form, ink: Ink) -> Result<Awaited<Result<(), String>>, NotLoaded> {
    Ok(Box::pin(writing::save(picture, form, ink)))
}

/// Saves a picture as a file.
///
/// # Errors
///
/// When that part of the app did not arrive; within, why the picture cannot be saved.
pub async fn saved(picture: Picture, form: Form, ink: Ink) -> Result<Result<(), String>, NotLoaded> {
    Ok(saving(picture, form, ink).await?.await)
}

/// Loads what these pages are made of.
pub fn load() -> Awaited<Result<(), NotLoaded>> {
    Box::pin(async { Ok(load_pages().await?) })
}

/// The page that is asked for, where it is one of these.
#[component]
pub fn LaterPage() -> impl IntoView {
    let (state, parts) = (State::here(), Parts::here());
    let shown = Memo::new(move |_| {
        let page = state.page.get();
        (page, parts.loaded(page))
    });
    move || match shown.get() {
        (Page::Overview | Page::Ranking, _) => ().into_any(),
        (page, Loaded::Failed) => view! { <Missing page /> }.into_any(),
        (page, loaded) => {
            // Made at once where it is here: what it is made of asks for what surrounds it.
            let page_made = (loaded == Loaded::Yes).then(|| made(page).now_or_never()?.ok()).flatten();
            page_made.unwrap_or_else(|| view! { <Waiting page /> }.into_any())
        }
    }
}

/// That a page is on its way.
#[component]
fn Waiting(page: Page) -> impl IntoView {
    view! {
        <main class="column-page" id=page.name() tabindex="-1" aria-label=page.title()>
            <Skeleton says="Loading the page…" />
        </main>
    }
}

/// That a page did not arrive.
#[component]
fn Missing(page: Page) -> impl IntoView {
    let parts = Parts::here();
    view! {
        <main class="column-page" id=page.name() tabindex="-1" aria-label=page.title()>
            <section class="notice error" role="alert">
                <h2>{format!("The page {} did not load", page.title())}</h2>
                <p class="cause">"Its part of the app did not arrive from where the app lies."</p>
                <p>"Check that the server still runs, or the way to it. What you decided is kept."</p>
                <button type="button" id="page-again" on:click=move |_| parts.load()>
                    "Try again"
                </button>
            </section>
        </main>
    }
}
