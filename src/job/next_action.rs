//! What a job needs next, and when: the state is the queue.

use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::clock::Timestamp;
use crate::job::Job;
use crate::job::output::{Output, Waiting};
use crate::job::retry::MAX_LINK_LIFETIME;
use crate::job::state::{Downloading, HeldFrom, Hold, RunningTask, Schedule, State};

/// What a job needs next from the provider. Downloads have a schedule of their own: [`next_download`].
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EnumString, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum NextAction {
    /// To be submitted when there is room at the provider.
    Submit,
    /// To send its submit again: the same key, the same bytes.
    Resend,
    /// The same after failures of the job's own, which must not hold up the others.
    ResendFailing,
    /// To ask the provider for its task's status.
    Poll,
    /// The same after failures of the job's own, which must not hold up the others.
    PollFailing,
    /// To cancel its task at the provider.
    Cancel,
    /// Nothing until the time comes.
    Wait,
    /// To have its local pictures fetched from their public addresses, before it is submitted.
    CheckPictures,
}

/// An action and the time it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueAction {
    /// What.
    pub action: NextAction,
    /// When.
    pub due: Timestamp,
}

/// What `job` needs next from the provider, or `None` at its end and while it is held.
pub fn next_action(job: &Job, now: Timestamp) -> Option<DueAction> {
    let next = |action, due| Some(DueAction { action, due });
    match job.state() {
        // Also one that failed before: money that is given back must reach it before its time.
        State::Pending { schedule, .. } if job.budget_wait().is_some() && schedule.due > now => {
            next(NextAction::Wait, schedule.due)
        }
        // A failing job does not queue before jobs that have not been tried yet.
        State::Pending { schedule, pending_attempt: Some(_) } | State::Submitting { schedule, .. }
            if schedule.failing_since.is_some() && job.callback_at().is_none() =>
        {
            next(NextAction::ResendFailing, schedule.due)
        }
        State::Pending { schedule, .. } if schedule.due > now => next(NextAction::Wait, schedule.due),
        State::Pending { schedule, pending_attempt: None } if job.pictures_checked == Some(false) => {
            next(NextAction::CheckPictures, schedule.due)
        }
        State::Pending { schedule, .. } => next(NextAction::Submit, schedule.due),
        State::Submitting { schedule, .. } => next(NextAction::Resend, schedule.due),
        State::Queued(running) | State::Processing(running) => {
            let action =
                if job.cancel_requested() { NextAction::Cancel } else { poll(job, &running.schedule) };
            next(action, running.schedule.due)
        }
        State::Downloading(downloading) => {
            let due = downloading.schedule.due;
            let due = job.settlement().map_or(due, |settlement| due.min(settlement.due));
            next(poll(job, &downloading.schedule), due)
        }
        State::Held(hold) => match &hold.held_from {
            HeldFrom::Running(RunningTask { schedule, .. })
            | HeldFrom::Downloading(Downloading { schedule, .. })
                if schedule.due <= end_of_care(schedule) =>
            {
                next(poll(job, schedule), schedule.due)
            }
            HeldFrom::Running(_)
            | HeldFrom::Downloading(_)
            | HeldFrom::Pending(..)
            | HeldFrom::Submitting(..) => None,
        },
        State::Succeeded { .. } | State::Failed { .. } | State::Cancelled { .. } | State::Expired { .. } => {
            job.settlement().and_then(|settlement| next(NextAction::Poll, settlement.due))
        }
    }
}

/// How a task is polled: after a failure, in the share of the failing. A callback says that there is an answer to be had.
fn poll(job: &Job, schedule: &Schedule) -> NextAction {
    let failing = schedule.failing_since.is_some() || job.facts().status_message.is_some();
    if failing && job.callback_at().is_none() { NextAction::PollFailing } else { NextAction::Poll }
}

/// The task of a held job is paid for: poll it until even the longest-lived link would have expired.
fn end_of_care(schedule: &Schedule) -> Timestamp {
    schedule.since.plus(MAX_LINK_LIFETIME * 2)
}

/// The next download of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueDownload {
    /// When.
    pub due: Timestamp,
    /// Whether every output that is still to be downloaded has failed before.
    pub failing: bool,
}

/// When the next output of `job` is to be downloaded, if any is.
pub fn next_download(job: &Job) -> Option<DueDownload> {
    let tried = || tried_outputs(job).filter(|waiting| !waiting.spooled);
    let due = tried().map(|waiting| waiting.due).min()?;
    Some(DueDownload { due, failing: tried().all(Waiting::is_failing) })
}

/// When the next output of `job` is to be uploaded to the bucket, if any is.
pub fn next_upload(job: &Job) -> Option<Timestamp> {
    tried_outputs(job).filter(|waiting| waiting.spooled).map(|waiting| waiting.due).min()
}

/// The outputs of `job` that wait and are tried.
fn tried_outputs(job: &Job) -> impl Iterator<Item = &Waiting> {
    let last = match job.state() {
        State::Downloading(_) => Some(None),
        State::Held(Hold { held_from: HeldFrom::Downloading(downloading), .. }) => {
            Some(Some(end_of_care(&downloading.schedule)))
        }
        State::Pending { .. }
        | State::Submitting { .. }
        | State::Queued(_)
        | State::Processing(_)
        | State::Held(_)
        | State::Succeeded { .. }
        | State::Failed { .. }
        | State::Cancelled { .. }
        | State::Expired { .. } => None,
    };
    let waiting = last.map(|last| {
        let waiting = job.outputs().iter().filter_map(Output::waiting);
        // What is spooled needs no link: its upload is tried as long as it takes.
        let is_cared_for =
            move |waiting: &&Waiting| waiting.spooled || last.is_none_or(|last| waiting.due <= last);
        waiting.filter(|waiting| waiting.is_tried()).filter(is_cared_for)
    });
    waiting.into_iter().flatten()
}

/// All that a job needs next: what the queues are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DueWork {
    /// From the provider.
    pub action: Option<DueAction>,
    /// From a media host.
    pub download: Option<DueDownload>,
    /// To the bucket.
    pub upload: Option<Timestamp>,
}

/// What `job` needs next.
pub fn due_work(job: &Job, now: Timestamp) -> DueWork {
    DueWork { action: next_action(job, now), download: next_download(job), upload: next_upload(job) }
}

/// Whether `job` needs `action` now. Check this before acting: a list of due jobs is out of date as soon as it is read.
pub fn is_due(job: &Job, action: NextAction, now: Timestamp) -> bool {
    next_action(job, now).is_some_and(|next| next.action == action && next.due <= now)
}
