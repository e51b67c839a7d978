//! Outputs on their way to the bucket.

use super::*;
use crate::job::next_action::{next_download, next_upload};
use crate::job::retry::SLOW_POLL_INTERVAL;

/// A job whose only output is to be downloaded.
fn downloading() -> Job {
    let events = [Event::AttemptStarted, accepted(), polled(completed(&["https://cdn.example/a"]))];
    after(new_job(), &events)
}

#[test]
fn spooled_output_is_uploaded_whatever_becomes_of_its_link_and_its_task() {
    let spooled = after(downloading(), &[refused(410), spooled()]);
    assert_eq!(next_download(&spooled), None);
    let fresh = polled(completed(&["https://cdn.example/b"]));
    for event in [fresh, polled(TaskFacts::of(Phase::Failed)), missing(), unanswered()] {
        let polled = step(&spooled, &event, at(START.plus(30 * HOUR))).job;
        assert_eq!(next_upload(&polled), Some(START), "{event:?}");
        assert_eq!(after(polled, &[stored(0)]).state_name(), StateName::Succeeded, "{event:?}");
    }
    let warned = step(&spooled, &Event::TimeElapsed, at(START.plus(23 * HOUR)));
    assert!(warned.history.iter().any(|entry| entry.event == HistoryEvent::Expiring), "not stored yet");
}

#[test]
fn upload_that_fails_for_too_long_holds_the_job_and_is_still_tried() {
    let spooled = after(downloading(), &[spooled()]);
    let failing = after(spooled, &[not_uploaded()]);
    assert_eq!(failing.state_name(), StateName::Downloading);
    assert!(next_upload(&failing).expect("a next try") > START);
    let later = START.plus(27 * HOUR);
    let held = step(&failing, &not_uploaded(), at(later)).job;
    assert!(matches!(held.state(), State::Held(hold) if hold.reason == HoldReason::UploadFailing));
    assert_eq!(next_upload(&held), Some(later.plus(SLOW_POLL_INTERVAL)));
    let weeks = START.plus(60 * 24 * HOUR);
    let still = step(&held, &not_uploaded(), at(weeks)).job;
    assert_eq!(next_upload(&still), Some(weeks.plus(SLOW_POLL_INTERVAL)), "it needs no link");
    let released = step(&held, &Event::Operator(OperatorAction::Release), at(later)).job;
    assert_eq!((released.state_name(), next_upload(&released)), (StateName::Downloading, Some(later)));
    assert_eq!(step(&held, &stored(0), at(later)).job.state_name(), StateName::Succeeded);
}

#[test]
fn output_that_is_lost_from_the_spool_is_downloaded_again() {
    let lost = download_failed(DownloadFailure::NotSpooled { why: "it is damaged".into() });
    let job = after(downloading(), &[spooled(), not_uploaded(), lost]);
    assert_eq!(next_upload(&job), None);
    assert_eq!(next_download(&job).map(|next| next.due), Some(START));
}
