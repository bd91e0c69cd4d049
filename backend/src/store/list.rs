//! The worklist as a list: what stands in the table, and which changes make one list of another. No SQL here.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use whence_shared::api::{Action, Decision};

/// A decision as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Row of the pair.
    pub row: usize,
    /// Place in the order of time; grows.
    pub position: i64,
    /// The pair's id.
    pub id: String,
    /// [`crate::edit::pair_sha256`] of the pair.
    pub pair_sha256: String,
    /// What to do with it.
    pub action: Action,
    /// Why.
    pub note: String,
}

impl Held {
    /// As the app sees it.
    pub fn decision(&self) -> Decision {
        Decision { row: self.row, id: self.id.clone(), action: self.action, note: self.note.clone() }
    }

    fn says(&self, decision: &Decision) -> bool {
        (&self.id, self.action, &self.note) == (&decision.id, decision.action, &decision.note)
    }
}

/// What becomes of one pair's decision; `None` = there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Before.
    pub before: Option<Held>,
    /// After.
    pub after: Option<Held>,
}

impl Change {
    /// The other way round.
    pub fn reversed(self) -> Self {
        Self { before: self.after, after: self.before }
    }

    /// Row of the pair.
    pub fn row(&self) -> usize {
        self.before.as_ref().or(self.after.as_ref()).map_or(0, |held| held.row)
    }

    /// Whether more than the place in the list is other than before.
    pub fn is_of_content(&self) -> bool {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => !before.says(&after.decision()),
            _ => true,
        }
    }
}

/// The pair behind a row: id and hash.
pub type PairOf<'a> = &'a HashMap<usize, (String, String)>;

/// Changes that put `decide` at the end of the list and take `remove` out of it. A decision that is there already, word for
/// word, stays where it is.
pub fn changes(held: &[Held], decide: &[Decision], remove: &[usize], pairs: PairOf) -> Vec<Change> {
    let by_row: HashMap<usize, &Held> = held.iter().map(|held| (held.row, held)).collect();
    let mut position = held.last().map_or(0, |held| held.position);
    let mut changes = Vec::new();
    for decision in decide {
        let before = by_row.get(&decision.row).map(|held| (*held).clone());
        if before.as_ref().is_some_and(|held| held.says(decision)) {
            continue;
        }
        position += 1;
        changes.push(Change { before, after: Some(made(decision, position, pairs)) });
    }
    let removed = remove.iter().filter_map(|row| by_row.get(row));
    changes.extend(removed.map(|held| Change { before: Some((*held).clone()), after: None }));
    changes
}

/// Changes that make the list `wanted`, in its order. What need not move keeps its place.
pub fn changes_to(held: &[Held], wanted: &[Decision], pairs: PairOf) -> Vec<Change> {
    let mut left: BTreeMap<usize, &Held> = held.iter().map(|held| (held.row, held)).collect();
    let mut next = held.last().map_or(0, |held| held.position);
    let (mut last, mut changes) = (i64::MIN, Vec::new());
    for decision in wanted {
        let before = left.remove(&decision.row);
        match before {
            Some(held) if held.says(decision) && held.position > last => last = held.position,
            before => {
                next += 1;
                last = next;
                changes.push(Change { before: before.cloned(), after: Some(made(decision, next, pairs)) });
            }
        }
    }
    changes.extend(left.into_values().map(|held| Change { before: Some(held.clone()), after: None }));
    changes
}

fn made(decision: &Decision, position: i64, pairs: PairOf) -> Held {
    let Decision { row, id, action, note } = decision.clone();
    let pair_sha256 = pairs.get(&row).map(|(_, sha256)| sha256.clone()).unwrap_or_default();
    Held { row, position, id, pair_sha256, action, note }
}

/// What a step is called that was given no name.
pub fn label(changes: &[Change]) -> String {
    let pairs = |n: usize| if n == 1 { "1 pair".to_owned() } else { format!("{n} pairs") };
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for change in changes.iter().filter(|change| change.is_of_content()) {
        *counts.entry(change.after.as_ref().map_or("taken off the list", |held| held.action.name())).or_default() += 1;
    }
    match counts.len() {
        0 => "another order".to_owned(),
        _ => counts.into_iter().map(|(what, n)| format!("{}: {what}", pairs(n))).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(row: usize, action: Action) -> Decision {
        Decision { row, id: format!("p{row}"), action, note: String::new() }
    }

    fn list(rows: &[(usize, Action)]) -> Vec<Held> {
        let pairs = HashMap::new();
        rows.iter().zip(1..).map(|(&(row, action), at)| made(&decision(row, action), at, &pairs)).collect()
    }

    fn applied(held: &[Held], changes: &[Change]) -> Vec<Decision> {
        let mut left: BTreeMap<usize, Held> = held.iter().map(|held| (held.row, held.clone())).collect();
        for change in changes {
            assert_eq!(left.remove(&change.row()), change.before);
            left.extend(change.after.clone().map(|after| (after.row, after)));
        }
        let mut left: Vec<Held> = left.into_values().collect();
        left.sort_by_key(|held| held.position);
        left.iter().map(Held::decision).collect()
    }

    #[test]
    fn a_whole_list_is_reached_by_as_few_changes_as_its_order_allows() {
        use Action::{Drop, Keep, Switch};
        let held = list(&[(5, Drop), (2, Keep), (9, Switch)]);
        for (wanted, n_changes) in [
            (vec![(5, Drop), (2, Keep), (9, Switch)], 0),
            (vec![(5, Drop), (2, Keep), (9, Switch), (1, Drop)], 1),
            (vec![(5, Drop), (9, Switch)], 1),
            (vec![(2, Keep), (9, Switch), (5, Switch)], 1),
            (vec![(9, Switch), (5, Drop), (2, Keep)], 2),
            (vec![], 3),
        ] {
            let wanted: Vec<Decision> = wanted.into_iter().map(|(row, action)| decision(row, action)).collect();
            let found = changes_to(&held, &wanted, &HashMap::new());
            assert_eq!(applied(&held, &found), wanted);
            assert_eq!(found.len(), n_changes, "{wanted:?}");
            let back: Vec<Change> = found.iter().cloned().map(Change::reversed).collect();
            let mut after: Vec<Held> = held.clone();
            after.retain(|held| !found.iter().any(|change| change.row() == held.row));
            after.extend(found.iter().filter_map(|change| change.after.clone()));
            assert_eq!(applied(&after, &back), held.iter().map(Held::decision).collect::<Vec<_>>(), "undone");
        }
    }

    #[test]
    fn deciding_again_moves_to_the_end_and_the_same_again_does_nothing() {
        use Action::{Drop, Keep};
        let held = list(&[(5, Drop), (2, Keep)]);
        let found =
            changes(&held, &[decision(5, Drop), decision(7, Keep), decision(2, Drop)], &[5, 8], &HashMap::new());
        let rows: Vec<usize> = applied(&held, &found).iter().map(|decision| decision.row).collect();
        assert_eq!(rows, [7, 2]);
        assert_eq!(label(&found), "1 pair: drop, 1 pair: keep, 1 pair: taken off the list");
    }
}
