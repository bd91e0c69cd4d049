//! Read-only links in `whence.db`: what each shows, until when, and the hash of its token.

use rusqlite::{OptionalExtension, Row, params};
use whence_shared::shares::{NewShare, ShareView};

use super::{Store, StoreError, now};
use crate::files;
use crate::view::choice::Choice;

const COLUMNS: &str = "id, label, choice, created_unix_ms, expires_unix_ms, revoked_unix_ms";

/// A share that is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenShare {
    /// Its number.
    pub id: u64,
    /// What it shows.
    pub choice: Choice,
}

impl Store {
    /// Stores a share with its token.
    ///
    /// # Errors
    ///
    /// When the database cannot be written; so for all that follow.
    pub fn add_share(&self, share: &NewShare, token: &str) -> Result<ShareView, StoreError> {
        let json = serde_json::to_string(&Choice::from(share)).expect("plain data serializes");
        let created = now();
        let expires = share.expires_in_seconds.map(|seconds| created.saturating_add(seconds.saturating_mul(1000)));
        // SQLite's numbers are signed: what ends after 292 million years does not end.
        let expires = expires.filter(|at| i64::try_from(*at).is_ok());
        self.work(|database| {
            let insert = "INSERT INTO share (token_sha256, label, choice, created_unix_ms, expires_unix_ms) \
                          VALUES (?1, ?2, ?3, ?4, ?5)";
            database.execute(insert, params![hash(token), share.label, json, created, expires])?;
            let id = database.last_insert_rowid();
            database.query_row(&format!("SELECT {COLUMNS} FROM share WHERE id = ?1"), [id], view)
        })
    }

    /// All shares, the newest first.
    ///
    /// # Errors
    ///
    /// As [`Store::add_share`].
    pub fn shares(&self) -> Result<Vec<ShareView>, StoreError> {
        let query = format!("SELECT {COLUMNS} FROM share ORDER BY id DESC");
        self.look(|database| database.prepare_cached(&query)?.query_map([], view)?.collect())
    }

    /// Ends a share; `None` when there is none of this number. One that was revoked stays so.
    ///
    /// # Errors
    ///
    /// As [`Store::add_share`].
    pub fn revoke_share(&self, id: u64) -> Result<Option<ShareView>, StoreError> {
        self.look(|database| {
            let update = "UPDATE share SET revoked_unix_ms = coalesce(revoked_unix_ms, ?2) WHERE id = ?1";
            database.execute(update, params![id, now()])?;
            database.query_row(&format!("SELECT {COLUMNS} FROM share WHERE id = ?1"), [id], view).optional()
        })
    }

    /// What a token shows, if it still does.
    ///
    /// # Errors
    ///
    /// As [`Store::add_share`].
    pub fn open_share(&self, token: &str) -> Result<Option<OpenShare>, StoreError> {
        let query = "SELECT id, choice FROM share WHERE token_sha256 = ?1 AND revoked_unix_ms IS NULL \
                     AND (expires_unix_ms IS NULL OR expires_unix_ms > ?2)";
        let found: Option<(u64, String)> = self.look(|database| {
            let one = |row: &Row| Ok((row.get(0)?, row.get(1)?));
            database.query_row(query, params![hash(token), now()], one).optional()
        })?;
        Ok(found.and_then(|(id, choice)| Some(OpenShare { id, choice: serde_json::from_str(&choice).ok()? })))
    }
}

/// Of a token only this is kept. It is found by equality of hashes, so that how long looking takes tells nothing of it.
fn hash(token: &str) -> String {
    files::sha256(token.as_bytes())
}

fn view(row: &Row) -> rusqlite::Result<ShareView> {
    let choice: Choice = serde_json::from_str(&row.get::<_, String>(2)?).unwrap_or_default();
    let (expires_unix_ms, revoked_unix_ms): (Option<u64>, Option<u64>) = (row.get(4)?, row.get(5)?);
    Ok(ShareView {
        id: row.get(0)?,
        label: row.get(1)?,
        behaviors: choice.behaviors,
        layers: choice.layers,
        texts: choice.texts,
        no_vectors: !choice.vectors,
        created_unix_ms: row.get(3)?,
        expires_unix_ms,
        revoked_unix_ms,
        is_open: revoked_unix_ms.is_none() && expires_unix_ms.is_none_or(|at| at > now()),
    })
}
