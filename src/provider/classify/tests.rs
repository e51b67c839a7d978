use std::time::Duration;

use super::*;
use crate::clock::Timestamp;
use crate::job::event::Phase;
use crate::job::suspension::PROBE_INTERVAL;
use crate::job::suspension::SuspensionCause::{BalanceEmpty, KeyRefused, Misconfigured, RateLimited};
use crate::provider::answer::AccountRefusal;
use crate::provider::reply::ApiReply;

const NOW: Timestamp = Timestamp::from_millis(1_775_285_160_000);
const CONTEXT: ReplyContext<'static> = ReplyContext { now: NOW, base_url: "https://qingbo.dev" };

const HTML: &str = "<html><title>Oops</title></html>";
const PLAIN: &str = r#"{"error":{"message":"no","code":"bad"}}"#;

type Headers = &'static [(&'static str, &'static str)];

fn reply(status: u16, headers: Headers, body: &str) -> CallOutcome {
    let headers = headers
        .iter()
        .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
        .collect();
    CallOutcome::Reply(ApiReply { status, headers, body: Ok(body.as_bytes().to_vec()) })
}

fn cut(status: u16) -> CallOutcome {
    CallOutcome::Reply(ApiReply {
        status,
        headers: Default::default(),
        body: Err("the answer broke off".into()),
    })
}

fn task() -> TaskId {
    TaskId::parse("t-1").expect("a task id")
}

fn secs(time: Option<Timestamp>) -> Option<u64> {
    time.map(|time| time.since(NOW).as_secs())
}

fn cause_of<V>(classified: &Classified<V>) -> Option<SuspensionCause> {
    classified.refusal.as_ref().map(|refusal| refusal.suspension.cause)
}

/// The verdict as one word, and the wait that it asks for in seconds.
fn word(verdict: &SubmitVerdict) -> (String, Option<u64>) {
    match verdict {
        SubmitVerdict::Accepted { task, .. } => (format!("accepted {task}"), None),
        SubmitVerdict::Refused(error) => (format!("refused {}", error.code), None),
        SubmitVerdict::Suspended { not_before, .. } => ("suspended".into(), secs(*not_before)),
        SubmitVerdict::NotExecuted { not_before, .. } => ("not executed".into(), secs(*not_before)),
        SubmitVerdict::Blocked { not_before, .. } => ("blocked".into(), secs(*not_before)),
        SubmitVerdict::Unknown { not_before, .. } => ("unknown".into(), secs(*not_before)),
        SubmitVerdict::Replayed { .. } => ("replayed".into(), None),
        SubmitVerdict::DuplicateTask { .. } => ("shared".into(), None),
    }
}

#[test]
fn submit_answers_and_their_verdicts() {
    type Case = (u16, Headers, &'static str, &'static str, Option<u64>, Option<SuspensionCause>, Evidence);
    use Evidence::{BalanceSufficient, KeyAccepted, Reachable};
    let used = r#"{"error":{"code":"idempotency_key_reused","message":"used with a different body"}}"#;
    let busy = r#"{"error":{"code":"idempotency_key_in_use","message":"a request with this key is still in progress"}}"#;
    let unsaid = r#"{"error":{"message":"conflict"}}"#;
    let cases: &[Case] = &[
        // Accepted.
        (200, &[], r#"{"task_id":"t-1"}"#, "accepted t-1", None, None, BalanceSufficient),
        (201, &[], r#"{"code":"success","data":"t-1"}"#, "accepted t-1", None, None, BalanceSufficient),
        (
            200,
            &[("idempotent-replayed", "true")],
            r#"{"task_id":"t-1"}"#,
            "accepted t-1",
            None,
            None,
            BalanceSufficient,
        ),
        // Accepted, perhaps.
        (200, &[], HTML, "unknown", None, None, Reachable),
        (200, &[], "", "unknown", None, None, Reachable),
        (200, &[], "{}", "unknown", None, None, Reachable),
        (204, &[], "", "unknown", None, None, Reachable),
        (200, &[], PLAIN, "unknown", None, None, Reachable),
        (200, &[], r#"{"code":"fail","message":"busy","data":null}"#, "unknown", None, None, Reachable),
        (408, &[], HTML, "unknown", None, None, Reachable),
        (425, &[], PLAIN, "unknown", None, None, Reachable),
        (500, &[], PLAIN, "unknown", None, None, Reachable),
        (502, &[], HTML, "unknown", None, None, Reachable),
        (503, &[("retry-after", "20")], HTML, "unknown", Some(20), None, Reachable),
        (503, &[("retry-after", "Sat, 04 Apr 2026 06:47:00 GMT")], "", "unknown", Some(60), None, Reachable),
        (504, &[], "", "unknown", None, None, Reachable),
        (520, &[], HTML, "unknown", None, None, Reachable),
        (999, &[], "", "unknown", None, None, Reachable),
        (409, &[], busy, "unknown", None, None, Reachable),
        (409, &[], unsaid, "unknown", None, None, Reachable),
        (409, &[], HTML, "unknown", None, None, Reachable),
        (409, &[("retry-after", "3")], busy, "unknown", Some(3), None, Reachable),
        // Refused for good.
        (
            400,
            &[],
            r#"{"error":{"message":"no","code":"capability_violation","param":"extra"}}"#,
            "refused capability_violation",
            None,
            None,
            KeyAccepted,
        ),
        (400, &[], r#"{"error":"bad model"}"#, "refused http_400", None, None, Reachable),
        (
            404,
            &[],
            r#"{"error":{"code":"model_not_found","message":"no"}}"#,
            "refused model_not_found",
            None,
            None,
            KeyAccepted,
        ),
        (413, &[], PLAIN, "refused bad", None, None, KeyAccepted),
        (413, &[], HTML, "refused http_413", None, None, Reachable),
        (422, &[], PLAIN, "refused bad", None, None, KeyAccepted),
        (403, &[], PLAIN, "refused bad", None, None, KeyAccepted),
        (451, &[], PLAIN, "refused bad", None, None, KeyAccepted),
        (
            500,
            &[],
            r#"{"error":{"code":"price_not_configured","message":"no"}}"#,
            "refused price_not_configured",
            None,
            None,
            KeyAccepted,
        ),
        (
            500,
            &[("idempotent-replayed", "true")],
            r#"{"error":{"code":"price_not_configured"}}"#,
            "refused price_not_configured",
            None,
            None,
            KeyAccepted,
        ),
        // Not the status of a final response, so not the provider's.
        (100, &[], r#"{"error":{"code":"price_not_configured"}}"#, "unknown", None, None, Reachable),
        (0, &[("idempotent-replayed", "true")], PLAIN, "unknown", None, None, Reachable),
        // The same for every repeat of this key.
        (500, &[("idempotent-replayed", "true")], PLAIN, "replayed", None, None, Reachable),
        (503, &[("idempotency-replayed", "True")], HTML, "replayed", None, None, Reachable),
        (500, &[("idempotent-replayed", "false")], PLAIN, "unknown", None, None, Reachable),
        (422, &[], used, "replayed", None, None, KeyAccepted),
        (400, &[], used, "replayed", None, None, KeyAccepted),
        (409, &[], used, "replayed", None, None, KeyAccepted),
        // Not executed, and calls are suspended.
        (
            401,
            &[],
            r#"{"error":{"code":"invalid_api_key","message":"no"}}"#,
            "not executed",
            None,
            Some(KeyRefused),
            Reachable,
        ),
        (401, &[("retry-after", "1")], HTML, "not executed", None, Some(KeyRefused), Reachable),
        (402, &[], PLAIN, "not executed", None, Some(BalanceEmpty), KeyAccepted),
        (
            403,
            &[],
            r#"{"error":{"code":"insufficient_user_quota","message":"no"}}"#,
            "not executed",
            None,
            Some(BalanceEmpty),
            KeyAccepted,
        ),
        (429, &[("retry-after", "7")], PLAIN, "not executed", Some(7), Some(RateLimited), Reachable),
        (
            429,
            &[],
            r#"{"error":{"code":"quota_window_exceeded","reset_at":1775285220}}"#,
            "not executed",
            Some(60),
            Some(RateLimited),
            Reachable,
        ),
        (
            429,
            &[],
            r#"{"error":{"code":"quota_window_exceeded","reset_at":1775285220000}}"#,
            "not executed",
            Some(60),
            Some(RateLimited),
            Reachable,
        ),
        (
            429,
            &[],
            r#"{"error":{"reset_at":"2026-04-04T06:47:00Z"}}"#,
            "not executed",
            Some(60),
            Some(RateLimited),
            Reachable,
        ),
        (
            429,
            &[],
            r#"{"error":{"reset_at":1776000000}}"#,
            "not executed",
            Some(86_400),
            Some(RateLimited),
            Reachable,
        ),
        (429, &[], HTML, "not executed", Some(30), Some(RateLimited), Reachable),
        (
            301,
            &[("location", "https://www.qingbo.dev/v1/tasks")],
            "",
            "blocked",
            None,
            Some(Misconfigured),
            Reachable,
        ),
        (308, &[("location", "/v2/tasks")], "", "blocked", None, Some(Misconfigured), Reachable),
        (400, &[], HTML, "blocked", None, Some(Misconfigured), Reachable),
        (403, &[], HTML, "blocked", None, Some(Misconfigured), Reachable),
        (404, &[], HTML, "blocked", None, Some(Misconfigured), Reachable),
        (
            404,
            &[],
            r#"{"error":{"message":"Invalid URL (POST /x/v1/tasks)"}}"#,
            "blocked",
            None,
            Some(Misconfigured),
            Reachable,
        ),
        (404, &[], r#"{"detail":"Not Found"}"#, "blocked", None, Some(Misconfigured), Reachable),
        (405, &[], HTML, "blocked", None, Some(Misconfigured), Reachable),
        (407, &[], "", "blocked", None, Some(Misconfigured), Reachable),
    ];
    for (status, headers, body, verdict, not_before, cause, evidence) in cases {
        let classified = classify_submit(&reply(*status, headers, body), CONTEXT);
        let found = (word(&classified.verdict), cause_of(&classified), classified.evidence);
        assert_eq!(
            found,
            (((*verdict).to_owned(), *not_before), *cause, *evidence),
            "{status} {headers:?} {body}"
        );
        if let Some(AccountRefusal { suspension, is_certain }) = classified.refusal {
            assert_eq!(is_certain, cause == &Some(RateLimited) && *body != HTML, "{status} {body}");
            let wait = not_before.unwrap_or(PROBE_INTERVAL.as_secs());
            assert_eq!(secs(suspension.until), Some(wait), "{status} {body}");
        }
    }
}

#[test]
fn submits_without_a_whole_answer_may_have_been_executed() {
    let not_sent = classify_submit(&CallOutcome::NotSent("connection refused".into()), CONTEXT);
    assert_eq!(word(&not_sent.verdict).0, "not executed");
    let lost = classify_submit(&CallOutcome::Lost("connection reset".into()), CONTEXT);
    assert_eq!(word(&lost.verdict).0, "unknown");
    for status in [200, 201, 400, 403, 404, 409, 422, 500, 503] {
        assert_eq!(
            word(&classify_submit(&cut(status), CONTEXT).verdict).0,
            "unknown",
            "{status}, its body cut"
        );
    }
    for (status, cause) in [(301, Misconfigured), (401, KeyRefused), (402, BalanceEmpty), (429, RateLimited)]
    {
        assert_eq!(cause_of(&classify_submit(&cut(status), CONTEXT)), Some(cause), "{status}, its body cut");
    }
}

#[test]
fn status_answers_and_their_verdicts() {
    let seen = r#"{"task_id":"t-1","status":"processing"}"#;
    type Case = (u16, Headers, &'static str, &'static str, Option<u64>, Option<SuspensionCause>);
    let cases: &[Case] = &[
        (200, &[], seen, "seen", None, None),
        (
            200,
            &[],
            r#"{"code":"success","data":{"task_id":"t-1","status":"IN_PROGRESS"}}"#,
            "seen",
            None,
            None,
        ),
        (200, &[], r#"{"task_id":"t-2","status":"completed"}"#, "unreadable", None, None),
        (200, &[], HTML, "unreadable", None, None),
        (200, &[], PLAIN, "unreadable", None, None),
        (404, &[], r#"{"error":{"code":"task_not_found","message":"no"}}"#, "missing", None, None),
        (400, &[], r#"{"code":"task_not_exist","message":"no","data":null}"#, "missing", None, None),
        (404, &[], r#"{"error":{"message":"Invalid URL"}}"#, "unanswered", None, None),
        (404, &[], HTML, "unanswered", None, Some(Misconfigured)),
        (500, &[], r#"{"error":{"code":"task_not_found","message":"no"}}"#, "unanswered", None, None),
        (301, &[("location", "https://h/x")], "", "unanswered", None, Some(Misconfigured)),
        (400, &[], PLAIN, "unanswered", None, None),
        (403, &[], HTML, "unanswered", None, Some(Misconfigured)),
        (403, &[], r#"{"detail":"no"}"#, "unanswered", None, None),
        (405, &[], HTML, "unanswered", None, Some(Misconfigured)),
        (409, &[], PLAIN, "unanswered", None, None),
        (503, &[("retry-after", "20")], "", "unanswered", Some(20), None),
        (401, &[], PLAIN, "unanswered", None, Some(KeyRefused)),
        (402, &[], PLAIN, "unanswered", None, Some(BalanceEmpty)),
        (429, &[("retry-after", "20")], PLAIN, "unanswered", Some(20), Some(RateLimited)),
    ];
    for (status, headers, body, expected, not_before, cause) in cases {
        let classified = classify_status(&reply(*status, headers, body), &task(), CONTEXT);
        let found = match &classified.verdict {
            StatusVerdict::Answered(facts) => {
                assert_eq!(facts.phase, Phase::Processing);
                ("seen", None)
            }
            StatusVerdict::Missing => ("missing", None),
            StatusVerdict::Unanswered { not_before, .. } => ("unanswered", secs(*not_before)),
            StatusVerdict::Unreadable { not_before, .. } => ("unreadable", secs(*not_before)),
        };
        assert_eq!(found, (*expected, *not_before), "{status} {body}");
        assert_eq!(cause_of(&classified), *cause, "{status} {body}");
        assert_eq!(
            classified.evidence == Evidence::Reachable,
            matches!(*expected, "unanswered" | "unreadable") && *status != 402,
            "{status} {body}"
        );
    }
    assert!(matches!(classify_status(&cut(200), &task(), CONTEXT).verdict, StatusVerdict::Unanswered { .. }));
}

#[test]
fn cancel_answers_and_their_verdicts() {
    let late = r#"{"error":{"code":"task_not_cancellable","message":"already processing"}}"#;
    let cases: &[(u16, &str, &str, Option<SuspensionCause>)] = &[
        (200, "{}", "accepted", None),
        (202, "", "accepted", None),
        (200, HTML, "unanswered", None),
        (200, r#"{"task_id":"task-wave1","sta"#, "unanswered", None),
        (400, late, "too late", None),
        (409, late, "too late", None),
        (404, r#"{"error":{"code":"task_not_found","message":"no"}}"#, "too late", None),
        (404, HTML, "too late", None),
        (400, HTML, "unanswered", Some(Misconfigured)),
        (403, HTML, "unanswered", Some(Misconfigured)),
        (403, PLAIN, "unanswered", None),
        (301, "", "unanswered", Some(Misconfigured)),
        (500, PLAIN, "unanswered", None),
        (401, PLAIN, "unanswered", Some(KeyRefused)),
        (402, PLAIN, "unanswered", Some(BalanceEmpty)),
        (429, PLAIN, "unanswered", Some(RateLimited)),
    ];
    for (status, body, expected, cause) in cases {
        let classified = classify_cancel(&reply(*status, &[], body), CONTEXT);
        let found = match &classified.verdict {
            CancelVerdict::Accepted => "accepted",
            CancelVerdict::TooLate { .. } => "too late",
            CancelVerdict::Unanswered { .. } => "unanswered",
        };
        assert_eq!((found, cause_of(&classified)), (*expected, *cause), "{status} {body}");
    }
    for outcome in [CallOutcome::Lost(String::new()), cut(200)] {
        assert!(matches!(classify_cancel(&outcome, CONTEXT).verdict, CancelVerdict::Unanswered { .. }));
    }
}

#[test]
fn messages_of_suspensions_name_the_remedy() {
    let message = |status, headers, body| {
        classify_submit(&reply(status, headers, body), CONTEXT).refusal.expect("a refusal").suspension.message
    };
    let moved = message(308, &[("location", "https://www.qingbo.dev/v1/tasks?x=secret")], "");
    assert!(moved.contains("https://qingbo.dev") && moved.contains("redirects to www.qingbo.dev"), "{moved}");
    assert!(moved.contains("provider.base_url") && !moved.contains("secret"), "{moved}");
    let refused = message(401, &[], r#"{"error":{"message":"key expired"}}"#);
    assert!(refused.contains("key expired") && refused.contains("api_key_file"), "{refused}");
    assert!(message(402, &[], PLAIN).contains("balance"));
}

#[test]
fn verdicts_do_not_repeat_secret_addresses() {
    let body = r#"{"error":{"code":"bad","message":"callback https://hooks.example/callbacks/j/s3cret failed\u001b[2J"}}"#;
    for status in [400, 401, 402, 403, 404, 409, 429, 500, 503] {
        let shown = format!("{:?}", classify_submit(&reply(status, &[], body), CONTEXT));
        assert!(!shown.contains("s3cret") && !shown.contains("\\u{1b}"), "{shown}");
    }
}

#[test]
fn reset_times_count_on_the_provider_s_clock() {
    let headers: Headers = &[("date", "Sat, 04 Apr 2026 05:46:00 GMT")];
    let body = r#"{"error":{"code":"quota_window_exceeded","reset_at":1775281620}}"#;
    let classified = classify_submit(&reply(429, headers, body), CONTEXT);
    assert_eq!(classified.provider_time, Some(NOW.minus(Duration::from_secs(3600))));
    assert_eq!(secs(classified.refusal.and_then(|refusal| refusal.suspension.until)), Some(60));
}
