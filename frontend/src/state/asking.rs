//! Asking the worker for the ranking that is wanted, and taking what it replies.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use js_sys::Array;
use leptos::prelude::*;

use super::{RankStatus, Ranking, State, View, Wanted};
use crate::address::Trial;
use crate::protocol::{Ask, Goal, Progress, RankError, RankRequest, Reply};
use crate::ranker_client::RankerClient;

impl State {
    /// Holds the ranking up, or lets it go on.
    pub fn set_paused(self, is_paused: bool) {
        let status = match (self.status.get_untracked(), is_paused) {
            (RankStatus::Working(progress), true) => RankStatus::Paused(progress),
            (RankStatus::Paused(progress), false) => RankStatus::Working(progress),
            _ => return,
        };
        self.status.set(status);
        self.ask(if is_paused { Ask::Pause } else { Ask::Resume });
    }

    /// Gives the ranking up as it is.
    pub fn stop(self) {
        if matches!(self.status.get_untracked(), RankStatus::Working(_) | RankStatus::Paused(_)) {
            self.status.set(RankStatus::Stopped);
            self.ask(Ask::Cancel);
        }
    }

    /// Reads on until the wanted pairs' scores are exact.
    pub fn make_exact(self) {
        self.request(Goal::Exact);
    }

    /// Tries the ranking again after a failure, or goes on after a stop.
    pub fn retry(self) {
        self.request(Goal::Certain);
    }

    /// Tries again once the backend answers after it was away, where a ranking failed because of that. Called once, by the
    /// root component.
    pub fn rank_when_back(self, is_answering: RwSignal<bool>) {
        let is_lost = move || self.needs_ranking.get() && self.status.with(RankStatus::is_out_of_reach);
        Effect::new(move |was_answering: Option<bool>| {
            let is_answering = is_answering.get();
            if is_answering && was_answering == Some(false) && untrack(is_lost) {
                self.retry();
            }
            is_answering
        });
    }

    /// The ranking of what is wanted, as far as it is known; none while the one that is shown is still that of something
    /// else. Tracked.
    pub fn ranking_wanted(self) -> Option<Arc<Ranking>> {
        let wanted = self.wanted.get()?;
        self.ranking.get().filter(|ranking| ranking.wanted.is_like(&wanted))
    }

    /// Whether the scores that are shown are of something else than what is wanted now. Tracked.
    pub fn is_outdated(self) -> bool {
        self.ranking.with(Option::is_some) && self.ranking_wanted().is_none()
    }

    pub(super) fn rank(self) {
        if !self.needs_ranking.get() {
            return;
        }
        let wanted = self.wanted.get();
        let (_, asked) = self.request.get_value();
        if wanted.is_some() && wanted != asked {
            self.request(Goal::Certain);
        }
    }

    fn request(self, goal: Goal) {
        let (Some(wanted), View::Ready { study, layer, .. }) = (self.wanted.get_untracked(), self.view.get_untracked())
        else {
            return;
        };
        // A worker that stopped does not start again: another takes its place.
        if matches!(self.status.get_untracked(), RankStatus::Failed(RankError::Worker { .. })) {
            self.client.set_value(None);
        }
        let Wanted { query, k, end, .. } = wanted.clone();
        let id = self.request.with_value(|(id, _)| id + 1);
        self.request.set_value((id, Some(wanted)));
        self.status.set(RankStatus::Working(Progress::default()));
        let Trial { n_workers, index, .. } = Trial::read();
        self.ask(Ask::Rank(Box::new(RankRequest {
            id,
            data: self.data.get_value(),
            gather: study.gather,
            n_pairs: study.n_pairs,
            layer,
            query,
            k,
            end,
            goal,
            index,
            n_workers,
        })));
    }

    fn ask(self, ask: Ask) {
        match self.client.get_value().map_or_else(|| self.start_client(), Ok) {
            Ok(client) => client.ask(ask),
            Err(error) => self.status.set(RankStatus::Failed(error)),
        }
    }

    fn start_client(self) -> Result<Rc<RankerClient>, RankError> {
        let failed = Rc::new(RefCell::new(false));
        let client = RankerClient::start(
            move |reply, message| self.on_reply(reply, message),
            move |error| {
                if !failed.replace(true) {
                    self.status.set(RankStatus::Failed(error));
                }
            },
        )?;
        self.client.set_value(Some(client.clone()));
        Ok(client)
    }

    fn on_reply(self, reply: Reply, message: &Array) {
        let (current, wanted) = self.request.get_value();
        let is_under_way = matches!(self.status.get_untracked(), RankStatus::Working(_) | RankStatus::Paused(_));
        match reply {
            Reply::Progress { id, progress } if id == current && is_under_way => {
                let is_paused = matches!(self.status.get_untracked(), RankStatus::Paused(_));
                let status = if is_paused { RankStatus::Paused } else { RankStatus::Working };
                self.status.set(status(progress));
            }
            Reply::Ranking { id, report } if id == current => {
                let Some(wanted) = wanted else { return };
                let is_final = report.is_final;
                self.ranking.set(Some(Arc::new(Ranking::new(wanted, *report, message))));
                if is_final {
                    self.status.set(RankStatus::Ranked);
                    self.count_kept();
                }
            }
            Reply::Failed { id, error } if id == current => self.status.set(RankStatus::Failed(error)),
            // Ready, what the page knows already, or a reply to a request that another one replaced.
            _ => {}
        }
    }
}
