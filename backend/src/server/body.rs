//! Bodies of requests: an object in JSON, said to be JSON, and no more than may be.

use axum::body::Bytes;
use axum::extract::FromRequest;
use axum::extract::Request;
use axum::extract::rejection::BytesRejection;
use axum::http::header;
use serde::de::DeserializeOwned;

use super::State;
use super::error::RequestError;

/// Most bytes of a body.
pub const MAX_BYTES: usize = 64 << 20;

/// A body that is a `T` in JSON, an object: what is read from a list has fields without names, and those left out are as they are
/// when nobody asks.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned> FromRequest<State> for JsonBody<T> {
    type Rejection = RequestError;

    async fn from_request(request: Request, state: &State) -> Result<Self, RequestError> {
        let is_json = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.split(';').next().unwrap_or_default().trim() == "application/json");
        // A page of another site may send text without asking first, but not JSON.
        if !is_json {
            return Err(RequestError::NotJson);
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection: BytesRejection| {
            let text = rejection.body_text();
            match rejection.status().as_u16() {
                413 => RequestError::TooLarge(format!("a body of more than {MAX_BYTES} bytes")),
                _ => RequestError::Malformed(format!("the body cannot be read: {text}")),
            }
        })?;
        let malformed =
            |error: String| RequestError::Malformed(format!("the body is not what is expected here: {error}"));
        if bytes.trim_ascii_start().first() == Some(&b'[') {
            return Err(malformed("expected an object, {…}, got a list".into()));
        }
        serde_json::from_slice(&bytes).map(Self).map_err(|error| malformed(error.to_string()))
    }
}
