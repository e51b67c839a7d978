//! What an answer's status and error mean for the line, and the pieces of every verdict.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::job::event::SubmitVerdict;
use crate::provider::reply::Reply;
use crate::provider::suspension::{CAREFUL_PAUSE, Proof, RATE_PAUSE, Suspension, SuspensionCause};
use crate::provider::wire::error::ProviderError;
use crate::provider::wire::text::{SENTENCE, begins, clean};
use crate::provider::wire::{Unreadable, read_error};

/// A verdict, and what the answer means for the line.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Answered<V> {
    /// How the call ended.
    pub verdict: V,
    /// The stop of the line that it calls for.
    pub line: Option<Suspension>,
    /// What it proves about the line.
    pub proof: Proof,
    /// The provider's clock, if told: the two clocks may disagree.
    pub provider_time: Option<Timestamp>,
    /// Whether it was a 500 with an error shaped like the provider's: one that may be stored under the key.
    pub server_error: bool,
}

/// Where and when a call was answered.
#[derive(Clone, Copy, Debug)]
pub struct ReplyContext<'a> {
    /// The wall clock as the answer came.
    pub now: Timestamp,
    /// `provider.base_url`, for messages to people.
    pub base_url: &'a str,
}

/// The statuses that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// 2xx.
    Good,
    /// 3xx.
    Redirect,
    /// 400 and 422.
    Invalid,
    /// 401.
    NoKey,
    /// 402.
    NoFunds,
    /// 403.
    Forbidden,
    /// 404.
    NotFound,
    /// 409.
    Conflict,
    /// 413: the body is too large for whoever answered, and will be next time.
    TooLarge,
    /// 429.
    TooMany,
    /// 408, 425 and 499: somebody on the way gave up waiting. And below 200, which ends no exchange: nothing that comes
    /// with it is anybody's answer.
    Unsettled,
    /// The other 4xx.
    OtherRefusal,
    /// 5xx and above.
    Broken,
}

/// The class of an HTTP status (docs/provider.md#errors).
pub(crate) fn class(status: u16) -> Class {
    match status {
        200..=299 => Class::Good,
        300..=399 => Class::Redirect,
        400 | 422 => Class::Invalid,
        401 => Class::NoKey,
        402 => Class::NoFunds,
        403 => Class::Forbidden,
        404 => Class::NotFound,
        0..=199 | 408 | 425 | 499 => Class::Unsettled,
        409 => Class::Conflict,
        413 => Class::TooLarge,
        429 => Class::TooMany,
        400..=498 => Class::OtherRefusal,
        _ => Class::Broken,
    }
}

/// The verdict on a call without an answer.
pub(crate) fn unheard<V>(verdict: V) -> Answered<V> {
    Answered { verdict, line: None, proof: Proof::Nothing, provider_time: None, server_error: false }
}

/// A reply with what all three tables need of it.
pub(crate) struct Judged<'a> {
    reply: &'a Reply,
    /// The error it carries, if it is shaped like the provider's.
    pub(crate) error: Option<ProviderError>,
    scene: ReplyContext<'a>,
    provider_time: Option<Timestamp>,
}

impl<'a> Judged<'a> {
    /// Reads the error and the clock of a reply.
    pub(crate) fn of(reply: &'a Reply, scene: ReplyContext<'a>) -> Self {
        let provider_time = reply.provider_time(scene.now);
        let error = read_error(reply.bytes(), provider_time.unwrap_or(scene.now));
        Self { reply, error, scene, provider_time }
    }

    /// A verdict that says nothing about the line.
    pub(crate) fn bare<V>(&self, verdict: V) -> Answered<V> {
        self.proving(Proof::Nothing, verdict)
    }

    /// A verdict whose answer shows that something works.
    pub(crate) fn proving<V>(&self, proof: Proof, verdict: V) -> Answered<V> {
        Answered {
            verdict,
            line: None,
            proof,
            provider_time: self.provider_time,
            server_error: self.reply.status == 500 && self.error.is_some(),
        }
    }

    /// A submit that the stopped line refused.
    pub(crate) fn not_executed(&self, cause: SuspensionCause) -> Answered<SubmitVerdict> {
        self.stopping(cause, |why, not_before| SubmitVerdict::NotExecuted { why, not_before })
    }

    /// A verdict that stops the line.
    pub(crate) fn stopping<V>(
        &self,
        cause: SuspensionCause,
        verdict: impl FnOnce(String, Option<Timestamp>) -> V,
    ) -> Answered<V> {
        let pause = match cause {
            SuspensionCause::RateLimited => self.pause().unwrap_or(RATE_PAUSE),
            SuspensionCause::KeyRefused | SuspensionCause::BalanceEmpty | SuspensionCause::Misconfigured => {
                CAREFUL_PAUSE
            }
        };
        let until = self.scene.now.plus(pause);
        // A limit ends by itself. The others end when a person mends something, maybe sooner than we would look again:
        // the gate keeps the whole line until then, and the job by itself is ready to go on.
        let not_before = (cause == SuspensionCause::RateLimited).then_some(until);
        let message = self.stop_message(cause);
        // Only a call that got past the key is told about the balance.
        let proof = if cause == SuspensionCause::BalanceEmpty { Proof::Access } else { Proof::Nothing };
        Answered {
            verdict: verdict(message.clone(), not_before),
            line: Some(Suspension { cause, until, message }),
            proof,
            provider_time: self.provider_time,
            server_error: false,
        }
    }

    fn stop_message(&self, cause: SuspensionCause) -> String {
        let words = self.words();
        match cause {
            SuspensionCause::RateLimited => format!("the provider asks to slow down: {words}"),
            SuspensionCause::KeyRefused => format!(
                "the provider refuses the API key: {words}; put the right one where it is taken from (the systemd credential `api_key`, `provider.api_key_file` or DROPREEL_PROVIDER__API_KEY) and restart dropreel"
            ),
            SuspensionCause::BalanceEmpty => {
                format!("the balance at the provider is empty: {words}; submits go on once it is topped up")
            }
            SuspensionCause::Misconfigured => {
                let target = match self.reply.redirect_host() {
                    Some(host) => format!(" (it redirects to {host})"),
                    None => String::new(),
                };
                format!(
                    "what answers at {} is not the provider's API{target}: {words}; check `provider.base_url`",
                    self.scene.base_url
                )
            }
        }
    }

    fn pause(&self) -> Option<Duration> {
        self.reply.pause(self.error.as_ref().and_then(|error| error.reset_at), self.scene.now)
    }

    /// When the provider wants to be called again, if it says so.
    pub(crate) fn not_before(&self) -> Option<Timestamp> {
        self.pause().map(|pause| self.scene.now.plus(pause))
    }

    /// What cannot be read, with the status it came under.
    pub(crate) fn told(&self, unreadable: &Unreadable) -> String {
        format!("HTTP {}: {unreadable}", self.reply.status)
    }

    /// What the answer said, for people.
    pub(crate) fn words(&self) -> String {
        let status = self.reply.status;
        match (&self.reply.body, &self.error) {
            (Err(cut), _) => format!("HTTP {status}, but {}", clean(cut, SENTENCE)),
            (Ok(_), Some(error)) => format!("HTTP {status}, {error}"),
            (Ok(bytes), None) => {
                let begins = begins(&String::from_utf8_lossy(bytes));
                if begins.is_empty() {
                    format!("HTTP {status}")
                } else {
                    format!("HTTP {status}, {begins:?}")
                }
            }
        }
    }
}
