//! Time: the alert before a link expires, and a wall clock that was wrong.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::job::history::HistoryEvent;
use crate::job::output::Output;
use crate::job::retry::{Backoff, MAX_DOWNLOAD_WAIT, MAX_LINK_LIFETIME, OUTPUT_GRACE, SLOW_POLL_INTERVAL};
use crate::job::state::{Downloading, HeldFrom, RunningTask, Schedule, State};
use crate::job::step::Change;

impl Change<'_> {
    pub(super) fn time_elapsed(&mut self) {
        let downloading = match &self.job.state {
            State::Downloading(_) => true,
            State::Held(hold) => matches!(hold.held_from, HeldFrom::Downloading(_)),
            State::Pending { .. }
            | State::Submitting { .. }
            | State::Queued(_)
            | State::Processing(_)
            | State::Succeeded { .. }
            | State::Failed { .. }
            | State::Cancelled { .. }
            | State::Expired { .. } => false,
        };
        let to_alert = downloading && !self.job.expiry_alerted;
        let Some(expires_at) = self.job.facts.expires_at.filter(|_| to_alert) else {
            return;
        };
        if self.now() >= expires_at.minus(self.moment.policy.alert_before_expiry) {
            self.job.expiry_alerted = true;
            let detail = format!("the link expires at {expires_at} and the file is not stored yet");
            self.record(HistoryEvent::Expiring, detail);
        }
    }

    /// Without this, a job whose next step was scheduled by a clock a day ahead would do nothing for a day, beyond the
    /// lifetime of its link.
    pub(super) fn clock_set_back(&mut self) {
        let now = self.now();
        // The end of the wait was that of a day of the wrong clock.
        self.budget_freed();
        if let Some(settlement) = &mut self.job.settlement {
            settlement.due = settlement.due.min(now.plus(Backoff::SETTLEMENT.cap));
        }
        match &mut self.job.state {
            // The user may have set this time (`not_before`): it was not computed, and it is later than the job itself.
            State::Pending { schedule, pending_attempt: None }
                if schedule.due > schedule.since && schedule.failing_since.is_none() =>
            {
                limit_to_now(&mut schedule.since, now);
            }
            State::Pending { schedule, .. } | State::Submitting { schedule, .. } => correct(schedule, now),
            State::Queued(running) | State::Processing(running) => correct_running(running, now),
            State::Downloading(downloading) => correct_downloading(downloading, now),
            State::Held(hold) => match &mut hold.held_from {
                HeldFrom::Pending(schedule, None) if schedule.due > schedule.since => {
                    limit_to_now(&mut schedule.since, now);
                }
                HeldFrom::Pending(schedule, _) | HeldFrom::Submitting(schedule, _) => correct(schedule, now),
                HeldFrom::Running(running) => correct_running(running, now),
                HeldFrom::Downloading(downloading) => correct_downloading(downloading, now),
            },
            State::Succeeded { .. }
            | State::Failed { .. }
            | State::Cancelled { .. }
            | State::Expired { .. } => return,
        }
        if let Some(callback_at) = &mut self.job.callback_at {
            limit_to_now(callback_at, now);
        }
        for waiting in self.job.outputs.iter_mut().filter_map(Output::waiting_mut) {
            waiting.due = waiting.due.min(now.plus(MAX_DOWNLOAD_WAIT));
            waiting.give_up_at = waiting.give_up_at.min(now.plus(MAX_LINK_LIFETIME).plus(OUTPUT_GRACE));
            if let Some(last) = &mut waiting.refusals.last {
                limit_to_now(last, now);
            }
        }
    }
}

fn correct_running(running: &mut RunningTask, now: Timestamp) {
    correct(&mut running.schedule, now);
    if let Some(polled_at) = &mut running.polled_at {
        limit_to_now(polled_at, now);
    }
}

fn correct_downloading(downloading: &mut Downloading, now: Timestamp) {
    correct(&mut downloading.schedule, now);
    if let Some(polled_at) = &mut downloading.polled_at {
        limit_to_now(polled_at, now);
    }
}

/// No wait of dropreel's own exceeds the slowest poll. A longer one that the provider asked for is kept by the gate. What was due
/// when it began is due now.
fn correct(schedule: &mut Schedule, now: Timestamp) {
    let waited = schedule.due > schedule.since;
    limit_to_now(&mut schedule.since, now);
    if let Some(failing_since) = &mut schedule.failing_since {
        limit_to_now(failing_since, now);
    }
    let longest = if waited { SLOW_POLL_INTERVAL } else { Duration::ZERO };
    schedule.due = schedule.due.min(now.plus(longest));
}

/// What has begun cannot have begun in the future.
fn limit_to_now(time: &mut Timestamp, now: Timestamp) {
    *time = (*time).min(now);
}
