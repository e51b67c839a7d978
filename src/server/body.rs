//! Reading a request body, bounded in size and time.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::web::Payload;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::clock::Clock;

/// The bounds of a request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimit {
    /// Largest size in bytes.
    pub max_bytes: u64,
    /// Longest time to receive all of it.
    pub timeout: Duration,
}

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum BodyError {
    /// The body, or its declared length, is over the limit.
    #[error("the body is longer than {0} bytes")]
    TooLong(u64),
    /// The body did not end in time.
    #[error("the body was not complete after {} seconds", .0.as_secs_f32())]
    TooSlow(Duration),
    /// The connection ended early, or the body is not valid HTTP.
    #[error("the body was cut off or is malformed")]
    Malformed,
}

/// Reads the whole body. A body whose declared length is over the limit is not read at all.
pub(super) async fn read_body(
    request: &HttpRequest,
    body: &mut Payload,
    limit: BodyLimit,
    clock: &Clock,
) -> Result<Vec<u8>, BodyError> {
    if declared_length(request).is_some_and(|length| length > limit.max_bytes) {
        return Err(BodyError::TooLong(limit.max_bytes));
    }
    let read = async {
        let mut bytes = Vec::new();
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|_| BodyError::Malformed)?;
            if (bytes.len() + chunk.len()) as u64 > limit.max_bytes {
                return Err(BodyError::TooLong(limit.max_bytes));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    };
    clock.within(limit.timeout, read).await.unwrap_or(Err(BodyError::TooSlow(limit.timeout)))
}

/// Parses a body that must be one JSON object. serde would also accept an array of the fields in their order,
/// which the API does not document.
pub(super) fn parse_object<T: DeserializeOwned>(body: &[u8]) -> serde_json::Result<T> {
    match body.trim_ascii_start() {
        [b'{', ..] => serde_json::from_slice(body),
        _ => Err(serde::de::Error::custom("not a JSON object")),
    }
}

/// The value of `Content-Length`, if the request has a valid one.
pub(super) fn declared_length(request: &HttpRequest) -> Option<u64> {
    request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
