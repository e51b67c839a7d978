//! What came back over the wire, before anyone judges it.

use std::time::Duration;

use reqwest::header::{DATE, HeaderMap, LOCATION, RETRY_AFTER};
use url::Url;

use crate::clock::Timestamp;
use crate::provider::suspension::LONGEST_PAUSE;
use crate::provider::wire::text::{WORD, clean};
use crate::provider::wire::time::read_http_date;

/// How a call ended on the wire.
#[derive(Clone, Debug)]
pub enum CallOutcome {
    /// An answer, at least its head.
    Reply(Reply),
    /// The request certainly never left: no name, no connection, no TLS.
    NotSent(String),
    /// No answer; the request may have arrived.
    Lost(String),
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, or why the body did not come whole.
    pub body: Result<Vec<u8>, String>,
}

impl Reply {
    /// The body; empty where it did not come whole, for a cut answer is as good as none.
    pub fn bytes(&self) -> &[u8] {
        self.body.as_deref().unwrap_or_default()
    }

    /// The provider's clock, from the `Date` header.
    pub fn provider_time(&self, now: Timestamp) -> Option<Timestamp> {
        read_http_date(self.header(DATE.as_str())?, now)
    }

    /// Whether it was stored and is answered again under the same key.
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

    /// How long the provider wants to be left alone: `Retry-After` (RFC 9110, section 10.2.3) or `reset_at`,
    /// whichever is later; at least a second, at most a day. Times are counted on the provider's clock where it tells
    /// it, so that ours may be wrong.
    pub fn pause(&self, reset_at: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
        let their_now = self.provider_time(now).unwrap_or(now);
        let asked = self.header(RETRY_AFTER.as_str()).and_then(|value| match value.trim().parse::<f64>() {
            Ok(seconds) => Duration::try_from_secs_f64(seconds.clamp(0.0, LONGEST_PAUSE.as_secs_f64())).ok(),
            Err(_) => read_http_date(value, their_now).map(|time| time.since(their_now)),
        });
        let pause = asked.max(reset_at.map(|time| time.since(their_now)))?;
        Some(pause.clamp(Duration::from_secs(1), LONGEST_PAUSE))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_775_285_160_000);

    fn reply(headers: &[(&'static str, &'static str)]) -> Reply {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
            .collect();
        Reply { status: 429, headers, body: Ok(Vec::new()) }
    }

    #[test]
    fn a_wait_is_read_from_whatever_names_it() {
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
            let pause = reply(headers).pause(*reset_at, NOW);
            assert_eq!(pause, seconds.map(Duration::from_secs), "{headers:?} {reset_at:?}");
        }
    }

    #[test]
    fn of_a_redirect_only_the_host_is_told() {
        assert_eq!(
            reply(&[("location", "https://www.qingbo.dev/v1/tasks?key=secret")]).redirect_host().as_deref(),
            Some("www.qingbo.dev")
        );
        assert_eq!(reply(&[("location", "/login")]).redirect_host(), None);
    }
}
