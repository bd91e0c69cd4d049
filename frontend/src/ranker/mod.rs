//! Ranking, off the page's thread: one coordinator, and scorers that each own some of the rows.
//!
//! ```text
//! page ── protocol ──► coordinator: opens a query, decides what to read next, merges, reports
//!                        │  calls ──► scorers 1..N: read files of their rows, verify, score on arrival
//!                        └─ rows: reads chosen rows' own vectors, which decide what the index leaves open
//! ```
//!
//! Every file comes through [`files`]: from memory, the browser's store or the server, and is used only when its hash
//! is right. Scores, bounds and the selection are computed by `whence_shared`, the functions that the command line
//! uses, so the result is the same; here is only who reads what when.

pub mod calls;
pub mod coordinator;
pub mod files;
pub mod link;
pub mod opening;
pub mod rows;
pub mod scorer;
pub mod session;

use js_sys::{Array, Reflect};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::spawn_local;
use wasm_split_helpers::wasm_split;
use web_sys::{DedicatedWorkerGlobalScope, MessageEvent, Performance};
use whence_shared::json;

use crate::assigning::{self, ASSIGNER};
use crate::grouping::{self, GROUPER};
use crate::mapping::{self, MAPPER};
use crate::parts::NotLoaded;

/// The name under which the page starts the coordinator.
pub const COORDINATOR: &str = "whence ranker";
/// The name under which the coordinator starts scorers.
pub const SCORER: &str = "whence scorer";

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(thread_local_v2, js_name = performance)]
    static PERFORMANCE: Performance;
}

pub(crate) fn now_ms() -> f64 {
    PERFORMANCE.with(Performance::now)
}

/// Serves until the page goes away, as a scorer, as the worker that groups, the one that reads maps or the coordinator,
/// whichever the worker's name says.
pub fn serve(scope: &DedicatedWorkerGlobalScope) {
    match scope.name().as_str() {
        SCORER => scorer::serve(scope),
        GROUPER | MAPPER | ASSIGNER => {
            let scope = scope.clone();
            spawn_local(async move {
                // Whoever started this worker is told by its `onerror`.
                if let Err(error) = serve_later(scope).await {
                    wasm_bindgen::throw_str(&error.to_string());
                }
            });
        }
        _ => coordinator::serve(scope),
    }
}

/// Serves as a worker whose part of the app is loaded now.
#[wasm_split(grouping, fallible)]
fn serve_later(scope: DedicatedWorkerGlobalScope) -> Result<(), NotLoaded> {
    match scope.name().as_str() {
        MAPPER => mapping::serve(&scope),
        ASSIGNER => assigning::serve(&scope),
        _ => grouping::serve(&scope),
    }
    Ok(())
}

/// The worker that this runs in; nothing in the page.
pub fn worker_scope() -> Option<DedicatedWorkerGlobalScope> {
    js_sys::global().dyn_into().ok()
}

/// From now on hands `take` every message that comes: what its JSON says, and the message, in which arrays follow.
pub(crate) fn on_message<T: DeserializeOwned>(scope: &DedicatedWorkerGlobalScope, take: impl Fn(T, Array) + 'static) {
    let on_message = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| {
        let message = Array::from(&event.data());
        let json = message.get(0).as_string().unwrap_or_default();
        take(json::from_str(&json).expect("whoever started this worker sends what it takes"), message);
    });
    scope.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
    on_message.forget();
}

/// The message of some JSON and arrays, and the list of buffers to transfer with it.
pub(crate) fn message(head: &impl Serialize, arrays: &[JsValue]) -> (Array, Array) {
    let json = serde_json::to_string(head).expect("messages serialise");
    let (message, transfer) = (Array::of1(&json.into()), Array::new());
    for array in arrays {
        message.push(array);
        transfer.push(&Reflect::get(array, &"buffer".into()).unwrap_or_default());
    }
    (message, transfer)
}

pub(crate) fn post(scope: &DedicatedWorkerGlobalScope, head: &impl Serialize, arrays: &[JsValue]) {
    let (message, transfer) = message(head, arrays);
    scope.post_message_with_transfer(&message, &transfer).expect("messages hold nothing but plain data");
}
