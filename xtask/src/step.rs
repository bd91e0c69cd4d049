//! One step of a task: a line that says what and why, a command that is timed and whose peak memory is measured, and a
//! failure that says what to do.

use std::fs;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// How often a running command's memory is looked at. The kernel keeps the peak; only growth within the last moment
/// before exit can be missed.
const POLL: Duration = Duration::from_millis(10);

/// What one step took.
#[derive(Debug, Clone)]
pub struct Cost {
    /// The step's name.
    pub name: String,
    /// Wall-clock time.
    pub duration: Duration,
    /// Largest resident size of the process, in bytes; `None` where the system does not tell (it has no `/proc`).
    pub peak_bytes: Option<u64>,
}

/// Says what a step is, before it runs.
pub fn announce(name: &str, why: &str) {
    println!("{name}: {why}");
}

/// Announces, runs and times a command; its output goes to the screen.
///
/// # Errors
///
/// Fails with `remedy` when the command cannot be started or ends with another status than 0.
pub fn run(name: &str, why: &str, command: &mut Command, remedy: &str) -> Result<Cost, Failure> {
    announce(name, why);
    let started = Instant::now();
    let (status, peak_bytes) = watch(start(command)?)?;
    if !status.success() {
        return Err(Failure::new(format!("{name} failed ({status}): {}", line(command)), remedy));
    }
    Ok(Cost { name: name.to_owned(), duration: started.elapsed(), peak_bytes })
}

/// Runs a command and returns what it printed; what it says on standard error goes to the screen.
///
/// # Errors
///
/// Fails with `remedy` when the command cannot be started or ends with another status than 0.
pub fn capture(command: &mut Command, remedy: &str) -> Result<Vec<u8>, Failure> {
    let child = start(command.stdout(std::process::Stdio::piped()))?;
    let output = child.wait_with_output().map_err(|error| lost(&error))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(Failure::new(format!("failed ({}): {}", output.status, line(command)), remedy))
}

/// Prints what each step took.
pub fn print_costs(costs: &[Cost]) {
    let width = costs.iter().map(|cost| cost.name.len()).max().unwrap_or(0);
    for cost in costs {
        let memory = cost.peak_bytes.map_or(String::new(), |bytes| format!("  {:>6.0} MB", bytes as f64 / 1e6));
        println!("  {:width$}  {:>7.1} s{memory}", cost.name, cost.duration.as_secs_f64());
    }
    let total: Duration = costs.iter().map(|cost| cost.duration).sum();
    println!("  {:width$}  {:>7.1} s", "total", total.as_secs_f64());
}

/// A command as a person would type it.
pub fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn start(command: &mut Command) -> Result<Child, Failure> {
    command.spawn().map_err(|error| {
        let program = command.get_program().to_string_lossy();
        Failure::new(format!("cannot start {program}: {error}"), format!("install {program}, or put it on the PATH"))
    })
}

fn watch(mut child: Child) -> Result<(ExitStatus, Option<u64>), Failure> {
    let mut peak_bytes = None;
    loop {
        peak_bytes = resident_peak_bytes(child.id()).or(peak_bytes);
        if let Some(status) = child.try_wait().map_err(|error| lost(&error))? {
            return Ok((status, peak_bytes));
        }
        thread::sleep(POLL);
    }
}

fn lost(error: &std::io::Error) -> Failure {
    Failure::new(format!("lost sight of a running command: {error}"), "run the task again")
}

/// Peak resident size that Linux keeps per process, in bytes.
fn resident_peak_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?;
    Some(kilobytes.parse::<u64>().ok()? * 1024)
}
