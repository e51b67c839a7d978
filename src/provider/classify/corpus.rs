//! Every answer of the corpora in tests/hostile has the outcome that stands beside it.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use super::*;
use crate::clock::Timestamp;
use crate::job::TaskId;
use crate::job::event::Phase;
use crate::provider::wire::compression::{BODY_LIMIT, decompressed};

const NOW: Timestamp = Timestamp::from_millis(1_775_285_160_000);
const CONTEXT: ReplyContext<'static> = ReplyContext { now: NOW, base_url: "https://provider.example/gate" };
const TASK: &str = "task-wave1775285160b950328499";
const HOST: &str = "media.example";
const LINK: &str = "https://media.example/output/a.mp4?sign=s";

/// The answers of a corpus: the name, the answer as the client reads it, and the outcome.
fn answers(corpus: &str) -> Vec<(String, CallOutcome, String)> {
    let mut answers = Vec::new();
    for line in corpus.lines().filter(|line| !line.is_empty()) {
        let line = line.replace("TASK-OF-ATTEMPT-1", TASK).replace("LINK", LINK).replace("HOST", HOST);
        let case: Value = serde_json::from_str(&replace_task(&line)).expect("a case");
        let text = |key: &str| case[key].as_str().map(str::to_owned);
        let mut body = match (&case["raw"], &case["body"]) {
            (Value::String(raw), _) => raw.clone().into_bytes(),
            (_, Value::String(page)) => page.clone().into_bytes(),
            (_, body) => body.to_string().into_bytes(),
        };
        let headers = case["headers"].as_object().into_iter().flatten().map(|(name, value)| {
            let value = value.as_str().expect("a value");
            (name.parse().expect("a name"), value.parse().expect("a value"))
        });
        if case["headers"]["Content-Encoding"] == "gzip" {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(&body).expect("written");
            body = encoder.finish().expect("an end");
        }
        let body = Ok(decompressed(&body, BODY_LIMIT).into_owned());
        let status = case["status"].as_u64().map_or(200, |status| u16::try_from(status).expect("a status"));
        let reply = ApiReply { status, headers: headers.collect(), body };
        answers.push((
            text("name").expect("a name"),
            CallOutcome::Reply(reply),
            text("outcome").expect("an outcome"),
        ));
    }
    answers
}

/// `TASK` stands for an id only as a whole value, not in `TASK_STATUS_FAILED`.
fn replace_task(line: &str) -> String {
    line.replace("\"TASK\"", &format!("\"{TASK}\""))
        .replace("\\\"TASK\\\"", &format!("\\\"{TASK}\\\""))
        .replace("/TASK/", &format!("/{TASK}/"))
}

fn status_outcome(verdict: &StatusVerdict) -> String {
    let facts = match verdict {
        StatusVerdict::Answered(facts) => facts,
        StatusVerdict::Unreadable { .. } => return "unreadable".into(),
        other => return format!("{other:?}"),
    };
    let error = facts.error.as_ref().map(|error| format!("{}: {}", error.code, error.message));
    match facts.phase {
        Phase::Completed => match facts.outputs.as_slice() {
            [] => "no output".into(),
            [output] => format!("link {}", output.link.expose()),
            outputs => format!("{} links", outputs.len()),
        },
        Phase::Failed => format!("failed, {}", error.unwrap_or_default()),
        Phase::Cancelled => "cancelled".into(),
        Phase::Queued | Phase::Processing | Phase::Unclear(_) => "running".into(),
    }
}

#[test]
fn status_answer_has_the_outcome_beside_it() {
    let task = TaskId::parse(TASK).expect("an id");
    let answers = answers(include_str!("../../../tests/hostile/status-answers.jsonl"));
    assert!(answers.len() >= 33);
    for (name, answer, outcome) in answers {
        let found = status_outcome(&classify_status(&answer, &task, CONTEXT).verdict);
        match (name.as_str(), outcome.as_str()) {
            ("link as data:", _) => assert_eq!(found, "link data:image/png;base64,iVBORw0KGgo="),
            ("link relative to the provider", _) => {
                assert_eq!(found, format!("link https://provider.example/v1/videos/{TASK}/content"));
            }
            (_, "stored") => assert!(found.starts_with("link https://media.example/"), "{name}: {found}"),
            (_, "running" | "unreadable") => assert_eq!(found, outcome, "{name}"),
            (_, outcome) if outcome.starts_with("warned") => assert_eq!(found, "no output", "{name}"),
            (_, outcome) => {
                let reason = outcome.trim_start_matches("failed").trim_start_matches(", ");
                let reason = reason.trim_start_matches("with ").trim_matches('\'');
                assert!(found.starts_with("failed, ") && found.contains(reason), "{name}: {found}");
            }
        }
    }
}

fn submit_outcome(verdict: &SubmitVerdict) -> String {
    match verdict {
        SubmitVerdict::Accepted { .. } => "taken".into(),
        SubmitVerdict::Refused(error) => format!("failed, {}: {}", error.code, error.message),
        SubmitVerdict::NotExecuted { .. } => "waits".into(),
        SubmitVerdict::Blocked { .. } => "blocked".into(),
        SubmitVerdict::Unknown { .. } => "unknown".into(),
        other => format!("{other:?}"),
    }
}

#[test]
fn submit_answer_has_the_outcome_beside_it() {
    let answers = answers(include_str!("../../../tests/hostile/submit-answers.jsonl"));
    assert!(answers.len() >= 28);
    for (name, answer, outcome) in answers {
        let classified = classify_submit(&answer, CONTEXT);
        let found = submit_outcome(&classified.verdict);
        let cause = classified.refusal.map(|refusal| (refusal.suspension.cause, refusal.is_certain));
        let (verdict, expected_cause) = match outcome.as_str() {
            outcome if outcome.contains("backs off") => {
                assert!(classified.unusable.is_some(), "{name}: the page is kept");
                ("blocked", Some((SuspensionCause::Misconfigured, false)))
            }
            outcome if outcome.contains("failed") => ("failed", None),
            outcome if outcome.contains("402") => ("waits", Some((SuspensionCause::BalanceEmpty, false))),
            outcome if outcome.contains("401") => ("waits", Some((SuspensionCause::KeyRefused, false))),
            outcome if outcome.contains("unknown") => ("unknown", None),
            _ => ("taken", None),
        };
        assert!(found.starts_with(verdict), "{name}: {found}");
        assert_eq!(cause, expected_cause, "{name}");
    }
}
