//! Classifies how a call ended: pure functions from its outcome to a verdict on its job, and to what the answer means
//! for all calls (docs/provider.md#errors, docs/reference.md#job-states).
//!
//! For a submit, only a refusal that must come from the provider's own API ends the job. Only what certainly did not
//! reach that API counts as not executed. Everything else may have been executed.

use url::Url;

use crate::job::TaskId;
use crate::job::event::{CancelVerdict, StatusVerdict, SubmitVerdict};
use crate::job::suspension::SuspensionCause;
use crate::provider::answer::{Answer, Classified, Evidence, ReplyContext, StatusClass};
use crate::provider::reply::{ApiReply, CallOutcome};
use crate::provider::wire::error::ProviderError;
use crate::provider::wire::text::{SENTENCE, clean};
use crate::provider::wire::{read_status, read_submit};

/// Codes of a 403 that mean an empty balance.
const NO_FUNDS: [&str; 3] = ["insufficient_quota", "insufficient_user_quota", "insufficient_balance"];
/// Codes of a 500 that no repeat changes: no task was made.
const NO_PRICE: [&str; 1] = ["price_not_configured"];
/// Codes of an unknown task.
const NO_TASK: [&str; 2] = ["task_not_found", "task_not_exist"];

/// Classifies a submit.
pub fn classify_submit(outcome: &CallOutcome, context: ReplyContext<'_>) -> Classified<SubmitVerdict> {
    let reply = match outcome {
        CallOutcome::Reply(reply) => reply,
        CallOutcome::NotSent(why) => {
            return Classified::unanswered(SubmitVerdict::NotExecuted {
                why: clean(why, SENTENCE),
                not_before: None,
            });
        }
        CallOutcome::Lost(why) => {
            return Classified::unanswered(SubmitVerdict::Unknown {
                why: clean(why, SENTENCE),
                not_before: None,
            });
        }
    };
    let answer = Answer::of(reply, context);
    let unknown = |why: String| SubmitVerdict::Unknown { why, not_before: answer.not_before() };
    let refused = |error: &ProviderError| {
        SubmitVerdict::Refused(error.clone().into_job_error(&format!("http_{}", reply.status)))
    };
    let suspend = |cause| answer.suspended_submit(cause);
    match (StatusClass::of(reply.status), &answer.error) {
        (StatusClass::Success, _) => match (&reply.body, read_submit(reply.bytes())) {
            (Ok(_), Ok((task, reserved))) => {
                answer.verdict_with(Evidence::BalanceSufficient, SubmitVerdict::Accepted { task, reserved })
            }
            (Ok(_), Err(unreadable)) => answer.verdict(unknown(answer.describe_unreadable(&unreadable))),
            (Err(_), _) => answer.verdict(unknown(answer.describe())),
        },
        (StatusClass::Unauthorized, _) => suspend(SuspensionCause::KeyRefused),
        (StatusClass::PaymentRequired, _) => suspend(SuspensionCause::BalanceEmpty),
        (StatusClass::TooManyRequests, _) => suspend(SuspensionCause::RateLimited),
        (StatusClass::Forbidden, Some(error)) if error.is_one_of(&NO_FUNDS) => {
            suspend(SuspensionCause::BalanceEmpty)
        }
        (StatusClass::ServerError, Some(error)) if error.is_one_of(&NO_PRICE) => {
            answer.verdict_with(Evidence::KeyAccepted, refused(error))
        }
        (StatusClass::ServerError, _) if reply.is_replayed() => {
            answer.verdict(SubmitVerdict::Replayed { why: answer.describe() })
        }
        (StatusClass::ServerError | StatusClass::Indeterminate, _) => {
            answer.verdict(unknown(answer.describe()))
        }
        (StatusClass::Conflict, Some(error)) if refuses_repeat(error) => {
            answer.verdict_with(Evidence::KeyAccepted, SubmitVerdict::Replayed { why: answer.describe() })
        }
        (StatusClass::Conflict, _) => answer.verdict(unknown(answer.describe())),
        (StatusClass::Invalid, Some(error)) if is_about_idempotency_key(error) => {
            answer.verdict_with(Evidence::KeyAccepted, SubmitVerdict::Replayed { why: answer.describe() })
        }
        (StatusClass::TooLarge, None) => answer.verdict(refused(&ProviderError {
            code: None,
            message: answer.describe(),
            param: None,
            reset_at: None,
        })),
        // Without a code, the path is unknown, not something in the body.
        (StatusClass::NotFound, Some(error)) if error.code.is_none() => {
            suspend(SuspensionCause::Misconfigured)
        }
        (
            StatusClass::Invalid
            | StatusClass::Forbidden
            | StatusClass::NotFound
            | StatusClass::TooLarge
            | StatusClass::OtherClientError,
            Some(error),
        ) => answer.verdict_with(Evidence::KeyAccepted, refused(error)),
        (
            StatusClass::Invalid
            | StatusClass::Forbidden
            | StatusClass::NotFound
            | StatusClass::OtherClientError,
            None,
        ) => {
            match reply.body {
                Ok(_) => suspend(SuspensionCause::Misconfigured),
                // The body that was cut off might have been a refusal: the same attempt is sent again to read it.
                Err(_) => answer.verdict(unknown(answer.describe())),
            }
        }
        (StatusClass::Redirect, _) => suspend(SuspensionCause::Misconfigured),
    }
}

/// Classifies a status query about `task`.
pub fn classify_status(
    outcome: &CallOutcome,
    task: &TaskId,
    context: ReplyContext<'_>,
) -> Classified<StatusVerdict> {
    let reply = match outcome {
        CallOutcome::Reply(reply) => reply,
        CallOutcome::NotSent(why) | CallOutcome::Lost(why) => {
            return Classified::unanswered(StatusVerdict::Unanswered {
                why: clean(why, SENTENCE),
                not_before: None,
            });
        }
    };
    let answer = Answer::of(reply, context);
    let unanswered = |why: String| StatusVerdict::Unanswered { why, not_before: answer.not_before() };
    let suspend =
        |cause| answer.suspension(cause, |why, not_before| StatusVerdict::Unanswered { why, not_before });
    let missing = answer.error.as_ref().is_some_and(|error| error.is_one_of(&NO_TASK));
    match StatusClass::of(reply.status) {
        StatusClass::Success => match (
            &reply.body,
            read_status(reply.bytes(), task, context.now, Url::parse(context.base_url).ok().as_ref()),
        ) {
            (Ok(_), Ok(facts)) => answer.verdict_with(Evidence::KeyAccepted, StatusVerdict::Answered(facts)),
            (Ok(_), Err(unreadable)) => answer.verdict(StatusVerdict::Unreadable {
                why: answer.describe_unreadable(&unreadable),
                not_before: answer.not_before(),
            }),
            (Err(_), _) => answer.verdict(unanswered(answer.describe())),
        },
        StatusClass::NotFound | StatusClass::Invalid if missing => {
            answer.verdict_with(Evidence::KeyAccepted, StatusVerdict::Missing)
        }
        StatusClass::Unauthorized => suspend(SuspensionCause::KeyRefused),
        // An empty balance suspends submits only; the task is polled on its own schedule.
        StatusClass::PaymentRequired => answer.suspension(SuspensionCause::BalanceEmpty, |why, _| {
            StatusVerdict::Unanswered { why, not_before: None }
        }),
        StatusClass::TooManyRequests => suspend(SuspensionCause::RateLimited),
        StatusClass::Redirect
        | StatusClass::Invalid
        | StatusClass::Forbidden
        | StatusClass::NotFound
        | StatusClass::Conflict
        | StatusClass::TooLarge
        | StatusClass::Indeterminate
        | StatusClass::OtherClientError
        | StatusClass::ServerError => answer.verdict(unanswered(answer.describe())),
    }
}

/// Classifies a cancel call.
pub fn classify_cancel(outcome: &CallOutcome, context: ReplyContext<'_>) -> Classified<CancelVerdict> {
    let reply = match outcome {
        CallOutcome::Reply(reply) => reply,
        CallOutcome::NotSent(why) | CallOutcome::Lost(why) => {
            return Classified::unanswered(CancelVerdict::Unanswered {
                why: clean(why, SENTENCE),
                not_before: None,
            });
        }
    };
    let answer = Answer::of(reply, context);
    let suspend =
        |cause| answer.suspension(cause, |why, not_before| CancelVerdict::Unanswered { why, not_before });
    match (StatusClass::of(reply.status), &answer.error) {
        // Whatever the body says, the next status answer shows whether the cancel came in time. But an error page of a
        // gateway, or half an answer, is not the provider's, and must not end the attempts to cancel.
        (StatusClass::Success, _) if is_empty_or_json(reply) => {
            answer.verdict_with(Evidence::KeyAccepted, CancelVerdict::Accepted)
        }
        (StatusClass::Success, _) => {
            answer.verdict(CancelVerdict::Unanswered { why: answer.describe(), not_before: None })
        }
        (StatusClass::Invalid | StatusClass::Conflict, Some(_)) => {
            answer.verdict_with(Evidence::KeyAccepted, CancelVerdict::TooLate { why: answer.describe() })
        }
        (StatusClass::NotFound, _) => answer.verdict(CancelVerdict::TooLate { why: answer.describe() }),
        (StatusClass::Unauthorized, _) => suspend(SuspensionCause::KeyRefused),
        (StatusClass::PaymentRequired, _) => suspend(SuspensionCause::BalanceEmpty),
        (StatusClass::TooManyRequests, _) => suspend(SuspensionCause::RateLimited),
        (StatusClass::Invalid | StatusClass::Conflict, None)
        | (
            StatusClass::Redirect
            | StatusClass::Forbidden
            | StatusClass::TooLarge
            | StatusClass::Indeterminate
            | StatusClass::OtherClientError
            | StatusClass::ServerError,
            _,
        ) => answer
            .verdict(CancelVerdict::Unanswered { why: answer.describe(), not_before: answer.not_before() }),
    }
}

/// Whether the body is empty or complete JSON.
fn is_empty_or_json(reply: &ApiReply) -> bool {
    let body = reply.body.as_deref();
    body.is_ok_and(|body| body.is_empty() || serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok())
}

/// Whether the error is about the idempotency key, such as "used with another body", which no repeat changes.
fn is_about_idempotency_key(error: &ProviderError) -> bool {
    mentions(error, &["idempotency", "idempotent"])
}

/// Whether a 409 refuses the idempotency key for good. It may also mean that the first call is still being handled.
fn refuses_repeat(error: &ProviderError) -> bool {
    let waits = ["in progress", "in_progress", "in use", "in_use", "still", "processing", "concurrent"];
    let differs = ["different", "another", "mismatch", "reused", "already used", "does not match", "changed"];
    is_about_idempotency_key(error) && mentions(error, &differs) && !mentions(error, &waits)
}

/// Whether code, parameter or message contain one of `words`: the provider does not document which of them does.
fn mentions(error: &ProviderError, words: &[&str]) -> bool {
    let texts = [error.code.as_deref(), error.param.as_deref(), Some(error.message.as_str())];
    texts.into_iter().flatten().any(|text| {
        let text = text.to_lowercase();
        words.iter().any(|word| text.contains(word))
    })
}

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod tests;
