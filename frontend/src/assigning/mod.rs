//! Grouping all pairs of a study by their nearest centres, off the page's thread: the worker that reads maps deals the rows to
//! workers of its own ([`rounds`]), and each of them assigns its rows, round after round, here.
//!
//! Rows are the first block of a layer's index, at unit length. Everything is computed by
//! `whence_shared::cluster::kmeans_parts`.

pub mod calls;
pub mod rounds;

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;

use js_sys::{Array, Float32Array, Float64Array, Uint32Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::spawn_local;
use web_sys::DedicatedWorkerGlobalScope;
use whence_shared::cluster::kmeans_parts::{Part, push_rows};
use whence_shared::index::block::Block;

use crate::fetch::Transfer;
use crate::ranker::calls::{Numbered, Post};
use crate::ranker::files::Files;
use crate::ranker::{on_message, post};
use calls::{Answer, Call, FileRead, Reading};

/// The name under which workers that assign rows are started.
pub const ASSIGNER: &str = "whence assigner";

/// Most bytes of index blocks that wait to be written to the browser's store.
const MAX_WAITING_BYTES: u64 = 8 << 20;

/// What is posted.
type Posted = Post<Answer, FileRead>;
/// An answer and the arrays that follow it.
type Answered = (Answer, Vec<JsValue>);

/// Takes calls until whoever started it goes away.
pub fn serve(scope: &DedicatedWorkerGlobalScope) {
    let assigner = Rc::new(Assigner { scope: scope.clone(), files: Rc::default(), part: RefCell::default() });
    on_message(scope, move |call: Numbered<Call>, message| {
        let assigner = assigner.clone();
        spawn_local(async move {
            let answer = assigner.answer(call.what, &message).await;
            let (what, arrays) = answer.unwrap_or_else(|reason| (Answer::Failed(reason), Vec::new()));
            post(&assigner.scope, &Posted::Answer(Numbered { number: call.number, what }), &arrays);
        });
    });
    post(scope, &Posted::Ready, &[]);
}

struct Assigner {
    scope: DedicatedWorkerGlobalScope,
    files: Rc<Files>,
    part: RefCell<Option<Part>>,
}

impl Assigner {
    async fn answer(&self, call: Call, message: &Array) -> Result<Answered, String> {
        match call {
            Call::Read(reading) => {
                let part = self.read(&reading).await?;
                self.part.replace(Some(part));
                Ok((Answer::Read, Vec::new()))
            }
            Call::Sample { n, seed } => self.with(|part| {
                let sample = part.sample(n, seed);
                (Answer::Sample, vec![Float32Array::from(sample.as_slice()).into()])
            }),
            Call::Round => self.with(|part| {
                let centres = message.get(1).unchecked_into::<Float32Array>().to_vec();
                let round = part.round(&centres);
                let (sums, counts) = (round.sums.sums(), round.sums.counts());
                let counts: Vec<f64> = counts.iter().map(|&count| count as f64).collect();
                let arrays = [sums, counts.as_slice()].map(|values| Float64Array::from(values).into());
                (Answer::Round { n_changed: round.n_changed }, arrays.into())
            }),
            Call::Labels { k } => self.with(|part| {
                let labels = Uint32Array::from(part.labels()).into();
                (Answer::Labels { exemplars: part.exemplars(k) }, vec![labels])
            }),
        }
    }

    fn with(&self, job: impl FnOnce(&mut Part) -> Answered) -> Result<Answered, String> {
        Ok(job(self.part.borrow_mut().as_mut().ok_or("no rows were read")?))
    }

    async fn read(&self, reading: &Reading) -> Result<Part, String> {
        let Reading { data, width, files } = reading;
        self.files.prepare(Some(MAX_WAITING_BYTES), 0, &HashSet::new()).await;
        let mut rows = Vec::with_capacity(files.iter().map(|(_, _, n_rows)| n_rows * width).sum());
        for (file, first_row, n_rows) in files {
            let arrived = self.files.get(data, file, &Transfer::default()).await.map_err(|error| error.to_string())?;
            let bytes = arrived.bytes.to_vec();
            let block = Block::parse(&bytes).map_err(|error| format!("{}: {error}", file.path))?;
            if (block.header.first_row, block.n_rows, block.width) != (*first_row, *n_rows, *width) {
                let path = &file.path;
                return Err(format!("{path}: it holds other rows than the manifest says; run whence index again"));
            }
            push_rows(&mut rows, &block);
            post(&self.scope, &Posted::Note(FileRead), &[]);
        }
        Part::new(rows, *width).map_err(|error| error.to_string())
    }
}
