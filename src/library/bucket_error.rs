//! What is wrong with the bucket, in a sentence for people: never with a credential or a signed address.

use std::error::Error;

use object_store::client::{HttpError, HttpErrorKind};
use thiserror::Error;

use crate::fs::FsError;

/// How much of an answer is repeated, in characters.
const MAX_ANSWER: usize = 200;

/// Why the bucket could not be used.
#[derive(Debug, Error)]
pub enum BucketError {
    /// No key to sign requests with.
    #[error(
        "no keys for {0} are set: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or `storage.access_key_id` and \
         `storage.secret_key_file`"
    )]
    NoKeys(String),
    /// It cannot be addressed at all: a bad endpoint or name, or no TLS.
    #[error("`storage`: {0}")]
    Settings(String),
    /// Nobody answers.
    #[error("the bucket {bucket} cannot be reached: {why}")]
    Unreachable { bucket: String, why: String },
    /// The keys are wrong, or may not do this.
    #[error("the bucket {bucket} refuses the keys: {why}")]
    Denied { bucket: String, why: String },
    /// It does not exist, or an object does not.
    #[error("the bucket {bucket} answers that there is nothing: {why}")]
    NotFound { bucket: String, why: String },
    /// Any other failure.
    #[error("the bucket {bucket} failed: {why}")]
    Failed { bucket: String, why: String },
    /// What was uploaded is not what is there.
    #[error("the bucket {bucket} does not have {key} whole: it is uploaded again")]
    NotWhole { bucket: String, key: String },
    /// The file to upload cannot be read.
    #[error(transparent)]
    File(#[from] FsError),
}

impl BucketError {
    pub(super) fn new(bucket: &str, error: &object_store::Error) -> Self {
        let (bucket, why) = (bucket.to_owned(), describe(error));
        match error {
            object_store::Error::NotFound { .. } => Self::NotFound { bucket, why },
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                Self::Denied { bucket, why }
            }
            _ if is_unreachable(error) => Self::Unreachable { bucket, why },
            _ => Self::Failed { bucket, why },
        }
    }
}

fn causes(error: &object_store::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let outermost: &(dyn Error + 'static) = error;
    std::iter::successors(Some(outermost), |cause| (*cause).source())
}

fn is_unreachable(error: &object_store::Error) -> bool {
    let kinds = causes(error).filter_map(|cause| cause.downcast_ref::<HttpError>());
    kinds.into_iter().any(|cause| {
        use HttpErrorKind::{Connect, Interrupted, Request, Timeout};
        matches!(cause.kind(), Connect | Request | Timeout | Interrupted)
    })
}

/// Whether the store answers that it has no conditional writes.
pub(super) fn has_no_conditions(error: &object_store::Error) -> bool {
    causes(error).any(|cause| cause.to_string().contains("501 Not Implemented"))
}

/// The code and the message of an S3 answer, or the innermost cause. The outer ones repeat the address.
fn describe(error: &object_store::Error) -> String {
    let texts: Vec<String> = causes(error).map(ToString::to_string).collect();
    let answer = texts.iter().find_map(|text| Some((between(text, "Code")?, between(text, "Message"))));
    let why = match answer {
        Some((code, message)) => message.map_or(code.to_owned(), |message| format!("{code}: {message}")),
        None => {
            let innermost = texts.last().map_or("", String::as_str);
            let status = innermost.split_once("status code: ").map_or(innermost, |(_, status)| status);
            status.trim_end_matches(": ").to_owned()
        }
    };
    why.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_ANSWER).collect()
}

/// The text of an XML element.
fn between<'t>(text: &'t str, element: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(&format!("<{element}>"))?;
    Some(rest.split_once(&format!("</{element}>"))?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_is_described_by_its_code_and_message() {
        let answer = |text: &str| object_store::Error::PermissionDenied {
            path: "k".into(),
            source: format!("Error performing PUT http://x/k - Server returned non-2xx status code: {text}")
                .into(),
        };
        for (text, why) in [
            (
                "403 Forbidden: <Error><Code>InvalidAccessKeyId</Code><Message>no such key</Message></Error>",
                "InvalidAccessKeyId: no such key",
            ),
            ("403 Forbidden: <Error><Code>AccessDenied</Code></Error>", "AccessDenied"),
            ("403 Forbidden: ", "403 Forbidden"),
        ] {
            let error = BucketError::new("s3://reels", &answer(text));
            assert_eq!(error.to_string(), format!("the bucket s3://reels refuses the keys: {why}"));
        }
    }
}
