//! The job machine: what a job is, what can happen to it, and what it needs next. Pure: no I/O, no clock, no chance
//! of its own, and none of the provider's spelling.
//!
//! [`step`](step::step) alone changes a job; [`next_action`](next::next_action) says what it needs. The store writes what
//! they say; the stages do it.

pub mod attempt;
pub mod event;
pub mod hold;
pub mod next;
pub mod notification;
pub mod output;
pub mod policy;
pub mod record;
pub mod retry;
pub mod scheduling;
pub mod state;
pub mod step;
pub mod suspension;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::money::Quota;
use crate::rng::Rng;
use output::Output;
use state::{State, StateName};

/// A job's id: a version 7 UUID (RFC 9562), so ids rise with time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(Uuid);

impl JobId {
    /// Of no job.
    pub const NONE: Self = Self(Uuid::nil());

    /// A new id for a job made at `now`. Of ids made within one millisecond, the one with the higher `order` (its
    /// lower 26 bits count) is the higher one.
    pub fn new(now: Timestamp, order: u64, rng: &Rng) -> Self {
        let millis = u64::try_from(now.millis()).unwrap_or(0);
        // RFC 9562, section 6.2, method 1: a counter ahead of the random bits, around those of version and variant.
        let mut bytes = rng.id_bytes();
        let part = |shift: u32, mask: u64| u8::try_from((order >> shift) & mask).unwrap_or(0);
        bytes[0] = part(22, 0x0F);
        bytes[1] = part(14, 0xFF);
        bytes[2] = part(8, 0x3F);
        bytes[3] = part(0, 0xFF);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid())
    }

    /// Reads the one canonical spelling: 36 characters, lower case, with hyphens.
    pub fn parse(text: &str) -> Option<Self> {
        let id = Self(Uuid::try_parse(text).ok()?);
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

/// A task's id at the provider. Only letters, digits and `-_.:`, at most 128 of them, so that it is safe in a URL, a
/// log line and a file name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct TaskId(String);

impl TaskId {
    /// `None` when the text is not a safe task id.
    pub fn parse(text: &str) -> Option<Self> {
        let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
        let named = text.chars().any(|c| c.is_ascii_alphanumeric());
        (text.len() <= 128 && named && text.chars().all(safe)).then(|| Self(text.to_owned()))
    }

    /// The id as the provider wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who goes first: -100 to 100, higher first, default 0 (docs/reference.md#job-files).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Priority(i8);

impl Priority {
    /// `None` outside -100 to 100.
    pub fn new(value: i64) -> Option<Self> {
        (-100..=100).contains(&value).then(|| i8::try_from(value).ok().map(Self)).flatten()
    }

    /// -100 to 100.
    pub const fn get(self) -> i8 {
        self.0
    }
}

/// A person's labels on a job, for filters and file names.
pub type Labels = BTreeMap<String, String>;

/// Why a job failed, as the provider or we put it. Cleaned of control characters by whoever made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobError {
    /// A short word for programs, such as `task_failed`.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

/// What a job is from the start and stays, as far as decisions need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// DropreelMember.
    pub id: JobId,
    /// For lists and file names.
    pub name: String,
    /// The model it asks for.
    pub model: String,
    /// Who goes first.
    pub priority: Priority,
    /// When it was accepted.
    pub created_at: Timestamp,
}

/// What has been learned about a job on its way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFacts {
    /// 0 to 100, as last told by the provider.
    pub progress: u8,
    /// Quota frozen at the submit.
    pub reserved: Option<Quota>,
    /// Quota charged at the end; zero after a refund.
    pub cost: Option<Quota>,
    /// When the provider took the task.
    pub submitted_at: Option<Timestamp>,
    /// When the provider finished it, by the provider's clock where it says so.
    pub completed_at: Option<Timestamp>,
    /// When the job ended here.
    pub finished_at: Option<Timestamp>,
    /// When the first link dies.
    pub expires_at: Option<Timestamp>,
    /// Why it failed.
    pub error: Option<JobError>,
    /// What it waits for just now, or the last thing that went wrong, in a sentence.
    pub remark: Option<String>,
}

/// One job. Its state is private: [`step::step`] is the only maker of states, [`Job::restore`] the store's way back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    identity: Identity,
    learned: JobFacts,
    state: State,
    /// The number of the newest attempt; 0 before the first.
    attempts: u32,
    /// A person wants it cancelled and the provider has not answered yet.
    cancel_wanted: bool,
    /// The early alert before a link's death has been given.
    alerted: bool,
    /// The last callback that no status query has followed yet.
    knocked_at: Option<Timestamp>,
    outputs: Vec<Output>,
}

impl Job {
    /// The last callback that no status query has followed yet.
    pub fn knocked_at(&self) -> Option<Timestamp> {
        self.knocked_at
    }

    /// A new job, waiting for its turn from `not_before` on.
    pub fn accept(identity: Identity, not_before: Option<Timestamp>) -> Self {
        let due = not_before.map_or(identity.created_at, |time| time.max(identity.created_at));
        let state = State::Pending { pace: state::Schedule::starting(identity.created_at, due), trial: None };
        Self {
            identity,
            learned: JobFacts::default(),
            state,
            attempts: 0,
            cancel_wanted: false,
            alerted: false,
            knocked_at: None,
            outputs: Vec::new(),
        }
    }

    /// What it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Its id.
    pub fn id(&self) -> JobId {
        self.identity.id
    }

    /// What has been learned about it.
    pub fn learned(&self) -> &JobFacts {
        &self.learned
    }

    /// Where it stands.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The word for where it stands.
    pub fn state_name(&self) -> StateName {
        self.state.name()
    }

    /// The number of its newest attempt; 0 before the first.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Whether a person's cancel still waits for the provider's word.
    pub fn cancel_wanted(&self) -> bool {
        self.cancel_wanted
    }

    /// Its task at the provider, once there is one.
    pub fn task(&self) -> Option<&TaskId> {
        self.state.task()
    }

    /// Its outputs, in the provider's order.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_with_time_and_within_a_millisecond_with_their_order() {
        let rng = Rng::seeded(1);
        let orders = [0, 1, 2, 255, 256, 16_383, 16_384, 65_536, 4_194_304, 67_108_863];
        let at = Timestamp::from_millis(1_775_285_160_000);
        let mut ids: Vec<_> = orders.map(|order| JobId::new(at, order, &rng)).into();
        ids.push(JobId::new(at.plus(std::time::Duration::from_millis(1)), 0, &rng));
        assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] != pair[1]));
        assert_eq!(JobId::parse(&ids[0].to_string()), Some(ids[0]));
        assert_eq!(JobId::parse(&ids[0].to_string().to_uppercase()), None);
    }

    #[test]
    fn task_ids_are_safe_everywhere() {
        for safe in ["task-wave1775285160b950328499", "a", "A.b:c_d-1"] {
            assert_eq!(TaskId::parse(safe).map(|id| id.to_string()).as_deref(), Some(safe));
        }
        for unsafe_id in ["", "..", "a/b", "a b", "a?b", "a%2f", "é", "a\n", &"x".repeat(129)] {
            assert_eq!(TaskId::parse(unsafe_id), None, "{unsafe_id}");
        }
    }
}
