//! Adopts tasks that were made elsewhere: asks the provider for the status of each, and hands the answers to the store. The
//! admin server calls it through a function that the daemon gives it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;

use crate::api::adopt::{AdoptError, AdoptErrorCode};
use crate::job::adoption::FoundTask;
use crate::job::event::StatusVerdict;
use crate::job::{JobId, TaskId};
use crate::stages::provider_session::ProviderSession;
use crate::store::Store;
use crate::store::adopt::Adoption;
use crate::store::error::StoreError;

/// Most queries at the same time.
const CONCURRENCY: usize = 8;
/// How long all queries of a request may take; the command line waits longer.
const TIMEOUT: Duration = Duration::from_secs(120);

/// See the module.
#[derive(Clone)]
pub struct Adopter {
    store: Store,
    session: Arc<ProviderSession>,
}

impl Adopter {
    /// With the session that the stages use.
    pub fn new(store: Store, session: Arc<ProviderSession>) -> Self {
        Self { store, session }
    }

    /// Adopts each task that the provider knows, in one commit. A crash before it changes nothing: the request can be
    /// repeated. Adopted tasks and errors are in the order of `tasks`, which has no task twice.
    ///
    /// # Errors
    /// Any failure of the database; then no task is adopted.
    pub async fn adopt(
        &self,
        tasks: Vec<TaskId>,
        name: Option<String>,
    ) -> Result<(Vec<Adoption>, Vec<AdoptError>), StoreError> {
        let deadline = self.session.clock.tick().plus(TIMEOUT);
        let answers: Vec<_> = futures_util::stream::iter(tasks)
            .map(|task| async move {
                if let Some(job) = self.store.job_of_task(task.clone()).await? {
                    return Ok(Answer::Known(job));
                }
                let left = deadline.since(self.session.clock.tick());
                match self.session.clock.within(left, self.query(task.clone())).await {
                    Some(answer) => answer,
                    None => Ok(Answer::Error(no_answer(&task, "the request took too long"))),
                }
            })
            .buffered(CONCURRENCY)
            .collect()
            .await;
        let (mut found, mut places, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for answer in answers {
            match answer? {
                Answer::Known(job) => places.push(Some(Adoption::known(job))),
                Answer::Found(task) => {
                    places.push(None);
                    found.push(*task);
                }
                Answer::Error(error) => errors.push(error),
            }
        }
        let now = self.session.clock.now();
        let base_url = self.session.client.base_url().to_owned();
        let mut adopted = match found.is_empty() {
            true => Vec::new(),
            false => self.store.adopt(found, name, base_url, now).await?,
        }
        .into_iter();
        let adopted = places.into_iter().filter_map(|known| known.or_else(|| adopted.next())).collect();
        Ok((adopted, errors))
    }

    async fn query(&self, task: TaskId) -> Result<Answer, StoreError> {
        let permit = match self.session.admit_query(JobId::NONE).await? {
            Ok(permit) => permit,
            Err(closed) => {
                let cause = closed.cause.map_or("", |cause| cause.into_str());
                let message = format!(
                    "calls to the provider are suspended until {} ({cause}); `dropreel doctor` says why; adopt it again \
                     then",
                    closed.until
                );
                let code = AdoptErrorCode::Suspended;
                return Ok(Answer::Error(AdoptError { task_id: task.to_string(), code, message }));
            }
        };
        let sent_at = self.session.clock.now();
        let (call, classified, description) = self.session.client.describe(permit, &task).await;
        Ok(match self.session.record(call, classified).await? {
            StatusVerdict::Answered(facts) => {
                Answer::Found(Box::new(FoundTask { task, description, facts, sent_at }))
            }
            StatusVerdict::Missing => Answer::Error(AdoptError {
                code: AdoptErrorCode::UnknownTask,
                message: "the provider does not know this task; check the id, and that `provider.base_url` and the API \
                          key are those it was made with; some tasks are forgotten after a day"
                    .into(),
                task_id: task.to_string(),
            }),
            StatusVerdict::Unreadable { why, .. } => Answer::Error(AdoptError {
                code: AdoptErrorCode::Unreadable,
                message: format!("the provider's answer about this task cannot be read ({why}); adopt it again later"),
                task_id: task.to_string(),
            }),
            StatusVerdict::Unanswered { why, .. } => Answer::Error(no_answer(&task, &why)),
        })
    }
}

/// What is known of a task.
enum Answer {
    /// It has a job.
    Known(JobId),
    Found(Box<FoundTask>),
    Error(AdoptError),
}

fn no_answer(task: &TaskId, why: &str) -> AdoptError {
    AdoptError {
        task_id: task.to_string(),
        code: AdoptErrorCode::NoAnswer,
        message: format!("no answer of the provider about this task ({why}); adopt it again"),
    }
}
