//! Running every test at once. The browser tests are compiled apart from the others (see the workspace's
//! `default-members`), and nextest has one build per run; so both are built first, their lists of test binaries are
//! joined, and one run gives one summary.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::checks::BROWSER_TESTS;
use crate::failure::Failure;
use crate::place::Place;
use crate::step::{self, Cost};

/// Built tests.
#[derive(Debug)]
pub struct Tests {
    binaries: PathBuf,
    workspace: PathBuf,
    /// What building took.
    pub costs: Vec<Cost>,
}

/// Compiles every test.
///
/// # Errors
///
/// Fails when one does not compile.
pub fn build(place: &Place) -> Result<Tests, Failure> {
    let started = std::time::Instant::now();
    step::announce("tests", "compiles them");
    let mut list = list(place, &[])?;
    let native = Cost { name: "tests".to_owned(), duration: started.elapsed(), peak_bytes: None };
    let started = std::time::Instant::now();
    step::announce("browser tests", "compiles them");
    let browser = self::list(place, &["-p", BROWSER_TESTS])?;
    let costs = vec![native, Cost { name: "browser tests".to_owned(), duration: started.elapsed(), peak_bytes: None }];

    join(&mut list, browser)?;
    let mut ask = place.command("cargo");
    ask.args(["metadata", "--format-version", "1", "--all-features"]);
    // What nextest itself asks for: packages of other platforms need not be downloaded.
    ask.args(["--filter-platform", &host(place)?]);
    let metadata = step::capture(&mut ask, "repair the Cargo.toml it names")?;
    let folder = place.target.join("nextest");
    let tests = Tests { binaries: folder.join("binaries.json"), workspace: folder.join("workspace.json"), costs };
    let write = || {
        fs::create_dir_all(&folder)?;
        fs::write(&tests.binaries, serde_json::to_vec(&list)?)?;
        fs::write(&tests.workspace, metadata)
    };
    write().map_err(|error: std::io::Error| {
        Failure::new(format!("cannot write to {}: {error}", folder.display()), "make room or mend its permissions")
    })?;
    Ok(tests)
}

/// Runs every test; nothing is printed after nextest's summary.
///
/// # Errors
///
/// Fails, saying nothing more, when a test does.
pub fn run(place: &Place, tests: &Tests, options: &[&str]) -> Result<(), Failure> {
    let mut command = place.command("cargo");
    command.args(["nextest", "run", "--binaries-metadata"]).arg(&tests.binaries);
    command.arg("--cargo-metadata").arg(&tests.workspace);
    command.args(options);
    command.env("WHENCE_BIN", place.whence()).env("WHENCE_APP", place.app());
    if place.axe().is_file() {
        command.env("WHENCE_AXE", place.axe());
    }
    step::announce("nextest", "runs every test, browser tests included");
    let status = command.status().map_err(|error| {
        Failure::new(format!("cannot start cargo: {error}"), "install Rust with rustup, then run `cargo xtask setup`")
    })?;
    if status.success() { Ok(()) } else { Err(Failure::TestsFailed) }
}

fn list(place: &Place, packages: &[&str]) -> Result<Value, Failure> {
    let mut command = place.command("cargo");
    command.args(["nextest", "list", "--release", "--list-type", "binaries-only", "--message-format", "json"]);
    command.args(packages);
    let remedy = "mend what rustc names";
    let bytes = step::capture(&mut command, remedy)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Failure::new(format!("cannot read nextest's list of tests: {error}"), "update cargo-nextest"))
}

/// Adds the test binaries of `more`, and what their tests need to be run, to `list`.
fn join(list: &mut Value, more: Value) -> Result<(), Failure> {
    let strange = || Failure::new("nextest's list of tests has an unknown form", "update cargo-nextest");
    let Value::Object(mut more) = more else { return Err(strange()) };
    let Some(Value::Object(binaries)) = more.remove("rust-binaries") else { return Err(strange()) };
    list["rust-binaries"].as_object_mut().ok_or_else(strange)?.extend(binaries);
    let build = more.remove("rust-build-meta").ok_or_else(strange)?;
    for key in ["base-output-directories", "linked-paths"] {
        let values = build[key].as_array().cloned().unwrap_or_default();
        let known = list["rust-build-meta"][key].as_array_mut().ok_or_else(strange)?;
        known.extend(values);
        known.sort_by_key(Value::to_string);
        known.dedup();
    }
    for key in ["non-test-binaries", "build-script-out-dirs", "build-script-info"] {
        let Some(values) = build[key].as_object().cloned() else { continue };
        if let Some(known) = list["rust-build-meta"][key].as_object_mut() {
            known.extend(values);
        }
    }
    Ok(())
}

/// The machine's own target, as rustc names it.
fn host(place: &Place) -> Result<String, Failure> {
    let mut ask = place.command("rustc");
    ask.arg("-vV");
    let said = String::from_utf8_lossy(&step::capture(&mut ask, "install Rust with rustup")?).into_owned();
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| Failure::new("rustc does not name its host", "install Rust with rustup"))
}
