//! What is billed, and how its cost becomes known.

use super::*;

fn refused_submit() -> Event {
    submitted(SubmitVerdict::Refused(JobError { code: "http_403".into(), message: "no".into() }))
}

#[test]
fn final_cost_is_asked_for_after_the_end_of_the_job() {
    let link = ["https://cdn.example/a"];
    let mut job =
        after(new_job(), &[Event::AttemptStarted, accepted(), polled(cost_pending(&link)), stored(0)]);
    assert_eq!((job.state_name(), job.facts().cost), (StateName::Succeeded, None));
    let mut now = START;
    for _ in 0..3 {
        let due = next_action(&job, now).expect("a poll");
        assert_eq!(due.action, NextAction::Poll);
        now = due.due;
        job = step(&job, &polled(cost_pending(&link)), at(now)).job;
    }
    let settled = step(&job, &polled(completed(&link)), at(now));
    assert_eq!(
        settled.billing,
        Some(Billing::Charged { task: task(), quota: Quota::new(75_000), completed: true })
    );
    assert_eq!(settled.job.facts().cost, Some(Quota::new(75_000)));
    assert_eq!((settled.job.state_name(), next_action(&settled.job, now)), (StateName::Succeeded, None));
}

#[test]
fn cost_that_is_never_final_stays_reserved_after_some_hours() {
    let link = ["https://cdn.example/a"];
    let mut job =
        after(new_job(), &[Event::AttemptStarted, accepted(), polled(cost_pending(&link)), stored(0)]);
    let (mut now, mut polls) = (START, 0);
    while let Some(due) = next_action(&job, now) {
        now = due.due;
        let answer = if polls % 2 == 0 { polled(cost_pending(&link)) } else { unanswered() };
        let outcome = step(&job, &answer, at(now));
        assert_eq!((outcome.billing, outcome.history.len()), (None, 0));
        (job, polls) = (outcome.job, polls + 1);
    }
    assert!(
        (8..16).contains(&polls) && now.since(START) < 24 * HOUR,
        "{polls} polls in {:?}",
        now.since(START)
    );
}

/// Polls the job until it needs nothing more. Returns how often.
fn polls_until_idle(mut job: Job, answer: impl Fn(u32) -> Event) -> (Job, u32) {
    let (mut now, mut polls) = (START, 0);
    while let Some(due) = next_action(&job, now).filter(|_| polls < 100) {
        assert_eq!(due.action, NextAction::Poll);
        now = now.max(due.due);
        job = step(&job, &answer(polls), at(now)).job;
        polls += 1;
    }
    assert!(now.since(START) < 24 * HOUR, "{:?}", now.since(START));
    (job, polls)
}

#[test]
fn task_given_up_while_it_runs_is_polled_for_its_cost() {
    let cancel = Event::Operator(OperatorAction::Cancel);
    let no_answer = cancel_answered(CancelVerdict::Unanswered { why: "HTTP 502".into(), not_before: None });
    let running = after(new_job(), &[Event::AttemptStarted, accepted()]);
    let twice = after(running.clone(), &[cancel.clone(), no_answer.clone(), cancel.clone()]);
    let abandoned = {
        let mut events = vec![missing(), cancel.clone()];
        events.extend(vec![no_answer; 9]);
        after(running.clone(), &events)
    };
    let unknown_task =
        after(step(&after(running, &[missing()]), &missing(), at(START.plus(HOUR))).job, &[cancel]);
    for job in [twice, abandoned, unknown_task] {
        assert_eq!((job.state_name(), job.facts().cost), (StateName::Cancelled, None), "{job:?}");
        let runs = |poll| polled(if poll < 3 { TaskFacts::of(Phase::Processing) } else { completed(&[]) });
        let (settled, polls) = polls_until_idle(job.clone(), runs);
        assert_eq!((settled.facts().cost, polls), (Some(Quota::new(75_000)), 4));
        let (_, polls) = polls_until_idle(job, |_| missing());
        assert!((8..16).contains(&polls), "{polls}");
    }
}

#[test]
fn release_of_a_dear_job_lasts_until_an_attempt_is_accepted() {
    let too_expensive = Event::TooExpensive { why: "about $3.00, more than its $1.00".into() };
    let released = after(new_job(), &[too_expensive, Event::Operator(OperatorAction::Release)]);
    let tried = after(released, &[Event::AttemptStarted, not_executed(), Event::AttemptStarted, suspended()]);
    assert!(tried.checks_waived(), "nothing was bought yet");
    let bought = after(tried, &[Event::AttemptStarted, accepted()]);
    assert!(!bought.checks_waived());
}

#[test]
fn task_of_a_refused_submit_is_kept_for_the_operator() {
    let task = TaskId::parse("task-9").expect("a safe id");
    let failed = after(new_job(), &[Event::AttemptStarted, refused_submit()]);
    let outcome = step(&failed, &Event::TaskAfterRefusal { task: task.clone() }, at(START.plus(HOUR)));
    assert_eq!(outcome.billing, Some(Billing::MayBeExecuted(1)));
    let held = outcome.job;
    let State::Held(hold) = held.state() else { panic!("{held:?}") };
    assert_eq!((hold.reason, hold.detail.as_str()), (HoldReason::TaskAfterRefusal, "task task-9"));
    assert_eq!((held.facts().error.as_ref(), held.facts().finished_at), (None, None));
    let adopted = after(held.clone(), &[Event::Adopted { task, submitted_at: None }]);
    assert_eq!((adopted.state_name(), adopted.attempts()), (StateName::Queued, 1));
    let resent = after(held.clone(), &[Event::Operator(OperatorAction::Release), Event::AttemptStarted]);
    assert_eq!((resent.state_name(), resent.attempts()), (StateName::Submitting, 1), "the same key");
    let refused_again = after(resent, &[refused_submit()]);
    assert_eq!(refused_again.state_name(), StateName::Submitting, "its task is known to run");
    let cancelled = after(held, &[Event::Operator(OperatorAction::Cancel)]);
    assert_eq!(cancelled.state_name(), StateName::Cancelled);
}

#[test]
fn task_of_a_failed_task_or_a_retried_job_is_not_taken_for_the_refused_one() {
    let found = [Event::TaskAfterRefusal { task: task() }];
    let submitted = [Event::AttemptStarted, accepted()];
    let failed = after(after(new_job(), &submitted), &[polled(TaskFacts::of(Phase::Failed))]);
    let refused = after(new_job(), &[Event::AttemptStarted, refused_submit()]);
    let retried = after(refused, &[Event::Operator(OperatorAction::Retry)]);
    for job in [failed, retried] {
        assert_eq!(after(job.clone(), &found), job);
    }
}

#[test]
fn job_that_waits_for_another_list_says_so_until_its_submit() {
    let waiting = after(new_job(), &[Event::ListAwaited]);
    let reason = waiting.facts().status_message.as_deref().unwrap_or_default();
    assert!(reason.contains("lacks wan2.5-t2v"), "{reason}");
    let submitting = after(waiting, &[Event::AttemptStarted]);
    assert_eq!(submitting.facts().status_message, None);
    let sent_before = after(submitting, &[not_executed()]);
    assert_eq!(after(sent_before.clone(), &[Event::ListAwaited]), sent_before);
}

#[test]
fn adopted_job_has_no_advice_to_retry() {
    use strum::VariantArray;
    for reason in HoldReason::VARIANTS {
        let waits_for_a_task = matches!(
            reason,
            HoldReason::OutcomeUnknown
                | HoldReason::ErrorReplayed
                | HoldReason::DuplicateTask
                | HoldReason::DatabaseRestored
        );
        let remedy = reason.remedy(new_job().id(), false);
        assert!(waits_for_a_task || !remedy.contains("retry"), "{reason:?}: {remedy}");
    }
}
