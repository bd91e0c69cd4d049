//! Reading maps off the page's thread: the files of a map, verified, and its points put in cells; the source and the cluster of
//! every pair, which points are colored by.

pub mod calls;
mod reading;

use std::rc::Rc;

use js_sys::Array;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::spawn_local;
use web_sys::{DedicatedWorkerGlobalScope, MessageEvent};
use whence_shared::json;

use crate::ranker::calls::{Numbered, Post};
use crate::ranker::files::Files;
use crate::ranker::link::Link;
use crate::ranker::post;
use calls::{Answer, Call, Note};

/// The name under which the page starts the worker that reads maps.
pub const MAPPER: &str = "whence mapper";

/// The page's side of it.
pub type MapLink = Link<Call, Answer, Note>;

/// Takes calls until the page goes away.
pub fn serve(scope: &DedicatedWorkerGlobalScope) {
    let files = Rc::new(Files::default());
    let takes_calls = scope.clone();
    let on_message = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| {
        let message = Array::from(&event.data());
        let json = message.get(0).as_string().unwrap_or_default();
        let call: Numbered<Call> = json::from_str(&json).expect("the page sends calls");
        let (files, scope) = (files.clone(), takes_calls.clone());
        spawn_local(async move {
            let tell = |note: Note| post(&scope, &Post::<Answer, Note>::Note(note), &[]);
            let (what, arrays) = match reading::answer(call.what, &files, &tell).await {
                Ok(answer) => answer,
                Err(reason) => (Answer::Failed(reason), Vec::new()),
            };
            post(&scope, &Post::<Answer, Note>::Answer(Numbered { number: call.number, what }), &arrays);
        });
    });
    scope.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
    on_message.forget();
    post(scope, &Post::<Answer, Note>::Ready, &[]);
}
