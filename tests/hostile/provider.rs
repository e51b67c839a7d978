//! Whatever the provider answers: the right end, and never more than one charge.

use std::time::Duration;

use crate::evidence::{conclude, log_of, note};
use crate::plans::{self, Case, charges, described, drop_all, never_fired, until_there};
use crate::support::checker::{HarnessLog, When};
use crate::support::{Rig, quick};

const CORPUS: &str = include_str!("provider.txt");
const CALLS: [&str; 3] = ["submit", "status", "cancel"];

#[test]
fn every_word_of_the_grammar_that_concerns_the_api_is_in_the_corpus() {
    let names = [
        "submit",
        "callback",
        "callback-shape",
        "submit-shape",
        "status-shape",
        "pre-cost",
        "extra",
        "id",
        "end",
        "fail-shape",
        "refund",
        "show-cost",
        "words",
        "progress",
        "times",
        "expires",
        "result",
        "url",
        "twice",
    ];
    let mut unused = plans::unused(CORPUS, &names);
    // The default: every other plan uses it.
    unused.retain(|word| !["refund=yes"].contains(&word.as_str()));
    assert_eq!(unused, [""; 0]);
    assert!(plans::size(CORPUS) >= 60);
}

/// A person cancels those that are meant to be.
async fn cancel_those_meant(rig: &Rig, cases: &[Case]) {
    for case in cases.iter().filter(|case| case.name.starts_with("cancel")) {
        rig.until(&case.name, &["queued"]).await;
        let (status, answer) =
            rig.post(&format!("/api/v1/jobs/{}/cancel", case.name), serde_json::json!({})).await;
        assert_eq!(status, 200, "{}: {answer}", case.name);
    }
}

async fn check_charges(rig: &Rig, cases: &[Case]) {
    for case in cases {
        let job = rig.job(&case.name).await;
        assert_eq!(job["state"], case.state.as_str(), "{}", described(case, &job));
        assert_eq!(charges(rig, &job), case.counts[0], "charges of {}", described(case, &job));
    }
}

fn no_path_was_climbed(rig: &Rig) {
    for request in rig.sandbox.ledger().requests {
        assert!(request.call != "other" && !request.path.contains(".."), "{request:?}");
    }
}

async fn refused_cancels_are_not_repeated(rig: &Rig, cases: &[Case]) {
    let requests = rig.sandbox.ledger().requests;
    for case in cases.iter().filter(|case| case.name.starts_with("cancel") && case.state == "succeeded") {
        let task = rig.job(&case.name).await["task_id"].as_str().map(str::to_owned);
        let asked = requests.iter().filter(|request| request.call == "cancel" && request.task_id == task);
        assert_eq!(asked.count(), 1, "{}", case.name);
    }
}

#[tokio::test]
async fn every_answer_leads_to_its_one_right_end_and_at_most_one_charge() {
    let rig = Rig::start("cost=75000").await;
    let mut log = log_of(&rig);
    let mut cases = plans::section(CORPUS, "settles");
    // Those to be cancelled come first: they must be cancelled while they are queued.
    cases.sort_by_key(|case| !case.name.starts_with("cancel"));
    drop_all(&rig, &mut log, &cases);
    cancel_those_meant(&rig, &cases).await;
    rig.until_settled(cases.len()).await;
    check_charges(&rig, &cases).await;
    assert_eq!(never_fired(&rig, &cases, &CALLS), [""; 0]);
    refused_cancels_are_not_repeated(&rig, &cases).await;
    let afterwards = plans::section(CORPUS, "afterwards");
    drop_all(&rig, &mut log, &afterwards);
    rig.until_settled(cases.len() + afterwards.len()).await;
    check_charges(&rig, &afterwards).await;
    no_path_was_climbed(&rig);
    conclude(rig, &log, When::Finally).await;
}

#[tokio::test]
async fn what_nobody_can_know_yet_waits_and_is_paid_for_once() {
    let mut rig = Rig::set_up("cost=75000").await;
    rig.set("POLLING__CALLBACK_GRACE", "500ms");
    rig.start_daemon().await;
    let mut log = log_of(&rig);
    let cases = plans::section(CORPUS, "waits");
    drop_all(&rig, &mut log, &cases);
    until_there(&rig, &cases, Duration::from_secs(60), Duration::from_secs(12)).await;
    check_charges(&rig, &cases).await;
    assert_eq!(never_fired(&rig, &cases, &CALLS), [""; 0]);
    no_path_was_climbed(&rig);
    conclude(rig, &log, When::Always).await;
}

#[tokio::test]
async fn a_stopped_line_tries_nothing_in_vain() {
    let runs = plans::section(CORPUS, "stops the line").into_iter().map(|case| stopped(vec![case]));
    futures_util::future::join_all(runs).await;
}

async fn stopped(case: Vec<Case>) {
    let mut rig = Rig::set_up("cost=75000").await;
    rig.set("POLLING__CALLBACK_GRACE", "500ms");
    rig.start_daemon().await;
    let mut log: HarnessLog = log_of(&rig);
    drop_all(&rig, &mut log, &case);
    let name = &case[0].name;
    cancel_those_meant(&rig, &case).await;
    while rig.get("/api/v1/status").await.1["suspensions"].as_array().is_none_or(Vec::is_empty) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let before = rig.sandbox.ledger().calls.get("submit").copied();
    note(&mut log, "waits.json", quick("waits", ""), Some(1));
    rig.drop("waits.json", quick("waits", ""));
    rig.until("waits", &["pending"]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    check_charges(&rig, &case).await;
    assert_eq!(rig.job("waits").await["state"], "pending", "{name}");
    assert_eq!(rig.sandbox.ledger().calls.get("submit").copied(), before, "{name}: a submit in vain");
    assert_eq!(never_fired(&rig, &case, &CALLS), [""; 0], "{name}");
    conclude(rig, &log, When::Always).await;
}
