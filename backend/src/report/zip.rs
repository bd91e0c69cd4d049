//! Writing a zip archive, in which everything but the contents is fixed: the same files give the same bytes.
//!
//! Format: PKWARE *APPNOTE* 6.3.10. What is large and does not compress is stored as it is; what is in memory is deflated
//! when that makes it smaller. No times (1980-01-01 stands for none), names in UTF-8, ZIP64 records only where sizes, offsets
//! or counts need them.

use std::io::{self, Read, Seek, SeekFrom, Write};

use flate2::Compression;
use flate2::write::DeflateEncoder;
use whence_shared::archive::{CENTRAL_HEADER, DEFLATED, ELSEWHERE, END, END_64, END_64_LOCATOR, LOCAL_HEADER, STORED};

/// Version of the format that a reader must know: 4.5 has ZIP64, 2.0 deflate.
const VERSION_64: u16 = 45;
const VERSION: u16 = 20;
/// The name is in UTF-8.
const FLAGS: u16 = 1 << 11;
/// 1980-01-01 00:00.
const DATE: u16 = 0x0021;
/// A regular file that everyone may read.
const UNIX_MODE: u32 = 0o100_644;
const MADE_ON_UNIX: u16 = 3 << 8;

/// An archive under way. Without [`Zip::finish`] it is no archive.
#[derive(Debug)]
pub struct Zip<W> {
    out: W,
    offset: u64,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    path: String,
    method: u16,
    crc32: u32,
    n_packed: u64,
    n_bytes: u64,
    offset: u64,
}

impl Entry {
    /// The ZIP64 field with what does not fit elsewhere; the offset only stands in the central directory.
    fn extra(&self, has_offset: bool) -> Vec<u8> {
        let mut numbers = Vec::new();
        if self.is_large() {
            numbers.extend([self.n_bytes, self.n_packed]);
        }
        if has_offset && self.offset >= u64::from(ELSEWHERE) {
            numbers.push(self.offset);
        }
        if numbers.is_empty() {
            return Vec::new();
        }
        let mut extra = [1u16.to_le_bytes(), (8 * numbers.len() as u16).to_le_bytes()].concat();
        extra.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        extra
    }

    fn is_large(&self) -> bool {
        self.n_bytes.max(self.n_packed) >= u64::from(ELSEWHERE)
    }

    fn size(&self, n: u64) -> u32 {
        if self.is_large() { ELSEWHERE } else { n as u32 }
    }

    /// The part that both headers have, from the version needed to the length of the extra field.
    fn common(&self, extra: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in [if extra.is_empty() { VERSION } else { VERSION_64 }, FLAGS, self.method, 0, DATE] {
            bytes.extend(number.to_le_bytes());
        }
        for number in [self.crc32, self.size(self.n_packed), self.size(self.n_bytes)] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend((self.path.len() as u16).to_le_bytes());
        bytes.extend((extra.len() as u16).to_le_bytes());
        bytes
    }

    fn local_header(&self) -> Vec<u8> {
        let extra = self.extra(false);
        [LOCAL_HEADER.to_le_bytes().as_slice(), self.common(&extra).as_slice(), self.path.as_bytes(), &extra].concat()
    }

    fn central_header(&self) -> Vec<u8> {
        let extra = self.extra(true);
        let mut bytes = CENTRAL_HEADER.to_le_bytes().to_vec();
        bytes.extend((MADE_ON_UNIX | VERSION_64).to_le_bytes());
        bytes.extend(self.common(&extra));
        // Comment, disk, internal attributes: none.
        bytes.extend([0; 6]);
        bytes.extend((UNIX_MODE << 16).to_le_bytes());
        bytes.extend((self.offset.min(u64::from(ELSEWHERE)) as u32).to_le_bytes());
        bytes.extend(self.path.as_bytes());
        bytes.extend(extra);
        bytes
    }
}

impl<W: Write + Seek> Zip<W> {
    /// An archive that is written to `out`, from its start.
    pub fn new(out: W) -> Self {
        Self { out, offset: 0, entries: Vec::new() }
    }

    /// Adds a file that is in memory. `path` has `/` between folders and at most 65,535 bytes.
    ///
    /// # Errors
    ///
    /// When `out` cannot be written.
    pub fn add(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(6));
        encoder.write_all(bytes)?;
        let packed = encoder.finish()?;
        let (method, data) = if packed.len() < bytes.len() { (DEFLATED, packed.as_slice()) } else { (STORED, bytes) };
        let entry = Entry {
            path: path.to_owned(),
            method,
            crc32: crc32fast::hash(bytes),
            n_packed: data.len() as u64,
            n_bytes: bytes.len() as u64,
            offset: self.offset,
        };
        self.write(&entry.local_header())?;
        self.write(data)?;
        self.entries.push(entry);
        Ok(())
    }

    /// Adds a file of `n_bytes`, read in pieces and stored as it is.
    ///
    /// # Errors
    ///
    /// When it cannot be read, has another size, or `out` cannot be written.
    pub fn add_stored(&mut self, path: &str, n_bytes: u64, mut file: impl Read) -> io::Result<()> {
        let (path, offset) = (path.to_owned(), self.offset);
        let mut entry = Entry { path, method: STORED, crc32: 0, n_packed: n_bytes, n_bytes, offset };
        let n_header_bytes = entry.local_header().len() as u64;
        self.write(&entry.local_header())?;
        let (mut crc32, mut piece, mut n_read) = (crc32fast::Hasher::new(), vec![0; 1 << 20], 0);
        loop {
            let n = file.read(&mut piece)?;
            if n == 0 {
                break;
            }
            crc32.update(&piece[..n]);
            self.write(&piece[..n])?;
            n_read += n as u64;
        }
        if n_read != n_bytes {
            return Err(io::Error::other(format!("it changed while it was read: {n_bytes} bytes, then {n_read}")));
        }
        entry.crc32 = crc32.finalize();
        // The header of the same length again, now with the checksum.
        let end = self.offset;
        self.out.seek(SeekFrom::Start(offset))?;
        self.out.write_all(&entry.local_header())?;
        debug_assert_eq!(n_header_bytes, entry.local_header().len() as u64);
        self.out.seek(SeekFrom::Start(end))?;
        self.entries.push(entry);
        Ok(())
    }

    /// Writes the directory and returns what was written to.
    ///
    /// # Errors
    ///
    /// When `out` cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        let start = self.offset;
        let directory: Vec<u8> = self.entries.iter().flat_map(Entry::central_header).collect();
        self.write(&directory)?;
        let (n_entries, n_bytes) = (self.entries.len() as u64, directory.len() as u64);
        if n_entries >= u64::from(u16::MAX) || self.offset >= u64::from(ELSEWHERE) {
            let end = self.offset;
            let mut bytes = END_64.to_le_bytes().to_vec();
            // Bytes that follow, without the twelve so far.
            bytes.extend(44u64.to_le_bytes());
            bytes.extend([MADE_ON_UNIX | VERSION_64, VERSION_64].map(u16::to_le_bytes).concat());
            bytes.extend([0; 8]);
            bytes.extend([n_entries, n_entries, n_bytes, start].map(u64::to_le_bytes).concat());
            bytes.extend(END_64_LOCATOR.to_le_bytes());
            bytes.extend([0; 4]);
            bytes.extend(end.to_le_bytes());
            bytes.extend(1u32.to_le_bytes());
            self.write(&bytes)?;
        }
        let count = n_entries.min(u64::from(u16::MAX)) as u16;
        let mut bytes = [END, 0].map(u32::to_le_bytes).concat();
        bytes.extend([count, count].map(u16::to_le_bytes).concat());
        bytes.extend([n_bytes, start].map(|n| (n.min(u64::from(ELSEWHERE)) as u32).to_le_bytes()).concat());
        bytes.extend([0; 2]);
        self.write(&bytes)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use whence_shared::archive;

    use super::*;

    #[test]
    fn the_same_files_give_the_same_bytes_and_headers_point_at_them() {
        let make = || {
            let mut zip = Zip::new(Cursor::new(Vec::new()));
            zip.add("a/b.json", "x".repeat(500).as_bytes()).unwrap();
            zip.add_stored("c.safetensors", 5, &b"12345"[..]).unwrap();
            zip.add("é", b"").unwrap();
            zip.finish().unwrap().into_inner()
        };
        let bytes = make();
        assert_eq!(bytes, make());
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let end = bytes.len() - 22;
        assert_eq!(u32_at(end), END);
        let mut at = u32_at(end + 16) as usize;
        // crc32 of "12345" is cbf53a1c.
        for (path, crc32, n_bytes) in [("a/b.json", None, 500), ("c.safetensors", Some(0xcbf5_3a1c), 5), ("é", None, 0)]
        {
            assert_eq!((u32_at(at), u32_at(at + 24)), (CENTRAL_HEADER, n_bytes), "{path}");
            assert!(crc32.is_none_or(|crc32| crc32 == u32_at(at + 16)));
            let local = u32_at(at + 42) as usize;
            assert_eq!((u32_at(local), u32_at(local + 14)), (LOCAL_HEADER, u32_at(at + 16)));
            assert_eq!(&bytes[local + 30..local + 30 + path.len()], path.as_bytes());
            at += 46 + path.len();
        }
        assert_eq!(at, end, "the directory ends where the end begins");
    }

    #[test]
    fn the_app_finds_in_it_what_was_put_in() {
        let mut zip = Zip::new(Cursor::new(Vec::new()));
        zip.add("a/b.json", "x".repeat(500).as_bytes()).unwrap();
        zip.add_stored("c.safetensors", 5, &b"12345"[..]).unwrap();
        zip.add("é", b"").unwrap();
        let bytes = zip.finish().unwrap().into_inner();
        let n_bytes = bytes.len() as u64;
        let directory = archive::directory(&bytes, n_bytes).unwrap();
        let (start, end) = (directory.start as usize, (directory.start + directory.n_bytes) as usize);
        let entries = archive::entries(&bytes[start..end], directory, n_bytes).unwrap();
        let shown: Vec<_> = entries.iter().map(|e| (e.path.as_str(), e.is_deflated, e.n_bytes)).collect();
        assert_eq!(shown, [("a/b.json", true, 500), ("c.safetensors", false, 5), ("é", false, 0)]);
        let at = archive::data_start(&bytes[entries[1].offset as usize..], &entries[1]).unwrap() as usize;
        assert_eq!(&bytes[at..at + 5], b"12345");
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_refused() {
        let mut zip = Zip::new(Cursor::new(Vec::new()));
        assert!(zip.add_stored("c", 5, &b"1234"[..]).unwrap_err().to_string().contains("changed"));
    }

    #[test]
    fn sizes_and_offsets_beyond_four_gigabytes_stand_in_the_field_for_them() {
        let n = 5 << 32;
        let entry =
            Entry { path: "v".into(), method: STORED, crc32: 7, n_packed: n, n_bytes: n, offset: u64::from(ELSEWHERE) };
        let local = entry.local_header();
        assert_eq!(local[18..26], [0xff; 8]);
        assert_eq!(local[31..], [[1, 0, 16, 0].as_slice(), &n.to_le_bytes(), &n.to_le_bytes()].concat());
        let central = entry.central_header();
        assert_eq!(central[42..46], [0xff; 4]);
        assert_eq!(central[central.len() - 8..], u64::from(ELSEWHERE).to_le_bytes());
    }
}
