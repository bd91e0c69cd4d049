//! The job queue: verbs that a server runs on its study as child processes of the same binary, one at a time on each device.
//!
//! Jobs are rows of `whence.db` ([`crate::store`]), their output lies in `jobs/ID.log`. A thread of its own starts what
//! waits, sees what ended and kills what was cancelled; killing is safe, as every verb goes on where it stopped. A child
//! ends when its standard input closes ([`PARENT`]), so that none outlives the server, however that ends. `jobs/lock` is held
//! by the one server that runs a study's jobs.

mod command;
mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use thiserror::Error;
use whence_shared::jobs::{JobLog, JobState, JobView, NewJob};

use crate::files::{Context, FileError};
use crate::store::{Store, StoreError};
use crate::study::Study;
use process::Process;

/// Environment variable with the file that a verb writes its progress to, a [`whence_shared::jobs::JobProgress`] as JSON.
pub const PROGRESS: &str = "WHENCE_PROGRESS_FILE";
/// Environment variable that makes a verb end when its standard input does.
pub const PARENT: &str = "WHENCE_ENDS_WITH_STDIN";

/// How often children are looked at.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the thread sleeps when there are none.
const IDLE_PAUSE: Duration = Duration::from_secs(3600);
/// How long it waits before it asks a database again that refused.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Most bytes of a log in one answer.
const MAX_LOG_BYTES: u64 = 256 << 10;

/// What stops jobs from being run.
#[derive(Debug, Error)]
pub enum JobError {
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another server of the study runs its jobs.
    #[error("another server of this study runs its jobs")]
    Busy,
    /// A job that cannot be queued.
    #[error("{0}")]
    Malformed(String),
    /// There is no such job.
    #[error("job {0} does not exist")]
    Unknown(u64),
    /// A job in another state than is asked for.
    #[error("job {id} is {}", state.name())]
    State {
        /// The job.
        id: u64,
        /// Its state.
        state: JobState,
    },
}

/// A study's jobs, run until dropped.
#[derive(Debug)]
pub struct Jobs {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    _lock: File,
}

#[derive(Debug)]
struct Shared {
    study: Study,
    program: PathBuf,
    store: Arc<Store>,
    orders: Mutex<Orders>,
    wake: Condvar,
}

/// What the thread is told.
#[derive(Debug, Default)]
struct Orders {
    cancelled: BTreeSet<u64>,
    /// Whether something was queued.
    has_news: bool,
    is_over: bool,
}

/// What the thread knows.
#[derive(Debug, Default)]
struct Work {
    /// By device.
    running: BTreeMap<String, Process>,
    /// How jobs ended that the database still takes for running: it refused to hear of it.
    unwritten: BTreeMap<u64, (JobState, String)>,
    /// When the database is asked again that refused.
    retry_at: Option<Instant>,
}

impl Jobs {
    /// Starts running a study's jobs with a `whence` binary. What ran when the last server ended is marked as interrupted.
    ///
    /// # Errors
    ///
    /// [`JobError::Busy`]; when the database or the folder cannot be written.
    pub fn start(study: &Study, program: PathBuf, store: Arc<Store>) -> Result<Self, JobError> {
        let folder = study.jobs();
        fs::create_dir_all(&folder).at("create folder", &folder)?;
        let path = folder.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path).at("create", &path)?;
        if let Err(TryLockError::WouldBlock) = lock.try_lock() {
            return Err(JobError::Busy);
        }
        store.interrupt_jobs()?;
        let orders = Mutex::new(Orders { has_news: true, ..Orders::default() });
        let wake = Condvar::new();
        let shared = Arc::new(Shared { study: study.clone(), program, store, orders, wake });
        let thread = std::thread::spawn({
            let shared = shared.clone();
            move || shared.run()
        });
        Ok(Self { shared, thread: Mutex::new(Some(thread)), _lock: lock })
    }

    /// Puts a job into the queue.
    ///
    /// # Errors
    ///
    /// [`JobError::Malformed`] when it is none that may be run.
    pub fn queue(&self, job: &NewJob) -> Result<JobView, JobError> {
        command::check(job)?;
        let id = self.shared.store.add_job(job, &command::device(job))?;
        self.shared.tell();
        self.job(id)
    }

    /// All jobs, the newest first.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub fn all(&self) -> Result<Vec<JobView>, JobError> {
        let mut jobs = self.shared.store.jobs()?;
        jobs.iter_mut().for_each(|job| self.shared.complete(job));
        Ok(jobs)
    }

    /// One job.
    ///
    /// # Errors
    ///
    /// [`JobError::Unknown`].
    pub fn job(&self, id: u64) -> Result<JobView, JobError> {
        let mut job = self.shared.store.job(id)?.ok_or(JobError::Unknown(id))?;
        self.shared.complete(&mut job);
        Ok(job)
    }

    /// Cancels a job that waits or runs. One that runs ends a moment later.
    ///
    /// # Errors
    ///
    /// [`JobError::State`] when it does neither.
    pub fn cancel(&self, id: u64) -> Result<JobView, JobError> {
        // Under the lock of the orders the thread starts and ends nothing.
        let mut orders = self.shared.orders();
        let job = self.job(id)?;
        match job.state {
            JobState::Queued => self.shared.store.end_job(id, JobState::Cancelled, "")?,
            JobState::Running => drop(orders.cancelled.insert(id)),
            state => return Err(JobError::State { id, state }),
        }
        drop(orders);
        self.shared.wake.notify_all();
        self.job(id)
    }

    /// Queues a job again that did not end well.
    ///
    /// # Errors
    ///
    /// [`JobError::State`] when it waits, runs or ended well.
    pub fn retry(&self, id: u64) -> Result<JobView, JobError> {
        if !self.shared.store.requeue_job(id)? {
            let state = self.job(id)?.state;
            return Err(JobError::State { id, state });
        }
        self.shared.tell();
        self.job(id)
    }

    /// What a job printed, from a byte on.
    ///
    /// # Errors
    ///
    /// [`JobError::Unknown`]; when the log cannot be read.
    pub fn log(&self, id: u64, from: u64) -> Result<JobLog, JobError> {
        let is_open = self.job(id)?.state.is_open();
        let path = self.shared.study.job_log(id);
        let Ok(mut file) = File::open(&path) else {
            return Ok(JobLog { from: 0, to: 0, text: String::new(), is_complete: !is_open });
        };
        let n_bytes = file.metadata().at("read", &path)?.len();
        let from = from.min(n_bytes);
        file.seek(SeekFrom::Start(from)).at("read", &path)?;
        let mut bytes = Vec::new();
        file.take(MAX_LOG_BYTES).read_to_end(&mut bytes).at("read", &path)?;
        if bytes.len() as u64 == MAX_LOG_BYTES {
            // Not in the middle of a line, nor of a character.
            let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
            bytes.truncate(end);
        }
        let to = from + bytes.len() as u64;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(JobLog { from, to, text, is_complete: !is_open && to == n_bytes })
    }
}

impl Jobs {
    /// Ends what runs and starts nothing more.
    pub fn end(&self) {
        self.shared.orders().is_over = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take() {
            // A panic there was printed there.
            let _ = thread.join();
        }
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Something was queued.
    fn tell(&self) {
        self.orders().has_news = true;
        self.wake.notify_all();
    }

    /// What is not in the database: the command line, and how far it is.
    fn complete(&self, job: &mut JobView) {
        job.command = command::line(&self.program, &self.study, &job.verb, &job.arguments);
        if job.state == JobState::Running {
            job.progress = process::progress(&self.study, job.id);
        }
    }

    /// Starts, watches and ends jobs until the server does.
    fn run(&self) {
        let mut work = Work::default();
        let mut orders = self.orders();
        while !orders.is_over {
            self.look(&mut work, &mut orders);
            // With nothing to watch, until there is news; news that a database refused to hear wait for it.
            let is_waiting = work.retry_at.is_some();
            let pause = match work.running.is_empty() {
                false => PAUSE,
                true if is_waiting => RETRY_PAUSE,
                true => IDLE_PAUSE,
            };
            let idle = self.wake.wait_timeout_while(orders, pause, |orders| {
                !orders.is_over && (is_waiting || !orders.has_news && orders.cancelled.is_empty())
            });
            (orders, _) = idle.unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        drop(orders);
        for process in std::mem::take(&mut work.running).into_values() {
            work.unwritten.insert(process.id, (JobState::Interrupted, "the server ended".into()));
            process.kill();
        }
        // What cannot be said now is found interrupted when the next server starts.
        for (id, (state, why)) in work.unwritten {
            if let Err(error) = self.store.end_job(id, state, &why) {
                tracing::error!("job {id}: {error}");
            }
        }
    }

    /// Looks at what runs, and says and starts what is to be. What the database refuses is done a while later.
    fn look(&self, work: &mut Work, orders: &mut Orders) {
        for (device, mut process) in std::mem::take(&mut work.running) {
            let end = if orders.cancelled.remove(&process.id) {
                let id = process.id;
                process.kill();
                (id, JobState::Cancelled, String::new())
            } else if let Some(end) = process.ended(&self.study) {
                let state = if end.is_ok() { JobState::Done } else { JobState::Failed };
                (process.id, state, end.err().unwrap_or_default())
            } else {
                work.running.insert(device, process);
                continue;
            };
            orders.has_news = true;
            work.unwritten.insert(end.0, (end.1, end.2));
        }
        if work.retry_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        work.retry_at = match self.write(work, orders) {
            Ok(()) => None,
            Err(error) => {
                tracing::error!("jobs: {error}");
                Some(Instant::now() + RETRY_PAUSE)
            }
        };
    }

    /// Brings the database and what runs together. Until that went well, the orders stand.
    fn write(&self, work: &mut Work, orders: &mut Orders) -> Result<(), StoreError> {
        while let Some(entry) = work.unwritten.first_entry() {
            let (state, why) = entry.get();
            self.store.end_job(*entry.key(), *state, why)?;
            entry.remove();
        }
        // Nothing runs any more of what was cancelled too late: it ended, or its server could not say that it did.
        let is_running = |id: &u64| work.running.values().any(|process| process.id == *id);
        while let Some(id) = orders.cancelled.iter().copied().find(|id| !is_running(id)) {
            self.store.cancel_running_job(id)?;
            orders.cancelled.remove(&id);
        }
        if !orders.has_news {
            return Ok(());
        }
        for job in self.store.queued_jobs()? {
            if work.running.contains_key(&job.device) {
                continue;
            }
            self.store.begin_job(job.id)?;
            match Process::start(&self.program, &self.study, &job) {
                Ok(process) => drop(work.running.insert(job.device, process)),
                Err(error) => drop(work.unwritten.insert(job.id, (JobState::Failed, error.to_string()))),
            }
        }
        orders.has_news = !work.unwritten.is_empty();
        Ok(())
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rusqlite::Connection;

    use super::*;

    /// Jobs that end when a file appears, and a database that is waited for only a moment.
    struct Waiting {
        folder: tempfile::TempDir,
        jobs: Jobs,
        store: Arc<Store>,
    }

    impl Waiting {
        fn start() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let study = Study::at(folder.path().join("study"));
            let program = folder.path().join("whence");
            fs::write(&program, "#!/bin/sh\nwhile [ ! -e \"$0.end\" ]; do sleep 0.02; done\n").unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
            let store = Arc::new(Store::of(&study).waiting(Duration::from_millis(20)));
            let jobs = Jobs::start(&study, program, store.clone()).unwrap();
            Self { folder, jobs, store }
        }

        fn end_what_runs(&self) {
            fs::write(self.folder.path().join("whence.end"), "").unwrap();
        }

        /// Waits until a job stands so. A database that another holds is asked again.
        #[track_caller]
        fn wait(&self, id: u64, state: JobState) {
            let start = Instant::now();
            while self.jobs.job(id).map(|job| job.state).ok() != Some(state) {
                assert!(start.elapsed() < Duration::from_secs(20), "{:?}", self.jobs.job(id));
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    fn rank() -> NewJob {
        NewJob { verb: "rank".into(), arguments: Vec::new() }
    }

    #[test]
    fn a_job_that_ends_while_the_database_is_held_is_recorded_later_and_the_queue_goes_on() {
        let waiting = Waiting::start();
        let ids = [(); 2].map(|()| waiting.jobs.queue(&rank()).unwrap().id);
        waiting.wait(ids[0], JobState::Running);
        let other = Connection::open(waiting.jobs.shared.study.database()).unwrap();
        other.busy_timeout(Duration::from_secs(10)).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        waiting.end_what_runs();
        std::thread::sleep(Duration::from_secs(1));
        other.execute_batch("COMMIT").unwrap();
        waiting.wait(ids[0], JobState::Done);
        waiting.wait(ids[1], JobState::Done);
        assert_eq!(waiting.jobs.job(ids[0]).unwrap().n_tries, 1);
    }

    #[test]
    fn a_job_that_only_the_database_takes_for_running_can_be_cancelled() {
        let waiting = Waiting::start();
        let id = waiting.store.add_job(&rank(), "cpu").unwrap();
        waiting.store.begin_job(id).unwrap();
        waiting.jobs.cancel(id).unwrap();
        waiting.wait(id, JobState::Cancelled);
    }

    #[test]
    fn a_job_is_queued_again_only_when_it_neither_waits_nor_runs() {
        let waiting = Waiting::start();
        let id = waiting.jobs.queue(&rank()).unwrap().id;
        waiting.wait(id, JobState::Running);
        assert!(!waiting.store.requeue_job(id).unwrap(), "it runs");
        assert!(matches!(waiting.jobs.retry(id), Err(JobError::State { state: JobState::Running, .. })));
        assert!(matches!(waiting.jobs.retry(9), Err(JobError::Unknown(9))));
        waiting.jobs.cancel(id).unwrap();
        waiting.wait(id, JobState::Cancelled);
        assert_eq!(waiting.jobs.retry(id).unwrap().id, id);
        waiting.wait(id, JobState::Running);
    }
}
