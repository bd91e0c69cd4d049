//! The index of a study: pair vectors rotated, cut into blocks and stored in int8, so that a browser ranks before it has
//! them all. Comes after extraction, before behaviors look and ranking reads.
//!
//! [`rotation`] orders dimensions by what they hold.

pub mod rotation;

pub use rotation::Rotation;
