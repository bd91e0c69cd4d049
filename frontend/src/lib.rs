//! The app: ranks, plots and lets a person read preference pairs in the browser.
//!
//! One program is the page and the [`workers`] that rank, group and read maps for it (`main.rs` tells where it runs). The page
//! never scores anything and a worker never touches the document; they talk through [`protocol`]. Everything a reader
//! chooses is in the address ([`address`]), so copying the address shares the view. All data are fetched relative to
//! the document's base, so any static host at any sub-path will do.
//!
//! A bundle may also be opened from the reader's machine: then [`fetch`] reads what [`opened`] has.
//!
//! In the order data flow: [`fetch`] (bytes in) → [`ranker`] (scores, in the worker) → [`protocol`] → [`state`] (what
//! the page knows) → [`app`] (what the page shows). What retraining found, and the diagnosis of a ranking, come by a
//! shorter way: [`fetch`] → [`validation`], [`diagnosis`], [`discovery`] → [`app`]; what takes long of a discovery is done in a
//! worker, too: [`grouping`]. The map comes from [`mapping`], which reads it in a worker, through [`maps`]; [`assigning`] groups
//! its pairs. Which pairs of a
//! ranking are shown is [`listing`]'s business, with [`search`] for what they say and [`members`] for groups that they are in; what was decided about pairs is kept by
//! [`decisions`], and [`edit_sets`] are made of it; [`saving`] hands out files; [`covers`] says which texts are covered. Where a backend
//! serves the study, [`api`] asks it, and [`jobs`] follows what it runs. What tokens add to scores comes through [`token_parts`].

pub mod address;
pub mod api;
pub mod app;
pub mod assigning;
pub mod bundles;
pub mod cache;
pub mod clock;
pub mod covers;
pub mod decisions;
pub mod diagnosis;
pub mod discovery;
pub mod edit_sets;
pub mod fetch;
pub mod grouping;
pub mod jobs;
pub mod listing;
pub mod mapping;
pub mod maps;
pub mod members;
pub mod number;
pub mod opened;
pub mod parts;
pub mod protocol;
pub mod ranker;
pub mod ranker_client;
pub mod saving;
pub mod search;
pub mod state;
pub mod token_parts;
pub mod validation;
pub mod workers;
