//! The browsable index of one layer: rank before the download ends, and know how sure it is.
//!
//! Pair vectors are normalised to unit length, rotated so that the first dimensions hold most of what varies, cut into
//! blocks of growing width, and stored as int8 with what each block leaves out, per row. After any prefix of blocks a
//! row's score is known within hard bounds; rows that cannot be among the wanted ones any more are never read again.
//!
//! ```text
//! query ──────► [`query`]: rotated direction, its own error, blocks in int16
//! block file ─► [`block`]: the format ─► [`kernel`]: integer dot products ─► [`bounds`]: score ± radius of every row
//!                                                             [`select`]: which rows are decided, which to read next
//! undecided rows' own vectors ─► [`crate::rank::Probe`] ─► exact scores, certified ranking
//! ```
//!
//! # Why the bounds hold
//!
//! For a unit row w and a unit query q, both rotated, and blocks b of dimensions read so far:
//!
//! ```text
//! q·w = Σ_b sq_b·s_b·(cq_b · c_b)        what the integers say; s, sq: scales; c, cq: codes
//!     + Σ_b q_b · e_b                     |…| ≤ ‖q_b‖ · error_norm_b
//!     + Σ_b eq_b · (s_b c_b)              |…| ≤ ‖eq_b‖ · (1 + error_norm_b)
//!     + q_rest · w_rest                   |…| ≤ ‖q_rest‖ · tail_norm      (Cauchy–Schwarz)
//! ```
//!
//! Norms are rounded up when stored, everything else is computed in f64, and [`bounds::SLACK`] covers its rounding and
//! that of the rotation.

pub mod block;
pub mod bounds;
pub mod fingerprint;
pub mod kernel;
pub mod manifest;
pub mod quantize;
pub mod query;
pub mod select;
#[cfg(test)]
mod tests;
