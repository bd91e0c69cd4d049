//! Which part of the study is handed out: behaviors, layers, with or without texts and vectors. Links and bundles are of the same
//! part.

use std::collections::BTreeSet;

use leptos::prelude::*;
use whence_shared::shares::{NewBundle, NewShare};
use whence_shared::shell;

use crate::number::bytes;
use crate::state::{State, StudyStatus};

/// What was chosen; cheap to copy.
#[derive(Clone, Copy)]
pub struct Part {
    state: State,
    /// Names; all when absent.
    behaviors: RwSignal<Option<BTreeSet<String>>>,
    /// Layers; all when absent.
    layers: RwSignal<Option<BTreeSet<usize>>>,
    has_texts: RwSignal<bool>,
    has_vectors: RwSignal<bool>,
}

impl Part {
    /// Everything but the texts.
    pub fn new(state: State) -> Self {
        Self {
            state,
            behaviors: RwSignal::new(None),
            layers: RwSignal::new(None),
            has_texts: RwSignal::new(false),
            has_vectors: RwSignal::new(true),
        }
    }

    /// Why it is no part; none when it is one. Tracked.
    pub fn fault(self) -> Option<&'static str> {
        let is_empty = |n: Option<usize>| n == Some(0);
        if is_empty(self.behaviors.with(|names| names.as_ref().map(BTreeSet::len))) {
            return Some("Choose at least one behavior.");
        }
        is_empty(self.layers.with(|layers| layers.as_ref().map(BTreeSet::len))).then_some("Choose at least one layer.")
    }

    /// A link to it.
    pub fn share(self, label: String, expires_in_seconds: Option<u64>) -> NewShare {
        let NewBundle { behaviors, layers, texts, no_vectors } = self.bundle();
        NewShare { label, behaviors, layers, texts, no_vectors, expires_in_seconds }
    }

    /// A bundle of it.
    pub fn bundle(self) -> NewBundle {
        NewBundle {
            behaviors: self.behaviors.get_untracked().map(|names| names.into_iter().collect()),
            layers: self.layers.get_untracked().map(|layers| layers.into_iter().collect()),
            texts: self.has_texts.get_untracked(),
            no_vectors: !self.has_vectors.get_untracked(),
        }
    }

    /// The command line that makes the bundle. Tracked.
    pub fn command(self) -> String {
        let study = self.state.study_name();
        let out = format!("{study}.zip");
        let mut words = vec!["whence".to_owned(), "report".into(), "--study".into(), study, "--out".into(), out];
        if let Some(names) = self.behaviors.get() {
            words.extend(["--behaviors".to_owned(), names.into_iter().collect::<Vec<_>>().join(",")]);
        }
        if let Some(layers) = self.layers.get() {
            let layers: Vec<String> = layers.iter().map(usize::to_string).collect();
            words.extend(["--layers".to_owned(), layers.join(",")]);
        }
        if !self.has_texts.get() {
            words.push("--no-texts".into());
        }
        if !self.has_vectors.get() {
            words.push("--no-vectors".into());
        }
        shell::line(words.iter().map(String::as_str))
    }

    /// How large it is, as far as vectors and index go. Tracked.
    fn size(self) -> String {
        let StudyStatus::Ready(study) = self.state.study.get() else { return String::new() };
        let layers = self.layers.get();
        let chosen = || study.layers.iter().filter(|of| layers.as_ref().is_none_or(|them| them.contains(&of.layer)));
        let n_vectors: u64 = chosen().flat_map(|layer| &layer.shards).map(|shard| shard.n_bytes).sum();
        let n_index: u64 = chosen().filter_map(|layer| layer.index.as_ref()).map(|index| index.n_bytes).sum();
        match (self.has_vectors.get(), n_index) {
            (true, 0) => format!("Vectors: {}.", bytes(n_vectors)),
            (true, _) => format!("Vectors: {}; index: {}.", bytes(n_vectors), bytes(n_index)),
            (false, 0) => "Without vectors an index must rank, and there is none: whence index makes it.".to_owned(),
            (false, _) => format!("Index: {}; it ranks with bounds instead of exact scores.", bytes(n_index)),
        }
    }
}

/// The form.
#[component]
pub fn PartForm(part: Part) -> impl IntoView {
    let state = State::here();
    let names = Memo::new(move |_| match state.study.get() {
        StudyStatus::Ready(study) => study.behaviors.iter().map(|behavior| behavior.name.clone()).collect(),
        _ => Vec::new(),
    });
    let layers = Memo::new(move |_| match state.study.get() {
        StudyStatus::Ready(study) => study.layers.iter().map(|layer| layer.layer).collect(),
        _ => Vec::new(),
    });
    view! {
        <section class="part" id="part" aria-labelledby="part-title">
            <h2 id="part-title">"What is handed out"</h2>
            <form class="stacked" on:submit=|event| event.prevent_default()>
                <Selection all=names chosen=part.behaviors id="behaviors" title="Behaviors" every="all, also those to come" />
                <Selection all=layers chosen=part.layers id="layers" title="Layers" every="all with vectors" />
                <fieldset>
                    <legend>"Contents"</legend>
                    <label class="choice">
                        <input
                            id="part-texts"
                            type="checkbox"
                            prop:checked=move || part.has_texts.get()
                            on:change=move |event| part.has_texts.set(event_target_checked(&event))
                        />
                        <span>"texts of pairs"</span>
                    </label>
                    <label class="choice">
                        <input
                            id="part-vectors"
                            type="checkbox"
                            prop:checked=move || part.has_vectors.get()
                            on:change=move |event| part.has_vectors.set(event_target_checked(&event))
                        />
                        <span>"pair vectors"</span>
                    </label>
                </fieldset>
                <p class="quiet" id="part-size">
                    {move || part.size()}
                </p>
                <p class="quiet">
                    "Without texts nobody reads what pairs say; test prompts of behaviors and words that describe whole groups stay."
                </p>
                <div role="status" id="part-fault">
                    {move || part.fault().map(|text| view! { <p class="problem">{text}</p> })}
                </div>
            </form>
        </section>
    }
}

/// All of some things, or those that are ticked.
#[component]
fn Selection<T: Clone + Ord + std::fmt::Display + Send + Sync + 'static>(
    all: Memo<Vec<T>>,
    chosen: RwSignal<Option<BTreeSet<T>>>,
    id: &'static str,
    title: &'static str,
    every: &'static str,
) -> impl IntoView {
    let choose_all = move |event| {
        let is_all = event_target_checked(&event);
        chosen.set((!is_all).then(|| all.get_untracked().into_iter().collect()));
    };
    let tick = move |of: T| {
        let (shown, name) = (of.clone(), of.to_string());
        let on_change = move |event| {
            let is_in = event_target_checked(&event);
            chosen.update(|chosen| {
                let Some(chosen) = chosen else { return };
                match is_in {
                    true => drop(chosen.insert(of.clone())),
                    false => drop(chosen.remove(&of)),
                }
            });
        };
        view! {
            <label class="choice">
                <input
                    type="checkbox"
                    name=id
                    value=name.clone()
                    prop:checked=move || chosen.with(|chosen| chosen.as_ref().is_some_and(|chosen| chosen.contains(&shown)))
                    on:change=on_change
                />
                <span>{name}</span>
            </label>
        }
    };
    let is_some = Memo::new(move |_| chosen.with(Option::is_some));
    view! {
        <fieldset>
            <legend>{title}</legend>
            <label class="choice">
                <input
                    id=format!("all-{id}")
                    type="checkbox"
                    prop:checked=move || !is_some.get()
                    on:change=choose_all
                />
                <span>{every}</span>
            </label>
            <Show when=move || is_some.get()>
                <div class="choices">{move || all.get().into_iter().map(tick).collect::<Vec<_>>()}</div>
            </Show>
        </fieldset>
    }
}
