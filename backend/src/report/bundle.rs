//! Where the files of a bundle go: a folder or one archive. Both appear under their name only when they are whole.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::manifest::{self, FORMAT, FileRecord};
use super::zip::Zip;
use super::{ReportError, ReportOptions, leftover};
use crate::files::{self, AtomicFile, Context, FileError, hex};

/// Takes files and keeps them until all are there.
pub trait Bundle {
    /// Adds a file with these contents.
    fn add(&mut self, path: &str, bytes: &[u8]) -> Result<FileRecord, FileError>;
    /// Adds a copy of a file.
    fn add_file(&mut self, path: &str, file: &Path) -> Result<FileRecord, FileError>;
    /// Puts everything in its place.
    fn finish(self) -> Result<(), FileError>;
}

fn record(path: &str, bytes: &[u8]) -> FileRecord {
    FileRecord { path: path.to_owned(), n_bytes: bytes.len() as u64, sha256: files::sha256(bytes) }
}

/// Hashes and counts what is read through it.
struct Hashing<R> {
    inner: R,
    hash: Sha256,
    n_bytes: u64,
}

impl<R: Read> Hashing<R> {
    fn new(inner: R) -> Self {
        Self { inner, hash: Sha256::new(), n_bytes: 0 }
    }

    fn record(self, path: &str) -> FileRecord {
        FileRecord { path: path.to_owned(), n_bytes: self.n_bytes, sha256: hex(&self.hash.finalize()) }
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hash.update(&buffer[..n]);
        self.n_bytes += n as u64;
        Ok(n)
    }
}

/// How the name of an earlier bundle ends while another takes its place.
const ASIDE: &str = "old.tmp";

/// Removes what runs of this name that were killed left in a folder, and puts the earlier bundle back that one of them had set aside
/// when it was.
fn clear_away(folder: &Path, name: &str, out: &Path) -> Result<(), FileError> {
    let of = |entry: &fs::DirEntry| {
        let entry_name = entry.file_name().into_string().ok()?;
        let (process, ending) = entry_name.strip_prefix(&format!(".{name}."))?.split_once('.')?;
        let is_number = process.bytes().all(|byte| byte.is_ascii_digit());
        let process: u32 = process.parse().ok().filter(|_| is_number)?;
        // Numbers come again: what there is of this process's, another made.
        let is_left = process == std::process::id() || leftover::is_left_behind(&entry.path(), process);
        ["tmp", ASIDE].contains(&ending).then_some(ending == ASIDE).filter(|_| is_left)
    };
    for entry in fs::read_dir(folder).at("list", folder)?.flatten() {
        match of(&entry) {
            Some(true) if !out.exists() => fs::rename(entry.path(), out).at("put back", &entry.path())?,
            // It may be all that there is of the earlier bundle.
            Some(true) if !is_bundle(out) => {}
            // Best effort: what stays is hidden and harmless.
            Some(_) => drop(fs::remove_dir_all(entry.path())),
            None => {}
        }
    }
    Ok(())
}

/// A folder, filled under a temporary name beside its own.
#[derive(Debug)]
pub struct Folder {
    out: PathBuf,
    temporary: PathBuf,
    is_finished: bool,
}

impl Folder {
    /// # Errors
    ///
    /// When something else than an empty folder or, with `replace`, an earlier bundle lies there.
    pub fn create(options: &ReportOptions) -> Result<Self, ReportError> {
        let out = options.out.clone();
        let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).at("create folder", parent)?;
        let name = out.file_name().unwrap_or_default().to_string_lossy().into_owned();
        clear_away(parent, &name, &out)?;
        refuse_other(&out, options.replace, is_bundle)?;
        let temporary = parent.join(format!(".{name}.{}.tmp", std::process::id()));
        fs::create_dir(&temporary).at("create folder", &temporary)?;
        Ok(Self { out, temporary, is_finished: false })
    }

    fn file(&self, path: &str) -> Result<(File, PathBuf), FileError> {
        let path = self.temporary.join(path);
        let folder = path.parent().expect("below the bundle");
        fs::create_dir_all(folder).at("create folder", folder)?;
        Ok((File::create(&path).at("create", &path)?, path))
    }
}

impl Bundle for Folder {
    fn add(&mut self, path: &str, bytes: &[u8]) -> Result<FileRecord, FileError> {
        let (mut out, to) = self.file(path)?;
        out.write_all(bytes).at("write", &to)?;
        Ok(record(path, bytes))
    }

    fn add_file(&mut self, path: &str, file: &Path) -> Result<FileRecord, FileError> {
        let (mut out, to) = self.file(path)?;
        let mut from = Hashing::new(File::open(file).at("open", file)?);
        io::copy(&mut from, &mut out).at("write", &to)?;
        Ok(from.record(path))
    }

    fn finish(mut self) -> Result<(), FileError> {
        // What was there steps aside first, and goes when the new one is in its place. Killed in between, the next run puts it back.
        let aside = self.temporary.with_extension(ASIDE);
        if self.out.exists() {
            fs::rename(&self.out, &aside).at("rename", &self.out)?;
        }
        if let Err(error) = fs::rename(&self.temporary, &self.out) {
            // Best effort: the earlier bundle goes back.
            let _ = fs::rename(&aside, &self.out);
            return Err(FileError { action: "rename into place", path: self.out.clone(), source: error });
        }
        self.is_finished = true;
        let _ = fs::remove_dir_all(&aside);
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.is_finished {
            let _ = fs::remove_dir_all(&self.temporary);
        }
    }
}

/// One archive.
#[derive(Debug)]
pub struct ZipFile {
    path: PathBuf,
    zip: Zip<AtomicFile>,
}

impl ZipFile {
    /// # Errors
    ///
    /// When something lies there and is not to be replaced.
    pub fn create(options: &ReportOptions) -> Result<Self, ReportError> {
        let path = options.out.clone();
        refuse_other(&path, options.replace, Path::is_file)?;
        Ok(Self { zip: Zip::new(AtomicFile::create(&path)?), path })
    }
}

impl Bundle for ZipFile {
    fn add(&mut self, path: &str, bytes: &[u8]) -> Result<FileRecord, FileError> {
        self.zip.add(path, bytes).at("write", &self.path)?;
        Ok(record(path, bytes))
    }

    fn add_file(&mut self, path: &str, file: &Path) -> Result<FileRecord, FileError> {
        // Vectors are noise to a compressor; everything else is small enough to be held.
        if file.extension().is_none_or(|extension| extension != "safetensors") {
            return self.add(path, &files::read(file)?);
        }
        let opened = File::open(file).at("open", file)?;
        let n_bytes = opened.metadata().at("read", file)?.len();
        let mut from = Hashing::new(opened);
        self.zip.add_stored(path, n_bytes, &mut from).at("write", &self.path)?;
        Ok(from.record(path))
    }

    fn finish(self) -> Result<(), FileError> {
        self.zip.finish().at("write", &self.path)?.commit()
    }
}

/// Refuses to replace what is not `ours`, or what is when that was not asked for.
fn refuse_other(path: &Path, replace: bool, is_ours: impl Fn(&Path) -> bool) -> Result<(), ReportError> {
    let is_empty = fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    let (what, remedy) = match (path.exists(), is_ours(path)) {
        (false, _) => return Ok(()),
        (true, true) if replace => return Ok(()),
        (true, true) => ("", ", or pass --replace"),
        (true, false) if is_empty => return Ok(()),
        (true, false) => (" and is no bundle", ""),
    };
    Err(ReportError::Exists { path: path.to_owned(), what, remedy })
}

/// Whether a folder holds a bundle, whole and of whatever version.
fn is_bundle(folder: &Path) -> bool {
    let text = fs::read(folder.join(manifest::PATH)).unwrap_or_default();
    let json: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let name = FORMAT.split('/').next().unwrap_or_default();
    json["format"].as_str().is_some_and(|format| format.split('/').next() == Some(name))
}
