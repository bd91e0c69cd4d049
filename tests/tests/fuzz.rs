//! The fuzz targets' harness on seeds that our writers make and on seeded mutations of them: what `tests/fuzz` looks for
//! at length, in every test run.

use std::fs;
use std::panic::catch_unwind;

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use whence_shared::index::block::{self, BlockHeader, Columns};
use whence_shared::index::manifest::{BlockView, FORMAT, FileView, IndexManifest, RotationView};
use whence_shared::shard::{self, ShardHeader, StoreDtype};
use whence_tests::fixture;

#[path = "../fuzz/harness.rs"]
mod harness;

/// Mutated files per target.
const N_MUTATED: usize = 20_000;

/// Seeds of each target, with the name of the file that each is kept in.
fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let header = |block, first_dim| BlockHeader { layer: 2, block, first_dim, first_row: 8, inputs: "abc".into() };
    let columns = Columns {
        codes: &[1, -127, 127, 0, 0, 0],
        scale: &[0.007, 0.0],
        error_norm: &[0.1, 0.0],
        tail_norm: &[1.0, 0.0],
    };
    let none = Columns { codes: &[], scale: &[], error_norm: &[], tail_norm: &[] };
    let shard_header = ShardHeader { layer: 2, first_row: 8, inputs: "abc".into() };
    let vectors = [1.0, -2.0, 0.5, 0.0, 0.0, 65504.0];
    let vector_file = |dtype, direction| shard::write(&shard_header, &vectors, 3, dtype, direction).unwrap();
    vec![
        ("block_file", "first", block::write(&header(0, 0), 3, &columns).unwrap()),
        ("block_file", "later", block::write(&header(1, 64), 3, &columns).unwrap()),
        ("block_file", "empty", block::write(&header(0, 0), 64, &none).unwrap()),
        ("vector_file", "f16", vector_file(StoreDtype::F16, None)),
        ("vector_file", "f32-direction", vector_file(StoreDtype::F32, Some(&[0.0, 1.0, 0.0]))),
        ("manifest", "two-blocks", serde_json::to_vec(&manifest()).unwrap()),
    ]
}

fn manifest() -> IndexManifest {
    let file = |block: usize, first_row: usize| FileView {
        path: format!("index/layer-2/block-{block}/{first_row:08}.safetensors"),
        first_row,
        n_rows: 4,
        n_bytes: 1000,
        sha256: "0".repeat(64),
    };
    let block = |block, first_dim, width| BlockView {
        first_dim,
        width,
        energy: 0.5,
        recall: Vec::new(),
        files: vec![file(block, 0), file(block, 4)],
    };
    IndexManifest {
        format: FORMAT.into(),
        layer: 2,
        d_model: 100,
        n_rows: 8,
        inputs: "a".into(),
        vectors_inputs: "b".into(),
        vectors_sha256: "c".into(),
        blocks: vec![block(0, 0, 64), block(1, 64, 36)],
        rotation: RotationView { path: "r".into(), sha256: "d".into(), n_directions: 100, n_sampled_rows: 8 },
        vector_offsets: vec![200],
    }
}

fn run(target: &str, bytes: &[u8]) {
    match target {
        "block_file" => harness::block_file(bytes),
        "vector_file" => harness::vector_file(bytes),
        "manifest" => harness::manifest(bytes),
        _ => unreachable!("{target}"),
    }
}

#[test]
fn seeds_are_what_the_writers_write() {
    for (target, name, bytes) in seeds() {
        let path = fixture::package().join("fuzz/seeds").join(target).join(name);
        if std::env::var_os("WHENCE_WRITE_SEEDS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        let kept = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(kept == bytes, "{}: the format has changed; write it again with WHENCE_WRITE_SEEDS=1", path.display());
        run(target, &bytes);
    }
}

/// Numbers that formats stumble over, as text and as bytes.
const NUMBERS: [&str; 9] =
    ["0", "1", "-1", "65537", "1048577", "4294967295", "4294967296", "18446744073709551615", "1e999"];

fn mutate(bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    for _ in 0..rng.random_range(1..=4) {
        if bytes.is_empty() {
            return;
        }
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..7) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[at] = rng.random(),
            2 => bytes.truncate(at),
            3 => {
                let until = (at + rng.random_range(1..32)).min(bytes.len());
                let part = bytes[at..until].to_vec();
                bytes.splice(at..at, part);
            }
            4 => {
                let until = (at + rng.random_range(1..16)).min(bytes.len());
                bytes.drain(at..until);
            }
            5 => {
                // A number of the header, replaced by another.
                let is_digit = |i: &usize| bytes[*i].is_ascii_digit();
                let Some(start) = (at..bytes.len()).find(is_digit) else { continue };
                let end = (start..bytes.len()).find(|i| !is_digit(i)).unwrap_or(bytes.len());
                let number = NUMBERS.choose(rng).expect("there are some");
                bytes.splice(start..end, number.bytes());
                // Headers state their own length; keep it true half of the time.
                let grown = number.len() as i64 - (end - start) as i64;
                if start > 8 && rng.random() {
                    let stated = u64::from_le_bytes(bytes[..8].try_into().expect("eight"));
                    bytes[..8].copy_from_slice(&stated.wrapping_add_signed(grown).to_le_bytes());
                }
            }
            _ => {
                let number = [f32::NAN, f32::INFINITY, -0.0, -1.0, 1e-45, 3e38].choose(rng).expect("there are some");
                let start = at.min(bytes.len().saturating_sub(4));
                bytes.truncate(start.max(bytes.len() - 4 * rng.random_range(0..=1)));
                bytes.splice(start..(start + 4).min(bytes.len()), number.to_le_bytes());
            }
        }
    }
}

#[test]
fn no_mutation_makes_a_reader_panic_or_accept_a_lie() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let seeds = seeds();
    for target in ["block_file", "vector_file", "manifest"] {
        let of_target: Vec<&Vec<u8>> = seeds.iter().filter(|seed| seed.0 == target).map(|seed| &seed.2).collect();
        for i in 0..N_MUTATED {
            let mut bytes = (*of_target.choose(&mut rng).expect("there are some")).clone();
            mutate(&mut bytes, &mut rng);
            let outcome = catch_unwind(|| run(target, &bytes));
            assert!(outcome.is_ok(), "{target}, mutation {i}: {}", String::from_utf8_lossy(&bytes));
        }
    }
}
