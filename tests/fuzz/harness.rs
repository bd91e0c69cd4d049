//! What must hold for any bytes that claim to be one of our files: no panic, no endless loop, no more memory than the
//! file has a right to, and nothing accepted that breaks a promise of the format. Used by the fuzz targets beside it and
//! by `tests/tests/fuzz.rs`.

#![allow(dead_code, reason = "each fuzz target uses one function")]

use whence_shared::index::block::{self, Block, Columns};
use whence_shared::index::bounds::RangeScores;
use whence_shared::index::manifest::IndexManifest;
use whence_shared::index::query::{Direction, Query};
use whence_shared::shard::Shard;

/// Widest block that is scored as well as read; a file of a few bytes may claim a wide block without rows.
const MAX_SCORED_WIDTH: usize = 4096;

/// A block file: what is read has bounds that are bounds, and written again it says the same.
pub fn block_file(bytes: &[u8]) {
    let Ok(block) = Block::parse(bytes) else { return };
    assert_eq!(block.codes.len(), block.n_rows * block.width);
    assert_eq!([block.scale.len(), block.error_norm.len(), block.tail_norm.len()], [block.n_rows; 3]);
    assert!(block.scale.iter().all(|scale| (0.0..=block::MAX_SCALE).contains(scale)));
    let norms = || block.error_norm.iter().chain(&block.tail_norm);
    assert!(norms().all(|norm| (0.0..=block::MAX_NORM).contains(norm)));

    let columns = Columns {
        codes: &block.codes,
        scale: &block.scale,
        error_norm: &block.error_norm,
        tail_norm: &block.tail_norm,
    };
    let again = block::write(&block.header, block.width, &columns).expect("what is read can be written");
    let again = Block::parse(&again).expect("what is written can be read");
    assert_eq!((&again.header, &again.codes, &again.scale), (&block.header, &block.codes, &block.scale));

    let last = block.n_rows.checked_sub(1).map(|row| row as u32);
    let some = Block::parse_rows(bytes, last.as_slice()).expect("the whole was read");
    assert_eq!(some.scale.first(), block.scale.last());

    if block.header.block != 0 || block.header.first_dim != 0 || block.width > MAX_SCORED_WIDTH {
        return;
    }
    let direction: Vec<f32> = (0..block.width + 3).map(|i| (i % 7) as f32 - 3.0).collect();
    let query = Query::new(&Direction::exact(&direction), &[block.width, 3]);
    let mut scores = RangeScores::new(block.header.first_row, block.n_rows);
    scores.add(&block, &query).expect("it is the first block");
    for (_, score) in scores.scores() {
        assert!(score.lower <= score.upper && score.estimate.is_finite(), "{score:?}");
    }
}

/// A vector file: every number that is read is finite, and rows have the stated width.
pub fn vector_file(bytes: &[u8]) {
    let Ok(shard) = Shard::parse(bytes) else { return };
    let mut row = vec![0.0; shard.d_model];
    for i in 0..shard.n_rows.min(64) {
        shard.read_row(i, &mut row);
    }
    assert!(shard.n_rows * shard.d_model <= bytes.len());
}

/// A manifest: what is accepted covers its rows, and its sums do not overflow.
pub fn manifest(bytes: &[u8]) {
    let Ok(manifest) = IndexManifest::parse(bytes) else { return };
    let widths = manifest.widths();
    assert_eq!(widths.iter().sum::<usize>(), manifest.d_model);
    assert_eq!(widths.len(), manifest.blocks.len());
    for block in &manifest.blocks {
        assert_eq!(block.files.iter().map(|file| file.n_rows).sum::<usize>(), manifest.n_rows);
    }
    let _ = manifest.n_bytes();
    let json = serde_json::to_vec(&manifest).expect("a manifest serialises");
    assert_eq!(IndexManifest::parse(&json).expect("what is accepted is accepted again"), manifest);
}
