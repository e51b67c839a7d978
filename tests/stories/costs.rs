//! What jobs cost, counted and not timed: a job that becomes dearer is noticed on any machine.

use crate::support::{Rig, quick};

/// Without those that many jobs share: a file of jobs is taken in and moved as one.
const PIECES: f64 = 7.0;

#[tokio::test]
async fn a_plain_job_is_seven_pieces_of_work_and_as_many_commits_at_most() {
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
    let (pieces, commits) = (metric("dropreel_commit_pieces_total"), metric("dropreel_commit_seconds_count"));
    // Two for the file, one for the start; what is told of the clock now and then is a few more.
    assert!(pieces <= 100.0 * PIECES + 10.0, "{pieces} pieces");
    assert!(commits <= pieces, "{commits} commits of {pieces} pieces");
    rig.finish().await;
}
