//! Building what people run: the app first, then the binary with the app in it.

use std::fs::{self, File};
use std::path::Path;
use std::time::SystemTime;

use crate::app;
use crate::failure::Failure;
use crate::place::Place;
use crate::step::{self, Cost};

/// The one source file that holds the app.
const EMBEDDING: &str = "backend/src/cli/app.rs";

/// Builds both.
///
/// # Errors
///
/// Fails when one of the programs that build does, or the app cannot be cut into modules.
pub fn build(place: &Place) -> Result<Vec<Cost>, Failure> {
    let mut costs = app::build(place)?;
    costs.push(whence(place)?);
    Ok(costs)
}

/// Builds the binary. From the root without `-p`: with one set of features nothing is compiled twice.
///
/// # Errors
///
/// Fails when cargo does.
pub fn whence(place: &Place) -> Result<Cost, Failure> {
    let is_embedding_old = modified(&place.app().join("index.html")) > modified(&place.whence());
    let embedding = place.root.join(EMBEDDING);
    if is_embedding_old {
        // Cargo knows the files that were embedded last, not those that are new.
        let touched =
            File::options().append(true).open(&embedding).and_then(|file| file.set_modified(SystemTime::now()));
        touched.map_err(|error| Failure::new(format!("cannot touch {EMBEDDING}: {error}"), "touch it by hand"))?;
    }
    let mut command = place.command("cargo");
    command.args(["build", "--release"]);
    let why = "compiles the binary, the app in it (the first time: a quarter of an hour)";
    step::run("whence", why, &mut command, "mend what rustc names")
}

/// When a file was written; nothing for one that is not there.
fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}
