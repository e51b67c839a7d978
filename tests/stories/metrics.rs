//! Metrics agree with what happened.

use std::time::Duration;

use std::collections::BTreeMap;

use crate::support::{Rig, quick};

/// Every sample of a scrape, by its name with labels.
async fn scrape(rig: &Rig) -> BTreeMap<String, f64> {
    let open = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let request = reqwest::Client::new().get(format!("{}/metrics", rig.admin())).header("accept", open);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], open);
    let text = answer.text().await.unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let rig = Rig::start("").await;
    rig.drop("good.json", quick("good", "callback=copies:2"));
    rig.drop("bad.json", quick("bad", "end=task_failed"));
    rig.until("good", &["succeeded"]).await;
    rig.until("bad", &["failed"]).await;
    rig.drop("slow.json", quick("slow", "queue=60s"));
    rig.until("slow", &["queued"]).await;
    rig.post("/api/v1/pause", serde_json::json!({"what": "downloads"})).await;
    let reported = scrape(&rig).await;
    let is = |name: &str, value: f64| assert_eq!(reported.get(name), Some(&value), "{name}: {reported:#?}");
    is("dropreel_jobs_accepted_total", 3.0);
    is(r#"dropreel_jobs_finished_total{state="succeeded",model="wan2.5-t2v"}"#, 1.0);
    is(r#"dropreel_jobs_finished_total{state="failed",model="wan2.5-t2v"}"#, 1.0);
    is(r#"dropreel_submits_total{outcome="accepted"}"#, 3.0);
    is(r#"dropreel_downloads_total{outcome="stored"}"#, 1.0);
    is(r#"dropreel_jobs{state="queued",model="wan2.5-t2v"}"#, 1.0);
    is(r#"dropreel_suspended{cause="paused_downloads"}"#, 1.0);
    is(r#"dropreel_suspended{cause="key_refused"}"#, 0.0);
    is("dropreel_ready", 1.0);
    is("dropreel_inbox_files", 0.0);
    assert!(reported["dropreel_callbacks_received_total"] >= 2.0, "{reported:#?}");
    assert!(reported["dropreel_charged_usd_total"] > 0.0, "{reported:#?}");
    assert!(reported["dropreel_commit_duration_seconds_count"] > 5.0, "{reported:#?}");
    assert!(reported[r#"dropreel_disk_free_bytes{folder="library"}"#] > 0.0, "{reported:#?}");
    let bytes = rig.job("good").await["files"][0]["bytes"].as_f64().unwrap();
    is("dropreel_stored_bytes_total", bytes);
    let learned: f64 =
        reported.iter().filter(|(name, _)| name.contains("tasks_finished")).map(|(_, n)| n).sum();
    assert!((learned - 2.0).abs() < 0.1, "{reported:#?}");
    rig.post("/api/v1/resume", serde_json::json!({})).await;
    rig.post("/api/v1/jobs/slow/cancel", serde_json::json!({})).await;
    rig.until("slow", &["cancelled"]).await;
    rig.finish().await;
}

#[tokio::test]
async fn missing_callbacks_are_logged_with_advice() {
    let mut rig = Rig::set_up("callback=lost").await;
    rig.set("POLLING__CALLBACK_GRACE", "100ms");
    rig.start_daemon().await;
    for name in ["a", "b", "c", "d", "e"] {
        rig.drop(&format!("{name}.json"), quick(name, ""));
        rig.until(name, &["succeeded"]).await;
    }
    rig.until_output("the last 5 tasks ended without a callback").await;
    let page = reqwest::get(rig.admin()).await.unwrap().text().await.unwrap();
    assert!(page.contains("the last 5 tasks ended without a callback"), "{page}");
    let ready = reqwest::get(format!("{}/readyz", rig.admin())).await.unwrap();
    assert_eq!(ready.status(), 200, "missing callbacks do not make the daemon unready");
    rig.finish().await;
}

#[tokio::test]
async fn metrics_are_documented_and_those_of_the_alert_rules_and_dashboard_exist() {
    let mut rig = Rig::set_up("").await;
    rig.set("BUDGET__PER_DAY_USD", "100");
    rig.start_daemon().await;
    rig.drop("good.json", quick("good", ""));
    rig.drop("bad.json", quick("bad", "end=task_failed"));
    rig.drop("waits.json", quick("waits", "media=stall:1000"));
    rig.until("good", &["succeeded"]).await;
    rig.until("bad", &["failed"]).await;
    rig.until("waits", &["downloading"]).await;
    // The balance is read when somebody looks.
    while !rig.get("/api/v1/status").await.1["balance_usd"].is_number() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let reported = scrape(&rig).await;
    let texts = [
        include_str!("../../docs/monitoring/alerts.yml"),
        include_str!("../../docs/monitoring/alerts.test.yml"),
        include_str!("../../docs/monitoring/grafana.json"),
        include_str!("../../docs/monitoring.md"),
    ];
    for text in texts {
        for rest in text.split("dropreel_").skip(1) {
            let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(rest.len());
            let name = format!("dropreel_{}", &rest[..end]);
            let is_reported = reported.keys().any(|reported| {
                let reported = reported.split('{').next().unwrap();
                reported == name || reported.strip_suffix("_count") == Some(&name)
            });
            assert!(is_reported, "{name} is used, but the daemon exports {reported:#?}");
        }
    }
    let documented = texts[3];
    for sample in reported.keys() {
        let name = sample.split('{').next().unwrap();
        let is_documented = ["", "_bucket", "_count", "_sum"]
            .iter()
            .filter_map(|suffix| name.strip_suffix(suffix))
            .any(|name| {
                documented.contains(&format!("`{name}`")) || documented.contains(&format!("`{name}{{"))
            });
        assert!(is_documented, "docs/monitoring.md does not list {name}");
    }
    rig.finish().await;
}
