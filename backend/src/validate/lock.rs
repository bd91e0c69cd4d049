//! Who trains: `arms/lock`, held while `whence retrain` works on a study and let go by the system however it ends.
//!
//! It keeps two of them from working on the same arms, and tells whoever looks from outside whether a run that has begun
//! is under way or was stopped. Where the file system knows no locks, neither is known and nothing is refused.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::thread::sleep;
use std::time::Duration;

use super::ValidateError;
use crate::files::Context;
use crate::study::Study;

/// Whoever looks holds the lock for a moment: so often it is tried again, at this distance.
const N_TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(25);

/// The lock of a study's arms; let go when dropped.
#[derive(Debug)]
pub struct ArmsLock {
    _file: File,
}

impl ArmsLock {
    /// Takes it.
    ///
    /// # Errors
    ///
    /// [`ValidateError::Busy`] when another process has it; when the file cannot be created.
    pub fn take(study: &Study) -> Result<Self, ValidateError> {
        let path = study.arms_lock();
        fs::create_dir_all(study.arms()).at("create folder", &study.arms())?;
        let open = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = open.at("create", &path)?;
        for _ in 0..N_TRIES {
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => sleep(PAUSE),
                Ok(()) | Err(TryLockError::Error(_)) => return Ok(Self { _file: file }),
            }
        }
        Err(ValidateError::Busy { path })
    }
}

/// Whether someone trains the study's arms; `None` when that cannot be told.
pub fn is_held(study: &Study) -> Option<bool> {
    let Ok(file) = File::open(study.arms_lock()) else { return Some(false) };
    match file.try_lock_shared() {
        Ok(()) => Some(false),
        Err(TryLockError::WouldBlock) => Some(true),
        Err(TryLockError::Error(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_trains_at_a_time_and_others_see_it() {
        let folder = tempfile::tempdir().unwrap();
        let study = Study::at(folder.path());
        assert_eq!(is_held(&study), Some(false), "nobody ever trained");
        let lock = ArmsLock::take(&study).unwrap();
        assert_eq!(is_held(&study), Some(true));
        let error = ArmsLock::take(&study).unwrap_err().to_string();
        assert!(error.contains("lock") && error.contains("already"), "{error}");
        drop(lock);
        assert_eq!(is_held(&study), Some(false));
        ArmsLock::take(&study).unwrap();
    }
}
