//! What the next attempts of jobs will probably cost by current prices: the one price that is shown, asked and compared
//! wherever an action may submit a job.

use crate::job::Job;
use crate::job::state::StateName;
use crate::pricing::price_book::PriceBook;
use crate::store::Store;
use crate::store::db::Connection;
use crate::store::details::JobDetails;
use crate::store::error::StoreError;
use crate::store::estimates::{Estimator, JobEstimate};

const BODY: &str = "SELECT body FROM requests WHERE job = ?1";

impl Store {
    /// Reads jobs, each with what its next attempt will probably cost.
    pub(super) async fn read_priced(
        &self,
        read: impl FnOnce(&Connection) -> Result<Vec<JobDetails>, StoreError> + Send + 'static,
    ) -> Result<Vec<JobDetails>, StoreError> {
        let book = self.prices.read().clone();
        self.read(move |connection| {
            let mut jobs = read(connection)?;
            set_prices(connection, &book, &mut jobs)?;
            Ok(jobs)
        })
        .await
    }
}

/// Sets what the next attempt of each of these jobs will probably cost.
pub(super) fn set_prices<'a>(
    connection: &Connection,
    book: &PriceBook,
    jobs: impl IntoIterator<Item = &'a mut JobDetails>,
) -> Result<(), StoreError> {
    let mut estimator = Estimator::new(connection, book);
    let mut statement = connection.prepare_cached(BODY)?;
    for details in jobs.into_iter().filter(|details| may_be_submitted(&details.job)) {
        let body: String = statement.query_row([details.nr], |row| row.get(0))?;
        details.next = Some(JobEstimate { change: details.changed, ..estimator.estimate(&body)? });
    }
    Ok(())
}

/// Whether some action, or the job's turn, submits it. An adopted job has no request.
fn may_be_submitted(job: &Job) -> bool {
    let is_at_work = matches!(job.state_name(), StateName::Queued | StateName::Processing);
    !job.identity().adopted && !is_at_work && job.state_name() != StateName::Succeeded
}

#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, String)> {
    vec![("request to price", BODY.to_owned())]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::api::job::JobView;
    use crate::job::event::{Event, OperatorAction, Phase, StatusVerdict, SubmitVerdict, TaskFacts};
    use crate::job::{JobId, TaskId};
    use crate::money::Quota;
    use crate::money::estimate::{Estimate, EstimateSource};
    use crate::pricing::price_book::{OperatorPrice, Price};
    use crate::store::start_attempt::AttemptParts;
    use crate::store::tests::{NOW, Rig, draft, parts};

    fn set_price(rig: &Rig, quota: i64) {
        let price = Price::PerJob(Quota::new(quota));
        let entry = OperatorPrice { model: draft("a").model, resolution: None, price };
        rig.store.set_operator_prices(vec![entry]);
    }

    async fn view(rig: &Rig, job: JobId) -> JobView {
        rig.store.details(job).await.unwrap().view(Path::new("/v"), &[], NOW)
    }

    /// Submits the job; its task fails at this charge.
    async fn fail(rig: &Rig, job: JobId, attempt: u32, estimate: i64, charge: i64) {
        let estimate = Estimate::exactly(Quota::new(estimate), EstimateSource::Prices);
        let parts = AttemptParts { estimate, ..parts(Box::new(|_| None)) };
        rig.store.start_attempt(job, parts, NOW).await.unwrap();
        let task = TaskId::parse(&format!("task-{attempt}")).unwrap();
        let verdict = SubmitVerdict::Accepted { task: task.clone(), reserved: None };
        rig.store.apply(job, Event::SubmitAnswered { attempt, verdict }, NOW).await.unwrap();
        let facts = TaskFacts { cost: Some(Quota::new(charge)), ..TaskFacts::of(Phase::Failed) };
        let ended = Event::StatusPolled { task, sent_at: NOW, verdict: StatusVerdict::Answered(facts) };
        rig.store.apply(job, ended, NOW).await.unwrap();
    }

    fn price_of(view: &JobView, action: &str) -> Option<f64> {
        let actions = &view.needs.as_ref().expect("a need").actions;
        actions.iter().find(|one| one.action == action).expect("the action").cost_usd
    }

    #[tokio::test]
    async fn retry_price_is_that_of_one_attempt_by_current_prices() {
        let rig = Rig::new();
        set_price(&rig, 75_000);
        let job = rig.ingest(vec![draft("a")]).await[0];
        fail(&rig, job, 1, 75_000, 75_000).await;
        rig.store.apply(job, Event::Operator(OperatorAction::Retry), NOW).await.unwrap();
        fail(&rig, job, 2, 75_000, 75_000).await;
        let failed = view(&rig, job).await;
        assert_eq!((failed.cost_usd, price_of(&failed, "retry")), (Some(0.3), Some(0.15)));
        set_price(&rig, 1_500_000);
        let failed = view(&rig, job).await;
        assert_eq!((failed.estimate_usd, price_of(&failed, "retry")), (Some(0.15), Some(3.0)));
    }

    #[tokio::test]
    async fn release_price_and_estimate_of_a_held_job_follow_the_prices() {
        let rig = Rig::new();
        set_price(&rig, 75_000);
        let job = rig.ingest(vec![draft("a")]).await[0];
        let held = Event::TooExpensive { why: "it costs too much".into() };
        rig.store.apply(job, held, NOW).await.unwrap();
        set_price(&rig, 1_500_000);
        let before = view(&rig, job).await;
        assert_eq!((before.estimate_usd, price_of(&before, "release")), (Some(3.0), Some(3.0)));
        rig.store.apply(job, Event::Operator(OperatorAction::Release), NOW).await.unwrap();
        fail(&rig, job, 1, 1_500_000, 1_400_000).await;
        set_price(&rig, 5);
        assert_eq!(view(&rig, job).await.estimate_usd, Some(3.0), "of the newest attempt");
    }
}
