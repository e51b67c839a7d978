//! What an unfinished job waits for, besides its turn.

use std::fmt;

use crate::clock::Timestamp;
use crate::job::Job;
use crate::job::state::{Schedule, State, StateName};
use crate::job::suspension::{Suspension, SuspensionCause};

/// What a job waits for (docs/reference.md#job-states).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitReason<'a> {
    /// What is stored with the job: its own last failure, or the budget that it waits for.
    Stored(&'a str),
    /// The time before which the user does not want it submitted.
    NotBefore(Timestamp),
    /// The end of a suspension that concerns what it needs next.
    Suspended(&'a Suspension),
}

impl fmt::Display for WaitReason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stored(sentence) => f.write_str(sentence),
            Self::NotBefore(time) => write!(f, "waits until {time} (not_before)"),
            // That says already what is paused, and by whom.
            Self::Suspended(Suspension { cause, message, .. }) if cause.is_pause() => f.write_str(message),
            Self::Suspended(Suspension { cause, message, .. }) => {
                write!(f, "suspended ({}): {message}", cause.into_str())
            }
        }
    }
}

/// What jobs wait for whose model the last list lacks. It is stored with the first of a model only, which is about to be
/// submitted: in a minute it is over.
pub fn list_awaited(model: &str) -> String {
    format!("the provider's list of models lacks {model}; waits for the next list to say the same")
}

/// What `job` waits for while these suspensions are in force; `None` if it waits for its turn, or no longer waits.
///
/// What is stored with the job is its own and wins. Suspensions are not stored with each job: one would rewrite
/// thousands of rows.
pub fn wait_reason<'a>(
    job: &'a Job,
    suspensions: &'a [Suspension],
    now: Timestamp,
) -> Option<WaitReason<'a>> {
    let stored = || job.facts().status_message.as_deref().map(WaitReason::Stored);
    stored().or_else(|| not_before(job, now)).or_else(|| {
        let concerns = |suspension: &&Suspension| {
            !has_ended(suspension, now) && suspends(suspension.cause, job.state_name())
        };
        // What a person paused comes first: only a person resumes it.
        suspensions
            .iter()
            .filter(concerns)
            .min_by_key(|suspension| suspension.cause)
            .map(WaitReason::Suspended)
    })
}

fn not_before(job: &Job, now: Timestamp) -> Option<WaitReason<'_>> {
    match job.state() {
        // Without `not_before`, a job is due as soon as it is accepted, also where the clock went back since.
        State::Pending { schedule: Schedule { due, since, .. }, pending_attempt: None }
            if *due > now && due > since =>
        {
            Some(WaitReason::NotBefore(*due))
        }
        _ => None,
    }
}

/// Whether a job in `state` waits for the end of a suspension for `cause`.
const fn suspends(cause: SuspensionCause, state: StateName) -> bool {
    match state {
        StateName::Pending | StateName::Submitting => cause.suspends_submits(),
        StateName::Queued | StateName::Processing => cause.suspends_queries(),
        StateName::Downloading => cause.suspends_downloads(),
        StateName::Succeeded
        | StateName::Failed
        | StateName::Cancelled
        | StateName::Expired
        | StateName::Held => false,
    }
}

/// A limit whose time is over stays stored until the next call.
fn has_ended(suspension: &Suspension, now: Timestamp) -> bool {
    suspension.cause == SuspensionCause::RateLimited && suspension.until.is_some_and(|until| until <= now)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use strum::VariantArray;

    use super::*;
    use crate::job::record::Record;
    use crate::job::{Identity, JobFacts, TaskId};

    const NOW: Timestamp = Timestamp::from_millis(1_775_285_160_000);

    fn suspension(cause: SuspensionCause) -> Suspension {
        let until = Some(NOW.plus(Duration::from_secs(60)));
        Suspension { cause, until, message: "why".into(), since: NOW }
    }

    fn job(state: StateName, status_message: Option<&str>) -> Job {
        let new = Job::accept(Identity { created_at: NOW, ..Identity::default() }, None).record();
        let facts = JobFacts { status_message: status_message.map(str::to_owned), ..JobFacts::default() };
        let is_new = matches!(state, StateName::Pending);
        let record = Record {
            state,
            facts,
            task_id: TaskId::parse("task_1").filter(|_| !is_new),
            pending_attempt_number: (state == StateName::Submitting).then_some(1),
            pending_attempt_created_at: Some(NOW),
            pending_attempt_outcome_unknown: Some(false),
            ..new
        };
        Job::restore(record).expect("a whole job")
    }

    #[test]
    fn unfinished_job_waits_for_the_suspension_of_its_next_call() {
        use StateName::*;
        use SuspensionCause::*;
        let causes = SuspensionCause::VARIANTS;
        for (state, suspended_by) in [
            (
                Pending,
                &[
                    PausedSubmits,
                    Superseded,
                    RateLimited,
                    KeyRefused,
                    BalanceEmpty,
                    Misconfigured,
                    Unreachable,
                    ClockUnreliable,
                ][..],
            ),
            (
                Submitting,
                &[
                    PausedSubmits,
                    Superseded,
                    RateLimited,
                    KeyRefused,
                    BalanceEmpty,
                    Misconfigured,
                    Unreachable,
                    ClockUnreliable,
                ],
            ),
            (Queued, &[RateLimited, KeyRefused, Misconfigured, Unreachable]),
            (Processing, &[RateLimited, KeyRefused, Misconfigured, Unreachable]),
            (Downloading, &[PausedDownloads]),
            (Succeeded, &[]),
            (Failed, &[]),
            (Cancelled, &[]),
            (Expired, &[]),
        ] {
            let (job, failed) = (job(state, None), job(state, Some("its own")));
            for cause in causes {
                let suspensions = [suspension(*cause)];
                let expected = if cause.is_pause() {
                    "why".to_owned()
                } else {
                    format!("suspended ({}): why", cause.into_str())
                };
                let expected = suspended_by.contains(cause).then_some(expected);
                let reason = wait_reason(&job, &suspensions, NOW).map(|reason| reason.to_string());
                assert_eq!(reason, expected, "{state} {cause:?}");
                let stored = wait_reason(&failed, &suspensions, NOW);
                assert_eq!(stored, Some(WaitReason::Stored("its own")), "{state} {cause:?}");
            }
        }
    }

    #[test]
    fn pause_comes_first_and_a_limit_ends_at_its_time() {
        let job = job(StateName::Pending, None);
        let both = [suspension(SuspensionCause::RateLimited), suspension(SuspensionCause::PausedSubmits)];
        assert_eq!(wait_reason(&job, &both, NOW), Some(WaitReason::Suspended(&both[1])));
        let limited = &both[..1];
        assert!(wait_reason(&job, limited, NOW).is_some());
        assert_eq!(wait_reason(&job, limited, NOW.plus(Duration::from_secs(60))), None);
        assert_eq!(wait_reason(&job, &[], NOW), None, "only its turn");
    }

    #[test]
    fn not_before_is_the_reason_until_its_time() {
        let tomorrow = NOW.plus(Duration::from_secs(24 * 3600));
        let identity = Identity { created_at: NOW, ..Identity::default() };
        let suspensions = [suspension(SuspensionCause::KeyRefused)];
        let job = Job::accept(identity.clone(), Some(tomorrow));
        let reason = wait_reason(&job, &suspensions, NOW).map(|reason| reason.to_string());
        assert_eq!(reason.as_deref(), Some("waits until 2026-04-05T06:46:00.000Z (not_before)"));
        assert_eq!(wait_reason(&job, &suspensions, tomorrow), Some(WaitReason::Suspended(&suspensions[0])));
        let clock_went_back = NOW.minus(Duration::from_secs(60));
        assert_eq!(wait_reason(&Job::accept(identity, None), &[], clock_went_back), None);
    }
}
