//! What the handlers of the admin server share.

use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;
use std::time::Duration;

use actix_web::{HttpRequest, web};
use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, watch};

use crate::api::adopt::AdoptError;
use crate::api::data_dir::DataDir;
use crate::api::job::JobView;
use crate::clock::Clock;
use crate::heartbeats::Heartbeats;
use crate::job::TaskId;
use crate::job::waiting::list_awaited;
use crate::jobfile;
use crate::library::Library;
use crate::pictures::PictureFolder;
use crate::provider::balance::SharedBalance;
use crate::provider::catalogue::SharedCatalogue;
use crate::provider::wanted_quotes::WantedQuotes;
use crate::rng::Rng;
use crate::secret::CallbackSecrets;
use crate::server::admin::auth::RequestCheck;
use crate::server::admin::problem::Problem;
use crate::server::body::{BodyLimit, parse_object, read_body};
use crate::server::connection_limits::ConnectionTimeouts;
use crate::settings::Settings;
use crate::store::Store;
use crate::store::adopt::Adoption;
use crate::store::details::JobDetails;
use crate::store::error::StoreError;
use crate::watchers::Watchers;

/// Adopts tasks, each named once; the second argument is the name of new jobs. Returns the jobs and the errors.
pub type AdoptTasks = Arc<
    dyn Fn(
            Vec<TaskId>,
            Option<String>,
        ) -> BoxFuture<'static, Result<(Vec<Adoption>, Vec<AdoptError>), StoreError>>
        + Send
        + Sync,
>;

/// What the admin server needs.
#[derive(Clone)]
pub struct AdminServer {
    /// Read for every answer; actions are applied to it.
    pub store: Store,
    /// Timestamps actions and bounds the time of a request.
    pub clock: Clock,
    /// Folders, tokens and the public address.
    pub settings: Arc<Settings>,
    /// Size limits of job files, as in the inbox.
    pub file_limits: jobfile::JobFileLimits,
    /// Draws the seeds of `repeat`.
    pub rng: Rng,
    /// Asks the provider about tasks; `None`: this daemon follows another one.
    pub adopt: Option<AdoptTasks>,
    /// The models that the provider lists.
    pub catalogue: SharedCatalogue,
    /// The balance of the account.
    pub balance: SharedBalance,
    /// Asks the provider for prices; `None`: quotes are off.
    pub wanted_quotes: Option<WantedQuotes>,
    /// Checked for its presence.
    pub library: Library,
    /// The copies of local pictures.
    pub pictures: PictureFolder,
    /// Show which stages are stalled.
    pub heartbeats: Heartbeats,
    /// Notified of pages and event streams.
    pub watchers: Watchers,
    /// Replaced by a rotation.
    pub callback_secrets: Arc<RwLock<CallbackSecrets>>,
    /// Turns true when the daemon stops; event streams end then.
    pub shutdown: watch::Receiver<bool>,
}

impl AdminServer {
    /// The library's folder, absolute: answers show files with their whole path.
    pub(super) fn library_dir(&self) -> &Path {
        &self.settings.library.dir
    }
}

/// The limits of the admin server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdminLimits {
    /// Timeouts of a connection.
    pub timeouts: ConnectionTimeouts,
    /// Most connections at a time; a further one closes the idlest.
    pub max_connections: usize,
    /// Most event streams at a time. Fewer than connections, whose rest is for everybody else.
    pub max_event_streams: usize,
    /// Most files of the library being read at a time.
    pub max_media_answers: usize,
    /// Limits of a JSON request body.
    pub request: BodyLimit,
    /// Time to receive a JSON document; its size limit is that of the inbox.
    pub document_timeout: Duration,
    /// Time to receive a line file; its size limit is that of the inbox.
    pub lines_timeout: Duration,
}

impl Default for AdminLimits {
    /// Wider than those of the public server: a large job file over a slow line is legitimate here.
    fn default() -> Self {
        Self {
            timeouts: ConnectionTimeouts {
                head: Duration::from_secs(5),
                keep_alive: Duration::from_secs(15),
                linger: Duration::from_secs(2),
                idle: Duration::from_secs(60),
                answer: None,
            },
            max_connections: 256,
            max_event_streams: 96,
            max_media_answers: 96,
            request: BodyLimit { max_bytes: 16 * 1024, timeout: Duration::from_secs(10) },
            document_timeout: Duration::from_secs(30),
            lines_timeout: Duration::from_secs(300),
        }
    }
}

/// The state of the admin server, shared by its handlers.
pub(super) struct AdminState {
    pub server: AdminServer,
    pub limits: AdminLimits,
    pub request_check: RequestCheck,
    /// A long job file is held in memory until its jobs are committed, so only one is accepted at a time.
    pub long_upload: Semaphore,
    /// Pictures are held in memory until they are kept, so only a few are received at a time.
    pub picture_uploads: Semaphore,
    /// Named in every answer, and compared with that of the request.
    pub data_dir: DataDir,
    pub event_streams: Arc<Semaphore>,
    pub media_answers: Arc<Semaphore>,
}

impl AdminState {
    /// Reads a JSON object; `example` shows one in the error message.
    pub(super) async fn read_json<T: DeserializeOwned>(
        &self,
        request: &HttpRequest,
        body: &mut web::Payload,
        example: &str,
    ) -> Result<T, Problem> {
        let bytes = read_body(request, body, self.limits.request, &self.server.clock).await?;
        parse_object(&bytes).map_err(|error| Problem::bad_request(format!("send {example}: {error}")))
    }

    /// [`Self::read_json`] of an object that may hold the text of a job file. Also returns its bytes.
    pub(super) async fn read_long_json<T: DeserializeOwned>(
        &self,
        request: &HttpRequest,
        body: &mut web::Payload,
        example: &str,
    ) -> Result<(T, Vec<u8>), Problem> {
        // As a JSON string, a character may take six bytes.
        let max_bytes = self.server.file_limits.max_bytes.saturating_mul(6);
        let limit = BodyLimit { max_bytes, timeout: self.limits.document_timeout };
        let bytes = read_body(request, body, limit, &self.server.clock).await?;
        let parsed = parse_object(&bytes);
        let parsed = parsed.map_err(|error| Problem::bad_request(format!("send {example}: {error}")))?;
        Ok((parsed, bytes))
    }

    /// The jobs as the API shows them now.
    pub(super) async fn job_views(&self, jobs: &[JobDetails]) -> Result<Vec<JobView>, StoreError> {
        let suspensions = self.server.store.suspensions().await?;
        let now = self.server.clock.now();
        let views = jobs.iter().map(|job| {
            let mut view = job.view(self.server.library_dir(), &suspensions, now);
            let awaits_list = job.job.needs_listed_model() && self.server.catalogue.is_awaited(&view.model);
            if awaits_list && view.reason.is_none() {
                view.reason = Some(list_awaited(&view.model));
            }
            view
        });
        Ok(views.collect())
    }

    /// The job as the API shows it now.
    pub(super) async fn job_view(&self, job: &JobDetails) -> Result<JobView, StoreError> {
        let mut views = self.job_views(std::slice::from_ref(job)).await?;
        views.pop().ok_or_else(|| StoreError::NoSuchJob(job.job.id()))
    }
}
