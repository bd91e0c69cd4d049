//! `cargo xtask test`: setup, the mechanical checks, the builds, then every test. The test runner speaks last.

use std::process::Command;

use crate::failure::Failure;
use crate::place::Place;
use crate::step::{self, Cost};
use crate::{build, licenses, nextest, setup};

/// Rust targets and profiles of what the browser runs.
const WASM: [&str; 4] = ["--profile", "wasm", "--target", "wasm32-unknown-unknown"];
/// Compiled on its own: its dependencies would switch on features that burn is otherwise built without.
pub const BROWSER_TESTS: &str = "whence-browser-tests";

/// Everything. `options` go to nextest.
///
/// # Errors
///
/// Fails with the first check that fails, or when a test does.
pub fn test(place: &Place, options: &[&str]) -> Result<(), Failure> {
    setup::setup(place)?;
    let mut costs = Vec::new();
    for check in [format, lint, lint_browser_tests, lint_wasm, document, document_wasm, licenses::check] {
        costs.push(check(place)?);
    }
    costs.extend(build::build(place)?);
    let tests = nextest::build(place)?;
    costs.extend(tests.costs.iter().cloned());
    println!("checks and builds took");
    step::print_costs(&costs);
    nextest::run(place, &tests, options)
}

fn format(place: &Place) -> Result<Cost, Failure> {
    let mut command = place.command("cargo");
    command.args(["fmt", "--all", "--", "--check"]);
    step::run("format", "one layout, so that differences are about meaning", &mut command, "run `cargo fmt --all`")
}

fn deny_warnings(command: &mut Command) -> &mut Command {
    command.args(["--", "-D", "warnings"])
}

fn lint(place: &Place) -> Result<Cost, Failure> {
    let mut command = place.command("cargo");
    command.args(["clippy", "--release", "--all-targets"]);
    step::run("clippy", "no warnings in native code and tests", deny_warnings(&mut command), "mend what it names")
}

fn lint_browser_tests(place: &Place) -> Result<Cost, Failure> {
    let mut command = place.command("cargo");
    command.args(["clippy", "--release", "--all-targets", "-p", BROWSER_TESTS]);
    step::run("clippy, browser tests", "no warnings there either", deny_warnings(&mut command), "mend what it names")
}

fn lint_wasm(place: &Place) -> Result<Cost, Failure> {
    let mut command = place.wasm_cargo();
    command.arg("clippy").args(WASM).args(["-p", "whence-frontend", "-p", "whence-shared"]);
    let why = "no warnings in what the browser runs, and nothing that a browser lacks (files, threads, clocks)";
    step::run("clippy, wasm", why, deny_warnings(&mut command), "mend what it names")
}

fn document(place: &Place) -> Result<Cost, Failure> {
    let mut command = place.command("cargo");
    command.args(["doc", "--release", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings");
    step::run("docs", "every link in them leads somewhere", &mut command, "mend the link it names")
}

fn document_wasm(place: &Place) -> Result<Cost, Failure> {
    let mut command = place.wasm_cargo();
    command.arg("doc").args(WASM).args(["--no-deps", "--quiet", "-p", "whence-frontend"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    step::run("docs, app", "every link in them leads somewhere", &mut command, "mend the link it names")
}
