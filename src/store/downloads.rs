//! What the download stage looks at, in one look each: every look is a way to another thread and back, and files may come
//! by the hundred in a second.

use crate::clock::Timestamp;
use crate::job::JobId;
use crate::job::next_action::NextAction;
use crate::job::output::OutputKey;
use crate::job::suspension::Suspension;
use crate::store::Store;
use crate::store::due::{Due, due_in, to_alert_in};
use crate::store::error::StoreError;
use crate::store::outputs::{Plan, plans_in};
use crate::store::query::{JobDetails, details_in, request_in};
use crate::store::suspensions::suspensions_in;

/// What there is to fetch.
#[derive(Clone, Debug)]
pub struct DownloadQueue {
    /// Jobs whose links expire soon and that have not been alerted about.
    pub alerts: Vec<JobId>,
    /// The suspensions in force.
    pub suspensions: Vec<Suspension>,
    /// Jobs with outputs to fetch.
    pub due: Due,
}

/// A job whose outputs are to be fetched.
#[derive(Clone, Debug)]
pub struct JobToDownload {
    /// The job.
    pub details: JobDetails,
    /// Its request, the user's own text.
    pub request: String,
    /// Its task's outputs that were planned before a crash and are not stored yet.
    pub plans: Vec<(OutputKey, Plan)>,
}

impl Store {
    /// What there is to fetch by `now`, at most `limit` jobs, and at most `limit` of those whose links die by
    /// `alert_until`.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn download_queue(
        &self,
        now: Timestamp,
        alert_until: Timestamp,
        limit: u32,
    ) -> Result<DownloadQueue, StoreError> {
        self.read(move |connection| {
            Ok(DownloadQueue {
                alerts: to_alert_in(connection, alert_until, limit)?,
                suspensions: suspensions_in(connection)?,
                due: due_in(connection, NextAction::Download, now, limit)?,
            })
        })
        .await
    }

    /// A job with all that its fetching needs to know.
    ///
    /// # Errors
    /// [`StoreError::NoSuchJob`], or any failure of the database.
    pub async fn job_to_download(&self, id: JobId) -> Result<JobToDownload, StoreError> {
        self.read(move |connection| {
            let details = details_in(connection, id)?;
            let plans = match details.job.task() {
                Some(task) => plans_in(connection, id, task)?,
                None => Vec::new(),
            };
            Ok(JobToDownload { request: request_in(connection, id)?, details, plans })
        })
        .await
    }
}
