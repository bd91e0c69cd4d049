//! axe-core, which a browser test checks every page with: fetched from the npm registry into the target directory, where nothing is
//! committed or shipped. Without npm that test checks hand-written rules alone, and says so.

use std::fs;

use crate::failure::Failure;
use crate::place::Place;
use crate::step;

const VERSION: &str = "4.10.2";

/// Fetches it unless it is there.
///
/// # Errors
///
/// Fails when the target directory cannot be written.
pub fn fetch(place: &Place) -> Result<(), Failure> {
    let label = format!("axe-core {VERSION}");
    let why = "a test checks every page's accessibility with it";
    if place.axe().is_file() {
        step::announce(&label, &format!("{why}; there already"));
        return Ok(());
    }
    let left_out = |reason: &str| step::announce(&label, &format!("{why}; left out: {reason}"));
    if !(place.has_program("npm") && place.has_program("tar")) {
        left_out("npm or tar is missing");
        return Ok(());
    }
    let folder = place.tools().join("axe");
    fs::create_dir_all(&folder).map_err(|error| {
        Failure::new(format!("cannot create {}: {error}", folder.display()), "free the target directory")
    })?;
    let remedy = "see what npm says; the test goes without";
    // npm checks what it fetches against the registry's hash.
    let mut pack = place.command("npm");
    pack.args(["pack", "--silent", &format!("axe-core@{VERSION}"), "--pack-destination"]).arg(&folder);
    let mut unpack = place.command("tar");
    unpack.arg("-xzf").arg(folder.join(format!("axe-core-{VERSION}.tgz"))).arg("-C").arg(&folder);
    unpack.args(["--strip-components", "1", "package/axe.min.js"]);
    let fetched = step::run(&label, why, &mut pack, remedy).and_then(|_| step::run(&label, why, &mut unpack, remedy));
    if fetched.is_err() {
        left_out("it could not be fetched");
    }
    Ok(())
}
