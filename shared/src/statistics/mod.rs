//! The statistics of retraining experiments: what an edit did, how sure that is, and what could have been seen at all.
//!
//! Outcomes in, a comparison out: [`compare::compare`] does all of it, for the command line and the app alike. In the
//! order things are built on each other:
//!
//! - [`outcomes`]: what was measured, and grids of seeds × prompts made of it;
//! - [`variance`]: how far seeds, prompts and rollouts scatter;
//! - [`interval`]: intervals that hold with few seeds, of rates, differences and relative reductions;
//! - [`bootstrap`], [`permutation`]: resampling, for comparison and as a test that assumes nothing;
//! - [`holm`]: p-values of several tests;
//! - [`power`]: the smallest effect that would be seen, and the seeds that an effect needs;
//! - [`effect`], [`dose`]: an arm against baseline and random, and over the number of pairs edited;
//! - [`conclusion`]: what may be said, in words;
//! - [`agreement`], [`wilson`]: a judge against labels;
//! - [`separation`]: how well a direction tells responses apart;
//! - [`distribution`], [`random`]: the mathematics underneath.
//!
//! Everything is a function of its arguments, random numbers included: they start from a seed that is given. Sums run in
//! a fixed order and elementary functions are `libm`'s, so a browser computes what a server does.

pub mod agreement;
pub mod bootstrap;
pub mod compare;
pub mod conclusion;
pub mod distribution;
pub mod dose;
pub mod effect;
pub mod holm;
pub mod interval;
pub mod outcomes;
pub mod permutation;
pub mod power;
pub mod random;
pub mod separation;
pub mod variance;
pub mod wilson;

#[cfg(test)]
mod simulation;
