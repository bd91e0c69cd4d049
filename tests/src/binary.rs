//! Running the real `whence` binary, the way a person does, and looking at what it says.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Output};

/// The binary under test.
///
/// # Panics
///
/// Panics when `WHENCE_BIN` is not set to a file: the tests never build anything themselves.
pub fn path() -> PathBuf {
    let path = std::env::var_os("WHENCE_BIN").map(PathBuf::from).unwrap_or_else(|| {
        panic!("WHENCE_BIN is not set: run the tests through `cargo xtask test`, or set it to the built whence binary")
    });
    assert!(path.is_file(), "WHENCE_BIN is {}, which is not a file: build it first", path.display());
    path
}

/// What a finished run left behind.
#[derive(Debug)]
pub struct Run {
    /// The command line, for messages.
    pub command: String,
    /// Whether the exit status was 0.
    pub success: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Run {
    fn new(command: &Command, output: &Output) -> Self {
        Self {
            command: format!("{command:?}"),
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The run, which must have succeeded.
    ///
    /// # Panics
    ///
    /// Panics with what the command said when it failed.
    pub fn succeeds(self) -> Self {
        assert!(self.success, "{}\nfailed:\n{}\n{}", self.command, self.stdout, self.stderr);
        self
    }

    /// The run, which must have failed with one error that contains every one of `parts`, and without panicking.
    ///
    /// # Panics
    ///
    /// Panics with what the command said when it succeeded, panicked, or said something else.
    pub fn fails_naming(self, parts: &[&str]) -> Self {
        let said = format!("{}\nsaid:\n{}\n{}", self.command, self.stdout, self.stderr);
        assert!(!self.success, "expected failure, but it succeeded; {said}");
        assert!(!self.stderr.contains("panicked"), "it panicked; {said}");
        let n_errors = self.stderr.lines().filter(|line| line.starts_with("error:")).count();
        assert_eq!(n_errors, 1, "expected one line that starts with `error:`; {said}");
        for part in parts {
            assert!(self.stderr.contains(part), "expected the error to contain {part:?}; {said}");
        }
        self
    }
}

/// Runs `whence` with arguments and waits for it.
///
/// # Panics
///
/// Panics when it cannot be started.
pub fn whence<I, S>(args: I) -> Run
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut command = Command::new(path());
    command.args(args);
    finish(command)
}

/// Runs a prepared command and waits for it.
///
/// # Panics
///
/// Panics when it cannot be started.
pub fn finish(mut command: Command) -> Run {
    let output = command.output().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    Run::new(&command, &output)
}
