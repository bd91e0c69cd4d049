//! What a rotation promises: orthogonal to rounding, sorted by energy, the same for any number of threads.

use super::*;

/// `n` unit rows whose variance falls from dimension to dimension, mixed by a fixed reflection so that no axis is
/// special; every seventh row is zero.
fn rows(n: usize, d: usize, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut uniform = || f64::from(random.next_u32()) / f64::from(u32::MAX) - 0.5;
    let mirror: Vec<f64> = (0..d).map(|_| uniform()).collect();
    let mirror_norm: f64 = mirror.iter().map(|x| x * x).sum();
    let mut all = Vec::with_capacity(n * d);
    for i in 0..n {
        let mut row: Vec<f64> = (0..d).map(|j| uniform() / (1.0 + j as f64)).collect();
        let along: f64 = row.iter().zip(&mirror).map(|(x, m)| x * m).sum();
        row.iter_mut().zip(&mirror).for_each(|(x, m)| *x -= 2.0 * along / mirror_norm * m);
        let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        let scale = if i % 7 == 3 { 0.0 } else { 1.0 / norm };
        all.extend(row.iter().map(|x| (x * scale) as f32));
    }
    all
}

fn widen(rows: &[f32]) -> Vec<f64> {
    rows.iter().map(|x| f64::from(*x)).collect()
}

/// QᵀQ − I, largest entry, of as many basis vectors as given.
fn departure(rotation: &Rotation, basis: &[usize]) -> f64 {
    let d = rotation.d_model();
    let mut rows = vec![0.0; basis.len() * d];
    for (row, &axis) in rows.chunks_exact_mut(d).zip(basis) {
        row[axis] = 1.0;
    }
    rotation.apply(&mut rows);
    let mut worst = 0f64;
    for (i, a) in rows.chunks_exact(d).enumerate() {
        for (j, b) in rows.chunks_exact(d).enumerate() {
            let product: f64 = a.iter().zip(b).map(|(x, y)| x * y).sum();
            worst = worst.max((product - f64::from(u8::from(i == j))).abs());
        }
    }
    worst
}

#[test]
fn it_is_orthogonal_and_can_be_undone_at_every_width() {
    for (n, d) in [(0, 3), (1, 1), (9, 1), (40, 2), (300, 20), (5, 64), (0, 64), (700, 513), (90, 1000)] {
        let sample = rows(n, d, 1);
        let rotation = Rotation::find(&sample, d);
        assert_eq!((rotation.n_directions(), rotation.n_sampled_rows()), (d.min(512), n));
        assert!(departure(&rotation, &(0..d).collect::<Vec<_>>()) < 1e-12, "{n} × {d}");
        let before = widen(&rows(10, d, 2));
        let mut after = before.clone();
        rotation.apply(&mut after);
        assert!(d == 1 || before != after);
        rotation.undo(&mut after);
        assert!(before.iter().zip(&after).all(|(x, y)| (x - y).abs() < 1e-13), "{n} × {d}");
    }
}

#[test]
fn rows_of_zeros_alone_give_an_orthogonal_basis_too() {
    for d in [5, 600, 1030] {
        let rotation = Rotation::find(&vec![0.0; 20 * d], d);
        assert!(departure(&rotation, &[0, 1, d / 2, d - 1]) < 1e-12, "{d}");
    }
}

#[test]
fn the_first_dimensions_are_the_principal_ones_in_order() {
    let d = 96;
    let sample = rows(2000, d, 3);
    let rotation = Rotation::find(&sample, d);
    // Power iteration with deflation, plainly written: another way to the same directions.
    let wide = widen(&sample);
    let mut found: Vec<Vec<f64>> = Vec::new();
    for _ in 0..3 {
        let mut v: Vec<f64> = (0..d).map(|i| (i as f64 + 1.3).sin()).collect();
        for _ in 0..600 {
            for other in &found {
                let along: f64 = v.iter().zip(other).map(|(x, y)| x * y).sum();
                v.iter_mut().zip(other).for_each(|(x, y)| *x -= along * y);
            }
            let mut next = vec![0.0; d];
            for row in wide.chunks_exact(d) {
                let along: f64 = row.iter().zip(&v).map(|(x, y)| x * y).sum();
                next.iter_mut().zip(row).for_each(|(x, y)| *x += along * y);
            }
            let norm = next.iter().map(|x| x * x).sum::<f64>().sqrt();
            v = next.iter().map(|x| x / norm).collect();
        }
        found.push(v);
    }
    for (i, mut direction) in found.into_iter().enumerate() {
        rotation.apply(&mut direction);
        assert!((direction[i].abs() - 1.0).abs() < 1e-9, "direction {i}: {}", direction[i]);
    }
    let mut rotated = wide;
    rotation.apply(&mut rotated);
    let energy = |j: usize| rotated.chunks_exact(d).map(|row| row[j] * row[j]).sum::<f64>();
    for j in 1..d {
        assert!(energy(j) <= energy(j - 1) * (1.0 + 1e-9) + 1e-20, "energy falls: dimension {j}");
    }
}

#[test]
fn subspace_iteration_finds_what_the_dense_decomposition_finds() {
    let d = 700;
    let sample = rows(900, d, 4);
    let moments = moments_times(&sample, Mat::<f64>::identity(d, d).as_ref());
    let dense = leading_eigenvectors(&moments, 64);
    let iterated = subspace_iteration(&sample, d, 64);
    let energy = |v: &Mat<f64>| {
        let product = moments_times(&sample, v.as_ref());
        (0..v.ncols()).map(|j| (0..d).map(|i| v[(i, j)] * product[(i, j)]).sum::<f64>()).sum::<f64>()
    };
    let (best, got) = (energy(&dense), energy(&iterated));
    assert!(got <= best * (1.0 + 1e-12) && got > best * (1.0 - 1e-6), "{got} of {best}");
    for j in 0..8 {
        let along: f64 = (0..d).map(|i| dense[(i, j)] * iterated[(i, j)]).sum();
        assert!((along.abs() - 1.0).abs() < 1e-6, "direction {j}: {along}");
    }
}

#[test]
fn wide_rows_are_rotated_by_reflections_alone() {
    let d = 4096;
    let sample = rows(600, d, 5);
    let rotation = Rotation::find(&sample, d);
    assert_eq!(rotation.n_directions(), 512);
    assert!(departure(&rotation, &[0, 1, 511, 512, 513, 4095]) < 1e-12);
    let mut rotated = widen(&sample[..100 * d]);
    rotation.apply(&mut rotated);
    let energy = |range: std::ops::Range<usize>| -> f64 {
        rotated.chunks_exact(d).map(|row| row[range.clone()].iter().map(|x| x * x).sum::<f64>()).sum()
    };
    assert!(energy(0..64) > 0.9 * energy(0..d), "{} of {}", energy(0..64), energy(0..d));
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for d in [200, 1100] {
        let sample = rows(520, d, 6);
        let with = |n_threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            pool.install(|| Rotation::find(&sample, d).to_bytes("x"))
        };
        assert!(with(1) == with(3), "{d}");
    }
}

#[test]
fn a_file_is_read_back_and_damage_is_named() {
    let rotation = Rotation::find(&rows(50, 30, 7), 30);
    let bytes = rotation.to_bytes("abc");
    assert_eq!(Rotation::parse(&bytes).unwrap(), (rotation, "abc".to_owned()));
    for cut in [0, 7, 60, bytes.len() - 1] {
        assert!(Rotation::parse(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    let mut spoiled = bytes.clone();
    let last = spoiled.len() - 8;
    spoiled[last..].copy_from_slice(&f64::NAN.to_le_bytes());
    assert!(Rotation::parse(&spoiled).unwrap_err().to_string().contains("row 29"));
    let other = String::from_utf8_lossy(&bytes[..200]).contains("whence.rotation/1");
    assert!(other);
}

#[test]
fn sampled_rows_are_spread_and_ascending() {
    assert_eq!(sampled_rows(5), [0, 1, 2, 3, 4]);
    let rows = sampled_rows(100_000);
    assert_eq!(rows.len(), MAX_SAMPLED_ROWS);
    assert!(rows.windows(2).all(|two| two[0] < two[1]) && *rows.last().unwrap() < 100_000);
    assert_eq!(rows, sampled_rows(100_000));
    assert!(rows.iter().enumerate().all(|(i, &row)| row / 7 <= i && i <= row / 6));
}
