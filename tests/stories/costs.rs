//! The cost of a job in database writes: counted, not timed, so a regression shows on any machine.

use crate::support::{Rig, quick};

/// Writes per job, without those that the jobs of one file share.
const WRITES: f64 = 7.0;

#[tokio::test]
async fn plain_job_takes_at_most_seven_writes_and_commits() {
    let mut rig = Rig::set_up("").await;
    rig.set("POLLING__CALLBACK_GRACE", "1m");
    rig.start_daemon().await;
    let lines: Vec<String> = (0..100).map(|number| quick(&format!("job-{number}"), "")).collect();
    rig.drop("jobs.jsonl", lines.join("\n"));
    rig.until_settled(100).await;
    let text = reqwest::get(format!("{}/metrics", rig.admin())).await.unwrap().text().await.unwrap();
    let metric = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().parse::<f64>().unwrap()
    };
    let (writes, commits) =
        (metric("dropreel_commit_batch_writes_total"), metric("dropreel_commit_duration_seconds_count"));
    // What does not depend on the jobs: the file and its batch, the start, and the clock check.
    assert!(writes <= 100.0 * WRITES + 25.0, "{writes} writes");
    assert!(commits <= writes, "{commits} commits of {writes} writes");
    rig.finish().await;
}
