//! The caller's side of one worker: starts it, calls it, hands its notes on. The coordinator calls scorers so, and the page the
//! worker that groups.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::marker::PhantomData;
use std::rc::Rc;

use js_sys::{Array, Function, Promise};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{ErrorEvent, MessageEvent, Worker};
use whence_shared::json;

use super::calls::{Answer, Call, Note, Numbered, Post};
use super::message;
use crate::protocol::RankError;
use crate::workers;

/// A running worker that is called with a `C`, answers with an `A` and notes an `N`: a scorer unless said otherwise. Dropping
/// it stops the worker.
pub struct Link<C = Call, A = Answer, N = Note> {
    worker: Worker,
    shared: Rc<Shared>,
    next: Cell<u32>,
    _on_message: Closure<dyn Fn(MessageEvent)>,
    _on_error: Closure<dyn Fn(ErrorEvent)>,
    _speaks: PhantomData<fn(C) -> (A, N)>,
}

#[derive(Default)]
struct Shared {
    /// What resolves the promise of each unanswered call.
    unanswered: RefCell<HashMap<u32, Function>>,
    /// Why it stopped, if it did.
    stopped: RefCell<Option<String>>,
}

/// The number under which the worker's being ready is waited for.
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

impl<C: Serialize, A: DeserializeOwned + 'static, N: DeserializeOwned + 'static> Link<C, A, N> {
    /// Starts a worker, whose name says what it does, and waits until it takes calls. `on_note` gets every note and the
    /// message it came in.
    ///
    /// # Errors
    ///
    /// When the browser does not run it.
    pub async fn start(name: &str, on_note: impl Fn(N, &Array) + 'static) -> Result<Self, RankError> {
        let worker = workers::start(name)?;
        let shared = Rc::new(Shared::default());
        let ready = shared.promise(READY);
        let on_message = Closure::<dyn Fn(MessageEvent)>::new({
            let shared = shared.clone();
            move |event: MessageEvent| {
                let message = Array::from(&event.data());
                let json = message.get(0).as_string().unwrap_or_default();
                match json::from_str::<Post<A, N>>(&json).expect("a worker posts answers and notes") {
                    Post::Answer(answer) => shared.resolve(answer.number, &message),
                    Post::Ready => shared.resolve(READY, &message),
                    Post::Note(note) => on_note(note, &message),
                }
            }
        });
        let on_error = Closure::<dyn Fn(ErrorEvent)>::new({
            let shared = shared.clone();
            move |event: ErrorEvent| shared.stop(workers::said(&event))
        });
        worker.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        worker.set_onerror(Some(on_error.as_ref().unchecked_ref()));
        let link = Self {
            worker,
            shared,
            next: Cell::new(READY + 1),
            _on_message: on_message,
            _on_error: on_error,
            _speaks: PhantomData,
        };
        link.answer(ready).await?;
        Ok(link)
    }

    /// Calls the worker; the answer comes with the message that holds its arrays.
    ///
    /// # Errors
    ///
    /// When the worker has stopped.
    pub async fn call(&self, call: &C, arrays: &[JsValue]) -> Result<(A, Array), RankError> {
        let message = self.answer(self.send(call, arrays)).await?;
        let json = message.get(0).as_string().unwrap_or_default();
        match json::from_str::<Post<A, N>>(&json).expect("it was read before") {
            Post::Answer(answer) => Ok((answer.what, message)),
            Post::Ready | Post::Note(_) => unreachable!("calls are resolved by answers"),
        }
    }

    /// Calls the worker without waiting for the answer.
    pub fn tell(&self, call: &C) {
        // Whether a stopped worker hears it makes no difference.
        let _ = self.send(call, &[]);
    }

    fn send(&self, call: &C, arrays: &[JsValue]) -> Promise {
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

impl<C, A, N> Drop for Link<C, A, N> {
    fn drop(&mut self) {
        self.worker.terminate();
    }
}
