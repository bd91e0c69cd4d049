//! The statistics of retraining experiments: what an edit did, how sure that is, and what could have been seen at all.

pub mod bootstrap;
pub mod distribution;
pub mod holm;
pub mod interval;
pub mod outcomes;
pub mod random;
pub mod variance;

#[cfg(test)]
mod simulation;
