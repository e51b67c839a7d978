//! What came back over the wire, before it is classified.

use std::time::Duration;

use reqwest::header::{DATE, HeaderMap, LOCATION, RETRY_AFTER};
use url::Url;

use crate::clock::Timestamp;
use crate::job::suspension::MAX_SUSPENSION;
use crate::provider::wire::text::{WORD, clean};
use crate::provider::wire::time::read_http_date;

/// How a call ended on the wire.
#[derive(Clone, Debug)]
pub enum CallOutcome {
    /// An answer, at least its status and headers.
    Reply(ApiReply),
    /// The request certainly never left: no name, no connection, no TLS.
    NotSent(String),
    /// No answer; the request may have arrived.
    Lost(String),
}

/// An HTTP response, read as far as it came.
#[derive(Clone, Debug)]
pub struct ApiReply {
    /// The HTTP status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The body, or why it did not arrive completely.
    pub body: Result<Vec<u8>, String>,
}

impl ApiReply {
    /// The body; empty where it did not arrive completely, because half an answer must not be read as one.
    pub fn bytes(&self) -> &[u8] {
        self.body.as_deref().unwrap_or_default()
    }

    /// The provider's clock, from the `Date` header.
    pub fn provider_time(&self, now: Timestamp) -> Option<Timestamp> {
        read_http_date(self.header(DATE.as_str())?, now)
    }

    /// Whether the provider had stored it and sends it again for the same idempotency key.
    pub fn is_replayed(&self) -> bool {
        ["idempotent-replayed", "idempotency-replayed"]
            .iter()
            .any(|name| self.header(name).is_some_and(|value| value.eq_ignore_ascii_case("true")))
    }

    /// The host a redirect points to.
    pub fn redirect_host(&self) -> Option<String> {
        let target = Url::parse(self.header(LOCATION.as_str())?).ok()?;
        Some(clean(target.host_str()?, WORD))
    }

    /// How long to wait before the next call: `Retry-After` (RFC 9110, section 10.2.3) or `reset_at`, whichever is
    /// later; at least a second, at most a day. Times count on the provider's clock where the reply has it, so that
    /// ours may be wrong.
    pub fn retry_after(&self, reset_at: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
        let provider_now = self.provider_time(now).unwrap_or(now);
        let header = self.header(RETRY_AFTER.as_str()).and_then(|value| match value.trim().parse::<f64>() {
            Ok(seconds) => Duration::try_from_secs_f64(seconds.clamp(0.0, MAX_SUSPENSION.as_secs_f64())).ok(),
            Err(_) => read_http_date(value, provider_now).map(|time| time.since(provider_now)),
        });
        let wait = header.max(reset_at.map(|time| time.since(provider_now)))?;
        Some(wait.clamp(Duration::from_secs(1), MAX_SUSPENSION))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_775_285_160_000);

    fn reply(headers: &[(&'static str, &'static str)]) -> ApiReply {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
            .collect();
        ApiReply { status: 429, headers, body: Ok(Vec::new()) }
    }

    #[test]
    fn the_wait_is_the_later_of_header_and_body() {
        let late = Some(NOW.plus(Duration::from_secs(500)));
        let date = ("date", "Sat, 04 Apr 2026 06:44:20 GMT");
        type Case<'a> = (&'a [(&'static str, &'static str)], Option<Timestamp>, Option<u64>);
        let cases: &[Case] = &[
            (&[], None, None),
            (&[("retry-after", "7")], None, Some(7)),
            (&[("retry-after", " 7.0 ")], None, Some(7)),
            (&[("retry-after", "0")], None, Some(1)),
            (&[("retry-after", "-9")], None, Some(1)),
            (&[("retry-after", "99999999999999999999")], None, Some(86_400)),
            (&[("retry-after", "inf")], None, Some(86_400)),
            (&[("retry-after", "nan")], None, None),
            (&[("retry-after", "later")], None, None),
            (&[("retry-after", "Sat, 04 Apr 2026 06:47:00 GMT")], None, Some(60)),
            (&[("retry-after", "Sat, 04 Apr 2026 06:40:00 GMT")], None, Some(1)),
            // The provider's clock is 100 seconds behind ours.
            (&[("retry-after", "Sat, 04 Apr 2026 06:47:00 GMT"), date], None, Some(160)),
            (&[date], late, Some(600)),
            (&[], late, Some(500)),
            (&[("retry-after", "7")], late, Some(500)),
            (&[("retry-after", "700")], late, Some(700)),
            (&[], Some(NOW.plus(Duration::from_secs(200_000))), Some(86_400)),
        ];
        for (headers, reset_at, seconds) in cases {
            let wait = reply(headers).retry_after(*reset_at, NOW);
            assert_eq!(wait, seconds.map(Duration::from_secs), "{headers:?} {reset_at:?}");
        }
    }

    #[test]
    fn only_the_host_of_a_redirect_is_kept() {
        assert_eq!(
            reply(&[("location", "https://www.qingbo.dev/v1/tasks?key=secret")]).redirect_host().as_deref(),
            Some("www.qingbo.dev")
        );
        assert_eq!(reply(&[("location", "/login")]).redirect_host(), None);
    }
}
