//! Local pictures: they are fetched from their public addresses before a job is submitted.

use crate::job::event::PictureFault;
use crate::job::history::HistoryEvent;
use crate::job::hold::HoldReason;
use crate::job::retry::{BLOCKED_TIMEOUT, Backoff};
use crate::job::state::{HeldFrom, Schedule, State};
use crate::job::step::Change;

impl Change<'_> {
    pub(super) fn pictures_checked(&mut self) {
        let now = self.now();
        if let State::Pending { pending_attempt: None, schedule } = &mut self.job.state
            && self.job.pictures_checked == Some(false)
        {
            *schedule = Schedule { since: schedule.since, ..Schedule::starting(now, now) };
            self.job.pictures_checked = Some(true);
            self.job.facts.status_message = None;
        }
    }

    pub(super) fn picture_unavailable(&mut self, fault: &PictureFault) {
        let State::Pending { schedule, pending_attempt: None } = self.job.state else { return };
        if !self.job.names_pictures() {
            return;
        }
        self.job.pictures_checked = Some(false);
        let why = match fault {
            PictureFault::Unreachable { why } => why,
            PictureFault::Missing { why } => {
                return self.hold(HoldReason::PictureMissing, why, HeldFrom::Pending(schedule, None));
            }
        };
        let schedule = self.retry_failing(schedule, Backoff::SUBMIT, None);
        if schedule.failing_since.is_some_and(|since| self.now().since(since) >= BLOCKED_TIMEOUT) {
            return self.hold(HoldReason::PictureUnreachable, why, HeldFrom::Pending(schedule, None));
        }
        if schedule.tries == 1 {
            self.record(HistoryEvent::PictureUnreachable, why.clone());
        }
        self.job.facts.status_message = Some(why.clone());
        self.job.state = State::Pending { schedule, pending_attempt: None };
    }
}
