//! The app, compiled into the binary: what lies in `frontend/dist` when this file is compiled. Only this file changes with
//! it, so that a new app costs one link of the binary and nothing of the library.

use std::borrow::Cow;

#[derive(rust_embed::RustEmbed)]
#[folder = "../frontend/dist"]
// A binary without an app is built all the same, and says so when it is to serve.
#[allow_missing = true]
struct Built;

/// The app's files: paths and contents; none when there was no built app.
pub fn embedded() -> Vec<(String, Cow<'static, [u8]>)> {
    Built::iter().filter_map(|path| Some((path.clone().into_owned(), Built::get(&path)?.data))).collect()
}
