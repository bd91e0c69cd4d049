//! Reading the directory of a zip archive, from parts of it: the app opens a bundle without unpacking it.
//!
//! An archive is read from its end: the last record says where the directory lies, the directory where each entry does, and the
//! header before an entry how long itself is. Format: PKWARE *APPNOTE* 6.3.10, with ZIP64; neither encrypted nor split over
//! several files.

use thiserror::Error;

/// Begins the header before an entry.
pub const LOCAL_HEADER: u32 = 0x0403_4b50;
/// Begins an entry of the directory.
pub const CENTRAL_HEADER: u32 = 0x0201_4b50;
/// Begins the last record.
pub const END: u32 = 0x0605_4b50;
/// Begins the last record's ZIP64 form.
pub const END_64: u32 = 0x0606_4b50;
/// Begins the record that says where that one is.
pub const END_64_LOCATOR: u32 = 0x0706_4b50;
/// Method of entries that are stored as they are.
pub const STORED: u16 = 0;
/// Method of entries that are deflated.
pub const DEFLATED: u16 = 8;
/// Bytes of the last record without its comment.
const END_BYTES: usize = 22;
const LOCATOR_BYTES: usize = 20;
const END_64_BYTES: usize = 56;
/// Bytes of an entry's header before its name.
pub const LOCAL_HEADER_BYTES: usize = 30;
const CENTRAL_HEADER_BYTES: usize = 46;
/// As many bytes from the end always hold the records that say where the directory is: those and the longest comment.
pub const TAIL_BYTES: usize = END_64_BYTES + LOCATOR_BYTES + END_BYTES + 65_535;
/// Stands for a number that is in the ZIP64 field.
pub const ELSEWHERE: u32 = u32::MAX;
const IS_ENCRYPTED: u16 = 1;

/// Why an archive cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ArchiveError {
    /// No record at its end.
    #[error("it is no zip archive, or its end is missing")]
    NotZip,
    /// Records that point beyond it.
    #[error("it is cut off or damaged ({0})")]
    Damaged(&'static str),
    /// Split over several files.
    #[error("it is one part of a split archive")]
    Split,
    /// Encrypted.
    #[error("{0} in it is encrypted")]
    Encrypted(String),
    /// Packed in another way.
    #[error("{path} in it is packed by method {method}: expected 0 (stored) or 8 (deflated)")]
    Method {
        /// The entry.
        path: String,
        /// Its method.
        method: u16,
    },
}

/// Where the directory lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Directory {
    /// Its first byte.
    pub start: u64,
    /// Its length.
    pub n_bytes: u64,
    /// Entries in it.
    pub n_entries: u64,
}

/// One file of an archive.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Entry {
    /// Its path, with `/` between folders.
    pub path: String,
    /// Whether its bytes are deflated; else they are stored as they are.
    pub is_deflated: bool,
    /// Bytes in the archive.
    pub n_packed: u64,
    /// Bytes of the file.
    pub n_bytes: u64,
    /// Where its header begins.
    pub offset: u64,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|b| u16::from_le_bytes(b.try_into().expect("two bytes")))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).map(|b| u32::from_le_bytes(b.try_into().expect("four bytes")))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8).map(|b| u64::from_le_bytes(b.try_into().expect("eight bytes")))
}

/// Finds the directory of an archive of `n_bytes`, of which `tail` is the end: [`TAIL_BYTES`] of it, or all.
///
/// # Errors
///
/// [`ArchiveError`].
pub fn directory(tail: &[u8], n_bytes: u64) -> Result<Directory, ArchiveError> {
    let last = tail.len().checked_sub(END_BYTES).ok_or(ArchiveError::NotZip)?;
    // From the end: a comment that is as long as it says.
    let is_end = |at: &usize| {
        u32_at(tail, *at) == Some(END)
            && u16_at(tail, at + 20).is_some_and(|n| at + END_BYTES + usize::from(n) == tail.len())
    };
    let end = (0..=last).rev().find(is_end).ok_or(ArchiveError::NotZip)?;
    let field = |at: usize| u16_at(tail, end + at).expect("the record is whole");
    let long = |at: usize| u32_at(tail, end + at).expect("the record is whole");
    if field(4) != 0 && field(4) != u16::MAX {
        return Err(ArchiveError::Split);
    }
    let mut found =
        Directory { start: u64::from(long(16)), n_bytes: u64::from(long(12)), n_entries: u64::from(field(10)) };
    let is_large = long(16) == ELSEWHERE || long(12) == ELSEWHERE || field(10) == u16::MAX;
    let locator = end.checked_sub(LOCATOR_BYTES).filter(|at| u32_at(tail, *at) == Some(END_64_LOCATOR));
    if let (true, Some(locator)) = (is_large, locator) {
        let damaged = ArchiveError::Damaged("the ZIP64 record is missing");
        let first = n_bytes - tail.len() as u64;
        let at = u64_at(tail, locator + 8).and_then(|at| usize::try_from(at.checked_sub(first)?).ok());
        let at = at.filter(|at| u32_at(tail, *at) == Some(END_64)).ok_or(damaged.clone())?;
        let number = |of: usize| u64_at(tail, at + of).ok_or(damaged.clone());
        found = Directory { start: number(48)?, n_bytes: number(40)?, n_entries: number(32)? };
    }
    let fits = found.start.checked_add(found.n_bytes).is_some_and(|end| end <= n_bytes);
    if fits { Ok(found) } else { Err(ArchiveError::Damaged("its directory lies beyond its end")) }
}

/// The files of an archive of `n_bytes`, from the bytes of its directory. Folders are left out.
///
/// # Errors
///
/// [`ArchiveError`].
pub fn entries(bytes: &[u8], of: Directory, n_bytes: u64) -> Result<Vec<Entry>, ArchiveError> {
    let damaged = || ArchiveError::Damaged("its directory cannot be read");
    let mut entries = Vec::new();
    let mut at = 0;
    for _ in 0..of.n_entries {
        if u32_at(bytes, at) != Some(CENTRAL_HEADER) {
            return Err(damaged());
        }
        let field = |of: usize| u16_at(bytes, at + of).ok_or_else(damaged);
        let long = |of: usize| u32_at(bytes, at + of).ok_or_else(damaged);
        let (n_name, n_extra, n_comment) = (field(28)? as usize, field(30)? as usize, field(32)? as usize);
        let name = at + CENTRAL_HEADER_BYTES;
        let path = bytes.get(name..name + n_name).ok_or_else(damaged)?;
        let path = String::from_utf8_lossy(path).replace('\\', "/");
        let extra = bytes.get(name + n_name..name + n_name + n_extra).ok_or_else(damaged)?;
        let (n_packed, n_file, offset) = sizes(long(20)?, long(24)?, long(42)?, extra).ok_or_else(damaged)?;
        let (flags, method) = (field(8)?, field(10)?);
        at = name + n_name + n_extra + n_comment;
        if path.ends_with('/') {
            continue;
        }
        if flags & IS_ENCRYPTED != 0 {
            return Err(ArchiveError::Encrypted(path));
        }
        if !matches!(method, STORED | DEFLATED) {
            return Err(ArchiveError::Method { path, method });
        }
        if offset.checked_add(n_packed).is_none_or(|end| end > n_bytes) || (method == STORED && n_packed != n_file) {
            return Err(ArchiveError::Damaged("an entry lies beyond its end"));
        }
        entries.push(Entry { path, is_deflated: method == DEFLATED, n_packed, n_bytes: n_file, offset });
    }
    Ok(entries)
}

/// Packed size, size and offset, as they stand or in the ZIP64 field.
fn sizes(packed: u32, size: u32, offset: u32, mut extra: &[u8]) -> Option<(u64, u64, u64)> {
    let mut numbers: &[u8] = &[];
    while let (Some(kind), Some(n)) = (u16_at(extra, 0), u16_at(extra, 2)) {
        let data = extra.get(4..4 + usize::from(n))?;
        if kind == 1 {
            numbers = data;
        }
        extra = &extra[4 + usize::from(n)..];
    }
    // Only what does not fit stands there, in this order: size, packed size, offset.
    let mut next = |stated: u32| match stated {
        ELSEWHERE => {
            let number = u64_at(numbers, 0)?;
            numbers = &numbers[8..];
            Some(number)
        }
        stated => Some(u64::from(stated)),
    };
    let size = next(size)?;
    let packed = next(packed)?;
    Some((packed, size, next(offset)?))
}

/// Where an entry's bytes begin, from the [`LOCAL_HEADER_BYTES`] at its offset.
///
/// # Errors
///
/// [`ArchiveError::Damaged`] when there is no header.
pub fn data_start(header: &[u8], entry: &Entry) -> Result<u64, ArchiveError> {
    let lengths = || Some((u32_at(header, 0)?, u16_at(header, 26)?, u16_at(header, 28)?));
    match lengths() {
        Some((LOCAL_HEADER, n_name, n_extra)) => {
            Ok(entry.offset + LOCAL_HEADER_BYTES as u64 + u64::from(n_name) + u64::from(n_extra))
        }
        _ => Err(ArchiveError::Damaged("an entry does not begin where the directory says")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive of stored files, with a field in the entry's own header that the directory does not have.
    fn archive(files: &[(&str, &[u8])], comment: &[u8]) -> Vec<u8> {
        let (mut bytes, mut central) = (Vec::new(), Vec::new());
        for (path, data) in files {
            let offset = bytes.len() as u32;
            let n = data.len() as u32;
            let head = |extra: u16| {
                let mut head = Vec::new();
                for number in [20u16, 1 << 11, 0, 0, 0x21] {
                    head.extend(number.to_le_bytes());
                }
                for number in [0, n, n] {
                    head.extend(number.to_le_bytes());
                }
                head.extend([path.len() as u16, extra].map(u16::to_le_bytes).concat());
                head
            };
            bytes.extend(LOCAL_HEADER.to_le_bytes());
            bytes.extend(head(4));
            bytes.extend(path.as_bytes());
            bytes.extend([9, 9, 0, 0]);
            bytes.extend(*data);
            central.extend(CENTRAL_HEADER.to_le_bytes());
            central.extend(20u16.to_le_bytes());
            central.extend(head(0));
            central.extend([0; 10]);
            central.extend(offset.to_le_bytes());
            central.extend(path.as_bytes());
        }
        let start = bytes.len() as u32;
        bytes.extend(&central);
        bytes.extend(END.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend([files.len() as u16; 2].map(u16::to_le_bytes).concat());
        bytes.extend([central.len() as u32, start].map(u32::to_le_bytes).concat());
        bytes.extend((comment.len() as u16).to_le_bytes());
        bytes.extend(comment);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, ArchiveError> {
        let n_bytes = bytes.len() as u64;
        let tail = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
        let place = directory(tail, n_bytes)?;
        let listed = entries(&bytes[place.start as usize..(place.start + place.n_bytes) as usize], place, n_bytes)?;
        let file = |entry: Entry| {
            let start = data_start(&bytes[entry.offset as usize..], &entry)? as usize;
            Ok((entry.path, bytes[start..start + entry.n_packed as usize].to_vec()))
        };
        listed.into_iter().map(file).collect()
    }

    #[test]
    fn files_are_found_where_the_directory_says_whatever_stands_around_them() {
        let files: [(&str, &[u8]); 3] = [("data/study.json", b"{}"), ("folder/", b""), ("é", b"12345")];
        for comment in [&b""[..], b"made by hand: PK\x05\x06 is no end"] {
            let found = read(&archive(&files, comment)).unwrap();
            assert_eq!(found, [("data/study.json".into(), b"{}".to_vec()), ("é".into(), b"12345".to_vec())]);
        }
        assert_eq!(read(&archive(&[], b"")).unwrap(), []);
    }

    #[test]
    fn sizes_beyond_four_gigabytes_stand_in_the_field_for_them() {
        let field =
            [[7, 0, 1, 0, 5].as_slice(), &[1, 0, 16, 0], &(5u64 << 32).to_le_bytes(), &7u64.to_le_bytes()].concat();
        assert_eq!(sizes(3, ELSEWHERE, ELSEWHERE, &field), Some((3, 5 << 32, 7)));
        assert_eq!(sizes(3, 4, 5, &[]), Some((3, 4, 5)));
        assert_eq!(sizes(ELSEWHERE, 4, 5, &[]), None, "a field that is missing");
    }

    #[test]
    fn what_is_no_archive_or_half_of_one_is_refused() {
        let whole = archive(&[("a", b"12345"), ("b", b"x")], b"");
        assert_eq!(read(b"PK\x03\x04"), Err(ArchiveError::NotZip));
        assert_eq!(read(&whole[..whole.len() - 1]), Err(ArchiveError::NotZip));
        // Its beginning is missing: nothing lies where the records say.
        assert!(matches!(read(&whole[7..]), Err(ArchiveError::Damaged(_))));
        let mut encrypted = whole.clone();
        let central = whole.windows(4).position(|four| four == CENTRAL_HEADER.to_le_bytes()).unwrap();
        encrypted[central + 8] |= 1;
        assert_eq!(read(&encrypted), Err(ArchiveError::Encrypted("a".into())));
        let mut odd = whole.clone();
        odd[central + 10] = 12;
        assert_eq!(read(&odd), Err(ArchiveError::Method { path: "a".into(), method: 12 }));
        let mut far = whole;
        far[central + 42] = 0xff;
        assert!(matches!(read(&far), Err(ArchiveError::Damaged(_))));
    }
}
