//! A job laid out flat, for the store to write down and read back.

use thiserror::Error;

use crate::clock::Timestamp;
use crate::job::hold::{HeldFrom, Hold, HoldReason};
use crate::job::output::Output;
use crate::job::state::{Fetching, PendingAttempt, Running, Schedule, State, StateName};
use crate::job::{Identity, Job, JobFacts, TaskId};

/// Every field of a job, whatever its state: one row of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the job and its states, where they are explained")]
pub struct Record {
    pub identity: Identity,
    pub learned: JobFacts,
    pub state: StateName,
    pub hold: Option<(HoldReason, String)>,
    pub back_to: Option<StateName>,
    pub attempts: u32,
    pub trial: Option<PendingAttempt>,
    pub task: Option<TaskId>,
    pub pace: Option<Schedule>,
    pub missing_since: Option<Timestamp>,
    pub asked_at: Option<Timestamp>,
    pub refresh: bool,
    pub cancel_wanted: bool,
    pub alerted: bool,
    pub knocked_at: Option<Timestamp>,
    pub outputs: Vec<Output>,
}

/// A row that is no job: its state lacks what that state carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a job in state `{state}` has no {missing}")]
pub struct Broken {
    state: StateName,
    missing: &'static str,
}

impl Job {
    /// Lays the job out flat.
    pub fn record(&self) -> Record {
        let mut record = Record {
            identity: self.identity.clone(),
            learned: self.learned.clone(),
            state: self.state.name(),
            hold: None,
            back_to: None,
            attempts: self.attempts,
            trial: None,
            task: self.state.task().cloned(),
            pace: self.state.pace().copied(),
            missing_since: None,
            asked_at: None,
            refresh: false,
            cancel_wanted: self.cancel_wanted,
            alerted: self.alerted,
            knocked_at: self.knocked_at,
            outputs: self.outputs.clone(),
        };
        match &self.state {
            State::Pending { trial, .. } => record.trial = *trial,
            State::Submitting { trial, .. } => record.trial = Some(*trial),
            State::Queued(running) | State::Processing(running) => record.lay_running(running),
            State::Downloading(fetching) => record.lay_fetching(fetching),
            State::Held(hold) => {
                record.hold = Some((hold.reason, hold.detail.clone()));
                record.back_to = Some(hold.back_to.name());
                match &hold.back_to {
                    HeldFrom::Pending(_) => {}
                    HeldFrom::Submitting(_, trial) => record.trial = Some(*trial),
                    HeldFrom::Running(running) => record.lay_running(running),
                    HeldFrom::Downloading(fetching) => record.lay_fetching(fetching),
                }
            }
            State::Succeeded { .. }
            | State::Failed { .. }
            | State::Cancelled { .. }
            | State::Expired { .. } => {}
        }
        record
    }

    /// A job from its row. Only for the store.
    ///
    /// # Errors
    /// When the row lacks what its state carries.
    pub fn restore(record: Record) -> Result<Self, Broken> {
        let state = match record.state {
            StateName::Held => State::Held(record.hold()?),
            StateName::Pending => State::Pending { pace: record.pace()?, trial: record.trial },
            StateName::Submitting => State::Submitting { pace: record.pace()?, trial: record.trial()? },
            StateName::Queued => State::Queued(record.running()?),
            StateName::Processing => State::Processing(record.running()?),
            StateName::Downloading => State::Downloading(record.fetching()?),
            StateName::Succeeded => State::Succeeded { task: record.task()? },
            StateName::Failed => State::Failed { task: record.task.clone() },
            StateName::Cancelled => State::Cancelled { task: record.task.clone() },
            StateName::Expired => State::Expired { task: record.task()? },
        };
        Ok(Self {
            identity: record.identity,
            learned: record.learned,
            state,
            attempts: record.attempts,
            cancel_wanted: record.cancel_wanted,
            alerted: record.alerted,
            knocked_at: record.knocked_at,
            outputs: record.outputs,
        })
    }
}

impl Record {
    fn lay_running(&mut self, running: &Running) {
        self.missing_since = running.missing_since;
        self.asked_at = running.asked_at;
    }

    fn lay_fetching(&mut self, fetching: &Fetching) {
        self.refresh = fetching.refresh;
        self.asked_at = fetching.asked_at;
    }

    fn lacks(&self, missing: &'static str) -> Broken {
        Broken { state: self.state, missing }
    }

    fn pace(&self) -> Result<Schedule, Broken> {
        self.pace.ok_or(self.lacks("due time"))
    }

    fn trial(&self) -> Result<PendingAttempt, Broken> {
        self.trial.ok_or(self.lacks("attempt"))
    }

    fn task(&self) -> Result<TaskId, Broken> {
        self.task.clone().ok_or(self.lacks("task"))
    }

    fn running(&self) -> Result<Running, Broken> {
        Ok(Running {
            task: self.task()?,
            pace: self.pace()?,
            missing_since: self.missing_since,
            asked_at: self.asked_at,
        })
    }

    fn fetching(&self) -> Result<Fetching, Broken> {
        Ok(Fetching {
            task: self.task()?,
            pace: self.pace()?,
            refresh: self.refresh,
            asked_at: self.asked_at,
        })
    }

    fn hold(&self) -> Result<Hold, Broken> {
        let (reason, detail) = self.hold.clone().ok_or(self.lacks("reason"))?;
        let back_to = match self.back_to.ok_or(self.lacks("state to go back to"))? {
            StateName::Pending => HeldFrom::Pending(self.pace()?),
            StateName::Submitting => HeldFrom::Submitting(self.pace()?, self.trial()?),
            StateName::Queued | StateName::Processing => HeldFrom::Running(self.running()?),
            StateName::Downloading => HeldFrom::Downloading(self.fetching()?),
            StateName::Succeeded
            | StateName::Failed
            | StateName::Cancelled
            | StateName::Expired
            | StateName::Held => return Err(self.lacks("state to go back to")),
        };
        Ok(Hold { reason, detail, back_to })
    }
}
