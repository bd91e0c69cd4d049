//! The page's side of ranking: starts the worker, sends requests, hands replies on.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use js_sys::Array;
use wasm_bindgen::prelude::*;
use web_sys::{ErrorEvent, MessageEvent, Worker};
use whence_shared::json;

use crate::protocol::{Ask, RankError, Reply};
use crate::ranker::COORDINATOR;
use crate::workers;

/// A running worker. Dropping it stops the worker.
pub struct RankerClient {
    worker: Worker,
    ready: Cell<bool>,
    /// What to send once the worker takes asks: a ranking, and what was asked about it since.
    waiting: RefCell<Vec<Ask>>,
    _on_message: Closure<dyn Fn(MessageEvent)>,
    _on_error: Closure<dyn Fn(ErrorEvent)>,
}

impl RankerClient {
    /// Starts the worker. `on_reply` gets every reply and the message it came in; `on_stop` is told when the worker fails.
    ///
    /// # Errors
    ///
    /// When the browser refuses to start a worker.
    pub fn start(
        on_reply: impl Fn(Reply, &Array) + 'static,
        on_stop: impl Fn(RankError) + 'static,
    ) -> Result<Rc<Self>, RankError> {
        let worker = workers::start(COORDINATOR)?;
        Ok(Rc::new_cyclic(|client: &std::rc::Weak<Self>| {
            let client = client.clone();
            let on_message = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| {
                let message = Array::from(&event.data());
                let json = message.get(0).as_string().unwrap_or_default();
                let reply: Reply = json::from_str(&json).expect("the worker sends rank replies");
                if let (Reply::Ready, Some(client)) = (&reply, client.upgrade()) {
                    client.ready.set(true);
                    client.waiting.take().into_iter().for_each(|ask| client.ask(ask));
                }
                on_reply(reply, &message);
            });
            let on_error = Closure::<dyn Fn(ErrorEvent)>::new(move |event: ErrorEvent| {
                on_stop(RankError::Worker { reason: workers::said(&event) });
            });
            worker.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
            worker.set_onerror(Some(on_error.as_ref().unchecked_ref()));
            Self {
                worker,
                ready: Cell::new(false),
                waiting: RefCell::default(),
                _on_message: on_message,
                _on_error: on_error,
            }
        }))
    }

    /// Asks the worker. A ranking cancels the one before.
    pub fn ask(&self, ask: Ask) {
        if !self.ready.get() {
            let mut waiting = self.waiting.borrow_mut();
            if matches!(ask, Ask::Rank(_)) {
                waiting.clear();
            }
            return waiting.push(ask);
        }
        let json = serde_json::to_string(&ask).expect("asks serialise");
        self.worker.post_message(&Array::of1(&json.into())).expect("messages hold nothing but text");
    }
}

impl Drop for RankerClient {
    fn drop(&mut self) {
        self.worker.terminate();
    }
}
