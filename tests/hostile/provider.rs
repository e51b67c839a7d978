//! Answers of the provider: each leads to its expected state, and to one charge at most.

use std::time::Duration;

use crate::evidence::{conclude, log_of, record_drop};
use crate::plans::{self, Case, charges, describe, drop_all, never_fired, until_stable};
use crate::support::checker::{HarnessLog, When};
use crate::support::{Rig, quick};

const CORPUS: &str = include_str!("provider.txt");
const CALLS: [&str; 3] = ["submit", "status", "cancel"];

#[test]
fn corpus_has_every_fault_of_the_api() {
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
        "generation",
        "unlisted",
        "cost-percent",
        "settle",
        "pending-cost",
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

/// Cancels the jobs whose name begins with `cancel`.
async fn cancel_marked(rig: &Rig, cases: &[Case]) {
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
        assert_eq!(job["state"], case.state.as_str(), "{}", describe(case, &job));
        assert_eq!(charges(rig, &job), case.counts[0], "charges of {}", describe(case, &job));
    }
}

fn assert_only_known_paths(rig: &Rig) {
    for request in rig.sandbox.ledger().requests {
        assert!(request.call != "other" && !request.path.contains(".."), "{request:?}");
    }
}

async fn assert_refused_cancels_sent_once(rig: &Rig, cases: &[Case]) {
    let requests = rig.sandbox.ledger().requests;
    for case in cases.iter().filter(|case| case.name.starts_with("cancel") && case.state == "succeeded") {
        let task = rig.job(&case.name).await["task_id"].as_str().map(str::to_owned);
        let cancels = requests.iter().filter(|request| request.call == "cancel" && request.task_id == task);
        assert_eq!(cancels.count(), 1, "{}", case.name);
    }
}

#[tokio::test]
async fn every_provider_answer_has_its_expected_state_and_charges() {
    let rig = Rig::start("cost=75000").await;
    let mut log = log_of(&rig);
    let mut cases = plans::section(CORPUS, "settles");
    // The jobs to cancel come first, so that they are cancelled while they are queued.
    cases.sort_by_key(|case| !case.name.starts_with("cancel"));
    drop_all(&rig, &mut log, &cases);
    cancel_marked(&rig, &cases).await;
    rig.until_settled(cases.len()).await;
    check_charges(&rig, &cases).await;
    assert_eq!(never_fired(&rig, &cases, &CALLS), [""; 0]);
    assert_refused_cancels_sent_once(&rig, &cases).await;
    let afterwards = plans::section(CORPUS, "afterwards");
    drop_all(&rig, &mut log, &afterwards);
    rig.until_settled(cases.len() + afterwards.len()).await;
    check_charges(&rig, &afterwards).await;
    assert_only_known_paths(&rig);
    conclude(rig, &log, When::Finally).await;
}

#[tokio::test]
async fn unclear_answers_keep_the_job_waiting_and_bill_it_once() {
    let mut rig = Rig::set_up("cost=75000").await;
    rig.set("POLLING__CALLBACK_GRACE", "500ms");
    rig.start_daemon().await;
    let mut log = log_of(&rig);
    let cases = plans::section(CORPUS, "waits");
    drop_all(&rig, &mut log, &cases);
    until_stable(&rig, &cases, Duration::from_secs(60), Duration::from_secs(12)).await;
    check_charges(&rig, &cases).await;
    assert_eq!(never_fired(&rig, &cases, &CALLS), [""; 0]);
    assert_only_known_paths(&rig);
    conclude(rig, &log, When::Always).await;
}

#[tokio::test]
async fn suspended_calls_are_not_tried() {
    let runs = plans::section(CORPUS, "suspends").into_iter().map(|case| run_suspended(vec![case]));
    futures_util::future::join_all(runs).await;
}

async fn run_suspended(mut case: Vec<Case>) {
    let (of_job, of_account) = case[0].plan.split_once(';').expect("two plans");
    let of_account = format!("cost=75000 {of_account}");
    case[0].plan = of_job.trim().to_owned();
    let mut rig = Rig::set_up(&of_account).await;
    rig.set("POLLING__CALLBACK_GRACE", "500ms");
    rig.start_daemon().await;
    let mut log: HarnessLog = log_of(&rig);
    drop_all(&rig, &mut log, &case);
    let name = &case[0].name;
    cancel_marked(&rig, &case).await;
    while rig.get("/api/v1/status").await.1["suspensions"].as_array().is_none_or(Vec::is_empty) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let before = rig.sandbox.ledger().calls.get("submit").copied();
    record_drop(&mut log, "waits.json", quick("waits", ""), Some(1));
    rig.drop("waits.json", quick("waits", ""));
    rig.until("waits", &["pending"]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    check_charges(&rig, &case).await;
    assert_eq!(rig.job("waits").await["state"], "pending", "{name}");
    assert_eq!(
        rig.sandbox.ledger().calls.get("submit").copied(),
        before,
        "{name}: a submit although calls are suspended"
    );
    assert_eq!(never_fired(&rig, &case, &CALLS), [""; 0], "{name}");
    conclude(rig, &log, When::Always).await;
}
