//! What browser tests and browser benchmarks share: a study made without any model, a static file server, and a real
//! Chromium to look at both.

pub mod browser;
pub mod packed;
pub mod page;
pub mod served;
pub mod site;
pub mod static_study;
