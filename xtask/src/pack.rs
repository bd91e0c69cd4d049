//! Packing the app's files with brotli, as well as it can: `whence serve` hands them out so. It takes seconds, and no server
//! could do as well while a browser waits.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Instant;

use brotli::enc::BrotliEncoderParams;

use crate::failure::Failure;
use crate::place::Place;
use crate::step::{self, Cost};

/// Endings of files that are worth it.
const PACKED: [&str; 3] = ["wasm", "js", "css"];

/// Writes `NAME.br` beside each of them.
///
/// # Errors
///
/// Fails when a file cannot be read or written.
pub fn pack(place: &Place) -> Result<Cost, Failure> {
    step::announce("packed app", "what browsers download, as small as brotli can make it");
    let start = Instant::now();
    let app = place.app();
    let entries = fs::read_dir(&app).map_err(|error| failure(&app, &error))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_packed = |path: &Path| path.extension().is_some_and(|ending| PACKED.iter().any(|packed| ending == *packed));
    let paths: Vec<_> = paths.filter(|path| is_packed(path)).collect();
    thread::scope(|scope| {
        let packing: Vec<_> = paths.iter().map(|path| scope.spawn(|| pack_file(path))).collect();
        packing.into_iter().try_for_each(|packing| packing.join().expect("it does not panic"))
    })?;
    Ok(Cost { name: "packed app".to_owned(), duration: start.elapsed(), peak_bytes: None })
}

fn pack_file(path: &Path) -> Result<(), Failure> {
    let bytes = fs::read(path).map_err(|error| failure(path, &error))?;
    let mut packed = Vec::new();
    let how = BrotliEncoderParams { quality: 11, lgwin: 24, size_hint: bytes.len(), ..Default::default() };
    brotli::BrotliCompress(&mut bytes.as_slice(), &mut packed, &how).map_err(|error| failure(path, &error))?;
    let name = format!("{}.br", path.display());
    fs::write(&name, packed).map_err(|error| failure(Path::new(&name), &error))
}

fn failure(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{}: {error}", path.display()), "remove frontend/dist and run `cargo xtask app` again")
}
