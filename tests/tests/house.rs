//! The rules of the house, checked: which crate may know which, what each room may name, and what no file may say.
//!
//! Every rule is a function from files to faults, run on the repository and on a planted fault that it must find.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    whence_tests::fixture::package().parent().unwrap().to_owned()
}

/// A text file of the repository.
struct File {
    /// Path from the root, with `/`.
    path: String,
    text: String,
}

impl File {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether it lies in one of the folders, or is one of the files.
    fn is_in(&self, places: &[&str]) -> bool {
        places
            .iter()
            .any(|place| self.path == *place || self.path.strip_prefix(place).is_some_and(|p| p.starts_with('/')))
    }

    /// Numbered lines of code: no comment lines, and nothing from a test module at the end of the file.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines: Vec<&str> = self.text.lines().collect();
        let opens_tests = |i: &usize| {
            lines[*i].starts_with("#[cfg(test)]") && lines.get(i + 1).is_some_and(|line| line.trim_end().ends_with('{'))
        };
        let end = (0..lines.len()).find(opens_tests).unwrap_or(lines.len());
        let numbered = lines.into_iter().take(end).enumerate().map(|(i, line)| (i + 1, line));
        numbered.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

/// What git would commit: everything but hidden folders (save those with our configuration) and what is built.
fn files() -> Vec<File> {
    let mut found = Vec::new();
    visit(&root(), &mut |path| {
        let name = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
        if let Ok(text) = fs::read_to_string(path) {
            found.push(File { path: name, text });
        }
    });
    assert!(found.len() > 50, "found the repository, not {} files of it", found.len());
    found
}

fn visit(folder: &Path, on_file: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && is_ours(&path) {
            visit(&path, on_file);
        } else if path.is_file() {
            on_file(&path);
        }
    }
}

fn is_ours(folder: &Path) -> bool {
    let name = folder.file_name().unwrap().to_string_lossy();
    let is_hidden = name.starts_with('.') && ![".cargo", ".ci", ".config"].contains(&&*name);
    // A target directory may have any name; cargo marks each.
    let is_built = folder.join("CACHEDIR.TAG").exists() || ["target", "dist", "demo", "__pycache__"].contains(&&*name);
    !is_hidden && !is_built
}

/// One thing that code may name in some places only.
struct Words {
    words: &'static [&'static str],
    /// Where the rule looks.
    within: &'static [&'static str],
    /// Where they may stand.
    but: &'static [&'static str],
    remedy: &'static str,
}

const COMPUTE_BACKENDS: Words = Words {
    words: &[
        "cfg(feature",
        "cfg!(feature",
        "feature =",
        "burn::backend",
        "burn_wgpu",
        "burn_flex",
        "burn_cuda",
        "Device::flex",
        "Device::wgpu",
        "Device::vulkan",
        "Device::cuda",
    ],
    within: &["backend/src", "tests", "shared/src"],
    but: &["backend/src/device.rs"],
    remedy: "ask crate::device for it: no other file names a compute backend or a Cargo feature",
};

const UPWARD: Words = Words {
    words: &["crate::server", "crate::cli", "super::server", "super::cli", "axum::"],
    within: &["backend/src"],
    but: &["backend/src/server", "backend/src/cli", "backend/src/main.rs", "backend/src/lib.rs"],
    remedy: "a verb returns data and reports through crate::progress; it never knows who called it",
};

const PRINTING: Words = Words {
    words: &["println!", "print!", "stdout()", "stderr()"],
    within: &["backend/src", "shared/src"],
    but: &["backend/src/cli", "backend/src/main.rs"],
    remedy: "return the text, or report through crate::progress: only the command line prints",
};

/// The server decides what status an error has. What other servers answered is read by their two clients, each in one
/// file, and becomes an error there.
const STATUS_CODES: Words = Words {
    words: &["StatusCode", ".status().as_u16()"],
    within: &["backend/src", "shared/src", "frontend/src"],
    but: &["backend/src/server", "backend/src/model/download.rs", "backend/src/behavior/rollouts/endpoint.rs"],
    remedy: "return an error: the server alone knows what status it has, and only clients read another's",
};

const BROWSER_INTERFACES: Words = Words {
    words: &["web_sys", "js_sys", "wasm_bindgen"],
    within: &["backend/src", "shared/src", "tests", "xtask/src"],
    but: &[],
    remedy: "move it to frontend: nothing else knows the browser",
};

const INPUT_AND_OUTPUT: Words = Words {
    words: &["std::fs", "std::net", "std::process", "std::thread", "std::env", "Instant::now", "SystemTime"],
    within: &["shared/src"],
    but: &[],
    remedy: "take bytes and return values: shared does no IO and has no threads and no clock",
};

/// This file holds the words it looks for.
const HERE: &str = "tests/tests/house.rs";

fn named_outside(rule: &Words, files: &[File]) -> Vec<String> {
    let looked_at = files.iter().filter(|file| file.is_rust() && file.path != HERE);
    let mut faults = Vec::new();
    for file in looked_at.filter(|file| file.is_in(rule.within) && !file.is_in(rule.but)) {
        for (number, line) in file.code() {
            if let Some(word) = rule.words.iter().find(|word| line.contains(**word)) {
                faults.push(format!("{}:{number}: `{word}`: {}", file.path, rule.remedy));
            }
        }
    }
    faults
}

fn without_heading(files: &[File]) -> Vec<String> {
    let rust = files.iter().filter(|file| file.is_rust() && !file.text.starts_with("//! "));
    rust.map(|file| format!("{}:1: expected `//! ` and what the file is and where it stands in the flow", file.path))
        .collect()
}

/// Folders that exist on one machine only.
const MACHINE_PATHS: [&str; 6] = ["/root/", "/home/", "/tmp/", "/Users/", "/opt/", "C:\\"];
/// Settings that fetch packages from somewhere else than everyone does.
const REGISTRY_SETTINGS: [&str; 6] =
    ["index-url", "find-links", "replace-with", "[source.", "[registries", "artifactory"];
const PUBLIC_INDEX: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn tied_to_a_machine(files: &[File]) -> Vec<String> {
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| file.path != HERE) {
        for (i, line) in file.text.lines().enumerate() {
            let place = format!("{}:{}", file.path, i + 1);
            if let Some(path) = MACHINE_PATHS.iter().find(|path| line.contains(**path)) {
                faults
                    .push(format!("{place}: `{path}`: name a path relative to the repository, or ask the environment"));
            }
            if let Some(word) = REGISTRY_SETTINGS.iter().find(|word| line.contains(**word)) {
                faults.push(format!("{place}: `{word}`: whoever builds chooses the registry; leave it out"));
            }
            if line.starts_with("source = \"") && line != format!("source = \"{PUBLIC_INDEX}\"") {
                faults.push(format!("{place}: `{line}`: expected {PUBLIC_INDEX}; depend on published versions"));
            }
        }
    }
    faults
}

/// Rooms that the README's code map must list, and only those: folders with something of ours in them.
fn rooms(files: &[File]) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for file in files.iter().filter(|file| !file.path.starts_with('.')) {
        let folders: Vec<&str> = file.path.split('/').collect();
        let folders = &folders[..folders.len() - 1];
        match folders {
            [] => {}
            [member @ ("backend" | "frontend"), "src", room, ..] => {
                rooms.insert(format!("{member}/src/{room}/"));
            }
            [member @ ("backend" | "frontend"), room, ..] if *room != "src" => {
                rooms.insert(format!("{member}/{room}/"));
            }
            ["tests", room, ..] if *room != "src" && *room != "tests" => {
                rooms.insert(format!("tests/{room}/"));
            }
            _ => {}
        }
        if let [member, ..] = folders {
            rooms.insert(format!("{member}/"));
        }
    }
    rooms
}

fn map_faults(readme: &str, rooms: &BTreeSet<String>) -> Vec<String> {
    let Some((_, map)) = readme.split_once("## Code map") else {
        return vec!["README.md: expected a section `## Code map`".to_owned()];
    };
    let map = map.split_once("\n## ").map_or(map, |(map, _)| map);
    // A row of the map begins with the room's path in backticks.
    let listed: BTreeSet<String> = map
        .lines()
        .filter_map(|line| line.trim_start_matches(['|', '-', ' ']).strip_prefix('`')?.split_once('`'))
        .map(|(path, _)| path.to_owned())
        .filter(|path| path.ends_with('/'))
        .collect();
    let absent = rooms.difference(&listed).map(|room| format!("README.md: the code map lacks `{room}`: add a row"));
    let gone = listed.difference(rooms).map(|room| format!("README.md: the code map lists `{room}`, which is gone"));
    absent.chain(gone).collect()
}

/// Names of the packages that a package is built from, on this machine's target or the browser's.
fn dependencies(package: &str, target: Option<&str>) -> BTreeSet<String> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command.args(["tree", "--offline", "--package", package, "--edges", "normal,build", "--prefix", "none"]);
    command.args(["--format", "{p}"]);
    if let Some(target) = target {
        command.args(["--target", target]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let names = tree.lines().filter_map(|line| line.split(' ').next()).filter(|name| !name.is_empty());
    let names: BTreeSet<String> = names.map(str::to_owned).collect();
    assert!(names.contains(package), "{command:?} lists {package} itself");
    names
}

fn forbidden(package: &str, dependencies: &BTreeSet<String>, forbidden: &[&str]) -> Vec<String> {
    let is_forbidden = |name: &&String| {
        forbidden.iter().any(|word| *name == word || word.strip_suffix('*').is_some_and(|word| name.starts_with(word)))
    };
    let faults = dependencies.iter().filter(|name| *name != package).filter(is_forbidden);
    faults
        .map(|name| format!("{package}/Cargo.toml: depends on {name} (`cargo tree -p {package} -i {name}`): drop it"))
        .collect()
}

const NOT_SHARED: [&str; 12] = [
    "whence-*",
    "burn",
    "burn-*",
    "tokio",
    "rayon",
    "rayon-*",
    "wasm-bindgen",
    "web-sys",
    "js-sys",
    "axum",
    "arrow-*",
    "memmap2",
];
const NOT_APP: [&str; 7] = ["whence-backend", "burn", "burn-*", "tokio", "rayon", "axum", "parquet"];
const NOT_BACKEND: [&str; 4] = ["whence-frontend", "whence-tests", "leptos", "web-sys"];
const NOT_BROWSER_TESTS: [&str; 3] = ["whence-backend", "burn", "burn-*"];

#[track_caller]
fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn shared_depends_on_nothing_that_a_browser_or_a_server_alone_has() {
    assert_none(&forbidden("whence-shared", &dependencies("whence-shared", None), &NOT_SHARED));
}

#[test]
fn frontend_and_backend_never_depend_on_each_other() {
    let app = dependencies("whence-frontend", Some("wasm32-unknown-unknown"));
    assert_none(&forbidden("whence-frontend", &app, &NOT_APP));
    assert_none(&forbidden("whence-backend", &dependencies("whence-backend", None), &NOT_BACKEND));
}

#[test]
fn browser_tests_know_the_binary_only_from_outside() {
    let tests = dependencies("whence-browser-tests", None);
    assert_none(&forbidden("whence-browser-tests", &tests, &NOT_BROWSER_TESTS));
}

#[test]
fn only_the_device_file_names_compute_backends_and_features() {
    assert_none(&named_outside(&COMPUTE_BACKENDS, &files()));
}

#[test]
fn verbs_never_name_the_server_or_the_command_line() {
    assert_none(&named_outside(&UPWARD, &files()));
}

#[test]
fn only_the_command_line_prints() {
    assert_none(&named_outside(&PRINTING, &files()));
}

#[test]
fn only_the_server_and_the_clients_of_others_know_status_codes() {
    assert_none(&named_outside(&STATUS_CODES, &files()));
}

#[test]
fn only_the_app_names_browser_interfaces() {
    assert_none(&named_outside(&BROWSER_INTERFACES, &files()));
}

#[test]
fn shared_does_no_io() {
    assert_none(&named_outside(&INPUT_AND_OUTPUT, &files()));
}

#[test]
fn every_rust_file_begins_with_what_it_is() {
    assert_none(&without_heading(&files()));
}

#[test]
fn no_file_is_tied_to_one_machine_or_registry() {
    assert_none(&tied_to_a_machine(&files()));
}

#[test]
fn the_code_map_lists_every_room_and_no_other() {
    let files = files();
    let readme = files.iter().find(|file| file.path == "README.md").expect("README.md is there");
    assert_none(&map_faults(&readme.text, &rooms(&files)));
}

#[test]
fn a_planted_word_is_found_by_each_rule_and_named_with_its_line() {
    let planted = [
        (&COMPUTE_BACKENDS, "backend/src/extract/verb.rs", "let device = Device::wgpu();"),
        (&COMPUTE_BACKENDS, "backend/src/model/olmo2.rs", "#[cfg(feature = \"cuda\")]"),
        (&UPWARD, "backend/src/extract/verb.rs", "use crate::server::Job;"),
        (&UPWARD, "backend/src/attribute/mod.rs", "use crate::cli::bar;"),
        (&PRINTING, "backend/src/data/import.rs", "    eprintln!(\"{row}\");"),
        (&STATUS_CODES, "frontend/src/fetch/mod.rs", "if status == StatusCode::NOT_FOUND {"),
        (&STATUS_CODES, "backend/src/behavior/rollouts/mod.rs", "if response.status().as_u16() == 429 {"),
        (&BROWSER_INTERFACES, "shared/src/rank.rs", "use web_sys::Window;"),
        (&INPUT_AND_OUTPUT, "shared/src/shard.rs", "use std::fs;"),
    ];
    for (rule, path, line) in planted {
        let faults = named_outside(rule, &[File::new(path, &format!("//! A room.\n\n{line}\n"))]);
        assert_eq!(faults.len(), 1, "{path}: {line}");
        assert!(faults[0].starts_with(&format!("{path}:3: ")) && faults[0].contains(rule.remedy), "{}", faults[0]);
        if let Some(allowed) = rule.but.first() {
            let path = if allowed.ends_with(".rs") { (*allowed).to_owned() } else { format!("{allowed}/mod.rs") };
            assert_none(&named_outside(rule, &[File::new(&path, line)]));
        }
    }
}

#[test]
fn comments_and_test_modules_may_say_any_word() {
    let text = "//! A room.\n/// See crate::server.\nfn f() {}\n#[cfg(test)]\nmod tests {\n    use crate::server;\n}\n";
    assert_none(&named_outside(&UPWARD, &[File::new("backend/src/study.rs", text)]));
    let module_above = "//! A room.\n#[cfg(test)]\nmod tests;\nuse crate::server;\n";
    assert_eq!(named_outside(&UPWARD, &[File::new("backend/src/study.rs", module_above)]).len(), 1);
}

#[test]
fn a_planted_dependency_is_found() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let shared = names(&["whence-shared", "serde", "rayon-core"]);
    assert_eq!(forbidden("whence-shared", &shared, &NOT_SHARED).len(), 1);
    let app = names(&["whence-frontend", "whence-shared", "whence-backend"]);
    assert_eq!(forbidden("whence-frontend", &app, &NOT_APP).len(), 1);
}

#[test]
fn a_planted_heading_path_or_source_fault_is_found() {
    assert_eq!(without_heading(&[File::new("shared/src/new.rs", "use std::fmt;\n")]).len(), 1);
    for line in ["let path = \"/home/someone/pairs\";", "index-url = \"https://packages.example\"", "[source.mirror]"] {
        assert_eq!(tied_to_a_machine(&[File::new("backend/build.toml", line)]).len(), 1, "{line}");
    }
    let elsewhere = "source = \"git+https://example.com/fork\"";
    assert_eq!(tied_to_a_machine(&[File::new("Cargo.lock", elsewhere)]).len(), 1);
    assert_none(&tied_to_a_machine(&[File::new("Cargo.lock", &format!("source = \"{PUBLIC_INDEX}\""))]));
}

#[test]
fn a_room_missing_from_the_map_or_gone_from_the_tree_is_found() {
    let files = [
        File::new("shared/src/rank.rs", "//! "),
        File::new("backend/src/extract/mod.rs", "//! "),
        File::new(".ci/run", ""),
    ];
    let rooms = rooms(&files);
    assert_eq!(rooms.iter().map(String::as_str).collect::<Vec<_>>(), ["backend/", "backend/src/extract/", "shared/"]);
    let whole = "## Code map\n| `shared/` | x |\n| `backend/` | x |\n| `backend/src/extract/` | x |\n";
    assert_none(&map_faults(whole, &rooms));
    assert_eq!(map_faults(&whole.replace("| `shared/` | x |\n", ""), &rooms).len(), 1);
    assert_eq!(map_faults(&format!("{whole}| `index/` | x |\n"), &rooms).len(), 1);
    assert_eq!(map_faults("no map", &rooms).len(), 1);
}
