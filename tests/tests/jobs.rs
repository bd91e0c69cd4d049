//! Jobs: verbs run by the server as child processes of the real binary, over a real socket.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::tempdir;
use whence_backend::jobs::{JobError, Jobs};
use whence_backend::store::Store;
use whence_backend::study::Study;
use whence_shared::api::{ErrorKind, ServerView};
use whence_shared::jobs::{JobLog, JobState, JobView, NewJob};
use whence_tests::made_study::{self, BEHAVIOR};
use whence_tests::served::Site;
use whence_tests::{binary, served};

const MANY_PAIRS: usize = 1_500;

fn job(verb: &str, arguments: &[&str]) -> NewJob {
    NewJob { verb: verb.into(), arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect() }
}

/// One that takes a while.
fn long(name: &str) -> NewJob {
    job("map", &["--layer", "1", "--method", "umap", "--name", name])
}

/// Waits until a job is as wanted.
#[track_caller]
fn wait(look: impl Fn() -> JobView, wanted: impl Fn(&JobView) -> bool) -> JobView {
    let start = Instant::now();
    loop {
        let job = look();
        if wanted(&job) {
            return job;
        }
        assert!(start.elapsed() < Duration::from_secs(120), "{job:?}");
        std::thread::sleep(Duration::from_millis(30));
    }
}

fn running() -> Site {
    Site::start_with(|options| options.jobs = Some(binary::path()))
}

#[test]
fn a_job_is_the_command_line_that_is_shown_and_its_output_is_kept() {
    let site = running();
    assert!(site.get("/api/v1").of::<ServerView>().can_run_jobs);
    assert!(site.get("/api/v1/jobs").of::<Vec<JobView>>().is_empty() && !site.study.database().exists());
    let mut events = BufReader::new(TcpStream::connect(site.address()).unwrap());
    events.get_ref().set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(events.get_mut(), "GET /api/v1/jobs/events HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();

    let queued: JobView = site.post_json("/api/v1/jobs", &job("rank", &["--behavior", BEHAVIOR, "--layer", "2"])).of();
    let root = site.study.root().to_str().unwrap();
    assert_eq!(queued.command, format!("whence rank --study {root} --behavior {BEHAVIOR} --layer 2"));
    assert_eq!((queued.id, queued.device.as_str()), (1, "cpu"));
    let look = || site.get("/api/v1/jobs/1").of::<JobView>();
    let done = wait(look, |job| !job.state.is_open());
    assert_eq!((done.state, done.n_tries, done.error.as_str()), (JobState::Done, 1, ""));
    assert!(done.started_unix_ms >= Some(done.created_unix_ms) && done.finished_unix_ms >= done.started_unix_ms);
    assert!(site.study.ranking(BEHAVIOR, 2).is_file());
    let log: JobLog = site.get("/api/v1/jobs/1/log").of();
    assert!(log.text.starts_with(&format!("$ {}\n", done.command)) && log.is_complete, "{}", log.text);
    let rest: JobLog = site.get(&format!("/api/v1/jobs/1/log?from={}", log.to - 4)).of();
    assert_eq!((rest.from, rest.text.as_str()), (log.to - 4, &log.text[log.text.len() - 4..]));

    let mut said = String::new();
    while !said.contains("\"state\":\"done\"") {
        assert!(events.read_line(&mut said).unwrap() > 0, "{said}");
    }
    assert!(said.contains("content-type: text/event-stream") && said.contains("event: job\n"), "{said}");

    // One that fails says why, and may be tried again.
    site.post_json("/api/v1/jobs", &job("rank", &["--behavior", "none"])).of::<JobView>();
    let look = || site.get("/api/v1/jobs/2").of::<JobView>();
    let failed = wait(look, |job| !job.state.is_open());
    assert_eq!(failed.state, JobState::Failed);
    assert!(failed.error.contains("none"), "{}", failed.error);
    site.post("/api/v1/jobs/2/retry", "{}").of::<JobView>();
    assert_eq!(wait(look, |job| !job.state.is_open() && job.n_tries == 2).state, JobState::Failed);
    let ids: Vec<u64> = site.get("/api/v1/jobs").of::<Vec<JobView>>().iter().map(|job| job.id).collect();
    assert_eq!(ids, [2, 1]);
    site.post_json("/api/v1/jobs", &job("rank", &[])).of::<JobView>();
    let look = || site.get("/api/v1/jobs/3").of::<JobView>();
    let failed = wait(look, |job| !job.state.is_open());
    assert!(failed.error.contains("--behavior"), "what is missing is named: {}", failed.error);

    for (answer, status, kind, said) in [
        (site.post_json("/api/v1/jobs", &job("serve", &[])), 400, ErrorKind::Malformed, "expected one of extract"),
        (site.post_json("/api/v1/jobs", &job("rank", &["--study", "x"])), 400, ErrorKind::Malformed, "leave it out"),
        (
            site.post("/api/v1/jobs", r#"{"verb":"rank","args":["--behavior","none"]}"#),
            400,
            ErrorKind::Malformed,
            "unknown field `args`, expected `verb` or `arguments`",
        ),
        (site.post("/api/v1/jobs/1/retry", "{}"), 400, ErrorKind::Malformed, "job 1 is done"),
        (site.post("/api/v1/jobs/1/cancel", "{}"), 400, ErrorKind::Malformed, "job 1 is done"),
        (site.post("/api/v1/jobs/9/cancel", "{}"), 404, ErrorKind::NotFound, "job 9 does not exist"),
        (site.get("/api/v1/jobs/x"), 404, ErrorKind::NotFound, "job x does not exist"),
        (
            site.get("/api/v1/jobs/18446744073709551615"),
            404,
            ErrorKind::NotFound,
            "job 18446744073709551615 does not exist",
        ),
        (site.get("/api/v1/jobs/1/log?from=abc"), 400, ErrorKind::Malformed, "expected ?from=N"),
    ] {
        assert_eq!((answer.status, answer.refusal().kind), (status, kind), "{said}");
        assert!(answer.error().contains(said), "{}", answer.error());
    }
    let without = Site::start();
    let refused = without.post_json("/api/v1/jobs", &job("rank", &[]));
    assert_eq!((refused.status, refused.refusal().kind), (403, ErrorKind::NoJobs));
}

fn start(study: &Study) -> Result<Jobs, JobError> {
    Jobs::start(study, binary::path(), Arc::new(Store::of(study)))
}

#[test]
fn one_job_runs_on_a_device_and_is_cancelled_or_interrupted_and_done_again() {
    let folder = tempdir().unwrap();
    let study = made_study::make(folder.path(), MANY_PAIRS);
    let jobs = start(&study).unwrap();
    assert!(matches!(start(&study), Err(JobError::Busy)), "one server runs a study's jobs");
    let (first, second) = (jobs.queue(&long("first")).unwrap().id, jobs.queue(&long("second")).unwrap().id);
    let look = |id| jobs.job(id).unwrap();
    let seen = wait(|| look(first), |job| job.progress.is_some() || !job.state.is_open());
    assert_eq!((seen.state, look(second).state), (JobState::Running, JobState::Queued), "{seen:?}");
    let progress = seen.progress.unwrap();
    assert!(!progress.stage.is_empty() && (progress.total == 0 || progress.done <= progress.total), "{progress:?}");
    assert_eq!(jobs.cancel(second).unwrap().state, JobState::Cancelled);
    jobs.cancel(first).unwrap();
    assert_eq!(wait(|| look(first), |job| !job.state.is_open()).state, JobState::Cancelled);
    assert!(!study.map("first").exists());

    // The server ends, and so does what it runs.
    jobs.retry(second).unwrap();
    wait(|| look(second), |job| job.state == JobState::Running);
    drop(jobs);
    let jobs = start(&study).unwrap();
    let interrupted = jobs.job(second).unwrap();
    assert_eq!((interrupted.state, interrupted.progress), (JobState::Interrupted, None));
    assert!(!study.map("second").exists());
    jobs.retry(second).unwrap();
    let done = wait(|| jobs.job(second).unwrap(), |job| !job.state.is_open());
    assert_eq!((done.state, done.n_tries), (JobState::Done, 2), "{}", done.error);
    assert!(study.map("second").is_file());
}

#[test]
fn a_job_ends_when_the_server_is_killed() {
    let folder = tempdir().unwrap();
    let study = made_study::make(folder.path(), MANY_PAIRS);
    let mut command = std::process::Command::new(binary::path());
    command.arg("serve").arg("--study").arg(study.root()).arg("--app").arg(served::app(folder.path()));
    let mut server = command.args(["--port", "0"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap();
    let site = Site::at(folder, study.clone(), address.parse().unwrap());
    site.post_json("/api/v1/jobs", &long("third")).of::<JobView>();
    wait(|| site.get("/api/v1/jobs/1").of(), |job| job.progress.is_some());
    server.kill().unwrap();
    server.wait().unwrap();
    let jobs = start(&study).unwrap();
    assert_eq!(jobs.job(1).unwrap().state, JobState::Interrupted);
    let start = Instant::now();
    while !jobs.log(1, 0).unwrap().text.contains("the server that ran this ended") {
        assert!(start.elapsed() < Duration::from_secs(30), "{}", jobs.log(1, 0).unwrap().text);
        std::thread::sleep(Duration::from_millis(30));
    }
    assert!(!study.map("third").exists());
}
