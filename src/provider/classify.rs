//! Classifies how a call ended: pure functions from its outcome to a verdict on its job, and to what the answer means
//! for all calls (docs/provider.md#errors, docs/reference.md#job-states).
//!
//! For a submit, only a refusal that must come from the provider's own API ends the job. Only what certainly did not
//! reach that API counts as not executed. Everything else may have been executed.

use url::Url;

use crate::job::TaskId;
use crate::job::event::{CancelVerdict, Phase, StatusVerdict, SubmitVerdict};
use crate::job::suspension::SuspensionCause;
use crate::provider::answer::{Answer, Classified, Evidence, ReplyContext, StatusClass};
use crate::provider::reply::{ApiReply, CallOutcome};
use crate::provider::wire::error::ProviderError;
use crate::provider::wire::text::{SENTENCE, clean};
use crate::provider::wire::{read_refusal, read_status, read_submit};

/// Codes of a 500 that no repeat changes: no task was made.
const NO_PRICE: [&str; 1] = ["price_not_configured"];
/// Codes of an unknown task.
const NO_TASK: [&str; 2] = ["task_not_found", "task_not_exist"];

/// Messages of servers that know nothing of tasks, and parts of them.
const GENERIC: [&str; 8] = [
    "bad request",
    "unauthorized",
    "forbidden",
    "access denied",
    "not found",
    "method not allowed",
    "not acceptable",
    "request blocked",
];
const GENERIC_PARTS: [&str; 6] =
    ["invalid url", "no route", "cannot post", "not authenticated", "page not found", "unknown endpoint"];

/// Classifies a submit.
pub fn classify_submit(outcome: &CallOutcome, context: ReplyContext<'_>) -> Classified<SubmitVerdict> {
    let reply = match outcome {
        CallOutcome::Reply(reply) => reply,
        CallOutcome::NotSent(why) => {
            let verdict = SubmitVerdict::NotExecuted { why: clean(why, SENTENCE), not_before: None };
            return Classified::not_sent(verdict, why, context);
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
    let class = StatusClass::of(reply.status);
    if class == StatusClass::Success
        && let (Ok(_), Ok((task, reserved))) = (&reply.body, read_submit(reply.bytes()))
    {
        return answer.verdict_with(Evidence::BalanceSufficient, SubmitVerdict::Accepted { task, reserved });
    }
    if let Some(cause) = answer.account_cause() {
        return answer.refused(cause, |why, not_before| SubmitVerdict::NotExecuted { why, not_before });
    }
    match (class, &answer.error) {
        (StatusClass::Success, _) => match (&reply.body, read_submit(reply.bytes())) {
            (Ok(_), Err(unreadable)) => answer.unusable(unknown(answer.describe_unreadable(&unreadable))),
            (Ok(_) | Err(_), _) => answer.verdict(unknown(answer.describe())),
        },
        (StatusClass::ServerError, Some(error)) if error.is_one_of(&NO_PRICE) => {
            answer.verdict_with(Evidence::KeyAccepted, answer.refused_job(error))
        }
        (StatusClass::ServerError, _) if reply.is_replayed() => {
            answer.verdict(SubmitVerdict::Replayed { why: answer.describe() })
        }
        (StatusClass::Conflict, Some(error)) if refuses_repeat(error) => {
            answer.verdict_with(Evidence::KeyAccepted, SubmitVerdict::Replayed { why: answer.describe() })
        }
        (StatusClass::ServerError | StatusClass::Indeterminate | StatusClass::Conflict, _) => {
            answer.verdict(unknown(answer.describe()))
        }
        (StatusClass::Invalid, Some(error)) if is_about_idempotency_key(error) => {
            answer.verdict_with(Evidence::KeyAccepted, SubmitVerdict::Replayed { why: answer.describe() })
        }
        (StatusClass::TooLarge, None) => {
            answer.verdict(answer.refused_job(&ProviderError::of_message(answer.describe())))
        }
        (StatusClass::Redirect, _) => blocked(&answer),
        // The body that was cut off might have been a refusal: the same attempt is sent again to read it.
        _ if reply.body.is_err() => answer.verdict(unknown(answer.describe())),
        (_, Some(error)) if error.code.is_some() => {
            answer.verdict_with(Evidence::KeyAccepted, answer.refused_job(error))
        }
        (class, _) => match readable_refusal(class, &answer, reply) {
            Some(error) => answer.verdict(answer.refused_job(&error)),
            None => blocked(&answer),
        },
    }
}

/// Something else than the provider answered a submit. It may be about this one job, such as a firewall that dislikes
/// its prompt.
fn blocked(answer: &Answer<'_>) -> Classified<SubmitVerdict> {
    let blocked = |why, _| SubmitVerdict::Blocked { why, not_before: answer.not_before() };
    let classified = answer.refused(SuspensionCause::Misconfigured, blocked);
    Classified { unusable: Some(answer.as_evidence()), ..classified }
}

/// The refusal of a job, without a code or in the format of another framework; `None` for an unknown path.
fn readable_refusal(class: StatusClass, answer: &Answer<'_>, reply: &ApiReply) -> Option<ProviderError> {
    let error = answer.error.clone().or_else(|| read_refusal(reply.bytes()))?;
    let message = error.message.to_lowercase();
    let is_generic = GENERIC.contains(&message.trim_end_matches(['.', '!']))
        || GENERIC_PARTS.iter().any(|part| message.contains(part));
    let is_about_model = message.contains("model") || message.contains("模型");
    (!is_generic && (class != StatusClass::NotFound || is_about_model)).then_some(error)
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
            let verdict = StatusVerdict::Unanswered { why: clean(why, SENTENCE), not_before: None };
            return unsent_or_lost(outcome, verdict, why, context);
        }
    };
    let answer = Answer::of(reply, context);
    let unanswered = |why: String| StatusVerdict::Unanswered { why, not_before: answer.not_before() };
    let missing = answer.error.as_ref().is_some_and(|error| error.is_one_of(&NO_TASK));
    let class = StatusClass::of(reply.status);
    if class == StatusClass::Success {
        let base = Url::parse(context.base_url).ok();
        return match (&reply.body, read_status(reply.bytes(), task, context.now, base.as_ref())) {
            (Ok(_), Ok(facts)) => {
                let is_unusable = facts.phase == Phase::Completed && facts.outputs.is_empty();
                let unusable = is_unusable.then(|| answer.as_evidence());
                let verdict = StatusVerdict::Answered(facts);
                Classified { unusable, ..answer.verdict_with(Evidence::KeyAccepted, verdict) }
            }
            (Ok(_), Err(unreadable)) => answer.unusable(StatusVerdict::Unreadable {
                why: answer.describe_unreadable(&unreadable),
                not_before: answer.not_before(),
            }),
            (Err(_), _) => answer.verdict(unanswered(answer.describe())),
        };
    }
    if matches!(class, StatusClass::NotFound | StatusClass::Invalid) && missing {
        return answer.verdict_with(Evidence::KeyAccepted, StatusVerdict::Missing);
    }
    match answer.account_cause() {
        Some(cause) => answer.refused(cause, |why, not_before| StatusVerdict::Unanswered { why, not_before }),
        None if answer.is_refused_by_another() => {
            answer.refused(SuspensionCause::Misconfigured, |why, _| unanswered(why))
        }
        None => answer.verdict(unanswered(answer.describe())),
    }
}

/// Classifies a cancel call.
pub fn classify_cancel(outcome: &CallOutcome, context: ReplyContext<'_>) -> Classified<CancelVerdict> {
    let reply = match outcome {
        CallOutcome::Reply(reply) => reply,
        CallOutcome::NotSent(why) | CallOutcome::Lost(why) => {
            let verdict = CancelVerdict::Unanswered { why: clean(why, SENTENCE), not_before: None };
            return unsent_or_lost(outcome, verdict, why, context);
        }
    };
    let answer = Answer::of(reply, context);
    let class = StatusClass::of(reply.status);
    if class != StatusClass::Success
        && let Some(cause) = answer.account_cause()
    {
        return answer.refused(cause, |why, not_before| CancelVerdict::Unanswered { why, not_before });
    }
    let unanswered = || CancelVerdict::Unanswered { why: answer.describe(), not_before: answer.not_before() };
    // A page that is not found may still mean that the task is gone: the next status answer shows it.
    if answer.is_refused_by_another() && class != StatusClass::NotFound {
        return answer.refused(SuspensionCause::Misconfigured, |_, _| unanswered());
    }
    match (class, &answer.error) {
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
        _ => answer.verdict(unanswered()),
    }
}

/// The verdict on a call without an answer.
fn unsent_or_lost<V>(
    outcome: &CallOutcome,
    verdict: V,
    why: &str,
    context: ReplyContext<'_>,
) -> Classified<V> {
    match outcome {
        CallOutcome::NotSent(_) => Classified::not_sent(verdict, why, context),
        CallOutcome::Lost(_) | CallOutcome::Reply(_) => Classified::unanswered(verdict),
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
