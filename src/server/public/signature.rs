//! Verifies the provider's signature of a callback, where one is configured, and recognises repeated
//! deliveries.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::http::header::{HeaderMap, HeaderName};
use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use sha2::Sha256;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::job::JobId;
use crate::settings::{CallbackSignature, SignatureScheme};
use crate::sha256::sha256_hex;
use crate::store::deliveries::Kept;

/// Largest difference between the signed time and ours (standardwebhooks.com: "within some allowable
/// tolerance").
const TOLERANCE: Duration = Duration::from_secs(5 * 60);
/// How long a message is remembered. A later repeat fails the time check.
const MEMORY_TIME: Duration = Duration::from_secs(10 * 60);
/// Most messages remembered; the oldest is forgotten first. A sender who can sign this many needs no
/// remembered.
const MAX_REMEMBERED: usize = 10_000;
/// Longest message id, in bytes.
const MAX_ID_LENGTH: usize = 256;

/// Why a signature is rejected. The messages show nothing of what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum SignatureError {
    /// A header is missing, repeated or malformed.
    #[error("the header `{0}` is missing or malformed")]
    Malformed(&'static str),
    /// The signed time is too far from ours.
    #[error("it was signed more than five minutes before or after our time: check both clocks")]
    WrongTime,
    /// No configured secret produces this signature.
    #[error("no secret of `callbacks.signature.secret_file` produces this signature")]
    Mismatch,
}

/// Verifies signatures. Shared by all connections.
#[derive(Debug)]
pub(super) struct SignatureVerifier {
    scheme: SignatureScheme,
    /// The headers of the signature, the message id and the time.
    headers: [HeaderName; 3],
    keys: Vec<Zeroizing<Vec<u8>>>,
    /// The latest messages, with when and as what they were stored.
    remembered: Mutex<BTreeMap<SignedMessage, (Timestamp, Kept)>>,
}

/// What two deliveries of one message have in common: a sender that got no answer sends the same again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SignedMessage {
    job: JobId,
    id: String,
    sha256: String,
}

impl SignatureVerifier {
    /// `None` if a header name or a secret is invalid; the settings reject these.
    pub fn new(settings: &CallbackSignature) -> Option<Self> {
        let stem = settings.header.strip_suffix("-signature").unwrap_or(&settings.header);
        let name = |name: &str| HeaderName::from_bytes(name.as_bytes()).ok();
        let headers =
            [name(&settings.header)?, name(&format!("{stem}-id"))?, name(&format!("{stem}-timestamp"))?];
        let keys: Option<Vec<_>> =
            settings.secrets.iter().map(|secret| settings.scheme.key(secret)).collect();
        Some(Self { scheme: settings.scheme, headers, keys: keys?, remembered: Mutex::default() })
    }

    /// Verifies the signature and returns the message id, if the scheme has one. Every key is tried on every
    /// signature, so that the time taken tells nothing about the keys.
    ///
    /// # Errors
    /// See [`SignatureError`].
    pub fn verify(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Option<String>, SignatureError> {
        let [signature, id, time] = &self.headers;
        let signature = single_header(headers, signature).ok_or(SignatureError::Malformed("signature"))?;
        match self.scheme {
            SignatureScheme::HmacSha256Hex => {
                let hex = signature.strip_prefix("sha256=").unwrap_or(signature);
                let mac = HEXLOWER_PERMISSIVE
                    .decode(hex.as_bytes())
                    .map_err(|_| SignatureError::Malformed("signature"))?;
                self.check_mac(&[body], &[mac])?;
                Ok(None)
            }
            SignatureScheme::StandardWebhooks => {
                let id = single_header(headers, id)
                    .filter(|id| !id.is_empty() && id.len() <= MAX_ID_LENGTH)
                    .ok_or(SignatureError::Malformed("id"))?;
                let time = single_header(headers, time).ok_or(SignatureError::Malformed("timestamp"))?;
                let seconds: u32 = time.parse().map_err(|_| SignatureError::Malformed("timestamp"))?;
                let signed_at = Timestamp::from_millis(i64::from(seconds) * 1000);
                // Signatures of other versions are for other receivers.
                let macs: Vec<Vec<u8>> = signature
                    .split(' ')
                    .filter_map(|entry| BASE64.decode(entry.strip_prefix("v1,")?.as_bytes()).ok())
                    .collect();
                self.check_mac(&[id.as_bytes(), b".", time.as_bytes(), b".", body], &macs)?;
                if signed_at.since(now).max(now.since(signed_at)) > TOLERANCE {
                    return Err(SignatureError::WrongTime);
                }
                Ok(Some(id.to_owned()))
            }
        }
    }

    fn check_mac(&self, content: &[&[u8]], candidates: &[Vec<u8>]) -> Result<(), SignatureError> {
        let mut matches = false;
        for key in &self.keys {
            let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { continue };
            for part in content {
                mac.update(part);
            }
            for candidate in candidates {
                matches |= mac.clone().verify_slice(candidate).is_ok();
            }
        }
        if matches { Ok(()) } else { Err(SignatureError::Mismatch) }
    }

    /// The proof that this message was stored a short while ago, if it was.
    pub fn find_repeat(&self, message: &SignedMessage, now: Timestamp) -> Option<Kept> {
        let mut remembered = self.remembered.lock();
        remembered.retain(|_, (at, _)| now.since(*at) < MEMORY_TIME);
        remembered.get(message).map(|(_, kept)| kept.clone())
    }

    /// Remembers that this message is stored.
    pub fn remember(&self, message: SignedMessage, kept: &Kept, now: Timestamp) {
        let mut remembered = self.remembered.lock();
        if remembered.len() >= MAX_REMEMBERED
            && let Some(oldest) =
                remembered.iter().min_by_key(|(_, (at, _))| *at).map(|(message, _)| message.clone())
        {
            remembered.remove(&oldest);
        }
        remembered.insert(message, (now, kept.clone()));
    }
}

impl SignedMessage {
    pub fn new(job: JobId, id: String, body: &[u8]) -> Self {
        Self { job, id, sha256: sha256_hex(body) }
    }
}

/// The value of a header that must occur once; `None` if it is missing, repeated or not ASCII.
fn single_header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut all = headers.get_all(name);
    match (all.next(), all.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;
    use crate::secret::Secret;

    /// The test vector of the Svix and Standard Webhooks libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIME: &str = "1614265330";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    const NOW: Timestamp = Timestamp::from_millis(1_614_265_330_000);

    fn verifier(scheme: SignatureScheme, header: &str, secrets: &[&str]) -> SignatureVerifier {
        let secrets = secrets.iter().map(|secret| Secret::new(*secret)).collect();
        SignatureVerifier::new(&CallbackSignature { scheme, header: header.into(), secrets })
            .expect("settings")
    }

    fn standard_verifier() -> SignatureVerifier {
        verifier(SignatureScheme::StandardWebhooks, "webhook-signature", &[SECRET])
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers
                .append(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header value"));
        }
        headers
    }

    fn signed(id: &str, time: &str, made: &str) -> HeaderMap {
        headers(&[("webhook-id", id), ("webhook-timestamp", time), ("webhook-signature", made)])
    }

    #[test]
    fn only_the_exact_test_vector_is_accepted() {
        let others = [SIGNATURE, "v1a,AAAA", "v2,AAAA"].join(" ");
        let cases = [
            (ID, TIME, SIGNATURE, Ok(Some(ID.to_owned()))),
            (ID, TIME, &others, Ok(Some(ID.to_owned()))),
            (ID, TIME, &SIGNATURE.replacen("v1,", "v1,AAAA v1,", 1), Ok(Some(ID.to_owned()))),
            (ID, TIME, &SIGNATURE.replace("v1,", "v2,"), Err(SignatureError::Mismatch)),
            (ID, TIME, &SIGNATURE.replace('g', "h"), Err(SignatureError::Mismatch)),
            (ID, TIME, &SIGNATURE[3..], Err(SignatureError::Mismatch)),
            (ID, TIME, "", Err(SignatureError::Mismatch)),
            ("msg_other", TIME, SIGNATURE, Err(SignatureError::Mismatch)),
            (ID, "1614265331", SIGNATURE, Err(SignatureError::Mismatch)),
            (ID, "now", SIGNATURE, Err(SignatureError::Malformed("timestamp"))),
            (ID, "-1", SIGNATURE, Err(SignatureError::Malformed("timestamp"))),
            ("", TIME, SIGNATURE, Err(SignatureError::Malformed("id"))),
        ];
        for (id, time, made, expected) in cases {
            assert_eq!(
                standard_verifier().verify(&signed(id, time, made), BODY, NOW),
                expected,
                "{id} {time} {made}"
            );
        }
        assert_eq!(
            standard_verifier().verify(&signed(ID, TIME, SIGNATURE), b"{}", NOW),
            Err(SignatureError::Mismatch)
        );
        let twice = headers(&[
            ("webhook-id", ID),
            ("webhook-timestamp", TIME),
            ("webhook-signature", SIGNATURE),
            ("webhook-signature", SIGNATURE),
        ]);
        assert_eq!(
            standard_verifier().verify(&twice, BODY, NOW),
            Err(SignatureError::Malformed("signature"))
        );
        assert_eq!(
            standard_verifier().verify(&headers(&[]), BODY, NOW),
            Err(SignatureError::Malformed("signature"))
        );
    }

    #[test]
    fn signed_time_is_accepted_within_five_minutes() {
        let headers = signed(ID, TIME, SIGNATURE);
        for (seconds, accepted) in [(299, true), (300, true), (301, false), (360, false)] {
            let offset = Duration::from_secs(seconds);
            for now in [NOW.plus(offset), NOW.minus(offset)] {
                assert_eq!(standard_verifier().verify(&headers, BODY, now).is_ok(), accepted, "{seconds} s");
            }
        }
    }

    #[test]
    fn any_configured_secret_and_header_prefix_is_accepted() {
        let scheme = SignatureScheme::StandardWebhooks;
        let several = verifier(scheme, "svix-signature", &["whsec_AAAA", SECRET]);
        let headers = headers(&[("svix-id", ID), ("svix-timestamp", TIME), ("svix-signature", SIGNATURE)]);
        assert!(several.verify(&headers, BODY, NOW).is_ok());
        let other = verifier(scheme, "svix-signature", &["whsec_AAAA"]);
        assert_eq!(other.verify(&headers, BODY, NOW), Err(SignatureError::Mismatch));
    }

    #[test]
    fn github_test_vector_is_accepted_with_and_without_prefix() {
        let scheme = SignatureScheme::HmacSha256Hex;
        let github = verifier(scheme, "x-hub-signature-256", &["It's a Secret to Everybody"]);
        let hex = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let prefixed = format!("sha256={hex}");
        let upper = hex.to_uppercase();
        for (made, expected) in [
            (hex, Ok(None)),
            (&prefixed, Ok(None)),
            (&upper, Ok(None)),
            (&hex[2..], Err(SignatureError::Mismatch)),
            (&hex[1..], Err(SignatureError::Malformed("signature"))),
            ("", Err(SignatureError::Mismatch)),
            ("sha1=00", Err(SignatureError::Malformed("signature"))),
        ] {
            let headers = headers(&[("x-hub-signature-256", made)]);
            assert_eq!(github.verify(&headers, b"Hello, World!", NOW), expected, "{made}");
        }
    }
}
