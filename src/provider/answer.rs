//! What a reply means for all calls, and the pieces that the three classifiers share.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::job::event::SubmitVerdict;
use crate::job::suspension::{PROBE_INTERVAL, Suspension, SuspensionCause};
use crate::provider::reply::ApiReply;
use crate::provider::wire::error::ProviderError;
use crate::provider::wire::text::{SENTENCE, beginning, clean};
use crate::provider::wire::{Unreadable, read_error};

/// The wait after a 429 that names no time.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(30);

/// A verdict on one call, and what its answer means for all calls.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Classified<V> {
    /// How the call ended.
    pub verdict: V,
    /// The suspension that the answer calls for.
    pub suspension: Option<Suspension>,
    /// What the answer proves to work.
    pub evidence: Evidence,
    /// The provider's clock, if the answer has it: the two clocks may disagree.
    pub provider_time: Option<Timestamp>,
    /// Whether it was a 500 with an error in the provider's format: one that may be stored under the idempotency key.
    pub server_error: bool,
}

impl<V> Classified<V> {
    /// The verdict on a call without an answer.
    pub(crate) fn unanswered(verdict: V) -> Self {
        Self { verdict, suspension: None, evidence: Evidence::None, provider_time: None, server_error: false }
    }
}

/// What an answer proves to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// Nothing.
    None,
    /// The provider's API answers there and accepts the key.
    KeyAccepted,
    /// Also, the balance pays for a task.
    BalanceSufficient,
}

impl Evidence {
    /// Whether it shows that the cause of a suspension is gone. Rate limits and pauses do not end this way.
    pub const fn lifts(self, cause: SuspensionCause) -> bool {
        match cause {
            SuspensionCause::KeyRefused | SuspensionCause::Misconfigured => !matches!(self, Self::None),
            SuspensionCause::BalanceEmpty => matches!(self, Self::BalanceSufficient),
            SuspensionCause::RateLimited
            | SuspensionCause::PausedSubmits
            | SuspensionCause::PausedDownloads => false,
        }
    }
}

/// Where and when a reply came.
#[derive(Clone, Copy, Debug)]
pub struct ReplyContext<'a> {
    /// The wall clock as the reply came.
    pub now: Timestamp,
    /// `provider.base_url`, for messages to people.
    pub base_url: &'a str,
}

/// The classes of HTTP statuses (docs/provider.md#errors).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatusClass {
    /// 2xx.
    Success,
    /// 3xx.
    Redirect,
    /// 400 and 422.
    Invalid,
    /// 401.
    Unauthorized,
    /// 402.
    PaymentRequired,
    /// 403.
    Forbidden,
    /// 404.
    NotFound,
    /// 409.
    Conflict,
    /// 413: the body is too large, and no repeat changes that.
    TooLarge,
    /// 429.
    TooManyRequests,
    /// 408, 425 and 499: a server on the way gave up waiting. Also below 200, which ends no exchange.
    Indeterminate,
    /// The other 4xx.
    OtherClientError,
    /// 5xx and above.
    ServerError,
}

impl StatusClass {
    /// The class of an HTTP status.
    pub(crate) fn of(status: u16) -> Self {
        match status {
            200..=299 => Self::Success,
            300..=399 => Self::Redirect,
            400 | 422 => Self::Invalid,
            401 => Self::Unauthorized,
            402 => Self::PaymentRequired,
            403 => Self::Forbidden,
            404 => Self::NotFound,
            0..=199 | 408 | 425 | 499 => Self::Indeterminate,
            409 => Self::Conflict,
            413 => Self::TooLarge,
            429 => Self::TooManyRequests,
            400..=498 => Self::OtherClientError,
            _ => Self::ServerError,
        }
    }
}

/// A reply with what all three classifiers need of it.
pub(crate) struct Answer<'a> {
    reply: &'a ApiReply,
    /// The error it carries, if it has the provider's format.
    pub(crate) error: Option<ProviderError>,
    context: ReplyContext<'a>,
    provider_time: Option<Timestamp>,
}

impl<'a> Answer<'a> {
    /// Reads the error and the clock of a reply.
    pub(crate) fn of(reply: &'a ApiReply, context: ReplyContext<'a>) -> Self {
        let provider_time = reply.provider_time(context.now);
        let error = read_error(reply.bytes(), provider_time.unwrap_or(context.now));
        Self { reply, error, context, provider_time }
    }

    /// A verdict that means nothing for other calls.
    pub(crate) fn verdict<V>(&self, verdict: V) -> Classified<V> {
        self.verdict_with(Evidence::None, verdict)
    }

    /// A verdict whose answer proves that something works.
    pub(crate) fn verdict_with<V>(&self, evidence: Evidence, verdict: V) -> Classified<V> {
        Classified {
            verdict,
            suspension: None,
            evidence,
            provider_time: self.provider_time,
            server_error: self.reply.status == 500 && self.error.is_some(),
        }
    }

    /// A verdict whose answer suspends calls. `verdict` is made from the reason and the earliest time of the next
    /// call.
    pub(crate) fn suspension<V>(
        &self,
        cause: SuspensionCause,
        verdict: impl FnOnce(String, Option<Timestamp>) -> V,
    ) -> Classified<V> {
        let wait = match cause {
            SuspensionCause::RateLimited => self.retry_after().unwrap_or(DEFAULT_RETRY_AFTER),
            _ => PROBE_INTERVAL,
        };
        let until = self.context.now.plus(wait);
        // A rate limit ends by itself. The others end when a person fixes something, maybe before the next probe: the
        // gate keeps all calls back until then, and the job itself is ready at any time.
        let not_before = (cause == SuspensionCause::RateLimited).then_some(until);
        let message = self.suspension_message(cause);
        // Only a call whose key was accepted gets as far as the balance.
        let evidence = match cause {
            SuspensionCause::BalanceEmpty => Evidence::KeyAccepted,
            _ => Evidence::None,
        };
        Classified {
            verdict: verdict(message.clone(), not_before),
            suspension: Some(Suspension { cause, until: Some(until), message, since: self.context.now }),
            evidence,
            provider_time: self.provider_time,
            server_error: false,
        }
    }

    /// A submit that was refused for a reason which concerns all submits.
    pub(crate) fn suspended_submit(&self, cause: SuspensionCause) -> Classified<SubmitVerdict> {
        self.suspension(cause, |why, not_before| SubmitVerdict::NotExecuted { why, not_before })
    }

    fn suspension_message(&self, cause: SuspensionCause) -> String {
        let answer = self.describe();
        match cause {
            SuspensionCause::RateLimited => format!("the provider asks to slow down: {answer}"),
            SuspensionCause::KeyRefused => format!(
                "the provider refuses the API key: {answer}; replace it where it is configured (the systemd \
                 credential `api_key`, `provider.api_key_file` or DROPREEL_PROVIDER__API_KEY) and restart dropreel"
            ),
            SuspensionCause::BalanceEmpty => {
                format!(
                    "the balance at the provider is empty: {answer}; submits continue once it is topped up"
                )
            }
            _ => {
                let target = match self.reply.redirect_host() {
                    Some(host) => format!(" (it redirects to {host})"),
                    None => String::new(),
                };
                format!(
                    "the server at {} is not the provider's API{target}: {answer}; check `provider.base_url`",
                    self.context.base_url
                )
            }
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        self.reply.retry_after(self.error.as_ref().and_then(|error| error.reset_at), self.context.now)
    }

    /// When the provider wants to be called again, if it says so.
    pub(crate) fn not_before(&self) -> Option<Timestamp> {
        self.retry_after().map(|wait| self.context.now.plus(wait))
    }

    /// Why the reply cannot be read, with its status.
    pub(crate) fn describe_unreadable(&self, unreadable: &Unreadable) -> String {
        format!("HTTP {}: {unreadable}", self.reply.status)
    }

    /// What the reply says, for people.
    pub(crate) fn describe(&self) -> String {
        let status = self.reply.status;
        match (&self.reply.body, &self.error) {
            (Err(broken), _) => format!("HTTP {status}, but {}", clean(broken, SENTENCE)),
            (Ok(_), Some(error)) => format!("HTTP {status}, {error}"),
            (Ok(bytes), None) => {
                let beginning = beginning(&String::from_utf8_lossy(bytes));
                if beginning.is_empty() {
                    format!("HTTP {status}")
                } else {
                    format!("HTTP {status}, {beginning:?}")
                }
            }
        }
    }
}
