//! Dealing the rows to workers, and the rounds: every worker assigns its rows, their sums make the next centres.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;

use futures_util::future::{Either, join_all, select, try_join_all};
use js_sys::{Array, Float32Array, Float64Array, Uint32Array};
use wasm_bindgen::prelude::*;
use whence_shared::cluster::kmeans::Sums;
use whence_shared::cluster::kmeans_parts::{N_PARTS, Round, Rounds, n_sampled, part_of, places};
use whence_shared::index::manifest::BlockView;

use super::ASSIGNER;
use super::calls::{Answer, Call, FileRead, Reading};
use crate::fetch::sleep;
use crate::mapping::calls::{GroupingFacts, Note};
use crate::ranker::calls::FileRef;
use crate::ranker::link::Link;
use crate::ranker::now_ms;

/// Decides the sample that the first centres come from.
const SEED: u64 = 1;
/// Pause between two words on how far reading is, in milliseconds.
const TELLING_MS: f64 = 50.0;

type Assigner = Link<Call, Answer, FileRead>;

/// Groups all pairs by the first block of an index.
///
/// # Errors
///
/// In words: files that do not arrive or fit, or more groups than pairs.
pub async fn group(
    data: &str,
    block: &BlockView,
    k: usize,
    tell: &impl Fn(Note),
) -> Result<(GroupingFacts, Vec<u32>), String> {
    let parts = deal(block);
    let n_rows: Vec<usize> = parts.iter().map(|files| files.iter().map(|(_, _, n)| n).sum()).collect();
    let n_all: usize = n_rows.iter().sum();
    let workers = read(data, block, parts, tell).await?;
    let start_ms = now_ms();
    tell(Note::Round(1));
    let samples = try_join_all((SEED..).zip(workers.iter().zip(&n_rows)).map(|(seed, (worker, &n))| {
        let call = Call::Sample { n: n_sampled(n, n_all, k), seed };
        async move { Ok::<_, String>(floats(&ask(worker, &call, &[]).await?.1, 1)) }
    }));
    let rounds = Rounds::begin(&samples.await?.concat(), block.width, k, SEED, n_all);
    let mut rounds = rounds.map_err(|error| error.to_string())?;
    while !rounds.are_over() {
        tell(Note::Round(rounds.n_rounds() + 1));
        rounds.take(&round(&workers, rounds.centres(), k, block.width).await?);
    }
    let ms = now_ms() - start_ms;
    let (labels, exemplars) = labels(&workers, &n_rows, k).await?;
    let order = rounds.by_size();
    let places = places(&order);
    let facts = GroupingFacts {
        width: block.width,
        counts: order.iter().map(|&cluster| rounds.counts()[cluster as usize]).collect(),
        exemplars: order.iter().map(|&cluster| exemplars[cluster as usize]).collect(),
        n_rounds: rounds.n_rounds(),
        has_settled: rounds.has_settled(),
        ms,
    };
    Ok((facts, labels.into_iter().map(|label| places[label as usize]).collect()))
}

/// Files of about as many rows for each worker, one after the other.
fn deal(block: &BlockView) -> Vec<Vec<(FileRef, usize, usize)>> {
    let n_rows: usize = block.files.iter().map(|file| file.n_rows).sum();
    let mut parts = vec![Vec::new(); N_PARTS];
    for file in &block.files {
        let part = part_of(file.first_row, file.n_rows, n_rows);
        parts[part].push((file.into(), file.first_row, file.n_rows));
    }
    parts
}

/// Starts the workers and has each read its files.
async fn read(
    data: &str,
    block: &BlockView,
    parts: Vec<Vec<(FileRef, usize, usize)>>,
    tell: &impl Fn(Note),
) -> Result<Vec<Assigner>, String> {
    let n_files = block.files.len();
    let n_read = Rc::new(Cell::new(0));
    tell(Note::Read(0, n_files));
    let start = parts.iter().map(|_| {
        let n_read = n_read.clone();
        Assigner::start(ASSIGNER, move |FileRead, _: &Array| n_read.set(n_read.get() + 1))
    });
    let workers = try_join_all(start).await.map_err(|error| error.to_string())?;
    let reading = workers.iter().zip(parts).map(|(worker, files)| async move {
        let reading = Reading { data: data.to_owned(), width: block.width, files };
        ask(worker, &Call::Read(Box::new(reading)), &[]).await
    });
    let reading = try_join_all(reading);
    telling(reading, || n_read.get(), |n_read| tell(Note::Read(n_read, n_files))).await?;
    Ok(workers)
}

/// Waits for `work` and tells every now and then how much of it is done, when it is more than before.
async fn telling<T>(work: impl Future<Output = T>, n_done: impl Fn() -> usize, tell: impl Fn(usize)) -> T {
    let (mut work, mut told) = (pin!(work), 0);
    loop {
        match select(work.as_mut(), pin!(sleep(TELLING_MS))).await {
            Either::Left((done, _)) => return done,
            Either::Right(_) => {}
        }
        if n_done() != told {
            told = n_done();
            tell(told);
        }
    }
}

/// One round of all workers, merged in their order.
async fn round(workers: &[Assigner], centres: &[f32], k: usize, width: usize) -> Result<Round, String> {
    let asked = workers.iter().map(|worker| {
        let centres: JsValue = Float32Array::from(centres).into();
        async move { ask(worker, &Call::Round, &[centres]).await }
    });
    let mut all = Round::of_none(k, width);
    for answered in join_all(asked).await {
        let (answer, message) = answered?;
        let Answer::Round { n_changed } = answer else { return Err("a worker gave no sums".to_owned()) };
        let [of_part, counts] = [1, 2].map(|at| message.get(at).unchecked_into::<Float64Array>().to_vec());
        let sums = Sums::from_parts(width, of_part, counts.into_iter().map(|count| count as u64).collect());
        all.merge(&Round { sums, n_changed });
    }
    Ok(all)
}

/// The cluster of every row, and by cluster the row nearest to its centre.
async fn labels(workers: &[Assigner], n_rows: &[usize], k: usize) -> Result<(Vec<u32>, Vec<Option<u32>>), String> {
    let asked = workers.iter().map(|worker| async move { ask(worker, &Call::Labels { k }, &[]).await });
    let (mut labels, mut best) = (Vec::new(), vec![None::<(u32, f32)>; k]);
    for (answered, &n) in join_all(asked).await.into_iter().zip(n_rows) {
        let (answer, message) = answered?;
        let Answer::Labels { exemplars } = answer else { return Err("a worker gave no labels".to_owned()) };
        let first_row = labels.len() as u32;
        labels.extend(message.get(1).unchecked_into::<Uint32Array>().to_vec());
        if labels.len() != first_row as usize + n {
            return Err("a worker gave labels of other rows".to_owned());
        }
        for (best, exemplar) in best.iter_mut().zip(exemplars) {
            if let Some((row, cosine)) = exemplar
                && best.is_none_or(|(_, largest)| cosine > largest)
            {
                *best = Some((first_row + row, cosine));
            }
        }
    }
    Ok((labels, best.into_iter().map(|best| best.map(|(row, _)| row)).collect()))
}

fn floats(message: &Array, at: u32) -> Vec<f32> {
    message.get(at).unchecked_into::<Float32Array>().to_vec()
}

async fn ask(worker: &Assigner, call: &Call, arrays: &[JsValue]) -> Result<(Answer, Array), String> {
    match worker.call(call, arrays).await {
        Ok((Answer::Failed(reason), _)) => Err(reason),
        Ok(answered) => Ok(answered),
        Err(error) => Err(error.to_string()),
    }
}
