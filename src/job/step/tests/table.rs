//! Every event in every state: `table.txt` has a row for each pair, and any sequence of events keeps the rules.

use proptest::prelude::*;

use super::*;

/// One job in each state, and one held from each state that a job can be held from.
fn jobs_by_state() -> Vec<(&'static str, Job)> {
    let held = |job: &Job, reason| {
        let mut change = Change {
            job: job.clone(),
            moment: at(START),
            history: vec![],
            send: None,
            reply: None,
            billing: None,
        };
        let held_from = match job.state.clone() {
            State::Pending { schedule, pending_attempt } => HeldFrom::Pending(schedule, pending_attempt),
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
    let processing = after(queued.clone(), &[polled(TaskFacts::of(Phase::Processing))]);
    let downloading = after(queued.clone(), &[polled(completed(&["https://cdn.example/a"]))]);
    let overdue = [Event::AttemptStarted, accepted(), polled(TaskFacts::of(Phase::Processing))]
        .iter()
        .fold(new_job(), |job, event| step(&job, event, at(START.minus(25 * HOUR))).job);
    let expired = {
        let mut job = downloading.clone();
        for event in [refused(410), polled(completed(&["https://cdn.example/a"]))] {
            job = step(&job, &event, at(START)).job;
        }
        job = step(&job, &refused(410), at(START.plus(25 * HOUR))).job;
        job
    };
    vec![
        ("pending", pending.clone()),
        ("pending, to be adopted", job_to_adopt()),
        ("pending, not executed before", after(submitting.clone(), &[not_executed()])),
        ("pending, suspended before", after(submitting.clone(), &[suspended()])),
        ("pending, over budget", after(pending.clone(), &[over_budget()])),
        ("pending, pictures to check", job_with_picture()),
        ("pending, picture unreachable", after(job_with_picture(), &[picture_unreachable()])),
        ("submitting", submitting.clone()),
        ("submitting, outcome unknown", after(submitting.clone(), &[unknown()])),
        (
            "submitting, cancel requested",
            after(submitting.clone(), &[Event::Operator(OperatorAction::Cancel)]),
        ),
        ("queued", queued.clone()),
        ("queued, adopted", after(job_to_adopt(), &[adopted()])),
        ("queued, cancel requested", after(queued.clone(), &[Event::Operator(OperatorAction::Cancel)])),
        ("processing", processing.clone()),
        ("processing, overdue", overdue),
        ("downloading", downloading.clone()),
        ("downloading, link refused", after(downloading.clone(), &[refused(404)])),
        (
            "downloading, refusal confirmed",
            after(downloading.clone(), &[refused(410), polled(completed(&["https://cdn.example/a"]))]),
        ),
        ("downloading, spooled", after(downloading.clone(), &[spooled()])),
        ("downloading, not uploaded", after(downloading.clone(), &[spooled(), not_uploaded()])),
        ("succeeded", after(downloading.clone(), &[stored(0)])),
        (
            "succeeded, cost not final",
            after(queued.clone(), &[polled(cost_pending(&["https://cdn.example/a"])), stored(0)]),
        ),
        ("failed", after(queued.clone(), &[polled(TaskFacts::of(Phase::Failed))])),
        (
            "failed, dismissed",
            after(
                queued.clone(),
                &[polled(TaskFacts::of(Phase::Failed)), Event::Operator(OperatorAction::Dismiss)],
            ),
        ),
        ("failed, refused", {
            let error = JobError { code: "http_403".into(), message: "no".into() };
            after(submitting.clone(), &[submitted(SubmitVerdict::Refused(error))])
        }),
        ("cancelled", after(pending.clone(), &[Event::Operator(OperatorAction::Cancel)])),
        ("cancelled, moved out", after(pending.clone(), &[Event::MovedOut])),
        ("expired", expired),
        ("held, too expensive", held(&pending, HoldReason::TooExpensive)),
        ("held, unknown model", held(&pending, HoldReason::UnknownModel)),
        ("held, picture unreachable", held(&job_with_picture(), HoldReason::PictureUnreachable)),
        ("held, picture missing", after(job_with_picture(), &[picture_missing()])),
        ("held, restored database", held(&pending, HoldReason::DatabaseRestored)),
        ("held, outcome unknown", held(&submitting, HoldReason::OutcomeUnknown)),
        ("held, submit blocked", held(&after(submitting.clone(), &[blocked()]), HoldReason::SubmitBlocked)),
        ("held, timed out", held(&processing, HoldReason::TimedOut)),
        ("held, task missing", held(&processing, HoldReason::TaskMissing)),
        ("held, invalid output", after(downloading.clone(), &vec![invalid_download(); 5])),
        ("held, no output", held(&after(queued.clone(), &[polled(completed(&[]))]), HoldReason::NoOutput)),
        ("held, output unreachable", {
            let failed =
                download_failed(DownloadFailure::Transient { why: "reset".into(), not_before: None });
            step(&downloading, &failed, at(START.plus(27 * HOUR))).job
        }),
        ("held, upload failing", {
            let spooled = after(downloading.clone(), &[spooled()]);
            step(&spooled, &not_uploaded(), at(START.plus(27 * HOUR))).job
        }),
    ]
}

fn events() -> Vec<(&'static str, Event)> {
    let later = START.plus(HOUR);
    let error = JobError { code: "capability_violation".into(), message: "no such duration".into() };
    vec![
        ("attempt started", Event::AttemptStarted),
        ("submit: accepted", accepted()),
        ("submit: refused", submitted(SubmitVerdict::Refused(error))),
        ("submit: suspended", suspended()),
        ("submit: not executed", not_executed()),
        ("submit: blocked", blocked()),
        ("submit: unknown", unknown()),
        ("submit: stored error replayed", submitted(SubmitVerdict::Replayed { why: "HTTP 500".into() })),
        ("submit: task of another attempt", submitted(SubmitVerdict::DuplicateTask { task: task() })),
        (
            "submit: accepted, earlier attempt",
            Event::SubmitAnswered {
                attempt: 0,
                verdict: SubmitVerdict::Accepted { task: earlier_task(), reserved: None },
            },
        ),
        ("adopted", adopted()),
        ("poll: queued", polled(TaskFacts::of(Phase::Queued))),
        ("poll: processing", polled(TaskFacts { progress: Some(45), ..TaskFacts::of(Phase::Processing) })),
        ("poll: unclear", polled(TaskFacts::of(Phase::Unclear("pondering".into())))),
        ("poll: completed", polled(completed(&["https://cdn.example/a"]))),
        ("poll: completed, fresh link", polled(completed(&["https://cdn.example/b"]))),
        ("poll: completed, no output", polled(completed(&[]))),
        ("poll: completed, cost not final", polled(cost_pending(&["https://cdn.example/a"]))),
        (
            "poll: completed, two outputs",
            polled(completed(&["https://cdn.example/a", "https://cdn.example/c"])),
        ),
        ("poll: failed", polled(TaskFacts::of(Phase::Failed))),
        ("poll: cancelled", polled(TaskFacts::of(Phase::Cancelled))),
        ("poll: task unknown", missing()),
        ("poll: no answer", unanswered()),
        ("poll: unreadable", unreadable()),
        (
            "poll: completed, earlier task",
            Event::StatusPolled {
                task: earlier_task(),
                sent_at: START,
                verdict: StatusVerdict::Answered(completed(&["https://cdn.example/old"])),
            },
        ),
        ("cancel: accepted", cancel_answered(CancelVerdict::Accepted)),
        ("cancel: too late", cancel_answered(CancelVerdict::TooLate { why: "running".into() })),
        (
            "cancel: no answer",
            cancel_answered(CancelVerdict::Unanswered { why: "HTTP 502".into(), not_before: Some(later) }),
        ),
        ("callback received", Event::CallbackReceived { hint: Some(task()), quiet: false }),
        ("task after refusal", Event::TaskAfterRefusal { task: earlier_task() }),
        ("callback over the limit", Event::CallbackReceived { hint: None, quiet: true }),
        ("stored", stored(0)),
        ("stored, unknown output", stored(9)),
        ("link refused (403)", refused(403)),
        ("link expired (410)", refused(410)),
        (
            "download failed",
            download_failed(DownloadFailure::Transient { why: "reset".into(), not_before: None }),
        ),
        ("not media", invalid_download()),
        ("spooled", spooled()),
        ("not uploaded", not_uploaded()),
        ("not spooled", download_failed(DownloadFailure::NotSpooled { why: "it is damaged".into() })),
        ("address forbidden", forbidden(ForbiddenKind::Address)),
        ("file too large", forbidden(ForbiddenKind::Size)),
        ("time elapsed", Event::TimeElapsed),
        ("clock set back", Event::ClockSetBack),
        ("database restored", Event::DatabaseRestored),
        ("over budget", over_budget()),
        ("budget freed", Event::BudgetFreed),
        ("too expensive", Event::TooExpensive { why: "about $3.00, more than its $1.00".into() }),
        ("list awaited", Event::ListAwaited),
        ("model unlisted", Event::ModelUnlisted { nearest: Some("wan2.6".into()) }),
        ("edited", edited()),
        ("moved out", Event::MovedOut),
        ("pictures checked", Event::PicturesChecked),
        ("picture unreachable", picture_unreachable()),
        ("picture missing", picture_missing()),
        ("operator: cancel", Event::Operator(OperatorAction::Cancel)),
        ("operator: retry", Event::Operator(OperatorAction::Retry)),
        ("operator: release", Event::Operator(OperatorAction::Release)),
        ("operator: dismiss", Event::Operator(OperatorAction::Dismiss)),
        ("operator: undismiss", Event::Operator(OperatorAction::Undismiss)),
    ]
}

/// A row for each pair: the event, the new state, the next action, the history. `table.txt` describes the behaviour;
/// after an intended change write it with `DROPREEL_GOLDEN=write cargo test --lib job::step` and review the diff.
#[test]
fn every_state_handles_every_event_as_in_the_table() {
    let mut table = String::new();
    for (title, job) in jobs_by_state() {
        table.push_str(&format!("## {title} ({})\n", next_action_text(&job, START)));
        for (name, event) in events() {
            let outcome = step(&job, &event, at(START));
            let history: Vec<_> = outcome.history.iter().map(|entry| entry.event.into_str()).collect();
            let refused = matches!(outcome.reply, Some(ActionReply::Rejected(_)));
            let same = outcome.job == job && outcome.history.is_empty();
            let row = if refused {
                "refused".into()
            } else if same {
                "-".into()
            } else {
                let next = next_action_text(&outcome.job, START);
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

proptest! {
    /// Any events in any order: only an operator's retry leaves a final state, or the task of a refused submit, a record restores to the same job, and
    /// a job that is neither finished nor held always has a next action.
    #[test]
    fn any_events_keep_the_rules(picks in prop::collection::vec((0_usize..57, 0_u64..100_000), 1..60), picture in any::<bool>()) {
        let events = events();
        let mut job = if picture { job_with_picture() } else { new_job() };
        let mut now = START;
        for (pick, seconds) in picks {
            now = now.plus(Duration::from_secs(seconds));
            let event = &events[pick % events.len()].1;
            let outcome = step(&job, event, at(now));
            let left_final_state = job.state_name().is_end() && outcome.job.state_name() != job.state_name();
            let is_revived = matches!(event, Event::TaskAfterRefusal { .. } | Event::Operator(OperatorAction::Retry));
            prop_assert!(!left_final_state || is_revived);
            prop_assert!(outcome.send.is_none() || *event == Event::AttemptStarted);
            prop_assert!(outcome.job.attempts >= job.attempts && outcome.job.attempts <= job.attempts + 1);
            let restored = Job::restore(outcome.job.record());
            prop_assert_eq!(restored.as_ref(), Ok(&outcome.job));
            let name = outcome.job.state_name();
            let has_no_action = due_work(&outcome.job, now) == DueWork::default();
            prop_assert!(!has_no_action || name.is_end() || name == StateName::Held);
            prop_assert!(!name.is_end() || outcome.job.facts.finished_at.is_some());
            prop_assert!(!name.is_end() || has_no_action == outcome.job.settlement.is_none());
            job = outcome.job;
        }
    }
}
