//! Starting workers. They run the page's own module, so that the app is downloaded and compiled once: whoever starts one
//! hands on the module that it was itself made of, and `worker.js` runs it.

use js_sys::{Array, Reflect};
use wasm_bindgen::prelude::*;
use web_sys::{ErrorEvent, Worker, WorkerOptions, WorkerType};

use crate::protocol::RankError;

/// What workers run first, relative to the document or to the script of the worker that starts another: it lies beside both.
const WORKER: &str = "./worker.js";

#[wasm_bindgen]
extern "C" {
    type ImportMeta;

    #[wasm_bindgen(method, getter)]
    fn url(this: &ImportMeta) -> JsValue;

    /// What the script that loaded this module knows of itself.
    #[wasm_bindgen(thread_local_v2, js_namespace = import, js_name = meta)]
    static THIS_SCRIPT: ImportMeta;
}

/// Starts a worker, whose name says what it does. It says that it is ready before it takes messages.
///
/// # Errors
///
/// When the browser does not start it. A worker that starts and then fails tells its `onerror`.
pub fn start(name: &str) -> Result<Worker, RankError> {
    let failed = |error: JsValue| RankError::Worker { reason: format!("{error:?}") };
    let options = WorkerOptions::new();
    options.set_type(WorkerType::Module);
    options.set_name(name);
    let worker = Worker::new_with_options(WORKER, &options).map_err(failed)?;
    let script = THIS_SCRIPT.with(ImportMeta::url);
    worker.post_message(&Array::of2(&script, &wasm_bindgen::module())).map_err(failed)?;
    Ok(worker)
}

/// Why a worker failed, as its `onerror` is told.
pub fn said(event: &ErrorEvent) -> String {
    // An error event of a script that did not load carries no message.
    let message = Reflect::get(event, &"message".into()).ok().and_then(|message| message.as_string());
    message.unwrap_or_else(|| format!("{WORKER} did not load"))
}
