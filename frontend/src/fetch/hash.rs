//! The hash by which a file is known, once its bytes are here.

use js_sys::{Promise, Uint8Array};
use sha2::{Digest, Sha256};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

/// SHA-256 of `bytes` in lower-case hex: the browser's own where there is one (https and loopback), else ours.
pub async fn sha256(bytes: &Uint8Array) -> String {
    let digest = match browsers_sha256(bytes).await {
        Some(digest) => digest,
        None => Sha256::digest(bytes.to_vec()).to_vec(),
    };
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn browsers_sha256(bytes: &Uint8Array) -> Option<Vec<u8>> {
    let member = |object: &JsValue, name: &str| js_sys::Reflect::get(object, &name.into()).ok();
    let subtle = member(&member(&js_sys::global(), "crypto")?, "subtle").filter(JsValue::is_object)?;
    let digest: js_sys::Function = member(&subtle, "digest")?.dyn_into().ok()?;
    let promise: Promise = digest.call2(&subtle, &"SHA-256".into(), bytes).ok()?.dyn_into().ok()?;
    Some(Uint8Array::new(&JsFuture::from(promise).await.ok()?).to_vec())
}
