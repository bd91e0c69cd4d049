//! What the reader chooses: every choice changes the address, from which [`State::start`] derives the rest. Links are
//! addresses with a choice made.

use std::time::Duration;

use leptos::prelude::*;
use whence_shared::discovery::cutting::SideName;
use whence_shared::filter::{Filter, PairGroup, Sort};
use whence_shared::spans;

use super::{State, View};
use crate::address::{Address, Cuts, DiscoverAddress, MapAddress, Page, Step};
use crate::number::counted;
use crate::protocol::End;

/// The address follows the selection after this pause: browsers refuse hundreds of changes a minute.
const ADDRESS_PAUSE: Duration = Duration::from_millis(150);

impl State {
    /// Shows another page.
    pub fn open_page(self, page: Page) {
        self.change(Step::Push, |address| address.page = page);
    }

    /// The address of another page with everything else as chosen. Tracked.
    pub fn link_to(self, page: Page) -> Option<String> {
        Address { page, ..self.address.get() }.href()
    }

    /// The address of a pair on a page. Tracked.
    pub fn link_to_pair(self, page: Page, row: u32) -> Option<String> {
        Address { page, row: Some(row), ..self.address.get() }.href()
    }

    /// The address of a page as others can open it, who run no jobs. Tracked.
    pub fn link_for_others(self, page: Page) -> Option<String> {
        Address { page, job: None, verb: None, ..self.address.get() }.href()
    }

    /// The address of a job's log. Tracked.
    pub fn link_to_job(self, id: u64) -> Option<String> {
        Address { page: Page::Jobs, job: Some(id), ..self.address.get() }.href()
    }

    /// Shows a job's log, or none.
    pub fn choose_job(self, id: Option<u64>) {
        self.change(Step::Push, |address| address.job = id);
    }

    /// Chooses the verb that a job can be started of.
    pub fn choose_verb(self, verb: &str) {
        self.change(Step::Replace, |address| address.verb = Some(verb.to_owned()));
    }

    /// Shows the form that starts a job of a verb.
    pub fn open_start(self, verb: &str) {
        self.change(Step::Push, |address| (address.page, address.verb) = (Page::Jobs, Some(verb.to_owned())));
    }

    /// Shows a pair in the ranking.
    pub fn show_pair(self, row: u32) {
        self.change(Step::Push, |address| (address.page, address.row) = (Page::Ranking, Some(row)));
    }

    /// Selects a pair, or none.
    pub fn select(self, row: Option<u32>, step: Step) {
        self.change(step, |address| address.row = row);
    }

    /// Shows another discovery.
    pub fn choose_groups(self, name: String) {
        self.change(Step::Push, |address| {
            (address.groups, address.cuts) = (Some(name), Cuts::default());
            address.discover = DiscoverAddress::default();
        });
    }

    /// Changes what is looked at of the discovery.
    pub fn change_discover(self, edit: impl FnOnce(&mut DiscoverAddress)) {
        self.change(Step::Replace, |address| edit(&mut address.discover));
    }

    /// Cuts one side of the discovery into `k` groups, or as it is stored.
    pub fn choose_cut(self, side: SideName, k: Option<usize>) {
        self.change(Step::Replace, |address| {
            address.cuts = address.cuts.with(side, k);
            // Other groups have these numbers then.
            address.discover.set_compared(side, None);
        });
    }

    /// Changes how the map is looked at, or what is selected on it.
    pub fn change_map(self, step: Step, edit: impl FnOnce(&mut MapAddress)) {
        self.change(step, |address| edit(&mut address.map));
    }

    /// The address of the ranking by the direction of some of a behavior's prompts. Tracked.
    pub fn link_to_ranking_by(self, behavior: &str, prompts: &[u32]) -> Option<String> {
        let mut address = self.address.get();
        set_ranking_by(&mut address, behavior, prompts);
        address.href()
    }

    /// Ranks by the direction of some of a behavior's prompts.
    pub fn rank_by(self, behavior: &str, prompts: &[u32]) {
        self.change(Step::Push, |address| set_ranking_by(address, behavior, prompts));
    }

    /// Ranks by all of the behavior's prompts again.
    pub fn rank_by_all(self) {
        self.change(Step::Push, |address| address.only = None);
    }

    /// Ranks by another behavior.
    pub fn choose_behavior(self, name: String) {
        self.change(Step::Push, |address| (address.behavior, address.only) = (Some(name), None));
    }

    /// Shows the ranking by a behavior, from wherever it is asked for.
    pub fn rank_by_behavior(self, name: String) {
        self.change(Step::Push, |address| {
            (address.page, address.behavior, address.only) = (Page::Ranking, Some(name), None);
        });
    }

    /// Shows the ranking at a layer, from wherever it is asked for.
    pub fn rank_at_layer(self, layer: usize) {
        self.change(Step::Push, |address| (address.page, address.layer) = (Page::Ranking, Some(layer)));
    }

    /// The address of the page that is shown, of another ranking. Tracked.
    pub fn link_to_look_at(self, behavior: &str, layer: usize) -> Option<String> {
        let mut address = self.address.get();
        set_looked_at(&mut address, behavior, layer);
        address.href()
    }

    /// Looks at another ranking, on the page that is shown.
    pub fn look_at(self, behavior: &str, layer: usize) {
        self.change(Step::Push, |address| set_looked_at(address, behavior, layer));
    }

    /// Ranks at another layer.
    pub fn choose_layer(self, layer: usize) {
        self.change(Step::Push, |address| address.layer = Some(layer));
    }

    /// Changes how many pairs count as the top.
    pub fn choose_k(self, k: usize) {
        self.change(Step::Replace, |address| address.k = Some(k.max(1)));
    }

    /// Ranks from the other end.
    pub fn choose_end(self, end: End) {
        self.change(Step::Push, |address| address.end = end);
    }

    /// The wanted end. Tracked.
    pub fn end(self) -> End {
        self.wanted.with(|wanted| wanted.as_ref().map(|wanted| wanted.end)).unwrap_or_default()
    }

    /// Ranks by the largest score with any of the behavior's vectors, or by their direction.
    pub fn choose_bank(self, is_bank: bool) {
        self.change(Step::Push, |address| address.is_bank = is_bank);
    }

    /// Projects another behavior's direction out, or none.
    pub fn choose_without(self, name: Option<String>) {
        self.change(Step::Push, |address| address.without = name);
    }

    /// Changes which pairs are shown.
    pub fn choose_filter(self, step: Step, edit: impl FnOnce(&mut Filter)) {
        self.change(step, |address| edit(&mut address.filter));
    }

    /// Shows all pairs again: no filter and no lasso.
    pub fn show_all(self) {
        self.change(Step::Push, |address| (address.filter, address.map.lasso) = (Filter::default(), None));
    }

    /// The address of a page that shows the pairs of one group and no others. Tracked.
    pub fn link_to_group(self, page: Page, group: &PairGroup) -> Option<String> {
        let mut address = self.address.get();
        set_group(&mut address, page, group);
        address.href()
    }

    /// Shows the pairs of one group and no others on a page.
    pub fn show_group(self, page: Page, group: &PairGroup) {
        self.change(Step::Push, |address| set_group(address, page, group));
    }

    /// Shows a page with other pairs.
    pub fn show_filtered(self, page: Page, edit: impl FnOnce(&mut Filter)) {
        self.change(Step::Push, |address| {
            address.page = page;
            edit(&mut address.filter);
        });
    }

    /// Changes the order in which pairs are shown.
    pub fn choose_sort(self, sort: Sort) {
        self.change(Step::Push, |address| address.sort = sort);
    }

    /// Shows scores and lengths beside the ranking, or scores alone.
    pub fn choose_length_chart(self, is_chosen: bool) {
        self.change(Step::Replace, |address| address.is_length_chart = is_chosen);
    }

    /// Tints responses by what their tokens add, or marks where they differ.
    pub fn choose_token_marks(self, is_chosen: bool) {
        self.change(Step::Replace, |address| address.are_tokens_marked = is_chosen);
    }

    /// Shows in the curves of training how often the chosen response was preferred, or the loss.
    pub fn choose_accuracy_curve(self, is_chosen: bool) {
        self.change(Step::Replace, |address| address.is_accuracy_curve = is_chosen);
    }

    fn change(self, step: Step, edit: impl FnOnce(&mut Address)) {
        let before = self.address.get_untracked();
        let mut after = before.clone();
        edit(&mut after);
        if after == before {
            return;
        }
        self.remark.set(None);
        self.address.set(after);
        if let Some(pause) = self.pause.try_update_value(Option::take).flatten() {
            pause.clear();
        }
        match step {
            Step::Push => self.address.with_untracked(|address| address.write(step)),
            Step::Replace => {
                // The study may have made room for another one.
                let write = move || self.address.try_with_untracked(|address| address.write(step)).unwrap_or_default();
                self.pause.set_value(set_timeout_with_handle(write, ADDRESS_PAUSE).ok());
            }
        }
    }

    /// States in the address what the app chose by itself, and remarks on what it could not follow.
    pub(super) fn complete_address(self) {
        let (View::Ready { behavior, layer, study }, k) = (self.view.get(), self.k.get()) else { return };
        let stated = self.address.get();
        if !self.needs_ranking.get() {
            return;
        }
        let mut remarks = Vec::new();
        if let Some(name) = stated.behavior.as_ref().filter(|name| **name != behavior.name) {
            remarks.push(format!("This study has no behavior “{name}”: showing “{}”.", behavior.name));
        } else if let Some(number) = stated.layer.filter(|number| *number != layer.layer) {
            remarks.push(format!("There are no vectors at layer {number}: showing layer {}.", layer.layer));
        }
        if let Some(row) = stated.row.filter(|row| *row as usize >= study.n_pairs) {
            remarks.push(format!("This study has no row {row}: it has {}.", counted(study.n_pairs, "pair", "pairs")));
        }
        let complete = Address {
            behavior: Some(behavior.name),
            layer: Some(layer.layer),
            k: Some(k),
            without: self.wanted.get().and_then(|wanted| wanted.query.without.first().cloned()),
            only: stated.only.clone().filter(|_| self.only.get().is_some()),
            row: stated.row.filter(|row| (*row as usize) < study.n_pairs),
            ..stated.clone()
        };
        if complete != stated {
            if !remarks.is_empty() {
                self.remark.set(Some(remarks.join(" ")));
            }
            complete.write(Step::Replace);
            self.address.set(complete);
        }
    }
}

fn set_looked_at(address: &mut Address, behavior: &str, layer: usize) {
    (address.behavior, address.layer, address.only) = (Some(behavior.to_owned()), Some(layer), None);
}

fn set_group(address: &mut Address, page: Page, group: &PairGroup) {
    (address.page, address.map.lasso) = (page, None);
    address.filter = Filter { groups: vec![group.clone()], ..Filter::default() };
}

fn set_ranking_by(address: &mut Address, behavior: &str, prompts: &[u32]) {
    address.page = Page::Ranking;
    address.behavior = Some(behavior.to_owned());
    address.only = Some(spans::format(prompts));
    (address.row, address.without, address.is_bank) = (None, None, false);
}
