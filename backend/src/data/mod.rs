//! Data in: preference data as people have it becomes the normalized pairs of a study, and pairs become tokens.
//!
//! [`pairs`] is the file that everything after import reads.

pub mod pairs;
pub mod template;
pub mod tokens;
