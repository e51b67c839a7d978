//! What a reply means for all calls, and the pieces that the three classifiers share.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::job::event::SubmitVerdict;
use crate::job::suspension::{PROBE_INTERVAL, Suspension, SuspensionCause};
use crate::provider::account;
use crate::provider::reply::ApiReply;
use crate::provider::wire::error::ProviderError;
use crate::provider::wire::text::{SENTENCE, beginning, clean, without_secrets};
use crate::provider::wire::{Unreadable, read_error, read_json};

/// The longest evidence that is kept, in characters.
const MAX_EVIDENCE: usize = 16_000;
/// The wait after a 429 that names no time.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(30);

/// A verdict on one call, and what its answer means for all calls.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Classified<V> {
    /// How the call ended.
    pub verdict: V,
    /// A refusal that may concern all calls.
    pub refusal: Option<AccountRefusal>,
    /// What the answer proves to work.
    pub evidence: Evidence,
    /// The provider's clock, if the answer has it: the two clocks may disagree.
    pub provider_time: Option<Timestamp>,
    /// An answer that says nothing usable, to be kept as evidence. Without secrets.
    pub unusable: Option<String>,
}

/// A refusal in words that may concern the account or the one call.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountRefusal {
    /// The suspension that it calls for, if it concerns the account.
    pub suspension: Suspension,
    /// Whether it says itself that it concerns the account: a limit that names its end.
    pub is_certain: bool,
}

impl<V> Classified<V> {
    /// The verdict on a call whose answer was lost.
    pub(crate) fn unanswered(verdict: V) -> Self {
        Self { verdict, refusal: None, evidence: Evidence::None, provider_time: None, unusable: None }
    }

    /// The verdict on a call that could not be sent: perhaps none can.
    pub(crate) fn not_sent(verdict: V, why: &str, context: ReplyContext<'_>) -> Self {
        let message = format!(
            "the provider cannot be reached: {}; jobs continue by themselves once it can, so check the network and \
             `provider.base_url`",
            clean(why, SENTENCE)
        );
        let cause = SuspensionCause::Unreachable;
        let until = Some(context.now.plus(PROBE_INTERVAL));
        let suspension = Suspension { cause, until, message, since: context.now };
        Self { refusal: Some(AccountRefusal { suspension, is_certain: false }), ..Self::unanswered(verdict) }
    }
}

/// What an answer proves to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// Nothing.
    None,
    /// Something answers.
    Reachable,
    /// The provider's API answers there and accepts the key.
    KeyAccepted,
    /// Also, the balance pays for a task.
    BalanceSufficient,
}

impl Evidence {
    /// Whether it shows that the cause of a suspension is gone. Rate limits and pauses do not end this way.
    pub const fn lifts(self, cause: SuspensionCause) -> bool {
        match cause {
            SuspensionCause::Unreachable => !matches!(self, Self::None),
            SuspensionCause::KeyRefused | SuspensionCause::Misconfigured => {
                matches!(self, Self::KeyAccepted | Self::BalanceSufficient)
            }
            SuspensionCause::BalanceEmpty => matches!(self, Self::BalanceSufficient),
            SuspensionCause::RateLimited
            | SuspensionCause::ClockUnreliable
            | SuspensionCause::PausedSubmits
            | SuspensionCause::PausedDownloads
            | SuspensionCause::Superseded => false,
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
        self.verdict_with(Evidence::Reachable, verdict)
    }

    /// A verdict whose answer proves that something works.
    pub(crate) fn verdict_with<V>(&self, evidence: Evidence, verdict: V) -> Classified<V> {
        Classified { evidence, provider_time: self.provider_time, ..Classified::unanswered(verdict) }
    }

    /// A verdict on an answer that says nothing usable, which is kept.
    pub(crate) fn unusable<V>(&self, verdict: V) -> Classified<V> {
        Classified { unusable: Some(self.as_evidence()), ..self.verdict(verdict) }
    }

    /// The cause for which the answer would suspend calls, if it concerned the account.
    pub(crate) fn account_cause(&self) -> Option<SuspensionCause> {
        let class = StatusClass::of(self.reply.status);
        let is_client_error = !matches!(class, StatusClass::Success | StatusClass::ServerError);
        let words = self.error.as_ref().and_then(|error| account::cause_of(error, is_client_error));
        match (class, words) {
            // The same for every repeat of one key: it says nothing about now.
            (StatusClass::ServerError, _) if self.reply.is_replayed() => None,
            (StatusClass::TooManyRequests, _) if self.retry_after().is_some() => {
                Some(SuspensionCause::RateLimited)
            }
            (_, Some(SuspensionCause::BalanceEmpty)) | (StatusClass::PaymentRequired, _) => {
                Some(SuspensionCause::BalanceEmpty)
            }
            (StatusClass::TooManyRequests, _) => Some(SuspensionCause::RateLimited),
            (StatusClass::Unauthorized, _) => Some(SuspensionCause::KeyRefused),
            (StatusClass::Invalid | StatusClass::Forbidden, Some(cause)) => Some(cause),
            _ => None,
        }
    }

    /// Whether something else than the provider's API refused the call, such as a gateway or a firewall with a page of its
    /// own. The API itself answers in JSON.
    pub(crate) fn is_refused_by_another(&self) -> bool {
        let is_json =
            || read_json(self.reply.bytes()).is_some_and(|json| json.is_object() || json.is_array());
        match StatusClass::of(self.reply.status) {
            StatusClass::Redirect => true,
            StatusClass::Invalid
            | StatusClass::Forbidden
            | StatusClass::NotFound
            | StatusClass::OtherClientError => self.reply.body.is_ok() && !is_json(),
            _ => false,
        }
    }

    /// A verdict on a refusal that may concern the account. `verdict` is made from the reason and the earliest time of
    /// the job's next call.
    pub(crate) fn refused<V>(
        &self,
        cause: SuspensionCause,
        verdict: impl FnOnce(String, Option<Timestamp>) -> V,
    ) -> Classified<V> {
        let is_limit = cause == SuspensionCause::RateLimited;
        let wait = if is_limit { self.retry_after().unwrap_or(DEFAULT_RETRY_AFTER) } else { PROBE_INTERVAL };
        let until = self.context.now.plus(wait);
        let message = self.suspension_message(cause);
        let suspension = Suspension { cause, until: Some(until), message, since: self.context.now };
        let evidence = match cause {
            // Only a call whose key was accepted gets as far as the balance.
            SuspensionCause::BalanceEmpty => Evidence::KeyAccepted,
            _ => Evidence::Reachable,
        };
        let why = self.refusal_message(cause);
        Classified {
            refusal: Some(AccountRefusal {
                suspension,
                is_certain: is_limit && self.retry_after().is_some(),
            }),
            evidence,
            ..self.verdict(verdict(why, is_limit.then_some(until)))
        }
    }

    /// What the refusal says about the one call.
    fn refusal_message(&self, cause: SuspensionCause) -> String {
        let answer = self.describe();
        match cause {
            SuspensionCause::RateLimited => format!("the provider asks to slow down: {answer}"),
            SuspensionCause::KeyRefused => {
                format!("the provider refuses the API key for this call: {answer}")
            }
            SuspensionCause::BalanceEmpty => {
                format!("the provider says that the balance does not pay for this: {answer}")
            }
            _ => format!(
                "something else than the provider's API answered, such as a firewall or a proxy{}: {answer}",
                self.redirection()
            ),
        }
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
            _ => format!(
                "the server at {} is not the provider's API{}: {answer}; check `provider.base_url`",
                self.context.base_url,
                self.redirection()
            ),
        }
    }

    fn redirection(&self) -> String {
        self.reply.redirect_host().map_or_else(String::new, |host| format!(" (it redirects to {host})"))
    }

    /// The answer as it is kept: its status, the headers that say who answered, and the beginning of its body.
    pub(crate) fn as_evidence(&self) -> String {
        let headers = ["content-type", "server", "via", "date"]
            .iter()
            .filter_map(|name| Some(format!("{name}: {}\n", self.reply.headers.get(*name)?.to_str().ok()?)));
        let body = match &self.reply.body {
            Ok(bytes) => without_secrets(&String::from_utf8_lossy(bytes), MAX_EVIDENCE),
            Err(broken) => without_secrets(broken, MAX_EVIDENCE),
        };
        let status = self.reply.status;
        format!("HTTP {status}\n{}\n{body}\n", without_secrets(&headers.collect::<String>(), MAX_EVIDENCE))
    }

    /// The verdict that fails a job.
    pub(crate) fn refused_job(&self, error: &ProviderError) -> SubmitVerdict {
        SubmitVerdict::Refused(error.clone().into_job_error(&format!("http_{}", self.reply.status)))
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
