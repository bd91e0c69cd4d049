//! Reading: has scorers read files of their rows, reads chosen rows' own vectors and tells the scorers, and asks them which
//! rows may be among the wanted pairs.

use std::collections::HashMap;
use std::rc::Rc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use js_sys::{Array, Float64Array, Uint32Array};
use wasm_bindgen::prelude::*;
use whence_shared::index::select::{Best, Candidate};

use super::super::calls::{Answer, Call};
use super::super::rows::{self, RowReader};
use super::super::session::{Session, candidates};
use super::Coordinator;
use super::dealing::owner;
use super::run::Run;
use crate::protocol::{RankError, RankRequest, Reading, Way};

impl Coordinator {
    pub(super) async fn read_files(
        &self,
        run: &Rc<Run>,
        session: &Rc<Session>,
        ranges: Vec<usize>,
    ) -> Result<(), RankError> {
        let plan = &session.plan;
        let (n_bytes, deepest) = {
            let known = session.known.borrow();
            let next = |&range: &usize| plan.ranges[range].files.get(known.ranges[range].n_files);
            let n_bytes = ranges.iter().filter_map(next).map(|file| file.n_bytes).sum();
            (n_bytes, ranges.iter().map(|&range| known.ranges[range].n_files + 1).max().unwrap_or(0))
        };
        let n_files = plan.ranges.first().map_or(0, |range| range.files.len());
        let reading = if plan.way == Way::Index { Reading::Block(deepest, n_files) } else { Reading::Vectors };
        self.tell(run, reading, n_bytes);
        let links = self.links.borrow().clone();
        let n_active = session.n_active;
        let mut under_way: FuturesUnordered<_> = links
            .iter()
            .enumerate()
            .filter_map(|(scorer, link)| {
                let mine: Vec<usize> =
                    ranges.iter().copied().filter(|&range| owner(range, n_active) == scorer).collect();
                let call = Call::Read { session: session.number, ranges: mine.clone() };
                (!mine.is_empty()).then_some(async move { link.call(&call, &[]).await })
            })
            .collect();
        let mut faults = Vec::new();
        let mut failure = None;
        while let Some(answer) = under_way.next().await {
            let stopped = match answer {
                Ok((Answer::Read { faults: more, stopped }, _)) => {
                    faults.extend(more);
                    stopped
                }
                Ok(_) => None,
                Err(error) => Some(error),
            };
            // What stopped one would stop the others: they give up too, and the first error is the one that counts.
            if let (Some(error), None) = (stopped, &failure) {
                failure = Some(error);
                links.iter().for_each(|link| link.tell(&Call::Cancel));
            }
        }
        run.go_on()?;
        if let Some(error) = failure {
            return Err(error);
        }
        faults.sort_by_key(|(range, _)| *range);
        for (range, error) in faults {
            if plan.way != Way::Index {
                return Err(error);
            }
            session.known.borrow_mut().ranges[range].is_stuck = true;
            session.remark(format!("{error}: done without this file"));
        }
        Ok(())
    }

    pub(super) async fn read_rows(
        &self,
        run: &Rc<Run>,
        session: &Rc<Session>,
        rows: &[u32],
    ) -> Result<HashMap<u32, f64>, RankError> {
        let request = &run.request;
        let n_bytes = rows::costs(rows, &request.layer, session.access.get()).n_bytes();
        self.tell(run, Reading::Rows, n_bytes);
        let reader = RowReader { request, session, files: &self.files, transfer: &run.transfer };
        let mut all = HashMap::new();
        for part in rows.chunks(reader.n_at_once()) {
            // Whole files brought more than was asked for.
            let part: Vec<u32> = part.iter().copied().filter(|row| !all.contains_key(row)).collect();
            if part.is_empty() {
                continue;
            }
            let scored = reader.read(&part).await?;
            run.go_on()?;
            session.set_exact(&scored);
            let links = self.links.borrow().clone();
            let n_active = session.n_active;
            let told = links.iter().enumerate().map(|(scorer, link)| {
                let is_mine = |row: u32| owner(session.range_of(row), n_active) == scorer;
                let (rows, scores): (Vec<u32>, Vec<f64>) =
                    scored.iter().copied().filter(|(row, _)| is_mine(*row)).unzip();
                let arrays: [JsValue; 2] =
                    [Uint32Array::from(rows.as_slice()).into(), Float64Array::from(scores.as_slice()).into()];
                async move { link.call(&Call::SetExact { session: session.number }, &arrays).await }
            });
            futures_util::future::try_join_all(told).await?;
            run.progress.borrow_mut().n_rows += part.len();
            self.maybe_report(run, session, None);
            all.extend(scored);
        }
        Ok(all)
    }

    /// What may be among the wanted pairs, as the scorers know it.
    pub(super) async fn candidates(&self, run: &Rc<Run>, session: &Rc<Session>) -> Result<Vec<Candidate>, RankError> {
        let links = self.links.borrow().clone();
        let RankRequest { k, end, .. } = run.request;
        let number = session.number;
        let call = Call::Best { session: number, k, end };
        let mut best = Best::new(k);
        for (_, message) in futures_util::future::try_join_all(links.iter().map(|link| link.call(&call, &[]))).await? {
            let (rows, lowers) = (u32s(&message, 1), f64s(&message, 2));
            rows.iter().zip(lowers).for_each(|(&row, lower)| best.push(row, lower));
        }
        let threshold = best.threshold();
        let call = Call::Candidates { session: number, end };
        let asked = links.iter().map(|link| {
            let numbers = threshold.map_or_else(Vec::new, |place| vec![place.score, f64::from(place.row)]);
            let array = [JsValue::from(Float64Array::from(numbers.as_slice()))];
            let call = &call;
            async move { link.call(call, &array).await }
        });
        let mut found = Vec::new();
        for (_, message) in futures_util::future::try_join_all(asked).await? {
            found.extend(candidates(&u32s(&message, 1), &f64s(&message, 2), &f64s(&message, 3), &f64s(&message, 4)));
        }
        Ok(found)
    }
}

fn u32s(message: &Array, at: u32) -> Vec<u32> {
    message.get(at).unchecked_into::<Uint32Array>().to_vec()
}

fn f64s(message: &Array, at: u32) -> Vec<f64> {
    message.get(at).unchecked_into::<Float64Array>().to_vec()
}
