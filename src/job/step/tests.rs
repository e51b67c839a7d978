//! The decisions of `step` in time. `table` has every event in every state, `bounds` what holds for faults that never heal, `money`
//! what is billed, `uploads` what becomes of outputs on their way to the bucket.

mod bounds;
mod money;
mod table;
mod uploads;

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::job::event::{
    CancelVerdict, DownloadFailure, ForbiddenKind, JobEdit, OperatorAction, Phase, PictureFault,
    ReportedOutput, StatusVerdict, SubmitVerdict, TaskFacts,
};
use crate::job::next_action::{DueWork, NextAction, due_work, next_action};
use crate::job::output::{OutputKey, OutputKind, Stored};
use crate::job::state::StateName;
use crate::job::{Identity, JobId, Priority};
use crate::library::published::Published;
use crate::money::Quota;
use crate::rng::Rng;
use crate::secret::Secret;

const HOUR: Duration = Duration::from_secs(3600);
const START: Timestamp = Timestamp::from_millis(1_775_285_160_000);

fn at(now: Timestamp) -> Moment<'static> {
    Moment { now, jitter: 0.5, policy: &PollingPolicy::DEFAULT }
}

fn new_job() -> Job {
    let identity = Identity {
        id: JobId::new(START, 0, &Rng::seeded(1)),
        name: "sakura".into(),
        model: "wan2.5-t2v".into(),
        priority: Priority::default(),
        max_cost: None,
        adopted: false,
        created_at: START,
    };
    Job::accept(identity, None)
}

/// A job for a task that was made elsewhere.
fn job_to_adopt() -> Job {
    Job::accept(Identity { adopted: true, ..new_job().identity }, None)
}

fn adopted() -> Event {
    Event::Adopted { task: task(), submitted_at: None }
}

/// A job that names a local picture.
fn job_with_picture() -> Job {
    new_job().with_local_pictures()
}

fn picture_unreachable() -> Event {
    Event::PictureUnavailable(PictureFault::Unreachable { why: "HTTP 404".into() })
}

fn picture_missing() -> Event {
    Event::PictureUnavailable(PictureFault::Missing { why: "a.png".into() })
}

fn after(mut job: Job, events: &[Event]) -> Job {
    for event in events {
        job = step(&job, event, at(START)).job;
    }
    job
}

fn task() -> TaskId {
    TaskId::parse("task-1").expect("a safe id")
}

/// The answer to the first attempt.
fn submitted(verdict: SubmitVerdict) -> Event {
    Event::SubmitAnswered { attempt: 1, verdict }
}

fn accepted() -> Event {
    submitted(SubmitVerdict::Accepted { task: task(), reserved: Some(Quota::new(5500)) })
}

fn unknown() -> Event {
    submitted(SubmitVerdict::Unknown { why: "HTTP 503".into(), not_before: None })
}

fn not_executed() -> Event {
    submitted(SubmitVerdict::NotExecuted { why: "no connection".into(), not_before: None })
}

fn suspended() -> Event {
    submitted(SubmitVerdict::Suspended { why: "HTTP 402".into(), not_before: None })
}

fn blocked() -> Event {
    submitted(SubmitVerdict::Blocked { why: "HTTP 403 with a web page".into(), not_before: None })
}

/// The answer to a status query that was sent just now.
fn status(verdict: StatusVerdict) -> Event {
    Event::StatusPolled { task: task(), sent_at: START.plus(Duration::from_millis(1)), verdict }
}

fn polled(facts: TaskFacts) -> Event {
    status(StatusVerdict::Answered(facts))
}

fn unanswered() -> Event {
    status(StatusVerdict::Unanswered { why: "HTTP 502".into(), not_before: None })
}

fn unreadable() -> Event {
    status(StatusVerdict::Unreadable { why: "no status in it".into(), not_before: None })
}

fn missing() -> Event {
    status(StatusVerdict::Missing)
}

fn cancel_answered(verdict: CancelVerdict) -> Event {
    Event::CancelAnswered { task: task(), verdict }
}

fn output(index: u16, link: &str) -> ReportedOutput {
    ReportedOutput { kind: OutputKind::Video, index, link: Secret::new(link), expires_at: None }
}

fn completed(links: &[&str]) -> TaskFacts {
    let outputs = (0..).zip(links).map(|(index, link)| output(index, link)).collect();
    TaskFacts { cost: Some(Quota::new(75_000)), outputs, ..TaskFacts::of(Phase::Completed) }
}

fn cost_pending(links: &[&str]) -> TaskFacts {
    TaskFacts { cost: None, cost_pending: true, ..completed(links) }
}

fn earlier_task() -> TaskId {
    TaskId::parse("task-0").expect("a safe id")
}

fn key(index: u16) -> OutputKey {
    OutputKey { kind: OutputKind::Video, index }
}

fn stored(index: u16) -> Event {
    let path = format!("2026-04-04/sakura-{index}.mp4");
    let published = Published::for_test(&path, 9, "ab");
    Event::Stored(Stored::new(task(), key(index), &published, "cdn.example".into(), START))
}

fn download_failed(failure: DownloadFailure) -> Event {
    Event::DownloadFailed { task: task(), key: key(0), failure }
}

fn refused(status: u16) -> Event {
    download_failed(DownloadFailure::LinkRefused { status, host: "cdn.example".into() })
}

fn invalid_download() -> Event {
    download_failed(DownloadFailure::Invalid { why: "an error page".into() })
}

fn spooled() -> Event {
    Event::Spooled { task: task(), key: key(0) }
}

fn not_uploaded() -> Event {
    download_failed(DownloadFailure::NotUploaded { why: "HTTP 503".into() })
}

fn forbidden(kind: ForbiddenKind) -> Event {
    download_failed(DownloadFailure::Forbidden { kind, why: "10.0.0.1".into() })
}

fn over_budget() -> Event {
    let until = START.plus(6 * HOUR);
    Event::OverBudget { need: Quota::new(75_000), why: "today's $20.00 are used".into(), until }
}

fn edited() -> Event {
    Event::Edited(Box::new(JobEdit {
        name: "edited".into(),
        model: "wan2.6".into(),
        priority: Priority::default(),
        max_cost: None,
        not_before: None,
        names_pictures: false,
        before: "{}".into(),
    }))
}

fn next_action_text(job: &Job, now: Timestamp) -> String {
    let DueWork { action, download, upload } = due_work(job, now);
    let action = action.map(|next| format!("{} +{}s", next.action.into_str(), next.due.since(now).as_secs()));
    let download = download.map(|next| format!("download +{}s", next.due.since(now).as_secs()));
    let upload = upload.map(|due| format!("upload +{}s", due.since(now).as_secs()));
    let all: Vec<_> = download.into_iter().chain(upload).chain(action).collect();
    if all.is_empty() { "rest".into() } else { all.join(", ") }
}

#[test]
fn key_older_than_23_hours_is_never_sent_again() {
    let job = after(new_job(), &[Event::AttemptStarted, unknown()]);
    let just_younger = step(&job, &Event::AttemptStarted, at(START.plus(23 * HOUR - Duration::from_secs(1))));
    assert_eq!(just_younger.send, Some(AttemptToSend::Pending(1)));
    let old = step(&job, &Event::AttemptStarted, at(START.plus(23 * HOUR)));
    assert_eq!((old.send, old.job.state_name()), (None, StateName::Held));
}

#[test]
fn old_key_that_was_never_executed_is_replaced() {
    let job = after(new_job(), &[Event::AttemptStarted, not_executed()]);
    assert_eq!(
        step(&job, &Event::AttemptStarted, at(START.plus(22 * HOUR))).send,
        Some(AttemptToSend::Pending(1))
    );
    assert_eq!(
        step(&job, &Event::AttemptStarted, at(START.plus(60 * HOUR))).send,
        Some(AttemptToSend::New(2))
    );
}

#[test]
fn unknown_outcome_remains_after_a_later_refusal() {
    let job = after(new_job(), &[Event::AttemptStarted, unknown(), Event::AttemptStarted, not_executed()]);
    assert_eq!(job.state_name(), StateName::Submitting);
    assert_eq!(
        step(&job, &Event::AttemptStarted, at(START.plus(23 * HOUR))).job.state_name(),
        StateName::Held
    );
}

#[test]
fn submit_interrupted_by_a_crash_has_an_unknown_outcome() {
    let job = after(new_job(), &[Event::AttemptStarted, Event::AttemptStarted, not_executed()]);
    assert_eq!(job.state_name(), StateName::Submitting);
}

#[test]
fn callback_before_the_submit_answer_hastens_resend_and_poll() {
    let waiting = after(new_job(), &[Event::AttemptStarted, unknown()]);
    let received = after(waiting, &[Event::CallbackReceived { hint: None, quiet: false }]);
    assert_eq!(next_action_text(&received, START), "resend +0s");
    assert_eq!(next_action_text(&after(received, &[accepted()]), START), "poll +0s");
}

#[test]
fn callback_during_a_poll_leads_to_another_poll() {
    let queued = after(new_job(), &[Event::AttemptStarted, accepted()]);
    let received =
        step(&queued, &Event::CallbackReceived { hint: None, quiet: false }, at(START.plus(HOUR))).job;
    let stale = Event::StatusPolled {
        task: task(),
        sent_at: START,
        verdict: StatusVerdict::Answered(TaskFacts::of(Phase::Processing)),
    };
    let job = step(&received, &stale, at(START.plus(HOUR))).job;
    assert_eq!(next_action_text(&job, START.plus(HOUR)), "poll +1s");
}

#[test]
fn task_without_an_answer_is_failing_until_it_has_one() {
    let running = [Event::AttemptStarted, accepted()];
    for no_answer in [unanswered(), unreadable(), missing()] {
        let failing = after(after(new_job(), &running), &[no_answer]);
        assert_eq!(failing.record().failing_since, Some(START));
        let found = after(failing, &[polled(TaskFacts::of(Phase::Processing))]);
        assert_eq!(found.record().failing_since, None);
    }
}

#[test]
fn unfinished_task_is_held_after_a_day_and_can_still_complete() {
    let queued = after(new_job(), &[Event::AttemptStarted, accepted()]);
    let held = step(&queued, &polled(TaskFacts::of(Phase::Processing)), at(START.plus(24 * HOUR))).job;
    assert_eq!(held.state_name(), StateName::Held);
    assert_eq!(next_action_text(&held, START.plus(24 * HOUR)), "poll +900s");
    let done = step(&held, &polled(completed(&["https://cdn.example/a"])), at(START.plus(30 * HOUR))).job;
    assert_eq!(done.state_name(), StateName::Downloading);
}

#[test]
fn task_unknown_to_the_provider_for_15_minutes_is_held() {
    let queued = after(new_job(), &[Event::AttemptStarted, accepted()]);
    let once = step(&queued, &missing(), at(START)).job;
    assert_eq!(once.state_name(), StateName::Queued);
    let back = step(&once, &polled(TaskFacts::of(Phase::Queued)), at(START.plus(HOUR))).job;
    assert_eq!(step(&back, &missing(), at(START.plus(2 * HOUR))).job.state_name(), StateName::Queued);
    let twice = step(&once, &missing(), at(START.plus(Duration::from_secs(900)))).job;
    assert_eq!(twice.state_name(), StateName::Held);
}

#[test]
fn job_expires_only_after_two_refusals_of_its_link() {
    // A new signature makes no other link.
    let link = || polled(completed(&["https://cdn.example/a?sig=2"]));
    let downloading = after(new_job(), &[Event::AttemptStarted, accepted(), link()]);
    let state = |events: &[Event], now: Timestamp| {
        let mut job = downloading.clone();
        for (millis, event) in (0..).zip(events) {
            let mut event = event.clone();
            if let Event::StatusPolled { sent_at, .. } = &mut event {
                *sent_at = now.plus(Duration::from_millis(millis));
            }
            job = step(&job, &event, at(now.plus(Duration::from_millis(millis)))).job;
        }
        job.state_name()
    };
    let (soon, late) = (START.plus(HOUR), START.plus(25 * HOUR));
    assert_eq!(state(&[refused(404), link(), refused(404)], soon), StateName::Downloading);
    assert_eq!(state(&[refused(404), refused(404)], late), StateName::Downloading);
    assert_eq!(state(&[refused(404), unanswered(), refused(404)], late), StateName::Downloading);
    assert_eq!(
        state(&[refused(404), refused(404)], late.plus(2 * HOUR)),
        StateName::Held,
        "no answer confirms it"
    );
    assert_eq!(state(&[refused(404), link(), refused(404)], late), StateName::Expired);
    assert_eq!(state(&[refused(404), missing(), refused(404)], late), StateName::Expired);
    assert_eq!(state(&[refused(410), link(), refused(410)], soon), StateName::Downloading, "a day too early");
    let fresh = polled(completed(&["https://cdn.example/fresh"]));
    assert_eq!(state(&[refused(410), fresh, refused(410)], late), StateName::Downloading);
}

#[test]
fn job_succeeds_only_with_all_outputs() {
    let two = polled(completed(&["https://cdn.example/a", "https://cdn.example/b"]));
    let job = after(new_job(), &[Event::AttemptStarted, accepted(), two, stored(1)]);
    assert_eq!(job.state_name(), StateName::Downloading);
    assert_eq!(after(job, &[stored(0)]).state_name(), StateName::Succeeded);
}

#[test]
fn fifth_invalid_download_holds_the_job() {
    let job =
        after(new_job(), &[Event::AttemptStarted, accepted(), polled(completed(&["https://cdn.example/a"]))]);
    let four = after(job, &vec![invalid_download(); 4]);
    assert_eq!(four.state_name(), StateName::Downloading);
    let five = after(four, &[invalid_download()]);
    assert_eq!(five.state_name(), StateName::Held);
    let released = after(five, &[Event::Operator(OperatorAction::Release), invalid_download()]);
    assert_eq!(released.state_name(), StateName::Downloading);
}

#[test]
fn expiry_alert_is_given_once() {
    let job =
        after(new_job(), &[Event::AttemptStarted, accepted(), polled(completed(&["https://cdn.example/a"]))]);
    assert!(step(&job, &Event::TimeElapsed, at(START.plus(19 * HOUR))).history.is_empty());
    let alerted = step(&job, &Event::TimeElapsed, at(START.plus(20 * HOUR)));
    assert_eq!(alerted.history[0].event, HistoryEvent::Expiring);
    assert!(step(&alerted.job, &Event::TimeElapsed, at(START.plus(21 * HOUR))).history.is_empty());
}

#[test]
fn job_with_not_before_waits() {
    let identity = new_job().identity;
    let job = Job::accept(identity, Some(START.plus(HOUR)));
    assert_eq!(next_action_text(&job, START), "wait +3600s");
    assert_eq!(next_action_text(&job, START.plus(HOUR)), "submit +0s");
    assert_eq!(next_action(&job, START.plus(HOUR)).map(|next| next.action), Some(NextAction::Submit));
}

#[test]
fn retry_uses_a_new_key_and_drops_the_old_task() {
    let failed = after(
        new_job(),
        &[
            Event::AttemptStarted,
            accepted(),
            polled(TaskFacts::of(Phase::Failed)),
            Event::Operator(OperatorAction::Retry),
        ],
    );
    assert_eq!((failed.state_name(), failed.task()), (StateName::Pending, None));
    assert_eq!(step(&failed, &Event::AttemptStarted, at(START)).send, Some(AttemptToSend::New(2)));
}

#[test]
fn clock_set_back_by_a_day_makes_delayed_work_due_again() {
    let ahead = START.plus(26 * HOUR);
    let mut job = after(new_job(), &[Event::AttemptStarted, accepted()]);
    let callback = Event::CallbackReceived { hint: None, quiet: false };
    for event in [unanswered(), callback] {
        job = step(&job, &event, at(ahead)).job;
    }
    assert!(next_action(&job, START).expect("a next action").due > START.plus(25 * HOUR));
    let corrected = step(&job, &Event::ClockSetBack, at(START)).job;
    assert!(next_action(&corrected, START).expect("a next action").due <= START.plus(HOUR));
    let poll =
        Event::StatusPolled { task: task(), sent_at: START.plus(HOUR), verdict: StatusVerdict::Missing };
    let answered = step(&corrected, &poll, at(START.plus(HOUR))).job;
    let next = next_action(&answered, START).expect("a next action").due;
    assert!(
        next > START.plus(HOUR + Duration::from_secs(2)),
        "the callback of the wrong time counts as answered: {next}"
    );
}

#[test]
fn job_accepted_by_a_clock_ahead_is_due_when_it_is_set_back() {
    let identity = Identity { created_at: START.plus(HOUR), ..new_job().identity().clone() };
    let corrected = step(&Job::accept(identity, None), &Event::ClockSetBack, at(START)).job;
    assert_eq!(corrected.state().schedule().map(|schedule| schedule.due), Some(START));
}

#[test]
fn not_before_is_kept_when_the_clock_is_set_back() {
    let identity = new_job().identity().clone();
    let job = Job::accept(identity, Some(START.plus(48 * HOUR)));
    let corrected = step(&job, &Event::ClockSetBack, at(START)).job;
    assert_eq!(corrected.state().schedule().map(|schedule| schedule.due), Some(START.plus(48 * HOUR)));
}

#[test]
fn key_created_in_the_future_is_never_sent_again() {
    let mut job = new_job();
    for event in [Event::AttemptStarted, unknown()] {
        job = step(&job, &event, at(START.plus(20 * HOUR))).job;
    }
    let again = step(&job, &Event::AttemptStarted, at(START));
    assert_eq!((again.send, again.job.state_name()), (None, StateName::Held));
}

#[test]
fn refusal_after_an_unknown_outcome_loses_no_task() {
    let error = JobError { code: "forbidden".into(), message: "not allowed".into() };
    let refusal = submitted(SubmitVerdict::Refused(error));
    let mut job = after(new_job(), &[Event::AttemptStarted, unknown(), Event::AttemptStarted]);
    for minutes in [1, 14] {
        job = step(&job, &refusal, at(START.plus(Duration::from_secs(60 * minutes)))).job;
        assert_eq!(job.state_name(), StateName::Submitting);
    }
    let found = step(&job, &accepted(), at(START.plus(HOUR)));
    assert_eq!(found.job.state_name(), StateName::Queued, "the task of the first submit");
    let held = step(&job, &refusal, at(START.plus(HOUR))).job;
    assert_eq!(held.state_name(), StateName::Held);
    let first = after(new_job(), &[Event::AttemptStarted]);
    assert_eq!(step(&first, &refusal, at(START)).job.state_name(), StateName::Failed);
}

#[test]
fn possible_actions_are_those_that_a_step_accepts() {
    use crate::job::step::possible::possible_actions;

    let offered = |job: &Job| -> Vec<(OperatorAction, bool)> {
        let actions = possible_actions(job, START).into_iter();
        actions.map(|possible| (possible.action, possible.may_be_billed_again)).collect()
    };
    let (cancel, retry, release) = (OperatorAction::Cancel, OperatorAction::Retry, OperatorAction::Release);
    assert_eq!(offered(&new_job()), [(cancel, false)]);
    let cancelled = after(new_job(), &[Event::Operator(cancel)]);
    assert_eq!(offered(&cancelled), [(retry, true)]);
    let held = after(new_job(), &[Event::DatabaseRestored]);
    assert_eq!(offered(&held), [(release, true), (retry, true), (cancel, false)]);
    for job in [new_job(), cancelled, held] {
        for action in [cancel, retry, release] {
            let accepted =
                matches!(step(&job, &Event::Operator(action), at(START)).reply, Some(ActionReply::Done(_)));
            let is_offered = offered(&job).iter().any(|(offered, _)| *offered == action);
            assert_eq!(is_offered, accepted, "{action:?} of {:?}", job.state);
        }
    }
}

#[test]
fn release_of_an_unlisted_model_counts_for_one_attempt() {
    let unlisted = [Event::ModelUnlisted { nearest: Some("wan2.6".into()) }];
    let held = after(new_job(), &unlisted);
    let State::Held(hold) = held.state() else { panic!("{held:?}") };
    assert_eq!(
        (hold.reason, hold.detail.as_str()),
        (HoldReason::UnknownModel, "wan2.5-t2v; the nearest is wan2.6")
    );
    let released = after(held.clone(), &[Event::Operator(OperatorAction::Release)]);
    assert!(!released.needs_listed_model());
    assert_eq!(after(released.clone(), &unlisted), released, "it is tried all the same");
    let tried = after(released.clone(), &[Event::AttemptStarted, not_executed()]);
    assert_eq!(after(tried.clone(), &unlisted), tried, "its attempt is not over");
    let refused =
        submitted(SubmitVerdict::Refused(JobError { code: "http_404".into(), message: "no".into() }));
    let failed = after(released, &[Event::AttemptStarted, refused]);
    for job in [held, failed] {
        assert!(after(job, &[Event::Operator(OperatorAction::Retry)]).needs_listed_model());
    }
}
