//! Where pairs stand: at positions among those that are shown, and at places of the ranking. The selected pair is found by
//! either.

use std::sync::Arc;

use leptos::prelude::*;

use super::State;
use crate::address::Step;

impl State {
    /// Rows of the pairs that a filter leaves in, where there is one and a ranking to filter: what the map lights. Without a
    /// ranking, those in the groups that the filter names. Tracked.
    pub fn lit_rows(self) -> Option<Arc<Vec<u32>>> {
        let is_grouped = self.filter.with(|filter| !filter.groups.is_empty());
        match self.listed.get() {
            Some(rows) => self.is_filtered.get().then_some(rows),
            None => is_grouped.then(|| self.grouped_rows.get().unwrap_or_default()),
        }
    }

    /// How many pairs are shown. Tracked.
    pub fn n_listed(self) -> usize {
        self.with_listed(<[u32]>::len)
    }

    /// The row of the pair that is shown at a position, from 0. Tracked.
    pub fn row_at(self, position: usize) -> Option<u32> {
        self.with_listed(|rows| rows.get(position).copied())
    }

    /// The selected pair's position among those shown, from 0. Tracked.
    pub fn position(self) -> Option<usize> {
        let row = self.row.get()?;
        match self.listed.with(Option::is_none) {
            true => self.place(),
            false => self.with_listed(|rows| rows.iter().position(|listed| *listed == row)),
        }
    }

    /// Selects the pair that is shown at a position, counted from 0; the last one when there are fewer.
    pub fn select_position(self, position: usize, step: Step) {
        let row = untrack(|| self.with_listed(|rows| rows.get(position.min(rows.len().saturating_sub(1))).copied()));
        if row.is_some() {
            self.select(row, step);
        }
    }

    fn with_listed<T>(self, read: impl FnOnce(&[u32]) -> T) -> T {
        self.listed.with(|listed| match listed {
            Some(rows) => read(rows),
            None => self.ranking.with(|ranking| read(ranking.as_ref().map_or(&[], |r| &r.order))),
        })
    }

    /// The selected pair's place in the ranking, from 0. Tracked.
    pub fn place(self) -> Option<usize> {
        let row = self.row.get()?;
        self.ranking.with(|ranking| ranking.as_ref()?.place_of(row))
    }

    /// Selects the pair at a place of the ranking, counted from 0; the last one when there are fewer.
    pub fn select_place(self, place: usize, step: Step) {
        let row = self.ranking.with_untracked(|ranking| {
            let order = &ranking.as_ref()?.order;
            order.get(place.min(order.len().saturating_sub(1))).copied()
        });
        if row.is_some() {
            self.select(row, step);
        }
    }
}
