//! What the integration tests share: fixtures, and running the real binary.

pub mod binary;
pub mod chat_study;
pub mod checkpoint;
pub mod clock;
pub mod fixture;
pub mod loopback;
pub mod made_source;
pub mod made_study;
pub mod random_model;
pub mod retraining;
pub mod served;
pub mod testbeds;
pub mod vectors;
