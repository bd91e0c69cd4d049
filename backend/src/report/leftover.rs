//! What runs that were killed left behind, told from what a run under way makes: temporary names carry the number of their
//! process.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// Where it cannot be told which processes live, nothing younger is taken for left behind.
const OLD: Duration = Duration::from_secs(24 * 3600);

/// Whether what a process of this number made at `path` is left behind: it lives no more. What this process made is not.
pub fn is_left_behind(path: &Path, process: u32) -> bool {
    let processes = Path::new("/proc");
    if process == std::process::id() {
        return false;
    }
    // Only where this process is listed there are the others, too.
    if cfg!(target_os = "linux") && processes.join(std::process::id().to_string()).exists() {
        return !processes.join(process.to_string()).exists();
    }
    let modified = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > OLD))
}

/// The number of no process, for tests: systems give out smaller ones.
#[cfg(test)]
pub const NO_PROCESS: u32 = u32::MAX;

/// Makes it look left behind where only its age tells that.
#[cfg(test)]
pub fn make_old(path: &Path) {
    let long_ago = std::time::SystemTime::now() - 2 * OLD;
    if !cfg!(target_os = "linux") {
        fs::File::open(path).unwrap().set_modified(long_ago).unwrap();
    }
}
