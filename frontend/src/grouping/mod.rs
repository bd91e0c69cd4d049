//! Grouping off the page's thread: cuts the hierarchies of a discovery where the reader wants them, contrasts clusters, and
//! makes a discovery where none is stored.
//!
//! Everything is computed by `whence_shared::discovery`, the functions that `whence discover` uses, so that a cut shows here
//! what it would have shown there.

pub mod calls;
mod making;
mod timing;

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::{Array, Float32Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::spawn_local;
use web_sys::DedicatedWorkerGlobalScope;
use whence_shared::discovery::cutting::{ClusterContrast, SideName, Sides};
use whence_shared::discovery::{Cut, Groups, Similarity};

use crate::address::Cuts;
use crate::ranker::calls::{Numbered, Post};
use crate::ranker::link::Link;
use crate::ranker::{now_ms, on_message, post};
use calls::{Answer, Call, Opening};

/// The name under which the page starts the worker that groups.
pub const GROUPER: &str = "whence grouper";

/// The page's side of it.
pub type GroupLink = Link<Call, Answer, ()>;

/// Takes calls until the page goes away.
pub fn serve(scope: &DedicatedWorkerGlobalScope) {
    let grouper = Rc::new(Grouper { scope: scope.clone(), at_hand: RefCell::default() });
    on_message(scope, move |call: Numbered<Call>, message| {
        let grouper = grouper.clone();
        spawn_local(async move {
            let (answer, matrices) = grouper.answer(call.what, &message).await;
            let arrays = matrices.map_or_else(Vec::new, |matrices| arrays_of(&matrices).into());
            let answer = Post::<Answer, ()>::Answer(Numbered { number: call.number, what: answer });
            post(&grouper.scope, &answer, &arrays);
        });
    });
    post(scope, &Post::<Answer, ()>::Ready, &[]);
}

/// The matrices of a discovery as they follow a message.
pub fn arrays_of(matrices: &Similarity) -> [JsValue; 3] {
    [&matrices.of_pairs, &matrices.of_prompts, &matrices.lengths]
        .map(|values| Float32Array::from(values.as_slice()).into())
}

/// The matrices that follow a message.
pub fn matrices_of(message: &Array) -> Similarity {
    let [of_pairs, of_prompts, lengths] = [1, 2, 3].map(|i| message.get(i).unchecked_into::<Float32Array>().to_vec());
    Similarity { of_pairs, of_prompts, lengths }
}

struct Grouper {
    scope: DedicatedWorkerGlobalScope,
    at_hand: RefCell<Option<AtHand>>,
}

/// A discovery, ready to be cut.
struct AtHand {
    sides: Sides,
    stored: Groups,
    /// The last cut.
    last: Option<(Cuts, Groups)>,
}

impl Grouper {
    async fn answer(&self, call: Call, message: &Array) -> (Answer, Option<Similarity>) {
        let start_ms = now_ms();
        let answer = match call {
            Call::Open(opening) => AtHand::open(*opening, matrices_of(message)).map(|at_hand| {
                self.at_hand.replace(Some(at_hand));
                Answer::Done
            }),
            Call::Cut(cuts) => self.with(|at_hand| {
                let groups = at_hand.cut(cuts)?;
                Ok(Answer::Groups(Box::new(groups.clone()), now_ms() - start_ms))
            }),
            Call::Contrast { cuts, side, a, b } => {
                self.with(|at_hand| at_hand.contrast(cuts, side, a, b).map(|found| Answer::Contrast(Box::new(found))))
            }
            Call::Time(timed) => timing::time(&timed).await.map(|(times_ms, result)| Answer::Timed(times_ms, result)),
            Call::Discover(asked) => match making::discover(&asked).await {
                Ok(made) => {
                    let (matrices, ms) = (made.similarity.clone(), made.ms);
                    let view = Box::new(made.view.clone());
                    return match AtHand::open(made.opening(), matrices.clone()) {
                        Ok(at_hand) => {
                            self.at_hand.replace(Some(at_hand));
                            (Answer::Discovered(view, ms), Some(matrices))
                        }
                        Err(reason) => (Answer::Failed(reason), None),
                    };
                }
                Err(reason) => Err(reason),
            },
        };
        (answer.unwrap_or_else(Answer::Failed), None)
    }

    fn with(&self, job: impl FnOnce(&mut AtHand) -> Result<Answer, String>) -> Result<Answer, String> {
        let mut at_hand = self.at_hand.borrow_mut();
        job(at_hand.as_mut().ok_or("no discovery was opened")?)
    }
}

impl AtHand {
    fn open(opening: Opening, matrices: Similarity) -> Result<Self, String> {
        let Opening { groups, words, sources, settings } = opening;
        let sides = Sides::of(matrices, &groups, words, sources, settings).map_err(|error| error.to_string())?;
        Ok(Self { sides, stored: groups, last: None })
    }

    fn cut(&mut self, cuts: Cuts) -> Result<&Groups, String> {
        if self.last.as_ref().is_none_or(|(last, _)| *last != cuts) {
            let before = self.last.take();
            // The side that stays where it was need not be cut again.
            let kept = |side: SideName| match (&before, cuts.of(side)) {
                (_, None) => Some(&self.stored),
                (Some((last, groups)), cut) if last.of(side) == cut => Some(groups),
                _ => None,
            };
            let prompts = match (kept(SideName::Prompts), cuts.prompts) {
                (None, Some(k)) => self.sides.cut_prompts(Cut::Into(k)).map_err(|error| error.to_string())?,
                (groups, _) => groups.unwrap_or(&self.stored).prompts.clone(),
            };
            let pairs = match (kept(SideName::Pairs), cuts.pairs) {
                (None, Some(k)) => self.sides.cut_pairs(Cut::Into(k)).map_err(|error| error.to_string())?,
                (groups, _) => groups.unwrap_or(&self.stored).pairs.clone(),
            };
            self.last = Some((cuts, self.sides.groups(prompts, pairs)));
        }
        Ok(&self.last.as_ref().expect("it was just made").1)
    }

    fn contrast(&mut self, cuts: Cuts, side: SideName, a: usize, b: usize) -> Result<ClusterContrast, String> {
        let groups = self.cut(cuts)?.clone();
        let grouping = match side {
            SideName::Prompts => &groups.prompts,
            SideName::Pairs => &groups.pairs,
        };
        let n = grouping.clusters.len();
        match a < n && b < n {
            true => Ok(self.sides.contrast(side, grouping, a, b)),
            false => Err(format!("expected two of {n} groups, got {} and {}", a + 1, b + 1)),
        }
    }
}
