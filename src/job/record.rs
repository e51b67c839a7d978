//! A job as a flat record, for the store to write and read back.

use thiserror::Error;

use crate::clock::Timestamp;
use crate::job::hold::HoldReason;
use crate::job::id::TaskId;
use crate::job::output::Output;
use crate::job::state::{
    Downloading, HeldFrom, Hold, PendingAttempt, RunningTask, Schedule, Settlement, State, StateName,
};
use crate::job::{Identity, Job, JobError, JobFacts};
use crate::money::Quota;

/// Every field of a job, whatever its state: one row of the database, but for its outputs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub identity: Identity,
    /// Without the error, which has two columns.
    pub facts: JobFacts,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    pub state: StateName,
    pub reason: Option<HoldReason>,
    pub reason_detail: Option<String>,
    pub held_from: Option<StateName>,
    pub attempts: u32,
    pub pending_attempt_number: Option<u32>,
    pub pending_attempt_created_at: Option<Timestamp>,
    pub pending_attempt_outcome_unknown: Option<bool>,
    pub task_id: Option<TaskId>,
    pub due_at: Option<Timestamp>,
    pub tries: Option<u32>,
    pub state_since: Option<Timestamp>,
    pub failing_since: Option<Timestamp>,
    pub polled_at: Option<Timestamp>,
    pub cancel_requested: bool,
    pub expiry_alerted: bool,
    pub callback_at: Option<Timestamp>,
    pub unattended_entries: u32,
    pub budget_wait: Option<Quota>,
    pub settlement_at: Option<Timestamp>,
    pub settlement_tries: u32,
    pub checks_waived: bool,
    pub unlisted_allowed: bool,
    pub pictures_checked: Option<bool>,
    pub outputs: Vec<Output>,
}

/// A row that is not a valid job: its state lacks data that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a job in state `{state}` has no {missing}")]
pub struct CorruptRecord {
    state: StateName,
    missing: &'static str,
}

impl Job {
    /// The job as a flat record.
    pub fn record(&self) -> Record {
        let mut facts = self.facts.clone();
        let (error_code, error_message) = facts.error.take().map(|error| (error.code, error.message)).unzip();
        let schedule = self.state.schedule();
        let mut record = Record {
            identity: self.identity.clone(),
            facts,
            error_code,
            error_message,
            state: self.state.name(),
            attempts: self.attempts,
            task_id: self.state.task().cloned(),
            due_at: schedule.map(|schedule| schedule.due),
            tries: schedule.map(|schedule| schedule.tries),
            state_since: schedule.map(|schedule| schedule.since),
            failing_since: schedule.and_then(|schedule| schedule.failing_since),
            cancel_requested: self.cancel_requested,
            expiry_alerted: self.expiry_alerted,
            callback_at: self.callback_at,
            unattended_entries: self.unattended_entries,
            budget_wait: self.budget_wait,
            settlement_at: self.settlement.map(|settlement| settlement.due),
            settlement_tries: self.settlement.map_or(0, |settlement| settlement.tries),
            checks_waived: self.checks_waived,
            unlisted_allowed: self.unlisted_allowed,
            pictures_checked: self.pictures_checked,
            outputs: self.outputs.clone(),
            ..Record::default()
        };
        match &self.state {
            State::Pending { pending_attempt: None, .. } => {}
            State::Pending { pending_attempt: Some(attempt), .. }
            | State::Submitting { pending_attempt: attempt, .. } => record.set_pending_attempt(*attempt),
            State::Queued(running) | State::Processing(running) => record.polled_at = running.polled_at,
            State::Downloading(downloading) => record.polled_at = downloading.polled_at,
            State::Held(hold) => {
                record.reason = Some(hold.reason);
                record.reason_detail = Some(hold.detail.clone());
                record.held_from = Some(hold.held_from.name());
                match &hold.held_from {
                    HeldFrom::Pending(_, None) => {}
                    HeldFrom::Pending(_, Some(attempt)) | HeldFrom::Submitting(_, attempt) => {
                        record.set_pending_attempt(*attempt)
                    }
                    HeldFrom::Running(running) => record.polled_at = running.polled_at,
                    HeldFrom::Downloading(downloading) => record.polled_at = downloading.polled_at,
                }
            }
            State::Failed { refused: Some(attempt), .. } => record.set_pending_attempt(*attempt),
            State::Succeeded { .. }
            | State::Failed { refused: None, .. }
            | State::Cancelled { .. }
            | State::Expired { .. } => {}
        }
        record
    }

    /// The job of a record. Only the store calls it, by convention: nothing proves that a record comes from the database.
    ///
    /// # Errors
    /// When the record lacks data that its state needs.
    pub fn restore(record: Record) -> Result<Self, CorruptRecord> {
        let state = match record.state {
            StateName::Held => State::Held(record.hold()?),
            StateName::Pending => State::Pending {
                schedule: record.schedule()?,
                pending_attempt: record.pending_attempt_if_any()?,
            },
            StateName::Submitting => {
                State::Submitting { schedule: record.schedule()?, pending_attempt: record.pending_attempt()? }
            }
            StateName::Queued => State::Queued(record.running()?),
            StateName::Processing => State::Processing(record.running()?),
            StateName::Downloading => State::Downloading(record.downloading()?),
            StateName::Succeeded => State::Succeeded { task: record.task()? },
            StateName::Failed => {
                State::Failed { task: record.task_id.clone(), refused: record.pending_attempt_if_any()? }
            }
            StateName::Cancelled => State::Cancelled { task: record.task_id.clone() },
            StateName::Expired => State::Expired { task: record.task()? },
        };
        let error = record.error_code.zip(record.error_message);
        let error = error.map(|(code, message)| JobError { code, message });
        Ok(Self {
            identity: record.identity,
            facts: JobFacts { error, ..record.facts },
            state,
            attempts: record.attempts,
            cancel_requested: record.cancel_requested,
            expiry_alerted: record.expiry_alerted,
            callback_at: record.callback_at,
            unattended_entries: record.unattended_entries,
            budget_wait: record.budget_wait,
            settlement: record.settlement_at.map(|due| Settlement { due, tries: record.settlement_tries }),
            checks_waived: record.checks_waived,
            unlisted_allowed: record.unlisted_allowed,
            pictures_checked: record.pictures_checked,
            outputs: record.outputs,
        })
    }
}

impl Record {
    fn set_pending_attempt(&mut self, attempt: PendingAttempt) {
        self.pending_attempt_number = Some(attempt.number);
        self.pending_attempt_created_at = Some(attempt.created_at);
        self.pending_attempt_outcome_unknown = Some(attempt.outcome_unknown);
    }

    fn without(&self, missing: &'static str) -> CorruptRecord {
        CorruptRecord { state: self.state, missing }
    }

    fn schedule(&self) -> Result<Schedule, CorruptRecord> {
        match (self.due_at, self.tries, self.state_since) {
            (Some(due), Some(tries), Some(since)) => {
                Ok(Schedule { due, tries, since, failing_since: self.failing_since })
            }
            _ => Err(self.without("due time")),
        }
    }

    fn pending_attempt_if_any(&self) -> Result<Option<PendingAttempt>, CorruptRecord> {
        self.pending_attempt_number.map(|_| self.pending_attempt()).transpose()
    }

    fn pending_attempt(&self) -> Result<PendingAttempt, CorruptRecord> {
        match (
            self.pending_attempt_number,
            self.pending_attempt_created_at,
            self.pending_attempt_outcome_unknown,
        ) {
            (Some(number), Some(created_at), Some(outcome_unknown)) => {
                Ok(PendingAttempt { number, created_at, outcome_unknown })
            }
            _ => Err(self.without("attempt")),
        }
    }

    fn task(&self) -> Result<TaskId, CorruptRecord> {
        self.task_id.clone().ok_or(self.without("task"))
    }

    fn running(&self) -> Result<RunningTask, CorruptRecord> {
        Ok(RunningTask { task: self.task()?, schedule: self.schedule()?, polled_at: self.polled_at })
    }

    fn downloading(&self) -> Result<Downloading, CorruptRecord> {
        Ok(Downloading { task: self.task()?, schedule: self.schedule()?, polled_at: self.polled_at })
    }

    fn hold(&self) -> Result<Hold, CorruptRecord> {
        let reason = self.reason.ok_or(self.without("reason"))?;
        let detail = self.reason_detail.clone().unwrap_or_default();
        let held_from = match self.held_from.ok_or(self.without("state it was held from"))? {
            StateName::Pending => HeldFrom::Pending(self.schedule()?, self.pending_attempt().ok()),
            StateName::Submitting => HeldFrom::Submitting(self.schedule()?, self.pending_attempt()?),
            StateName::Queued | StateName::Processing => HeldFrom::Running(self.running()?),
            StateName::Downloading => HeldFrom::Downloading(self.downloading()?),
            StateName::Succeeded
            | StateName::Failed
            | StateName::Cancelled
            | StateName::Expired
            | StateName::Held => return Err(self.without("state it can be held from")),
        };
        Ok(Hold { reason, detail, held_from })
    }
}
