//! `whence.db`: what people decide while they read a study, in SQLite beside the files that verbs make. Verbs know nothing of
//! it; the server alone reads and writes it.
//!
//! The file appears with the first thing that is stored. It is in WAL mode, every change is one transaction, and two servers
//! of one study may work on it: each waits for the other. `PRAGMA user_version` is the version of its tables; a file of a
//! newer one is left alone. [`decisions`] holds the worklist, [`edit_set`]
//! makes edit sets of it, `jobs` is the queue of [`crate::jobs`],
//! [`shares`] are read-only links.

pub mod decisions;
pub mod edit_set;
mod jobs;
mod list;
mod remap;
pub mod shares;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use thiserror::Error;
use whence_shared::api::{RankingEnd, VERSION};

use crate::data::pairs::PairFileError;
use crate::edit::EditError;
use crate::files::{self, FileError};
use crate::study::Study;

/// The version of the tables.
const SCHEMA_VERSION: i64 = 1;
/// `PRAGMA application_id`, by which `file` and others tell what it is: `Whnc`.
const APPLICATION_ID: i64 = 0x5768_6e63;
/// How long one server waits for another.
const WAIT: Duration = Duration::from_secs(10);

const SCHEMA: &str = "
    CREATE TABLE state (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        version INTEGER NOT NULL,
        pairs_sha256 TEXT NOT NULL
    ) STRICT;
    INSERT INTO state VALUES (1, 0, '');
    -- The worklist. `position` grows: a pair that is decided again moves to the end.
    CREATE TABLE decision (
        row INTEGER PRIMARY KEY,
        position INTEGER NOT NULL UNIQUE,
        id TEXT NOT NULL,
        pair_sha256 TEXT NOT NULL,
        action TEXT NOT NULL,
        note TEXT NOT NULL
    ) STRICT;
    -- Decisions about pairs that the study no longer holds.
    CREATE TABLE lost_decision (
        position INTEGER NOT NULL,
        row INTEGER NOT NULL,
        id TEXT NOT NULL,
        pair_sha256 TEXT NOT NULL,
        action TEXT NOT NULL,
        note TEXT NOT NULL
    ) STRICT;
    -- The history, and what each step made of each pair: columns of `decision` as JSON, null where there was none.
    CREATE TABLE step (
        number INTEGER PRIMARY KEY,
        label TEXT NOT NULL,
        at_unix_ms INTEGER NOT NULL,
        n_pairs INTEGER NOT NULL,
        is_undone INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE step_change (
        step INTEGER NOT NULL REFERENCES step (number) ON DELETE CASCADE,
        row INTEGER NOT NULL,
        before TEXT,
        after TEXT,
        PRIMARY KEY (step, row)
    ) STRICT, WITHOUT ROWID;
    -- Verbs to be run, that run and that ran; `arguments` is a JSON list.
    CREATE TABLE job (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        verb TEXT NOT NULL,
        arguments TEXT NOT NULL,
        device TEXT NOT NULL,
        state TEXT NOT NULL,
        error TEXT NOT NULL,
        n_tries INTEGER NOT NULL,
        created_unix_ms INTEGER NOT NULL,
        started_unix_ms INTEGER,
        finished_unix_ms INTEGER
    ) STRICT;
    -- Read-only links. `choice` is JSON, of the token there is only a hash.
    CREATE TABLE share (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        token_sha256 TEXT NOT NULL UNIQUE,
        label TEXT NOT NULL,
        choice TEXT NOT NULL,
        created_unix_ms INTEGER NOT NULL,
        expires_unix_ms INTEGER,
        revoked_unix_ms INTEGER
    ) STRICT;
";

/// What stops something from being stored or read.
#[derive(Debug, Error)]
pub enum StoreError {
    /// SQLite refused.
    #[error("{path}: {source}{remedy}", path = path.display(), remedy = remedy(source))]
    Sql {
        /// The database.
        path: PathBuf,
        /// What it said.
        #[source]
        source: rusqlite::Error,
    },
    /// A database of a newer version of Whence.
    #[error("{path} was written by a newer version of Whence (its tables are of version {got}, this one knows {SCHEMA_VERSION})", path = path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        got: i64,
    },
    /// A database of another program.
    #[error("{path} is the database of another program", path = path.display())]
    Foreign {
        /// The database.
        path: PathBuf,
    },
    /// The worklist is no longer what the reader saw.
    #[error("the decisions have changed meanwhile: expected version {expected}, got {got}")]
    Changed {
        /// The present version.
        expected: u64,
        /// What the reader saw.
        got: u64,
    },
    /// A request that cannot be carried out.
    #[error("{0}")]
    Malformed(String),
    /// There is no such ranking.
    #[error("there is no ranking of {behavior:?} at layer {layer} to take the {} of", if *end == RankingEnd::Top { "top" } else { "bottom" })]
    NoRanking {
        /// The behavior.
        behavior: String,
        /// The layer.
        layer: usize,
        /// The end that was asked for.
        end: RankingEnd,
    },
    /// The pairs cannot be read.
    #[error(transparent)]
    Pairs(#[from] PairFileError),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The edit set cannot be made.
    #[error(transparent)]
    Edit(#[from] EditError),
}

fn remedy(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => "; move it away to begin anew",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "; another program holds it: try again",
        Some(ErrorCode::DiskFull) => "; free some space",
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen) => "; check who owns the folder",
        _ => "",
    }
}

/// The database of a study. Opened when first needed.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// How long another that holds it is waited for.
    wait: Duration,
    open: Mutex<Option<Open>>,
}

/// A database that is open, and which files it is in: others may be put in their place while it is.
#[derive(Debug)]
struct Open {
    connection: Connection,
    database: Option<FileId>,
    /// As it was after the last change; there is none before the first.
    log: Option<FileId>,
    is_read_only: bool,
}

/// Device and number of a file; nothing where systems have neither.
type FileId = (u64, u64);

fn file_id(path: &Path) -> Option<FileId> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

impl Store {
    /// That of a study. Touches nothing.
    pub fn of(study: &Study) -> Self {
        Self { path: study.database(), wait: WAIT, open: Mutex::default() }
    }

    /// The same with another wait.
    #[cfg(test)]
    pub fn waiting(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    /// Runs `work` in one transaction; `None` when nothing was ever stored and `create` is false. What fails changes nothing.
    fn transaction<T>(
        &self,
        create: bool,
        work: impl FnOnce(&Transaction) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let mut open = self.open.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if !self.path.is_file() {
            // Never there, or taken away under a running server: what the old connection would write, nobody would find.
            *open = None;
            if !create {
                return Ok(None);
            }
        }
        if let Some(replaced) = open.take_if(|open| open.database != file_id(&self.path)) {
            self.leave(replaced);
        }
        // One that is only read sees no changes that others make.
        if open.as_ref().is_none_or(|open| open.is_read_only) {
            // Seen before it is opened: what is put in its place meanwhile is noticed next time.
            let database = file_id(&self.path);
            let (connection, is_read_only) = self.open()?;
            let database = database.or_else(|| file_id(&self.path));
            *open = Some(Open { connection, database, log: None, is_read_only });
        }
        let Open { connection, log, .. } = open.as_mut().expect("opened above");
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(self.sql())?;
        let done = work(&transaction)?;
        transaction.commit().map_err(self.sql())?;
        *log = file_id(&self.beside("-wal"));
        Ok(Some(done))
    }

    /// Closes a database in whose place another was put. Its log would be taken for that of the other, which it would spoil.
    fn leave(&self, replaced: Open) {
        tracing::warn!("{} was replaced by another: what is stored from now on is stored there", self.path.display());
        let Open { connection, log, .. } = replaced;
        drop(connection);
        if log.is_some() && log == file_id(&self.beside("-wal")) {
            // Best effort: SQLite looks at what is left.
            let _ = remove(&self.beside("-wal"));
            let _ = remove(&self.beside("-shm"));
        }
    }

    /// A file of SQLite's beside the database.
    fn beside(&self, ending: &str) -> PathBuf {
        files::beside(&self.path, ending)
    }

    /// Reads or changes what is there; where nothing was ever stored, nothing is made.
    fn look<T: Default>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let done = self.transaction(false, |database| work(database).map_err(self.sql()))?;
        Ok(done.unwrap_or_default())
    }

    /// Stores something.
    fn work<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let done = self.transaction(true, |database| work(database).map_err(self.sql()))?;
        Ok(done.expect("created where it was not there"))
    }

    fn sql(&self) -> impl Fn(rusqlite::Error) -> StoreError {
        let path = self.path.clone();
        move |source| StoreError::Sql { path: path.clone(), source }
    }

    /// The database, and whether it is only read: where the folder takes no files, SQLite has nowhere to keep its log.
    fn open(&self) -> Result<(Connection, bool), StoreError> {
        let number =
            |connection: &Connection, name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let open = |connection: rusqlite::Result<Connection>| {
            let connection = connection?;
            connection.busy_timeout(self.wait)?;
            let (version, application) = (number(&connection, "user_version")?, number(&connection, "application_id")?);
            Ok((connection, version, application))
        };
        let is_unwritable = |error: &rusqlite::Error| {
            matches!(error.sqlite_error_code(), Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen))
                && self.path.is_file()
        };
        let (opened, is_read_only) = match open(Connection::open(&self.path)) {
            Err(error) if is_unwritable(&error) => (open(self.open_to_read()), true),
            opened => (opened, false),
        };
        let (mut connection, version, application) = opened.map_err(self.sql())?;
        match (version, application) {
            (SCHEMA_VERSION, APPLICATION_ID) => {}
            (0, 0) if self.is_empty(&connection)? => {}
            (got, APPLICATION_ID) if got > SCHEMA_VERSION => {
                return Err(StoreError::Newer { path: self.path.clone(), got });
            }
            _ => return Err(StoreError::Foreign { path: self.path.clone() }),
        }
        if is_read_only {
            return Ok((connection, true));
        }
        let settings = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;";
        connection.execute_batch(settings).map_err(self.sql())?;
        if version == 0 {
            self.create(&mut connection)?;
        }
        Ok((connection, false))
    }

    /// Without a log of its own: what is there is read as if nobody ever changed it.
    fn open_to_read(&self) -> rusqlite::Result<Connection> {
        let path = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte);
        let code = |byte: u8| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
        let uri: String = path.to_string_lossy().replace('\\', "/").bytes().map(code).collect();
        let uri = format!("file:{}{uri}?immutable=1", if uri.starts_with('/') { "" } else { "/" });
        Connection::open_with_flags(uri, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI)
    }

    fn is_empty(&self, connection: &Connection) -> Result<bool, StoreError> {
        let n: i64 =
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(self.sql())?;
        Ok(n == 0)
    }

    fn create(&self, connection: &mut Connection) -> Result<(), StoreError> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(self.sql())?;
        // Another server may have been faster.
        if self.is_empty(&transaction)? {
            transaction.execute_batch(SCHEMA).map_err(self.sql())?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(self.sql())?;
            transaction.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(self.sql())?;
        }
        transaction.commit().map_err(self.sql())?;
        // The file itself then says what it is, also to whoever has only that one.
        connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").map_err(self.sql())
    }
}

/// Whether a study's folder takes new files: the server says so before somebody decides in vain.
pub fn is_writable(study: &Study) -> bool {
    let probe = study.root().join(format!(".whence-{VERSION}.{}.tmp", std::process::id()));
    let made = fs::OpenOptions::new().write(true).create_new(true).open(&probe);
    let _ = remove(&probe);
    made.is_ok()
}

/// Milliseconds since 1970-01-01 UTC.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)
}

#[cfg(all(test, unix))]
mod tests {
    use whence_shared::jobs::NewJob;

    use super::*;

    #[test]
    fn a_database_in_a_folder_that_takes_no_files_is_read() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("50% é?#");
        fs::create_dir(&root).unwrap();
        let study = Study::at(&root);
        let rank = NewJob { verb: "rank".into(), arguments: Vec::new() };
        Store::of(&study).add_job(&rank, "cpu").unwrap();
        let store = Store::of(&study);
        let connection = store.open_to_read().unwrap();
        let count = |connection: &Connection| connection.query_row("SELECT count(*) FROM job", [], |row| row.get(0));
        assert_eq!(count(&connection), Ok(1_i64));
        connection.execute_batch("BEGIN IMMEDIATE").expect("transactions that only read are begun");
        connection.execute_batch("DELETE FROM job").expect_err("nothing is written");
        drop(connection);
        let access = |mode: u32| fs::set_permissions(&root, fs::Permissions::from_mode(mode)).unwrap();
        access(0o555);
        // Who may write everywhere may write here.
        if !is_writable(&study) {
            assert_eq!(store.jobs().map(|jobs| jobs.len()).map_err(|error| error.to_string()), Ok(1));
            assert!(store.add_job(&rank, "cpu").is_err());
        }
        access(0o755);
        store.add_job(&rank, "cpu").unwrap();
        assert_eq!(store.jobs().unwrap().len(), 2);
    }

    #[test]
    fn a_database_that_is_replaced_under_a_running_server_is_the_one_that_is_read_and_written() {
        let folder = tempfile::tempdir().unwrap();
        let study = |name: &str| {
            let root = folder.path().join(name);
            fs::create_dir_all(&root).unwrap();
            Study::at(root)
        };
        let (here, other) = (study("here"), study("other"));
        let rank = |name: &str| NewJob { verb: "rank".into(), arguments: vec![name.into()] };
        let names = |store: &Store| -> Vec<String> {
            store.jobs().unwrap().into_iter().flat_map(|job| job.arguments).collect()
        };
        let store = Store::of(&here);
        store.add_job(&rank("lost"), "cpu").unwrap();
        let earlier = Store::of(&other);
        for name in ["a", "b"] {
            earlier.add_job(&rank(name), "cpu").unwrap();
        }
        drop(earlier);
        assert!(store.beside("-wal").is_file(), "the log of the database that goes");
        fs::rename(other.database(), here.database()).unwrap();
        assert_eq!(names(&store), ["b", "a"]);
        store.add_job(&rank("c"), "cpu").unwrap();
        assert_eq!(names(&Store::of(&here)), ["c", "b", "a"]);
    }
}
