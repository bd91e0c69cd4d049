//! SHA-256 of large files, remembered from run to run: a model's weights are many gigabytes, and every verb that reads
//! with a model asks for their hash.
//!
//! A file's hash is kept in the user's cache folder with everything that the system tells about the file: path, device
//! and inode, size, times of last modification and of last change of its metadata. When any of them differs, the file is
//! hashed again. The last one cannot be set by a program, so a file that was rewritten in place with its old date is
//! noticed too. A file that changed within seconds of being hashed is not remembered: the clock of a file system is too
//! coarse to show a change that follows at once. Where there is no cache folder, everything is hashed every time.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::files::{self, Context, FileError};

/// Smaller files are hashed faster than they are looked up.
const MIN_BYTES: u64 = 1 << 24;
/// How long a file must have been at rest before its hash is remembered.
const AT_REST: Duration = Duration::from_secs(3);

/// What a file's hash is valid for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    path: PathBuf,
    n_bytes: u64,
    /// Device and inode, where the system has them.
    inode: Option<(u64, u64)>,
    modified_nanos: u128,
    /// Last change of content or metadata, where the system has it.
    changed_nanos: Option<i128>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    file: Identity,
    sha256: String,
}

/// SHA-256 of a file's contents in lower-case hex, remembered for large files.
///
/// # Errors
///
/// When the file cannot be read. A cache that cannot be read or written is no error.
pub fn sha256_of_file(path: &Path) -> Result<String, FileError> {
    sha256_cached(path, cache_folder().as_deref(), MIN_BYTES)
}

fn sha256_cached(path: &Path, cache: Option<&Path>, min_bytes: u64) -> Result<String, FileError> {
    let before = identity(path)?;
    let Some(cache) = cache.filter(|_| before.n_bytes >= min_bytes) else { return files::sha256_of_file(path) };
    let entry_path = cache.join(format!("{}.json", files::sha256(before.path.to_string_lossy().as_bytes())));
    let entry = fs::read(&entry_path).ok().and_then(|bytes| serde_json::from_slice::<Entry>(&bytes).ok());
    if let Some(entry) = entry.filter(|entry| entry.file == before) {
        return Ok(entry.sha256);
    }
    let is_at_rest = before.is_at_rest();
    let sha256 = files::sha256_of_file(path)?;
    if is_at_rest && identity(path)? == before {
        let entry = Entry { file: before, sha256: sha256.clone() };
        // A full disk or a read-only home only costs time.
        let _ = files::write(&entry_path, &serde_json::to_vec_pretty(&entry).expect("an entry serialises"));
    }
    Ok(sha256)
}

impl Identity {
    fn is_at_rest(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let last = self.modified_nanos.max(u128::try_from(self.changed_nanos.unwrap_or(0)).unwrap_or(0));
        now > last + AT_REST.as_nanos()
    }
}

fn identity(path: &Path) -> Result<Identity, FileError> {
    let canonical = path.canonicalize().at("open", path)?;
    let metadata = fs::metadata(&canonical).at("read", path)?;
    let modified = metadata.modified().at("read", path)?;
    let (inode, changed_nanos) = unix_facts(&metadata);
    Ok(Identity {
        path: canonical,
        n_bytes: metadata.len(),
        inode,
        modified_nanos: modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos(),
        changed_nanos,
    })
}

#[cfg(unix)]
fn unix_facts(metadata: &Metadata) -> (Option<(u64, u64)>, Option<i128>) {
    use std::os::unix::fs::MetadataExt;
    let changed = i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec());
    (Some((metadata.dev(), metadata.ino())), Some(changed))
}

#[cfg(not(unix))]
fn unix_facts(_metadata: &Metadata) -> (Option<(u64, u64)>, Option<i128>) {
    (None, None)
}

/// `whence/hashes` in the user's cache folder.
fn cache_folder() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let root = folder("XDG_CACHE_HOME")
        .or_else(|| folder("LOCALAPPDATA"))
        .or_else(|| folder("HOME").map(|home| home.join(".cache")))?;
    Some(root.join("whence/hashes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that came to rest long enough ago, as far as its dates can be set.
    fn settle(path: &Path) {
        std::thread::sleep(AT_REST + Duration::from_millis(200));
        assert!(identity(path).unwrap().is_at_rest());
    }

    #[test]
    fn a_remembered_hash_is_used_and_a_changed_file_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let (file, cache) = (folder.path().join("weights"), folder.path().join("cache"));
        fs::write(&file, b"one").unwrap();
        let hash = || sha256_cached(&file, Some(&cache), 1).unwrap();
        // Too young to be remembered: a change might follow within the same tick of the clock.
        assert_eq!(hash(), files::sha256(b"one"));
        assert!(!cache.exists());

        settle(&file);
        assert_eq!(hash(), files::sha256(b"one"));
        let entry = fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
        let text = fs::read_to_string(&entry).unwrap();
        let forged = text.replace(&files::sha256(b"one"), "from the cache");
        fs::write(&entry, &forged).unwrap();
        assert_eq!(hash(), "from the cache");

        // The same size and the same date: only the time of the last change tells.
        let modified = fs::metadata(&file).unwrap().modified().unwrap();
        fs::write(&file, b"two").unwrap();
        fs::File::options().write(true).open(&file).unwrap().set_modified(modified).unwrap();
        if cfg!(unix) {
            assert_eq!(hash(), files::sha256(b"two"));
        }
        // Another file in its place.
        fs::write(folder.path().join("other"), b"six").unwrap();
        fs::rename(folder.path().join("other"), &file).unwrap();
        assert_eq!(hash(), files::sha256(b"six"));
        // Nonsense in the cache is no error.
        fs::write(&entry, "{").unwrap();
        assert_eq!(hash(), files::sha256(b"six"));
    }

    #[test]
    fn small_files_are_never_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let (file, cache) = (folder.path().join("small"), folder.path().join("cache"));
        fs::write(&file, b"x").unwrap();
        assert_eq!(sha256_cached(&file, Some(&cache), 2).unwrap(), files::sha256(b"x"));
        assert!(!cache.exists());
    }
}
