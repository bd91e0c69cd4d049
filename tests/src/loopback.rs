//! An HTTP server on this machine, inside the test: answers with what the test says, remembers what it was asked, can
//! cut an answer off or delay it, and ends by itself.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// No test needs a server for longer.
const LIFETIME: Duration = Duration::from_secs(240);

/// What a client asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `POST`…
    pub method: String,
    /// Path and query.
    pub target: String,
    /// By lower-case name.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
    /// When it had been read.
    pub at: Instant,
}

impl Request {
    /// A header, or the empty text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What to answer.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// Status code; 0 closes the connection without a word.
    pub status: u16,
    /// Beside length and connection.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Closes the connection after so many bytes of the body.
    pub cut_after: Option<usize>,
    /// Waits before answering.
    pub delay: Duration,
}

impl Answer {
    /// A status with a body.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, body: body.into(), ..Self::default() }
    }

    /// With one more header.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

type Handler = dyn Fn(&Request) -> Answer + Send + Sync;

/// A running server; ends when dropped.
pub struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    is_stopped: Arc<AtomicBool>,
    most_at_once: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server on a free port; each connection serves one request.
    ///
    /// # Panics
    ///
    /// Panics when there is no free port.
    pub fn start(handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, is_stopped) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (most_at_once, now) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let handler: Arc<Handler> = Arc::new(handler);
        let shared = (requests.clone(), is_stopped.clone(), most_at_once.clone());
        let thread = thread::spawn(move || {
            let (requests, is_stopped, most_at_once) = shared;
            let until = Instant::now() + LIFETIME;
            while !is_stopped.load(Ordering::Relaxed) && Instant::now() < until {
                let Ok((stream, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(2));
                    continue;
                };
                let (handler, requests) = (handler.clone(), requests.clone());
                let (most_at_once, now) = (most_at_once.clone(), now.clone());
                thread::spawn(move || {
                    // A client that goes away in the middle is no fault of the server.
                    let _ = serve(&stream, &*handler, &requests, |is_begin| {
                        if is_begin {
                            most_at_once.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        } else {
                            now.fetch_sub(1, Ordering::SeqCst);
                        }
                    });
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        });
        Self { address, requests, is_stopped, most_at_once, thread: Some(thread) }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything asked so far.
    ///
    /// # Panics
    ///
    /// Never: nothing panics while it holds the list.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Forgets what was asked.
    ///
    /// # Panics
    ///
    /// As [`Server::requests`].
    pub fn forget(&self) {
        self.requests.lock().unwrap().clear();
    }

    /// Most requests that were being answered at the same time.
    pub fn most_at_once(&self) -> usize {
        self.most_at_once.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    stream: &TcpStream,
    handler: &Handler,
    requests: &Mutex<Vec<Request>>,
    count: impl Fn(bool),
) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.trim().to_lowercase(), value.trim().to_owned());
        }
    }
    let length = headers.get("content-length").and_then(|n: &String| n.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let request = Request { method, target, headers, body, at: Instant::now() };
    requests.lock().unwrap().push(request.clone());
    count(true);
    let answer = handler(&request);
    thread::sleep(answer.delay);
    count(false);
    if answer.status == 0 {
        return Ok(());
    }
    let mut head =
        format!("HTTP/1.1 {} Told\r\nconnection: close\r\ncontent-length: {}\r\n", answer.status, answer.body.len());
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut out = stream;
    out.write_all(head.as_bytes())?;
    out.write_all(b"\r\n")?;
    if request.method != "HEAD" {
        out.write_all(&answer.body[..answer.cut_after.unwrap_or(answer.body.len()).min(answer.body.len())])?;
    }
    out.flush()
}
