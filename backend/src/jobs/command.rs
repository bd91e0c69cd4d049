//! The command line of a job: what may be run, on which device, and how it is written for a shell.

use std::path::Path;

use whence_shared::jobs::{NewJob, VERBS};
use whence_shared::shell;

use super::JobError;
use crate::study::Study;

/// Most bytes of all arguments together.
const MAX_BYTES: usize = 64 << 10;
/// Verbs that compute with a model.
const WITH_A_MODEL: [&str; 6] = ["extract", "behavior", "sweep", "tokens", "retrain", "evaluate"];

/// Refuses what is no job.
///
/// # Errors
///
/// [`JobError::Malformed`].
pub fn check(job: &NewJob) -> Result<(), JobError> {
    let wrong = |reason: String| Err(JobError::Malformed(reason));
    if !VERBS.contains(&job.verb.as_str()) {
        return wrong(format!("verb {:?}: expected one of {}", job.verb, VERBS.join(", ")));
    }
    if job.arguments.iter().any(|argument| argument == "--study" || argument.starts_with("--study=")) {
        return wrong("--study: leave it out, jobs run on the study that is served".into());
    }
    if job.arguments.iter().any(|argument| argument.contains('\0')) {
        return wrong("an argument has a zero byte".into());
    }
    match job.arguments.iter().map(String::len).sum::<usize>() {
        n if n > MAX_BYTES => wrong(format!("arguments of {n} bytes: expected at most {MAX_BYTES}")),
        _ => Ok(()),
    }
}

/// What a job needs to itself: as `--device` says, `auto` for verbs that compute with a model and do not say, else `cpu`.
pub fn device(job: &NewJob) -> String {
    let mut arguments = job.arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == "--device" {
            return arguments.next().cloned().unwrap_or_default();
        }
        if let Some(device) = argument.strip_prefix("--device=") {
            return device.to_owned();
        }
    }
    if WITH_A_MODEL.contains(&job.verb.as_str()) { "auto".into() } else { "cpu".into() }
}

/// Everything after the program.
pub fn arguments(study: &Study, verb: &str, arguments: &[String]) -> Vec<String> {
    let root = study.root().to_string_lossy().into_owned();
    [verb.to_owned(), "--study".to_owned(), root].into_iter().chain(arguments.iter().cloned()).collect()
}

/// The command line, quoted for a POSIX shell. The program is named as people call it.
pub fn line(program: &Path, study: &Study, verb: &str, given: &[String]) -> String {
    let name = program.file_stem().map_or_else(|| "whence".into(), |name| name.to_string_lossy().into_owned());
    let words: Vec<String> = [name].into_iter().chain(arguments(study, verb, given)).collect();
    shell::line(words.iter().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(verb: &str, arguments: &[&str]) -> NewJob {
        NewJob { verb: verb.into(), arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect() }
    }

    #[test]
    fn only_verbs_on_the_served_study_are_jobs() {
        check(&job("rank", &["--behavior", "x"])).unwrap();
        for (job, said) in [
            (job("serve", &[]), "expected one of extract"),
            (job("sh", &["-c", "true"]), "expected one of extract"),
            (job("rank", &["--study", "other"]), "leave it out"),
            (job("rank", &["--study=other"]), "leave it out"),
            (job("rank", &["a\0b"]), "zero byte"),
        ] {
            let error = check(&job).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn jobs_that_share_a_device_are_told_and_command_lines_are_quoted() {
        assert_eq!(device(&job("extract", &["--device", "vulkan:0"])), "vulkan:0");
        assert_eq!(device(&job("retrain", &["--device=cpu"])), "cpu");
        assert_eq!((device(&job("behavior", &[])), device(&job("rank", &[]))), ("auto".into(), "cpu".into()));
        let study = Study::at("my study");
        let given = job("rank", &["--behavior", "it's"]).arguments;
        let line = line(Path::new("bin/whence"), &study, "rank", &given);
        assert_eq!(line, "whence rank --study 'my study' --behavior 'it'\\''s'");
    }
}
