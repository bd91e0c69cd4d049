//! How much memory this process has needed, for the last line of every run.

use std::fs;

use crate::device;

/// Peak resident memory of this process in bytes, pages of mapped files included; `None` where the system does not tell
/// (it is read from `/proc`).
pub fn peak_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// `peak memory 0.21 GB; vulkan:0: NVIDIA H100 held 3.20 GB`; `None` when nothing is known.
pub fn summary() -> Option<String> {
    let gigabytes = |n_bytes: u64| format!("{:.2} GB", n_bytes as f64 / 1e9);
    let mut parts: Vec<String> = Vec::new();
    parts.extend(peak_bytes().map(|n_bytes| format!("peak memory {}", gigabytes(n_bytes))));
    parts
        .extend(device::memory_held().into_iter().map(|(name, n_bytes)| format!("{name} held {}", gigabytes(n_bytes))));
    if parts.is_empty() { None } else { Some(parts.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_peak_grows_with_what_is_touched_and_stays() {
        let before = peak_bytes().unwrap();
        let block = std::hint::black_box(vec![1u8; 64 << 20]);
        let during = peak_bytes().unwrap();
        drop(block);
        assert!(during >= before && during >= 64 << 20, "{before} {during}");
        // The kernel counts in batches: the number may be a little behind.
        assert!(peak_bytes().unwrap() + (8 << 20) >= during);
        assert!(summary().unwrap().starts_with("peak memory "));
    }
}
