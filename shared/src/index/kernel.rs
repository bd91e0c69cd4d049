//! Integer dot products of query blocks (int16) with row blocks (int8): exact, hence the same everywhere.

/// `Σ query[i]·codes[i]`.
pub fn dot(query: &[i16], codes: &[i8]) -> i32 {
    dot_portable(query, codes)
}

/// `out[row] = dot(query, codes[row])` for row-major `codes` `[n_rows, query.len()]`.
pub fn dots(query: &[i16], codes: &[i8], out: &mut [i32]) {
    for (out, codes) in out.iter_mut().zip(codes.chunks_exact(query.len())) {
        *out = dot(query, codes);
    }
}

/// The portable reference that every other version is tested against.
pub fn dot_portable(query: &[i16], codes: &[i8]) -> i32 {
    query.iter().zip(codes).map(|(q, c)| i32::from(*q) * i32::from(*c)).sum()
}
