//! Faults of media hosts: a job ends with complete, checked files, or says why not.

use std::time::Duration;

use crate::evidence::{conclude, log_of};
use crate::plans::{self, Case, charges, describe, drop_all, never_fired, until_stable};
use crate::support::checker::When;
use crate::support::{Rig, files_below};

const CORPUS: &str = include_str!("media.txt");
/// The connection is reset at each multiple of this offset of a 1 MiB clip; with `DROPREEL_LONG`, of 4 KiB.
const STEP: u64 = 32 * 1024;

#[test]
fn corpus_has_every_fault_of_media() {
    let names = ["media", "etag", "ranges", "length", "kind", "links", "expired", "media-key", "media-type"];
    assert_eq!(plans::unused(CORPUS, &names), [""; 0]);
    assert!(plans::size(CORPUS) >= 40);
}

/// Files of this job in `folder`, without their sidecars.
fn files_of(rig: &Rig, folder: &str, name: &str) -> usize {
    // `NAME.mp4`, `NAME-2.mp4`; in quarantine `NAME-video-1.bin`.
    let is_of_job = |rest: &str| {
        let kinds = ["-video", "-image", "-audio"];
        let numbered =
            rest.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        rest.starts_with('.') || kinds.iter().any(|kind| rest.starts_with(kind)) || numbered
    };
    files_below(&rig.path(folder))
        .iter()
        .filter(|path| path.extension().is_none_or(|ending| ending != "json"))
        .filter(|path| path.file_name().unwrap().to_string_lossy().strip_prefix(name).is_some_and(is_of_job))
        .count()
}

async fn check_files(rig: &Rig, cases: &[Case]) {
    for case in cases {
        let job = rig.job(&case.name).await;
        assert_eq!(job["state"], case.state.as_str(), "{}", describe(case, &job));
        let kept = job["files"].as_array().unwrap().len();
        let files = (kept, files_of(rig, "videos", &case.name), files_of(rig, "quarantine", &case.name));
        let expected = (case.counts[0], case.counts[0], case.counts[1]);
        assert_eq!(files, expected, "files listed, in the library, quarantined: {}", describe(case, &job));
        assert_eq!(charges(rig, &job), 1, "{}", describe(case, &job));
        if case.state == "held" {
            assert!(job["reason"].as_str().unwrap().contains("dropreel release"), "{}", describe(case, &job));
        }
    }
}

#[tokio::test]
async fn every_media_fault_has_its_expected_outcome() {
    let mut rig = Rig::set_up("").await;
    rig.set("DOWNLOADS__CONCURRENCY", "8");
    rig.start_daemon().await;
    let mut log = log_of(&rig);
    let mut cases = plans::section(CORPUS, "settles");
    cases.extend(plans::section(CORPUS, "expires"));
    drop_all(&rig, &mut log, &cases);
    rig.until_settled(cases.len()).await;
    check_files(&rig, &cases).await;
    assert_eq!(never_fired(&rig, &cases, &["media"]), [""; 0]);
    conclude(rig, &log, When::Finally).await;
}

#[tokio::test]
async fn refused_link_is_not_given_up_at_once() {
    let rig = Rig::start("").await;
    let mut log = log_of(&rig);
    let cases = plans::section(CORPUS, "waits");
    drop_all(&rig, &mut log, &cases);
    until_stable(&rig, &cases, Duration::from_secs(60), Duration::from_secs(12)).await;
    check_files(&rig, &cases).await;
    assert_eq!(never_fired(&rig, &cases, &["media"]), [""; 0]);
    conclude(rig, &log, When::Always).await;
}

#[tokio::test]
async fn broken_downloads_resume_where_they_stopped() {
    let mut rig = Rig::set_up("size=1MiB").await;
    rig.set("DOWNLOADS__CONCURRENCY", "16");
    rig.start_daemon().await;
    let mut log = log_of(&rig);
    let step = if std::env::var_os("DROPREEL_LONG").is_some() { 4096 } else { STEP };
    // Also at offsets that are not multiples of the step.
    let places = (1..(1 << 20) / step).map(|place| place * step - place % 3);
    let case = |place: u64| Case {
        name: format!("reset-{place}"),
        plan: format!("media=reset:{place}"),
        state: "succeeded".to_owned(),
        counts: vec![1, 0],
    };
    let cases: Vec<_> = places.map(case).collect();
    drop_all(&rig, &mut log, &cases);
    let states = rig.until_settled(cases.len()).await;
    for case in &cases {
        assert_eq!(states[&case.name], "succeeded", "{}", case.name);
    }
    // No download started again from the beginning.
    let ledger = rig.sandbox.ledger();
    let resumed =
        ledger.requests.iter().filter(|request| request.call == "media" && request.status == Some(206));
    assert_eq!(resumed.count(), cases.len());
    conclude(rig, &log, When::Finally).await;
}
