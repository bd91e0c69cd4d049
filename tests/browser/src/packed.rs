//! A folder as somebody's own program packs it into a zip: everything deflated, below the folder's name. (`whence report` stores what
//! is large, and has no folder around it.)

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

/// Packs a folder into a zip beside it.
///
/// # Panics
///
/// Panics when a file is refused.
pub fn packed(folder: &Path, name: &str) -> PathBuf {
    let mut files = Vec::new();
    list(folder, &mut files);
    files.sort();
    let (mut bytes, mut central) = (Vec::new(), Vec::new());
    for path in &files {
        let content = fs::read(path).unwrap();
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&content).unwrap();
        let data = encoder.finish().unwrap();
        let mut crc = Crc::new();
        crc.update(&content);
        let inner = path.strip_prefix(folder.parent().unwrap()).unwrap().to_str().unwrap();
        // Version, flags (UTF-8), deflated, time, date; checksum and sizes; lengths of name and extra field.
        let mut head = [20u16, 1 << 11, 8, 0, 0x21].map(u16::to_le_bytes).concat();
        head.extend([crc.sum(), data.len() as u32, content.len() as u32].map(u32::to_le_bytes).concat());
        head.extend([inner.len() as u16, 0].map(u16::to_le_bytes).concat());
        central.extend(b"PK\x01\x02\x14\x00");
        central.extend(&head);
        central.extend([0; 10]);
        central.extend((bytes.len() as u32).to_le_bytes());
        central.extend(inner.as_bytes());
        bytes.extend(b"PK\x03\x04");
        bytes.extend(head);
        bytes.extend(inner.as_bytes());
        bytes.extend(data);
    }
    let start = bytes.len() as u32;
    bytes.extend(&central);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend([files.len() as u16; 2].map(u16::to_le_bytes).concat());
    bytes.extend([central.len() as u32, start].map(u32::to_le_bytes).concat());
    bytes.extend([0; 2]);
    let zip = folder.with_file_name(name);
    fs::write(&zip, bytes).unwrap();
    zip
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { list(&path, files) } else { files.push(path) }
    }
}
