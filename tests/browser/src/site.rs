//! A static web site on loopback: the app and a study, served as files at a sub-path and nothing else. It answers Range
//! requests or not, and fails as told.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use whence_shared::study::StudyView;

use crate::static_study::{Plan, StaticStudy};

/// The folder of the host that the app lies in: not its root, because static hosts often serve at a sub-path.
const SUB_PATH: &str = "/some/where/";
/// Bytes sent at a time: files are never read whole.
const PIECE_BYTES: usize = 256 << 10;

/// A running site. It stops with the process.
#[derive(Debug)]
pub struct Site {
    folder: TempDir,
    address: String,
    host: Arc<Host>,
}

/// What goes wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection is cut after this many bytes of the body.
    Cut(u64),
    /// A bit in the middle of the body is flipped.
    Flip,
    /// This status without a body.
    Status(u16),
    /// The answer does not say what kind of file it is.
    Untyped,
}

/// What was asked of the site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Path below the app's folder.
    pub path: String,
    /// The bytes asked for by a Range header.
    pub range: Option<Range<u64>>,
}

#[derive(Debug, Default)]
struct Host {
    root: PathBuf,
    /// Where `data/` lies, if not in the root.
    data: Option<PathBuf>,
    behavior: Mutex<Behavior>,
}

#[derive(Debug)]
struct Behavior {
    has_ranges: bool,
    gathers: bool,
    is_shared: bool,
    /// Faults by the beginning of a path: which, and for how many answers.
    faults: HashMap<String, (Fault, usize)>,
    /// Bytes a second of each answer below `data/`, if limited.
    bytes_per_second: Option<u64>,
    asked: Vec<Asked>,
}

impl Default for Behavior {
    fn default() -> Self {
        Self {
            has_ranges: true,
            gathers: false,
            is_shared: false,
            faults: HashMap::new(),
            bytes_per_second: None,
            asked: Vec::new(),
        }
    }
}

impl Site {
    /// A site with the app and no study.
    ///
    /// # Panics
    ///
    /// Panics when WHENCE_APP is not set to the built app, or a file or socket is refused.
    pub fn empty() -> Self {
        Self::start(None)
    }

    /// A site with the app and the study in `data`, which is served where it lies.
    ///
    /// # Panics
    ///
    /// As [`Site::empty`].
    pub fn beside(data: &Path) -> Self {
        Self::start(Some(data.to_owned()))
    }

    /// A site of a folder and nothing else, as it lies: not even the app is added.
    ///
    /// # Panics
    ///
    /// Panics when a socket is refused.
    pub fn of(root: &Path) -> Self {
        Self::serving(tempfile::tempdir().unwrap(), root.to_owned(), None)
    }

    fn start(data: Option<PathBuf>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(&app_folder(), folder.path());
        let root = folder.path().to_owned();
        Self::serving(folder, root, data)
    }

    fn serving(folder: TempDir, root: PathBuf, data: Option<PathBuf>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}{SUB_PATH}", listener.local_addr().unwrap());
        let host = Arc::new(Host { root, data, ..Host::default() });
        let answering = host.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let host = answering.clone();
                // A browser hangs up whenever it cancels a download.
                thread::spawn(move || drop(host.serve(&stream)));
            }
        });
        Self { folder, address, host }
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

    /// From now on, whole files only, or parts as asked for.
    ///
    /// # Panics
    ///
    /// Panics when a thread of the site panicked; so do the next ones.
    pub fn set_ranges(&self, has_ranges: bool) {
        self.host.behavior.lock().unwrap().has_ranges = has_ranges;
    }

    /// From now on, pages of other origins may read the files, or not.
    ///
    /// # Panics
    ///
    /// As [`Site::set_ranges`].
    pub fn set_shared(&self, is_shared: bool) {
        self.host.behavior.lock().unwrap().is_shared = is_shared;
    }

    /// From now on, chosen rows in one request, as a backend does, or not.
    ///
    /// # Panics
    ///
    /// As [`Site::set_ranges`].
    pub fn set_gathers(&self, gathers: bool) {
        self.host.behavior.lock().unwrap().gathers = gathers;
    }

    /// The next `times` answers to paths that begin with `path` fail.
    pub fn fail(&self, path: &str, fault: Fault, times: usize) {
        self.host.behavior.lock().unwrap().faults.insert(path.to_owned(), (fault, times));
    }

    /// No answer fails any more.
    pub fn mend(&self) {
        self.host.behavior.lock().unwrap().faults.clear();
    }

    /// Limits how fast each answer below `data/` is sent.
    pub fn limit(&self, bytes_per_second: Option<u64>) {
        self.host.behavior.lock().unwrap().bytes_per_second = bytes_per_second;
    }

    /// What was asked since the last call.
    pub fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.host.behavior.lock().unwrap().asked)
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

impl Host {
    fn file(&self, path: &str) -> Option<PathBuf> {
        if path.contains("..") {
            return None;
        }
        Some(match (path, path.strip_prefix("data/"), &self.data) {
            ("", ..) => self.root.join("index.html"),
            (_, Some(below), Some(data)) => data.join(below),
            _ => self.root.join(path),
        })
    }

    /// Rows' vectors as a backend gathers them: `body` is `{"rows": […]}`.
    fn gather(&self, layer: &str, body: &[u8]) -> Option<Vec<u8>> {
        let study: StudyView = serde_json::from_slice(&fs::read(self.file("data/study.json")?).ok()?).ok()?;
        let layer = study.layers.iter().find(|view| view.layer.to_string() == layer)?;
        let asked: serde_json::Value = serde_json::from_slice(body).ok()?;
        let width = layer.d_model * layer.dtype.n_bytes();
        let mut gathered = Vec::new();
        for row in asked["rows"].as_array()? {
            let row = row.as_u64()? as usize;
            let shard = layer.shards.iter().find(|shard| row < shard.first_row + shard.n_rows)?;
            let mut file = File::open(self.file(&format!("data/{}", shard.path))?).ok()?;
            let mut head = [0; 8];
            file.read_exact(&mut head).ok()?;
            let offset = 8 + u64::from_le_bytes(head) + ((row - shard.first_row) * width) as u64;
            file.seek(SeekFrom::Start(offset)).ok()?;
            let mut values = vec![0; width];
            file.read_exact(&mut values).ok()?;
            gathered.extend(values);
        }
        Some(gathered)
    }

    /// Answers one request after the other until either side hangs up.
    fn serve(&self, stream: &TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream);
        while self.answer(&mut reader, stream)? {}
        Ok(())
    }

    /// Answers one request; whether another may follow.
    fn answer(&self, reader: &mut BufReader<&TcpStream>, mut stream: &TcpStream) -> std::io::Result<bool> {
        let mut request = String::new();
        if reader.read_line(&mut request)? == 0 {
            return Ok(false);
        }
        let (mut asked_range, mut n_body_bytes) = (None, 0);
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header)? <= 2 {
                break;
            }
            match header.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim())) {
                Some((name, value)) if name == "range" => asked_range = parse_range(value),
                Some((name, value)) if name == "content-length" => n_body_bytes = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        let mut body = vec![0; n_body_bytes];
        reader.read_exact(&mut body)?;
        let target = request.split(' ').nth(1).unwrap_or("/");
        let path = target.split('?').next().unwrap_or("/");
        let path = path.strip_prefix(SUB_PATH).unwrap_or("..");
        let (fault, has_ranges, gathers, is_shared, bytes_per_second) = {
            let mut behavior = self.behavior.lock().unwrap();
            behavior.asked.push(Asked { path: path.to_owned(), range: asked_range.clone() });
            let found = behavior.faults.iter_mut().find(|(begin, (_, times))| path.starts_with(*begin) && *times > 0);
            let fault = found.map(|(_, (fault, times))| {
                *times -= 1;
                *fault
            });
            (fault, behavior.has_ranges, behavior.gathers, behavior.is_shared, behavior.bytes_per_second)
        };
        if let Some(Fault::Status(status)) = fault {
            write!(stream, "HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n")?;
            return Ok(true);
        }
        if let Some(layer) = path.strip_prefix("data/gather/layer-").filter(|_| request.starts_with("POST ") && gathers)
        {
            let mut rows = self.gather(layer, &body).ok_or_else(|| std::io::Error::other("not a gather request"))?;
            if fault == Some(Fault::Flip) {
                let middle = rows.len() / 2;
                // An exponent: no bound would notice less.
                rows[middle + 3] ^= 0x40;
            }
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", rows.len())?;
            stream.write_all(&rows)?;
            return Ok(true);
        }
        let shared = if is_shared { "Access-Control-Allow-Origin: *\r\n" } else { "" };
        let found = self.file(path).and_then(|path| Some((File::open(&path).ok()?, path)));
        let Some((mut file, file_path)) = found.filter(|(file, _)| file.metadata().is_ok_and(|data| data.is_file()))
        else {
            write!(stream, "HTTP/1.1 404 Not Found\r\n{shared}Content-Length: 0\r\n\r\n")?;
            return Ok(true);
        };
        let n_bytes = file.metadata()?.len();
        let range = asked_range.filter(|_| has_ranges).map(|range| range.start..range.end.min(n_bytes));
        if range.as_ref().is_some_and(|range| range.start >= range.end) {
            let head = format!("HTTP/1.1 416 No\r\nContent-Range: bytes */{n_bytes}\r\n");
            write!(stream, "{head}Content-Length: 0\r\n\r\n")?;
            return Ok(true);
        }
        let status = match &range {
            None => "200 OK\r\n".to_owned(),
            Some(range) => {
                let Range { start, end } = range;
                format!("206 Partial Content\r\nContent-Range: bytes {start}-{}/{n_bytes}\r\n", end - 1)
            }
        };
        let Range { start, end } = range.unwrap_or(0..n_bytes);
        let is_untyped = fault == Some(Fault::Untyped);
        let kind = if is_untyped { "application/octet-stream" } else { content_type(&file_path) };
        let length = end - start;
        let head = format!("HTTP/1.1 {status}{shared}Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        file.seek(SeekFrom::Start(start))?;
        let n_sent = if let Some(Fault::Cut(n)) = fault { n.min(length) } else { length };
        let is_slow = path.starts_with("data/");
        let mut at = 0;
        let piece_bytes = bytes_per_second.map_or(PIECE_BYTES, |_| PIECE_BYTES / 8);
        let mut piece = vec![0; piece_bytes.min(length as usize)];
        while at < n_sent {
            let n = file.read(&mut piece)?.min((n_sent - at) as usize);
            if n == 0 {
                break;
            }
            if fault == Some(Fault::Flip) && (at..at + n as u64).contains(&(length / 2)) {
                piece[(length / 2 - at) as usize] ^= 1;
            }
            stream.write_all(&piece[..n])?;
            at += n as u64;
            if let Some(rate) = bytes_per_second.filter(|_| is_slow) {
                thread::sleep(Duration::from_secs_f64(n as f64 / rate as f64));
            }
        }
        // What was cut is not made good.
        Ok(at == length)
    }
}

fn parse_range(value: &str) -> Option<Range<u64>> {
    let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
    Some(first.parse().ok()?..last.parse::<u64>().map_or(u64::MAX, |last| last + 1))
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
