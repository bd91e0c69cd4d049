//! Files handed out by the page: made of pieces, saved as the browser saves downloads.

use js_sys::{Array, Promise};
use leptos::prelude::*;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, BlobPropertyBag, HtmlAnchorElement, Url};

/// A file that grows piece by piece. Pieces lie in the browser's memory, which may put them on disk, not in ours.
pub struct Growing {
    parts: Array,
    kind: &'static str,
}

impl Growing {
    /// An empty file of a MIME type.
    pub fn new(kind: &'static str) -> Self {
        Self { parts: Array::new(), kind }
    }

    /// Appends text.
    pub fn push(&self, text: &str) {
        // A blob of its own: a string would stay in JavaScript's memory until the end.
        self.parts.push(&self.blob(&Array::of1(&text.into())));
    }

    /// Offers the file as a download of this name.
    pub fn save(self, name: &str) {
        save(&self.blob(&self.parts), name);
    }

    fn blob(&self, parts: &Array) -> Blob {
        let options = BlobPropertyBag::new();
        options.set_type(self.kind);
        Blob::new_with_blob_sequence_and_options(parts, &options).expect("strings and blobs make a blob")
    }
}

/// Offers a file as a download of this name.
pub fn save(file: &Blob, name: &str) {
    let Ok(address) = Url::create_object_url_with_blob(file) else { return };
    if let Ok(link) = document().create_element("a") {
        let link: HtmlAnchorElement = link.unchecked_into();
        link.set_href(&address);
        link.set_download(name);
        link.click();
    }
    // The browser reads the file after this turn of the event loop.
    set_timeout(move || drop(Url::revoke_object_url(&address)), std::time::Duration::from_secs(60));
}

/// Lets the page answer before going on.
pub async fn pause() {
    let promise = Promise::new(&mut |resolve, _| {
        let resolve = move || drop(resolve.call0(&JsValue::NULL));
        set_timeout(resolve, std::time::Duration::ZERO);
    });
    // A timeout cannot fail.
    let _ = JsFuture::from(promise).await;
}

/// Milliseconds since the page was opened.
pub fn now_ms() -> f64 {
    web_sys::window().and_then(|window| window.performance()).map_or(0.0, |performance| performance.now())
}
