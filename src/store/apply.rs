//! The only way to change a job: read it, call [`step`], write job, history and outputs in one transaction.

use crate::clock::Timestamp;
use crate::job::event::{Event, SubmitVerdict};
use crate::job::history::HistoryEntry;
use crate::job::next_action::{DueWork, NextAction, due_work};
use crate::job::notification::JobNotification;
use crate::job::policy::PollingPolicy;
use crate::job::state::StateName;
use crate::job::step::{ActionReply, AttemptToSend, Moment, StepOutcome, step};
use crate::job::{Job, JobId, TaskId};
use crate::store::Store;
use crate::store::batch_ends::add_open_jobs;
use crate::store::db::OptionalExtension;
use crate::store::disputes::note_disputes;
use crate::store::earlier_tasks::{bind_named_tasks, note_callback, note_poll, set_settlement};
use crate::store::error::StoreError;
use crate::store::history::write_history;
use crate::store::hooks::{About, write_calls};
use crate::store::job_rows::{JobRow, read_job, update_job};
use crate::store::learned_times::{learn, usual_time_of_new_task};
use crate::store::metrics::MetricEvent;
use crate::store::needs::count_need;
use crate::store::notify::Topic;
use crate::store::output_rows::write_outputs;
use crate::store::report_sums;
use crate::store::spending::record_billing;
use crate::store::writer::Writing;

/// What an event led to, committed.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    pub before: StateName,
    /// The job as it is now.
    pub job: Job,
    /// The history entries of the event.
    pub history: Vec<HistoryEntry>,
    /// The answer to an operator.
    pub reply: Option<ActionReply>,
}

impl Store {
    /// Applies `event`, which happened at `now`, to the job `id`.
    ///
    /// # Errors
    /// [`StoreError::NoSuchJob`]; [`StoreError::DuplicateTask`] for an accepted submit whose task belongs to another job
    /// (nothing is changed then); or any failure of the database.
    pub async fn apply(&self, id: JobId, event: Event, now: Timestamp) -> Result<Applied, StoreError> {
        let (policy, jitter) = (self.policy, self.rng.fraction());
        self.writer
            .write(move |writing| {
                let moment = Moment { now, jitter, policy: &policy };
                apply_in(writing, id, &event, moment).map(|(applied, _)| applied)
            })
            .await
    }
}

/// The job's row, for callers of [`apply_in`].
pub(super) struct StepRow {
    pub nr: i64,
    pub send: Option<AttemptToSend>,
}

/// [`Store::apply`] inside an open transaction.
pub(super) fn apply_in(
    writing: &mut Writing<'_>,
    id: JobId,
    event: &Event,
    moment: Moment<'_>,
) -> Result<(Applied, StepRow), StoreError> {
    let known = read_job(writing.connection, id)?;
    apply_to(writing, &known, event, moment)
}

/// [`apply_in`] for a job that has just been read.
pub(super) fn apply_to(
    writing: &mut Writing<'_>,
    known: &JobRow,
    event: &Event,
    moment: Moment<'_>,
) -> Result<(Applied, StepRow), StoreError> {
    let (nr, before) = (known.nr, &known.job);
    let usual = usual_time_of_new_task(writing.connection, nr, event)?;
    let policy = PollingPolicy { usual, ..*moment.policy };
    let moment = Moment { policy: &policy, ..moment };
    let StepOutcome { job, history, send, reply, billing } = step(before, event, moment);
    if let Event::Adopted { task, .. }
    | Event::SubmitAnswered { verdict: SubmitVerdict::Accepted { task, .. }, .. } = event
        && before.task().is_none()
        && job.task() == Some(task)
    {
        bind_task(writing, nr, &job, task)?;
    }
    let is_charged = billing.is_some();
    let is_recounted = is_charged || ended_as(before) != ended_as(&job);
    if before.state_name().is_end() && is_recounted {
        report_sums::uncount(writing, nr)?;
    }
    if let Some(billing) = billing {
        record_billing(writing, (nr, before), &billing)?;
    }
    learn(writing.connection, event, before, moment.now)?;
    count_need(writing.connection, before, &job)?;
    care_for_earlier_task(writing, event, (before, &job), moment)?;
    let due = due_work(&job, moment.now);
    // Elapsed time does not change the job, but may change what it needs next.
    if job != *before || *event == Event::TimeElapsed {
        let change = writing.next_change();
        update_job(writing.connection, known, &job, due, change)?;
        writing.notify(Topic::Changes);
    }
    if job.state_name().is_end() && is_recounted {
        report_sums::count(writing, nr)?;
    }
    if job.outputs() != before.outputs() {
        write_outputs(writing.connection, nr, &job)?;
    }
    write_history(writing, nr, moment.now, &history)?;
    if may_name_earlier_task(event, before, &job) {
        bind_named_tasks(writing, nr, &job, moment)?;
    }
    note_disputes(writing.connection, (nr, is_charged), before, &job)?;
    if let Some(notable) = JobNotification::of(before, &job, &history) {
        write_calls(writing, About::Job(nr), notable, moment.now)?;
    }
    match (before.state_name().is_end(), job.state_name().is_end()) {
        (false, true) => add_open_jobs(writing, known.batch, -1, moment.now)?,
        (true, false) => add_open_jobs(writing, known.batch, 1, moment.now)?,
        _ => {}
    }
    if let Some(counted) = MetricEvent::of(event, before, &job) {
        writing.count(counted);
    }
    // Others may fit into what it was to need: it needs less by now, or nothing.
    if before.budget_wait().is_some() && job.budget_wait().is_none() {
        writing.notify(Topic::BudgetFreed);
    }
    writing.notify_due(due);
    if at_provider(before.state_name()) && !at_provider(job.state_name()) {
        // A task has left the provider, so another may be submitted.
        writing.notify(Topic::Submit);
    }
    let applied = Applied { before: before.state_name(), job, history, reply };
    Ok((applied, StepRow { nr, send }))
}

/// What a report says of a job, but for its cost.
fn ended_as(job: &Job) -> (StateName, Option<Timestamp>, Option<Timestamp>) {
    (job.state_name(), job.facts().finished_at, job.facts().submitted_at)
}

/// Whether a callback may have named a task that no attempt has: it did so now, or before the outcome of the newest attempt
/// was known. The usual job, whose first attempt gets its task, does not ask the database.
fn may_name_earlier_task(event: &Event, before: &Job, after: &Job) -> bool {
    let named_now =
        matches!(event, Event::CallbackReceived { hint: Some(task), .. } if after.task() != Some(task));
    let outcome_known = before.pending_attempt().is_some() && after.pending_attempt().is_none();
    named_now || outcome_known && (after.task().is_none() || after.attempts() > 1)
}

/// A task that the job loses with this event, or has lost before, is polled until its cost is final.
fn care_for_earlier_task(
    writing: &mut Writing<'_>,
    event: &Event,
    (before, after): (&Job, &Job),
    moment: Moment<'_>,
) -> Result<(), StoreError> {
    if let Some(task) = before.task().filter(|task| after.task() != Some(task)) {
        return match before.settlement_once_left(moment) {
            Some(settlement) => set_settlement(writing, task, Some(settlement)),
            None => Ok(()),
        };
    }
    match event {
        Event::StatusPolled { task, verdict, .. } if before.task() != Some(task) => {
            note_poll(writing, task, verdict, moment)
        }
        Event::CallbackReceived { hint: Some(task), .. } if before.task() != Some(task) => {
            note_callback(writing, task, moment.now)
        }
        _ => Ok(()),
    }
}

impl Writing<'_> {
    /// Notifies the stages of what a job needs next.
    pub(super) fn notify_due(&mut self, due: DueWork) {
        match due.action.map(|next| next.action) {
            Some(NextAction::Submit | NextAction::Resend | NextAction::ResendFailing | NextAction::Wait) => {
                self.notify(Topic::Submit)
            }
            Some(NextAction::CheckPictures) => self.notify(Topic::Pictures),
            Some(NextAction::Poll | NextAction::PollFailing | NextAction::Cancel) => self.notify(Topic::Poll),
            None => {}
        }
        if due.download.is_some() {
            self.notify(Topic::Download);
        }
        if due.upload.is_some() {
            self.notify(Topic::Upload);
        }
    }
}

/// The states that count against the limits: the same as in the index `jobs_running`.
fn at_provider(state: StateName) -> bool {
    matches!(state, StateName::Submitting | StateName::Queued | StateName::Processing)
}

/// Binds a task to the attempt that created it. Fails if it is the task of another attempt, be it of this job: that one
/// is paid for once.
fn bind_task(writing: &Writing<'_>, nr: i64, job: &Job, task: &TaskId) -> Result<(), StoreError> {
    let owner: Option<(i64, u32)> = writing
        .connection
        .prepare_cached("SELECT job, number FROM attempts WHERE task_id = ?1")?
        .query_row([task.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if owner.is_some_and(|owner| owner != (nr, job.attempts())) {
        return Err(StoreError::DuplicateTask(task.clone()));
    }
    writing
        .connection
        .prepare_cached("UPDATE attempts SET task_id = ?3 WHERE job = ?1 AND number = ?2")?
        .execute((nr, job.attempts(), task.as_str()))?;
    Ok(())
}
