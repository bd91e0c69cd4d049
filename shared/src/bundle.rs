//! Bundles: what `whence report` writes and the app opens. `manifest.json` lists every file with its hash.

use serde::{Deserialize, Serialize};

/// The value of a manifest's `format`.
pub const FORMAT: &str = "whence.bundle/1";
/// The manifest's path in the bundle.
pub const PATH: &str = "manifest.json";
/// The folder of the bundle that study.json lies in, with a final slash.
pub const DATA: &str = "data/";

/// What the app needs of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleView {
    /// [`FORMAT`].
    pub format: String,
    /// Version of Whence that wrote it.
    pub whence: String,
    /// Name of the study.
    pub study: String,
    /// Every other file.
    pub files: Vec<FileRecord>,
}

/// One file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Path in the bundle, with `/` between folders.
    pub path: String,
    /// Its size.
    pub n_bytes: u64,
    /// SHA-256 of its contents, in hex.
    pub sha256: String,
}

/// The folder of an archive that a bundle lies in, with a final slash or empty: archives made by hand often hold the folder
/// itself. `None` where no path of it is a manifest beside a study.
pub fn root(paths: &[&str]) -> Option<String> {
    let is_there = |wanted: &str| paths.contains(&wanted);
    let roots = paths.iter().filter_map(|path| path.strip_suffix(PATH));
    let is_root =
        |root: &&str| (root.is_empty() || root.ends_with('/')) && is_there(&format!("{root}{DATA}study.json"));
    roots.filter(is_root).min_by_key(|root| root.len()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_found_in_whatever_folder_it_lies() {
        assert_eq!(root(&["index.html", "manifest.json", "data/study.json"]).as_deref(), Some(""));
        let in_folder = ["site/manifest.json", "site/data/study.json", "site/data/x/manifest.json"];
        assert_eq!(root(&in_folder).as_deref(), Some("site/"));
        assert_eq!(root(&["manifest.json", "study.json"]), None);
        assert_eq!(root(&["xmanifest.json", "xdata/study.json"]), None);
    }
}
