//! Reads the answer to a status query, or a callback's body in the same format (docs/provider.md#status-answers).

use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::job::event::{Phase, TaskFacts};
use crate::job::{JobError, TaskId};
use crate::provider::wire::Unreadable;
use crate::provider::wire::error::error_in;
use crate::provider::wire::json::{id_under, nested_objects, parse, read_quota, word};
use crate::provider::wire::outputs::read_outputs;
use crate::provider::wire::phase::{is_end, read_phase};
use crate::provider::wire::text::{SENTENCE, clean};
use crate::provider::wire::time::read_time;

/// The code of a failure without one.
const NO_CODE: &str = "task_failed";

/// What an answer says about `task`.
///
/// # Errors
/// When it cannot be trusted: no JSON, no status, the end of an unnamed task, or another task.
pub fn read_status(bytes: &[u8], task: &TaskId, now: Timestamp) -> Result<TaskFacts, Unreadable> {
    let answer = parse(bytes)?;
    let objects = nested_objects(&answer);
    let named = objects.iter().find_map(|object| id_under(object, "task_id"));
    if let Some(other) = named.as_ref().filter(|named| *named != task) {
        return Err(Unreadable::OtherTask { named: other.clone() });
    }
    let Some((object, word)) = find_status(&objects) else {
        let error = objects.first().and_then(|object| error_in(object, now));
        return Err(error.map_or(Unreadable::NoStatus, Unreadable::Error));
    };
    let phase = read_phase(&word);
    let ended = is_end(&phase);
    let completed_at = ["completed_at", "finished_at", "finish_time"]
        .iter()
        .find_map(|key| read_time(object.get(*key)?, now))
        .filter(|_| ended);
    let outputs = read_outputs(object, &phase, completed_at, now);
    // A gateway's own `"status":"error"` or `"success"` is not the status of a task that it does not name.
    let is_unnamed = named.is_none() && id_under(object, "id").is_none();
    if ended && is_unnamed && outputs.is_empty() {
        let error = error_in(object, now);
        return Err(error.map_or(Unreadable::NoTask, Unreadable::Error));
    }
    Ok(TaskFacts {
        progress: object.get("progress").and_then(read_progress),
        cost: object.get("cost").and_then(read_quota).filter(|_| ended),
        completed_at,
        error: read_failure(object, &phase),
        outputs,
        phase,
    })
}

/// The object with the task's status, and that status. Objects with a task id come first, because envelopes have a status
/// too.
fn find_status<'a>(objects: &[&'a Map<String, Value>]) -> Option<(&'a Map<String, Value>, String)> {
    let text = |object: &Map<String, Value>| {
        ["status", "task_status", "state"]
            .iter()
            .find_map(|key| word(object.get(*key).filter(|v| v.is_string())))
    };
    let find_with = |id: &'static str| {
        objects.iter().find_map(move |object| {
            object.get(id)?;
            // Beside a task id, a number counts as a status too, if an unknown one.
            let status = text(object).or_else(|| word(object.get("status")).filter(|_| id == "task_id"))?;
            Some((*object, status))
        })
    };
    find_with("task_id")
        .or_else(|| find_with("id"))
        .or_else(|| objects.iter().rev().find_map(|object| Some((*object, text(object)?))))
}

/// 0 to 100, from an integer, a float or text such as `"45%"`, clamped. Unreadable ones count as absent.
fn read_progress(value: &Value) -> Option<u8> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().trim_end_matches('%').trim_end().parse::<f64>().ok()?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=100 first")]
    number.is_finite().then(|| number.clamp(0.0, 100.0) as u8)
}

/// Why a task failed: `error` as object or text, or `fail_reason` and the like.
fn read_failure(object: &Map<String, Value>, phase: &Phase) -> Option<JobError> {
    match phase {
        Phase::Failed | Phase::Cancelled => {}
        Phase::Queued | Phase::Processing | Phase::Unclear(_) | Phase::Completed => return None,
    }
    // The time only decides which reset times are plausible; they are not used here.
    if let Some(error) = object.get("error").and_then(|_| error_in(object, Timestamp::from_millis(0))) {
        return Some(error.into_job_error(NO_CODE));
    }
    let message = ["fail_reason", "error_message", "message"].iter().find_map(|key| {
        let text = clean(object.get(*key)?.as_str()?, SENTENCE);
        (!text.is_empty()).then_some(text)
    })?;
    Some(JobError { code: word(object.get("error_code")).unwrap_or_else(|| NO_CODE.to_owned()), message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::event::ReportedOutput;
    use crate::job::output::OutputKind;
    use crate::money::Quota;
    use crate::secret::Secret;

    const NOW: Timestamp = Timestamp::from_millis(1_720_000_100_000);

    fn read(text: &str) -> Result<TaskFacts, Unreadable> {
        read_status(text.as_bytes(), &TaskId::parse("t-1").expect("a task id"), NOW)
    }

    fn facts(text: &str) -> TaskFacts {
        read(text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    #[test]
    fn the_documented_answer_is_read_whole() {
        let read = facts(
            r#"{"task_id":"t-1","status":"completed","action":"generate","model":"wan2.5-t2v","progress":"100%",
            "created_at":1720000000,"completed_at":1720000030,"cost":75000,
            "result":{"videos":[{"expires_at":1720086400,"url":["https://cdn.example/output/xxx.mp4"]}]},
            "urls":{"get":"https://x/v1/tasks/t-1","cancel":"https://x/v1/tasks/t-1/cancel"}}"#,
        );
        let expected = TaskFacts {
            phase: Phase::Completed,
            progress: Some(100),
            cost: Some(Quota::new(75_000)),
            completed_at: Some(Timestamp::from_millis(1_720_000_030_000)),
            error: None,
            outputs: vec![ReportedOutput {
                kind: OutputKind::Video,
                index: 0,
                link: Secret::new("https://cdn.example/output/xxx.mp4"),
                expires_at: Some(Timestamp::from_millis(1_720_086_400_000)),
            }],
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn every_status_word_has_its_phase() {
        let unclear = |word: &str| Phase::Unclear(word.to_owned());
        let cases = [
            ("queued", Phase::Queued),
            ("NOT_START", Phase::Queued),
            ("Submitted", Phase::Queued),
            ("pending", Phase::Queued),
            ("processing", Phase::Processing),
            ("IN_PROGRESS", Phase::Processing),
            ("running", Phase::Processing),
            ("completed", Phase::Completed),
            ("Succeeded", Phase::Completed),
            ("SUCCESS", Phase::Completed),
            ("done", Phase::Completed),
            ("failed", Phase::Failed),
            ("error", Phase::Failed),
            ("FAILURE", Phase::Failed),
            ("cancelled", Phase::Cancelled),
            (" Canceled ", Phase::Cancelled),
            ("Polishing", unclear("Polishing")),
            ("已完成", unclear("已完成")),
            ("a\\u001b[2J", unclear("a [2J")),
        ];
        for (word, phase) in cases {
            assert_eq!(facts(&format!(r#"{{"task_id":"t-1","status":"{word}"}}"#)).phase, phase, "{word}");
        }
        assert_eq!(facts(r#"{"task_id":"t-1","status":3}"#).phase, unclear("3"));
        assert_eq!(facts(r#"{"task_id":"t-1","task_status":"SUCCEED"}"#).phase, Phase::Completed);
    }

    #[test]
    fn progress_is_clamped_and_never_an_error() {
        let cases = [
            ("0", Some(0)),
            ("45", Some(45)),
            ("45.9", Some(45)),
            ("101", Some(100)),
            ("-1", Some(0)),
            ("1e300", Some(100)),
            (r#""45%""#, Some(45)),
            (r#"" 45 % ""#, Some(45)),
            (r#""100""#, Some(100)),
            (r#""-3%""#, Some(0)),
            (r#""""#, None),
            (r#""NaN""#, None),
            (r#""inf%""#, None),
            (r#""half""#, None),
            ("null", None),
            ("true", None),
            ("[45]", None),
        ];
        for (given, expected) in cases {
            let text = format!(r#"{{"task_id":"t-1","status":"processing","progress":{given}}}"#);
            assert_eq!(facts(&text).progress, expected, "{given}");
        }
    }

    #[test]
    fn cost_counts_only_at_the_end() {
        let cost = |text: &str| facts(text).cost.map(Quota::get);
        let ended = |cost: &str| format!(r#"{{"task_id":"t-1","status":"failed","cost":{cost}}}"#);
        for (given, expected) in [
            ("75000", Some(75_000)),
            ("75000.0", Some(75_000)),
            (r#""75000""#, Some(75_000)),
            ("0", Some(0)),
            ("-5", None),
            ("null", None),
            (r#""free""#, None),
            ("1e40", None),
            ("99999999999999999999999", None),
        ] {
            assert_eq!(cost(&ended(given)), expected, "{given}");
        }
        assert_eq!(cost(r#"{"task_id":"t-1","status":"processing","cost":0}"#), None);
    }

    #[test]
    fn a_failure_keeps_its_words_in_every_shape() {
        let cases = [
            (
                r#""error":{"message":"busy","code":"upstream_unavailable"}"#,
                Some(("upstream_unavailable", "busy")),
            ),
            (r#""error":{"message":"busy"}"#, Some(("task_failed", "busy"))),
            (r#""error":"too dark""#, Some(("task_failed", "too dark"))),
            (r#""fail_reason":"censored\n""#, Some(("task_failed", "censored"))),
            (r#""error":{},"fail_reason":"censored""#, Some(("task_failed", "censored"))),
            (r#""error":null"#, None),
            (r#""fail_reason":"""#, None),
        ];
        for (given, expected) in cases {
            let error = facts(&format!(r#"{{"task_id":"t-1","status":"failure",{given}}}"#)).error;
            let expected =
                expected.map(|(code, message)| JobError { code: code.into(), message: message.into() });
            assert_eq!(error, expected, "{given}");
        }
        assert_eq!(facts(r#"{"task_id":"t-1","status":"running","error":"odd"}"#).error, None);
    }

    #[test]
    fn the_wrapped_object_is_found_and_envelopes_are_not_taken_for_it() {
        let cases = [
            (r#"{"code":"success","data":{"task_id":"t-1","status":"processing"}}"#, Phase::Processing),
            (r#"{"data":{"task_id":"t-1","status":"queued"}}"#, Phase::Queued),
            (r#"{"task":{"task_id":"t-1","status":"queued"}}"#, Phase::Queued),
            (r#"{"event":"task.completed","data":{"task_id":"t-1","status":"completed"}}"#, Phase::Completed),
            (r#"{"status":"success","data":{"task_id":"t-1","status":"processing"}}"#, Phase::Processing),
            (r#"{"status":"success","data":{"status":"processing"}}"#, Phase::Processing),
            (r#"{"status":"success","id":"req","data":{"task_id":"t-1","status":"queued"}}"#, Phase::Queued),
            (
                r#"{"code":"success","data":{"task_id":"t-1","status":"FAILURE","data":{"status":"succeeded","id":"up"}}}"#,
                Phase::Failed,
            ),
            (r#"{"task_id":"t-1","data":{"status":"completed"}}"#, Phase::Completed),
            (r#"{"data":[{"id":"t-1","status":"failed"}]}"#, Phase::Failed),
            (r#"{"status":"running","progress":10}"#, Phase::Processing),
            (r#"{"status":"completed","result":{"videos":[{"url":"https://h/x"}]}}"#, Phase::Completed),
        ];
        for (text, phase) in cases {
            assert_eq!(facts(text).phase, phase, "{text}");
        }
    }

    #[test]
    fn an_answer_that_cannot_be_trusted_is_no_fact() {
        for text in [
            "",
            "<html>200</html>",
            "{}",
            "[]",
            "null",
            r#"{"task_id":"t-1"}"#,
            r#"{"task_id":"t-1","status":null}"#,
            r#"{"status":"error","message":"rate limited"}"#,
            r#"{"status":"success"}"#,
            r#"{"status":200,"message":"ok"}"#,
            r#"{"error":{"code":"internal","message":"busy"}}"#,
            r#"{"task_id":"t-2","status":"completed"}"#,
            r#"{"code":"task_not_exist","message":"no"}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        let other = read(r#"{"data":{"task_id":"t-2","status":"completed"}}"#);
        assert_eq!(other, Err(Unreadable::OtherTask { named: TaskId::parse("t-2").expect("an id") }));
    }

    #[test]
    fn times_of_a_completion_are_read_in_any_unit_or_left_out() {
        let at = |value: &str| {
            facts(&format!(r#"{{"task_id":"t-1","status":"done","completed_at":{value}}}"#))
                .completed_at
                .map(Timestamp::millis)
        };
        assert_eq!(at("1720000030"), Some(1_720_000_030_000));
        assert_eq!(at("1720000030123"), Some(1_720_000_030_123));
        assert_eq!(at("0"), None);
        let named = r#"{"task_id":"t-1","status":"SUCCESS","completed_at":0,"finish_time":1720000030}"#;
        assert_eq!(facts(named).completed_at.map(Timestamp::millis), Some(1_720_000_030_000));
    }
}
