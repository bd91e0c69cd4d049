//! `cargo xtask setup`: what builds and tests need, each skipped when it is there.

use std::fs;
use std::path::Path;

use crate::axe;
use crate::failure::Failure;
use crate::place::Place;
use crate::step;

/// The newest trunk that this Rust version builds.
const TRUNK_VERSION: &str = "0.21.14";
/// What `cargo install` falls back to when cargo-nextest is missing: any recent one does.
const NEXTEST: &str = "cargo-nextest";
const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// Debian's packages with what they are for and the file that tells whether they are there.
const DEBIAN_PACKAGES: [(&str, &str, &str); 4] = [
    ("chromium", "browser tests run in it", "/usr/bin/chromium"),
    ("chromium-driver", "browser tests drive Chromium through it", "/usr/bin/chromedriver"),
    ("libvulkan1", "GPU tests load it", "/usr/share/doc/libvulkan1"),
    ("mesa-vulkan-drivers", "a software GPU, so that GPU tests run without one", "/usr/share/doc/mesa-vulkan-drivers"),
];

/// Everything: tools and, for the tests, browser and software GPU.
///
/// # Errors
///
/// Fails with what to install when something is missing and cannot be installed from here.
pub fn setup(place: &Place) -> Result<(), Failure> {
    app_tools(place)?;
    nextest(place)?;
    axe::fetch(place)?;
    browser_and_gpu(place)
}

/// What building the app needs.
///
/// # Errors
///
/// Fails with what to install when something is missing and cannot be installed from here.
pub fn app_tools(place: &Place) -> Result<(), Failure> {
    wasm_target(place)?;
    let bindgen = locked_version(place, "wasm-bindgen")?;
    install(
        place,
        &Tool {
            name: "wasm-bindgen-cli",
            program: "wasm-bindgen",
            version: Some(&bindgen),
            why: "writes the app's JavaScript glue; its version must be the one in Cargo.lock",
            // Its own lock file names a dependency version that is no longer to be had.
            locked: false,
        },
    )?;
    install(
        place,
        &Tool { name: "trunk", program: "trunk", version: Some(TRUNK_VERSION), why: "bundles the app", locked: true },
    )
}

fn nextest(place: &Place) -> Result<(), Failure> {
    let why = "runs every test in a process of its own";
    install(place, &Tool { name: NEXTEST, program: NEXTEST, version: None, why, locked: true })
}

fn wasm_target(place: &Place) -> Result<(), Failure> {
    let remedy = "install Rust with rustup (rustup.rs), or your system's wasm32-unknown-unknown standard library";
    let mut ask = place.command("rustc");
    ask.args(["--print", "target-libdir", "--target", WASM_TARGET]);
    let folder = String::from_utf8_lossy(&step::capture(&mut ask, remedy)?).trim().to_owned();
    if Path::new(&folder).is_dir() {
        step::announce("wasm target", "the app compiles to it; there already");
        return Ok(());
    }
    let mut add = place.command("rustup");
    add.args(["target", "add", WASM_TARGET]);
    step::run("wasm target", "the app compiles to it; adding it", &mut add, remedy).map(drop)
}

struct Tool<'a> {
    name: &'a str,
    program: &'a str,
    /// The exact version wanted; `None` takes whatever is on the path.
    version: Option<&'a str>,
    why: &'a str,
    locked: bool,
}

fn install(place: &Place, tool: &Tool) -> Result<(), Failure> {
    let label = tool.version.map_or(tool.name.to_owned(), |version| format!("{} {version}", tool.name));
    if place.has_program(tool.program) && tool.version.is_none_or(|version| has_version(place, tool.program, version)) {
        step::announce(&label, &format!("{}; there already", tool.why));
        return Ok(());
    }
    let mut command = place.command("cargo");
    command.args(["install", "--quiet", tool.name, "--root"]).arg(place.tools());
    command.arg("--target-dir").arg(place.tools_build());
    if let Some(version) = tool.version {
        command.args(["--version", version]);
    }
    if tool.locked {
        command.arg("--locked");
    }
    // These run for seconds, not hours: build them fast rather than fast-running.
    command.env("CARGO_PROFILE_RELEASE_LTO", "off");
    command.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
    let why = format!("{}; installing it into the target directory (minutes, once)", tool.why);
    let remedy = format!("install {label} by hand and put it on the PATH");
    step::run(&label, &why, &mut command, &remedy).map(drop)
}

fn has_version(place: &Place, program: &str, version: &str) -> bool {
    let output = place.command(program).arg("--version").output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).split_whitespace().any(|word| word == version))
}

/// The version of a package in Cargo.lock.
fn locked_version(place: &Place, package: &str) -> Result<String, Failure> {
    let path = place.root.join("Cargo.lock");
    let lock = fs::read_to_string(&path)
        .map_err(|error| Failure::new(format!("{}: {error}", path.display()), "restore Cargo.lock"))?;
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    let version = lines.nth(1).and_then(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
    version.map(str::to_owned).ok_or_else(|| {
        Failure::new(format!("{}: expected package {package}, got none", path.display()), "restore Cargo.lock")
    })
}

fn browser_and_gpu(place: &Place) -> Result<(), Failure> {
    let is_debian = Path::new("/etc/debian_version").is_file() && place.has_program("apt-get");
    if !is_debian {
        return browser_elsewhere(place);
    }
    let mut missing = Vec::new();
    for (package, why, file) in DEBIAN_PACKAGES {
        if Path::new(file).exists() {
            step::announce(package, &format!("{why}; there already"));
        } else {
            step::announce(package, &format!("{why}; missing"));
            missing.push(package);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let by_hand = format!("as root: apt-get update && apt-get install {}", missing.join(" "));
    if !is_root() {
        return Err(Failure::new(format!("missing packages: {}", missing.join(", ")), by_hand));
    }
    let mut update = place.command("apt-get");
    update.args(["update", "-qq"]);
    step::run("apt-get update", "finds the packages", &mut update, &by_hand)?;
    let mut install = place.command("apt-get");
    install.args(["install", "-y", "-qq", "--no-install-recommends"]).args(missing);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    step::run("apt-get install", "installs what is missing", &mut install, &by_hand).map(drop)
}

fn browser_elsewhere(place: &Place) -> Result<(), Failure> {
    let has_browser = ["chromium", "google-chrome", "chromium-browser", "chrome"].iter().any(|b| place.has_program(b));
    if has_browser && place.has_program("chromedriver") {
        step::announce("Chromium and chromedriver", "browser tests run in it; there already");
        return Ok(());
    }
    Err(Failure::new(
        "Chromium or chromedriver is missing: browser tests run in them",
        "install both, of the same version, and put them on the PATH",
    ))
}

/// Whether this process runs as root; the standard library does not say, the owner of its own entry in /proc does.
#[cfg(unix)]
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}

#[cfg(not(unix))]
fn is_root() -> bool {
    false
}
