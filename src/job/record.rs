//! A job as a flat record, for the store to write and read back.

use thiserror::Error;

use crate::clock::Timestamp;
use crate::job::hold::HoldReason;
use crate::job::id::TaskId;
use crate::job::output::Output;
use crate::job::state::{
    Downloading, HeldFrom, Hold, PendingAttempt, RunningTask, Schedule, State, StateName,
};
use crate::job::{Identity, Job, JobFacts};

/// Every field of a job, whatever its state: one row of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub identity: Identity,
    pub facts: JobFacts,
    pub state: StateName,
    pub hold: Option<(HoldReason, String)>,
    pub held_from: Option<StateName>,
    pub attempts: u32,
    pub pending_attempt: Option<PendingAttempt>,
    pub task: Option<TaskId>,
    pub schedule: Option<Schedule>,
    pub missing_since: Option<Timestamp>,
    pub polled_at: Option<Timestamp>,
    pub refresh_links: bool,
    pub cancel_requested: bool,
    pub expiry_alerted: bool,
    pub callback_at: Option<Timestamp>,
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
        let mut record = Record {
            identity: self.identity.clone(),
            facts: self.facts.clone(),
            state: self.state.name(),
            hold: None,
            held_from: None,
            attempts: self.attempts,
            pending_attempt: None,
            task: self.state.task().cloned(),
            schedule: self.state.schedule().copied(),
            missing_since: None,
            polled_at: None,
            refresh_links: false,
            cancel_requested: self.cancel_requested,
            expiry_alerted: self.expiry_alerted,
            callback_at: self.callback_at,
            outputs: self.outputs.clone(),
        };
        match &self.state {
            State::Pending { pending_attempt, .. } => record.pending_attempt = *pending_attempt,
            State::Submitting { pending_attempt, .. } => record.pending_attempt = Some(*pending_attempt),
            State::Queued(running) | State::Processing(running) => record.set_running(running),
            State::Downloading(downloading) => record.set_downloading(downloading),
            State::Held(hold) => {
                record.hold = Some((hold.reason, hold.detail.clone()));
                record.held_from = Some(hold.held_from.name());
                match &hold.held_from {
                    HeldFrom::Pending(_) => {}
                    HeldFrom::Submitting(_, pending_attempt) => {
                        record.pending_attempt = Some(*pending_attempt);
                    }
                    HeldFrom::Running(running) => record.set_running(running),
                    HeldFrom::Downloading(downloading) => record.set_downloading(downloading),
                }
            }
            State::Succeeded { .. }
            | State::Failed { .. }
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
            StateName::Pending => {
                State::Pending { schedule: record.schedule()?, pending_attempt: record.pending_attempt }
            }
            StateName::Submitting => {
                State::Submitting { schedule: record.schedule()?, pending_attempt: record.pending_attempt()? }
            }
            StateName::Queued => State::Queued(record.running()?),
            StateName::Processing => State::Processing(record.running()?),
            StateName::Downloading => State::Downloading(record.downloading()?),
            StateName::Succeeded => State::Succeeded { task: record.task()? },
            StateName::Failed => State::Failed { task: record.task.clone() },
            StateName::Cancelled => State::Cancelled { task: record.task.clone() },
            StateName::Expired => State::Expired { task: record.task()? },
        };
        Ok(Self {
            identity: record.identity,
            facts: record.facts,
            state,
            attempts: record.attempts,
            cancel_requested: record.cancel_requested,
            expiry_alerted: record.expiry_alerted,
            callback_at: record.callback_at,
            outputs: record.outputs,
        })
    }
}

impl Record {
    fn set_running(&mut self, running: &RunningTask) {
        self.missing_since = running.missing_since;
        self.polled_at = running.polled_at;
    }

    fn set_downloading(&mut self, downloading: &Downloading) {
        self.refresh_links = downloading.refresh_links;
        self.polled_at = downloading.polled_at;
    }

    fn without(&self, missing: &'static str) -> CorruptRecord {
        CorruptRecord { state: self.state, missing }
    }

    fn schedule(&self) -> Result<Schedule, CorruptRecord> {
        self.schedule.ok_or(self.without("due time"))
    }

    fn pending_attempt(&self) -> Result<PendingAttempt, CorruptRecord> {
        self.pending_attempt.ok_or(self.without("attempt"))
    }

    fn task(&self) -> Result<TaskId, CorruptRecord> {
        self.task.clone().ok_or(self.without("task"))
    }

    fn running(&self) -> Result<RunningTask, CorruptRecord> {
        Ok(RunningTask {
            task: self.task()?,
            schedule: self.schedule()?,
            missing_since: self.missing_since,
            polled_at: self.polled_at,
        })
    }

    fn downloading(&self) -> Result<Downloading, CorruptRecord> {
        Ok(Downloading {
            task: self.task()?,
            schedule: self.schedule()?,
            refresh_links: self.refresh_links,
            polled_at: self.polled_at,
        })
    }

    fn hold(&self) -> Result<Hold, CorruptRecord> {
        let (reason, detail) = self.hold.clone().ok_or(self.without("reason"))?;
        let held_from = match self.held_from.ok_or(self.without("state it was held from"))? {
            StateName::Pending => HeldFrom::Pending(self.schedule()?),
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
