//! When the wall clock was wrong: what was reckoned by it is put right.

use crate::clock::Timestamp;
use crate::job::hold::HeldFrom;
use crate::job::retry::SLOW_POLL;
use crate::job::state::{Fetching, Running, Schedule, State};
use crate::job::step::Change;

impl Change<'_> {
    /// Without this, a job whose next step was reckoned by a clock a day ahead would rest for a day, past the end of
    /// its link.
    pub(super) fn clock_set_back(&mut self) {
        let now = self.now();
        match &mut self.job.state {
            // A person may have named the time; then it was not reckoned, and is later than the job itself.
            State::Pending { pace, trial: None } if pace.due > pace.since => begun(&mut pace.since, now),
            State::Pending { pace, .. } | State::Submitting { pace, .. } => right(pace, now),
            State::Queued(running) | State::Processing(running) => right_running(running, now),
            State::Downloading(fetching) => right_fetching(fetching, now),
            State::Held(hold) => match &mut hold.back_to {
                HeldFrom::Pending(pace) | HeldFrom::Submitting(pace, _) => right(pace, now),
                HeldFrom::Running(running) => right_running(running, now),
                HeldFrom::Downloading(fetching) => right_fetching(fetching, now),
            },
            State::Succeeded { .. }
            | State::Failed { .. }
            | State::Cancelled { .. }
            | State::Expired { .. } => return,
        }
        if let Some(knocked) = &mut self.job.knocked_at {
            begun(knocked, now);
        }
    }
}

fn right_running(running: &mut Running, now: Timestamp) {
    right(&mut running.pace, now);
    for time in [&mut running.missing_since, &mut running.asked_at].into_iter().flatten() {
        begun(time, now);
    }
}

fn right_fetching(fetching: &mut Fetching, now: Timestamp) {
    right(&mut fetching.pace, now);
    if let Some(asked) = &mut fetching.asked_at {
        begun(asked, now);
    }
}

/// No wait of ours is longer than the slowest poll; what the provider asked for beyond that, the gate keeps.
fn right(pace: &mut Schedule, now: Timestamp) {
    begun(&mut pace.since, now);
    pace.due = pace.due.min(now.plus(SLOW_POLL));
}

/// What has begun cannot have begun later than now.
fn begun(time: &mut Timestamp, now: Timestamp) {
    *time = (*time).min(now);
}
