//! The jobs that wait to be submitted, and what they will probably cost. Their estimates are stored when they are
//! accepted, and again when they are edited or the provider quotes a price: estimating a hundred thousand jobs takes
//! seconds. Their sum is kept in `job_counts`.

use crate::clock::Timestamp;
use crate::job::JobId;
use crate::job::event::Event;
use crate::job::step::Moment;
use crate::money::Quota;
use crate::pricing::price_book::PriceBook;
use crate::store::Store;
use crate::store::apply::apply_in;
use crate::store::db::{Connection, OptionalExtension};
use crate::store::error::StoreError;
use crate::store::estimates::{Estimator, JobEstimate};
use crate::store::job_rows::NOT_STAGED;

const SET_ESTIMATE: &str =
    "UPDATE jobs SET estimate_quota = ?2 WHERE nr = ?1 AND estimate_quota IS DISTINCT FROM ?2";

/// A job that waits for more of a budget than it needs.
const CHEAPER: &str = "SELECT id FROM jobs
    WHERE nr = ?1 AND next_action = 'wait' AND estimate_quota < budget_wait_quota";

/// All pending jobs without staged ones, of which there are any for moments only.
const WAITING: &str = "SELECT
    (SELECT coalesce(sum(estimate_quota), 0) FROM job_counts WHERE state = 'pending')
    - (SELECT coalesce(sum(estimate_quota), 0) FROM jobs INDEXED BY jobs_by_batch
       WHERE batch IN (SELECT nr FROM batches WHERE staged = 1))";

/// Without those that name local pictures: their requests get the addresses when they are submitted.
fn unsubmitted() -> String {
    format!(
        "SELECT jobs.nr, requests.body FROM jobs INDEXED BY jobs_by_state JOIN requests ON requests.job = jobs.nr
         WHERE jobs.state = 'pending' AND jobs.nr > ?1 AND jobs.pictures_checked IS NULL AND {NOT_STAGED} ORDER BY jobs.nr LIMIT ?2"
    )
}

#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, String)> {
    vec![
        ("cost of waiting jobs", WAITING.to_owned()),
        ("set an estimate", SET_ESTIMATE.to_owned()),
        ("cheaper than it waits for", CHEAPER.to_owned()),
        ("jobs to quote", unsubmitted()),
    ]
}

/// Estimates a job, from the body of its request.
pub(super) fn set_estimate(
    connection: &Connection,
    book: &PriceBook,
    nr: i64,
    body: &str,
) -> Result<(), StoreError> {
    let JobEstimate { estimate, .. } = Estimator::new(connection, book).estimate(body)?;
    connection.prepare_cached(SET_ESTIMATE)?.execute((nr, estimate.quota))?;
    Ok(())
}

/// What all waiting jobs will probably cost.
pub(super) fn waiting_cost_in(connection: &Connection) -> Result<Quota, StoreError> {
    Ok(connection.prepare_cached(WAITING)?.query_row([], |row| row.get(0))?)
}

impl Store {
    /// What the jobs that wait to be submitted will probably cost in all.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn waiting_cost(&self) -> Result<Quota, StoreError> {
        self.read(waiting_cost_in).await
    }

    /// Estimates the job in this row again: more is known of the price of its request. If it waits for a budget and costs
    /// less than it waits for, it is tried again: nothing else would wake it before the budget is renewed.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn estimate_again(&self, nr: i64, body: String, now: Timestamp) -> Result<(), StoreError> {
        let (policy, jitter) = (self.policy, self.rng.fraction());
        let book = self.prices.read().clone();
        self.writer
            .write(move |writing| {
                set_estimate(writing.connection, &book, nr, &body)?;
                let mut statement = writing.connection.prepare_cached(CHEAPER)?;
                let cheaper: Option<JobId> = statement.query_row([nr], |row| row.get(0)).optional()?;
                if let Some(id) = cheaper {
                    apply_in(writing, id, &Event::BudgetFreed, Moment { now, jitter, policy: &policy })?;
                }
                Ok(())
            })
            .await
    }

    /// The requests of up to `limit` jobs that are not submitted yet, after the row `after`, each with its row.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn unsubmitted_requests(
        &self,
        after: i64,
        limit: u32,
    ) -> Result<Vec<(i64, String)>, StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(&unsubmitted())?;
            let requests = statement.query_map((after, limit), |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(requests.collect::<Result<_, _>>()?)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::event::OperatorAction;
    use crate::job::next_action::NextAction;
    use crate::pricing::price_book::{OperatorPrice, Price};
    use crate::store::tests::{NOW, Rig, draft, parts};

    const PRICE: Quota = Quota::new(70_000);

    fn rig() -> Rig {
        let rig = Rig::new();
        let model = draft("a").model;
        let price = OperatorPrice { model, resolution: None, price: Price::PerJob(PRICE) };
        rig.store.set_operator_prices(vec![price]);
        rig
    }

    #[tokio::test]
    async fn cost_of_waiting_jobs_is_that_of_the_pending_ones() {
        let rig = rig();
        assert_eq!(rig.store.waiting_cost().await.unwrap(), Quota::ZERO);
        let jobs = rig.ingest(vec![draft("a"), draft("b"), draft("c")]).await;
        let times = |count: i64| Quota::new(PRICE.get() * count);
        assert_eq!(rig.store.waiting_cost().await.unwrap(), times(3));
        rig.store.start_attempt(jobs[0], parts(Box::new(|_| None)), NOW).await.unwrap();
        assert_eq!(rig.store.waiting_cost().await.unwrap(), times(2));
        for action in [OperatorAction::Cancel, OperatorAction::Retry, OperatorAction::Cancel] {
            rig.store.apply(jobs[1], Event::Operator(action), NOW).await.unwrap();
        }
        assert_eq!(rig.store.waiting_cost().await.unwrap(), times(1));
    }

    #[tokio::test]
    async fn quote_replaces_the_estimate_of_a_waiting_job() {
        let rig = Rig::new();
        rig.store.set_quoting(Some("https://qingbo.dev/v1".into()));
        let jobs = rig.ingest(vec![draft("a"), draft("b")]).await;
        let guessed = rig.store.waiting_cost().await.unwrap();
        let waiting = rig.store.unsubmitted_requests(0, 9).await.unwrap();
        rig.store.start_attempt(jobs[1], parts(Box::new(|_| None)), NOW).await.unwrap();
        for (nr, body) in waiting {
            rig.store.keep_quote(body.clone(), PRICE, NOW).await.unwrap();
            rig.store.estimate_again(nr, body, NOW).await.unwrap();
        }
        let quoted = rig.store.waiting_cost().await.unwrap();
        assert_ne!(guessed, quoted);
        assert_eq!(quoted, PRICE, "the submitted one waits no longer");
    }

    #[tokio::test]
    async fn lower_quote_wakes_a_job_that_waits_for_a_budget() {
        let rig = Rig::new();
        rig.store.set_quoting(Some("https://qingbo.dev/v1".into()));
        let job = rig.ingest(vec![draft("a")]).await[0];
        let (nr, body) = rig.store.unsubmitted_requests(0, 9).await.unwrap().remove(0);
        let until = NOW.plus(std::time::Duration::from_secs(3600));
        let over = Event::OverBudget { need: PRICE, why: "no money".into(), until };
        rig.store.apply(job, over, NOW).await.unwrap();
        let is_due = async || {
            let due = rig.store.due_jobs(NextAction::Submit, NOW, 9).await.unwrap();
            due.jobs.contains(&job)
        };
        for (price, wakes) in [(PRICE, false), (PRICE.plus(PRICE), false), (Quota::new(1), true)] {
            rig.store.keep_quote(body.clone(), price, NOW).await.unwrap();
            rig.store.estimate_again(nr, body.clone(), NOW).await.unwrap();
            assert_eq!(is_due().await, wakes, "{price}");
        }
    }
}
