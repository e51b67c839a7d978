//! Hooks that are addresses: a POST, signed after Standard Webhooks (standardwebhooks.com).
#![expect(clippy::disallowed_methods, reason = "the one home of the hooks' client")]

use std::time::Duration;

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Client, redirect};
use sha2::Sha256;

use crate::api::hook::WebhookBody;
use crate::clock::{Clock, Timestamp};
use crate::secret::Secret;
use crate::settings::SignatureScheme;
use crate::stages::hooks::{HookFailure, Message};

/// The HTTP client for all webhooks. Made at the first message: without webhooks, no certificates are loaded.
#[derive(Default)]
pub(super) struct WebhookSender(std::sync::OnceLock<Result<Client, String>>);

impl WebhookSender {
    pub fn new() -> Self {
        Self::default()
    }

    fn client(&self) -> Result<&Client, HookFailure> {
        let made = self.0.get_or_init(|| {
            // Set once per process; an error means that another client has already set it.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let builder = Client::builder().redirect(redirect::Policy::none()).pool_max_idle_per_host(0);
            builder.build().map_err(|error| error.to_string())
        });
        made.as_ref().map_err(|why| HookFailure::Transient(format!("HTTPS cannot be set up: {why}")))
    }

    /// Posts a message. Any 2xx is success, 410 a permanent failure.
    pub async fn post(
        &self,
        url: &Secret,
        secret: Option<&Secret>,
        message: &Message,
        timeout: Duration,
        clock: &Clock,
    ) -> Result<(), HookFailure> {
        let subject = if message.job.is_some() { "job" } else { "dropreel" };
        let body = WebhookBody {
            r#type: format!("{subject}.{}", message.event.into_str()),
            timestamp: message.at,
            data: &message.data,
        };
        // Texts, numbers and maps of texts always have a JSON form.
        let body = serde_json::to_string(&body).unwrap_or_default();
        let now = clock.now();
        let mut request = self
            .client()?
            .post(url.expose())
            .header("content-type", "application/json")
            .header("user-agent", concat!("dropreel/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", seconds(now).to_string());
        if let Some(signature) = secret.and_then(|secret| signature(secret, &message.id, now, &body)) {
            request = request.header("webhook-signature", signature);
        }
        let sent = clock.within(timeout, request.body(body).send()).await;
        let status = match sent {
            None => return Err(HookFailure::Transient(format!("no answer within {} s", timeout.as_secs()))),
            // Only the cause: the error itself may contain the address.
            Some(Err(error)) => return Err(HookFailure::Transient(cause(&error))),
            Some(Ok(answer)) => answer.status(),
        };
        match status.as_u16() {
            200..=299 => Ok(()),
            410 => Err(HookFailure::Permanent("HTTP 410".to_owned())),
            300..=399 => {
                Err(HookFailure::Transient(format!("{status}: a redirect is not followed; set its target")))
            }
            _ => Err(HookFailure::Transient(format!("HTTP {status}"))),
        }
    }
}

fn seconds(time: Timestamp) -> i64 {
    time.millis().div_euclid(1000)
}

/// `v1,` and the HMAC-SHA256 over `id.time.body`, in base64.
fn signature(secret: &Secret, id: &str, now: Timestamp, body: &str) -> Option<String> {
    let key = SignatureScheme::StandardWebhooks.key(secret)?;
    // A key may have any length (RFC 2104).
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    mac.update(format!("{id}.{}.{body}", seconds(now)).as_bytes());
    Some(format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes())))
}

fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if error.is_connect() { format!("cannot be reached: {cause}") } else { cause.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_matches_the_example_of_the_standard() {
        // From the specification's own libraries.
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let now = Timestamp::from_millis(1_614_265_330_000);
        let body = r#"{"test": 2432232314}"#;
        let signed = signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", now, body);
        assert_eq!(signed.as_deref(), Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
    }
}
