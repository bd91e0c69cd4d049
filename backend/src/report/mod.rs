//! Reports: a study as a bundle, a folder or a single `.zip` that needs nothing but a web server. The verb behind
//! `whence report`.
//!
//! ```text
//! index.html, …      the app
//! data/…             the chosen part of the study, at the addresses that `whence serve` answers (crate::view::files)
//! manifest.json      every file with its size and SHA-256 (manifest)
//! ```
//!
//! All addresses in it are relative: it works at any sub-path of any static host. A bundle appears whole or not at all, and
//! the same study, choice and binary give the same bytes, zipped too.

mod bundle;
pub mod leftover;
pub mod manifest;
pub mod zip;

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::data::pairs::PairFileError;
use crate::files::{self, FileError};
use crate::progress::{Report, Update};
use crate::study::Study;
use crate::view::ViewError;
use crate::view::app::App;
use crate::view::choice::Choice;
use crate::view::files::{Content, Shown};
use crate::view::pairs::OpenPairs;
use bundle::{Bundle, Folder, ZipFile};
use manifest::{FORMAT, Manifest};

/// What stops a report.
#[derive(Debug, Error)]
pub enum ReportError {
    /// The study cannot be shown.
    #[error(transparent)]
    View(#[from] ViewError),
    /// The pairs cannot be read.
    #[error(transparent)]
    Pairs(#[from] PairFileError),
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// Something else lies where the bundle is to be.
    #[error("{path} exists{what}: choose another --out{remedy}", path = path.display())]
    Exists {
        /// Where.
        path: PathBuf,
        /// What is there, as a clause.
        what: &'static str,
        /// What else can be done.
        remedy: &'static str,
    },
    /// The name says that it is to be a file of another kind.
    #[error("--out: expected a folder, or a file that ends in .zip, got {path}", path = path.display())]
    Ending {
        /// As given.
        path: PathBuf,
    },
    /// Whoever asked for it wants it no more.
    #[error("it was canceled")]
    Stopped,
    /// The bundle would lie in the study, or the study in it.
    #[error("{path} and the study lie in one another: choose another --out", path = path.display())]
    Inside {
        /// Where it was to be.
        path: PathBuf,
    },
}

/// What to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportOptions {
    /// The folder or archive.
    pub out: PathBuf,
    /// Whether it is one archive.
    pub is_zip: bool,
    /// Which part of the study.
    pub choice: Choice,
    /// Replace an earlier bundle.
    pub replace: bool,
}

/// A bundle that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// Where it is.
    pub out: PathBuf,
    /// Its files but the manifest.
    pub n_files: usize,
    /// Their bytes, not compressed.
    pub n_bytes: u64,
    /// Layers in it.
    pub layers: Vec<usize>,
    /// Behaviors in it.
    pub behaviors: Vec<String>,
    /// SHA-256 of the manifest: names the contents.
    pub sha256: String,
}

/// Writes a bundle.
///
/// # Errors
///
/// When the study lacks what was chosen or cannot be read, or something else lies at `out`; what was there is then as it was.
pub fn report(study: &Study, app: &App, options: &ReportOptions, progress: Report) -> Result<Reported, ReportError> {
    report_until(study, app, options, progress, &|| false)
}

/// The same, unless `stop` says so: it is asked before every file.
///
/// # Errors
///
/// As [`report`], and [`ReportError::Stopped`].
pub fn report_until(
    study: &Study,
    app: &App,
    options: &ReportOptions,
    progress: Report,
    stop: &dyn Fn() -> bool,
) -> Result<Reported, ReportError> {
    let steps = Steps { progress, stop };
    if !options.is_zip && files::is_named_like_a_file(&options.out) {
        return Err(ReportError::Ending { path: options.out.clone() });
    }
    refuse_inside(study, &options.out)?;
    let pairs = OpenPairs::open(study)?;
    let mut shown = Shown::new(study, &pairs, &options.choice)?;
    shown.find_nearest(progress)?;
    match options.is_zip {
        true => write(&shown, app, ZipFile::create(options)?, study, options, steps),
        false => write(&shown, app, Folder::create(options)?, study, options, steps),
    }
}

/// Who is told how far it is, and who may end it.
#[derive(Clone, Copy)]
struct Steps<'a> {
    progress: Report<'a>,
    stop: &'a dyn Fn() -> bool,
}

impl Steps<'_> {
    /// Goes on to a file, of so many.
    fn next(self, done: usize, total: u64, path: &str) -> Result<(), ReportError> {
        if (self.stop)() {
            return Err(ReportError::Stopped);
        }
        let detail = path.split('/').next().unwrap_or_default().to_owned();
        (self.progress)(Update { stage: "bundle", done: done as u64, total, unit: "files", detail });
        Ok(())
    }
}

fn write(
    shown: &Shown,
    app: &App,
    mut bundle: impl Bundle,
    study: &Study,
    options: &ReportOptions,
    steps: Steps,
) -> Result<Reported, ReportError> {
    let (app_paths, entries) = (app.paths()?, shown.entries()?);
    let total = (app_paths.len() + entries.len()) as u64;
    let mut records = Vec::with_capacity(total as usize);
    for path in app_paths {
        let bytes = app.read(&path)?.unwrap_or_default();
        steps.next(records.len(), total, &path)?;
        records.push(bundle.add(&path, &bytes)?);
    }
    for (path, content) in entries {
        steps.next(records.len(), total, &path)?;
        let at = format!("data/{path}");
        records.push(match &content {
            Content::File(file) => bundle.add_file(&at, file)?,
            made => bundle.add(&at, &shown.bytes(made)?)?,
        });
    }
    records.sort_by(|a, b| a.path.cmp(&b.path));
    let manifest = Manifest {
        format: FORMAT.to_owned(),
        whence: env!("CARGO_PKG_VERSION").to_owned(),
        study: study.name(),
        pairs_sha256: shown.pairs_sha256().to_owned(),
        choice: options.choice.clone(),
        files: records,
    };
    let mut json = serde_json::to_vec_pretty(&manifest).expect("plain data serializes");
    json.push(b'\n');
    let sha256 = bundle.add(manifest::PATH, &json)?.sha256;
    bundle.finish()?;
    (steps.progress)(Update { stage: "bundle", done: total, total, unit: "files", detail: String::new() });
    Ok(Reported {
        out: options.out.clone(),
        n_files: manifest.files.len(),
        n_bytes: manifest.files.iter().map(|file| file.n_bytes).sum(),
        layers: shown.view().layers.iter().map(|layer| layer.layer).collect(),
        behaviors: shown.view().behaviors.iter().map(|behavior| behavior.name.clone()).collect(),
        sha256,
    })
}

/// Refuses to write a bundle into the study, or over it.
fn refuse_inside(study: &Study, out: &Path) -> Result<(), ReportError> {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let root = study.root().canonicalize().unwrap_or_else(|_| absolute(study.root()));
    let out = absolute(out);
    // What is not there yet has the true name of the nearest folder that is.
    let real =
        out.ancestors().find_map(|folder| Some(folder.canonicalize().ok()?.join(out.strip_prefix(folder).ok()?)));
    let real = real.unwrap_or(out);
    if real.starts_with(&root) || root.starts_with(&real) {
        return Err(ReportError::Inside { path: real });
    }
    Ok(())
}
