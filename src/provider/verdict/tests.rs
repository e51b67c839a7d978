use std::time::Duration;

use super::*;
use crate::clock::Timestamp;
use crate::job::event::Phase;
use crate::provider::reply::Reply;
use crate::provider::suspension::SuspensionCause::{BalanceEmpty, KeyRefused, Misconfigured, RateLimited};

const NOW: Timestamp = Timestamp::from_millis(1_775_285_160_000);
const SCENE: ReplyContext<'static> = ReplyContext { now: NOW, base_url: "https://qingbo.dev" };

const HTML: &str = "<html><title>Oops</title></html>";
const PLAIN: &str = r#"{"error":{"message":"no","code":"bad"}}"#;

type Headers = &'static [(&'static str, &'static str)];

fn heard(status: u16, headers: Headers, body: &str) -> CallOutcome {
    let headers = headers
        .iter()
        .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
        .collect();
    CallOutcome::Reply(Reply { status, headers, body: Ok(body.as_bytes().to_vec()) })
}

fn cut(status: u16) -> CallOutcome {
    CallOutcome::Reply(Reply {
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

/// The verdict as one word, with what it carries that matters.
fn word(verdict: &SubmitVerdict) -> (String, Option<u64>) {
    match verdict {
        SubmitVerdict::Accepted { task, .. } => (format!("accepted {task}"), None),
        SubmitVerdict::Refused(error) => (format!("refused {}", error.code), None),
        SubmitVerdict::NotExecuted { not_before, .. } => ("not executed".into(), secs(*not_before)),
        SubmitVerdict::Unknown { not_before, .. } => ("unknown".into(), secs(*not_before)),
        SubmitVerdict::Replayed { .. } => ("replayed".into(), None),
        SubmitVerdict::Shared { .. } => ("shared".into(), None),
    }
}

#[test]
fn every_answer_to_a_submit_has_its_verdict() {
    type Case = (u16, Headers, &'static str, &'static str, Option<u64>, Option<SuspensionCause>, Proof);
    use Proof::{Access, Funds, Nothing};
    let used = r#"{"error":{"code":"idempotency_key_reused","message":"used with a different body"}}"#;
    let busy = r#"{"error":{"code":"idempotency_key_in_use","message":"a request with this key is still in progress"}}"#;
    let unsaid = r#"{"error":{"message":"conflict"}}"#;
    let cases: &[Case] = &[
        // Taken.
        (200, &[], r#"{"task_id":"t-1"}"#, "accepted t-1", None, None, Funds),
        (201, &[], r#"{"code":"success","data":"t-1"}"#, "accepted t-1", None, None, Funds),
        (200, &[("idempotent-replayed", "true")], r#"{"task_id":"t-1"}"#, "accepted t-1", None, None, Funds),
        // Taken, perhaps.
        (200, &[], HTML, "unknown", None, None, Nothing),
        (200, &[], "", "unknown", None, None, Nothing),
        (200, &[], "{}", "unknown", None, None, Nothing),
        (204, &[], "", "unknown", None, None, Nothing),
        (200, &[], PLAIN, "unknown", None, None, Nothing),
        (200, &[], r#"{"code":"fail","message":"busy","data":null}"#, "unknown", None, None, Nothing),
        (408, &[], HTML, "unknown", None, None, Nothing),
        (425, &[], PLAIN, "unknown", None, None, Nothing),
        (500, &[], PLAIN, "unknown", None, None, Nothing),
        (502, &[], HTML, "unknown", None, None, Nothing),
        (503, &[("retry-after", "20")], HTML, "unknown", Some(20), None, Nothing),
        (503, &[("retry-after", "Sat, 04 Apr 2026 06:47:00 GMT")], "", "unknown", Some(60), None, Nothing),
        (504, &[], "", "unknown", None, None, Nothing),
        (520, &[], HTML, "unknown", None, None, Nothing),
        (999, &[], "", "unknown", None, None, Nothing),
        (409, &[], busy, "unknown", None, None, Nothing),
        (409, &[], unsaid, "unknown", None, None, Nothing),
        (409, &[], HTML, "unknown", None, None, Nothing),
        (409, &[("retry-after", "3")], busy, "unknown", Some(3), None, Nothing),
        // Refused for good.
        (
            400,
            &[],
            r#"{"error":{"message":"no","code":"capability_violation","param":"extra"}}"#,
            "refused capability_violation",
            None,
            None,
            Access,
        ),
        (400, &[], r#"{"error":"bad model"}"#, "refused http_400", None, None, Access),
        (
            404,
            &[],
            r#"{"error":{"code":"model_not_found","message":"no"}}"#,
            "refused model_not_found",
            None,
            None,
            Access,
        ),
        (413, &[], PLAIN, "refused bad", None, None, Access),
        (413, &[], HTML, "refused http_413", None, None, Nothing),
        (422, &[], PLAIN, "refused bad", None, None, Access),
        (403, &[], PLAIN, "refused bad", None, None, Access),
        (451, &[], PLAIN, "refused bad", None, None, Access),
        (
            500,
            &[],
            r#"{"error":{"code":"price_not_configured","message":"no"}}"#,
            "refused price_not_configured",
            None,
            None,
            Access,
        ),
        (
            500,
            &[("idempotent-replayed", "true")],
            r#"{"error":{"code":"price_not_configured"}}"#,
            "refused price_not_configured",
            None,
            None,
            Access,
        ),
        // No status of a final answer: whatever spoke, it was not the provider.
        (100, &[], r#"{"error":{"code":"price_not_configured"}}"#, "unknown", None, None, Nothing),
        (0, &[("idempotent-replayed", "true")], PLAIN, "unknown", None, None, Nothing),
        // The same for ever under this key.
        (500, &[("idempotent-replayed", "true")], PLAIN, "replayed", None, None, Nothing),
        (503, &[("idempotency-replayed", "True")], HTML, "replayed", None, None, Nothing),
        (500, &[("idempotent-replayed", "false")], PLAIN, "unknown", None, None, Nothing),
        (422, &[], used, "replayed", None, None, Access),
        (400, &[], used, "replayed", None, None, Access),
        (409, &[], used, "replayed", None, None, Access),
        // Not executed, and the line stands.
        (
            401,
            &[],
            r#"{"error":{"code":"invalid_api_key","message":"no"}}"#,
            "not executed",
            None,
            Some(KeyRefused),
            Nothing,
        ),
        (401, &[("retry-after", "1")], HTML, "not executed", None, Some(KeyRefused), Nothing),
        (402, &[], PLAIN, "not executed", None, Some(BalanceEmpty), Access),
        (
            403,
            &[],
            r#"{"error":{"code":"insufficient_user_quota","message":"no"}}"#,
            "not executed",
            None,
            Some(BalanceEmpty),
            Access,
        ),
        (429, &[("retry-after", "7")], PLAIN, "not executed", Some(7), Some(RateLimited), Nothing),
        (
            429,
            &[],
            r#"{"error":{"code":"quota_window_exceeded","reset_at":1775285220}}"#,
            "not executed",
            Some(60),
            Some(RateLimited),
            Nothing,
        ),
        (
            429,
            &[],
            r#"{"error":{"code":"quota_window_exceeded","reset_at":1775285220000}}"#,
            "not executed",
            Some(60),
            Some(RateLimited),
            Nothing,
        ),
        (
            429,
            &[],
            r#"{"error":{"reset_at":"2026-04-04T06:47:00Z"}}"#,
            "not executed",
            Some(60),
            Some(RateLimited),
            Nothing,
        ),
        (
            429,
            &[],
            r#"{"error":{"reset_at":1776000000}}"#,
            "not executed",
            Some(86_400),
            Some(RateLimited),
            Nothing,
        ),
        (429, &[], HTML, "not executed", Some(30), Some(RateLimited), Nothing),
        (
            301,
            &[("location", "https://www.qingbo.dev/v1/tasks")],
            "",
            "not executed",
            None,
            Some(Misconfigured),
            Nothing,
        ),
        (308, &[("location", "/v2/tasks")], "", "not executed", None, Some(Misconfigured), Nothing),
        (400, &[], HTML, "not executed", None, Some(Misconfigured), Nothing),
        (403, &[], HTML, "not executed", None, Some(Misconfigured), Nothing),
        (404, &[], HTML, "not executed", None, Some(Misconfigured), Nothing),
        (
            404,
            &[],
            r#"{"error":{"message":"Invalid URL (POST /x/v1/tasks)"}}"#,
            "not executed",
            None,
            Some(Misconfigured),
            Nothing,
        ),
        (404, &[], r#"{"detail":"Not Found"}"#, "not executed", None, Some(Misconfigured), Nothing),
        (405, &[], HTML, "not executed", None, Some(Misconfigured), Nothing),
        (407, &[], "", "not executed", None, Some(Misconfigured), Nothing),
    ];
    for (status, headers, body, verdict, not_before, line, proof) in cases {
        let answered = submitted(&heard(*status, headers, body), SCENE);
        let told = (word(&answered.verdict), answered.line.as_ref().map(|line| line.cause), answered.proof);
        assert_eq!(
            told,
            (((*verdict).to_owned(), *not_before), *line, *proof),
            "{status} {headers:?} {body}"
        );
        if let Some(line) = answered.line {
            let pause = not_before.unwrap_or(crate::provider::suspension::CAREFUL_PAUSE.as_secs());
            assert_eq!(secs(Some(line.until)), Some(pause), "{status} {body}");
        }
    }
}

#[test]
fn a_submit_is_repeated_as_new_only_when_it_certainly_never_left() {
    let not_sent = submitted(&CallOutcome::NotSent("connection refused".into()), SCENE);
    assert_eq!(word(&not_sent.verdict).0, "not executed");
    let lost = submitted(&CallOutcome::Lost("connection reset".into()), SCENE);
    assert_eq!(word(&lost.verdict).0, "unknown");
    for status in [200, 201, 400, 403, 404, 409, 422, 500, 503] {
        assert_eq!(word(&submitted(&cut(status), SCENE).verdict).0, "unknown", "{status}, its body cut");
    }
    for (status, cause) in [(301, Misconfigured), (401, KeyRefused), (402, BalanceEmpty), (429, RateLimited)]
    {
        assert_eq!(
            submitted(&cut(status), SCENE).line.map(|line| line.cause),
            Some(cause),
            "{status}, its body cut"
        );
    }
}

#[test]
fn every_answer_to_a_status_query_has_its_verdict() {
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
        (200, &[], r#"{"task_id":"t-2","status":"completed"}"#, "unanswered", None, None),
        (200, &[], HTML, "unanswered", None, None),
        (200, &[], PLAIN, "unanswered", None, None),
        (404, &[], r#"{"error":{"code":"task_not_found","message":"no"}}"#, "missing", None, None),
        (400, &[], r#"{"code":"task_not_exist","message":"no","data":null}"#, "missing", None, None),
        (404, &[], r#"{"error":{"message":"Invalid URL"}}"#, "unanswered", None, None),
        (404, &[], HTML, "unanswered", None, None),
        (500, &[], r#"{"error":{"code":"task_not_found","message":"no"}}"#, "unanswered", None, None),
        (301, &[("location", "https://h/x")], "", "unanswered", None, None),
        (400, &[], PLAIN, "unanswered", None, None),
        (403, &[], HTML, "unanswered", None, None),
        (409, &[], PLAIN, "unanswered", None, None),
        (503, &[("retry-after", "20")], "", "unanswered", Some(20), None),
        (401, &[], PLAIN, "unanswered", None, Some(KeyRefused)),
        (402, &[], PLAIN, "unanswered", None, Some(BalanceEmpty)),
        (429, &[("retry-after", "20")], PLAIN, "unanswered", Some(20), Some(RateLimited)),
    ];
    for (status, headers, body, expected, not_before, line) in cases {
        let answered = asked(&heard(*status, headers, body), &task(), SCENE);
        let told = match &answered.verdict {
            StatusVerdict::Seen(facts) => {
                assert_eq!(facts.phase, Phase::Processing);
                ("seen", None)
            }
            StatusVerdict::Missing => ("missing", None),
            StatusVerdict::Unanswered { not_before, .. } => ("unanswered", secs(*not_before)),
        };
        assert_eq!(told, (*expected, *not_before), "{status} {body}");
        assert_eq!(answered.line.map(|line| line.cause), *line, "{status} {body}");
        assert_eq!(
            answered.proof == Proof::Nothing,
            *expected == "unanswered" && *status != 402,
            "{status} {body}"
        );
    }
    assert!(matches!(asked(&cut(200), &task(), SCENE).verdict, StatusVerdict::Unanswered { .. }));
}

#[test]
fn every_answer_to_a_cancel_call_has_its_verdict() {
    let late = r#"{"error":{"code":"task_not_cancellable","message":"already processing"}}"#;
    let cases: &[(u16, &str, &str, Option<SuspensionCause>)] = &[
        (200, "{}", "taken", None),
        (202, "", "taken", None),
        (200, HTML, "unanswered", None),
        (200, r#"{"task_id":"task-wave1","sta"#, "unanswered", None),
        (400, late, "too late", None),
        (409, late, "too late", None),
        (404, r#"{"error":{"code":"task_not_found","message":"no"}}"#, "too late", None),
        (404, HTML, "too late", None),
        (400, HTML, "unanswered", None),
        (403, PLAIN, "unanswered", None),
        (301, "", "unanswered", None),
        (500, PLAIN, "unanswered", None),
        (401, PLAIN, "unanswered", Some(KeyRefused)),
        (402, PLAIN, "unanswered", Some(BalanceEmpty)),
        (429, PLAIN, "unanswered", Some(RateLimited)),
    ];
    for (status, body, expected, line) in cases {
        let answered = called_off(&heard(*status, &[], body), SCENE);
        let told = match &answered.verdict {
            CancelVerdict::Taken => "taken",
            CancelVerdict::TooLate { .. } => "too late",
            CancelVerdict::Unanswered { .. } => "unanswered",
        };
        assert_eq!((told, answered.line.map(|line| line.cause)), (*expected, *line), "{status} {body}");
    }
    for heard in [CallOutcome::Lost(String::new()), cut(200)] {
        assert!(matches!(called_off(&heard, SCENE).verdict, CancelVerdict::Unanswered { .. }));
    }
}

#[test]
fn a_stopped_line_says_what_to_do() {
    let message =
        |status, headers, body| submitted(&heard(status, headers, body), SCENE).line.expect("a stop").message;
    let moved = message(308, &[("location", "https://www.qingbo.dev/v1/tasks?x=secret")], "");
    assert!(moved.contains("https://qingbo.dev") && moved.contains("redirects to www.qingbo.dev"), "{moved}");
    assert!(moved.contains("provider.base_url") && !moved.contains("secret"), "{moved}");
    let refused = message(401, &[], r#"{"error":{"message":"key expired"}}"#);
    assert!(refused.contains("key expired") && refused.contains("api_key_file"), "{refused}");
    assert!(message(402, &[], PLAIN).contains("balance"));
}

#[test]
fn no_verdict_repeats_a_secret_address() {
    let body = r#"{"error":{"code":"bad","message":"callback https://hooks.example/callbacks/j/s3cret failed\u001b[2J"}}"#;
    for status in [400, 401, 402, 403, 404, 409, 429, 500, 503] {
        let shown = format!("{:?}", submitted(&heard(status, &[], body), SCENE));
        assert!(!shown.contains("s3cret") && !shown.contains("\\u{1b}"), "{shown}");
    }
}

#[test]
fn waits_count_on_the_provider_s_clock() {
    let headers: Headers = &[("date", "Sat, 04 Apr 2026 05:46:00 GMT")];
    let body = r#"{"error":{"code":"quota_window_exceeded","reset_at":1775281620}}"#;
    let answered = submitted(&heard(429, headers, body), SCENE);
    assert_eq!(answered.provider_time, Some(NOW.minus(Duration::from_secs(3600))));
    assert_eq!(secs(answered.line.map(|line| line.until)), Some(60));
}
