//! What the page knows of the backend's jobs: the queue as it changes, and what follows when one ends well, namely that the
//! study is read again.
//!
//! Changes come as server-sent events while the Jobs page is looked at or a job is under way; a page that nobody sees listens
//! to nothing, because browsers open few connections to one server. When the backend goes away, what was known stays and is
//! asked for again until it is back.

use std::rc::Rc;
use std::sync::Arc;

use js_sys::{Function, Promise};
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{EventSource, MessageEvent};
use whence_shared::jobs::{JobState, JobView, NewJob};
use whence_shared::json;

use crate::address::Page;
use crate::api::{Api, Nothing, RequestError};
use crate::clock::now_unix_ms;
use crate::fetch::sleep;
use crate::state::State;

/// Pause before a backend that went away is asked again, in milliseconds; it doubles with every try in vain.
const FIRST_PAUSE_MS: f64 = 500.0;
/// Longest such pause, in milliseconds.
const MAX_PAUSE_MS: f64 = 8_000.0;

/// How news of jobs arrive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum News {
    /// Not at all: nobody looks.
    Off,
    /// They are asked for.
    Opening,
    /// As they happen.
    Live,
    /// The backend does not answer; what is known is of this moment, in milliseconds since 1970.
    Lost(f64),
}

/// All of the above; cheap to copy.
#[derive(Clone, Copy)]
pub struct Jobs {
    /// All jobs, the newest first; none until they were read.
    pub list: RwSignal<Option<Vec<Arc<JobView>>>>,
    /// How news arrive.
    pub news: RwSignal<News>,
    /// Why the backend does not tell of jobs, though it answers.
    pub refusal: RwSignal<Option<RequestError>>,
    api: Api,
    state: State,
    /// When the page was opened: what ended later is news.
    opened_unix_ms: f64,
    /// Which listening is on: an older one ends.
    turn: StoredValue<u32>,
    listening: StoredValue<Option<Rc<Listening>>, LocalStorage>,
}

impl Jobs {
    /// Nothing yet. Called once, by the root component.
    pub fn start(state: State, api: Api) -> Self {
        Self {
            list: RwSignal::new(None),
            news: RwSignal::new(News::Off),
            refusal: RwSignal::new(None),
            api,
            state,
            opened_unix_ms: now_unix_ms(),
            turn: StoredValue::new(0),
            listening: StoredValue::new_local(None),
        }
    }

    /// Listens where it is worth it. Called once, when the pages are loaded.
    pub fn follow(self) {
        let (jobs, state, api) = (self, self.state, self.api);
        let is_seen = RwSignal::new(!document().hidden());
        let on_change = window_event_listener_untyped("visibilitychange", move |_| is_seen.set(!document().hidden()));
        // Another study may take this one's place in the page.
        on_cleanup(move || {
            on_change.remove();
            jobs.stop();
        });
        let can_look = Memo::new(move |_| is_seen.get() && api.server.with(|server| server.can_run_jobs()));
        let has_open = Memo::new(move |_| jobs.n_in(JobState::is_open) > 0);
        let is_wanted = Memo::new(move |_| can_look.get() && (state.page.get() == Page::Jobs || has_open.get()));
        Effect::new(move || {
            // Is there anything under way that is worth listening to?
            if can_look.get() && !is_wanted.get_untracked() {
                spawn_local(jobs.look());
            }
        });
        Effect::new(move || match is_wanted.get() {
            true => jobs.listen(),
            false => jobs.stop(),
        });
    }

    /// Of this page.
    pub fn here() -> Self {
        expect_context()
    }

    /// A job. Tracked.
    pub fn get(self, id: u64) -> Option<Arc<JobView>> {
        self.list.with(|list| {
            let list = list.as_ref()?;
            place(list, id).ok().map(|at| list[at].clone())
        })
    }

    /// How many jobs are in a state. Tracked.
    pub fn n_in(self, is_meant: impl Fn(JobState) -> bool) -> usize {
        self.list.with(|list| list.iter().flatten().filter(|job| is_meant(job.state)).count())
    }

    /// Puts a job into the queue.
    ///
    /// # Errors
    ///
    /// When the backend does not take it.
    pub async fn queue(self, job: &NewJob) -> Result<JobView, RequestError> {
        self.told(self.api.post("jobs", job).await)
    }

    /// Cancels a job that waits or runs.
    ///
    /// # Errors
    ///
    /// When the backend does not.
    pub async fn cancel(self, id: u64) -> Result<JobView, RequestError> {
        self.told(self.api.post(&format!("jobs/{id}/cancel"), &Nothing {}).await)
    }

    /// Queues a job again that did not end well.
    ///
    /// # Errors
    ///
    /// When the backend does not.
    pub async fn retry(self, id: u64) -> Result<JobView, RequestError> {
        self.told(self.api.post(&format!("jobs/{id}/retry"), &Nothing {}).await)
    }

    fn told(self, answer: Result<JobView, RequestError>) -> Result<JobView, RequestError> {
        if let Ok(job) = &answer {
            self.take(job.clone());
        }
        answer
    }

    async fn look(self) {
        if let Ok(all) = self.api.get::<Vec<JobView>>("jobs").await {
            self.take_all(all);
        }
    }

    fn stop(self) {
        self.turn.update_value(|turn| *turn += 1);
        self.listening.set_value(None);
        self.news.set(News::Off);
    }

    fn listen(self) {
        self.turn.update_value(|turn| *turn += 1);
        let turn = self.turn.get_value();
        let is_on = move || self.turn.try_get_value() == Some(turn);
        self.news.set(News::Opening);
        spawn_local(async move {
            let mut pause_ms = FIRST_PAUSE_MS;
            while is_on() {
                // All at once first: events tell of one job after the other.
                match self.api.get::<Vec<JobView>>("jobs").await {
                    _ if !is_on() => return,
                    Ok(all) => {
                        self.take_all(all);
                        self.refusal.set(None);
                        let was_lost = matches!(self.news.get_untracked(), News::Lost(_));
                        if was_lost {
                            self.api.look_again().await;
                        }
                        pause_ms = FIRST_PAUSE_MS;
                        self.events().await;
                        self.lose(is_on());
                    }
                    Err(error) if error.is_unreachable() => self.lose(true),
                    Err(error) => {
                        // One that answers and runs no jobs any more: its place was taken by another.
                        self.refusal.set(Some(error));
                        self.api.look_again().await;
                        return;
                    }
                }
                sleep(pause_ms).await;
                pause_ms = (2.0 * pause_ms).min(MAX_PAUSE_MS);
            }
        });
    }

    /// What is known is of now, or of when the backend went away.
    fn lose(self, is_lost: bool) {
        if is_lost && !matches!(self.news.get_untracked(), News::Lost(_)) {
            self.news.set(News::Lost(now_unix_ms()));
        }
    }

    /// Takes events until they break off.
    async fn events(self) {
        let take = move |event: MessageEvent| {
            let job = event.data().as_string().and_then(|json| json::from_str::<JobView>(&json).ok());
            if let Some(job) = job {
                self.take(job);
            }
        };
        let Some((listening, end)) =
            Listening::start(&self.api.address("jobs/events"), move || self.news.set(News::Live), take)
        else {
            return;
        };
        self.listening.set_value(Some(Rc::new(listening)));
        // The promise is only ever kept.
        let _ = JsFuture::from(end).await;
        // There is none any more where another study took this one's place.
        let _ = self.listening.try_set_value(None);
    }

    fn take_all(self, mut all: Vec<JobView>) {
        all.sort_unstable_by_key(|job| std::cmp::Reverse(job.id));
        let mut has_result = false;
        self.list.update(|list| {
            let known = list.take().unwrap_or_default();
            let all: Vec<_> = all.into_iter().map(Arc::new).collect();
            for job in &all {
                let before = place(&known, job.id).ok().map(|at| known[at].state);
                has_result |= self.is_result(before, job);
            }
            *list = Some(all);
        });
        if has_result {
            spawn_local(self.state.read_again());
        }
    }

    fn take(self, job: JobView) {
        let before = untrack(|| self.get(job.id));
        if before.as_deref() == Some(&job) {
            return;
        }
        let has_result = self.is_result(before.map(|before| before.state), &job);
        self.list.update(|list| {
            let list = list.get_or_insert_default();
            match place(list, job.id) {
                Ok(at) => list[at] = Arc::new(job),
                Err(at) => list.insert(at, Arc::new(job)),
            }
        });
        if has_result {
            spawn_local(self.state.read_again());
        }
    }

    /// Whether a job has ended well since it was last heard of, or since the page was opened.
    fn is_result(self, before: Option<JobState>, job: &JobView) -> bool {
        let is_news = match before {
            Some(before) => before.is_open(),
            None => job.finished_unix_ms.is_some_and(|at| at as f64 > self.opened_unix_ms),
        };
        job.state == JobState::Done && is_news
    }
}

/// Where a job is in a list with the newest first, or where it belongs.
fn place(list: &[Arc<JobView>], id: u64) -> Result<usize, usize> {
    list.binary_search_by(|job| id.cmp(&job.id))
}

/// An open stream of events; it is closed with the value.
struct Listening {
    source: EventSource,
    ended: Function,
    _on_event: Closure<dyn Fn(MessageEvent)>,
    _on_open: Closure<dyn Fn()>,
}

impl Listening {
    /// Opens it. The promise is kept when it breaks off or is closed.
    fn start(
        address: &str,
        on_open: impl Fn() + 'static,
        on_event: impl Fn(MessageEvent) + 'static,
    ) -> Option<(Self, Promise)> {
        let source = EventSource::new(address).ok()?;
        let mut ended = None;
        let end = Promise::new(&mut |resolve, _| ended = Some(resolve));
        let ended = ended?;
        let on_event = Closure::<dyn Fn(MessageEvent)>::new(on_event);
        source.add_event_listener_with_callback("job", on_event.as_ref().unchecked_ref()).ok()?;
        let on_open = Closure::<dyn Fn()>::new(on_open);
        source.set_onopen(Some(on_open.as_ref().unchecked_ref()));
        // The browser would try again by itself, and not say when.
        source.set_onerror(Some(&ended));
        Some((Self { source, ended, _on_event: on_event, _on_open: on_open }, end))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.source.close();
        self.source.set_onopen(None);
        self.source.set_onerror(None);
        let _ = self.ended.call0(&JsValue::NULL);
    }
}
