//! A static web site on loopback: the app and a study in one folder, served as files at a sub-path and nothing else.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;

use tempfile::TempDir;

use crate::static_study::{Plan, StaticStudy};

/// The folder of the host that the app lies in: not its root, because static hosts often serve at a sub-path.
const SUB_PATH: &str = "/some/where/";

/// A running site. It stops with the process.
#[derive(Debug)]
pub struct Site {
    folder: TempDir,
    address: String,
}

impl Site {
    /// A site with the app and no study.
    ///
    /// # Panics
    ///
    /// Panics when WHENCE_APP is not set to the built app, or a file or socket is refused.
    pub fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(&app_folder(), folder.path());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}{SUB_PATH}", listener.local_addr().unwrap());
        let root = folder.path().to_owned();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let root = root.clone();
                // A browser hangs up whenever it cancels a download.
                thread::spawn(move || drop(answer(&stream, &root)));
            }
        });
        Self { folder, address }
    }

    /// A site with the app and a study.
    ///
    /// # Panics
    ///
    /// As [`Site::empty`].
    pub fn with_study(plan: &Plan) -> (Self, StaticStudy) {
        let site = Self::empty();
        let study = StaticStudy::make(&site.folder.path().join("data"), plan);
        (site, study)
    }

    /// The app's address with a query string, which may be empty.
    pub fn address(&self, query: &str) -> String {
        format!("{}{query}", self.address)
    }
}

/// The built app, as `cargo xtask test` makes it known.
///
/// # Panics
///
/// Panics when WHENCE_APP is not set to it: the tests never build anything themselves.
pub fn app_folder() -> PathBuf {
    let folder = std::env::var_os("WHENCE_APP").map(PathBuf::from).unwrap_or_else(|| {
        panic!("WHENCE_APP is not set: run the tests through `cargo xtask test`, or set it to frontend/dist")
    });
    assert!(folder.join("index.html").is_file(), "WHENCE_APP is {}, which holds no built app", folder.display());
    folder
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn answer(stream: &TcpStream, root: &Path) -> std::io::Result<()> {
    let mut request = String::new();
    let mut reader = BufReader::new(stream);
    reader.read_line(&mut request)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    let target = request.split(' ').nth(1).unwrap_or("/");
    let path = target.split('?').next().unwrap_or("/");
    let mut stream = stream;
    let file = path.strip_prefix(SUB_PATH).filter(|path| !path.contains("..")).map(|path| match path {
        "" => root.join("index.html"),
        path => root.join(path),
    });
    match file.and_then(|file| Some((fs::read(&file).ok()?, file))) {
        Some((bytes, file)) => {
            let kind = content_type(&file);
            let length = bytes.len();
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n")?;
            stream.write_all(b"Connection: close\r\n\r\n")?;
            stream.write_all(&bytes)
        }
        None => stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
    }
}

fn content_type(file: &Path) -> &'static str {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript",
        Some("css") => "text/css",
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    }
}
