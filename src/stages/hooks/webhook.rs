//! Hooks that are addresses: a POST, signed after Standard Webhooks (standardwebhooks.com).
#![expect(clippy::disallowed_methods, reason = "the one home of the hooks' client")]

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use data_encoding::BASE64;
use futures_util::future::BoxFuture;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, Response, redirect};
use sha2::Sha256;

use crate::api::hook::WebhookBody;
use crate::clock::{Clock, Timestamp};
use crate::secret::Secret;
use crate::settings::{BodyTemplate, SignatureScheme};
use crate::stages::hooks::body::value_of;
use crate::stages::hooks::{HookFailure, Message};
use crate::store::hooks::Subject;

/// How much of an answer is read.
const ANSWER_LIMIT: usize = 64 << 10;

/// Posts the messages of hooks: over HTTP, or in a simulation.
pub trait HookTransport: Send + Sync {
    /// Posts a body and waits for status and headers of the response.
    ///
    /// # Errors
    /// Why no response came, without the address, which may be secret.
    fn post<'a>(
        &'a self,
        url: &'a str,
        headers: HeaderMap,
        body: String,
    ) -> BoxFuture<'a, Result<Response, String>>;
}

/// The HTTP client for all webhooks. Made at the first message: without webhooks, no certificates are loaded.
#[derive(Default)]
pub struct HttpHooks(OnceLock<Result<Client, String>>);

impl HttpHooks {
    fn client(&self) -> Result<&Client, String> {
        let made = self.0.get_or_init(|| {
            // Set once per process; an error means that another client has already set it.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let builder = Client::builder().redirect(redirect::Policy::none()).pool_max_idle_per_host(0);
            builder.build().map_err(|error| error.to_string())
        });
        made.as_ref().map_err(|why| format!("HTTPS cannot be set up: {why}"))
    }
}

impl HookTransport for HttpHooks {
    fn post<'a>(
        &'a self,
        url: &'a str,
        headers: HeaderMap,
        body: String,
    ) -> BoxFuture<'a, Result<Response, String>> {
        Box::pin(async move {
            let answered = self.client()?.post(url).headers(headers).body(body).send().await;
            // Only the cause: the error itself may contain the address.
            answered.map_err(|error| cause(&error))
        })
    }
}

/// Makes the headers and bodies of messages, and reads the answers.
pub(super) struct WebhookSender(Arc<dyn HookTransport>);

impl WebhookSender {
    pub fn new(transport: Arc<dyn HookTransport>) -> Self {
        Self(transport)
    }

    /// Posts a message. Any 2xx is success, 410 a permanent failure.
    pub async fn post(
        &self,
        Target { url, secret, body }: Target<'_>,
        message: &Message,
        timeout: Duration,
        clock: &Clock,
    ) -> Result<(), HookFailure> {
        let content_type = body.map_or("application/json", BodyTemplate::content_type);
        let is_template = body.is_some();
        let body = match body {
            Some(template) => template.render(|placeholder| value_of(message, placeholder)),
            None => standard_body(message),
        };
        let now = clock.now();
        let seconds = seconds(now).to_string();
        let signature = secret.and_then(|secret| signature(secret, &message.id, now, &body));
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", Some(content_type)),
            ("user-agent", Some(concat!("dropreel/", env!("CARGO_PKG_VERSION")))),
            ("webhook-id", Some(&message.id)),
            ("webhook-timestamp", Some(&seconds)),
            ("webhook-signature", signature.as_deref()),
        ] {
            // All of them are ASCII.
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(name, value);
            }
        }
        let exchange = async {
            let answer = self.0.post(url.expose(), headers, body).await?;
            let status = answer.status();
            let refusal = match is_template && status.is_success() {
                true => {
                    let beginning = read_beginning(answer).await.map_err(|error| cause(&error))?;
                    refusal_in(&beginning)
                }
                false => None,
            };
            Ok((status, refusal))
        };
        let (status, refusal) = match clock.within(timeout, exchange).await {
            None => return Err(HookFailure::Transient(format!("no answer within {} s", timeout.as_secs()))),
            Some(Err(why)) => return Err(HookFailure::Transient(why)),
            Some(Ok(answer)) => answer,
        };
        match status.as_u16() {
            200..=299 => match refusal {
                Some(code) => {
                    Err(HookFailure::Transient(format!("HTTP {status}, but the answer says {code}")))
                }
                None => Ok(()),
            },
            410 => Err(HookFailure::Permanent("HTTP 410".to_owned())),
            300..=399 => {
                Err(HookFailure::Transient(format!("{status}: a redirect is not followed; set its target")))
            }
            _ => Err(HookFailure::Transient(format!("HTTP {status}"))),
        }
    }
}

/// Where a message goes, and in which form.
pub(super) struct Target<'a> {
    pub url: &'a Secret,
    pub secret: Option<&'a Secret>,
    pub body: Option<&'a BodyTemplate>,
}

fn standard_body(message: &Message) -> String {
    let subject = if matches!(message.subject, Subject::Job(_)) { "job" } else { "dropreel" };
    let body = WebhookBody {
        r#type: format!("{subject}.{}", message.event.into_str()),
        timestamp: message.at,
        data: &message.data,
    };
    // Texts, numbers and maps of texts always have a JSON form.
    serde_json::to_string(&body).unwrap_or_default()
}

async fn read_beginning(mut answer: reqwest::Response) -> reqwest::Result<Vec<u8>> {
    let mut beginning = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        beginning.extend_from_slice(&chunk);
        if beginning.len() > ANSWER_LIMIT {
            break;
        }
    }
    Ok(beginning)
}

/// The error in the answer of a chat service that answers everything with HTTP 200: `errcode` (WeCom, DingTalk), `code`
/// (Feishu, Bark) or `ok` (Telegram).
fn refusal_in(answer: &[u8]) -> Option<String> {
    let answer: serde_json::Value = serde_json::from_slice(answer).ok()?;
    let number = |name: &str| answer.get(name).and_then(serde_json::Value::as_i64);
    let errcode = number("errcode").filter(|code| *code != 0).map(|code| format!("errcode {code}"));
    let code = number("code").filter(|code| !matches!(code, 0 | 200)).map(|code| format!("code {code}"));
    let not_ok = answer.get("ok").is_some_and(|ok| *ok == false).then(|| "that it is not ok".to_owned());
    errcode.or(code).or(not_ok)
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
    fn answer_with_an_error_code_is_no_delivery() {
        for (answer, refusal) in [
            (r#"{"errcode":0,"errmsg":"ok"}"#, None),
            (r#"{"errcode":45009,"errmsg":"canary"}"#, Some("errcode 45009")),
            (r#"{"StatusCode":0,"code":0,"msg":"success"}"#, None),
            (r#"{"code":19001,"msg":"canary"}"#, Some("code 19001")),
            (r#"{"code":200,"message":"success"}"#, None),
            (r#"{"ok":true,"result":{}}"#, None),
            (r#"{"ok":false}"#, Some("that it is not ok")),
            ("ok", None),
            (r#"[{"code":5}]"#, None),
            ("", None),
        ] {
            assert_eq!(refusal_in(answer.as_bytes()).as_deref(), refusal, "{answer}");
        }
    }

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
