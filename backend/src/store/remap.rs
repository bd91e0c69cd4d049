//! After another import: decisions follow their pairs to the rows they have now, by id and hash. Those whose pair is gone are
//! kept aside, and come back when an import brings it back. What was done before cannot be undone any more.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::StoreError;
use super::decisions::{held, insert, lost};
use super::list::Held;
use crate::edit::pair_sha256;
use crate::view::pairs::OpenPairs;

/// Makes the decisions be about these pairs. Costs one look when they already are.
pub fn remap(
    database: &Connection,
    pairs: &OpenPairs,
    sql: &impl Fn(rusqlite::Error) -> StoreError,
) -> Result<(), StoreError> {
    let known: String = database.query_row("SELECT pairs_sha256 FROM state", [], |row| row.get(0)).map_err(sql)?;
    if known == pairs.sha256 {
        return Ok(());
    }
    let mut all = held(database).map_err(sql)?;
    all.extend(lost(database).map_err(sql)?);
    all.sort_by_key(|held| held.position);
    // Numbered anew: what comes back may stand where another was put meanwhile.
    all.iter_mut().zip(1..).for_each(|(held, position)| held.position = position);
    if !all.is_empty() {
        let (found, gone) = find(pairs, all)?;
        store(database, &found, &gone).map_err(sql)?;
    }
    database.execute("UPDATE state SET pairs_sha256 = ?1", [&pairs.sha256]).map_err(sql)?;
    Ok(())
}

/// Decisions with the rows that their pairs have now, and those whose pair is gone.
fn find(pairs: &OpenPairs, all: Vec<Held>) -> Result<(Vec<Held>, Vec<Held>), StoreError> {
    let mut rows: HashMap<String, u32> = HashMap::new();
    let wanted: std::collections::HashSet<&str> = all.iter().map(|held| held.id.as_str()).collect();
    for (id, row) in pairs.file.ids()?.into_iter().zip(0..) {
        if wanted.contains(id.as_str()) {
            rows.entry(id).or_insert(row);
        }
    }
    let mut sorted: Vec<u32> = rows.values().copied().collect();
    sorted.sort_unstable();
    let mut hashes = HashMap::with_capacity(sorted.len());
    pairs.file.visit_rows(&sorted, |row, pair| {
        hashes.insert(row, pair_sha256(&pair));
    })?;
    let now = |held: &Held| rows.get(&held.id).filter(|row| hashes.get(*row) == Some(&held.pair_sha256)).copied();
    let (found, gone): (Vec<Held>, Vec<Held>) = all.into_iter().partition(|held| now(held).is_some());
    let found = found.into_iter().map(|held| Held { row: now(&held).map_or(0, |row| row as usize), ..held });
    // One and the same pair, decided before and after it was away: the later decision stands.
    let mut by_row: HashMap<usize, Held> = HashMap::new();
    for held in found {
        by_row.insert(held.row, held);
    }
    let mut found: Vec<Held> = by_row.into_values().collect();
    found.sort_by_key(|held| held.position);
    Ok((found, gone))
}

fn store(database: &Connection, found: &[Held], gone: &[Held]) -> rusqlite::Result<()> {
    database.execute_batch("DELETE FROM decision; DELETE FROM lost_decision; DELETE FROM step;")?;
    for held in found {
        insert(database, held)?;
    }
    for held in gone {
        let values = params![held.position, held.row, held.id, held.pair_sha256, held.action.name(), held.note];
        database.prepare_cached("INSERT INTO lost_decision VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute(values)?;
    }
    database.execute("UPDATE state SET version = version + 1", [])?;
    Ok(())
}
