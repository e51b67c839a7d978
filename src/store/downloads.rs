//! The queries of the download stage. Each is one read, because a read costs a switch to another thread and back, and
//! hundreds of files may be downloaded in a second.

use crate::clock::Timestamp;
use crate::job::JobId;
use crate::job::output::OutputKey;
use crate::job::suspension::Suspension;
use crate::store::Store;
use crate::store::due::{downloads_in, next_download_in, to_alert_in};
use crate::store::error::StoreError;
use crate::store::outputs::{Plan, plans_in};
use crate::store::query::{JobDetails, details_in, request_in};
use crate::store::suspensions::suspensions_in;

/// What the download stage has to do.
#[derive(Clone, Debug)]
pub struct DownloadQueue {
    /// Jobs whose links expire soon and that have not been alerted about.
    pub alerts: Vec<JobId>,
    /// The suspensions in force.
    pub suspensions: Vec<Suspension>,
    /// Jobs with outputs to download, each with the host of one of its links.
    pub due: Vec<(JobId, String)>,
    /// When the first job that is not due yet will be.
    pub next: Option<Timestamp>,
}

/// A job with outputs to download.
#[derive(Clone, Debug)]
pub struct JobToDownload {
    /// The job.
    pub details: JobDetails,
    /// Its request: the user's own text.
    pub request: String,
    /// Outputs of its task whose path was planned before a crash and that are not stored yet.
    pub plans: Vec<(OutputKey, Plan)>,
}

impl Store {
    /// At most `limit` jobs with downloads due by `now`, and at most `limit` whose links expire by `alert_until`.
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
                due: downloads_in(connection, now, limit)?,
                next: next_download_in(connection, now)?,
            })
        })
        .await
    }

    /// A job with everything that its downloads need.
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
