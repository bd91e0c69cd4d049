//! Licenses of everything that Whence is built from: each must be on the list of those that its own license,
//! MIT OR Apache-2.0, allows to ship, or be excepted by name with a reason.

use std::time::Instant;

use serde_json::Value;
use spdx::{Expression, LicenseItem, LicenseReq, ParseMode};

use crate::failure::Failure;
use crate::place::Place;
use crate::step::{self, Cost};

/// What may be used anywhere, with the reason.
const ALLOWED: [(&str, &str); 12] = [
    ("MIT", "permissive; one of ours"),
    ("Apache-2.0", "permissive, with a patent grant; one of ours"),
    ("BSD-2-Clause", "permissive: keep the notice"),
    ("BSD-3-Clause", "permissive: keep the notice, no endorsement"),
    ("ISC", "permissive, MIT in fewer words"),
    ("Zlib", "permissive: do not misstate the origin"),
    ("0BSD", "permissive without conditions"),
    ("Unlicense", "public domain"),
    ("CC0-1.0", "public domain"),
    ("BSL-1.0", "permissive; binaries need no notice"),
    ("Unicode-3.0", "permissive: Unicode's tables"),
    ("CDLA-Permissive-2.0", "permissive, for data: Mozilla's list of root certificates, in the tests' HTTP client"),
];

/// Packages that say something else, with what was found and why it will do.
const EXCEPTIONS: [(&str, &str, &str); 5] = [
    ("buildid", "MPL-2.0", "copyleft of its own files only; used unchanged, by burn's kernel cache"),
    ("colored", "MPL-2.0", "copyleft of its own files only; used unchanged, by burn's printing of tensors"),
    ("option-ext", "MPL-2.0", "copyleft of its own files only; used unchanged, to find user folders"),
    ("cfg_block", "", "names no license in its manifest; its LICENSE file is Apache-2.0"),
    ("libfuzzer-sys", "(MIT OR Apache-2.0) AND NCSA", "NCSA is permissive; for fuzzing dependencies, never linked"),
];

/// Looks at the license of every package that any feature on any platform is built from.
///
/// # Errors
///
/// Fails with the packages whose license is neither allowed nor excepted, and with exceptions that nothing needs.
pub fn check(place: &Place) -> Result<Cost, Failure> {
    let started = Instant::now();
    step::announce("licenses", "everything it is built from may be shipped under MIT OR Apache-2.0");
    let mut ask = place.command("cargo");
    ask.args(["metadata", "--format-version", "1", "--locked", "--all-features"]);
    let remedy = "if Cargo.lock is out of date: run `cargo metadata` once and commit Cargo.lock";
    let metadata: Value = serde_json::from_slice(&step::capture(&mut ask, remedy)?)
        .map_err(|error| Failure::new(format!("cannot read cargo metadata: {error}"), "update cargo"))?;
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let packages: Vec<Package> = packages.iter().map(Package::read).collect();

    let mut faults: Vec<String> = packages.iter().filter_map(Package::fault).collect();
    for (name, _, _) in EXCEPTIONS {
        if !packages.iter().any(|package| package.name == name) {
            faults.push(format!("exception for {name}, which is no longer a dependency: take it off the list"));
        }
    }
    if faults.is_empty() {
        let duration = started.elapsed();
        return Ok(Cost { name: format!("licenses of {} packages", packages.len()), duration, peak_bytes: None });
    }
    Err(Failure::new(
        format!("licenses:\n  {}", faults.join("\n  ")),
        "use another package, or add the license or the package to xtask/src/licenses.rs with the reason",
    ))
}

struct Package<'a> {
    name: &'a str,
    version: &'a str,
    license: &'a str,
}

impl<'a> Package<'a> {
    fn read(value: &'a Value) -> Self {
        let text = |key: &str| value[key].as_str().unwrap_or_default();
        Self { name: text("name"), version: text("version"), license: text("license") }
    }

    /// What is wrong with its license; `None` when nothing is.
    fn fault(&self) -> Option<String> {
        if EXCEPTIONS.iter().any(|(name, license, _)| (*name, *license) == (self.name, self.license)) {
            return None;
        }
        let place = format!("{} {}", self.name, self.version);
        if self.license.is_empty() {
            return Some(format!("{place} names no license"));
        }
        // Old manifests write `MIT/Apache-2.0`.
        match Expression::parse_mode(self.license, ParseMode::LAX) {
            Err(error) => Some(format!("{place}: cannot read {:?}: {}", self.license, error.reason)),
            Ok(license) if license.evaluate(is_allowed) => None,
            Ok(_) => Some(format!("{place}: {} is not on the list of allowed licenses", self.license)),
        }
    }
}

fn is_allowed(requirement: &LicenseReq) -> bool {
    match &requirement.license {
        // An added exception (`WITH`) only ever grants more.
        LicenseItem::Spdx { id, .. } => ALLOWED.iter().any(|(name, _)| *name == id.name),
        LicenseItem::Other { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::Package;

    fn fault(license: &str) -> Option<String> {
        Package { name: "some-package", version: "1.0.0", license }.fault()
    }

    #[test]
    fn a_choice_with_one_allowed_license_will_do() {
        for license in ["MIT", "MIT/Apache-2.0", "LGPL-2.1-or-later OR MIT", "Apache-2.0 WITH LLVM-exception"] {
            assert_eq!(fault(license), None, "{license}");
        }
    }

    #[test]
    fn copyleft_unknown_and_absent_licenses_are_refused() {
        for license in ["GPL-3.0-only", "MIT AND GPL-2.0-only", "MPL-2.0", "LicenseRef-mine", "nonsense", ""] {
            assert!(fault(license).is_some_and(|fault| fault.contains("some-package 1.0.0")), "{license}");
        }
    }

    #[test]
    fn an_exception_holds_for_its_package_and_license_only() {
        let fault = |name, license| Package { name, version: "1.0.0", license }.fault();
        assert_eq!(fault("colored", "MPL-2.0"), None);
        assert!(fault("colored", "GPL-3.0-only").is_some());
        assert!(fault("colorful", "MPL-2.0").is_some());
    }
}
