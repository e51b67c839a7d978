//! Places at the provider: how many tasks of each model take one, and the jobs that wait for their time.

use crate::clock::Timestamp;
use crate::job::scheduling::TaskCounts;
use crate::store::Store;
use crate::store::due::task_counts;
use crate::store::error::StoreError;

/// Jobs with `not_before`, and the nearest of these times.
const SCHEDULED: &str = "SELECT count(*), min(next_action_at) FROM jobs INDEXED BY jobs_scheduled
    WHERE next_action = 'wait' AND budget_wait_quota IS NULL AND failing_since IS NULL
        AND pending_attempt_number IS NULL";

#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, String)> {
    vec![("scheduled", SCHEDULED.to_owned())]
}

/// What takes places at the provider, and what waits for its time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    /// The tasks of each model. Those that fail have given their places back.
    pub tasks: TaskCounts,
    /// Jobs that wait for their `not_before`.
    pub scheduled: u64,
    /// The nearest of these times.
    pub next_scheduled: Option<Timestamp>,
}

impl Slots {
    /// Places that are taken.
    pub fn running(&self) -> u32 {
        self.tasks.total().working
    }
}

impl Store {
    /// What takes places at the provider at `now`.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn slots(&self, now: Timestamp) -> Result<Slots, StoreError> {
        self.read(move |connection| {
            let (scheduled, next_scheduled): (i64, _) =
                connection.prepare_cached(SCHEDULED)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let tasks = task_counts(connection, now)?;
            Ok(Slots { tasks, scheduled: scheduled.unsigned_abs(), next_scheduled })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::jobfile::Draft;
    use crate::store::tests::{NOW, Rig, draft, parts};

    #[tokio::test]
    async fn jobs_that_wait_for_their_time_are_counted_apart() {
        let rig = Rig::new();
        let in_hours = |hours: u64| NOW.plus(Duration::from_secs(hours * 3600));
        let at = |name, hours| Draft { not_before: Some(in_hours(hours)), ..draft(name) };
        let jobs = rig.ingest(vec![draft("a"), draft("b"), at("c", 48), at("d", 24)]).await;
        let slots = rig.store.slots(NOW).await.unwrap();
        assert_eq!((slots.running(), slots.scheduled, slots.next_scheduled), (0, 2, Some(in_hours(24))));

        rig.store.start_attempt(jobs[0], parts(Box::new(|_| None)), NOW).await.unwrap();
        rig.store.apply(jobs[3], crate::job::event::Event::TimeElapsed, in_hours(24)).await.unwrap();
        let slots = rig.store.slots(in_hours(24)).await.unwrap();
        assert_eq!((slots.running(), slots.scheduled, slots.next_scheduled), (1, 1, Some(in_hours(48))));
    }
}
