//! Out of device memory: batches shrink and the run goes on; a conversation that does not fit alone is named.
//!
//! A software rasteriser refuses buffers beyond 128 MB, as a card refuses what it has no room for: the scores of one
//! block of queries, `[batch, heads, queries, length]`, get there with short texts in one absurd batch, and the mask of a
//! text, `[length, length]`, with one of eight thousand tokens. Elsewhere these tests say that they show nothing.

use whence_backend::device::{self, DeviceChoice};
use whence_tests::binary::whence;
use whence_tests::chat_study::{Made, row};
use whence_tests::fixture::relative_difference;
use whence_tests::vectors;

/// Whether the adapter at hand is the software rasteriser whose limits the tests know.
fn is_software() -> bool {
    match device::open(DeviceChoice::Wgpu) {
        Ok(opened) if opened.name.contains("llvmpipe") => true,
        Ok(opened) => {
            eprintln!("skipped: {} has room for more than a test should ask for", opened.name);
            false
        }
        Err(error) => {
            eprintln!("skipped: {error}");
            false
        }
    }
}

#[test]
fn an_absurd_batch_is_halved_until_it_fits_and_that_is_said_once() {
    if !is_software() {
        return;
    }
    // 16 pairs of about 1900 tokens: 16 × 4 heads × 512 queries × 1900 × 4 bytes = 249 MB.
    let made = Made::of(
        &(0..16).map(|i| row(i, "Hello", &"word tea ".repeat(220), &"clock ".repeat(300 + i))).collect::<Vec<_>>(),
    );
    made.extract(&["--layers", "1"]);
    let again = made.again();
    let run = again.extract(&["--layers", "1", "--device", "wgpu", "--batch-tokens", "16000000"]);
    let said = run.stderr.matches("out of device memory").count();
    assert_eq!(said, 1, "said once: {}", run.stderr);
    assert!(run.stderr.contains("--batch-tokens") && !run.stderr.contains("panicked"), "{}", run.stderr);
    let (got, expected) = (vectors::rows(&again.study(), 1), vectors::rows(&made.study(), 1));
    for (row, (got, expected)) in got.iter().zip(&expected).enumerate() {
        assert!(relative_difference(got, expected) <= 1e-3, "row {row}");
    }
}

#[test]
fn a_conversation_that_does_not_fit_alone_is_named_and_nothing_is_lost() {
    if !is_software() {
        return;
    }
    let long = "word tea ".repeat(2000);
    let made = Made::of(&[row(0, "Hello", "yes", "no"), row(1, "Hello", &long, "no"), row(2, "Hello", "a", "b")]);
    let options = ["--layers", "1", "--device", "wgpu", "--max-tokens", "8192", "--rows-per-file", "1"];
    let run = whence(made.args(&options));
    assert!(!run.success && !run.stderr.contains("panicked"), "{}", run.stderr);
    for said in ["error: row 1: its", "tokens alone do not fit", "--max-tokens", "--device cpu"] {
        assert!(run.stderr.contains(said), "expected {said:?} in {}", run.stderr);
    }
    assert!(made.study().join("vectors/layer-1/00000000.safetensors").is_file(), "what was finished is kept");
}
