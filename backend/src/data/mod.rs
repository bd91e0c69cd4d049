//! Data in: preference data as people have it becomes the normalized pairs of a study, and pairs become tokens.
//!
//! [`import`] is the verb: [`inputs`] finds files, [`rows`] reads their rows (with [`columns`] for Parquet), [`forms`]
//! understands a row (with [`transcript`] for Human/Assistant text), [`pairs`] is the file that everything after it
//! reads, [`config`] records what was imported. [`template`] and [`tokens`] turn pairs into tokens. [`lines`] reads small tables.

pub mod columns;
pub mod config;
pub mod forms;
pub mod import;
pub mod inputs;
pub mod lines;
pub mod pairs;
pub mod parquet_file;
pub mod rows;
pub mod template;
pub mod tokens;
pub mod transcript;
