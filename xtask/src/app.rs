//! Building the app: trunk compiles the frontend to wasm and bundles it into `frontend/dist`; there it is cut into modules and packed.

use std::process::Command;

use crate::failure::Failure;
use crate::pack;
use crate::place::Place;
use crate::split;
use crate::step::{self, Cost};

/// Builds the app. What has not changed is cargo's business.
///
/// # Errors
///
/// Fails when trunk or wasm-bindgen does, or the app cannot be cut.
pub fn build(place: &Place) -> Result<Vec<Cost>, Failure> {
    let why = "compiles the app to wasm and bundles it into frontend/dist";
    let remedy = "mend what trunk names; `cargo xtask setup` installs the tools";
    Ok(vec![step::run("app", why, &mut trunk(place), remedy)?, split::split(place)?, pack::pack(place)?])
}

fn trunk(place: &Place) -> Command {
    let mut command = place.command("trunk");
    // Offline: every tool is on the path, and trunk must not fetch others.
    command.args(["build", "--offline", "--skip-version-check"]);
    command.env("CARGO_TARGET_DIR", place.app_build());
    // trunk reads any value but true or false as an error.
    command.env_remove("NO_COLOR");
    command
}
