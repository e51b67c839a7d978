//! Causes that refusals of single jobs suggest: confirmed by a neutral call, or, where that says nothing, by several
//! jobs in a row.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::job::JobId;
use crate::job::suspension::{Suspension, SuspensionCause};
use crate::provider::answer::Evidence;
use crate::provider::gate::permits::Subject;
use crate::provider::neutral::NeutralCall;

/// How long a neutral call that went well speaks against a cause.
const CLEARED_FOR: Duration = Duration::from_secs(60);

/// A cause that is not confirmed, and what is known about it.
#[derive(Debug)]
pub(super) struct Unconfirmed {
    cause: SuspensionCause,
    /// As the latest refusal calls for it.
    suspension: Suspension,
    /// The different jobs that were refused in a row.
    jobs: Vec<JobId>,
    /// Whether the latest was refused at its submit. A limit may be for submits alone.
    at_submit: bool,
    check: Check,
}

/// The neutral call about a cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    NotNeeded,
    Wanted,
    Sent,
    /// It said nothing about the cause.
    Inconclusive,
    /// It went well: until then, refusals concern their jobs alone.
    Cleared(Timestamp),
}

/// All unconfirmed causes.
#[derive(Debug, Default)]
pub(super) struct UnconfirmedCauses(Vec<Unconfirmed>);

impl UnconfirmedCauses {
    /// A job was refused. Returns the suspension if that confirms its cause.
    pub(super) fn job_refused(
        &mut self,
        job: JobId,
        at_submit: bool,
        suspension: &Suspension,
    ) -> Option<Suspension> {
        let (cause, now) = (suspension.cause, suspension.since);
        let known = self.0.iter().position(|known| known.cause == cause).unwrap_or_else(|| {
            let (suspension, jobs, check) = (suspension.clone(), Vec::new(), Check::NotNeeded);
            self.0.push(Unconfirmed { cause, suspension, jobs, at_submit, check });
            self.0.len() - 1
        });
        let known = self.0.get_mut(known)?;
        if matches!(known.check, Check::Cleared(until) if until > now) {
            return None;
        }
        known.suspension = suspension.clone();
        known.at_submit = at_submit;
        if !known.jobs.contains(&job) && known.jobs.len() < jobs_in_a_row(cause) {
            known.jobs.push(job);
        }
        let is_due = known.jobs.len() >= jobs_before_check(cause);
        if matches!(known.check, Check::NotNeeded | Check::Cleared(_)) && is_due {
            known.check = Check::Wanted;
        }
        self.take_confirmed(cause)
    }

    /// A neutral call was made. Whatever it is about and was not refused for is cleared, or remains as unclear as it was.
    /// Returns the suspensions that several jobs confirm then.
    pub(super) fn neutral_call_answered(
        &mut self,
        call: NeutralCall,
        evidence: Evidence,
        now: Timestamp,
    ) -> Vec<Suspension> {
        let mut inconclusive = Vec::new();
        for known in self.0.iter_mut().filter(|known| NeutralCall::about(known.cause) == call) {
            let is_limit = known.cause == SuspensionCause::RateLimited;
            if evidence.lifts(known.cause) || (is_limit && evidence >= Evidence::KeyAccepted) {
                known.jobs.clear();
                known.check = Check::Cleared(now.plus(CLEARED_FOR));
            } else if known.check == Check::Sent {
                known.check = Check::Inconclusive;
                inconclusive.push(known.cause);
            }
        }
        inconclusive.into_iter().filter_map(|cause| self.take_confirmed(cause)).collect()
    }

    /// A job's call was not refused: what that disproves starts again.
    pub(super) fn job_answered(&mut self, subject: Subject, evidence: Evidence) {
        let is_submit = matches!(subject, Subject::Submit(_));
        for known in &mut self.0 {
            let is_limit = known.cause == SuspensionCause::RateLimited && known.at_submit == is_submit;
            if evidence.lifts(known.cause) || (is_limit && evidence >= Evidence::KeyAccepted) {
                known.jobs.clear();
                if matches!(known.check, Check::Wanted | Check::Inconclusive) {
                    known.check = Check::NotNeeded;
                }
            }
        }
    }

    /// The cause is settled, one way or the other.
    pub(super) fn remove(&mut self, cause: SuspensionCause) {
        self.0.retain(|known| known.cause != cause);
    }

    /// A neutral call that is wanted.
    pub(super) fn wanted(&self) -> Option<NeutralCall> {
        let wanted = self.0.iter().find(|known| known.check == Check::Wanted)?;
        Some(NeutralCall::about(wanted.cause))
    }

    /// The neutral call is being made.
    pub(super) fn sent(&mut self, call: NeutralCall) {
        for known in &mut self.0 {
            if known.check == Check::Wanted && NeutralCall::about(known.cause) == call {
                known.check = Check::Sent;
            }
        }
    }

    fn take_confirmed(&mut self, cause: SuspensionCause) -> Option<Suspension> {
        let at = self.0.iter().position(|known| known.cause == cause)?;
        let known = self.0.get(at)?;
        let is_confirmed = known.check == Check::Inconclusive && known.jobs.len() >= jobs_in_a_row(cause);
        is_confirmed.then(|| self.0.swap_remove(at).suspension)
    }
}

/// How many different jobs in a row must be refused before a neutral call is made.
const fn jobs_before_check(cause: SuspensionCause) -> usize {
    match cause {
        SuspensionCause::RateLimited => 2,
        _ => 1,
    }
}

/// How many different jobs in a row confirm a cause where a neutral call says nothing.
const fn jobs_in_a_row(cause: SuspensionCause) -> usize {
    match cause {
        SuspensionCause::RateLimited | SuspensionCause::BalanceEmpty => 2,
        _ => 3,
    }
}
