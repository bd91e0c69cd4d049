//! The job queue in `whence.db`: what is to be run, what runs, and how it ended. [`crate::jobs`] runs it.

use rusqlite::{Connection, OptionalExtension, Row, params};
use whence_shared::jobs::{JobState, JobView, NewJob};

use super::{Store, StoreError, now};

const COLUMNS: &str =
    "id, verb, arguments, device, state, error, n_tries, created_unix_ms, started_unix_ms, finished_unix_ms";

impl Store {
    /// Adds a job to the queue; its number.
    ///
    /// # Errors
    ///
    /// When the database cannot be written; so for all that follow.
    pub fn add_job(&self, job: &NewJob, device: &str) -> Result<u64, StoreError> {
        let arguments = serde_json::to_string(&job.arguments).expect("texts serialize");
        self.work(|database| {
            let insert = "INSERT INTO job (verb, arguments, device, state, error, n_tries, created_unix_ms) \
                          VALUES (?1, ?2, ?3, 'queued', '', 0, ?4)";
            database.execute(insert, params![job.verb, arguments, device, now()])?;
            Ok(database.last_insert_rowid() as u64)
        })
    }

    /// All jobs, the newest first.
    ///
    /// # Errors
    ///
    /// As [`Store::add_job`].
    pub fn jobs(&self) -> Result<Vec<JobView>, StoreError> {
        self.look(|database| read(database, "ORDER BY id DESC"))
    }

    /// Those that wait, in the order in which they were queued.
    ///
    /// # Errors
    ///
    /// As [`Store::add_job`].
    pub fn queued_jobs(&self) -> Result<Vec<JobView>, StoreError> {
        self.look(|database| read(database, "WHERE state = 'queued' ORDER BY id"))
    }

    /// One job.
    ///
    /// # Errors
    ///
    /// As [`Store::add_job`].
    pub fn job(&self, id: u64) -> Result<Option<JobView>, StoreError> {
        self.look(|database| {
            database.query_row(&format!("SELECT {COLUMNS} FROM job WHERE id = ?1"), [id], view).optional()
        })
    }

    /// A job was started.
    ///
    /// # Errors
    ///
    /// As [`Store::add_job`].
    pub fn begin_job(&self, id: u64) -> Result<(), StoreError> {
        self.update(
            "UPDATE job SET state = 'running', n_tries = n_tries + 1, started_unix_ms = ?2, finished_unix_ms = NULL, \
             error = '' WHERE id = ?1",
            params![id, now()],
        )
    }

    /// A job ended.
    ///
    /// # Errors
    ///
    /// As [`Store::add_job`].
    pub fn end_job(&self, id: u64, state: JobState, error: &str) -> Result<(), StoreError> {
        self.update(
            "UPDATE job SET state = ?2, error = ?3, finished_unix_ms = ?4 WHERE id = ?1",
            params![id, state.name(), error, now()],
        )
    }

    /// A job that is taken for running does not run and is to run no more.
    ///
    /// # Errors
    ///
    /// As [`Store::add_job`].
    pub fn cancel_running_job(&self, id: u64) -> Result<(), StoreError> {
        self.update(
            "UPDATE job SET state = 'cancelled', error = '', finished_unix_ms = ?2 WHERE id = ?1 AND state = 'running'",
            params![id, now()],
        )
    }

    /// A job is to be run again; false when there is none of this number that ended other than well.
    ///
    /// # Errors
    ///
    /// As [`Store::add_job`].
    pub fn requeue_job(&self, id: u64) -> Result<bool, StoreError> {
        let update = "UPDATE job SET state = 'queued', error = '', finished_unix_ms = NULL \
                      WHERE id = ?1 AND state IN ('failed', 'cancelled', 'interrupted')";
        self.look(|database| Ok(database.execute(update, params![id])? > 0))
    }

    /// What ran when the last server ended does not run any more.
    ///
    /// # Errors
    ///
    /// As [`Store::add_job`].
    pub fn interrupt_jobs(&self) -> Result<(), StoreError> {
        let update = "UPDATE job SET state = 'interrupted', error = 'the server ended', finished_unix_ms = ?1 \
                      WHERE state = 'running'";
        self.look(|database| database.execute(update, params![now()]).map(drop))
    }

    fn update(&self, query: &str, values: &[&dyn rusqlite::ToSql]) -> Result<(), StoreError> {
        self.work(|database| database.execute(query, values).map(drop))
    }
}

fn read(database: &Connection, rest: &str) -> rusqlite::Result<Vec<JobView>> {
    database.prepare_cached(&format!("SELECT {COLUMNS} FROM job {rest}"))?.query_map([], view)?.collect()
}

fn view(row: &Row) -> rusqlite::Result<JobView> {
    let (arguments, state): (String, String) = (row.get(2)?, row.get(4)?);
    Ok(JobView {
        id: row.get(0)?,
        verb: row.get(1)?,
        arguments: serde_json::from_str(&arguments).unwrap_or_default(),
        command: String::new(),
        device: row.get(3)?,
        // Only names of states are ever stored.
        state: JobState::named(&state).unwrap_or(JobState::Interrupted),
        error: row.get(5)?,
        n_tries: row.get(6)?,
        created_unix_ms: row.get(7)?,
        started_unix_ms: row.get(8)?,
        finished_unix_ms: row.get(9)?,
        progress: None,
    })
}
