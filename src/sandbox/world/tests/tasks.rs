//! Tasks: the course of their states, and the forms of the status answer.

use super::*;

#[test]
fn task_is_queued_then_processed_then_completed() {
    let mut provider = Provider::with_faults("progress=int");
    let id = provider.task("a");
    let mut seen = Vec::new();
    for _ in 0..5 {
        let status = provider.status(&id);
        seen.push(format!("{} {}", status["status"].as_str().expect("a status word"), status["progress"]));
        provider.advance(5);
    }
    assert_eq!(seen, ["queued 0", "queued 0", "processing 1", "processing 50", "completed 100"]);
    assert_eq!(provider.status("task-of-nobody")["error"]["code"], "task_not_found");
}

#[test]
fn status_has_every_shape() {
    let absent = Value::Null;
    for (plan, pointer, expected) in [
        ("", "/progress", json!("100%")),
        ("progress=int", "/progress", json!(100)),
        ("progress=float", "/progress", json!(100.0)),
        ("progress=empty", "/progress", json!("")),
        ("progress=null", "/progress", Value::Null),
        ("progress=absent", "/progress", absent.clone()),
        ("progress=101", "/progress", json!(101)),
        ("progress=-1", "/progress", json!(-1)),
        ("", "/completed_at", json!(1_775_285_180)),
        ("times=ms", "/completed_at", json!(1_775_285_180_000_i64)),
        ("times=us", "/completed_at", json!(1_775_285_180_000_000_i64)),
        ("times=string", "/completed_at", json!("1775285180")),
        ("times=iso", "/completed_at", json!("2026-04-04T06:46:20.000Z")),
        ("times=zero", "/completed_at", json!(0)),
        ("times=negative", "/completed_at", json!(-1)),
        ("times=far", "/completed_at", json!(253_402_300_799_i64)),
        ("times=absent", "/completed_at", absent.clone()),
        ("link=30s", "/result/videos/0/expires_at", json!(1_775_285_210)),
        ("expires=ms link=30s", "/result/videos/0/expires_at", json!(1_775_285_210_000_i64)),
        ("expires=absent", "/result/videos/0/expires_at", absent.clone()),
        ("completed=SUCCESS", "/status", json!("SUCCESS")),
        ("completed=upscaling", "/status", json!("upscaling")),
        ("status-shape=wrapped", "/data/status", json!("completed")),
        ("cost=80000", "/cost", json!(80_000)),
        ("show-cost=no", "/cost", absent.clone()),
        ("result=none", "/result", absent.clone()),
        ("result=null:1", "/result", Value::Null),
        ("result=empty:1", "/result", json!({"videos": []})),
        ("end=upstream_unavailable", "/error/code", json!("upstream_unavailable")),
        ("end=upstream_rate_limited", "/error/code", json!("upstream_rate_limited")),
        ("end=upstream_bad_request", "/error/code", json!("upstream_bad_request")),
        ("end=task_failed", "/status", json!("failed")),
        ("end=failed:odd failed=Failure", "/status", json!("Failure")),
        ("end=failed:odd fail-shape=reason", "/fail_reason", json!("odd: the task failed")),
        ("end=failed:odd fail-shape=text", "/error", json!("the task failed")),
        ("end=failed:odd fail-shape=none", "/error", absent.clone()),
        ("end=failed:odd", "/cost", json!(0)),
        ("end=failed:odd refund=no", "/cost", json!(75_000)),
        ("end=cancelled", "/status", json!("cancelled")),
        ("end=never", "/status", json!("processing")),
        ("dies=0s", "/error/code", json!("task_not_found")),
        ("status=404x3", "/error/code", json!("task_not_found")),
    ] {
        let mut provider = Provider::with_faults(plan);
        let id = provider.task("a");
        provider.advance(20);
        let status = provider.status(&id);
        assert_eq!(status.pointer(pointer).unwrap_or(&Value::Null), &expected, "{plan}: {status}");
    }
}

#[test]
fn late_result_appears_after_the_planned_number_of_answers() {
    let mut provider = Provider::with_faults("result=empty:2");
    let id = provider.task("a");
    provider.advance(20);
    let counts: Vec<_> =
        (0..3).map(|_| provider.status(&id)["result"]["videos"].as_array().map_or(9, Vec::len)).collect();
    assert_eq!(counts, [0, 0, 1]);
}

#[test]
fn synonyms_fit_the_status_and_vary() {
    let mut seen = BTreeSet::new();
    let mut provider = Provider::with_faults("words=any");
    for n in 0..60 {
        let id = provider.task(&format!("{n}"));
        provider.advance(20);
        let word = provider.status(&id)["status"].as_str().expect("a status word").to_owned();
        assert!(
            ["completed", "succeeded", "success", "done"].contains(&word.to_lowercase().as_str()),
            "{word}"
        );
        seen.insert(word);
    }
    assert!(seen.len() > 6, "{seen:?}");
}

#[test]
fn outputs_have_the_planned_number_and_shape() {
    for (plan, model, pointer, count) in [
        ("", "wan2.5-t2v", "/result/videos", 1),
        ("", "dance-multi", "/result/videos", 2),
        ("outputs=3", "wan2.5-t2v", "/result/videos", 3),
        ("outputs=3 url=merged", "wan2.5-t2v", "/result/videos/0/url", 3),
        ("outputs=0", "wan2.5-t2v", "/result/videos", 0),
        ("twice=yes", "wan2.5-t2v", "/result/videos", 2),
        ("", "some-image", "/result/images", 1),
        ("kind=audio", "wan2.5-t2v", "/result/audios", 1),
    ] {
        let mut provider = Provider::with_faults(plan);
        let id = id_of(&provider.submit_with("a", json!({"model": model})));
        provider.advance(20);
        let status = provider.status(&id);
        let outputs = status.pointer(pointer).and_then(Value::as_array);
        assert_eq!(outputs.map(Vec::len), Some(count), "{plan} {model}: {status}");
    }
    let mut provider = Provider::with_faults("url=string");
    let id = provider.task("a");
    provider.advance(20);
    assert!(provider.status(&id)["result"]["videos"][0]["url"].is_string());
}
