//! Opening a bundle from this machine: a dialog with a field for a zip and one for a folder, and dropping a zip anywhere on the page.

use js_sys::Reflect;
use leptos::html;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Blob, DataTransfer, File, FileList, HtmlInputElement, Url};

use super::dialog::Dialog;
use super::{Surroundings, mount};
use crate::opened;

/// The name in the tab's storage of what was open: a page that is loaded again does not have it any more.
const LAST: &str = "whence-opened";

/// How far opening is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Opening {
    Idle,
    Working(String),
    Failed(String),
}

/// What was chosen.
enum Chosen {
    Zip(File),
    /// A folder's name, and its files by their paths in it.
    Folder(String, Vec<(String, Blob)>),
}

/// What was open in this tab before the page was loaded again, where nothing is now.
pub fn was_open() -> Option<String> {
    let last = window().session_storage().ok().flatten()?.get_item(LAST).ok().flatten();
    last.filter(|_| opened::current().is_none())
}

/// The dialog, and what happens to files that are dropped on the page.
#[component]
pub fn OpenBundle(
    /// Whether the dialog is open.
    is_open: RwSignal<bool>,
) -> impl IntoView {
    let opening = RwSignal::new(Opening::Idle);
    listen_to_drops(is_open, opening);
    let folder_field = NodeRef::<html::Input>::new();
    Effect::new(move || {
        if let Some(field) = folder_field.get() {
            field.set_webkitdirectory(true);
        }
    });
    let choose = move |event: leptos::ev::Event, is_folder: bool| {
        let input: HtmlInputElement = event_target(&event);
        let chosen =
            input.files().and_then(|files| if is_folder { folder(&files) } else { Some(Chosen::Zip(files.get(0)?)) });
        if let Some(chosen) = chosen {
            open(chosen, opening);
        }
        // The same file can be chosen again.
        input.set_value("");
    };
    let outcome = move || match opening.get() {
        Opening::Idle => ().into_any(),
        Opening::Working(name) => view! { <p role="status">{format!("Reading {name}…")}</p> }.into_any(),
        Opening::Failed(reason) => {
            view! { <p class="problem" role="alert" id="open-problem">{format!("{reason}.")}</p> }.into_any()
        }
    };
    view! {
        <Dialog is_open id="open-bundle" labelled_by="open-title">
            <header>
                <h2 id="open-title">"Open a bundle"</h2>
                <button type="button" autofocus on:click=move |_| is_open.set(false)>
                    "Close"
                </button>
            </header>
            <p>
                "What " <code>"whence report"</code>
                " wrote, from this machine. It is read where it lies: nothing is copied, nothing leaves this machine."
            </p>
            <label class="choose">
                <span>"Zip"</span>
                <input
                    type="file"
                    id="open-zip"
                    accept=".zip,application/zip"
                    on:change=move |event| choose(event, false)
                />
            </label>
            <label class="choose">
                <span>"Folder"</span>
                <input type="file" id="open-folder" node_ref=folder_field on:change=move |event| choose(event, true) />
            </label>
            {outcome}
            <p class="quiet">
                "A zip can also be dropped on the page. The address keeps what you look at, but not the bundle: whoever gets a link \
                 opens the same bundle first, and so do you after the page is loaded again."
            </p>
        </Dialog>
    }
}

/// The button that opens the dialog.
#[component]
pub fn OpenButton(
    /// Of the button.
    id: &'static str,
    /// What it says.
    text: &'static str,
) -> impl IntoView {
    let Surroundings { open, .. } = Surroundings::here();
    view! {
        <button type="button" id=id title="Open a bundle from this machine" on:click=move |_| open.set(true)>
            {text}
        </button>
    }
}

/// What is open, beside the study's name; nothing where the study comes from a server.
#[component]
pub fn OpenedName() -> impl IntoView {
    opened::current().map(|opened| {
        let title = format!(
            "{} is read from this machine. The address does not name it: whoever gets a link opens the same bundle first.",
            opened.name
        );
        view! { <span class="opened-name" id="opened-name" title=title>{format!("from {}", opened.name)}</span> }
    })
}

fn open(chosen: Chosen, opening: RwSignal<Opening>) {
    let name = match &chosen {
        Chosen::Zip(file) => file.name(),
        Chosen::Folder(name, _) => name.clone(),
    };
    opening.set(Opening::Working(name.clone()));
    spawn_local(async move {
        let opened = match chosen {
            Chosen::Zip(file) => opened::zip(&name, file.unchecked_into()).await,
            Chosen::Folder(name, files) => opened::folder(&name, files).await,
        };
        match opened {
            Ok(found) => {
                opened::set_current(found);
                forget_address_of_bundle();
                if let Ok(Some(storage)) = window().session_storage() {
                    // Only a hint after the page is loaded again.
                    let _ = storage.set_item(LAST, &name);
                }
                // This page goes, with the one that waits for it here.
                set_timeout(mount, std::time::Duration::ZERO);
            }
            Err(error) => {
                opening.try_set(Opening::Failed(error.to_string()));
            }
        }
    });
}

/// The address named a bundle elsewhere, which is no longer what is shown.
fn forget_address_of_bundle() {
    let Ok(url) = window().location().href().and_then(|href| Url::new(&href)) else { return };
    if url.search_params().has("bundle") {
        url.search_params().delete("bundle");
        let _ = window()
            .history()
            .and_then(|history| history.replace_state_with_url(&JsValue::NULL, "", Some(&url.href())));
    }
}

/// A folder as the browser lists it: paths begin with its name.
fn folder(files: &FileList) -> Option<Chosen> {
    let path_of = |file: &File| Reflect::get(file, &"webkitRelativePath".into()).ok().and_then(|path| path.as_string());
    let all = (0..files.length()).filter_map(|at| files.get(at));
    let mut name = String::new();
    let mut found = Vec::new();
    for file in all {
        let path = path_of(&file)?;
        let (folder, rest) = path.split_once('/')?;
        folder.clone_into(&mut name);
        found.push((rest.to_owned(), file.unchecked_into()));
    }
    (!found.is_empty()).then_some(Chosen::Folder(name, found))
}

fn listen_to_drops(is_open: RwSignal<bool>, opening: RwSignal<Opening>) {
    let has_files =
        |data: &Option<DataTransfer>| data.as_ref().is_some_and(|data| data.types().iter().any(|kind| kind == "Files"));
    // Without this the browser would leave the page for the file.
    let over = window_event_listener(leptos::ev::dragover, move |event| {
        if has_files(&event.data_transfer()) {
            event.prevent_default();
        }
    });
    let drop = window_event_listener(leptos::ev::drop, move |event| {
        let data = event.data_transfer().filter(|data| has_files(&Some(data.clone())));
        // A field takes what is dropped on it.
        let target = event.target().and_then(|target| target.dyn_into::<HtmlInputElement>().ok());
        let Some(data) = data.filter(|_| target.is_none()) else { return };
        event.prevent_default();
        is_open.set(true);
        if is_folder(&data) {
            let reason = "A folder cannot be dropped. Choose it in the field “Folder”".to_owned();
            opening.set(Opening::Failed(reason));
        } else if let Some(file) = data.files().and_then(|files| files.get(0)) {
            open(Chosen::Zip(file), opening);
        }
    });
    on_cleanup(move || {
        over.remove();
        drop.remove();
    });
}

fn is_folder(data: &DataTransfer) -> bool {
    let item = Reflect::get(data, &"items".into()).and_then(|items| Reflect::get(&items, &0.into()));
    let entry = item.and_then(|item| {
        let get: js_sys::Function = Reflect::get(&item, &"webkitGetAsEntry".into())?.dyn_into()?;
        get.call0(&item)
    });
    entry.is_ok_and(|entry| Reflect::get(&entry, &"isDirectory".into()).is_ok_and(|is_folder| is_folder.is_truthy()))
}
