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
    for (out, row) in out.iter_mut().zip(codes.chunks_exact(query.len())) {
        *out = dot_portable(query, row);
    }
}

/// The portable reference that every other version is tested against.
pub fn dot_portable(query: &[i16], codes: &[i8]) -> i32 {
    query.iter().zip(codes).map(|(q, c)| i32::from(*q) * i32::from(*c)).sum()
}
