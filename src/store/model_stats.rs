//! What the jobs of each model took and cost.

use std::collections::BTreeMap;

use crate::money::Quota;
use crate::store::Store;
use crate::store::counts::UNFINISHED;
use crate::store::error::StoreError;

/// How many succeeded jobs are looked at, the newest.
const SAMPLE: u32 = 1_000;

const SUCCEEDED: &str = "SELECT model, finished_at - submitted_at,
        (SELECT sum(charged_quota) FROM attempts WHERE attempts.job = jobs.nr)
    FROM jobs WHERE state = 'succeeded' AND finished_at IS NOT NULL AND adopted = 0 ORDER BY finished_at DESC LIMIT ?1";

/// The jobs of a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelStats {
    /// Jobs that have not ended.
    pub open: u64,
    /// Succeeded ones of the sample.
    pub succeeded: u64,
    /// The median time from submit to end, of these.
    pub median_millis: Option<i64>,
    /// The median cost of those whose cost is known.
    pub median_cost: Option<Quota>,
}

impl Store {
    /// The jobs of each model that has any.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn model_stats(&self) -> Result<BTreeMap<String, ModelStats>, StoreError> {
        self.read(|connection| {
            let mut stats: BTreeMap<String, ModelStats> = BTreeMap::new();
            let mut statement = connection.prepare_cached(UNFINISHED)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                stats.entry(row.get(1)?).or_default().open += row.get::<_, i64>(2)?.unsigned_abs();
            }
            let mut samples: BTreeMap<String, (u64, Vec<i64>, Vec<Quota>)> = BTreeMap::new();
            let mut statement = connection.prepare_cached(SUCCEEDED)?;
            let mut rows = statement.query([SAMPLE])?;
            while let Some(row) = rows.next()? {
                let (jobs, millis, costs) = samples.entry(row.get(0)?).or_default();
                *jobs += 1;
                millis.extend(row.get::<_, Option<i64>>(1)?.map(|millis| millis.max(0)));
                costs.extend(row.get::<_, Option<Quota>>(2)?);
            }
            for (model, (jobs, millis, costs)) in samples {
                let stats = stats.entry(model).or_default();
                stats.succeeded = jobs;
                (stats.median_millis, stats.median_cost) = (median(millis), median(costs));
            }
            Ok(stats)
        })
        .await
    }
}

/// The lower of the two in the middle of an even number.
pub(super) fn median<T: Ord + Copy>(mut values: Vec<T>) -> Option<T> {
    values.sort_unstable();
    values.get(values.len().checked_sub(1)? / 2).copied()
}
