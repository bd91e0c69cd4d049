//! The coordinator's side of one scorer: starts it, calls it, hands its notes on.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use js_sys::{Array, Function, Promise};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{ErrorEvent, MessageEvent, Worker, WorkerOptions, WorkerType};

use super::calls::{Answer, Call, Note, Numbered, Post};
use super::{SCORER, message};
use crate::protocol::RankError;

/// The workers' loader, relative to the coordinator's own script: it lies beside it.
const WORKER: &str = "./ranker_loader.js";

/// A running scorer. Dropping it stops the scorer.
pub struct Link {
    worker: Worker,
    shared: Rc<Shared>,
    next: Cell<u32>,
    _on_message: Closure<dyn Fn(MessageEvent)>,
    _on_error: Closure<dyn Fn(ErrorEvent)>,
}

#[derive(Default)]
struct Shared {
    /// What resolves the promise of each unanswered call.
    unanswered: RefCell<HashMap<u32, Function>>,
    /// Why it stopped, if it did.
    stopped: RefCell<Option<String>>,
}

/// The number under which the scorer's being ready is waited for.
const READY: u32 = 0;

impl Shared {
    fn promise(&self, number: u32) -> Promise {
        Promise::new(&mut |resolve, _| {
            self.unanswered.borrow_mut().insert(number, resolve);
        })
    }

    fn resolve(&self, number: u32, value: &JsValue) {
        let resolve = self.unanswered.borrow_mut().remove(&number);
        if let Some(resolve) = resolve {
            // Resolving a promise cannot fail.
            let _ = resolve.call1(&JsValue::NULL, value);
        }
    }

    fn stop(&self, reason: String) {
        self.stopped.replace(Some(reason));
        let unanswered = self.unanswered.take();
        for resolve in unanswered.values() {
            let _ = resolve.call1(&JsValue::NULL, &JsValue::NULL);
        }
    }
}

impl Link {
    /// Starts a scorer and waits until it takes calls. `on_note` gets every note and the message it came in.
    ///
    /// # Errors
    ///
    /// When the browser does not run it.
    pub async fn start(on_note: impl Fn(Note, &Array) + 'static) -> Result<Self, RankError> {
        let options = WorkerOptions::new();
        options.set_type(WorkerType::Module);
        options.set_name(SCORER);
        let worker = Worker::new_with_options(WORKER, &options)
            .map_err(|error| RankError::Worker { reason: format!("{error:?}") })?;
        let shared = Rc::new(Shared::default());
        let ready = shared.promise(READY);
        let on_message = Closure::<dyn Fn(MessageEvent)>::new({
            let shared = shared.clone();
            move |event: MessageEvent| {
                let message = Array::from(&event.data());
                let json = message.get(0).as_string().unwrap_or_default();
                match serde_json::from_str(&json).expect("a scorer posts answers and notes") {
                    Post::Answer(answer) => shared.resolve(answer.number, &message),
                    Post::Note(Note::Ready) => shared.resolve(READY, &message),
                    Post::Note(note) => on_note(note, &message),
                }
            }
        });
        let on_error = Closure::<dyn Fn(ErrorEvent)>::new({
            let shared = shared.clone();
            move |event: ErrorEvent| {
                // An error event of a script that did not load carries no message.
                let said = js_sys::Reflect::get(&event, &"message".into()).ok().and_then(|said| said.as_string());
                shared.stop(said.unwrap_or_else(|| format!("{WORKER} did not load")));
            }
        });
        worker.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        worker.set_onerror(Some(on_error.as_ref().unchecked_ref()));
        let link = Self { worker, shared, next: Cell::new(READY + 1), _on_message: on_message, _on_error: on_error };
        link.answer(ready).await?;
        Ok(link)
    }

    /// Calls the scorer; the answer comes with the message that holds its arrays.
    ///
    /// # Errors
    ///
    /// When the scorer has stopped.
    pub async fn call(&self, call: &Call, arrays: &[JsValue]) -> Result<(Answer, Array), RankError> {
        let message = self.answer(self.send(call, arrays)).await?;
        let json = message.get(0).as_string().unwrap_or_default();
        match serde_json::from_str(&json).expect("it was read before") {
            Post::Answer(answer) => Ok((answer.what, message)),
            Post::Note(_) => unreachable!("calls are resolved by answers"),
        }
    }

    /// Calls the scorer without waiting for the answer.
    pub fn tell(&self, call: &Call) {
        // Whether a stopped scorer hears it makes no difference.
        let _ = self.send(call, &[]);
    }

    fn send(&self, call: &Call, arrays: &[JsValue]) -> Promise {
        let number = self.next.replace(self.next.get() + 1);
        let (message, transfer) = message(&Numbered { number, what: call }, arrays);
        let promise = self.shared.promise(number);
        self.worker.post_message_with_transfer(&message, &transfer).expect("messages hold nothing but plain data");
        promise
    }

    async fn answer(&self, promise: Promise) -> Result<Array, RankError> {
        let stopped = || self.shared.stopped.borrow().clone().map(|reason| RankError::Worker { reason });
        if let Some(error) = stopped() {
            return Err(error);
        }
        // The promise is never rejected.
        let message = JsFuture::from(promise).await.unwrap_or_default();
        match stopped() {
            Some(error) => Err(error),
            None => Ok(message.unchecked_into()),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.worker.terminate();
    }
}
