//! Reading maps off the page's thread: the files of a map, verified, and its points put in cells; the source and the cluster of
//! every pair, which points are colored by.

pub mod calls;
mod reading;

use std::rc::Rc;

use wasm_bindgen_futures::spawn_local;
use web_sys::DedicatedWorkerGlobalScope;

use crate::ranker::calls::{Numbered, Post};
use crate::ranker::files::Files;
use crate::ranker::link::Link;
use crate::ranker::{on_message, post};
use calls::{Answer, Call, Note};

/// The name under which the page starts the worker that reads maps.
pub const MAPPER: &str = "whence mapper";

/// The page's side of it.
pub type MapLink = Link<Call, Answer, Note>;

/// Takes calls until the page goes away.
pub fn serve(scope: &DedicatedWorkerGlobalScope) {
    let files = Rc::new(Files::default());
    let takes_calls = scope.clone();
    on_message(scope, move |call: Numbered<Call>, _| {
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
    post(scope, &Post::<Answer, Note>::Ready, &[]);
}
