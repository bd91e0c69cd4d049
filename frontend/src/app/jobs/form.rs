//! The form that starts a job: a verb, the arguments that people need, a line for all others, and the command line that does the
//! same in a terminal.

use std::sync::Arc;

use leptos::ev::SubmitEvent;
use leptos::prelude::*;
use leptos::task::spawn_local;
use whence_shared::jobs::NewJob;
use whence_shared::shell;
use whence_shared::study::StudyView;

use super::verbs::{self, ALL, Field, Kind, Typed, Verb, Way};
use crate::api::RequestError;
use crate::app::copy::Copy;
use crate::jobs::Jobs;
use crate::state::{State, StudyStatus, View};

/// Devices that are offered; others can be typed.
const DEVICES: [&str; 5] = ["auto", "cpu", "vulkan", "cuda", "wgpu"];

/// What the form holds; cheap to copy.
#[derive(Clone, Copy)]
struct Draft {
    state: State,
    verb: Memo<&'static str>,
    /// By verb: which way is chosen.
    ways: RwSignal<std::collections::BTreeMap<&'static str, usize>>,
    typed: RwSignal<Typed>,
}

impl Draft {
    fn verb(self) -> &'static Verb {
        verbs::named(self.verb.get()).unwrap_or(&ALL[0])
    }

    fn way_number(self) -> usize {
        let verb = self.verb();
        let chosen = self.ways.with(|ways| ways.get(verb.name).copied()).unwrap_or(0);
        chosen.min(verb.ways.len() - 1)
    }

    fn way(self) -> &'static Way {
        &self.verb().ways[self.way_number()]
    }

    fn study(self) -> Option<Arc<StudyView>> {
        match self.state.study.get() {
            StudyStatus::Ready(study) => Some(study),
            _ => None,
        }
    }

    /// What was typed or chosen for a field, or what it starts with. Tracked.
    fn value(self, field: &Field) -> String {
        let key = verbs::key(self.verb.get(), field.flag);
        self.typed.with(|typed| typed.get(&key).cloned()).unwrap_or_else(|| self.start_of(field))
    }

    /// Where a field starts: what is looked at on the other pages, where something must be said. Tracked.
    fn start_of(self, field: &Field) -> String {
        let here = match self.state.view.get() {
            View::Ready { behavior, layer, .. } => Some((behavior.name, layer.layer)),
            _ => None,
        };
        let Some(study) = self.study().filter(|_| field.is_needed) else { return String::new() };
        match field.kind {
            Kind::Behavior => {
                here.map(|(name, _)| name).or(study.behaviors.first().map(|behavior| behavior.name.clone()))
            }
            Kind::Layer => {
                here.map(|(_, layer)| layer).or(study.layers.last().map(|layer| layer.layer)).map(|n| n.to_string())
            }
            Kind::Discovery => self.state.groups.get().or(study.discoveries.first().cloned()),
            _ => None,
        }
        .unwrap_or_default()
    }

    fn put(self, key: String, value: String) {
        self.typed.update(|typed| drop(typed.insert(key, value)));
    }

    fn more(self) -> String {
        self.typed.with(|typed| typed.get(&verbs::key(self.verb.get(), "more")).cloned()).unwrap_or_default()
    }

    /// The job as it stands, or what is wrong with the line of other arguments. Tracked.
    fn job(self) -> Result<NewJob, String> {
        let mut arguments = verbs::arguments(self.way(), |field| self.value(field));
        let more = shell::words(&self.more()).map_err(|error| format!("More arguments: {error}."))?;
        arguments.extend(more);
        Ok(NewJob { verb: self.verb.get().to_owned(), arguments })
    }

    fn command(self) -> String {
        let arguments = self.job().map(|job| job.arguments).unwrap_or_default();
        let study = self.state.study_name();
        let fixed = ["whence", self.verb.get(), "--study", &study];
        shell::line(fixed.into_iter().chain(arguments.iter().map(String::as_str)))
    }
}

/// What came of the last try to start a job.
#[derive(Debug, Clone, PartialEq)]
enum Outcome {
    None,
    Asking,
    Queued(u64),
    Refused(RequestError),
}

/// The form.
#[component]
pub fn StartForm() -> impl IntoView {
    let (state, jobs) = (State::here(), Jobs::here());
    let verb = Memo::new(move |_| {
        let stated = state.verb.get();
        stated.and_then(|name| verbs::named(&name)).map_or(ALL[0].name, |verb| verb.name)
    });
    let draft = Draft { state, verb, ways: RwSignal::default(), typed: RwSignal::default() };
    let outcome = RwSignal::new(Outcome::None);
    let fault = Memo::new(move |_| draft.job().err());
    // What was refused is no longer what stands here.
    Effect::new(move |before: Option<String>| {
        let command = draft.command();
        let is_refused = outcome.with_untracked(|outcome| matches!(outcome, Outcome::Refused(_)));
        if is_refused && before.is_some_and(|before| before != command) {
            outcome.set(Outcome::None);
        }
        command
    });
    let on_submit = move |event: SubmitEvent| {
        event.prevent_default();
        let Ok(job) = untrack(|| draft.job()) else { return };
        if outcome.get_untracked() == Outcome::Asking {
            return;
        }
        outcome.set(Outcome::Asking);
        spawn_local(async move {
            let answer = jobs.queue(&job).await;
            // The form may be gone by now.
            match answer {
                Ok(job) => {
                    if outcome.try_set(Outcome::Queued(job.id)).is_none() {
                        state.choose_job(Some(job.id));
                    }
                }
                Err(error) => drop(outcome.try_set(Outcome::Refused(error))),
            }
        });
    };
    let verbs = ALL
        .iter()
        .map(|of| view! { <option value=of.name prop:selected=move || verb.get() == of.name>{of.name}</option> })
        .collect_view();
    view! {
        <section class="start-job" id="start-job" aria-labelledby="start-title">
            <h2 id="start-title">"Start a job"</h2>
            <form class="stacked" on:submit=on_submit>
                <label class="field">
                    <span>"Verb"</span>
                    <select
                        id="job-verb"
                        // Also when another was chosen here before: then `selected` no longer tells.
                        prop:value=move || verb.get()
                        on:change=move |event| {
                            outcome.set(Outcome::None);
                            state.choose_verb(&event_target_value(&event));
                        }
                    >
                        {verbs}
                    </select>
                </label>
                <p class="about">{move || draft.verb().about}</p>
                <Ways draft />
                {move || {
                    let verb = draft.verb.get();
                    draft.way().fields.iter().map(|field| view! { <Input draft field verb /> }).collect_view()
                }}
                <label class="field">
                    <span>"More arguments"</span>
                    <input
                        id="job-more"
                        type="text"
                        class="mono"
                        autocomplete="off"
                        spellcheck="false"
                        placeholder=move || format!("whence {} --help lists them", verb.get())
                        prop:value=move || draft.more()
                        on:input=move |event| {
                            draft.put(verbs::key(verb.get_untracked(), "more"), event_target_value(&event));
                        }
                    />
                </label>
                <div class="command-line">
                    <span class="quiet">
                        "The same in a terminal" <Copy text=Signal::derive(move || draft.command()) what="the command line" />
                    </span>
                    <pre>
                        <code id="job-command">{move || draft.command()}</code>
                    </pre>
                </div>
                <p class="quiet">
                    "Paths are those of the machine that the backend runs on, seen from the folder that it was started in."
                </p>
                <div class="buttons">
                    <button
                        type="submit"
                        class="primary"
                        id="start"
                        disabled=move || fault.with(Option::is_some) || outcome.get() == Outcome::Asking
                    >
                        {move || format!("Start {}", verb.get())}
                    </button>
                </div>
                <div id="start-outcome" role="status">
                    {move || fault.get().map(|text| view! { <p class="problem">{text}</p> })}
                    {move || match outcome.get() {
                        Outcome::None | Outcome::Asking => ().into_any(),
                        Outcome::Queued(id) => view! { <p>{format!("Job {id} is in the queue.")}</p> }.into_any(),
                        Outcome::Refused(error) => view! { <p class="problem">{super::said(&error)}</p> }.into_any(),
                    }}
                </div>
            </form>
            <datalist id="devices">{DEVICES.map(|device| view! { <option value=device></option> })}</datalist>
        </section>
    }
}

/// The way a verb is run, where there are several.
#[component]
fn Ways(draft: Draft) -> impl IntoView {
    move || {
        let verb = draft.verb();
        let options = verb.ways.iter().enumerate().map(|(i, way)| {
            view! { <option value=i.to_string() prop:selected=move || draft.way_number() == i>{way.title}</option> }
        });
        (verb.ways.len() > 1).then(|| {
            view! {
                <label class="field">
                    <span>"By"</span>
                    <select
                        id="job-way"
                        on:change=move |event| {
                            let way = event_target_value(&event).parse().unwrap_or(0);
                            draft
                                .ways
                                .update(|ways| {
                                    ways.insert(verb.name, way);
                                });
                        }
                    >
                        {options.collect::<Vec<_>>()}
                    </select>
                </label>
            }
        })
    }
}

/// One argument.
#[component]
fn Input(draft: Draft, field: &'static Field, verb: &'static str) -> impl IntoView {
    let key = verbs::key(verb, field.flag);
    let id = format!("job{}", field.flag);
    let put = {
        let key = key.clone();
        move |value: String| draft.put(key.clone(), value)
    };
    let value = move || draft.value(field);
    let typed = |example: String, kind: &'static str, min: Option<u32>, list: Option<&'static str>| {
        let put = put.clone();
        view! {
            <label class="field">
                <span>{field.label}</span>
                <input
                    id=id.clone()
                    type=kind
                    min=min.map(|min| min.to_string())
                    list=list
                    required=field.is_needed
                    autocomplete="off"
                    spellcheck="false"
                    placeholder=example
                    prop:value=value
                    on:input=move |event| put(event_target_value(&event))
                />
            </label>
        }
        .into_any()
    };
    let chosen = |options: Vec<(String, String)>| {
        let put = put.clone();
        let options = options.into_iter().map(|(name, text)| {
            let of = name.clone();
            view! { <option value=name prop:selected=move || draft.value(field) == of>{text}</option> }
        });
        view! {
            <label class="field">
                <span>{field.label}</span>
                <select id=id.clone() required=field.is_needed on:change=move |event| put(event_target_value(&event))>
                    {options.collect::<Vec<_>>()}
                </select>
            </label>
        }
        .into_any()
    };
    let same = |name: String| (name.clone(), name);
    match field.kind {
        Kind::Text(example) => typed(example.to_owned(), "text", None, None),
        Kind::Each(example) => typed(format!("such as {example}"), "text", None, None),
        Kind::File(example) => typed(format!("a file, such as {example}"), "text", None, None),
        Kind::Model => typed("a folder, or org/name to download".to_owned(), "text", None, None),
        Kind::Device => typed("auto".to_owned(), "text", None, Some("devices")),
        Kind::Number(min, example) => typed(example.to_owned(), "number", Some(min), None),
        Kind::Choice(choices) => chosen(choices.iter().map(|name| same((*name).to_owned())).collect()),
        Kind::Switch => view! {
            <label class="choice">
                <input
                    id=id
                    type="checkbox"
                    prop:checked=move || !value().is_empty()
                    on:change=move |event| put(if event_target_checked(&event) { "yes".to_owned() } else { String::new() })
                />
                <span>{field.label}</span>
            </label>
        }
        .into_any(),
        Kind::Behavior | Kind::Layer | Kind::Discovery => {
            // Of the study as it is when the form is made or the verb chosen: a list that changes under the hand is none.
            let study = untrack(|| draft.study());
            let mut options: Vec<(String, String)> = match (&study, field.kind) {
                (None, _) => Vec::new(),
                (Some(study), Kind::Behavior) => study.behaviors.iter().map(|of| same(of.name.clone())).collect(),
                (Some(study), Kind::Discovery) => study.discoveries.iter().cloned().map(same).collect(),
                (Some(study), _) => study.layers.iter().map(|of| same(of.layer.to_string())).collect(),
            };
            match (options.is_empty(), field.is_needed) {
                // What is not there yet may be made by a job that stands before this one.
                (true, _) if field.kind == Kind::Layer => typed(String::new(), "number", Some(0), None),
                (true, _) => typed(String::new(), "text", None, None),
                (false, true) => chosen(options),
                (false, false) => {
                    options.insert(0, (String::new(), "all".to_owned()));
                    chosen(options)
                }
            }
        }
    }
}
