//! Whence's analysis: the part that runs natively and in the browser with the same result.
//!
//! Plain data and pure functions. This crate never does IO, never starts a thread and never reads a clock: the backend
//! and the app bring bytes in and carry results out. Sums run in a fixed order and ties are broken by row number, so a
//! ranking computed in a browser equals the one on a server bit for bit.
//!
//! In the order data flows:
//!
//! - [`pair`]: preference pairs, the unit that everything is about;
//! - [`shard`]: the file format of pair vectors and behavior vectors (safetensors);
//! - [`dot`]: dot products and norms with a fixed summation order;
//! - [`direction`]: from many behavior vectors to one direction;
//! - [`stability`]: whether two halves of the test prompts give the same direction and ranking;
//! - [`rank`]: cosine scores, the ranking, its histogram;
//! - [`diagnosis`]: whether editing the first pairs of a ranking is likely to help;
//! - [`logistic`]: the regression that a probe is trained with;
//! - [`quality`]: how good a ranking is when the truth is known;
//! - [`statistics`]: what retraining without some pairs did, and how sure that is;
//! - [`validation`]: what retraining leaves to be read: the report, the runs, their training;
//! - [`cluster`]: groups of prompts and of pairs, their words and sources;
//! - [`discovery`]: prompts and pairs grouped by what they have to do with each other;
//! - [`changes`]: what tuning changed in the response to each prompt;
//! - [`columns`]: source, lengths and metadata of every pair, as one compact file;
//! - [`filter`]: which pairs of a ranking are shown, and in which order;
//! - [`strata`]: scores of pairs by the length of a response;
//! - [`edit`]: what is decided about pairs, and what that makes of them;
//! - [`spans`]: row numbers as short text;
//! - [`clustering`], [`map`]: clusters of pairs by their vectors, and where pairs lie on a plane, as files;
//! - [`plane`]: points on a plane as a person looks at them: viewport, lasso, what is where, a picture;
//! - [`sweep`]: a behavior by layer: what `whence sweep` leaves to be read;
//! - [`tokens`]: what each token adds to a pair's score: what `whence tokens` leaves to be read;
//! - [`form`], [`refusal`]: the form of a response, and whether it refuses;
//! - [`diff`]: the word-level difference of two responses;
//! - [`study`]: what a study looks like from outside, as JSON;
//! - [`api`], [`jobs`]: what the app and a server say to each other beyond that: decisions, edit sets, errors; verbs that run;
//! - [`shares`]: read-only links to a part of a study, and bundles of it;
//! - [`bundle`], [`archive`]: a study as files, and reading them out of a zip;
//! - [`json`]: JSON, read;
//! - [`shell`]: command lines as people type them.

pub mod api;
pub mod archive;
pub mod bundle;
pub mod changes;
pub mod cluster;
pub mod clustering;
pub mod columns;
pub mod diagnosis;
pub mod diff;
pub mod direction;
pub mod discovery;
pub mod dot;
pub mod edit;
pub mod filter;
pub mod form;
pub mod index;
pub mod jobs;
pub mod json;
mod lanes;
pub mod logistic;
pub mod map;
pub mod pair;
pub mod plane;
pub mod quality;
pub mod rank;
pub mod refusal;
pub mod shard;
pub mod shares;
pub mod shell;
pub mod spans;
pub mod stability;
pub mod statistics;
pub mod strata;
pub mod study;
pub mod sweep;
mod tensors;
pub mod tokens;
pub mod validation;
