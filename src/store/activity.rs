//! How the tasks of each model went in the last hours: how many succeeded, how long they took and what they cost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::job::state::StateName;
use crate::money::Quota;
use crate::store::Store;
use crate::store::db::Connection;
use crate::store::error::StoreError;
use crate::store::model_stats::median;

/// The hours that are looked back on.
pub const WINDOWS: [u32; 3] = [24, 48, 72];
/// The newest jobs of each state that are looked at: more say no more.
const MAX_JOBS: u32 = 20_000;
/// How long an answer serves: pages are fetched with every change.
const MAX_AGE: Duration = Duration::from_secs(30);

/// Jobs that ended in this state; a cancelled one says nothing about its model. Read from the index alone.
const ENDED: &str = "SELECT model, finished_at, submitted_at, cost_quota FROM jobs INDEXED BY jobs_by_end
    WHERE state = ?1 AND finished_at IS NOT NULL AND finished_at > ?2 ORDER BY finished_at DESC LIMIT ?3";

#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, String)> {
    vec![("ended lately", ENDED.to_owned())]
}

/// The jobs of a model that ended within some hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Succeeded, failed and expired ones.
    pub ended: u64,
    /// Those that succeeded.
    pub succeeded: u64,
    /// The median time of these from the submit to the end.
    pub median_time: Option<Duration>,
    /// The median of what these cost.
    pub median_cost: Option<Quota>,
}

/// Of each model that had jobs, one for each of [`WINDOWS`].
pub type Activity = BTreeMap<String, [Window; WINDOWS.len()]>;

/// The last answer and when it was made.
pub(super) type LastActivity = Option<(Timestamp, Arc<Activity>)>;

#[derive(Default)]
struct Sample {
    ended: u64,
    times: Vec<Duration>,
    costs: Vec<Quota>,
}

impl Store {
    /// How the tasks of each model went, as of a moment ago.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn recent_activity(&self, now: Timestamp) -> Result<Arc<Activity>, StoreError> {
        let is_fresh = |made: Timestamp| made <= now && now.since(made) < MAX_AGE;
        if let Some((_, activity)) = self.activity.lock().as_ref().filter(|(made, _)| is_fresh(*made)) {
            return Ok(activity.clone());
        }
        let activity = Arc::new(self.read(move |connection| read_activity(connection, now)).await?);
        *self.activity.lock() = Some((now, activity.clone()));
        Ok(activity)
    }
}

fn read_activity(connection: &Connection, now: Timestamp) -> Result<Activity, StoreError> {
    let starts = WINDOWS.map(|hours| now.minus(Duration::from_secs(u64::from(hours) * 3600)));
    let [.., earliest] = starts;
    let mut samples: BTreeMap<String, [Sample; WINDOWS.len()]> = BTreeMap::new();
    for state in [StateName::Succeeded, StateName::Failed, StateName::Expired] {
        let mut statement = connection.prepare_cached(ENDED)?;
        let mut rows = statement.query((state, earliest, MAX_JOBS))?;
        while let Some(row) = rows.next()? {
            let (finished, submitted): (Timestamp, Option<Timestamp>) = (row.get(1)?, row.get(2)?);
            // Refused before it became a task: the model has not had it.
            let Some(submitted) = submitted else { continue };
            let cost: Option<Quota> = row.get(3)?;
            let of_model = samples.entry(row.get(0)?).or_default();
            for (sample, _) in of_model.iter_mut().zip(starts).filter(|(_, start)| finished > *start) {
                sample.ended += 1;
                if state == StateName::Succeeded {
                    sample.times.push(finished.since(submitted));
                    sample.costs.extend(cost);
                }
            }
        }
    }
    let window = |Sample { ended, times, costs }| Window {
        ended,
        succeeded: times.len() as u64,
        median_time: median(times),
        median_cost: median(costs),
    };
    Ok(samples.into_iter().map(|(model, samples)| (model, samples.map(window))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{NOW, Rig, draft, raw};

    #[tokio::test]
    async fn windows_count_what_ended_in_them() {
        let rig = Rig::new();
        rig.skip_counts();
        let hour = 3_600_000;
        rig.ingest((0..6).map(|n| draft(&format!("job-{n}"))).collect()).await;
        let ends = [
            // State, hours ago, seconds it took, its cost.
            ("succeeded", 1, Some(40), Some(100)),
            ("succeeded", 30, Some(60), Some(300)),
            ("succeeded", 60, Some(50), None),
            ("failed", 2, Some(5), Some(0)),
            ("failed", 3, None, None),
            ("succeeded", 80, Some(1), Some(1)),
        ];
        for (nr, (state, hours, took, cost)) in (1..).zip(ends) {
            let finished = NOW.millis() - hours * hour;
            let submitted = took.map(|seconds: i64| finished - seconds * 1000);
            let end = "UPDATE jobs SET state = ?2, finished_at = ?3, submitted_at = ?4, cost_quota = ?5 WHERE nr = ?1";
            raw(&rig.path()).execute(end, (nr, state, finished, submitted, cost)).unwrap();
        }
        let activity = rig.store.recent_activity(NOW).await.unwrap();
        let windows = activity["wan2.5-t2v"].map(|window| {
            let time = window.median_time.map(|time| time.as_secs());
            (window.succeeded, window.ended, time, window.median_cost.map(Quota::get))
        });
        assert_eq!(
            windows,
            [(1, 2, Some(40), Some(100)), (2, 3, Some(40), Some(100)), (3, 4, Some(50), Some(100))]
        );

        raw(&rig.path()).execute("UPDATE jobs SET state = 'failed' WHERE nr = 1", ()).unwrap();
        let cached = rig.store.recent_activity(NOW.plus(MAX_AGE / 2)).await.unwrap();
        assert_eq!(cached, activity, "made a moment ago");
        let later = rig.store.recent_activity(NOW.plus(MAX_AGE)).await.unwrap();
        assert_eq!(later["wan2.5-t2v"][0].succeeded, 0);
    }
}
