//! No job's answer stops another job: healthy jobs beside sick ones are stored in normal time.

use std::time::{Duration, Instant};

use futures_util::StreamExt;

use crate::support::{Rig, quick};

/// How a job is sick: its plan, and the states in which it may be meanwhile.
const SICK: &[(&str, &[&str])] = &[
    ("submit=html403", &["pending", "submitting"]),
    ("submit=redirect", &["pending", "submitting"]),
    ("submit=401", &["pending", "submitting"]),
    ("submit=402", &["pending", "submitting"]),
    ("submit=429-endlessxall", &["pending", "submitting"]),
    ("submit=503xall", &["submitting"]),
    ("submit=html200xall", &["submitting"]),
    ("submit=silencexall", &["submitting"]),
    ("submit=resetxall", &["submitting"]),
    ("submit=no-model", &["failed"]),
    ("submit=detail", &["failed"]),
    ("status=401", &["queued"]),
    ("status=402xall", &["queued"]),
    ("status=429-endlessxall", &["queued"]),
    ("status=redirect", &["queued"]),
    ("status=html200xall", &["queued"]),
    ("status=silencexall", &["queued"]),
    ("result=none", &["downloading"]),
];
/// How many healthy jobs there are.
const HEALTHY: usize = 40;
/// Far longer than they take together, and shorter than any suspension.
const NORMAL: Duration = Duration::from_secs(20);

/// `count` sick jobs of each plan, which come first, and the healthy ones.
async fn healthy_jobs_finish_beside(plans: &[(&str, &[&str])], count: usize) {
    let mut rig = Rig::set_up("").await;
    rig.set("POLLING__CALLBACK_GRACE", "500ms");
    rig.start_daemon().await;
    let mut sick = Vec::new();
    for (kind, (plan, states)) in plans.iter().enumerate() {
        for number in 0..count {
            let name = format!("sick-{kind}-{number}");
            let mut job: serde_json::Value = serde_json::from_str(&quick(&name, plan)).unwrap();
            job["dropreel"]["priority"] = 100.into();
            rig.drop(&format!("{name}.json"), job.to_string());
            sick.push((name, *plan, *states));
        }
    }
    for (name, ..) in &sick {
        while rig.get(&format!("/api/v1/jobs/{name}")).await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let began = Instant::now();
    let jobs: Vec<String> = (0..HEALTHY).map(|number| quick(&format!("healthy-{number}"), "")).collect();
    rig.drop("healthy.jsonl", jobs.join("\n"));
    rig.until("healthy-0", &["succeeded"]).await;
    for number in 0..HEALTHY {
        rig.until(&format!("healthy-{number}"), &["succeeded"]).await;
    }
    let took = began.elapsed();
    assert!(took < NORMAL, "{took:?} beside {count} of {plans:?}\n{}", rig.output());
    let (_, status) = rig.get("/api/v1/status").await;
    assert_eq!(status["suspensions"], serde_json::json!([]), "{plans:?}");
    for (name, plan, states) in sick {
        let job = rig.job(&name).await;
        assert!(states.contains(&job["state"].as_str().unwrap()), "{plan}: {job:#}");
        let has_said_why = job["reason"].is_string() || job["error"].is_object();
        assert!(has_said_why || plan.contains("silence"), "{plan}: {job:#}");
    }
    rig.kill();
}

#[tokio::test]
async fn one_sick_job_of_each_kind_delays_no_other() {
    healthy_jobs_finish_beside(SICK, 1).await;
}

#[tokio::test]
async fn five_sick_jobs_of_a_kind_delay_no_other() {
    let runs = SICK.iter().map(|kind| healthy_jobs_finish_beside(std::slice::from_ref(kind), 5));
    futures_util::stream::iter(runs).buffer_unordered(3).collect::<Vec<()>>().await;
}

#[tokio::test]
async fn answer_without_an_output_is_kept_and_reported_at_once() {
    let rig = Rig::start("").await;
    rig.drop("a.json", quick("a", "result=none"));
    let job = rig.until("a", &["downloading"]).await;
    assert!(job["reason"].as_str().unwrap().contains("names no output"), "{job:#}");
    rig.until_output("cannot be used; it is kept in").await;
    let kept = rig.path("quarantine").join(format!("answer-{}.json", job["id"].as_str().unwrap()));
    let content = std::fs::read_to_string(kept).unwrap();
    assert!(content.contains("HTTP 200") && content.contains("completed"), "{content}");
    let doctor = rig.run(&["doctor"]).await;
    assert!(
        String::from_utf8_lossy(&doctor.stdout).contains("1 of the provider could not be used"),
        "{doctor:?}"
    );
    rig.finish().await;
}
