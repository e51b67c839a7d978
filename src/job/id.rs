//! The ids of jobs and tasks.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::rng::Rng;

/// A job's id: a version 7 UUID (RFC 9562), so ids sort by time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(Uuid);

impl JobId {
    /// The nil UUID, which no job has.
    pub const NONE: Self = Self(Uuid::nil());

    /// A new id for a job created at `now`. Ids of the same millisecond sort by `order` (its lower 26 bits).
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

    /// Reads the canonical spelling only: 36 characters, lower case, with hyphens.
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

/// A task's id at the provider: at most 512 letters, digits and `-_.:/=+~`, without empty or dotted path segments, so
/// that it is safe in a log line and, as one percent-encoded segment, in the path of a URL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct TaskId(String);

impl TaskId {
    /// `None` when the text is not a safe task id.
    pub fn parse(text: &str) -> Option<Self> {
        let safe =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '/' | '=' | '+' | '~');
        let named = text.chars().any(|c| c.is_ascii_alphanumeric());
        // A server that decodes the path before it resolves it must not be led elsewhere.
        let leads_elsewhere = text.split('/').any(|segment| matches!(segment, "" | "." | ".."));
        let is_safe = text.len() <= 512 && named && !leads_elsewhere && text.chars().all(safe);
        is_safe.then(|| Self(text.to_owned()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_ids_sort_by_time_and_then_by_order() {
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
    fn unsafe_task_ids_are_rejected() {
        for safe in
            ["task-wave1775285160b950328499", "a", "A.b:c_d-1", "models/veo/op=1+2~3", &"x".repeat(512)]
        {
            assert_eq!(TaskId::parse(safe).map(|id| id.to_string()).as_deref(), Some(safe));
        }
        for unsafe_id in [
            "",
            "..",
            "a/../b",
            "/a",
            "a//b",
            "./a",
            "a/",
            "a b",
            "a?b",
            "a%2f",
            "é",
            "a\n",
            &"x".repeat(513),
        ] {
            assert_eq!(TaskId::parse(unsafe_id), None, "{unsafe_id}");
        }
    }
}
