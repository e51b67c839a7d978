//! How the tasks of each model went in the last hours: how many succeeded, how long they took and what they cost.

use std::cmp::Reverse;
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
/// The newest jobs of all models that are looked at: more say hardly more, and a page would wait for them.
pub const MAX_JOBS: u32 = 1_000;
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
    /// More than [`MAX_JOBS`] jobs of all models ended within these hours, of which only the newest are counted.
    pub is_cut: bool,
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

struct EndedJob {
    model: String,
    state: StateName,
    finished_at: Timestamp,
    submitted_at: Timestamp,
    cost: Option<Quota>,
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
    let (jobs, complete_since) = newest_ended(connection, earliest)?;
    let mut samples: BTreeMap<String, [Sample; WINDOWS.len()]> = BTreeMap::new();
    for job in jobs {
        let of_model = samples.entry(job.model).or_default();
        for (sample, _) in of_model.iter_mut().zip(starts).filter(|(_, start)| job.finished_at > *start) {
            sample.ended += 1;
            if job.state == StateName::Succeeded {
                sample.times.push(job.finished_at.since(job.submitted_at));
                sample.costs.extend(job.cost);
            }
        }
    }
    let window = |(Sample { ended, times, costs }, start)| Window {
        ended,
        succeeded: times.len() as u64,
        median_time: median(times),
        median_cost: median(costs),
        is_cut: start < complete_since,
    };
    let windows = |samples: [Sample; WINDOWS.len()]| {
        let mut windows = samples.into_iter().zip(starts).map(window);
        std::array::from_fn(|_| windows.next().unwrap_or_default())
    };
    Ok(samples.into_iter().map(|(model, samples)| (model, windows(samples))).collect())
}

/// The newest jobs that ended after `earliest`, and since when these are all: of no state older ones than of another, whose
/// share would be wrong.
fn newest_ended(
    connection: &Connection,
    earliest: Timestamp,
) -> Result<(Vec<EndedJob>, Timestamp), StoreError> {
    let (mut jobs, mut complete_since): (Vec<EndedJob>, _) = (Vec::new(), earliest);
    for state in [StateName::Succeeded, StateName::Failed, StateName::Expired] {
        let mut statement = connection.prepare_cached(ENDED)?;
        let mut rows = statement.query((state, complete_since, MAX_JOBS + 1))?;
        let mut of_state = 0;
        while let Some(row) = rows.next()? {
            let finished_at: Timestamp = row.get(1)?;
            of_state += 1;
            if of_state > MAX_JOBS {
                complete_since = finished_at;
            }
            // Refused before it became a task: the model has not had it.
            if let Some(submitted_at) = row.get(2)? {
                jobs.push(EndedJob {
                    model: row.get(0)?,
                    state,
                    finished_at,
                    submitted_at,
                    cost: row.get(3)?,
                });
            }
        }
    }
    jobs.sort_by_key(|job| Reverse(job.finished_at));
    if let Some(first_left_out) = jobs.get(MAX_JOBS as usize) {
        complete_since = complete_since.max(first_left_out.finished_at);
    }
    jobs.retain(|job| job.finished_at > complete_since);
    Ok((jobs, complete_since))
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
            assert!(!window.is_cut);
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

    #[tokio::test]
    async fn share_of_many_jobs_is_that_of_the_newest() {
        let rig = Rig::new();
        rig.skip_counts();
        // Of the newest a quarter failed, of those before them half.
        let end = "UPDATE jobs SET state = CASE WHEN nr % CASE WHEN nr > 2000 THEN 4 ELSE 2 END = 0 THEN 'failed' ELSE 'succeeded' END,
            finished_at = ?1 + nr * 1000, submitted_at = ?1";
        rig.ingest((0..3 * MAX_JOBS).map(|n| draft(&format!("job-{n}"))).collect()).await;
        let an_hour_ago = NOW.millis() - 3_600_000;
        raw(&rig.path()).execute(end, [an_hour_ago]).unwrap();
        let [day, ..] = rig.store.recent_activity(NOW).await.unwrap()["wan2.5-t2v"];
        assert_eq!((day.ended, day.succeeded, day.is_cut), (1_000, 750, true));
    }
}
