//! A job as a child process: started with its output in a file, watched, killed.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use whence_shared::jobs::{JobProgress, JobView};

use super::{PARENT, PROGRESS, command};
use crate::study::Study;

/// Bytes of a log's end in which its error is looked for.
const MAX_TAIL_BYTES: usize = 16 << 10;

/// A running job.
#[derive(Debug)]
pub struct Process {
    /// The job.
    pub id: u64,
    /// Holds the writing end of its standard input, which closes with it.
    child: Child,
}

impl Process {
    /// Starts a job.
    pub fn start(program: &Path, study: &Study, job: &JobView) -> io::Result<Self> {
        let mut log = OpenOptions::new().create(true).append(true).open(study.job_log(job.id))?;
        writeln!(log, "$ {}", command::line(program, study, &job.verb, &job.arguments))?;
        // Of an earlier try.
        let _ = fs::remove_file(study.job_progress(job.id));
        let child = Command::new(program)
            .args(command::arguments(study, &job.verb, &job.arguments))
            .env(PROGRESS, study.job_progress(job.id))
            .env(PARENT, "1")
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self { id: job.id, child })
    }

    /// How it ended, if it did: well, or why not.
    pub fn ended(&mut self, study: &Study) -> Option<Result<(), String>> {
        let status = match self.child.try_wait() {
            Ok(None) => return None,
            Ok(Some(status)) => status,
            Err(error) => return Some(Err(error.to_string())),
        };
        let _ = fs::remove_file(study.job_progress(self.id));
        if status.success() {
            return Some(Ok(()));
        }
        Some(Err(last_error(study, self.id).unwrap_or_else(|| format!("it ended with {status}"))))
    }

    /// Ends it at once. It may have ended by itself.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last error that a job printed.
fn last_error(study: &Study, id: u64) -> Option<String> {
    let bytes = fs::read(study.job_log(id)).ok()?;
    error_in(&String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(MAX_TAIL_BYTES)..]))
}

/// The last error in what was printed, with the indented lines that follow one that ends in a colon: what it is about.
fn error_in(printed: &str) -> Option<String> {
    let lines: Vec<&str> = printed.lines().collect();
    let at = lines.iter().rposition(|line| line.starts_with("error:"))?;
    let error = lines[at].trim_start_matches("error:").trim();
    if !error.ends_with(':') {
        return Some(error.to_owned());
    }
    let listed = lines[at + 1..].iter().take_while(|line| line.starts_with(' ') && !line.trim().is_empty());
    let listed: Vec<&str> = listed.map(|line| line.trim()).collect();
    Some(format!("{error} {}", listed.join(", ")).trim_end().to_owned())
}

/// How far a job says it is.
pub fn progress(study: &Study, id: u64) -> Option<JobProgress> {
    serde_json::from_slice(&fs::read(study.job_progress(id)).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::error_in;

    #[test]
    fn an_error_is_told_with_what_it_lists() {
        let missing = "$ whence rank\nerror: the following required arguments were not provided:\n  --behavior <BEHAVIOR>\n  \
                       --layer <LAYER>\n\nUsage: whence rank\n";
        let told = "the following required arguments were not provided: --behavior <BEHAVIOR>, --layer <LAYER>";
        assert_eq!(error_in(missing).unwrap(), told);
        assert_eq!(error_in("error: first\nerror: no such layer\n  2 of 3\n").unwrap(), "no such layer");
        assert_eq!(error_in("error: nothing follows:\n").unwrap(), "nothing follows:");
        assert_eq!(error_in("all is well\n"), None);
    }
}
