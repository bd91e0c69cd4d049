//! What the integration tests share: fixtures, and running the real binary.

pub mod binary;
pub mod checkpoint;
pub mod fixture;
pub mod loopback;
pub mod made_study;
pub mod vectors;
