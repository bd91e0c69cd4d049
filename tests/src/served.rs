//! A made study behind the real server, over a real socket, and requests to it sent to the letter.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::from_slice;
use tempfile::{TempDir, tempdir};
use whence_backend::server::{ServeOptions, Server};
use whence_backend::study::Study;
use whence_backend::view::app::App;
use whence_shared::api::ApiError;

use crate::made_study;

/// Pairs of the study.
pub const N_PAIRS: usize = 4200;
/// Its app's page.
pub const INDEX: &str = "<!doctype html><script type=\"module\">start()</script><p>app</p>";

/// A running server. It ends with the process.
pub struct Site {
    /// Where study and app lie.
    pub folder: Arc<TempDir>,
    /// The study.
    pub study: Study,
    address: SocketAddr,
}

/// An answer.
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers, names in lower case.
    pub headers: HashMap<String, String>,
    /// Its body, not chunked.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The body, which must be JSON.
    ///
    /// # Panics
    ///
    /// Panics when it is not.
    pub fn json(&self) -> &[u8] {
        let body = String::from_utf8_lossy(&self.body);
        assert_eq!(self.header("content-type"), "application/json", "{body}");
        &self.body
    }

    /// The body as a `T`; the status must be 200.
    ///
    /// # Panics
    ///
    /// Panics with the answer when it is something else.
    pub fn of<T: DeserializeOwned>(&self) -> T {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        from_slice(self.json()).unwrap()
    }

    /// What went wrong and what to do about it.
    ///
    /// # Panics
    ///
    /// Panics when it is no refusal.
    pub fn error(&self) -> String {
        let ApiError { error, hint, .. } = self.refusal();
        format!("{error}; {hint}")
    }

    /// The body as a refusal.
    ///
    /// # Panics
    ///
    /// Panics when it is none.
    pub fn refusal(&self) -> ApiError {
        from_slice(self.json()).unwrap()
    }
}

/// On loopback, at any free port, with a built app's folder.
///
/// # Panics
///
/// Panics when the folder holds no app.
pub fn options(app: &Path) -> ServeOptions {
    ServeOptions {
        host: IpAddr::V4(Ipv4Addr::LOCALHOST),
        port: 0,
        app: App::at(app.to_owned()).unwrap(),
        can_edit: true,
        jobs: None,
        shares: false,
        allowed_hosts: Vec::new(),
    }
}

/// Makes an app in a folder.
///
/// # Panics
///
/// Panics when it cannot be written.
pub fn app(folder: &Path) -> PathBuf {
    let app = folder.join("app");
    fs::create_dir_all(&app).unwrap();
    fs::write(app.join("index.html"), INDEX).unwrap();
    fs::write(app.join("app-1f0c29a4e8b53d67_bg.wasm"), vec![7; 5000]).unwrap();
    // What a browser would unpack is not looked at here: that these bytes are sent is.
    fs::write(app.join("app-1f0c29a4e8b53d67_bg.wasm.br"), b"packed").unwrap();
    fs::write(app.join("worker.js"), "self.onmessage = null;".repeat(100)).unwrap();
    app
}

impl Site {
    /// A server of a made study.
    ///
    /// # Panics
    ///
    /// Panics when it does not start.
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// With other options.
    ///
    /// # Panics
    ///
    /// As [`Site::start`].
    pub fn start_with(change: impl FnOnce(&mut ServeOptions)) -> Self {
        let folder = tempdir().unwrap();
        let study = made_study::make(folder.path(), N_PAIRS);
        let mut options = options(&app(folder.path()));
        change(&mut options);
        let server = Server::bind(study.clone(), &options).unwrap();
        let address = server.address();
        // The thread ends with the test process.
        thread::spawn(|| server.run(std::future::pending()));
        Self { folder: Arc::new(folder), study, address }
    }

    /// Another server of the same study.
    pub fn beside(&self, server: Server) -> Self {
        let address = server.address();
        thread::spawn(|| server.run(std::future::pending()));
        Self { folder: self.folder.clone(), study: self.study.clone(), address }
    }

    /// A server that runs elsewhere.
    pub fn at(folder: TempDir, study: Study, address: SocketAddr) -> Self {
        Self { folder: Arc::new(folder), study, address }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// GET.
    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[("host", "localhost")])
    }

    /// GET with one more header.
    pub fn get_with(&self, path: &str, header: (&str, &str)) -> Answer {
        self.request("GET", path, &[("host", "localhost"), header])
    }

    /// One request on a connection of its own, its path sent to the letter.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(method, path, headers, "")
    }

    /// POST of JSON text.
    pub fn post(&self, path: &str, body: &str) -> Answer {
        self.with_body("POST", path, body)
    }

    /// POST of a value.
    ///
    /// # Panics
    ///
    /// Panics when it does not serialize.
    pub fn post_json(&self, path: &str, body: &impl Serialize) -> Answer {
        self.post(path, &serde_json::to_string(body).unwrap())
    }

    /// PUT of a value.
    ///
    /// # Panics
    ///
    /// As [`Site::post_json`].
    pub fn put_json(&self, path: &str, body: &impl Serialize) -> Answer {
        self.with_body("PUT", path, &serde_json::to_string(body).unwrap())
    }

    fn with_body(&self, method: &str, path: &str, body: &str) -> Answer {
        let length = body.len().to_string();
        let headers =
            [("host", "localhost"), ("content-type", "application/json"), ("content-length", length.as_str())];
        self.send(method, path, &headers, body)
    }

    /// Any request on a connection of its own.
    ///
    /// # Panics
    ///
    /// Panics when there is no answer.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        write!(stream, "{method} {path} HTTP/1.1\r\n{headers}connection: close\r\n\r\n{body}").unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer has a head");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: HashMap<String, String> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut body = bytes[end + 4..].to_vec();
        if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
            body = unchunk(&body);
        }
        Answer { status, headers, body }
    }
}

fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").unwrap();
        let n_bytes = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if n_bytes == 0 {
            return body;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + n_bytes]);
        rest = &rest[end + 4 + n_bytes..];
    }
}
