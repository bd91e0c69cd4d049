//! The app as files: the ones compiled into the binary, or a folder as Trunk builds it, `index.html` and files whose
//! names carry their hash.

use std::borrow::Cow;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::files::is_plain_segment;
use crate::files::{self, Context, FileError};

/// There is no app.
#[derive(Debug, Error)]
#[error(
    "no app found: this whence was built without one, and there is no index.html in {}; in a checkout `cargo xtask build` \
     builds both, or name the folder of a built app with --app or WHENCE_APP",
    tried.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" or ")
)]
pub struct NoApp {
    /// Folders looked into.
    pub tried: Vec<PathBuf>,
}

/// Where the app's files come from.
#[derive(Clone)]
pub enum App {
    /// A folder; its files are read for every request, so that what trunk just built is there on reload.
    Folder(PathBuf),
    /// Files of the program itself: paths, with `/` between folders, and contents.
    Embedded(Vec<(String, Cow<'static, [u8]>)>),
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => f.debug_tuple("Folder").field(folder).finish(),
            Self::Embedded(files) => f.debug_tuple("Embedded").field(&files.len()).finish(),
        }
    }
}

/// The page.
pub const INDEX: &str = "index.html";
/// What follows the name of a file in that of the same file packed with brotli, which lies beside it where
/// `cargo xtask app` built the app.
const PACKED: &str = ".br";

impl App {
    /// The app to serve: the folder that was asked for, else `$WHENCE_APP`, else what the program holds, else the first of
    /// `app` beside the executable and `frontend/dist` below the current folder.
    ///
    /// # Errors
    ///
    /// When there is no index.html in the folder asked for, or in none of the places; the error lists them.
    pub fn find(asked: Option<PathBuf>, embedded: Vec<(String, Cow<'static, [u8]>)>) -> Result<Self, NoApp> {
        let named = || std::env::var_os("WHENCE_APP").filter(|folder| !folder.is_empty()).map(PathBuf::from);
        if let Some(folder) = asked.or_else(named) {
            return Self::at(folder);
        }
        if embedded.iter().any(|(path, _)| path == INDEX) {
            return Ok(Self::Embedded(embedded));
        }
        let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("app")));
        let tried: Vec<PathBuf> = beside.into_iter().chain([PathBuf::from("frontend/dist")]).collect();
        match tried.iter().find(|folder| folder.join(INDEX).is_file()) {
            Some(folder) => Ok(Self::Folder(folder.clone())),
            None => Err(NoApp { tried }),
        }
    }

    /// The app in a folder.
    ///
    /// # Errors
    ///
    /// When the folder has no index.html.
    pub fn at(folder: PathBuf) -> Result<Self, NoApp> {
        match folder.join(INDEX).is_file() {
            true => Ok(Self::Folder(folder)),
            false => Err(NoApp { tried: vec![folder] }),
        }
    }

    /// A file's contents; `None` when there is no such file. Paths have `/` between segments of letters, digits, `-`, `_`
    /// and `.`, none of which begins with a dot.
    ///
    /// # Errors
    ///
    /// When it is there and cannot be read.
    pub fn read(&self, path: &str) -> Result<Option<Cow<'static, [u8]>>, FileError> {
        if !is_of_app(path) {
            return Ok(None);
        }
        self.at_path(path)
    }

    /// The same packed with brotli; `None` when there is no such file, or none that is packed.
    ///
    /// # Errors
    ///
    /// When it is there and cannot be read.
    pub fn read_packed(&self, path: &str) -> Result<Option<Cow<'static, [u8]>>, FileError> {
        if is_of_app(path) { self.at_path(&format!("{path}{PACKED}")) } else { Ok(None) }
    }

    fn at_path(&self, path: &str) -> Result<Option<Cow<'static, [u8]>>, FileError> {
        match self {
            Self::Embedded(files) => Ok(files.iter().find(|(name, _)| name == path).map(|(_, bytes)| bytes.clone())),
            Self::Folder(folder) => {
                let file = folder.join(path);
                if file.is_file() { files::read(&file).map(Cow::Owned).map(Some) } else { Ok(None) }
            }
        }
    }

    /// Paths of all its files, in alphabetical order; those that are packed are the same files.
    ///
    /// # Errors
    ///
    /// When a folder cannot be listed.
    pub fn paths(&self) -> Result<Vec<String>, FileError> {
        let mut paths = Vec::new();
        match self {
            Self::Embedded(files) => paths.extend(files.iter().map(|(path, _)| path.clone())),
            Self::Folder(folder) => list(folder, "", &mut paths)?,
        }
        paths.retain(|path| is_of_app(path));
        paths.sort();
        Ok(paths)
    }
}

/// Whether a path may be one of the app's.
fn is_of_app(path: &str) -> bool {
    path.split('/').all(is_plain_segment) && !path.ends_with(PACKED)
}

fn list(folder: &Path, prefix: &str, paths: &mut Vec<String>) -> Result<(), FileError> {
    for entry in fs::read_dir(folder).at("list", folder)? {
        let entry = entry.at("list", folder)?;
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match entry.path().is_dir() {
            true => list(&entry.path(), &format!("{path}/"), paths)?,
            false => paths.push(path),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_and_embedded_files_hold_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let files = [("index.html", "<p>"), ("snippets/a/b.js", "1"), ("snippets/a/b.js.br", "2"), (".hidden", "x")];
        for (path, text) in files {
            files::write(&folder.path().join(path), text.as_bytes()).unwrap();
        }
        let embedded = files.map(|(path, text)| (path.to_owned(), Cow::Borrowed(text.as_bytes()))).to_vec();
        let apps = [App::at(folder.path().to_owned()).unwrap(), App::Embedded(embedded)];
        for app in apps {
            assert_eq!(app.paths().unwrap(), ["index.html", "snippets/a/b.js"]);
            assert_eq!(app.read("snippets/a/b.js").unwrap().as_deref(), Some(b"1".as_slice()));
            assert_eq!(app.read_packed("snippets/a/b.js").unwrap().as_deref(), Some(b"2".as_slice()));
            assert_eq!(app.read_packed("index.html").unwrap(), None);
            for none in
                ["", ".hidden", "snippets/a/b.js.br", "snippets", "snippets/../index.html", "/index.html", "other.js"]
            {
                assert_eq!(app.read(none).unwrap(), None, "{none}");
            }
        }
    }
}
