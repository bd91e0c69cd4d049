//! The native half of Whence: models, extraction, training, files and HTTP.
//!
//! One room per verb, in the order data flows: [`data`] (import, pairs, chat templates) → [`model`] (architectures,
//! weights, sampling) → [`extract`] (pair vectors) → [`behavior`] (rollouts and behavior vectors) → [`judge`] (which
//! rollouts show it) → [`sweep`] (the behavior by layer) → [`attribute`] (the ranking), [`discover`] (groups without a
//! behavior), [`cluster`] and [`map`] (the pairs by their vectors) → [`edit`] (which pairs to drop or switch) → [`train`] →
//! [`validate`] (retraining, and what it changed) → [`view`] (what the app is shown) → [`report`] (a bundle of it), [`server`]
//! (it over HTTP, decisions in [`store`], verbs in [`jobs`]); [`organism`] makes the planted testbed; [`inspect`] says what a folder or file
//! is. [`study`] knows where everything lies on disk, [`files`] writes it atomically, [`hashes`] remembers what large files hash to, [`memory`] how much was
//! needed, [`device`] alone names compute backends.
//!
//! A verb never prints and never imports [`server`]: it reports through [`progress::Report`] and returns data, so the
//! command line, the HTTP API and the tests call the same function.

pub mod attribute;
pub mod behavior;
pub mod cluster;
pub mod convert;
pub mod data;
pub mod device;
pub mod discover;
pub mod edit;
pub mod evaluate;
pub mod extract;
pub mod files;
pub mod hashes;
pub mod index;
pub mod inspect;
pub mod jobs;
pub mod judge;
pub mod map;
pub mod memory;
pub mod model;
pub mod organism;
pub mod progress;
pub mod report;
pub mod server;
pub mod store;
pub mod study;
pub mod sweep;
pub mod train;
pub mod validate;
pub mod view;
