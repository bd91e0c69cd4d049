//! A real Chromium without a window, driven through chromedriver on a free port; both end with the value.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::ChromeCapabilities;
use thirtyfour::prelude::*;

/// Longest wait for anything; tests share two cores with whatever else runs.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(40);

/// Keys that change what others do while they are held.
const MODIFIERS: [Key; 4] = [Key::Shift, Key::Control, Key::Alt, Key::Meta];

/// Runs before any script of a page: remembers what goes wrong and every main-thread task of more than 50 ms.
const WATCHER: &str = "
    window.watched = { errors: [], tasks: [] };
    const note = (what) => window.watched.errors.push(String(what));
    addEventListener('error', (event) => note(event.message || 'a resource did not load'), true);
    addEventListener('unhandledrejection', (event) => note(event.reason));
    const error = console.error.bind(console);
    console.error = (...what) => { note(what.join(' ')); error(...what); };
    new PerformanceObserver((list) => {
        for (const task of list.getEntries()) window.watched.tasks.push([task.startTime, task.duration]);
    }).observe({ type: 'longtask', buffered: true });
";

/// A browser with one page.
#[derive(Debug)]
pub struct Browser {
    /// The page.
    pub page: WebDriver,
    /// Where its downloads arrive.
    pub downloads: PathBuf,
    driver: Child,
    port: u16,
    session: String,
    _profile: TempDir,
}

/// A window size in CSS pixels, and the color scheme the person prefers.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
    /// Prefers dark.
    pub is_dark: bool,
}

/// What a mouse does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MouseEvent {
    /// It moves.
    Move,
    /// It moves with its button pressed.
    Drag,
    /// Its button is pressed.
    Press,
    /// Its button is let go.
    Release,
}

/// What draws WebGL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Graphics {
    /// Nothing: pages get no WebGL.
    None,
    /// The processor, slowly.
    Software,
}

impl Screen {
    /// A desk: 1440 × 900, light.
    pub const DESK: Self = Self { width: 1440, height: 900, is_dark: false };
    /// A hand: 390 × 844, light.
    pub const HAND: Self = Self { width: 390, height: 844, is_dark: false };
}

impl Browser {
    /// Starts a browser.
    ///
    /// # Panics
    ///
    /// Panics when chromedriver or Chromium is missing or does not start.
    pub async fn start(screen: Screen) -> Self {
        Self::start_with(screen, Graphics::None).await
    }

    /// Starts a browser that has WebGL, or none.
    ///
    /// # Panics
    ///
    /// As [`Browser::start`].
    pub async fn start_with(screen: Screen, graphics: Graphics) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let downloads = profile.path().join("downloads");
        std::fs::create_dir(&downloads).unwrap();
        let (driver, port) = chromedriver();
        let page =
            WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities(profile.path(), &downloads, graphics))
                .await
                .unwrap_or_else(|error| panic!("Chromium did not start (`cargo xtask setup` installs it): {error}"));
        let session = page.handle().session_id().to_string();
        let browser = Self { page, downloads, driver, port, session, _profile: profile };
        browser.cdp("Page.addScriptToEvaluateOnNewDocument", json!({ "source": WATCHER })).await;
        browser.resize(screen).await;
        browser
    }

    /// Changes window size and color scheme.
    ///
    /// # Panics
    ///
    /// Panics when the browser refuses.
    pub async fn resize(&self, screen: Screen) {
        let Screen { width, height, is_dark } = screen;
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.cdp("Emulation.setDeviceMetricsOverride", size).await;
        let scheme = json!([{ "name": "prefers-color-scheme", "value": if is_dark { "dark" } else { "light" } }]);
        self.cdp("Emulation.setEmulatedMedia", json!({ "features": scheme })).await;
    }

    /// Sends a command of the Chrome DevTools protocol.
    ///
    /// # Panics
    ///
    /// Panics when the browser refuses.
    pub async fn cdp(&self, command: &str, params: Value) -> Value {
        self.page.cdp().send_raw(command, params).await.unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// Opens an address and waits until the page is in `state`, as its body says.
    ///
    /// # Panics
    ///
    /// Panics when it does not get there.
    pub async fn open(&self, address: &str, state: &str) {
        self.page.goto(address).await.unwrap();
        self.wait_for_state(state).await;
    }

    /// Waits until the page is in `state`: loading, empty, ranking, ranked or failed.
    ///
    /// # Panics
    ///
    /// Panics when it does not get there.
    pub async fn wait_for_state(&self, state: &str) {
        self.find(&format!("body[data-state='{state}']")).await;
    }

    /// The first element that matches a selector, once there is one.
    ///
    /// # Panics
    ///
    /// Panics when none comes.
    pub async fn find(&self, selector: &str) -> WebElement {
        let query = self.page.query(By::Css(selector.to_owned())).wait(PATIENCE, POLL);
        match query.first().await {
            Ok(element) => element,
            Err(_) => panic!("no {selector}; {}", self.situation().await),
        }
    }

    /// Waits until an element's text contains `part`.
    ///
    /// # Panics
    ///
    /// Panics when it does not.
    pub async fn wait_for_text(&self, selector: &str, part: &str) {
        let script = "return document.querySelector(arguments[0])?.textContent.includes(arguments[1]) ?? false";
        self.wait_until(script, vec![json!(selector), json!(part)]).await;
    }

    /// Waits until a script returns true.
    ///
    /// # Panics
    ///
    /// Panics when it does not.
    pub async fn wait_until(&self, script: &str, arguments: Vec<Value>) {
        let start = Instant::now();
        while self.evaluate(script, arguments.clone()).await != json!(true) {
            assert!(start.elapsed() < PATIENCE, "waited for {script} {arguments:?}; {}", self.situation().await);
            tokio::time::sleep(POLL).await;
        }
    }

    /// What a script returns.
    ///
    /// # Panics
    ///
    /// Panics when it throws.
    pub async fn evaluate(&self, script: &str, arguments: Vec<Value>) -> Value {
        self.page.execute(script, arguments).await.unwrap_or_else(|error| panic!("{script}: {error}")).json().clone()
    }

    /// Moves the mouse to a point of the page, in CSS pixels, with the left button pressed or not.
    ///
    /// # Panics
    ///
    /// Panics when the browser refuses.
    pub async fn mouse(&self, kind: MouseEvent, [x, y]: [f64; 2]) {
        let (kind, is_pressed) = match kind {
            MouseEvent::Move => ("mouseMoved", false),
            MouseEvent::Drag => ("mouseMoved", true),
            MouseEvent::Press => ("mousePressed", true),
            MouseEvent::Release => ("mouseReleased", false),
        };
        let counts = if kind == "mouseMoved" { 0 } else { 1 };
        let button = if kind == "mouseMoved" && !is_pressed { "none" } else { "left" };
        let event = json!({
            "type": kind, "x": x, "y": y, "button": button, "buttons": u8::from(is_pressed), "clickCount": counts,
        });
        self.cdp("Input.dispatchMouseEvent", event).await;
    }

    /// Presses keys one after another with the focus where it is; modifiers are held until the last was pressed.
    ///
    /// They go to the page as from a keyboard, not to an element that was asked for before: what had the focus may have
    /// left the page by then, as the field of a dialog that closes does.
    ///
    /// # Panics
    ///
    /// Panics when the browser refuses.
    pub async fn press(&self, keys: impl Into<TypingData>) {
        let mut actions = self.page.action_chain_with_delay(Some(Duration::ZERO), Some(Duration::ZERO));
        let mut held = Vec::new();
        for key in keys.into().as_vec() {
            actions = actions.key_down(key);
            match MODIFIERS.iter().any(|modifier| modifier.value() == key) {
                true => held.push(key),
                false => actions = actions.key_up(key),
            }
        }
        held.into_iter().rev().fold(actions, |actions, key| actions.key_up(key)).perform().await.unwrap();
    }

    /// Waits for a download and gives its text.
    ///
    /// # Panics
    ///
    /// Panics when it does not come or is no text.
    pub async fn downloaded(&self, name: &str) -> String {
        String::from_utf8(self.downloaded_bytes(name).await).unwrap()
    }

    /// Waits for a download and gives its bytes.
    ///
    /// # Panics
    ///
    /// Panics when it does not come.
    pub async fn downloaded_bytes(&self, name: &str) -> Vec<u8> {
        let path = self.downloads.join(name);
        let start = Instant::now();
        // Chromium reserves the name with an empty file, writes under another name and renames: our downloads have at
        // least a heading, so a file with something in it is whole.
        while std::fs::metadata(&path).map_or(0, |file| file.len()) == 0 {
            assert!(start.elapsed() < PATIENCE, "no download {name}; {}", self.situation().await);
            tokio::time::sleep(POLL).await;
        }
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        bytes
    }

    /// The most memory that a tab has had resident so far, in bytes, its workers included; `None` where the system does
    /// not tell (it has no `/proc`).
    pub fn peak_tab_bytes(&self) -> Option<u64> {
        descendants(self.driver.id()).into_iter().filter(|pid| is_tab(*pid)).filter_map(peak_bytes).max()
    }

    /// Errors the page met: exceptions, console errors, resources that did not load.
    pub async fn errors(&self) -> Vec<String> {
        serde_json::from_value(self.evaluate("return window.watched.errors", vec![]).await).unwrap()
    }

    /// Writes a picture of the window.
    ///
    /// # Panics
    ///
    /// Panics when the file cannot be written.
    pub async fn screenshot(&self, path: &Path) {
        self.page.screenshot(path).await.unwrap();
    }

    async fn situation(&self) -> String {
        let script = "return [location.href, document.body.dataset.state, document.body.innerText.slice(0, 2000),
            JSON.stringify(window.watched?.errors)].join('\\n')";
        match self.page.execute(script, Vec::new()).await {
            Ok(value) => format!("the page:\n{}", value.json().as_str().unwrap_or_default()),
            Err(error) => format!("the page does not answer: {error}"),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Closing the session ends Chromium; killing chromedriver alone would leave it running. The client's own way of
        // closing waits for a minute when chromedriver is gone, so it is told that there is nothing left to close.
        let _ = self.page.clone().leak();
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
            let _ = write!(
                stream,
                "DELETE /session/{} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                self.session, self.port
            );
            let _ = stream.read(&mut [0; 512]);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Processes that a process started, and those that they started.
fn descendants(of: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name in parentheses may hold anything; the parent comes second after it.
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        parents.extend(parent.map(|parent| (pid, parent)));
    }
    let mut found = vec![of];
    let mut i = 0;
    while let Some(&parent) = found.get(i) {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        i += 1;
    }
    found
}

fn is_tab(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|line| String::from_utf8_lossy(&line).contains("--type=renderer"))
}

fn peak_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Starts chromedriver on a free port, and tells which.
///
/// It takes a port that is free on IPv6, then the same one on IPv4, and exits where that one is in use, which happens
/// once in some hundred starts beside many connections: it is started again then.
fn chromedriver() -> (Child, u16) {
    let mut said = Vec::new();
    for _ in 0..5 {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("chromedriver did not start (`cargo xtask setup` installs it): {error}"));
        let mut lines = BufReader::new(driver.stdout.take().expect("piped")).lines();
        let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let port =
                line.split("successfully on port ").nth(1).and_then(|rest| rest.trim_end_matches('.').parse().ok());
            said.push(line);
            port
        });
        if let Some(port) = port {
            // It must not block on a full pipe.
            std::thread::spawn(move || lines.for_each(drop));
            return (driver, port);
        }
        let _ = driver.wait();
    }
    panic!("chromedriver does not say which port it listens on:\n{}", said.join("\n"))
}

fn capabilities(profile: &Path, downloads: &Path, graphics: Graphics) -> ChromeCapabilities {
    let mut capabilities = DesiredCapabilities::chrome();
    let profile = format!("--user-data-dir={}", profile.join("profile").display());
    for argument in [
        "--headless",
        "--no-sandbox",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--hide-scrollbars",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        &profile,
    ] {
        capabilities.add_arg(argument).unwrap();
    }
    let of_graphics: &[&str] = match graphics {
        Graphics::None => &["--disable-gpu"],
        Graphics::Software => &["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"],
    };
    for argument in of_graphics {
        capabilities.add_arg(argument).unwrap();
    }
    let prefs = json!({ "download.default_directory": downloads, "download.prompt_for_download": false });
    capabilities.add_experimental_option("prefs", prefs).unwrap();
    capabilities
}
