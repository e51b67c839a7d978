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
/// How long sick jobs are left alone before throughput is measured beside them: until they have had their first tries.
const FIRST_TRIES: Duration = Duration::from_secs(3);
/// The same for calls that hang: fifty jobs fill the twenty places three times, each time until the first call has failed
/// for a minute.
const FIRST_HANGING_TRIES: Duration = Duration::from_secs(300);
/// Far longer than they take together, and shorter than any suspension.
const NORMAL: Duration = Duration::from_secs(60);

/// `count` sick jobs of each plan, which come first, and the healthy ones.
async fn healthy_jobs_finish_beside(plans: &[(&str, &[&str])], count: usize) {
    let took = time_of_healthy_jobs(plans, count, Duration::ZERO).await;
    assert!(took < NORMAL, "{took:?} beside {count} of {plans:?}");
}

/// How long the healthy jobs take beside `count` sick ones of each plan, which had `head_start`.
async fn time_of_healthy_jobs(plans: &[(&str, &[&str])], count: usize, head_start: Duration) -> Duration {
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
    tokio::time::sleep(head_start).await;
    let began = Instant::now();
    let jobs: Vec<String> = (0..HEALTHY).map(|number| quick(&format!("healthy-{number}"), "")).collect();
    rig.drop("healthy.jsonl", jobs.join("\n"));
    rig.until("healthy-0", &["succeeded"]).await;
    for number in 0..HEALTHY {
        rig.until(&format!("healthy-{number}"), &["succeeded"]).await;
    }
    let took = began.elapsed();
    let (_, status) = rig.get("/api/v1/status").await;
    assert_eq!(status["suspensions"], serde_json::json!([]), "{plans:?}");
    for (name, plan, states) in sick {
        let job = rig.job(&name).await;
        assert!(states.contains(&job["state"].as_str().unwrap()), "{plan}: {job:#}");
        let has_said_why = job["reason"].is_string() || job["error"].is_object();
        assert!(has_said_why || plan.contains("silence") || plan.contains("stall"), "{plan}: {job:#}");
    }
    rig.kill();
    took
}

/// Jobs that are sick at the media host; which of them are stored or given up meanwhile depends on the time.
const SICK_MEDIA: &[(&str, &[&str])] = &[
    ("media=500xall", &["downloading"]),
    ("media=403xall", &["downloading"]),
    ("media=stall:100xall", &["queued", "processing", "downloading"]),
    ("media=reset:100xall", &["downloading"]),
    ("media=html200xall", &["downloading", "held"]),
];

/// The table of docs/reliability.md: throughput of healthy jobs beside sick ones, as a share of that without any, medians
/// of three rounds, or of one where calls hang. The sick jobs have had their first tries: those take turns with the first tries of healthy jobs.
#[tokio::test]
#[ignore = "takes half an hour, and prints a table; DROPREEL_SICK=media: only the plans with this in their name"]
async fn healthy_throughput_beside_sick_jobs() {
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    println!("| 40 healthy jobs beside | 1 | 5 | 50 |");
    println!("| --- | --- | --- | --- |");
    let only = std::env::var("DROPREEL_SICK").unwrap_or_default();
    for kind in SICK.iter().chain(SICK_MEDIA).filter(|kind| kind.0.contains(&only)) {
        let (head_start, repeats) =
            if kind.0.contains("silence") { (FIRST_HANGING_TRIES, 1) } else { (FIRST_TRIES, 3) };
        let kind = std::slice::from_ref(kind);
        let mut shares = [const { Vec::new() }; 3];
        for _ in 0..repeats {
            let alone = time_of_healthy_jobs(kind, 0, FIRST_TRIES).await.as_secs_f64();
            for (count, shares) in [1, 5, 50].into_iter().zip(&mut shares) {
                shares.push(alone / time_of_healthy_jobs(kind, count, head_start).await.as_secs_f64());
            }
        }
        let shares = shares.map(|shares| format!("{:.2}", median(shares)));
        println!("| `{}` | {} |", kind[0].0, shares.join(" | "));
    }
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
