//! Judges how a call ended: pure functions from what was heard to a verdict, and to what it means for the
//! line (docs/provider.md#errors; docs/reference.md#job-states).
//!
//! The rule behind the submit table: only an answer that must come from the provider's own API, and that says no,
//! ends a job; only what certainly stopped short of it counts as not executed; all else may have been executed.

use crate::job::TaskId;
use crate::job::event::{CancelVerdict, StatusVerdict, SubmitVerdict};
pub use crate::provider::classify::{Answered, ReplyContext};
use crate::provider::classify::{Class, Judged, class, unheard};
use crate::provider::reply::{CallOutcome, Reply};
use crate::provider::suspension::{Proof, SuspensionCause};
use crate::provider::wire::error::ProviderError;
use crate::provider::wire::text::{SENTENCE, clean};
use crate::provider::wire::{read_status, read_submit};

/// Codes under which services of this kind hide an empty balance behind a 403.
const NO_FUNDS: [&str; 3] = ["insufficient_quota", "insufficient_user_quota", "insufficient_balance"];
/// A 500 that will be one for ever: nothing was made.
const NO_PRICE: [&str; 1] = ["price_not_configured"];
/// How the provider says that it knows no such task.
const NO_TASK: [&str; 2] = ["task_not_found", "task_not_exist"];

/// Judges a submit.
pub fn submitted(heard: &CallOutcome, scene: ReplyContext<'_>) -> Answered<SubmitVerdict> {
    let reply = match heard {
        CallOutcome::Reply(reply) => reply,
        CallOutcome::NotSent(why) => {
            return unheard(SubmitVerdict::NotExecuted { why: clean(why, SENTENCE), not_before: None });
        }
        CallOutcome::Lost(why) => {
            return unheard(SubmitVerdict::Unknown { why: clean(why, SENTENCE), not_before: None });
        }
    };
    let judged = Judged::of(reply, scene);
    let unknown = |why: String| SubmitVerdict::Unknown { why, not_before: judged.not_before() };
    let refused = |error: &ProviderError| {
        SubmitVerdict::Refused(error.clone().into_job_error(&format!("http_{}", reply.status)))
    };
    let stop = |cause| judged.not_executed(cause);
    match (class(reply.status), &judged.error) {
        (Class::Good, _) => match (&reply.body, read_submit(reply.bytes())) {
            (Ok(_), Ok((task, reserved))) => {
                judged.proving(Proof::Funds, SubmitVerdict::Accepted { task, reserved })
            }
            (Ok(_), Err(unreadable)) => judged.bare(unknown(judged.told(&unreadable))),
            (Err(_), _) => judged.bare(unknown(judged.words())),
        },
        (Class::NoKey, _) => stop(SuspensionCause::KeyRefused),
        (Class::NoFunds, _) => stop(SuspensionCause::BalanceEmpty),
        (Class::TooMany, _) => stop(SuspensionCause::RateLimited),
        (Class::Forbidden, Some(error)) if error.is_one_of(&NO_FUNDS) => stop(SuspensionCause::BalanceEmpty),
        (Class::Broken, Some(error)) if error.is_one_of(&NO_PRICE) => {
            judged.proving(Proof::Access, refused(error))
        }
        (Class::Broken, _) if reply.is_replayed() => {
            judged.bare(SubmitVerdict::Replayed { why: judged.words() })
        }
        (Class::Broken | Class::Unsettled, _) => judged.bare(unknown(judged.words())),
        (Class::Conflict, Some(error)) if denies_repeat(error) => {
            judged.proving(Proof::Access, SubmitVerdict::Replayed { why: judged.words() })
        }
        (Class::Conflict, _) => judged.bare(unknown(judged.words())),
        (Class::Invalid, Some(error)) if names_the_key(error) => {
            judged.proving(Proof::Access, SubmitVerdict::Replayed { why: judged.words() })
        }
        (Class::TooLarge, None) => judged.bare(refused(&ProviderError {
            code: None,
            message: judged.words(),
            param: None,
            reset_at: None,
        })),
        // Without a code it is the path that is not known, not something in the body.
        (Class::NotFound, Some(error)) if error.code.is_none() => stop(SuspensionCause::Misconfigured),
        (
            Class::Invalid | Class::Forbidden | Class::NotFound | Class::TooLarge | Class::OtherRefusal,
            Some(error),
        ) => judged.proving(Proof::Access, refused(error)),
        (Class::Invalid | Class::Forbidden | Class::NotFound | Class::OtherRefusal, None) => {
            match reply.body {
                Ok(_) => stop(SuspensionCause::Misconfigured),
                // What it said might have been a refusal; what was sent is all there is to say it again with.
                Err(_) => judged.bare(unknown(judged.words())),
            }
        }
        (Class::Redirect, _) => stop(SuspensionCause::Misconfigured),
    }
}

/// Judges a status query about `asked`.
pub fn asked(heard: &CallOutcome, asked: &TaskId, scene: ReplyContext<'_>) -> Answered<StatusVerdict> {
    let reply = match heard {
        CallOutcome::Reply(reply) => reply,
        CallOutcome::NotSent(why) | CallOutcome::Lost(why) => {
            return unheard(StatusVerdict::Unanswered { why: clean(why, SENTENCE), not_before: None });
        }
    };
    let judged = Judged::of(reply, scene);
    let unanswered = |why: String| StatusVerdict::Unanswered { why, not_before: judged.not_before() };
    let stop =
        |cause| judged.stopping(cause, |why, not_before| StatusVerdict::Unanswered { why, not_before });
    let missing = judged.error.as_ref().is_some_and(|error| error.is_one_of(&NO_TASK));
    match class(reply.status) {
        Class::Good => match (&reply.body, read_status(reply.bytes(), asked, scene.now)) {
            (Ok(_), Ok(facts)) => judged.proving(Proof::Access, StatusVerdict::Seen(facts)),
            (Ok(_), Err(unreadable)) => judged.bare(unanswered(judged.told(&unreadable))),
            (Err(_), _) => judged.bare(unanswered(judged.words())),
        },
        Class::NotFound | Class::Invalid if missing => judged.proving(Proof::Access, StatusVerdict::Missing),
        Class::NoKey => stop(SuspensionCause::KeyRefused),
        // An empty balance stops submits; questions go on.
        Class::NoFunds => judged.stopping(SuspensionCause::BalanceEmpty, |why, _| {
            StatusVerdict::Unanswered { why, not_before: None }
        }),
        Class::TooMany => stop(SuspensionCause::RateLimited),
        Class::Redirect
        | Class::Invalid
        | Class::Forbidden
        | Class::NotFound
        | Class::Conflict
        | Class::TooLarge
        | Class::Unsettled
        | Class::OtherRefusal
        | Class::Broken => judged.bare(unanswered(judged.words())),
    }
}

/// Judges a cancel call.
pub fn called_off(heard: &CallOutcome, scene: ReplyContext<'_>) -> Answered<CancelVerdict> {
    let reply = match heard {
        CallOutcome::Reply(reply) => reply,
        CallOutcome::NotSent(why) | CallOutcome::Lost(why) => {
            return unheard(CancelVerdict::Unanswered { why: clean(why, SENTENCE), not_before: None });
        }
    };
    let judged = Judged::of(reply, scene);
    let stop =
        |cause| judged.stopping(cause, |why, not_before| CancelVerdict::Unanswered { why, not_before });
    match (class(reply.status), &judged.error) {
        // Whatever it says, the next status answer tells whether it came in time. But a page of somebody in between, or
        // half an answer, is not the provider's word, and the wish must not be dropped for it.
        (Class::Good, _) if is_an_answer(reply) => judged.proving(Proof::Access, CancelVerdict::Taken),
        (Class::Good, _) => judged.bare(CancelVerdict::Unanswered { why: judged.words(), not_before: None }),
        (Class::Invalid | Class::Conflict, Some(_)) => {
            judged.proving(Proof::Access, CancelVerdict::TooLate { why: judged.words() })
        }
        (Class::NotFound, _) => judged.bare(CancelVerdict::TooLate { why: judged.words() }),
        (Class::NoKey, _) => stop(SuspensionCause::KeyRefused),
        (Class::NoFunds, _) => stop(SuspensionCause::BalanceEmpty),
        (Class::TooMany, _) => stop(SuspensionCause::RateLimited),
        (Class::Invalid | Class::Conflict, None)
        | (
            Class::Redirect
            | Class::Forbidden
            | Class::TooLarge
            | Class::Unsettled
            | Class::OtherRefusal
            | Class::Broken,
            _,
        ) => judged.bare(CancelVerdict::Unanswered { why: judged.words(), not_before: judged.not_before() }),
    }
}

/// Nothing at all, or JSON that came whole.
fn is_an_answer(reply: &Reply) -> bool {
    let body = reply.body.as_deref();
    body.is_ok_and(|body| body.is_empty() || serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok())
}

/// The key was used with another body, says the provider: it will say so for ever.
fn names_the_key(error: &ProviderError) -> bool {
    mentions(error, &["idempotency", "idempotent"])
}

/// As [`names_the_key`], but a 409 may also mean that the first call is still being handled.
fn denies_repeat(error: &ProviderError) -> bool {
    let waits = ["in progress", "in_progress", "in use", "in_use", "still", "processing", "concurrent"];
    let differs = ["different", "another", "mismatch", "reused", "already used", "does not match", "changed"];
    names_the_key(error) && mentions(error, &differs) && !mentions(error, &waits)
}

/// The provider's own words are not promised: these are looked for in its code, parameter and sentence alike.
fn mentions(error: &ProviderError, words: &[&str]) -> bool {
    let texts = [error.code.as_deref(), error.param.as_deref(), Some(error.message.as_str())];
    texts.into_iter().flatten().any(|text| {
        let text = text.to_lowercase();
        words.iter().any(|word| text.contains(word))
    })
}

#[cfg(test)]
mod tests;
