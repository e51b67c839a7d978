//! What a job needs next, and when: the state is the queue.

use crate::clock::Timestamp;
use crate::job::Job;
use crate::job::hold::HeldFrom;
use crate::job::retry::LONGEST_LINK_LIFE;
use crate::job::state::State;

/// What a job needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Move {
    /// Its turn to be submitted may come.
    Submit,
    /// Its submit must be repeated: the same key, the same bytes.
    Repeat,
    /// Its task's status must be asked for.
    Ask,
    /// Its task must be cancelled at the provider.
    Cancel,
    /// Its outputs must be fetched.
    Fetch,
    /// Nothing until its time comes.
    Wait,
}

impl Move {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Submit, Self::Repeat, Self::Ask, Self::Cancel, Self::Fetch, Self::Wait];

    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Repeat => "resend",
            Self::Ask => "poll",
            Self::Cancel => "cancel",
            Self::Fetch => "download",
            Self::Wait => "wait",
        }
    }

    /// Reads [`Move::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|what| what.as_str() == word)
    }
}

/// A move and the time it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// What.
    pub what: Move,
    /// When.
    pub due: Timestamp,
}

/// What `job` needs next, or `None` when it rests: at its end, or until a person's word.
pub fn next_action(job: &Job, now: Timestamp) -> Option<Next> {
    let next = |what, due| Some(Next { what, due });
    match job.state() {
        State::Pending { pace, .. } if pace.due > now => next(Move::Wait, pace.due),
        State::Pending { pace, .. } => next(Move::Submit, pace.due),
        State::Submitting { pace, .. } => next(Move::Repeat, pace.due),
        State::Queued(running) | State::Processing(running) => {
            next(if job.cancel_wanted() { Move::Cancel } else { Move::Ask }, running.pace.due)
        }
        State::Downloading(fetching) => {
            next(if fetching.refresh { Move::Ask } else { Move::Fetch }, fetching.pace.due)
        }
        State::Held(hold) => match &hold.back_to {
            // The money is spent: ask now and then until even the longest link would be dead.
            HeldFrom::Running(running)
                if running.pace.due <= running.pace.since.plus(LONGEST_LINK_LIFE * 2) =>
            {
                next(Move::Ask, running.pace.due)
            }
            HeldFrom::Running(_)
            | HeldFrom::Pending(_)
            | HeldFrom::Submitting(..)
            | HeldFrom::Downloading(_) => None,
        },
        State::Succeeded { .. } | State::Failed { .. } | State::Cancelled { .. } | State::Expired { .. } => {
            None
        }
    }
}

/// Whether `job` needs just that, and now: a list of what is due is old as soon as it has been read.
pub fn is_due(job: &Job, what: Move, now: Timestamp) -> bool {
    next_action(job, now).is_some_and(|next| next.what == what && next.due <= now)
}
