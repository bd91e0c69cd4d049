//! Vectors from and for other programs: arrays in `.npy`, safetensors or Parquet files.

pub mod array;

pub use array::{Array, ArrayError};
