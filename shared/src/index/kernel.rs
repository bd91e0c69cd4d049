//! Integer dot products of query blocks (int16) with row blocks (int8): exact, hence the same everywhere.

/// `Σ query[i]·codes[i]`. The query is scaled such that no sum of any row can overflow: Σ|query|·127 ≤ i32::MAX.
/// simd128 on wasm (i32x4_dot_i16x8), AVX2 where detected natively, portable elsewhere; all give the same integer.
pub fn dot(query: &[i16], codes: &[i8]) -> i32 { unimplemented!() }

/// `out[row] = dot(query, codes[row])` for row-major `codes` `[n_rows, query.len()]`: one dispatch for many rows.
pub fn dots(query: &[i16], codes: &[i8], out: &mut [i32]) { unimplemented!() }

/// The portable reference that every other version is tested against.
pub fn dot_portable(query: &[i16], codes: &[i8]) -> i32 { unimplemented!() }
