//! Neutral calls: they are about no job, so that what they get concerns the account.

use serde_json::Value;

use crate::job::suspension::SuspensionCause;
use crate::provider::answer::{Answer, Classified, Evidence, ReplyContext, StatusClass};
use crate::provider::reply::CallOutcome;
use crate::provider::wire::catalogue::{Catalogue, read_catalogue};
use crate::provider::wire::{read_balance, read_json};

/// A call that is about no job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeutralCall {
    /// The list of models: whether the API answers and accepts the key.
    Models,
    /// The balance.
    Balance,
}

impl NeutralCall {
    /// The one that shows whether a cause of suspensions is there.
    pub const fn about(cause: SuspensionCause) -> Self {
        match cause {
            SuspensionCause::BalanceEmpty => Self::Balance,
            _ => Self::Models,
        }
    }
}

/// Classifies a neutral call. Its verdict is the list of models, if it could be read; apart from that, an answer without a
/// refusal and without evidence says nothing.
pub fn classify_neutral(
    call: NeutralCall,
    outcome: &CallOutcome,
    context: ReplyContext<'_>,
) -> Classified<Option<Catalogue>> {
    let reply = match outcome {
        CallOutcome::Reply(reply) => reply,
        CallOutcome::NotSent(why) => return Classified::not_sent(None, why, context),
        CallOutcome::Lost(_) => return Classified::unanswered(None),
    };
    let answer = Answer::of(reply, context);
    let refused = |cause| answer.refused(cause, |_, _| None);
    let class = StatusClass::of(reply.status);
    let json = read_json(reply.bytes()).filter(|json| json.is_object() || json.is_array());
    match (class, json) {
        (StatusClass::Success, Some(Value::Object(balance))) if call == NeutralCall::Balance => {
            match read_balance(&balance) {
                Some(left) if left > 0.0 => answer.verdict_with(Evidence::BalanceSufficient, None),
                Some(_) => refused(SuspensionCause::BalanceEmpty),
                None => answer.verdict_with(Evidence::KeyAccepted, None),
            }
        }
        (StatusClass::Success, Some(list)) => {
            let catalogue = read_catalogue(&list).filter(|_| call == NeutralCall::Models);
            answer.verdict_with(Evidence::KeyAccepted, catalogue)
        }
        // Nothing was said, or it did not come whole.
        (StatusClass::Success, None) if reply.bytes().is_empty() => answer.verdict(None),
        (StatusClass::Success, _) => refused(SuspensionCause::Misconfigured),
        _ => match answer.account_cause() {
            Some(cause) => refused(cause),
            // Older versions of the API lack these calls, and say so in JSON.
            None if answer.is_refused_by_another() => refused(SuspensionCause::Misconfigured),
            None => answer.verdict(None),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::provider::reply::ApiReply;
    use NeutralCall::{Balance, Models};
    use SuspensionCause::{BalanceEmpty, KeyRefused, Misconfigured, RateLimited, Unreachable};

    const CONTEXT: ReplyContext<'static> =
        ReplyContext { now: Timestamp::from_millis(1_775_285_160_000), base_url: "https://qingbo.dev" };
    const HTML: &str = "<html>Just a moment</html>";

    fn reply(status: u16, body: &str) -> CallOutcome {
        CallOutcome::Reply(ApiReply { status, headers: Default::default(), body: Ok(body.into()) })
    }

    #[test]
    fn neutral_call_confirms_a_cause_or_clears_it_or_says_nothing() {
        type Case<'a> = (NeutralCall, CallOutcome, Option<SuspensionCause>, Evidence);
        let cases: &[Case] = &[
            (Models, reply(200, r#"{"object":"list","data":[]}"#), None, Evidence::KeyAccepted),
            (Models, reply(200, HTML), Some(Misconfigured), Evidence::Reachable),
            (Models, reply(200, ""), None, Evidence::Reachable),
            (Models, reply(302, ""), Some(Misconfigured), Evidence::Reachable),
            (Models, reply(401, "{}"), Some(KeyRefused), Evidence::Reachable),
            (Models, reply(403, HTML), Some(Misconfigured), Evidence::Reachable),
            (Models, reply(404, r#"{"detail":"Not Found"}"#), None, Evidence::Reachable),
            (Models, reply(404, HTML), Some(Misconfigured), Evidence::Reachable),
            (Models, reply(429, ""), Some(RateLimited), Evidence::Reachable),
            (Models, reply(503, HTML), None, Evidence::Reachable),
            (Models, CallOutcome::NotSent("no route".into()), Some(Unreachable), Evidence::None),
            (Models, CallOutcome::Lost("reset".into()), None, Evidence::None),
            (Balance, reply(200, r#"{"total_available_usd":16.52}"#), None, Evidence::BalanceSufficient),
            (
                Balance,
                reply(200, r#"{"data":{"total_available_usd":"3"}}"#),
                None,
                Evidence::BalanceSufficient,
            ),
            (Balance, reply(200, r#"{"total_available_usd":0}"#), Some(BalanceEmpty), Evidence::KeyAccepted),
            (
                Balance,
                reply(200, r#"{"total_available_usd":-0.2}"#),
                Some(BalanceEmpty),
                Evidence::KeyAccepted,
            ),
            (Balance, reply(200, r#"{"credits":7}"#), None, Evidence::KeyAccepted),
            (Balance, reply(402, "{}"), Some(BalanceEmpty), Evidence::KeyAccepted),
            (Balance, reply(404, r#"{"error":{"message":"no"}}"#), None, Evidence::Reachable),
        ];
        for (call, outcome, cause, evidence) in cases {
            let classified = classify_neutral(*call, outcome, CONTEXT);
            let found = classified.refusal.map(|refusal| refusal.suspension.cause);
            assert_eq!((found, classified.evidence), (*cause, *evidence), "{call:?} {outcome:?}");
        }
    }
}
