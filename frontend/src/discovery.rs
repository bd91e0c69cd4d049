//! What the page knows of a discovery: groups of prompts and pairs, the matrix that they were made from, and how the reader
//! has them cut. What takes long is asked of the worker in [`crate::grouping`].

use std::rc::Rc;
use std::sync::Arc;

use js_sys::Array;
use leptos::prelude::*;
use leptos::task::spawn_local;
use thiserror::Error;
use wasm_bindgen::JsValue;
use whence_shared::discovery::cutting::{ClusterContrast, SideName};
use whence_shared::discovery::words::Words;
use whence_shared::discovery::{DiscoveryView, FORMAT, Groups, PromptEntry, Similarity, Text};

use crate::address::{Cuts, Page};
use crate::fetch::{FetchError, File, Transfer};
use crate::grouping::calls::{Answer, Asked, Call, Opening};
use crate::grouping::{GROUPER, GroupLink, arrays_of, matrices_of};
use crate::state::{State, StudyStatus, shared_layers};

/// Most pairs that are looked at in a browser: what follows takes the square of their number, in seconds.
pub const MAX_PAIRS: usize = 320;

/// Why a discovery cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DiscoveryError {
    /// A file did not arrive, or cannot be read.
    #[error("{0}")]
    Fetch(#[from] FetchError),
    /// It is of another version.
    #[error("{path}: expected format {FORMAT:?}, got {got:?}")]
    Format {
        /// The file.
        path: String,
        /// What it says.
        got: String,
    },
    /// A file does not belong to the groups.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// A discovery, whole.
#[derive(Debug, PartialEq)]
pub struct Found {
    /// What it is made of.
    pub view: DiscoveryView,
    /// Its groups as they were made.
    pub groups: Arc<Groups>,
    /// Cosines, row-major `[n_prompts, n_pairs]`.
    pub similarity: Similarity,
    /// Who made it.
    pub origin: Origin,
}

/// Where groups were made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Origin {
    /// By `whence discover`.
    Stored,
    /// Here, in so many milliseconds.
    Browser(f64),
}

impl Found {
    /// The cosine of a prompt's behavior vector with a pair vector.
    pub fn cosine(&self, prompt: usize, pair: usize) -> f32 {
        self.similarity.of_pairs[prompt * self.view.pairs.len() + pair]
    }
}

/// How far it is.
#[derive(Debug, Clone, PartialEq)]
pub enum DiscoveryStatus {
    /// On its way.
    Loading,
    /// The study has none.
    Absent,
    /// It is being made here.
    Making,
    /// Here.
    Ready(Arc<Found>),
    /// Not to be had.
    Failed(DiscoveryError),
}

/// The groups that are shown.
#[derive(Debug, Clone)]
pub struct Shown {
    /// How they are cut.
    pub cuts: Cuts,
    /// The groups.
    pub groups: Arc<Groups>,
    /// Where they were made.
    pub origin: Origin,
}

/// The chosen discovery; cheap to copy.
#[derive(Clone, Copy)]
pub struct Discovery {
    /// How far it is.
    pub status: RwSignal<DiscoveryStatus>,
    /// What is shown of it; none while there is none.
    pub shown: RwSignal<Option<Shown>>,
    /// Why it could not be cut or made as asked.
    pub problem: RwSignal<Option<String>>,
    /// Whether the worker is cutting.
    pub is_cutting: RwSignal<bool>,
    /// The cut to be made next.
    next: StoredValue<Option<(Arc<Found>, Cuts)>>,
    /// The worker, and the discovery it has at hand.
    link: StoredValue<Option<Rc<GroupLink>>, LocalStorage>,
    at_hand: StoredValue<Option<Arc<Found>>>,
    state: State,
}

impl Discovery {
    /// Nothing yet. Called once, by the root component.
    pub fn start(state: State) -> Self {
        Self {
            status: RwSignal::new(DiscoveryStatus::Loading),
            shown: RwSignal::new(None),
            problem: RwSignal::new(None),
            is_cutting: RwSignal::new(false),
            next: StoredValue::new(None),
            link: StoredValue::new_local(None),
            at_hand: StoredValue::new(None),
            state,
        }
    }

    /// Fetches what is chosen whenever the page is shown. Called once, when the pages are loaded.
    pub fn follow(self) {
        let state = self.state;
        let chosen = Memo::new(move |_| match (state.page.get(), state.study.get()) {
            (Page::Discover, StudyStatus::Ready(study)) => {
                Some(state.groups.get().or(study.discoveries.first().cloned()))
            }
            _ => None,
        });
        Effect::new(move || match chosen.get() {
            None => {}
            // What was made here stays while other pages are read.
            Some(None) => self.status.update(|status| {
                if !matches!(status, DiscoveryStatus::Ready(_) | DiscoveryStatus::Making) {
                    *status = DiscoveryStatus::Absent;
                }
            }),
            Some(Some(name)) => self.fetch(name),
        });
        Effect::new(move |before: Option<usize>| {
            let n_readings = state.n_readings.get();
            if before.is_some_and(|before| before != n_readings) {
                self.forget(chosen.get_untracked().flatten());
            }
            n_readings
        });
        Effect::new(move || match self.status.get() {
            DiscoveryStatus::Ready(found) => self.cut(found, state.cuts.get()),
            _ => self.shown.set(None),
        });
    }

    /// Of this page.
    pub fn here() -> Self {
        expect_context()
    }

    /// The name of what is shown or was asked for.
    pub fn name(self) -> Option<String> {
        match self.state.study.get() {
            StudyStatus::Ready(study) => self.state.groups.get().or(study.discoveries.first().cloned()),
            _ => None,
        }
    }

    /// The groups that are shown; as they were made until a cut has arrived. Tracked.
    pub fn groups(self, found: &Arc<Found>) -> Arc<Groups> {
        self.shown.with(|shown| shown.as_ref().map_or_else(|| found.groups.clone(), |shown| shown.groups.clone()))
    }

    /// The name that a model made up for a group, and the model: of the groups as they were stored. Tracked.
    pub fn made_up_name(self, found: &Found, side: SideName, label: usize) -> Option<(String, String)> {
        let is_cut = self.shown.with(|shown| shown.as_ref().is_some_and(|shown| shown.cuts.of(side).is_some()));
        let names = found.view.names.as_ref().filter(|_| !is_cut)?;
        let of_side = match side {
            SideName::Prompts => &names.prompts,
            SideName::Pairs => &names.pairs,
        };
        Some((of_side.get(label)?.clone(), names.model.clone()))
    }

    /// Fetches a discovery unless it is shown already.
    pub fn fetch(self, name: String) {
        let is_shown = self
            .status
            .with_untracked(|status| matches!(status, DiscoveryStatus::Ready(found) if found.view.name == name));
        if is_shown {
            return;
        }
        self.status.set(DiscoveryStatus::Loading);
        spawn_local(async move {
            let found = self.read(&name).await;
            // Another may have been chosen meanwhile.
            if self.state.groups.get_untracked().is_some_and(|chosen| chosen != name) {
                return;
            }
            self.status.set(match found {
                Ok(found) => DiscoveryStatus::Ready(Arc::new(found)),
                Err(error) => DiscoveryStatus::Failed(error),
            });
        });
    }

    /// What is stored may have been made anew; what was made here stays. `shown` is what the page shows now, if it does.
    fn forget(self, shown: Option<String>) {
        let is_stored = self.status.with_untracked(|status| match status {
            DiscoveryStatus::Ready(found) => found.origin == Origin::Stored,
            DiscoveryStatus::Loading | DiscoveryStatus::Making => false,
            DiscoveryStatus::Absent | DiscoveryStatus::Failed(_) => true,
        });
        if is_stored {
            self.status.set(DiscoveryStatus::Loading);
            match (shown, self.state.page.get_untracked()) {
                (Some(name), _) => self.fetch(name),
                (None, Page::Discover) => self.status.set(DiscoveryStatus::Absent),
                (None, _) => {}
            }
        }
    }

    /// A discovery without its matrix: the one that is shown, or else as it is stored.
    ///
    /// # Errors
    ///
    /// When it does not arrive or is of another version.
    pub async fn groups_of(self, name: &str) -> Result<DiscoveryView, DiscoveryError> {
        let shown = self.status.with_untracked(|status| match status {
            DiscoveryStatus::Ready(found) if found.view.name == name => Some(found.view.clone()),
            _ => None,
        });
        match shown {
            Some(view) => Ok(view),
            None => self.view(name).await,
        }
    }

    async fn view(self, name: &str) -> Result<DiscoveryView, DiscoveryError> {
        let path = format!("clusters/{name}/discovery.json");
        let view = File::new(&self.state.data_folder(), &path).json::<DiscoveryView>().await?;
        match view.format == FORMAT {
            true => Ok(view),
            false => Err(DiscoveryError::Format { path, got: view.format }),
        }
    }

    async fn read(self, name: &str) -> Result<Found, DiscoveryError> {
        let folder = self.state.data_folder();
        let view = self.view(name).await?;
        let path = format!("clusters/{name}/similarity.safetensors");
        let bytes = File::new(&folder, &path).bytes(&Transfer::default()).await?.to_vec();
        let similarity = Similarity::read(&bytes, view.prompts.len(), view.pairs.len())
            .map_err(|error| DiscoveryError::File { path, reason: error.to_string() })?;
        Ok(Found { groups: Arc::new(view.groups.clone()), view, similarity, origin: Origin::Stored })
    }

    fn cut(self, found: Arc<Found>, cuts: Cuts) {
        self.problem.set(None);
        if cuts == Cuts::default() {
            self.next.set_value(None);
            self.shown.set(Some(Shown { cuts, groups: found.groups.clone(), origin: found.origin }));
            return;
        }
        // While one cut is made, others may be asked for: the last one is made next.
        self.next.set_value(Some((found, cuts)));
        if self.is_cutting.get_untracked() {
            return;
        }
        self.is_cutting.set(true);
        spawn_local(async move {
            while let Some((found, cuts)) = self.next.try_update_value(Option::take).flatten() {
                let answer = self.ask(&found, &Call::Cut(cuts)).await;
                if cuts != self.state.cuts.get_untracked() {
                    continue;
                }
                match answer {
                    Ok(Answer::Groups(groups, ms)) => {
                        let (groups, origin) = (Arc::new(*groups), Origin::Browser(ms));
                        self.shown.set(Some(Shown { cuts, groups, origin }));
                    }
                    Ok(_) => {}
                    Err(reason) => self.problem.set(Some(reason)),
                }
            }
            self.is_cutting.set(false);
        });
    }

    /// What tells two clusters of what is shown apart.
    ///
    /// # Errors
    ///
    /// In words, when the worker did not answer.
    pub async fn contrast(
        self,
        found: &Arc<Found>,
        side: SideName,
        a: usize,
        b: usize,
    ) -> Result<ClusterContrast, String> {
        let cuts = self.shown.with_untracked(|shown| shown.as_ref().map(|shown| shown.cuts)).unwrap_or_default();
        match self.ask(found, &Call::Contrast { cuts, side, a, b }).await? {
            Answer::Contrast(contrast) => Ok(*contrast),
            _ => Err("the worker gave no contrast".to_owned()),
        }
    }

    /// What can be grouped here when nothing is stored: a behavior with vectors at a layer that the pairs have. Tracked.
    pub fn can_make(self) -> Option<Asked> {
        let StudyStatus::Ready(study) = self.state.study.get() else { return None };
        if study.texts_withheld {
            return None;
        }
        let chosen = self.state.wanted.get().map(|wanted| wanted.layer);
        let behavior = study.behaviors.iter().max_by_key(|behavior| behavior.n_pairs)?;
        let mut layers = shared_layers(&study, behavior);
        layers.retain(|layer| !layer.vectors_withheld);
        let layer = layers.iter().find(|layer| Some(layer.layer) == chosen).or(layers.last())?;
        Some(Asked {
            data: self.state.data_folder(),
            behavior: behavior.name.clone(),
            n_prompts: behavior.n_pairs,
            layer: (*layer).clone(),
            n_pairs: MAX_PAIRS.min(study.n_pairs),
        })
    }

    /// Makes a discovery here.
    pub fn make(self, asked: Asked) {
        self.problem.set(None);
        self.status.set(DiscoveryStatus::Making);
        spawn_local(async move {
            match self.made(asked).await {
                Ok(found) => {
                    self.at_hand.set_value(Some(found.clone()));
                    self.status.set(DiscoveryStatus::Ready(found));
                }
                Err(reason) => {
                    self.status.set(DiscoveryStatus::Absent);
                    self.problem.set(Some(reason));
                }
            }
        });
    }

    async fn made(self, asked: Asked) -> Result<Arc<Found>, String> {
        let link = self.link().await?;
        let (answer, message) =
            link.call(&Call::Discover(Box::new(asked)), &[]).await.map_err(|error| error.to_string())?;
        match answer {
            Answer::Discovered(view, ms) => {
                let similarity = matrices_of(&message);
                let groups = Arc::new(view.groups.clone());
                Ok(Arc::new(Found { view: *view, groups, similarity, origin: Origin::Browser(ms) }))
            }
            Answer::Failed(reason) => Err(reason),
            _ => Err("the worker made no groups".to_owned()),
        }
    }

    /// Calls the worker about a discovery, which it is given first unless it has it at hand.
    async fn ask(self, found: &Arc<Found>, call: &Call) -> Result<Answer, String> {
        let link = self.link().await?;
        let has_it = self.at_hand.with_value(|at_hand| at_hand.as_ref().is_some_and(|it| Arc::ptr_eq(it, found)));
        if !has_it {
            let opening = self.opening(found).await.map_err(|error| error.to_string())?;
            answered(&link, &Call::Open(Box::new(opening)), &arrays_of(&found.similarity)).await?;
            self.at_hand.set_value(Some(found.clone()));
        }
        answered(&link, call, &[]).await
    }

    async fn link(self) -> Result<Rc<GroupLink>, String> {
        if let Some(link) = self.link.get_value() {
            return Ok(link);
        }
        let link = GroupLink::start(GROUPER, |(), _: &Array| {}).await.map_err(|error| error.to_string())?;
        let link = Rc::new(link);
        self.link.set_value(Some(link.clone()));
        self.at_hand.set_value(None);
        Ok(link)
    }

    async fn opening<'a>(self, found: &'a Found) -> Result<Opening, DiscoveryError> {
        let view = &found.view;
        let words = match view.has_words {
            true => {
                let path = format!("clusters/{}/words.json", view.name);
                let words = File::new(&self.state.data_folder(), &path).json::<Words>().await?;
                if let Some(reason) = words.fault(view.prompts.len(), view.pairs.len()) {
                    return Err(DiscoveryError::File { path, reason });
                }
                words
            }
            false => {
                // Made before words were stored: those of prompts can be counted, those of pairs are not here.
                let text = |entry: &'a PromptEntry| Text { prompt: &entry.prompt, ..Text::default() };
                Words::of(&view.prompts.iter().map(text).collect::<Vec<_>>(), &[])
            }
        };
        let sources = view.pairs.iter().map(|pair| pair.source.clone()).collect();
        Ok(Opening { groups: view.groups.clone(), words, sources, settings: view.settings })
    }
}

async fn answered(link: &GroupLink, call: &Call, arrays: &[JsValue]) -> Result<Answer, String> {
    match link.call(call, arrays).await {
        Ok((Answer::Failed(reason), _)) => Err(reason),
        Ok((answer, _)) => Ok(answer),
        Err(error) => Err(error.to_string()),
    }
}
