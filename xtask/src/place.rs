//! Where things lie: the repository, the target directory, and the folders that tasks make inside them.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::failure::Failure;

/// The folders of one checkout.
#[derive(Debug, Clone)]
pub struct Place {
    /// The repository root.
    pub root: PathBuf,
    /// Cargo's target directory; `CARGO_TARGET_DIR` and cargo's own configuration decide.
    pub target: PathBuf,
}

impl Place {
    /// Asks cargo where this checkout builds to.
    ///
    /// # Errors
    ///
    /// Fails when cargo cannot read the workspace.
    pub fn find() -> Result<Self, Failure> {
        // As cargo says when it runs this: a target directory that several checkouts share may hold another's program.
        let here = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&here).parent().unwrap_or(Path::new(".")).to_owned();
        let mut command = Command::new("cargo");
        command.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]).current_dir(&root);
        let output = command
            .output()
            .map_err(|error| Failure::new(format!("cannot start cargo: {error}"), "install Rust with rustup"))?;
        let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|_| {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            Failure::new(format!("cargo metadata failed: {said}"), "repair the Cargo.toml it names")
        })?;
        let target = metadata["target_directory"].as_str().unwrap_or("target");
        Ok(Self { target: root.join(target), root })
    }

    /// The built `whence`.
    pub fn whence(&self) -> PathBuf {
        self.release(if cfg!(windows) { "whence.exe" } else { "whence" })
    }

    /// A natively built program.
    pub fn release(&self, name: &str) -> PathBuf {
        self.target.join("release").join(name)
    }

    /// Where trunk, wasm-bindgen and nextest are installed: beside the build products, so that nothing outside the
    /// target directory changes.
    pub fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// axe-core, where `cargo xtask setup` could fetch it.
    pub fn axe(&self) -> PathBuf {
        self.tools().join("axe").join("axe.min.js")
    }

    /// Where the tools are built; a folder of its own, so that the other builds are not locked out.
    pub fn tools_build(&self) -> PathBuf {
        self.target.join("tools-build")
    }

    /// Where wasm is built; a folder of its own for the same reason.
    pub fn app_build(&self) -> PathBuf {
        self.target.join("app")
    }

    /// The built app: what `whence serve --app` takes.
    pub fn app(&self) -> PathBuf {
        self.root.join("frontend").join("dist")
    }

    /// A command in the repository root with the tools on its path and without what `cargo run` told this program
    /// about itself: a build script that watches such a variable would otherwise run again every time.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).env("PATH", self.path_with_tools());
        for (name, _) in env::vars_os() {
            let is_ours = name.to_str().is_some_and(|name| {
                ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|prefix| name.starts_with(prefix))
            });
            if is_ours {
                command.env_remove(name);
            }
        }
        command.env("CARGO_TARGET_DIR", &self.target);
        command
    }

    /// A cargo command that compiles to wasm.
    pub fn wasm_cargo(&self) -> Command {
        let mut command = self.command("cargo");
        command.env("CARGO_TARGET_DIR", self.app_build());
        command
    }

    /// Whether a program is on the path (the tools folder included).
    pub fn has_program(&self, program: &str) -> bool {
        let name = if cfg!(windows) { format!("{program}.exe") } else { program.to_owned() };
        env::split_paths(&self.path_with_tools()).any(|folder| folder.join(&name).is_file())
    }

    fn path_with_tools(&self) -> OsString {
        let mut folders = vec![self.tools().join("bin")];
        folders.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
        env::join_paths(folders).unwrap_or_else(|_| env::var_os("PATH").unwrap_or_default())
    }
}
