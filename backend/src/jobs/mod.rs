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
use std::time::Duration;

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
    thread: Option<JoinHandle<()>>,
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
        Ok(Self { shared, thread: Some(thread), _lock: lock })
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
        let job = self.job(id)?;
        match job.state {
            JobState::Failed | JobState::Cancelled | JobState::Interrupted => self.shared.store.requeue_job(id)?,
            state => return Err(JobError::State { id, state }),
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

impl Drop for Jobs {
    fn drop(&mut self) {
        self.shared.orders().is_over = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic there was printed there.
            let _ = thread.join();
        }
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
        let mut running: BTreeMap<String, Process> = BTreeMap::new();
        let mut orders = self.orders();
        while !orders.is_over {
            if let Err(error) = self.look(&mut running, &mut orders) {
                tracing::error!("jobs: {error}");
            }
            // With nothing to watch, until there is news.
            let pause = if running.is_empty() { IDLE_PAUSE } else { PAUSE };
            let idle = self.wake.wait_timeout_while(orders, pause, |orders| {
                !orders.is_over && !orders.has_news && orders.cancelled.is_empty()
            });
            (orders, _) = idle.unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        drop(orders);
        for process in running.into_values() {
            let id = process.id;
            process.kill();
            self.end(id, JobState::Interrupted, "the server ended");
        }
    }

    /// A job that cannot be said to have ended is found interrupted when the next server starts.
    fn end(&self, id: u64, state: JobState, why: &str) {
        if let Err(error) = self.store.end_job(id, state, why) {
            tracing::error!("job {id}: {error}");
        }
    }

    fn look(&self, running: &mut BTreeMap<String, Process>, orders: &mut Orders) -> Result<(), JobError> {
        for (device, mut process) in std::mem::take(running) {
            if orders.cancelled.remove(&process.id) {
                let id = process.id;
                process.kill();
                orders.has_news = true;
                self.end(id, JobState::Cancelled, "");
            } else if let Some(end) = process.ended(&self.study) {
                orders.has_news = true;
                let state = if end.is_ok() { JobState::Done } else { JobState::Failed };
                self.end(process.id, state, &end.err().unwrap_or_default());
            } else {
                running.insert(device, process);
            }
        }
        // Nothing runs any more of what was cancelled too late.
        orders.cancelled.retain(|id| running.values().any(|process| process.id == *id));
        if !std::mem::take(&mut orders.has_news) {
            return Ok(());
        }
        for job in self.store.queued_jobs()? {
            if running.contains_key(&job.device) {
                continue;
            }
            self.store.begin_job(job.id)?;
            match Process::start(&self.program, &self.study, &job) {
                Ok(process) => drop(running.insert(job.device, process)),
                Err(error) => self.end(job.id, JobState::Failed, &error.to_string()),
            }
        }
        Ok(())
    }
}
