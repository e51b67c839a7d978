//! The provider's signature on a callback, where it signs: without it nothing is taken.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use actix_web::http::header::{HeaderMap, HeaderName};
use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::job::JobId;
use crate::secret::sha256_hex;
use crate::settings::{CallbackSignature, SignatureScheme};
use crate::store::deliveries::Kept;

/// A signed time may be so far from ours, before or after (standardwebhooks.com: "within some allowable tolerance").
const TOLERANCE: Duration = Duration::from_secs(5 * 60);
/// So long a message's id is remembered: past that, its time alone gives it away.
const REMEMBERED_FOR: Duration = Duration::from_secs(10 * 60);
/// So many ids are remembered; the oldest goes first. Who can sign so many need not repeat any.
const REMEMBERED: usize = 10_000;
/// A longer id is nobody's.
const LONGEST_ID: usize = 256;

/// Why a callback is not the provider's. None of them shows what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Unsigned {
    /// A header is missing, there twice, or not of its kind.
    #[error("the header `{0}` is missing or malformed")]
    Malformed(&'static str),
    /// The signed time is not now.
    #[error("it was signed more than five minutes before or after our time: check both clocks")]
    NotNow,
    /// No secret of ours makes this signature.
    #[error("no secret of `callbacks.signature.secret_file` makes this signature")]
    Wrong,
}

/// Checks signatures. Shared by all connections.
#[derive(Debug)]
pub(super) struct Signature {
    scheme: SignatureScheme,
    /// The headers of signature, id and time.
    headers: [HeaderName; 3],
    keys: Vec<Zeroizing<Vec<u8>>>,
    repeats: Mutex<BTreeMap<Message, (Timestamp, Kept)>>,
}

/// What makes two deliveries one: a sender that got no answer sends the same again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Message {
    job: JobId,
    id: String,
    sha256: String,
}

impl Signature {
    /// For these settings. `None` for names that no HTTP header can have, or secrets that are none, which the settings
    /// do not let through.
    pub fn new(settings: &CallbackSignature) -> Option<Self> {
        let stem = settings.header.strip_suffix("-signature").unwrap_or(&settings.header);
        let name = |name: &str| HeaderName::from_bytes(name.as_bytes()).ok();
        let headers =
            [name(&settings.header)?, name(&format!("{stem}-id"))?, name(&format!("{stem}-timestamp"))?];
        let keys: Option<Vec<_>> =
            settings.secrets.iter().map(|secret| settings.scheme.key(secret)).collect();
        Some(Self { scheme: settings.scheme, headers, keys: keys?, repeats: Mutex::default() })
    }

    /// Whether the provider has signed this. Every key is tried on every signature, whatever the others said.
    ///
    /// # Errors
    /// See [`Unsigned`].
    pub fn admit(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Option<String>, Unsigned> {
        let [signature, id, time] = &self.headers;
        let signature = one(headers, signature).ok_or(Unsigned::Malformed("signature"))?;
        match self.scheme {
            SignatureScheme::HmacSha256Hex => {
                let hex = signature.strip_prefix("sha256=").unwrap_or(signature);
                let made = HEXLOWER_PERMISSIVE
                    .decode(hex.as_bytes())
                    .map_err(|_| Unsigned::Malformed("signature"))?;
                self.verify(&[body], &[made])?;
                Ok(None)
            }
            SignatureScheme::StandardWebhooks => {
                let id = one(headers, id)
                    .filter(|id| !id.is_empty() && id.len() <= LONGEST_ID)
                    .ok_or(Unsigned::Malformed("id"))?;
                let time = one(headers, time).ok_or(Unsigned::Malformed("timestamp"))?;
                let seconds: u32 = time.parse().map_err(|_| Unsigned::Malformed("timestamp"))?;
                let signed_at = Timestamp::from_millis(i64::from(seconds) * 1000);
                // Of several, those of another version are another reader's.
                let made: Vec<Vec<u8>> = signature
                    .split(' ')
                    .filter_map(|one| BASE64.decode(one.strip_prefix("v1,")?.as_bytes()).ok())
                    .collect();
                self.verify(&[id.as_bytes(), b".", time.as_bytes(), b".", body], &made)?;
                if signed_at.since(now).max(now.since(signed_at)) > TOLERANCE {
                    return Err(Unsigned::NotNow);
                }
                Ok(Some(id.to_owned()))
            }
        }
    }

    fn verify(&self, content: &[&[u8]], made: &[Vec<u8>]) -> Result<(), Unsigned> {
        let mut right = false;
        for key in &self.keys {
            let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { continue };
            for part in content {
                mac.update(part);
            }
            for made in made {
                right |= mac.clone().verify_slice(made).is_ok();
            }
        }
        if right { Ok(()) } else { Err(Unsigned::Wrong) }
    }

    /// The proof that this message was kept before, if it was, a short while ago.
    pub fn repeated(&self, message: &Message, now: Timestamp) -> Option<Kept> {
        let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
        repeats.retain(|_, (at, _)| now.since(*at) < REMEMBERED_FOR);
        repeats.get(message).map(|(_, kept)| kept.clone())
    }

    /// Remembers that this message is kept.
    pub fn remember(&self, message: Message, kept: &Kept, now: Timestamp) {
        let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
        if repeats.len() >= REMEMBERED
            && let Some(oldest) =
                repeats.iter().min_by_key(|(_, (at, _))| *at).map(|(message, _)| message.clone())
        {
            repeats.remove(&oldest);
        }
        repeats.insert(message, (now, kept.clone()));
    }
}

impl Message {
    /// Of this id, for this job.
    pub fn new(job: JobId, id: String, body: &[u8]) -> Self {
        Self { job, id, sha256: sha256_hex(body) }
    }
}

/// The one header of this name; `None` if there is none, or more than one, or no plain text.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
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

    /// The example that the libraries of Svix and Standard Webhooks are tested with.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIME: &str = "1614265330";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const MADE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    const NOW: Timestamp = Timestamp::from_millis(1_614_265_330_000);

    fn signature(scheme: SignatureScheme, header: &str, secrets: &[&str]) -> Signature {
        let secrets = secrets.iter().map(|secret| Secret::new(*secret)).collect();
        Signature::new(&CallbackSignature { scheme, header: header.into(), secrets }).expect("settings")
    }

    fn standard() -> Signature {
        signature(SignatureScheme::StandardWebhooks, "webhook-signature", &[SECRET])
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
    fn the_public_example_is_admitted_and_nothing_beside_it() {
        let others = [MADE, "v1a,AAAA", "v2,AAAA"].join(" ");
        let cases = [
            (ID, TIME, MADE, Ok(Some(ID.to_owned()))),
            (ID, TIME, &others, Ok(Some(ID.to_owned()))),
            (ID, TIME, &MADE.replacen("v1,", "v1,AAAA v1,", 1), Ok(Some(ID.to_owned()))),
            (ID, TIME, &MADE.replace("v1,", "v2,"), Err(Unsigned::Wrong)),
            (ID, TIME, &MADE.replace('g', "h"), Err(Unsigned::Wrong)),
            (ID, TIME, &MADE[3..], Err(Unsigned::Wrong)),
            (ID, TIME, "", Err(Unsigned::Wrong)),
            ("msg_other", TIME, MADE, Err(Unsigned::Wrong)),
            (ID, "1614265331", MADE, Err(Unsigned::Wrong)),
            (ID, "now", MADE, Err(Unsigned::Malformed("timestamp"))),
            (ID, "-1", MADE, Err(Unsigned::Malformed("timestamp"))),
            ("", TIME, MADE, Err(Unsigned::Malformed("id"))),
        ];
        for (id, time, made, expected) in cases {
            assert_eq!(standard().admit(&signed(id, time, made), BODY, NOW), expected, "{id} {time} {made}");
        }
        assert_eq!(standard().admit(&signed(ID, TIME, MADE), b"{}", NOW), Err(Unsigned::Wrong));
        let twice = headers(&[
            ("webhook-id", ID),
            ("webhook-timestamp", TIME),
            ("webhook-signature", MADE),
            ("webhook-signature", MADE),
        ]);
        assert_eq!(standard().admit(&twice, BODY, NOW), Err(Unsigned::Malformed("signature")));
        assert_eq!(standard().admit(&headers(&[]), BODY, NOW), Err(Unsigned::Malformed("signature")));
    }

    #[test]
    fn a_signed_time_counts_five_minutes_before_and_after() {
        let headers = signed(ID, TIME, MADE);
        for (seconds, admitted) in [(299, true), (300, true), (301, false), (360, false)] {
            let by = Duration::from_secs(seconds);
            for now in [NOW.plus(by), NOW.minus(by)] {
                assert_eq!(standard().admit(&headers, BODY, now).is_ok(), admitted, "{seconds} s");
            }
        }
    }

    #[test]
    fn any_of_several_secrets_will_do_and_the_headers_may_have_another_beginning() {
        let scheme = SignatureScheme::StandardWebhooks;
        let several = signature(scheme, "svix-signature", &["whsec_AAAA", SECRET]);
        let headers = headers(&[("svix-id", ID), ("svix-timestamp", TIME), ("svix-signature", MADE)]);
        assert!(several.admit(&headers, BODY, NOW).is_ok());
        let other = signature(scheme, "svix-signature", &["whsec_AAAA"]);
        assert_eq!(other.admit(&headers, BODY, NOW), Err(Unsigned::Wrong));
    }

    #[test]
    fn github_s_example_is_admitted_with_and_without_its_prefix() {
        let scheme = SignatureScheme::HmacSha256Hex;
        let github = signature(scheme, "x-hub-signature-256", &["It's a Secret to Everybody"]);
        let hex = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let prefixed = format!("sha256={hex}");
        let upper = hex.to_uppercase();
        for (made, expected) in [
            (hex, Ok(None)),
            (&prefixed, Ok(None)),
            (&upper, Ok(None)),
            (&hex[2..], Err(Unsigned::Wrong)),
            (&hex[1..], Err(Unsigned::Malformed("signature"))),
            ("", Err(Unsigned::Wrong)),
            ("sha1=00", Err(Unsigned::Malformed("signature"))),
        ] {
            let headers = headers(&[("x-hub-signature-256", made)]);
            assert_eq!(github.admit(&headers, b"Hello, World!", NOW), expected, "{made}");
        }
    }
}
