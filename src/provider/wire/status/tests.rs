use super::*;
use crate::job::event::ReportedOutput;
use crate::job::output::OutputKind;
use crate::money::Quota;
use crate::secret::Secret;

const NOW: Timestamp = Timestamp::from_millis(1_720_000_100_000);

fn read(text: &str) -> Result<TaskFacts, Unreadable> {
    read_status(text.as_bytes(), &TaskId::parse("t-1").expect("a task id"), NOW, None)
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
        cost_pending: false,
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
fn cost_counts_once_it_is_settled() {
    // (billing_status, status, cost, whether it is still to come)
    let cases = [
        ("null", "completed", Some(7), false),
        (r#""settled""#, "completed", Some(7), false),
        (r#""pending""#, "completed", None, true),
        (r#""Unsettled""#, "failed", None, true),
        (r#""refunded""#, "cancelled", Some(7), false),
        (r#""pending""#, "processing", None, false),
        (r#"{"a":1}"#, "completed", Some(7), false),
    ];
    for (billing, status, cost, pending) in cases {
        let read =
            facts(&format!(r#"{{"task_id":"t-1","status":"{status}","cost":7,"billing_status":{billing}}}"#));
        assert_eq!((read.cost, read.cost_pending), (cost.map(Quota::new), pending), "{billing} {status}");
    }
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
