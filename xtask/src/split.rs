//! Cutting the app into modules: what only some pages use is downloaded when it is first needed.
//!
//! Trunk has bundled the whole app as one module. Here the same linked program is cut where `frontend/src/app/parts.rs`
//! marks it, and its modules take the place of the one. Names keep the hash that Trunk gave: the program is the same.

use std::convert::Infallible;
use std::fs;
use std::path::Path;

use wasm_encoder::Module;
use wasm_encoder::reencode::{self, Reencode};
use wasm_split_cli_support::{Options, transform};
use wasmparser::{CustomSectionReader, Parser};

use crate::failure::Failure;
use crate::place::Place;
use crate::step::{self, Cost};

/// What cargo calls the app.
const PROGRAM: &str = "whence-frontend";
/// How Trunk ends the name of the module.
const MODULE: &str = "_bg.wasm";

/// How the script that loads parts makes a module of what it fetched.
const STREAMED: &str = "WebAssembly.instantiateStreaming(src, imports)";
/// What it does instead: a host need not say that a module is one, and one that sends something else is named.
const INSTANTIATED: &str = "instantiated(src, imports)";
const INSTANTIATE: &str = r#"
async function instantiated(src, imports) {
    const response = await src;
    if (!response.ok) throw new Error(`${response.url}: status ${response.status}`);
    if (response.headers.get("Content-Type")?.startsWith("application/wasm")) {
        return WebAssembly.instantiateStreaming(response, imports);
    }
    return WebAssembly.instantiate(await response.arrayBuffer(), imports);
}
"#;

/// Cuts what Trunk has bundled.
///
/// # Errors
///
/// Fails when a file is not where Trunk or cargo puts it, or the program cannot be cut.
pub fn split(place: &Place) -> Result<Cost, Failure> {
    let program = place.app_build().join("wasm32-unknown-unknown").join("wasm").join(format!("{PROGRAM}.wasm"));
    let name = bundled_name(&place.app())?;
    let parts = place.app_build().join("parts");
    let main = parts.join(format!("{name}.wasm"));
    cut(&program, &name, &parts, &main, &place.app())?;
    let mut command = place.command("wasm-bindgen");
    command.args(["--target", "web", "--no-typescript", "--keep-lld-exports"]);
    command.args(["--remove-name-section", "--remove-producers-section"]);
    command.arg("--out-dir").arg(place.app()).args(["--out-name", &name]).arg(main);
    let why = "cuts the app into modules, so that pages are downloaded when they are opened";
    step::run("parts of the app", why, &mut command, "`cargo xtask setup` installs wasm-bindgen")
}

/// Cuts the program; puts what pages load into `app` and what is loaded first, not yet bound to JavaScript, at `main`.
fn cut(program: &Path, name: &str, parts: &Path, main: &Path, app: &Path) -> Result<(), Failure> {
    let said = |error: String| Failure::new(error, "remove frontend/dist and run `cargo xtask build` again");
    let read = |path: &Path| fs::read(path).map_err(|error| said(format!("{}: {error}", path.display())));
    let write = |path: &Path, bytes: &[u8]| {
        fs::write(path, bytes).map_err(|error| said(format!("{}: {error}", path.display())))
    };
    if parts.exists() {
        fs::remove_dir_all(parts).map_err(|error| said(format!("{}: {error}", parts.display())))?;
    }
    let bytes = read(program)?;
    let (link, script) = (format!("./{name}_parts.js"), format!("./{name}.js"));
    let mut options = Options::new(&bytes);
    (options.output_dir, options.main_out_path) = (parts, main);
    (options.link_name, options.main_module) = (&link, &script);
    let cut = transform(options).map_err(|error| said(format!("{}: {error:#}", program.display())))?;
    let mut links = String::from_utf8_lossy(&read(&parts.join(&link))?).into_owned();
    for path in &cut.split_modules {
        let part = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let hashed = format!("{name}_{part}");
        links = links.replace(&format!("\"./{part}\""), &format!("\"./{hashed}\""));
        write(&app.join(hashed), &compact(&read(path)?).map_err(said)?)?;
    }
    if !links.contains(STREAMED) {
        return Err(said(format!("{link}: expected {STREAMED} in it, got none")));
    }
    let links = links.replace(STREAMED, INSTANTIATED) + INSTANTIATE;
    write(&app.join(&link), links.as_bytes())
}

/// A module without what only tools read, its numbers in as few bytes as they need.
fn compact(module: &[u8]) -> Result<Vec<u8>, String> {
    let mut compacted = Module::new();
    Compact.parse_core_module(&mut compacted, Parser::new(0), module).map_err(|error| error.to_string())?;
    Ok(compacted.finish())
}

/// Writes everything again but custom sections.
struct Compact;

impl Reencode for Compact {
    type Error = Infallible;

    fn parse_custom_section(
        &mut self,
        _: &mut Module,
        _: CustomSectionReader<'_>,
    ) -> Result<(), reencode::Error<Infallible>> {
        Ok(())
    }
}

/// What the module that Trunk bundled is called, without its ending.
fn bundled_name(app: &Path) -> Result<String, Failure> {
    let remedy = "remove frontend/dist and run `cargo xtask build` again";
    let entries = fs::read_dir(app).map_err(|error| Failure::new(format!("{}: {error}", app.display()), remedy))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter_map(|name| Some(name.strip_suffix(MODULE)?.to_owned())).collect();
    match (names.pop(), names.is_empty()) {
        (Some(name), true) => Ok(name),
        _ => Err(Failure::new(format!("{}: expected one file …{MODULE}", app.display()), remedy)),
    }
}
