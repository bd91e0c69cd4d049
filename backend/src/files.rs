//! Writing files so that a reader never sees half of one, and hashing them.
//!
//! Everything a study holds is written under a temporary name in its final folder, synced and renamed: a file that
//! exists is whole, whenever the process was killed.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};
use thiserror::Error;

/// Something the file system refused.
#[derive(Debug, Error)]
#[error("cannot {action} {path}: {source}{remedy}", path = path.display(), remedy = remedy(source))]
pub struct FileError {
    /// What was tried, such as `write`.
    pub action: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => "; free some space and run the same command again: finished parts are kept",
        io::ErrorKind::FileTooLarge => {
            "; the file system or a limit (ulimit -f) allows no larger file: raise it and run the same command again"
        }
        io::ErrorKind::PermissionDenied => "; check who owns the folder",
        io::ErrorKind::QuotaExceeded => "; the disk quota is used up: free some space and run the same command again",
        _ => "",
    }
}

/// Attaches action and path to an IO result.
pub trait Context<T> {
    /// Turns the error into a [`FileError`].
    fn at(self, action: &'static str, path: &Path) -> Result<T, FileError>;
}

impl<T> Context<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, FileError> {
        self.map_err(|source| FileError { action, path: path.to_owned(), source })
    }
}

/// An output that is what it is made from.
#[derive(Debug, Error)]
#[error("{path}: --out is --{input}: choose another --out", path = path.display())]
pub struct OutIsInput {
    /// The output, as given.
    pub path: PathBuf,
    /// The option that names the same file.
    pub input: &'static str,
}

/// A file beside another: its name with an ending more.
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Refuses an output that is one of the inputs, under whatever name; each input comes with its option, if it was given.
/// There is no replacing what the output is made from.
///
/// # Errors
///
/// [`OutIsInput`] names the first such input.
pub fn must_not_be_input(out: &Path, inputs: &[(&'static str, Option<&Path>)]) -> Result<(), OutIsInput> {
    let Ok(real) = out.canonicalize() else { return Ok(()) };
    let is_out = |input: &Option<&Path>| input.is_some_and(|input| input.canonicalize().is_ok_and(|it| it == real));
    match inputs.iter().find(|(_, input)| is_out(input)) {
        Some((input, _)) => Err(OutIsInput { path: out.to_owned(), input }),
        None => Ok(()),
    }
}

/// Endings by which a name is that of a file, not of a folder.
const FILE_ENDINGS: &str = "7z arrow bin bz2 csv db feather gz htm html json jsonl log md ndjson npy npz parquet pdf pkl pt \
                            safetensors sqlite tar tgz toml tsv txt xlsx xz yaml zip zst";

/// Whether a path is named like a file, as far as its ending says; a folder that is there is none.
pub fn is_named_like_a_file(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default();
    FILE_ENDINGS.split(' ').any(|known| ending.eq_ignore_ascii_case(known)) && !path.is_dir()
}

/// A file that appears under its final name only when [`AtomicFile::commit`] succeeds.
///
/// Dropped without commit, it leaves nothing behind; killed, it leaves a file named `.NAME.PID.tmp` that the next
/// [`AtomicFile::create`] for the same name removes.
#[derive(Debug)]
pub struct AtomicFile {
    file: Option<File>,
    temporary: PathBuf,
    path: PathBuf,
}

impl AtomicFile {
    /// Opens a temporary file beside `path`, creating folders as needed.
    ///
    /// # Errors
    ///
    /// When a folder or the file cannot be created.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder).at("create folder", folder)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        for stale in fs::read_dir(folder).at("list", folder)?.flatten() {
            let stale_name = stale.file_name().to_string_lossy().into_owned();
            if stale_name.starts_with(&format!(".{name}.")) && stale_name.ends_with(".tmp") {
                // Best effort: another process may be writing it, or have removed it a moment ago.
                let _ = fs::remove_file(stale.path());
            }
        }
        let temporary = folder.join(format!(".{name}.{}.tmp", std::process::id()));
        let file = File::create(&temporary).at("create", &temporary)?;
        Ok(Self { file: Some(file), temporary, path: path.to_owned() })
    }

    /// Whether the final name is that of something with other contents than were written so far.
    ///
    /// # Errors
    ///
    /// When either cannot be read.
    pub fn is_other_than_there(&self) -> Result<bool, FileError> {
        if !self.path.exists() {
            return Ok(false);
        }
        let n_bytes = |path: &Path| fs::metadata(path).map(|metadata| metadata.len()).at("read", path);
        Ok(self.path.is_dir()
            || n_bytes(&self.path)? != n_bytes(&self.temporary)?
            || sha256_of_file(&self.path)? != sha256_of_file(&self.temporary)?)
    }

    /// Syncs the contents to disk and gives the file its final name, replacing what was there.
    ///
    /// # Errors
    ///
    /// When the disk is full or the rename is refused; the final name is then as it was before.
    pub fn commit(mut self) -> Result<(), FileError> {
        let file = self.file.take().expect("open until committed");
        file.sync_all().at("sync", &self.temporary)?;
        drop(file);
        fs::rename(&self.temporary, &self.path).at("rename into place", &self.path)?;
        // The rename itself must survive a power cut: sync the folder that records it.
        if let Some(folder) = self.path.parent().filter(|p| !p.as_os_str().is_empty())
            && let Ok(folder) = File::open(folder)
        {
            let _ = folder.sync_all();
        }
        self.temporary = PathBuf::new();
        Ok(())
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_mut().expect("open until committed").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().expect("open until committed").flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.as_mut().expect("open until committed").seek(to)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.temporary.as_os_str().is_empty() {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Writes `bytes` to `path` atomically.
///
/// # Errors
///
/// When the file cannot be written; `path` is then as it was before.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).at("write", path)?;
    file.commit()
}

/// Writes a value to `path` as indented JSON with a final newline, atomically: the form of every JSON file that people may
/// look into.
///
/// # Errors
///
/// When the file cannot be written; `path` is then as it was before.
///
/// # Panics
///
/// Panics when the value has no form in JSON, such as a map whose keys are no text.
pub fn write_json<T: Serialize + ?Sized>(path: &Path, value: &T) -> Result<(), FileError> {
    let mut json = serde_json::to_vec_pretty(value).expect("plain data serializes");
    json.push(b'\n');
    write(path, &json)
}

/// Writes values to `path` as JSON, one per line, atomically.
///
/// # Errors
///
/// When the file cannot be written; `path` is then as it was before.
///
/// # Panics
///
/// Panics when a value has no form in JSON.
pub fn write_jsonl<T: Serialize>(path: &Path, values: impl IntoIterator<Item = T>) -> Result<(), FileError> {
    write(path, &jsonl(values))
}

/// Values as JSON, one per line.
///
/// # Panics
///
/// Panics when a value has no form in JSON.
pub fn jsonl<T: Serialize>(values: impl IntoIterator<Item = T>) -> Vec<u8> {
    let mut lines = Vec::new();
    for value in values {
        serde_json::to_writer(&mut lines, &value).expect("plain data serializes");
        lines.push(b'\n');
    }
    lines
}

/// Reads a whole file.
///
/// # Errors
///
/// When it cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).at("read", path)
}

/// SHA-256 of `bytes`, in lower-case hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 of a file's contents, read in pieces, in lower-case hex.
///
/// # Errors
///
/// When the file cannot be read.
pub fn sha256_of_file(path: &Path) -> Result<String, FileError> {
    let mut file = File::open(path).at("open", path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n_bytes = file.read(&mut buffer).at("read", path)?;
        if n_bytes == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&buffer[..n_bytes]);
    }
}

/// Bytes in lower-case hex.
pub fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uncommitted_file_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.txt");
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert!(!path.exists());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
        write(&path, b"whole").unwrap();
        assert_eq!(read(&path).unwrap(), b"whole");
        assert_eq!(sha256_of_file(&path).unwrap(), sha256(b"whole"));
    }

    #[test]
    fn other_contents_are_told_from_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let is_other = |bytes: &[u8]| {
            let mut file = AtomicFile::create(&path).unwrap();
            file.write_all(bytes).unwrap();
            file.is_other_than_there().unwrap()
        };
        assert!(!is_other(b"one"), "nothing is there");
        write(&path, b"one").unwrap();
        assert_eq!([is_other(b"one"), is_other(b"two"), is_other(b"ones")], [false, true, true]);
    }

    #[test]
    fn an_output_is_told_from_its_inputs_by_any_name() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        fs::create_dir(folder.path().join("sub")).unwrap();
        let inputs = [("labels", None), ("rollouts", Some(one.as_path()))];
        assert!(must_not_be_input(&one, &inputs).is_ok(), "neither is there");
        fs::write(&one, b"x").unwrap();
        fs::write(&two, b"x").unwrap();
        assert!(must_not_be_input(&two, &inputs).is_ok());
        let error = must_not_be_input(&folder.path().join("sub/../one"), &inputs).unwrap_err().to_string();
        assert!(error.contains("sub/../one: --out is --rollouts: choose another --out"), "{error}");
    }

    #[test]
    fn folders_may_have_dots_in_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let named = |name: &str| is_named_like_a_file(&folder.path().join(name));
        fs::create_dir(folder.path().join("is.csv")).unwrap();
        assert_eq!(["e.csv", "site.tar.gz", "E.JSONL"].map(named), [true; 3]);
        assert_eq!(["e", "v1.0", "edited.second", "is.csv", ".csv"].map(named), [false; 5]);
    }

    #[test]
    fn stale_temporary_files_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".x.json.999999.tmp"), b"half").unwrap();
        write(&folder.path().join("x.json"), b"{}").unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn errors_name_path_and_remedy() {
        let error =
            FileError { action: "write", path: "/data/x".into(), source: io::Error::from(io::ErrorKind::StorageFull) };
        let text = error.to_string();
        assert!(text.contains("/data/x") && text.contains("free some space"), "{text}");
    }
}
