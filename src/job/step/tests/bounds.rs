//! Faults that never heal: whatever is answered for ever, a job ends or is held within a bound, its history stays short,
//! and the operator has a way out.

use super::*;
use crate::job::retry::{
    BLOCKED_TIMEOUT, MISSING_TIMEOUT, NO_OUTPUT_TIMEOUT, OUTPUT_GRACE, OUTPUT_TIMEOUT, SUBMIT_TIMEOUT,
    UNREADABLE_TIMEOUT,
};

/// The longest wait between two tries of anything, with its jitter.
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);
const MAX_HISTORY: usize = 200;

/// What the other side answers, by number.
struct World {
    submits: &'static [u8],
    polls: &'static [u8],
    downloads: &'static [u8],
    /// How long the job may go on.
    bound: Duration,
}

const HEALTHY: World = World { submits: &[0], polls: &[0], downloads: &[0], bound: Duration::ZERO };

fn submit_verdict(answer: u8) -> SubmitVerdict {
    let why = format!("answer {answer}");
    let not_before = None;
    match answer {
        0 => SubmitVerdict::Accepted { task: task(), reserved: None },
        1 => SubmitVerdict::Blocked { why, not_before },
        2 => SubmitVerdict::NotExecuted { why, not_before },
        3 => SubmitVerdict::Unknown { why, not_before },
        _ => SubmitVerdict::Refused(JobError { code: "x".into(), message: why }),
    }
}

/// `turn` makes links that differ each time.
fn status_verdict(answer: u8, turn: u32, now: Timestamp) -> StatusVerdict {
    let (why, not_before) = (format!("answer {answer}"), None);
    let same = "https://cdn.example/a?sig=1".to_owned();
    let link = match answer {
        0 => same,
        1 => format!("https://cdn.example/a?sig={turn}"),
        _ => format!("https://cdn.example/{turn}/a"),
    };
    let answered = |facts| StatusVerdict::Answered(facts);
    match answer {
        0..=2 => answered(completed(&[&link, "https://cdn.example/b"])),
        3 => {
            let expires_at = Some(now.plus(24 * HOUR));
            let outputs = vec![ReportedOutput { expires_at, ..output(0, &link) }];
            answered(TaskFacts { outputs, ..TaskFacts::of(Phase::Completed) })
        }
        4 => answered(completed(&[])),
        5 => answered(TaskFacts::of(Phase::Processing)),
        6 => StatusVerdict::Missing,
        7 => StatusVerdict::Unreadable { why, not_before },
        8 => StatusVerdict::Unanswered { why, not_before },
        _ => answered(TaskFacts::of(Phase::Failed)),
    }
}

fn failure(answer: u8) -> DownloadFailure {
    let why = format!("answer {answer}");
    match answer {
        0 | 1 => DownloadFailure::Transient { why, not_before: None },
        2 => DownloadFailure::LinkRefused { status: 403, host: "cdn.example".into() },
        3 => DownloadFailure::LinkRefused { status: 410, host: "cdn.example".into() },
        4 => DownloadFailure::Invalid { why },
        _ => DownloadFailure::Forbidden { kind: ForbiddenKind::Address, why },
    }
}

/// A job in a world, driven by what it needs next.
struct Drive {
    job: Job,
    now: Timestamp,
    history: usize,
    turn: u32,
}

impl Drive {
    fn new() -> Self {
        Self { job: new_job(), now: START, history: 0, turn: 0 }
    }

    fn apply(&mut self, event: &Event) -> StepOutcome {
        let outcome = step(&self.job, event, at(self.now));
        self.job = outcome.job.clone();
        self.history += outcome.history.len();
        outcome
    }

    /// Takes the job's next step and answers it. False if the job needs nothing.
    fn advance(&mut self, world: &World, pick: usize) -> bool {
        let DueWork { action, download, upload } = due_work(&self.job, self.now);
        let times = [action.map(|next| next.due), download.map(|next| next.due), upload];
        let Some(due) = times.into_iter().flatten().min() else { return false };
        // A call takes a second, so that questions and answers do not all happen at one moment.
        self.now = self.now.max(due);
        let sent_at = self.now;
        let choose = |answers: &[u8]| answers[pick % answers.len()];
        self.turn += 1;
        let event = if download.is_some_and(|next| next.due <= self.now) {
            let now = self.now;
            let due = self.job.outputs.iter().find(|output| output.is_due(now)).map(|output| output.key);
            let key = due.expect("a due output");
            match choose(world.downloads) {
                6 => Event::Spooled { task: task(), key },
                answer => Event::DownloadFailed { task: task(), key, failure: failure(answer) },
            }
        } else if upload.is_some_and(|due| due <= self.now) {
            let now = self.now;
            let due = self.job.outputs.iter().find(|output| output.is_upload_due(now));
            let key = due.expect("a due output").key;
            let failure = DownloadFailure::NotUploaded { why: "HTTP 503".into() };
            Event::DownloadFailed { task: task(), key, failure }
        } else {
            match action.expect("an action").action {
                NextAction::Submit | NextAction::Resend | NextAction::ResendFailing => {
                    if self.apply(&Event::AttemptStarted).send.is_none() {
                        return true;
                    }
                    let verdict = submit_verdict(choose(world.submits));
                    Event::SubmitAnswered { attempt: self.job.attempts, verdict }
                }
                NextAction::Poll | NextAction::PollFailing => {
                    let verdict = status_verdict(choose(world.polls), self.turn, self.now);
                    Event::StatusPolled { task: task(), sent_at, verdict }
                }
                NextAction::Cancel => {
                    let why = "HTTP 502".to_owned();
                    cancel_answered(CancelVerdict::Unanswered { why, not_before: None })
                }
                NextAction::Wait => Event::TimeElapsed,
                NextAction::CheckPictures => picture_unreachable(),
            }
        };
        self.now = self.now.plus(Duration::from_secs(1));
        self.apply(&event);
        true
    }

    fn is_settled(&self) -> bool {
        let name = self.job.state_name();
        name.is_end() || name == StateName::Held
    }

    /// Runs until the job has ended or is held, and returns how long that took.
    fn settle(&mut self, world: &World, picks: &mut impl Iterator<Item = usize>) -> Duration {
        let began = self.now;
        while !self.is_settled() && self.now.since(began) <= world.bound.saturating_mul(2) {
            assert!(self.advance(world, picks.next().unwrap_or(0)), "{:?} needs nothing", self.job.state());
        }
        self.now.since(began)
    }
}

/// From each state on, cancel leads to an end: at the second request at the latest, once the first got no answer.
fn assert_way_out(job: &Job, now: Timestamp) {
    let mut drive = Drive { job: job.clone(), now, history: 0, turn: 0 };
    let silent = World { submits: &[3], polls: &[8], downloads: &[1], bound: 24 * HOUR };
    drive.apply(&Event::Operator(OperatorAction::Cancel));
    drive.advance(&silent, 0);
    drive.apply(&Event::Operator(OperatorAction::Cancel));
    assert!(drive.job.state_name().is_end(), "no way out of {:?}: {:?}", job.state(), drive.job.state());
    if job.needs_attention() {
        let mut drive = Drive { job: job.clone(), now, history: 0, turn: 0 };
        let reply = drive.apply(&Event::Operator(OperatorAction::Retry)).reply;
        assert!(matches!(reply, Some(ActionReply::Done(_))), "no retry in {:?}", job.state());
    }
}

fn worlds() -> Vec<(&'static str, World)> {
    let running = Duration::from_secs(120) + LONGEST_WAIT;
    let outputs = OUTPUT_TIMEOUT.max(24 * HOUR + OUTPUT_GRACE) + LONGEST_WAIT + HOUR;
    vec![
        ("firewall", World { submits: &[1], bound: BLOCKED_TIMEOUT + LONGEST_WAIT, ..HEALTHY }),
        ("no connection", World { submits: &[2], bound: SUBMIT_TIMEOUT + LONGEST_WAIT, ..HEALTHY }),
        ("HTTP 503", World { submits: &[3], bound: SUBMIT_TIMEOUT + LONGEST_WAIT, ..HEALTHY }),
        ("refused after 503", World { submits: &[3, 4], bound: SUBMIT_TIMEOUT + LONGEST_WAIT, ..HEALTHY }),
        ("any submit", World { submits: &[1, 2, 3, 4], bound: SUBMIT_TIMEOUT + LONGEST_WAIT, ..HEALTHY }),
        ("missing", World { polls: &[6], bound: MISSING_TIMEOUT + running, ..HEALTHY }),
        ("unreadable", World { polls: &[7], bound: UNREADABLE_TIMEOUT + running, ..HEALTHY }),
        ("missing or unreadable", World { polls: &[6, 7], bound: UNREADABLE_TIMEOUT + running, ..HEALTHY }),
        ("any status", World { polls: &[5, 6, 7, 8], bound: 24 * HOUR + running, ..HEALTHY }),
        ("no output", World { polls: &[4], bound: NO_OUTPUT_TIMEOUT + running, ..HEALTHY }),
        ("no output, then anything", World { polls: &[4, 4, 5, 6, 7, 8], bound: 25 * HOUR, ..HEALTHY }),
        ("dead host", World { polls: &[0], downloads: &[0], bound: outputs, ..HEALTHY }),
        ("refused", World { polls: &[0], downloads: &[2, 3], bound: outputs, ..HEALTHY }),
        ("signed again", World { polls: &[1], downloads: &[2, 3], bound: outputs, ..HEALTHY }),
        ("another link each time", World { polls: &[2], downloads: &[0, 2], bound: outputs, ..HEALTHY }),
        ("expires later each time", World { polls: &[3], downloads: &[0, 3], bound: outputs, ..HEALTHY }),
        ("bucket away", World { polls: &[0, 5, 6, 8], downloads: &[0, 6], bound: outputs, ..HEALTHY }),
        ("not media", World { polls: &[2], downloads: &[4], bound: outputs, ..HEALTHY }),
        ("forbidden", World { polls: &[2], downloads: &[5], bound: outputs, ..HEALTHY }),
        (
            "falls back to processing",
            World { polls: &[0, 5, 6, 7, 8], downloads: &[0, 2, 4], bound: 24 * HOUR + outputs, ..HEALTHY },
        ),
        (
            "anything",
            World {
                submits: &[0, 1, 2, 3],
                polls: &[0, 1, 2, 3, 4, 5, 6, 7, 8],
                downloads: &[0, 1, 2, 3, 4, 5, 6],
                bound: SUBMIT_TIMEOUT + 24 * HOUR + outputs,
            },
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn job_in_a_world_that_never_heals_settles_in_time(
        picks in prop::collection::vec(0_usize..720, 64),
        offset in 0_usize..64,
    ) {
        for (name, world) in worlds() {
            let mut picks = picks.iter().cycle().skip(offset).copied();
            let mut drive = Drive::new();
            let took = drive.settle(&world, &mut picks);
            prop_assert!(took <= world.bound, "{name}: {took:?} in {:?}", drive.job.state());
            // A held job is still polled and downloaded: for weeks, without filling its history.
            for _ in 0..2000 {
                if !drive.advance(&world, picks.next().unwrap_or(0)) {
                    break;
                }
            }
            prop_assert!(drive.history < MAX_HISTORY, "{name}: {} history entries", drive.history);
            assert_way_out(&drive.job, drive.now);
        }
    }

    #[test]
    fn operator_has_a_way_out_of_every_state(
        picks in prop::collection::vec(0_usize..720, 1..40),
        world in 0_usize..20,
    ) {
        let (_, world) = &worlds()[world % worlds().len()];
        let mut drive = Drive::new();
        for pick in picks {
            assert_way_out(&drive.job, drive.now);
            if !drive.advance(world, pick) {
                break;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// An adopted job has nothing to submit: it settles without a submit, and cancel ends it in every state.
    #[test]
    fn adopted_job_settles_in_time_and_is_never_submitted(
        picks in prop::collection::vec(0_usize..720, 64),
    ) {
        for (name, world) in worlds().into_iter().filter(|(_, world)| world.submits == HEALTHY.submits) {
            let adopted = after(job_to_adopt(), &[adopted()]);
            let mut drive = Drive { job: adopted, now: START, history: 0, turn: 0 };
            let mut picks = picks.iter().cycle().copied();
            let took = drive.settle(&world, &mut picks);
            prop_assert!(took <= world.bound, "{name}: {took:?} in {:?}", drive.job.state());
            prop_assert_eq!(drive.job.attempts(), 1);
            let retried = drive.apply(&Event::Operator(OperatorAction::Retry)).reply;
            prop_assert!(matches!(retried, Some(ActionReply::Rejected(_))));
            drive.apply(&Event::Operator(OperatorAction::Cancel));
            drive.advance(&World { polls: &[8], downloads: &[1], ..HEALTHY }, 0);
            drive.apply(&Event::Operator(OperatorAction::Cancel));
            prop_assert!(drive.is_settled() && drive.job.state_name().is_end(), "{name}");
        }
    }
}

#[test]
fn unreachable_picture_holds_its_job_in_time_and_release_skips_the_check() {
    let mut drive = Drive { job: job_with_picture(), ..Drive::new() };
    let world = World { bound: BLOCKED_TIMEOUT + LONGEST_WAIT, ..HEALTHY };
    let took = drive.settle(&world, &mut std::iter::repeat(0));
    assert!(took <= world.bound && took >= BLOCKED_TIMEOUT, "{took:?}");
    let State::Held(hold) = drive.job.state() else { panic!("not held: {:?}", drive.job.state()) };
    assert_eq!(hold.reason, HoldReason::PictureUnreachable);
    assert_way_out(&drive.job, drive.now);
    let next = |job: &Job| next_action(job, drive.now).map(|next| next.action);
    let acted = |action| step(&drive.job, &Event::Operator(action), at(drive.now)).job;
    assert_eq!(next(&acted(OperatorAction::Release)), Some(NextAction::Submit));
    assert_eq!(next(&acted(OperatorAction::Retry)), Some(NextAction::CheckPictures));
    let submitting = step(&acted(OperatorAction::Release), &Event::AttemptStarted, at(drive.now)).job;
    let State::Submitting { schedule, .. } = submitting.state() else { panic!("not submitting") };
    assert_eq!((schedule.tries, schedule.failing_since), (0, None), "the check is no failed submit");
}

#[test]
fn dead_host_is_no_reason_to_give_up_a_sibling() {
    let two = polled(completed(&["https://dead.example/a", "https://cdn.example/b"]));
    let job = after(new_job(), &[Event::AttemptStarted, accepted(), two]);
    let forbidden = forbidden(ForbiddenKind::Address);
    let job = after(job, &[forbidden]);
    assert_eq!(job.state_name(), StateName::Downloading);
    assert!(job.outputs()[1].is_due(START), "the sibling is still downloaded");
    let held = after(job, &[stored(1)]);
    let State::Held(hold) = held.state() else { panic!("not held: {:?}", held.state()) };
    assert_eq!(hold.reason, HoldReason::AddressForbidden);
    assert_eq!(hold.detail, "video-0: 10.0.0.1");
}

#[test]
fn failed_download_asks_for_a_fresh_link_and_is_tried_again_meanwhile() {
    let job =
        after(new_job(), &[Event::AttemptStarted, accepted(), polled(completed(&["https://cdn.example/a"]))]);
    for event in [refused(404), download_failed(failure(0))] {
        let failed = after(job.clone(), &[event]);
        assert_eq!(next_action_text(&failed, START), "download +2s, poll_failing +2s");
        let unanswered = after(failed, &[unanswered()]);
        assert_eq!(next_action_text(&unanswered, START), "download +2s, poll_failing +2s");
    }
}

#[test]
fn late_answer_about_an_earlier_attempt_or_task_changes_only_the_history() {
    let earlier = after(new_job(), &[Event::AttemptStarted, accepted()]);
    let retried = [
        Event::CallbackReceived { hint: None, quiet: false },
        missing(),
        Event::Operator(OperatorAction::Retry),
        Event::AttemptStarted,
    ];
    let second = TaskId::parse("task-2").expect("a safe id");
    let submitting = after(earlier, &retried);
    let answer = SubmitVerdict::Accepted { task: second.clone(), reserved: None };
    let queued = after(submitting.clone(), &[Event::SubmitAnswered { attempt: 2, verdict: answer }]);
    let link =
        TaskFacts { outputs: vec![output(0, "https://cdn.example/2")], ..TaskFacts::of(Phase::Completed) };
    let verdict = StatusVerdict::Answered(link);
    let downloading = after(queued.clone(), &[Event::StatusPolled { task: second, sent_at: START, verdict }]);
    let late = [
        accepted(),
        polled(completed(&["https://cdn.example/1"])),
        polled(TaskFacts::of(Phase::Failed)),
        missing(),
        unreadable(),
        cancel_answered(CancelVerdict::Accepted),
        stored(0),
        refused(410),
        forbidden(ForbiddenKind::Address),
    ];
    for job in [submitting, queued, downloading] {
        assert_eq!(job.attempts(), 2);
        for event in &late {
            let outcome = step(&job, event, at(START));
            let unattended_entries = outcome.job.unattended_entries;
            assert_eq!(outcome.job, Job { unattended_entries, ..job.clone() }, "{event:?}");
            assert!(outcome.history.iter().all(|entry| entry.event == HistoryEvent::Ignored), "{event:?}");
        }
    }
}
