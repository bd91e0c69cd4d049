//! Where preference data lies: files, folders and globs as typed become a list of data files. First step of import.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use glob::MatchOptions;
use thiserror::Error;

use crate::files::{Context, FileError};

/// Endings that mark a file in a folder as data.
pub const ENDINGS: [&str; 7] = [".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz", ".json", ".json.gz", ".parquet"];
/// Files that a dataset's folder has beside its data; as data of another folder they may still be named.
const ABOUT_DATA: [&str; 4] = ["dataset_infos.json", "dataset_dict.json", "state.json", "config.json"];
const EXPECTED: &str = "JSONL (.jsonl, .ndjson, .json), gzipped JSONL (.jsonl.gz) or Parquet (.parquet)";

/// What is wrong with an input as a whole.
#[derive(Debug, Error)]
pub enum InputError {
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// Nothing was named.
    #[error("no input given: name at least one file, folder or glob")]
    None,
    /// There is no such file.
    #[error("{input}: no such file or folder")]
    Missing {
        /// The input as typed.
        input: String,
    },
    /// A glob that fits nothing.
    #[error("{input}: no file fits this pattern; quote it if the shell should leave it alone")]
    NoMatch {
        /// The input as typed.
        input: String,
    },
    /// Not a pattern.
    #[error("{input}: not a valid pattern: {reason}")]
    Pattern {
        /// The input as typed.
        input: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A folder without data.
    #[error("{input}: the folder holds no data file; expected {EXPECTED}")]
    EmptyFolder {
        /// The input as typed.
        input: String,
    },
    /// A file of zero bytes.
    #[error("{}: the file is empty: copy or download it again, or leave it out", path.display())]
    EmptyFile {
        /// The file.
        path: PathBuf,
    },
    /// A file of another kind.
    #[error("{}: cannot tell what this file is; expected {EXPECTED}", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
    },
}

/// How the rows of a file are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// One JSON object per line.
    JsonLines,
    /// The same, gzipped.
    GzippedJsonLines,
    /// Parquet.
    Parquet,
}

/// One data file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFile {
    /// Its path, as given or below the folder as given.
    pub path: PathBuf,
    /// How its rows are stored.
    pub kind: FileKind,
    /// Size in bytes; > 0.
    pub n_bytes: u64,
}

impl DataFile {
    /// Looks at a file's first bytes and name.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is empty or of an unknown kind.
    pub fn open(path: PathBuf) -> Result<Self, InputError> {
        let mut file = File::open(&path).at("open", &path)?;
        let n_bytes = file.metadata().at("read", &path)?.len();
        if n_bytes == 0 {
            return Err(InputError::EmptyFile { path });
        }
        let mut magic = Vec::new();
        file.by_ref().take(4).read_to_end(&mut magic).at("read", &path)?;
        // Contents before names: what is downloaded often lost its ending. A truncated Parquet file still begins as one.
        let kind = match magic.as_slice() {
            [0x1f, 0x8b, ..] => FileKind::GzippedJsonLines,
            b"PAR1" => FileKind::Parquet,
            _ => match ending(&path) {
                Some(".parquet") => FileKind::Parquet,
                Some(ending) if ending.ends_with(".gz") => FileKind::GzippedJsonLines,
                Some(_) => FileKind::JsonLines,
                None => return Err(InputError::Kind { path }),
            },
        };
        Ok(Self { path, kind, n_bytes })
    }

    /// The file's name without its ending and without the number of a shard: `train-00000-of-00004.parquet` → `train`.
    pub fn stem(&self) -> String {
        let name = self.name();
        let stem = ending(&self.path).map_or(name.as_str(), |ending| &name[..name.len() - ending.len()]);
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let whole = stem.rsplit_once("-of-").filter(|(_, n)| is_number(n)).and_then(|(head, _)| {
            let (whole, n) = head.rsplit_once('-')?;
            (is_number(n) && !whole.is_empty()).then_some(whole)
        });
        whole.unwrap_or(stem).to_owned()
    }

    /// A glob of the files of its kind in its folder: `data/*.parquet`.
    pub fn pattern(&self) -> String {
        let name = format!("*{}", ending(&self.path).unwrap_or_default());
        self.path.with_file_name(name).to_string_lossy().into_owned()
    }

    /// The file's name.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

fn ending(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
    ENDINGS.into_iter().filter(|ending| name.ends_with(ending) && name.len() > ending.len()).max_by_key(|e| e.len())
}

/// What inputs lead to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The data files.
    pub files: Vec<DataFile>,
    /// Files found in folders that say something about a dataset and are no data.
    pub about_data: Vec<PathBuf>,
}

/// The data files that `inputs` name, in the order given; within a folder (searched to any depth) or a glob by path. A
/// file named twice counts once. Files whose name begins with a dot, and those that `is_left_out` picks, are left alone
/// unless named; so are those that folders of datasets have beside their data.
///
/// # Errors
///
/// [`InputError`] on the first input that leads nowhere.
pub fn resolve(inputs: &[String], is_left_out: &dyn Fn(&Path) -> bool) -> Result<Resolved, InputError> {
    if inputs.is_empty() {
        return Err(InputError::None);
    }
    let (mut files, mut about_data) = (Vec::new(), Vec::new());
    for input in inputs {
        let path = Path::new(input);
        if path.is_dir() {
            let mut in_folder = walk(path)?;
            in_folder.retain(|path| !is_left_out(path));
            about_data.extend(in_folder.extract_if(.., |path| is_about_data(path)));
            if in_folder.is_empty() {
                return Err(InputError::EmptyFolder { input: input.clone() });
            }
            files.extend(in_folder);
        } else if path.exists() {
            files.push(path.to_owned());
        } else if input.contains(['*', '?', '[']) {
            let (matched, about) = matches(input, is_left_out)?;
            files.extend(matched);
            about_data.extend(about);
        } else {
            return Err(InputError::Missing { input: input.clone() });
        }
    }
    let mut seen = HashSet::new();
    let mut is_new = |path: &PathBuf| seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone()));
    files.retain(&mut is_new);
    about_data.retain(is_new);
    let files = files.into_iter().map(DataFile::open).collect::<Result<_, _>>()?;
    Ok(Resolved { files, about_data })
}

fn is_about_data(path: &Path) -> bool {
    ABOUT_DATA.iter().any(|name| path.file_name().is_some_and(|own| own == *name))
}

/// Data files that fit a pattern, and files about data in folders that do.
fn matches(input: &str, is_left_out: &dyn Fn(&Path) -> bool) -> Result<(Vec<PathBuf>, Vec<PathBuf>), InputError> {
    let pattern = |reason: String| InputError::Pattern { input: input.to_owned(), reason };
    let (mut files, mut about_data) = (Vec::new(), Vec::new());
    let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::new() };
    for path in glob::glob_with(input, options).map_err(|error| pattern(error.to_string()))? {
        let path =
            path.map_err(|error| FileError { action: "read", path: error.path().to_owned(), source: error.into() })?;
        if path.is_dir() {
            let (about, data): (Vec<_>, Vec<_>) = walk(&path)?.into_iter().partition(|path| is_about_data(path));
            files.extend(data);
            about_data.extend(about);
        } else {
            files.push(path);
        }
    }
    files.retain(|path| !is_left_out(path));
    about_data.retain(|path| !is_left_out(path));
    if files.is_empty() {
        return Err(InputError::NoMatch { input: input.to_owned() });
    }
    files.sort();
    Ok((files, about_data))
}

fn walk(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).at("list", folder)? {
        let path = entry.at("list", folder)?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if is_hidden {
            continue;
        }
        if path.is_dir() {
            // A link to a folder may lead back up; only real folders are entered.
            if !path.is_symlink() {
                files.extend(walk(&path)?);
            }
        } else if ending(&path).is_some() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stem(name: &str) -> String {
        DataFile { path: name.into(), kind: FileKind::JsonLines, n_bytes: 1 }.stem()
    }

    #[test]
    fn stems_lose_endings_and_shard_numbers() {
        for (name, expected) in [
            ("a/harmless.jsonl.gz", "harmless"),
            ("train-00000-of-00004.parquet", "train"),
            ("v1.2-pairs.JSON", "v1.2-pairs"),
            ("-00000-of-00004.parquet", "-00000-of-00004"),
            ("one-of-two.jsonl", "one-of-two"),
            ("data", "data"),
        ] {
            assert_eq!(stem(name), expected);
        }
    }

    #[test]
    fn folders_globs_and_files_are_found_once_and_sorted() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir(root.join("sub")).unwrap();
        for name in ["b.jsonl", "a.jsonl", "sub/c.parquet", ".hidden.jsonl", "readme.md"] {
            fs::write(root.join(name), "{}").unwrap();
        }
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let inputs = [text(root.join("b.jsonl")), text(root.join("*.jsonl")), text(root.to_owned())];
        let found = resolve(&inputs, &|_| false).unwrap();
        let names: Vec<String> = found.files.iter().map(DataFile::name).collect();
        assert_eq!(names, ["b.jsonl", "a.jsonl", "c.parquet"]);
    }

    #[test]
    fn what_lies_beside_a_datasets_files_is_left_out_of_folders_unless_named() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("set");
        fs::create_dir(&root).unwrap();
        for name in ABOUT_DATA.into_iter().chain(["pairs.json"]) {
            fs::write(root.join(name), "{}").unwrap();
        }
        let text = |path: &Path| path.to_string_lossy().into_owned();
        for input in [root.clone(), folder.path().join("s*")] {
            let found = resolve(&[text(&input)], &|_| false).unwrap();
            assert_eq!(found.files.iter().map(DataFile::name).collect::<Vec<_>>(), ["pairs.json"]);
            assert_eq!(found.about_data.len(), 4, "{:?}", found.about_data);
        }
        let named = resolve(&[text(&root), text(&root.join("state.json"))], &|_| false).unwrap();
        assert_eq!((named.files.len(), named.about_data.len()), (2, 3));
        fs::remove_file(root.join("pairs.json")).unwrap();
        assert!(matches!(resolve(&[text(&root)], &|_| false), Err(InputError::EmptyFolder { .. })));
    }

    #[test]
    fn inputs_that_lead_nowhere_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let text = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        fs::write(text("empty.jsonl"), "").unwrap();
        fs::write(text("notes.txt"), "hello").unwrap();
        fs::create_dir(text("bare")).unwrap();
        let error = |input: String| resolve(&[input], &|_| false).unwrap_err();
        assert!(matches!(error(text("none.jsonl")), InputError::Missing { .. }));
        assert!(matches!(error(text("*.parquet")), InputError::NoMatch { .. }));
        assert!(matches!(error(text("[")), InputError::Pattern { .. }));
        assert!(matches!(error(text("bare")), InputError::EmptyFolder { .. }));
        assert!(matches!(error(text("empty.jsonl")), InputError::EmptyFile { .. }));
        assert!(matches!(error(text("notes.txt")), InputError::Kind { .. }));
        assert!(matches!(resolve(&[], &|_| false), Err(InputError::None)));
    }
}
