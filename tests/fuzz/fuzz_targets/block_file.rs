//! libFuzzer's way into [`harness::block_file`].

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../harness.rs"]
mod harness;

fuzz_target!(|bytes: &[u8]| harness::block_file(bytes));
