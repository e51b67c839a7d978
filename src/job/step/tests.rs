//! `step` over all states and events: `table.txt` has a row for every pair, and the stories below have the times.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::job::event::{
    CancelVerdict, Doubt, DownloadFailure, OperatorAction, Phase, ReportedOutput, StatusVerdict,
    SubmitVerdict, TaskFacts,
};
use crate::job::next_action::{NextAction, next_action};
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
        created_at: START,
    };
    Job::accept(identity, None)
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

fn accepted() -> Event {
    Event::SubmitAnswered(SubmitVerdict::Accepted { task: task(), reserved: Some(Quota::new(5500)) })
}

fn unknown() -> Event {
    Event::SubmitAnswered(SubmitVerdict::Unknown { why: "HTTP 503".into(), not_before: None })
}

fn not_executed() -> Event {
    Event::SubmitAnswered(SubmitVerdict::NotExecuted { why: "HTTP 402".into(), not_before: None })
}

fn seen(facts: TaskFacts) -> Event {
    Event::StatusPolled { sent_at: START, verdict: StatusVerdict::Answered(facts) }
}

fn unanswered() -> Event {
    Event::StatusPolled {
        sent_at: START,
        verdict: StatusVerdict::Unanswered { why: "HTTP 502".into(), not_before: None },
    }
}

fn missing() -> Event {
    Event::StatusPolled { sent_at: START, verdict: StatusVerdict::Missing }
}

fn output(index: u16, link: &str) -> ReportedOutput {
    ReportedOutput { kind: OutputKind::Video, index, link: Secret::new(link), expires_at: None }
}

fn completed(links: &[&str]) -> TaskFacts {
    let outputs = (0..).zip(links).map(|(index, link)| output(index, link)).collect();
    TaskFacts { cost: Some(Quota::new(75_000)), outputs, ..TaskFacts::of(Phase::Completed) }
}

fn key(index: u16) -> OutputKey {
    OutputKey { kind: OutputKind::Video, index }
}

fn stored(index: u16) -> Event {
    let path = format!("2026-04-04/sakura-{index}.mp4");
    let published = Published::for_test(&path, 9, "ab");
    Event::Stored(Stored::new(key(index), &published, "cdn.example".into(), START))
}

fn fetch_failed(failure: DownloadFailure) -> Event {
    Event::DownloadFailed { key: key(0), failure }
}

fn refused(status: u16) -> Event {
    fetch_failed(DownloadFailure::LinkRefused { status, host: "cdn.example".into() })
}

fn unfit() -> Event {
    fetch_failed(DownloadFailure::Invalid { why: "an error page".into() })
}

/// One job in each state, and one held from each state that a job can be held from.
fn scenes() -> Vec<(&'static str, Job)> {
    let held = |job: &Job, reason| {
        let mut change = Change {
            job: job.clone(),
            moment: at(START),
            history: vec![],
            send: None,
            reply: None,
            clock_confirmed: false,
        };
        let held_from = match job.state.clone() {
            State::Pending { schedule, .. } => HeldFrom::Pending(schedule),
            State::Submitting { schedule, pending_attempt } => {
                HeldFrom::Submitting(schedule, pending_attempt)
            }
            State::Queued(running) | State::Processing(running) => HeldFrom::Running(running),
            State::Downloading(downloading) => HeldFrom::Downloading(downloading),
            State::Succeeded { .. }
            | State::Failed { .. }
            | State::Cancelled { .. }
            | State::Expired { .. }
            | State::Held(_) => panic!("no job is held from {}", job.state_name()),
        };
        change.hold(reason, "", held_from);
        change.job
    };
    let pending = new_job();
    let submitting = after(pending.clone(), &[Event::AttemptStarted]);
    let queued = after(submitting.clone(), &[accepted()]);
    let processing = after(queued.clone(), &[seen(TaskFacts::of(Phase::Processing))]);
    let downloading = after(queued.clone(), &[seen(completed(&["https://cdn.example/a"]))]);
    let overdue = [Event::AttemptStarted, accepted(), seen(TaskFacts::of(Phase::Processing))]
        .iter()
        .fold(new_job(), |job, event| step(&job, event, at(START.minus(25 * HOUR))).job);
    let expired = {
        let mut job = downloading.clone();
        for event in [refused(410), seen(completed(&["https://cdn.example/a"])), refused(410)] {
            job = step(&job, &event, at(START)).job;
        }
        job
    };
    vec![
        ("pending", pending.clone()),
        ("pending, not executed before", after(submitting.clone(), &[not_executed()])),
        ("submitting", submitting.clone()),
        ("submitting, outcome unknown", after(submitting.clone(), &[unknown()])),
        (
            "submitting, cancel requested",
            after(submitting.clone(), &[Event::Operator(OperatorAction::Cancel)]),
        ),
        ("queued", queued.clone()),
        ("queued, cancel requested", after(queued.clone(), &[Event::Operator(OperatorAction::Cancel)])),
        ("processing", processing.clone()),
        ("processing, overdue", overdue),
        ("downloading", downloading.clone()),
        ("downloading, link refused", after(downloading.clone(), &[refused(404)])),
        (
            "downloading, refusal confirmed",
            after(downloading.clone(), &[refused(410), seen(completed(&["https://cdn.example/a"]))]),
        ),
        ("succeeded", after(downloading.clone(), &[stored(0)])),
        ("failed", after(queued.clone(), &[seen(TaskFacts::of(Phase::Failed))])),
        ("cancelled", after(pending.clone(), &[Event::Operator(OperatorAction::Cancel)])),
        ("expired", expired),
        ("held, restored database", held(&pending, HoldReason::DatabaseRestored)),
        ("held, outcome unknown", held(&submitting, HoldReason::OutcomeUnknown)),
        ("held, clock unreliable", held(&submitting, HoldReason::ClockUnreliable)),
        ("held, timed out", held(&processing, HoldReason::TimedOut)),
        ("held, task missing", held(&processing, HoldReason::TaskMissing)),
        ("held, invalid output", held(&downloading, HoldReason::InvalidOutput)),
    ]
}

fn events() -> Vec<(&'static str, Event)> {
    let later = START.plus(HOUR);
    let error = JobError { code: "capability_violation".into(), message: "no such duration".into() };
    vec![
        ("attempt started", Event::AttemptStarted),
        ("submit: accepted", accepted()),
        ("submit: refused", Event::SubmitAnswered(SubmitVerdict::Refused(error))),
        ("submit: not executed", not_executed()),
        ("submit: unknown", unknown()),
        (
            "submit: stored error replayed",
            Event::SubmitAnswered(SubmitVerdict::Replayed { why: "HTTP 500".into() }),
        ),
        ("submit: task of another job", Event::SubmitAnswered(SubmitVerdict::DuplicateTask { task: task() })),
        ("poll: queued", seen(TaskFacts::of(Phase::Queued))),
        ("poll: processing", seen(TaskFacts { progress: Some(45), ..TaskFacts::of(Phase::Processing) })),
        ("poll: unclear", seen(TaskFacts::of(Phase::Unclear("pondering".into())))),
        ("poll: completed", seen(completed(&["https://cdn.example/a"]))),
        ("poll: completed, fresh link", seen(completed(&["https://cdn.example/b"]))),
        ("poll: completed, no output", seen(completed(&[]))),
        (
            "poll: completed, two outputs",
            seen(completed(&["https://cdn.example/a", "https://cdn.example/c"])),
        ),
        ("poll: failed", seen(TaskFacts::of(Phase::Failed))),
        ("poll: cancelled", seen(TaskFacts::of(Phase::Cancelled))),
        ("poll: task unknown", missing()),
        ("poll: no answer", unanswered()),
        ("cancel: accepted", Event::CancelAnswered(CancelVerdict::Accepted)),
        ("cancel: too late", Event::CancelAnswered(CancelVerdict::TooLate { why: "running".into() })),
        (
            "cancel: no answer",
            Event::CancelAnswered(CancelVerdict::Unanswered {
                why: "HTTP 502".into(),
                not_before: Some(later),
            }),
        ),
        ("callback received", Event::CallbackReceived { hint: Some(task()), quiet: false }),
        ("callback over the limit", Event::CallbackReceived { hint: None, quiet: true }),
        ("stored", stored(0)),
        ("stored, unknown output", stored(9)),
        ("link refused (403)", refused(403)),
        ("link expired (410)", refused(410)),
        (
            "download failed",
            fetch_failed(DownloadFailure::Transient { why: "reset".into(), not_before: None }),
        ),
        ("not media", unfit()),
        ("address forbidden", fetch_failed(DownloadFailure::Forbidden { why: "10.0.0.1".into() })),
        ("time elapsed", Event::TimeElapsed),
        ("clock set back", Event::ClockSetBack),
        ("clock unreliable", Event::SubmitDoubted(Doubt::Clock)),
        ("database restored", Event::SubmitDoubted(Doubt::Restored)),
        ("operator: cancel", Event::Operator(OperatorAction::Cancel)),
        ("operator: retry", Event::Operator(OperatorAction::Retry)),
        ("operator: release", Event::Operator(OperatorAction::Release)),
    ]
}

fn next_word(job: &Job, now: Timestamp) -> String {
    next_action(job, now)
        .map_or("rest".into(), |next| format!("{} +{}s", next.action.as_str(), next.due.since(now).as_secs()))
}

/// Each pair's row: state, event → state, next move, history. Read `table.txt` as the behaviour; after a wanted
/// change write it anew with `DROPREEL_GOLDEN=write cargo test --lib job::step` and read the difference.
#[test]
fn every_state_answers_every_event_as_the_table_says() {
    let mut table = String::new();
    for (scene, job) in scenes() {
        table.push_str(&format!("## {scene} ({})\n", next_word(&job, START)));
        for (name, event) in events() {
            let outcome = step(&job, &event, at(START));
            let history: Vec<_> = outcome.history.iter().map(|entry| entry.event.as_str()).collect();
            let refused = matches!(outcome.reply, Some(ActionReply::Rejected(_)));
            let same = outcome.job == job && outcome.history.is_empty();
            let row = if refused {
                "refused".into()
            } else if same {
                "-".into()
            } else {
                let next = next_word(&outcome.job, START);
                format!("{} ({next}) {}", outcome.job.state_name(), history.join(" "))
            };
            table.push_str(format!("{name:32} {row}").trim_end());
            table.push('\n');
        }
        table.push('\n');
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/job/step/table.txt");
    if std::env::var_os("DROPREEL_GOLDEN").is_some() {
        std::fs::write(path, &table).expect("the table is written");
    }
    assert_eq!(std::fs::read_to_string(path).expect("the table"), table);
}

#[test]
fn a_key_of_23_hours_is_never_sent_again() {
    let job = after(new_job(), &[Event::AttemptStarted, unknown()]);
    let young = step(&job, &Event::AttemptStarted, at(START.plus(23 * HOUR - Duration::from_secs(1))));
    assert_eq!(young.send, Some(AttemptToSend::Pending(1)));
    let old = step(&job, &Event::AttemptStarted, at(START.plus(23 * HOUR)));
    assert_eq!((old.send, old.job.state_name()), (None, StateName::Held));
}

#[test]
fn a_job_whose_tries_were_all_refused_outlives_its_key() {
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
fn one_unknown_try_is_not_forgotten_by_a_later_refusal() {
    let job = after(new_job(), &[Event::AttemptStarted, unknown(), Event::AttemptStarted, not_executed()]);
    assert_eq!(job.state_name(), StateName::Submitting);
    assert_eq!(
        step(&job, &Event::AttemptStarted, at(START.plus(23 * HOUR))).job.state_name(),
        StateName::Held
    );
}

#[test]
fn a_try_cut_short_by_a_crash_counts_as_unknown() {
    let job = after(new_job(), &[Event::AttemptStarted, Event::AttemptStarted, not_executed()]);
    assert_eq!(job.state_name(), StateName::Submitting);
}

#[test]
fn a_callback_before_the_submit_answer_hurries_repeat_and_question() {
    let waiting = after(new_job(), &[Event::AttemptStarted, unknown()]);
    let received = after(waiting, &[Event::CallbackReceived { hint: None, quiet: false }]);
    assert_eq!(next_word(&received, START), "resend +0s");
    assert_eq!(next_word(&after(received, &[accepted()]), START), "poll +0s");
}

#[test]
fn a_callback_during_a_question_leads_to_another_one() {
    let queued = after(new_job(), &[Event::AttemptStarted, accepted()]);
    let received =
        step(&queued, &Event::CallbackReceived { hint: None, quiet: false }, at(START.plus(HOUR))).job;
    let stale = Event::StatusPolled {
        sent_at: START,
        verdict: StatusVerdict::Answered(TaskFacts::of(Phase::Processing)),
    };
    let job = step(&received, &stale, at(START.plus(HOUR))).job;
    assert_eq!(next_word(&job, START.plus(HOUR)), "poll +1s");
}

#[test]
fn a_task_unfinished_after_a_day_is_held_and_still_obeyed() {
    let queued = after(new_job(), &[Event::AttemptStarted, accepted()]);
    let held = step(&queued, &seen(TaskFacts::of(Phase::Processing)), at(START.plus(24 * HOUR))).job;
    assert_eq!(held.state_name(), StateName::Held);
    assert_eq!(next_word(&held, START.plus(24 * HOUR)), "poll +900s");
    let done = step(&held, &seen(completed(&["https://cdn.example/a"])), at(START.plus(30 * HOUR))).job;
    assert_eq!(done.state_name(), StateName::Downloading);
}

#[test]
fn a_task_denied_for_a_quarter_of_an_hour_is_held() {
    let queued = after(new_job(), &[Event::AttemptStarted, accepted()]);
    let once = step(&queued, &missing(), at(START)).job;
    assert_eq!(once.state_name(), StateName::Queued);
    let back = step(&once, &seen(TaskFacts::of(Phase::Queued)), at(START.plus(HOUR))).job;
    assert_eq!(step(&back, &missing(), at(START.plus(2 * HOUR))).job.state_name(), StateName::Queued);
    let twice = step(&once, &missing(), at(START.plus(Duration::from_secs(900)))).job;
    assert_eq!(twice.state_name(), StateName::Held);
}

#[test]
fn a_link_is_given_up_only_by_the_hosts_word_twice_and_past_its_time() {
    let link = || seen(completed(&["https://cdn.example/a"]));
    let downloading = after(new_job(), &[Event::AttemptStarted, accepted(), link()]);
    let state = |events: &[Event], now| {
        let mut job = downloading.clone();
        for event in events {
            job = step(&job, event, at(now)).job;
        }
        job.state_name()
    };
    let (soon, late) = (START.plus(HOUR), START.plus(25 * HOUR));
    assert_eq!(state(&[refused(404), link(), refused(404)], soon), StateName::Downloading);
    assert_eq!(state(&[refused(404), refused(404)], late), StateName::Downloading);
    assert_eq!(state(&[refused(404), unanswered(), refused(404)], late), StateName::Downloading);
    assert_eq!(state(&[refused(404), link(), refused(404)], late), StateName::Expired);
    assert_eq!(state(&[refused(404), missing(), refused(404)], late), StateName::Expired);
    assert_eq!(state(&[refused(410), link(), refused(410)], soon), StateName::Expired);
    let fresh = seen(completed(&["https://cdn.example/fresh"]));
    assert_eq!(state(&[refused(410), fresh, refused(410)], late), StateName::Downloading);
}

#[test]
fn one_of_two_outputs_is_no_success() {
    let two = seen(completed(&["https://cdn.example/a", "https://cdn.example/b"]));
    let job = after(new_job(), &[Event::AttemptStarted, accepted(), two, stored(1)]);
    assert_eq!(job.state_name(), StateName::Downloading);
    assert_eq!(after(job, &[stored(0)]).state_name(), StateName::Succeeded);
}

#[test]
fn unfit_downloads_are_handed_to_a_person_after_the_fifth() {
    let job =
        after(new_job(), &[Event::AttemptStarted, accepted(), seen(completed(&["https://cdn.example/a"]))]);
    let four = after(job, &vec![unfit(); 4]);
    assert_eq!(four.state_name(), StateName::Downloading);
    let five = after(four, &[unfit()]);
    assert_eq!(five.state_name(), StateName::Held);
    let released = after(five, &[Event::Operator(OperatorAction::Release), unfit()]);
    assert_eq!(released.state_name(), StateName::Downloading);
}

#[test]
fn the_early_alert_is_given_once() {
    let job =
        after(new_job(), &[Event::AttemptStarted, accepted(), seen(completed(&["https://cdn.example/a"]))]);
    assert!(step(&job, &Event::TimeElapsed, at(START.plus(19 * HOUR))).history.is_empty());
    let alerted = step(&job, &Event::TimeElapsed, at(START.plus(20 * HOUR)));
    assert_eq!(alerted.history[0].event, HistoryEvent::Expiring);
    assert!(step(&alerted.job, &Event::TimeElapsed, at(START.plus(21 * HOUR))).history.is_empty());
}

#[test]
fn a_job_not_to_run_before_its_time_waits_for_it() {
    let identity = new_job().identity;
    let job = Job::accept(identity, Some(START.plus(HOUR)));
    assert_eq!(next_word(&job, START), "wait +3600s");
    assert_eq!(next_word(&job, START.plus(HOUR)), "submit +0s");
    assert_eq!(next_action(&job, START.plus(HOUR)).map(|next| next.action), Some(NextAction::Submit));
}

#[test]
fn a_retry_is_a_new_key_and_forgets_the_old_task() {
    let failed = after(
        new_job(),
        &[
            Event::AttemptStarted,
            accepted(),
            seen(TaskFacts::of(Phase::Failed)),
            Event::Operator(OperatorAction::Retry),
        ],
    );
    assert_eq!((failed.state_name(), failed.task()), (StateName::Pending, None));
    assert_eq!(step(&failed, &Event::AttemptStarted, at(START)).send, Some(AttemptToSend::New(2)));
}

proptest! {
    /// Whatever happens in whatever order: nothing but a person's retry leaves an end, a record restores to the same
    /// job, and a job that is neither at its end nor held always has a next move.
    #[test]
    fn any_walk_is_lawful(picks in prop::collection::vec((0_usize..36, 0_u64..100_000), 1..60)) {
        let events = events();
        let mut job = new_job();
        let mut now = START;
        for (pick, seconds) in picks {
            now = now.plus(Duration::from_secs(seconds));
            let event = &events[pick % events.len()].1;
            let outcome = step(&job, event, at(now));
            let left_an_end = job.state_name().is_end() && outcome.job.state_name() != job.state_name();
            prop_assert!(!left_an_end || *event == Event::Operator(OperatorAction::Retry));
            prop_assert!(outcome.send.is_none() || *event == Event::AttemptStarted);
            prop_assert!(outcome.job.attempts >= job.attempts && outcome.job.attempts <= job.attempts + 1);
            let restored = Job::restore(outcome.job.record());
            prop_assert_eq!(restored.as_ref(), Ok(&outcome.job));
            let name = outcome.job.state_name();
            let rests = next_action(&outcome.job, now).is_none();
            prop_assert!(!rests || name.is_end() || name == StateName::Held);
            prop_assert!(!name.is_end() || (rests && outcome.job.facts.finished_at.is_some()));
            job = outcome.job;
        }
    }
}

#[test]
fn what_a_clock_a_day_ahead_has_put_off_is_due_again_when_it_is_set_back() {
    let ahead = START.plus(26 * HOUR);
    let mut job = after(new_job(), &[Event::AttemptStarted, accepted()]);
    let callback = Event::CallbackReceived { hint: None, quiet: false };
    for event in [unanswered(), callback] {
        job = step(&job, &event, at(ahead)).job;
    }
    assert!(next_action(&job, START).expect("a move").due > START.plus(25 * HOUR));
    let righted = step(&job, &Event::ClockSetBack, at(START)).job;
    assert!(next_action(&righted, START).expect("a move").due <= START.plus(HOUR));
    let asked = Event::StatusPolled { sent_at: START.plus(HOUR), verdict: StatusVerdict::Missing };
    let asked = step(&righted, &asked, at(START.plus(HOUR))).job;
    let next = next_action(&asked, START).expect("a move").due;
    assert!(next > START.plus(HOUR + Duration::from_secs(2)), "the callback of then is answered: {next}");
}

#[test]
fn a_time_that_a_person_named_outlives_a_clock_set_back() {
    let identity = new_job().identity().clone();
    let job = Job::accept(identity, Some(START.plus(48 * HOUR)));
    let righted = step(&job, &Event::ClockSetBack, at(START)).job;
    assert_eq!(righted.state().schedule().map(|schedule| schedule.due), Some(START.plus(48 * HOUR)));
}

#[test]
fn a_key_frozen_at_a_time_still_to_come_is_never_sent_again() {
    let mut job = new_job();
    for event in [Event::AttemptStarted, unknown()] {
        job = step(&job, &event, at(START.plus(20 * HOUR))).job;
    }
    let again = step(&job, &Event::AttemptStarted, at(START));
    assert_eq!((again.send, again.job.state_name()), (None, StateName::Held));
}

#[test]
fn a_refusal_after_a_try_of_unknown_outcome_loses_no_task() {
    let error = JobError { code: "forbidden".into(), message: "not allowed".into() };
    let refusal = Event::SubmitAnswered(SubmitVerdict::Refused(error));
    let mut job = after(new_job(), &[Event::AttemptStarted, unknown(), Event::AttemptStarted]);
    for minutes in [1, 14] {
        job = step(&job, &refusal, at(START.plus(Duration::from_secs(60 * minutes)))).job;
        assert_eq!(job.state_name(), StateName::Submitting);
    }
    let found = step(&job, &accepted(), at(START.plus(HOUR)));
    assert_eq!(found.job.state_name(), StateName::Queued, "the task of the first try");
    let held = step(&job, &refusal, at(START.plus(HOUR))).job;
    assert_eq!(held.state_name(), StateName::Held);
    let first = after(new_job(), &[Event::AttemptStarted]);
    assert_eq!(step(&first, &refusal, at(START)).job.state_name(), StateName::Failed);
}
