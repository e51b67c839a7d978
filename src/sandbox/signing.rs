//! Signatures of callbacks, as some providers send them.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::clock::Timestamp;
use crate::secret::Secret;

/// How callbacks are signed.
#[derive(Clone, Debug)]
pub struct Signing {
    pub scheme: Scheme,
    /// The key: for [`Scheme::StandardWebhooks`] `whsec_` and base64, or the bytes themselves.
    pub secret: Secret,
    /// How far the signer's clock is ahead; negative: behind.
    pub seconds_ahead: i64,
}

/// A scheme for signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `webhook-id`, `webhook-timestamp`, `webhook-signature` (standardwebhooks.com).
    StandardWebhooks,
    /// `x-hub-signature-256: sha256=...` over the body, as GitHub does.
    HmacSha256Hex,
}

impl Scheme {
    const NAMES: [(Self, &'static str); 2] =
        [(Self::StandardWebhooks, "standard-webhooks"), (Self::HmacSha256Hex, "hmac-sha256-hex")];
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES.iter().find(|(scheme, _)| scheme == self).map_or("", |(_, name)| name))
    }
}

impl FromStr for Scheme {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::NAMES.iter().find(|(_, name)| *name == text);
        known
            .map(|(scheme, _)| *scheme)
            .ok_or_else(|| "write standard-webhooks or hmac-sha256-hex".to_owned())
    }
}

impl Signing {
    /// The headers of a message with this id and body.
    pub fn headers(&self, id: &str, body: &[u8], now: Timestamp) -> Vec<(&'static str, String)> {
        let text = self.secret.expose();
        match self.scheme {
            Scheme::HmacSha256Hex => {
                let signature = HEXLOWER.encode(&hmac(text.as_bytes(), &[body]));
                vec![("x-hub-signature-256", format!("sha256={signature}"))]
            }
            Scheme::StandardWebhooks => {
                let key = text.strip_prefix("whsec_").and_then(|key| BASE64.decode(key.as_bytes()).ok());
                let key = key.unwrap_or_else(|| text.as_bytes().to_vec());
                let time = (now.millis() / 1000 + self.seconds_ahead).to_string();
                let content: [&[u8]; 5] = [id.as_bytes(), b".", time.as_bytes(), b".", body];
                let signature = BASE64.encode(&hmac(&key, &content));
                vec![
                    ("webhook-id", id.to_owned()),
                    ("webhook-timestamp", time),
                    ("webhook-signature", format!("v1,{signature}")),
                ]
            }
        }
    }
}

fn hmac(key: &[u8], content: &[&[u8]]) -> Vec<u8> {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    for part in content {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}
