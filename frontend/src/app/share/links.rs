//! Read-only links: made here, told once, listed, revoked.

use leptos::ev::SubmitEvent;
use leptos::prelude::*;
use leptos::task::spawn_local;
use web_sys::Url;
use whence_shared::shares::{ShareMade, ShareView};
use whence_shared::shell;

use super::here::{AddressInput, is_loopback};
use super::part::Part;
use crate::api::{Api, Nothing, RequestError};
use crate::app::copy::Copy;
use crate::app::dialog::Dialog;
use crate::app::jobs::said;
use crate::app::skeleton::ListSkeleton;
use crate::clock::{moment, ticking};
use crate::fetch::sleep;
use crate::state::State;

/// Pause before a backend that does not answer is asked for the links again, in milliseconds.
const PAUSE_MS: f64 = 2_000.0;
/// How long a link can be good for: its name, and seconds.
const LASTING: [(&str, Option<u64>); 5] = [
    ("an hour", Some(3_600)),
    ("a day", Some(86_400)),
    ("a week", Some(604_800)),
    ("30 days", Some(2_592_000)),
    ("until it is revoked", None),
];
/// The one that is chosen at first.
const FIRST_LASTING: usize = 2;

/// How a study is served so that others reach links and nothing else.
pub fn open_command(study: &str) -> String {
    shell::line(["whence", "serve", "--study", study, "--host", "0.0.0.0", "--shares"])
}

/// The links as far as they are known.
#[derive(Clone, Copy)]
struct Known {
    api: Api,
    list: RwSignal<Option<Vec<ShareView>>>,
    problem: RwSignal<Option<RequestError>>,
}

impl Known {
    /// Asks until the backend answers or the page is gone.
    async fn ask(self) {
        loop {
            let answer = self.api.get::<Vec<ShareView>>("shares").await;
            let is_unreachable = answer.as_ref().is_err_and(RequestError::is_unreachable);
            let is_gone = match answer {
                Ok(list) => {
                    self.problem.try_set(None);
                    self.list.try_set(Some(list)).is_some()
                }
                Err(error) => self.problem.try_set(Some(error)).is_some(),
            };
            if !is_unreachable || is_gone {
                return;
            }
            sleep(PAUSE_MS).await;
        }
    }
}

/// The section.
#[component]
pub fn Links(
    part: Part,
    /// Whether others than this machine reach them.
    others_reach: bool,
) -> impl IntoView {
    let (state, api) = (State::here(), Api::here());
    let known = Known { api, list: RwSignal::new(None), problem: RwSignal::new(None) };
    let made = RwSignal::new(None::<ShareMade>);
    spawn_local(known.ask());
    let hint = (!others_reach).then(|| {
        view! {
            <div class="hint" id="links-closed">
                <p>
                    "As this server was started, only this machine reaches its links. So that others reach them, and nothing else, start it with:"
                </p>
                <div class="command-line">
                    <pre>
                        <code>{move || open_command(&state.study_name())}</code>
                    </pre>
                </div>
            </div>
        }
    });
    view! {
        <section class="links-section" id="links" aria-labelledby="links-title">
            <h2 id="links-title">"Read-only links"</h2>
            <p class="about">
                "Whoever has a link reads what is chosen under “What is handed out”, as it is then, and nothing else. It can be revoked at any time."
            </p>
            {hint}
            <NewLink part known made />
            <List known />
        </section>
    }
}

/// The form that makes a link, and the link that it made.
#[component]
fn NewLink(part: Part, known: Known, made: RwSignal<Option<ShareMade>>) -> impl IntoView {
    let (state, api) = (State::here(), Api::here());
    let label = RwSignal::new(String::new());
    let lasting = RwSignal::new(FIRST_LASTING);
    let opens_here = RwSignal::new(true);
    let base = RwSignal::new(window().location().origin().unwrap_or_default());
    let is_asking = RwSignal::new(false);
    let problem = RwSignal::new(None::<RequestError>);
    let on_submit = move |event: SubmitEvent| {
        event.prevent_default();
        if is_asking.get_untracked() || untrack(|| part.fault()).is_some() {
            return;
        }
        is_asking.set(true);
        let asked = part.share(label.get_untracked().trim().to_owned(), LASTING[lasting.get_untracked()].1);
        spawn_local(async move {
            let answer = api.post::<ShareMade>("shares", &asked).await;
            is_asking.try_set(false);
            problem.try_set(answer.as_ref().err().cloned());
            if let Ok(new) = answer {
                label.try_set(String::new());
                made.try_set(Some(new));
                known.ask().await;
            }
        });
    };
    let query = move || {
        let here = state.link_for_others(state.came_from.get()).filter(|_| opens_here.get());
        here.and_then(|here| Url::new(&here).ok()).map(|url| url.search()).unwrap_or_default()
    };
    let address = Signal::derive(move || {
        let path = made.with(|made| made.as_ref().map(|made| made.path.clone())).unwrap_or_default();
        format!("{}{path}{}", base.get().trim().trim_end_matches('/'), query())
    });
    let options = LASTING.iter().enumerate().map(|(i, (name, _))| {
        view! { <option value=i.to_string() prop:selected=move || lasting.get() == i>{*name}</option> }
    });
    view! {
        <form class="stacked" id="new-link" on:submit=on_submit>
            <label class="field">
                <span>"Label"</span>
                <input
                    id="link-label"
                    type="text"
                    autocomplete="off"
                    placeholder="for whom it is; you alone see it"
                    prop:value=move || label.get()
                    on:input=move |event| label.set(event_target_value(&event))
                />
            </label>
            <label class="field">
                <span>"Good for"</span>
                <select
                    id="link-lasting"
                    on:change=move |event| lasting.set(event_target_value(&event).parse().unwrap_or(FIRST_LASTING))
                >
                    {options.collect::<Vec<_>>()}
                </select>
            </label>
            <div class="buttons">
                <button
                    type="submit"
                    class="primary"
                    id="make-link"
                    disabled=move || is_asking.get() || part.fault().is_some()
                >
                    "Make a link"
                </button>
            </div>
        </form>
        <div role="status" id="link-outcome">
            {move || problem.get().map(|error| view! { <p class="problem">{said(&error)}</p> })}
        </div>
        <Show when=move || made.with(Option::is_some)>
            <div class="new-link" id="made-link">
                <p>
                    <strong>"This link is shown now and never again."</strong>
                    " Only a hash of it is kept: copy it."
                </p>
                <div class="address">
                    <AddressInput id="link-address" label="Address of the link" address />
                    <Copy text=address what="the link" shows="Copy" />
                </div>
                <div class="stacked">
                    <label class="choice">
                        <input
                            id="link-opens-here"
                            type="checkbox"
                            prop:checked=move || opens_here.get()
                            on:change=move |event| opens_here.set(event_target_checked(&event))
                        />
                        <span>
                            {move || format!("open at what you looked at: {}", state.came_from.get().title())}
                        </span>
                    </label>
                    <label class="field">
                        <span>"Others call this server"</span>
                        <input
                            id="link-base"
                            type="url"
                            autocomplete="off"
                            spellcheck="false"
                            prop:value=move || base.get()
                            on:input=move |event| base.set(event_target_value(&event))
                        />
                    </label>
                </div>
                <Show when=move || is_loopback(&base.get())>
                    <p class="quiet">
                        "That is this machine’s name for itself: put the name or address there by which others reach it."
                    </p>
                </Show>
                <div class="buttons">
                    <button type="button" id="link-copied" on:click=move |_| made.set(None)>
                        "Done"
                    </button>
                </div>
            </div>
        </Show>
    }
}

/// How a link stands.
fn stage(share: &ShareView, now: f64) -> &'static str {
    match share.expires_unix_ms {
        _ if share.revoked_unix_ms.is_some() => "revoked",
        Some(at) if at as f64 <= now => "expired",
        _ => "open",
    }
}

fn inside(share: &ShareView) -> String {
    let behaviors = share.behaviors.as_ref().map_or_else(|| "all behaviors".to_owned(), |names| names.join(", "));
    let layers = share.layers.as_ref().map_or_else(
        || "all layers".to_owned(),
        |layers| {
            let numbers: Vec<String> = layers.iter().map(usize::to_string).collect();
            format!("{} {}", if layers.len() == 1 { "layer" } else { "layers" }, numbers.join(", "))
        },
    );
    let texts = if share.texts { "with texts" } else { "texts withheld" };
    let vectors = if share.no_vectors { "index only" } else { "with vectors" };
    [behaviors, layers, texts.to_owned(), vectors.to_owned()].join(" · ")
}

/// All links, the newest first.
#[component]
fn List(known: Known) -> impl IntoView {
    let asked = RwSignal::new(None::<ShareView>);
    let is_open = RwSignal::new(false);
    let problem = RwSignal::new(None::<RequestError>);
    let now = ticking();
    let revoke = move |_| {
        is_open.set(false);
        let Some(share) = asked.get_untracked() else { return };
        spawn_local(async move {
            let answer = known.api.post::<ShareView>(&format!("shares/{}/revoke", share.id), &Nothing {}).await;
            problem.try_set(answer.err());
            known.ask().await;
        });
    };
    let row = move |share: ShareView| {
        let label = if share.label.is_empty() { format!("link {}", share.id) } else { share.label.clone() };
        let ends =
            share.expires_unix_ms.map_or_else(|| "never ends".to_owned(), |at| format!("ends {}", moment(at as f64)));
        let revoked = share.revoked_unix_ms.map(|at| format!(" · revoked {}", moment(at as f64))).unwrap_or_default();
        let times = format!("made {} · {ends}{revoked}", moment(share.created_unix_ms as f64));
        let of = StoredValue::new(share.clone());
        let stage = Memo::new(move |_| of.with_value(|share| stage(share, now.get())));
        let name = format!("Revoke {label}");
        let ask = move |_| {
            asked.set(Some(of.get_value()));
            is_open.set(true);
        };
        view! {
            <li id=format!("link-{}", share.id) data-state=move || stage.get()>
                <span class="link-state">{move || stage.get()}</span>
                <span>
                    <strong>{label}</strong>
                    <span class="quiet">{inside(&share)}</span>
                    <span class="quiet">{times}</span>
                </span>
                <Show when=move || stage.get() == "open">
                    <button type="button" class="revoke-link" aria-label=name.clone() on:click=ask>
                        "Revoke…"
                    </button>
                </Show>
            </li>
        }
    };
    view! {
        {move || problem.get().or(known.problem.get()).map(|error| view! { <p class="problem" role="alert">{said(&error)}</p> })}
        {move || match known.list.get() {
            None => view! { <ListSkeleton /> }.into_any(),
            Some(list) if list.is_empty() => {
                view! { <p class="quiet" id="no-links">"No link was made yet."</p> }.into_any()
            }
            Some(list) => view! { <ul class="links">{list.into_iter().map(row).collect::<Vec<_>>()}</ul> }.into_any(),
        }}
        <Dialog is_open id="revoke" labelled_by="revoke-title">
            <h2 id="revoke-title">"Revoke this link?"</h2>
            <p>
                {move || {
                    let label = asked.with(|share| share.as_ref().map(|share| share.label.clone())).unwrap_or_default();
                    let of = if label.is_empty() { "the link".to_owned() } else { format!("“{label}”") };
                    format!("Whoever has {of} sees nothing any more, from now on and for good. A new one can be made.")
                }}
            </p>
            <div class="buttons">
                <button type="button" autofocus on:click=move |_| is_open.set(false)>
                    "Keep it"
                </button>
                <button type="button" class="danger" id="revoke-now" on:click=revoke>
                    "Revoke"
                </button>
            </div>
        </Dialog>
    }
}
