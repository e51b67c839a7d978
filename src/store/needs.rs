//! What needs a person: held jobs, and failed and expired ones that nobody has dismissed, by cause and model. How many there
//! are is kept in `need_counts`, so that no page counts them.

use crate::job::Job;
use crate::job::needs::cause;
use crate::job::state::StateName;
use crate::money::Quota;
use crate::pricing::price_book::PriceBook;
use crate::store::Store;
use crate::store::db::{self, Connection};
use crate::store::details::{JobDetails, details_where};
use crate::store::error::StoreError;
use crate::store::estimates::Estimator;
use crate::store::prices::set_prices;

/// The condition of the index `jobs_in_need`.
pub(super) const IN_NEED: &str = "jobs.dismissed_at IS NULL
    AND (jobs.state = 'held' OR jobs.state = 'failed' OR jobs.state = 'expired')";
/// Why a job needs a person, in one word.
pub(super) const CAUSE: &str = "coalesce(jobs.reason, jobs.error_code, jobs.state)";
/// Most jobs of a group that are estimated; the others will cost as much on average.
const MOST_ESTIMATED: u32 = 50;

/// Jobs that need a person for the same cause.
#[derive(Clone, Debug, PartialEq)]
pub struct NeedGroup {
    pub state: StateName,
    /// The reason why they are held, or the code of their error.
    pub cause: String,
    pub model: String,
    pub jobs: u64,
    /// The newest of them.
    pub newest: JobDetails,
    /// What all will probably cost, if they are submitted again.
    pub estimate: Quota,
}

const GROUPS: &str = "SELECT state, cause, model, jobs FROM need_counts";

/// Rows of `need_counts` that differ from a full count, and groups of jobs that it lacks.
fn wrong() -> String {
    let counted = format!(
        "SELECT jobs.state, {CAUSE}, jobs.model, count(*) FROM jobs WHERE {IN_NEED} GROUP BY jobs.state, {CAUSE}, jobs.model"
    );
    format!(
        "SELECT (SELECT count(*) FROM ({GROUPS} EXCEPT {counted}) AS surplus)
            + (SELECT count(*) FROM ({counted} EXCEPT {GROUPS}) AS lacking)"
    )
}

/// What a job counts for in `need_counts`.
fn counted(job: &Job) -> Option<(StateName, &str, &str)> {
    cause(job).map(|cause| (job.state_name(), cause, job.identity().model.as_str()))
}

/// Counts what an event did to a job.
pub(super) fn count_need(connection: &Connection, before: &Job, after: &Job) -> Result<(), StoreError> {
    let (before, after) = (counted(before), counted(after));
    if before == after {
        return Ok(());
    }
    if let Some(key) = before {
        connection
            .prepare_cached(
                "UPDATE need_counts SET jobs = jobs - 1 WHERE state = ?1 AND cause = ?2 AND model = ?3",
            )?
            .execute(key)?;
        connection.prepare_cached("DELETE FROM need_counts WHERE jobs = 0")?.execute([])?;
    }
    if let Some(key) = after {
        connection
            .prepare_cached(
                "INSERT INTO need_counts VALUES (?1, ?2, ?3, 1)
                 ON CONFLICT (state, cause, model) DO UPDATE SET jobs = need_counts.jobs + 1",
            )?
            .execute(key)?;
    }
    Ok(())
}

/// A job in need is about to be deleted.
pub(super) fn uncount_need(connection: &Connection, nr: i64) -> Result<(), StoreError> {
    let of_job = format!("SELECT jobs.state, {CAUSE}, jobs.model FROM jobs WHERE jobs.nr = ?1 AND {IN_NEED}");
    let sql = format!("UPDATE need_counts SET jobs = jobs - 1 WHERE (state, cause, model) IN ({of_job})");
    if connection.prepare_cached(&sql)?.execute([nr])? > 0 {
        connection.prepare_cached("DELETE FROM need_counts WHERE jobs = 0")?.execute([])?;
    }
    Ok(())
}

/// How many of the counts by cause differ from a full count.
pub(super) fn wrong_needs(connection: &Connection) -> db::Result<i64> {
    connection.query_row(&wrong(), [], |row| row.get(0))
}

fn group_condition() -> String {
    format!(
        "jobs.state = ?1 AND {CAUSE} = ?2 AND jobs.model = ?3 AND {IN_NEED} ORDER BY jobs.nr DESC LIMIT 1"
    )
}

fn requests_statement() -> String {
    format!(
        "SELECT requests.body FROM jobs INDEXED BY jobs_in_need JOIN requests ON requests.job = jobs.nr
         WHERE jobs.state = ?1 AND {CAUSE} = ?2 AND jobs.model = ?3 AND {IN_NEED} ORDER BY jobs.nr DESC LIMIT {MOST_ESTIMATED}"
    )
}

/// Failed jobs of a batch that nobody has dismissed.
const FAILED_OF_BATCH: &str = "FROM jobs INDEXED BY jobs_by_batch JOIN requests ON requests.job = jobs.nr
    WHERE jobs.batch = ?1 AND jobs.state = 'failed' AND jobs.dismissed_at IS NULL";

impl Store {
    /// How many jobs need a person, and the `limit` largest groups of them, held ones first.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn needs(&self, limit: usize) -> Result<(u64, Vec<NeedGroup>), StoreError> {
        let book = self.prices.read().clone();
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(GROUPS)?;
            let rows = statement.query_map([], |row| {
                let count: i64 = row.get(3)?;
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, count.unsigned_abs()))
            })?;
            let mut groups: Vec<(StateName, String, String, u64)> = rows.collect::<Result<_, _>>()?;
            let total = groups.iter().map(|group| group.3).sum();
            groups.sort_by_key(|(state, _, _, jobs)| (*state != StateName::Held, std::cmp::Reverse(*jobs)));
            groups.truncate(limit);
            let groups = groups.into_iter().map(|group| read_group(connection, &book, group));
            Ok((total, groups.filter_map(Result::transpose).collect::<Result<_, _>>()?))
        })
        .await
    }

    /// How many jobs of a batch failed and were not dismissed, and what they will probably cost if they are submitted
    /// again.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn failed_of_batch(&self, batch: i64) -> Result<(u64, Quota), StoreError> {
        let book = self.prices.read().clone();
        self.read(move |connection| {
            let count = format!("SELECT count(*) {FAILED_OF_BATCH}");
            let jobs: i64 = connection.prepare_cached(&count)?.query_row([batch], |row| row.get(0))?;
            let jobs = jobs.unsigned_abs();
            let some = format!("SELECT requests.body {FAILED_OF_BATCH} LIMIT {MOST_ESTIMATED}");
            let mut statement = connection.prepare_cached(&some)?;
            let bodies = statement.query_map([batch], |row| row.get(0))?;
            Ok((jobs, estimate(connection, &book, &bodies.collect::<Result<Vec<String>, _>>()?, jobs)?))
        })
        .await
    }
}

fn read_group(
    connection: &Connection,
    book: &PriceBook,
    (state, cause, model, jobs): (StateName, String, String, u64),
) -> Result<Option<NeedGroup>, StoreError> {
    let key = (state, &cause, &model);
    let Some(mut newest) = details_where(connection, &group_condition(), key)?.pop() else { return Ok(None) };
    set_prices(connection, book, [&mut newest])?;
    let mut statement = connection.prepare_cached(&requests_statement())?;
    let bodies = statement.query_map(key, |row| row.get(0))?;
    let estimate = estimate(connection, book, &bodies.collect::<Result<Vec<String>, _>>()?, jobs)?;
    Ok(Some(NeedGroup { state, cause, model, jobs, newest, estimate }))
}

/// What `jobs` jobs will probably cost, by the requests of some of them.
fn estimate(
    connection: &Connection,
    book: &PriceBook,
    bodies: &[String],
    jobs: u64,
) -> Result<Quota, StoreError> {
    let mut estimator = Estimator::new(connection, book);
    let mut sum = Quota::ZERO;
    for body in bodies {
        sum = sum.plus(estimator.estimate(body)?.estimate.quota);
    }
    let all = i128::from(sum.get()) * i128::from(jobs) / i128::try_from(bodies.len().max(1)).unwrap_or(1);
    Ok(Quota::new(i64::try_from(all).unwrap_or(i64::MAX)))
}

#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, String)> {
    vec![
        ("newest of a group", super::details::select_where(&group_condition())),
        ("requests of a group", requests_statement()),
        ("failed of a batch", format!("SELECT requests.body {FAILED_OF_BATCH}")),
    ]
}

#[cfg(test)]
mod tests {
    use crate::job::event::{Event, OperatorAction};
    use crate::job::state::StateName;
    use crate::jobfile::Draft;
    use crate::store::tests::{NOW, Rig, draft};

    #[tokio::test]
    async fn jobs_in_need_are_grouped_by_cause_and_model_until_dismissed() {
        let rig = Rig::new();
        let body = r#"{"model": "wan2.7", "resolution": "720p", "duration": 5}"#;
        let priced =
            |name: &str, model: &str| Draft { body: body.into(), model: model.into(), ..draft(name) };
        let jobs = vec![priced("a", "m"), priced("b", "m"), priced("c", "n"), draft("d"), draft("e")];
        let jobs = rig.ingest_file("a.json", "1", jobs, NOW).await.unwrap();
        for job in &jobs[..4] {
            rig.store.apply(*job, Event::TooExpensive { why: "dear".into() }, NOW).await.unwrap();
        }
        let read = async || {
            let (total, groups) = rig.store.needs(2).await.unwrap();
            let groups = groups.iter().map(|group| {
                let name = group.newest.job.identity().name.clone();
                (group.state, group.cause.clone(), group.model.clone(), group.jobs, name)
            });
            (total, groups.collect::<Vec<_>>())
        };
        let (total, groups) = read().await;
        assert_eq!((total, groups.len()), (4, 2), "the total counts what is not shown: {groups:?}");
        assert_eq!(groups[0], (StateName::Held, "too_expensive".into(), "m".into(), 2, "b".into()));
        let of_two = rig.store.needs(1).await.unwrap().1[0].estimate;
        let of_one = rig.store.estimate_job(jobs[0]).await.unwrap().estimate.quota;
        assert_eq!(of_two.get(), 2 * of_one.get());
        rig.store.apply(jobs[0], Event::Operator(OperatorAction::Cancel), NOW).await.unwrap();
        assert_eq!(read().await.0, 3, "what is cancelled needs nobody");
    }
}
