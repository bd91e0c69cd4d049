//! A run's numbers as TensorBoard reads them: one event file beside `metrics.jsonl`, a scalar per number and step, tags as
//! transformers' Trainer and TRL have them (`train/loss`, `train/rewards/margins`).
//!
//! ```text
//! record   u64 length │ u32 crc of the length │ Event │ u32 crc of the Event          little-endian (TFRecord)
//! crc      CRC-32C c, masked: ((c >> 15) | (c << 17)) + 0xa282ead8
//! Event    1: wall_time double │ 2: step int64 │ 3: file_version string │ 5: Summary   protobuf
//! Summary  1: Value, repeated  │ Value  1: tag string, 2: simple_value float
//! ```
//!
//! The file follows from the steps alone, but for the time of its first record: times are that time plus how long steps
//! took, so that the axis shows training time without interruptions.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::train::StepMetrics;

/// TensorBoard looks for `tfevents` in names and sorts a folder's files by them.
const FILE: &str = "events.out.tfevents.0000000000.whence";
/// What the first record says.
const VERSION: &str = "brain.Event:2";
/// Bytes before the first record's time: length, its crc, and the field's key.
const BEFORE_TIME: usize = 8 + 4 + 1;

/// Encodes the event file of one run, step after step.
#[derive(Debug)]
pub(super) struct Events {
    /// Seconds since 1970 of the last step.
    time: f64,
}

impl Events {
    /// Where the file of a run's folder lies.
    pub(super) fn path(run: &Path) -> PathBuf {
        run.join(FILE)
    }

    /// Begins a file, whose first record it returns. A file that is there already keeps its time.
    pub(super) fn begin(path: &Path) -> (Self, Vec<u8>) {
        let there = fs::read(path).ok().and_then(|bytes| bytes.get(BEFORE_TIME..)?.first_chunk().copied());
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        let time = there.map(f64::from_le_bytes).filter(|time| time.is_finite()).unwrap_or_else(now);
        let mut event = double(1, time);
        event.extend(bytes(3, VERSION.as_bytes()));
        (Self { time }, record(&event))
    }

    /// The record of the next step.
    pub(super) fn step(&mut self, step: &StepMetrics) -> Vec<u8> {
        if step.tokens_per_sec > 0.0 {
            self.time += step.n_tokens as f64 / step.tokens_per_sec;
        }
        let mut summary = Vec::new();
        if let Ok(Value::Object(numbers)) = serde_json::to_value(step) {
            let is_scalar = |name: &str| name != "step" && name != "n_tokens";
            for (name, number) in numbers.iter().filter(|(name, _)| is_scalar(name)) {
                let Some(number) = number.as_f64() else { continue };
                let mut value = bytes(1, format!("train/{name}").as_bytes());
                value.extend(float(2, number as f32));
                summary.extend(bytes(1, &value));
            }
        }
        let mut event = double(1, self.time);
        event.extend(integer(2, step.step as u64));
        event.extend(bytes(5, &summary));
        record(&event)
    }
}

fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let crc = |bytes: &[u8]| crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes();
    [&length[..], &crc(&length), data, &crc(data)].concat()
}

/// A protobuf number in base 128, lowest digits first.
fn varint(mut n: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while n >= 0x80 {
        bytes.push(n as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
    bytes
}

/// A field's number and wire type.
fn key(field: u64, wire_type: u64) -> Vec<u8> {
    varint(field << 3 | wire_type)
}

fn integer(field: u64, value: u64) -> Vec<u8> {
    [key(field, 0), varint(value)].concat()
}

fn double(field: u64, value: f64) -> Vec<u8> {
    [key(field, 1), value.to_le_bytes().to_vec()].concat()
}

fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [key(field, 2), varint(value.len() as u64), value.to_vec()].concat()
}

fn float(field: u64, value: f32) -> Vec<u8> {
    [key(field, 5), value.to_le_bytes().to_vec()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Written by tensorboard 2.21.0: `RecordWriter.write(Event(…).SerializeToString())`.
    const VERSION_RECORD: &str = "1800000000000000a37f4b220900002040fc54d9411a0d627261696e2e4576656e743a322b353110";
    const STEP_RECORD: &str = "3f00000000000000516576610900007040fc54d94110ac022a310a110a0a747261696e2f6c6f7373150000303f\
                               0a1c0a15747261696e2f726577617264732f6d617267696e73150000c0bfdbc8f513";

    #[test]
    fn records_are_those_that_tensorboard_writes() {
        let mut event = double(1, 1_700_000_000.5);
        event.extend(bytes(3, VERSION.as_bytes()));
        assert_eq!(hex(&record(&event)), VERSION_RECORD);
        let value = |tag: &str, number| [bytes(1, tag.as_bytes()), float(2, number)].concat();
        let summary =
            [bytes(1, &value("train/loss", 0.6875)), bytes(1, &value("train/rewards/margins", -1.5))].concat();
        let event = [double(1, 1_700_000_001.75), integer(2, 300), bytes(5, &summary)].concat();
        assert_eq!(hex(&record(&event)), STEP_RECORD);
    }

    #[test]
    fn a_file_that_is_begun_again_keeps_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = Events::path(folder.path());
        let (first, record) = Events::begin(&path);
        assert!(first.time > 1.7e9);
        fs::write(&path, &record).unwrap();
        let (again, same) = Events::begin(&path);
        assert_eq!((again.time, same), (first.time, record));
        fs::write(&path, b"short").unwrap();
        assert!(Events::begin(&path).0.time >= first.time);
    }
}
