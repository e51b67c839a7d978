//! Reading a request's body: never more than allowed, and never for longer.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::web::Payload;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::clock::Clock;

/// How much is read, and how long it may take altogether.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimit {
    /// At most so many bytes.
    pub bytes: u64,
    /// From the first look to the last byte.
    pub time: Duration,
}

/// Why a body could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum BodyError {
    /// It is longer than allowed, or says it will be.
    #[error("the body is longer than the {0} bytes allowed")]
    TooLong(u64),
    /// It did not come to its end in time.
    #[error("the body did not come to its end within {} seconds", .0.as_secs_f32())]
    TooSlow(Duration),
    /// It was cut off, or is not made as HTTP wants it.
    #[error("the body was cut off or is malformed")]
    Broken,
}

/// Reads the whole body. One whose declared length is over the limit is not read at all.
pub(super) async fn read_body(
    request: &HttpRequest,
    body: &mut Payload,
    limit: BodyLimit,
    clock: &Clock,
) -> Result<Vec<u8>, BodyError> {
    if declared_length(request).is_some_and(|length| length > limit.bytes) {
        return Err(BodyError::TooLong(limit.bytes));
    }
    let read = async {
        let mut bytes = Vec::new();
        while let Some(part) = body.next().await {
            let part = part.map_err(|_| BodyError::Broken)?;
            if (bytes.len() + part.len()) as u64 > limit.bytes {
                return Err(BodyError::TooLong(limit.bytes));
            }
            bytes.extend_from_slice(&part);
        }
        Ok(bytes)
    };
    clock.within(limit.time, read).await.unwrap_or(Err(BodyError::TooSlow(limit.time)))
}

/// Reads a body that is to be one JSON object. An array of the fields' values would do as well by the rules of serde; no
/// description of ours says so, and an order is not guessed at.
pub(super) fn read_object<T: DeserializeOwned>(body: &[u8]) -> serde_json::Result<T> {
    match body.trim_ascii_start() {
        [b'{', ..] => serde_json::from_slice(body),
        _ => Err(serde::de::Error::custom("it is no JSON object")),
    }
}

/// What `Content-Length` says, if it is there.
pub(super) fn declared_length(request: &HttpRequest) -> Option<u64> {
    request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
