//! A server that is replaced by a copy which lacks its last commits. What they made is not there any more, and nobody pays for
//! it again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dropreel::rng::Rng;
use serde_json::Value;

use crate::cluster::{Cluster, TIMEOUT};
use crate::load::Load;
use crate::network::database_server;
use crate::number;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the network that ci/cluster makes"]
async fn server_set_back_holds_what_may_have_been_submitted_and_pays_nothing_twice() {
    let (rounds, seed) = (number("DROPREEL_ROUNDS"), number("DROPREEL_SEED"));
    for round in 0..rounds {
        fail_over(&format!("fail_over_{round}"), seed + round).await;
    }
}

async fn fail_over(name: &str, seed: u64) {
    let (rng, began) = (Rng::seeded(seed), Instant::now());
    // So few that jobs wait while the copy is made, and are submitted after it.
    let cluster = Cluster::start(name, &[("PROVIDER__MAX_RUNNING", "3")]).await;
    let load = Load::start(&cluster, "job", seed, Duration::from_millis(150));
    load.continue_for(15, Duration::from_secs(60)).await;
    database_server(&["copy"]).await;
    let (copied, tasks) = (load.count(), cluster.sandbox.ledger().tasks.len());
    let lag = Duration::from_millis(1000 + rng.below(2000));
    tokio::time::sleep(lag).await;
    let accepted = load.end().await;
    let mut names = accepted.by_id;
    names.extend(cluster.names().await);
    let lost_tasks = cluster.sandbox.ledger().tasks.len() - tasks;
    assert!(lost_tasks > 0, "nothing was submitted after the copy");
    let leader = cluster.node(cluster.until_healthy().await).clone();
    let ends = leader.ends();
    database_server(&["fail-over"]).await;
    let restarted = Instant::now();
    // It answers until it has noticed.
    while leader.ends() == ends {
        assert!(restarted.elapsed() < TIMEOUT, "the leader continues\n{}", cluster.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (_, took) = cluster.until_one_leads(&cluster.nodes, restarted).await;
    cluster.until_healthy().await;

    let taken_over = until_taken_over(&cluster).await;
    let after = Load::start(&cluster, "after", seed, Duration::from_millis(300));
    after.continue_for(5, Duration::from_secs(60)).await;
    let after = after.end().await;
    let jobs = cluster.until_settled(&after.names).await;
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    for job in &jobs {
        let state = job["state"].as_str().unwrap();
        *states.entry(state).or_default() += 1;
        let is_new = after.names.contains(job["name"].as_str().unwrap());
        let may_be_held =
            !is_new && job["reason"].as_str().is_some_and(|why| why.contains("submitted since"));
        assert!(state == "succeeded" || state == "held" && may_be_held, "{job:#}\n{}", cluster.logs());
    }
    let is_noticed = cluster.nodes.iter().any(|node| node.output().contains("unsubmitted jobs are held"));
    assert!(is_noticed, "nobody noticed\n{}", cluster.logs());
    assert!(states.contains_key("held"), "{states:?}\n{}", cluster.logs());
    names.extend(cluster.names().await);
    let paid_twice = cluster.paid_twice(&names);
    assert!(paid_twice.is_empty(), "{}\n{}", paid_twice.join("\n"), cluster.logs());
    let tasks = cluster.sandbox.ledger().tasks.len();
    cluster.stop().await;
    let known = cluster.check_known_videos().await;
    println!(
        "fail-over to a copy {lag:?} older, with {copied} of {} jobs, lacking {lost_tasks} of {tasks} tasks: a node led after \
         {took:.1?}{}, {states:?}, the videos of {known} tasks stored whole, 0 paid twice, {:.0?}",
        names.len(),
        if taken_over { ", a person took over" } else { "" },
        began.elapsed()
    );
}

/// Waits until jobs are submitted again, and takes over where only a person may. Returns whether that was so.
async fn until_taken_over(cluster: &Cluster) -> bool {
    let (start, mut taken_over) = (Instant::now(), false);
    loop {
        let leader = cluster.until_healthy().await;
        if let Some((200, status)) = cluster.node(leader).get("/api/v1/status").await {
            let none = Vec::new();
            let suspensions = status["suspensions"].as_array().unwrap_or(&none);
            let superseded = suspensions.iter().find(|suspension| suspension["cause"] == "superseded");
            let message = superseded.and_then(|found| found["message"].as_str());
            match message {
                None => return taken_over,
                Some(message) if message.contains("resume takeover") && !taken_over => {
                    let body = serde_json::json!({"what": "takeover"}).to_string();
                    let answer: Option<(u16, Value)> =
                        cluster.node(leader).post("/api/v1/resume", "takeover", body).await;
                    taken_over = answer.is_some_and(|(status, _)| status < 300);
                }
                Some(_) => {}
            }
        }
        assert!(start.elapsed() < TIMEOUT, "still superseded\n{}", cluster.logs());
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}
