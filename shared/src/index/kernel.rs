//! Integer dot products of query blocks (int16) with row blocks (int8): exact, hence the same everywhere.
//!
//! A query is scaled such that no sum can overflow ([`MAX_QUERY_SUM`]), so the order of summation is free.

/// Largest `Σ |query[i]|` that may be asked for: with codes down to −128, every partial sum fits into an i32.
pub const MAX_QUERY_SUM: i64 = (i32::MAX / 128) as i64;

/// `Σ query[i]·codes[i]`, both of the same length. `Σ |query[i]|` is at most [`MAX_QUERY_SUM`].
///
/// # Panics
///
/// Panics when the lengths differ.
pub fn dot(query: &[i16], codes: &[i8]) -> i32 {
    let mut out = [0];
    dots(query, codes, &mut out);
    out[0]
}

/// `out[row] = dot(query, codes[row])` for row-major `codes`, `[out.len(), query.len()]`: one dispatch for many rows.
///
/// # Panics
///
/// Panics when `codes` is not of that shape.
pub fn dots(query: &[i16], codes: &[i8], out: &mut [i32]) {
    assert_eq!(codes.len(), out.len() * query.len(), "one row of codes per dot product");
    if query.is_empty() {
        out.fill(0);
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2; the shape was checked above.
        return unsafe { avx2::dots(query, codes, out) };
    }
    #[cfg(target_arch = "wasm32")]
    simd128::dots(query, codes, out);
    #[cfg(not(target_arch = "wasm32"))]
    for (out, row) in out.iter_mut().zip(codes.chunks_exact(query.len())) {
        *out = dot_portable(query, row);
    }
}

/// Rows scored together, so that a piece of the query is loaded once for all of them.
#[cfg(any(target_arch = "x86_64", target_arch = "wasm32"))]
const ROWS: usize = 4;

/// Adds what is left of a row after its whole registers.
#[cfg(any(target_arch = "x86_64", target_arch = "wasm32"))]
fn with_rest(sum: i32, query: &[i16], codes: &[i8], lanes: usize) -> i32 {
    let done = query.len() / lanes * lanes;
    sum + dot_portable(&query[done..], &codes[done..])
}

/// Defines `dots` by the `tile` of the module it is used in, for the same vector unit: `tile` is then inlined.
#[cfg(any(target_arch = "x86_64", target_arch = "wasm32"))]
macro_rules! dots_by_tiles {
    ($vector_unit:literal) => {
        /// `out[row] = query · codes[row]`; `codes` is `[out.len(), query.len()]`.
        #[target_feature(enable = $vector_unit)]
        pub fn dots(query: &[i16], codes: &[i8], out: &mut [i32]) {
            let width = query.len();
            let mut rows = codes.chunks_exact(super::ROWS * width);
            let (tiles, rest) = out.as_chunks_mut::<{ super::ROWS }>();
            for (out, rows) in tiles.iter_mut().zip(&mut rows) {
                *out = tile::<{ super::ROWS }>(query, rows);
            }
            for (out, row) in rest.iter_mut().zip(rows.remainder().chunks_exact(width)) {
                [*out] = tile::<1>(query, row);
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m128i, __m256i, _mm_add_epi32, _mm_cvtsi128_si32, _mm_loadu_si128, _mm_shuffle_epi32, _mm256_add_epi32,
        _mm256_castsi256_si128, _mm256_cvtepi8_epi16, _mm256_extracti128_si256, _mm256_loadu_si256, _mm256_madd_epi16,
        _mm256_setzero_si256,
    };

    use super::with_rest;

    const LANES: usize = 16;

    dots_by_tiles!("avx2");

    #[target_feature(enable = "avx2")]
    fn tile<const N: usize>(query: &[i16], rows: &[i8]) -> [i32; N] {
        let width = query.len();
        let mut sums = [_mm256_setzero_si256(); N];
        for (i, q) in query.as_chunks::<LANES>().0.iter().enumerate() {
            // SAFETY: a chunk of sixteen i16 is 32 bytes; the load asks for no alignment.
            let q = unsafe { _mm256_loadu_si256(q.as_ptr().cast::<__m256i>()) };
            for (n, sum) in sums.iter_mut().enumerate() {
                let codes = &rows[n * width + i * LANES..][..LANES];
                // SAFETY: sixteen codes are 16 bytes; the load asks for no alignment.
                let codes = unsafe { _mm_loadu_si128(codes.as_ptr().cast::<__m128i>()) };
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(_mm256_cvtepi8_epi16(codes), q));
            }
        }
        let mut out = [0; N];
        for (n, out) in out.iter_mut().enumerate() {
            let half = _mm_add_epi32(_mm256_castsi256_si128(sums[n]), _mm256_extracti128_si256::<1>(sums[n]));
            let half = _mm_add_epi32(half, _mm_shuffle_epi32::<0b01_00_11_10>(half));
            let half = _mm_add_epi32(half, _mm_shuffle_epi32::<0b10_11_00_01>(half));
            *out = with_rest(_mm_cvtsi128_si32(half), query, &rows[n * width..][..width], LANES);
        }
        out
    }
}

#[cfg(target_arch = "wasm32")]
mod simd128 {
    use std::arch::wasm32::{
        i16x8_extend_high_i8x16, i16x8_extend_low_i8x16, i32x4_add, i32x4_dot_i16x8, i32x4_extract_lane, i32x4_splat,
        v128, v128_load,
    };

    use super::with_rest;

    const LANES: usize = 16;

    dots_by_tiles!("simd128");

    #[target_feature(enable = "simd128")]
    fn tile<const N: usize>(query: &[i16], rows: &[i8]) -> [i32; N] {
        let width = query.len();
        let mut sums = [i32x4_splat(0); N];
        for (i, q) in query.as_chunks::<LANES>().0.iter().enumerate() {
            // SAFETY: sixteen i16 are two registers of 16 bytes; loads ask for no alignment.
            let (low, high) =
                unsafe { (v128_load(q.as_ptr().cast::<v128>()), v128_load(q[8..].as_ptr().cast::<v128>())) };
            for (n, sum) in sums.iter_mut().enumerate() {
                let codes = &rows[n * width + i * LANES..][..LANES];
                // SAFETY: sixteen codes are 16 bytes; the load asks for no alignment.
                let codes = unsafe { v128_load(codes.as_ptr().cast::<v128>()) };
                let products = i32x4_dot_i16x8(i16x8_extend_low_i8x16(codes), low);
                let more = i32x4_dot_i16x8(i16x8_extend_high_i8x16(codes), high);
                *sum = i32x4_add(*sum, i32x4_add(products, more));
            }
        }
        let mut out = [0; N];
        for (n, out) in out.iter_mut().enumerate() {
            let [a, b, c, d] = [
                i32x4_extract_lane::<0>(sums[n]),
                i32x4_extract_lane::<1>(sums[n]),
                i32x4_extract_lane::<2>(sums[n]),
                i32x4_extract_lane::<3>(sums[n]),
            ];
            *out = with_rest(a + b + c + d, query, &rows[n * width..][..width], LANES);
        }
        out
    }
}

/// The portable reference that every other version is tested against.
pub fn dot_portable(query: &[i16], codes: &[i8]) -> i32 {
    query.iter().zip(codes).map(|(q, c)| i32::from(*q) * i32::from(*c)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_agrees_with_the_reference_at_every_length_and_alignment() {
        let mut state = 7u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 16
        };
        let codes: Vec<i8> = (0..9 * 300).map(|_| next() as i8).collect();
        let query: Vec<i16> = (0..300).map(|_| (next() as i16) / 2).collect();
        for width in (1..140).chain([255, 256, 257]) {
            for offset in [0, 1, 3] {
                for n_rows in [1, 4, 5, 7] {
                    let codes = &codes[offset..][..n_rows * width];
                    let query = &query[offset..][..width];
                    let mut out = vec![0; n_rows];
                    dots(query, codes, &mut out);
                    let exact: Vec<i32> = codes.chunks_exact(width).map(|row| dot_portable(query, row)).collect();
                    assert_eq!(out, exact, "{n_rows} rows {width} wide");
                }
            }
        }
    }

    #[test]
    fn the_largest_sums_do_not_overflow() {
        let query = [i16::MAX, -i16::MAX, i16::MAX].repeat(171);
        let query = &query[..MAX_QUERY_SUM as usize / i16::MAX as usize];
        for sign in [1i8, -1] {
            let codes: Vec<i8> = query.iter().map(|q| if *q > 0 { 127 * sign } else { -127 * sign }).collect();
            let exact: i64 = query.iter().map(|q| i64::from(*q).abs() * 127).sum();
            assert_eq!(i64::from(dot(query, &codes)), exact * i64::from(sign));
        }
    }
}
