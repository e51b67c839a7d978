//! The client of the daemon's HTTP API.
#![expect(clippy::disallowed_methods, reason = "the only HTTP client of the command line")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use url::Url;

use crate::api::action::{ActionResult, BulkActionRequest, BulkActionResult};
use crate::api::adopt::{AdoptRequest, AdoptResult};
use crate::api::again::{AgainRequest, EditPreview, EditRequest};
use crate::api::data_dir::{DATA_DIR_HEADER, DataDir};
use crate::api::estimate::EstimateView;
use crate::api::export::{ExportPage, MoveRequest, MovedJobs, MovedPage};
use crate::api::list::{JobFilter, JobOrder};
use crate::api::models::ModelsView;
use crate::api::picture::UploadedPicture;
use crate::api::prune::{PruneRequest, PruneResult};
use crate::api::rating::RatingRequest;
use crate::api::report::ReportView;
use crate::api::status::{PauseRequest, ResumeRequest, RotationResult, StatusView};
use crate::cli::event_stream::EventStream;
use crate::cli::exit::{CliError, Exit};
use crate::cli::problem_answer::{printable_lines, problem};
use crate::cli::received::{Received, ReceivedBatches, ReceivedCreatedJobs, ReceivedJob, ReceivedPage};
use crate::job::JobId;
use crate::job::event::OperatorAction;
use crate::jobfile::Form;
use crate::money::Quota;
use crate::secret::Secret;

/// A request that takes longer will not be answered.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The daemon answers a job file of 256 MiB once it is checked and committed, and a prune once it has counted.
const LONG_TIMEOUT: Duration = Duration::from_secs(600);
/// The daemon writes to an event stream at least every 15 seconds.
const STREAM_TIMEOUT: Duration = Duration::from_secs(45);

/// A client of one daemon.
#[derive(Clone)]
pub(crate) struct ApiClient {
    base: String,
    http: Client,
    /// Limits silence, not the whole answer.
    streaming: Client,
    token: Option<Secret>,
    data_dir: DataDir,
}

/// A job file to submit.
pub(crate) struct JobFile<'a> {
    /// Its name for people, printed with its problems.
    pub title: &'a str,
    /// What its jobs are named after.
    pub name: Option<&'a str>,
    pub form: Form,
    pub bytes: &'a [u8],
    pub pictures: &'a PictureNames,
    pub defaults: Option<&'a DefaultsArg>,
}

/// What local pictures that a job file names are called by their content.
pub(crate) type PictureNames = BTreeMap<String, String>;

/// The file of `--defaults`.
pub(crate) struct DefaultsArg {
    /// How the daemon names it.
    pub name: String,
    pub bytes: Vec<u8>,
}

/// What a submit says beside the job file.
pub(crate) struct SubmitOptions {
    /// With the same key, the daemon makes its jobs once only.
    pub idempotency_key: String,
    /// Nothing is accepted if its estimate is above this.
    pub max_cost: Option<Quota>,
}

impl ApiClient {
    /// A client of the daemon of this data folder that listens at `listen`; an unspecified address is reached on loopback.
    pub fn new(listen: SocketAddr, token: Option<Secret>, data_dir: &Path) -> Result<Self, CliError> {
        Self::with_timeouts(listen, token, data_dir, TIMEOUT, STREAM_TIMEOUT)
    }

    fn with_timeouts(
        listen: SocketAddr,
        token: Option<Secret>,
        data_dir: &Path,
        timeout: Duration,
        stream_timeout: Duration,
    ) -> Result<Self, CliError> {
        let host = if listen.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { listen.ip() };
        let base = format!("http://{}", SocketAddr::new(host, listen.port()));
        let client = || {
            Client::builder()
                .no_proxy()
                .tls_certs_only([])
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(Duration::from_secs(5))
        };
        let http = client().timeout(timeout).build();
        let streaming = client().read_timeout(stream_timeout).build();
        let failed = |error: reqwest::Error| CliError::failed(error.to_string());
        Ok(Self {
            base,
            http: http.map_err(failed)?,
            streaming: streaming.map_err(failed)?,
            token,
            data_dir: DataDir::of(data_dir),
        })
    }

    /// One job in full: by id, by name, or by a part that only one id has.
    pub async fn job(&self, reference: &str) -> Result<ReceivedJob, CliError> {
        // In a URL path these are folders, not segments. A job with such a name has an id, too.
        if matches!(reference, "" | "." | "..") {
            let message = format!("`{reference}` is no job: use its id, see `dropreel list`");
            return Err(CliError::usage(message));
        }
        self.get(&["api", "v1", "jobs", reference], &[]).await
    }

    /// A page of the jobs that match `filter`, in this order.
    pub async fn jobs(
        &self,
        filter: &JobFilter,
        order: JobOrder,
        limit: u32,
        cursor: Option<String>,
    ) -> Result<ReceivedPage, CliError> {
        let mut query = filter.query_pairs();
        if order != JobOrder::default() {
            query.push(("sort", order.into_str().to_owned()));
        }
        query.push(("limit", limit.to_string()));
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        self.get(&["api", "v1", "jobs"], &query).await
    }

    /// A page of the batches, newest first.
    pub async fn batches(&self, limit: u32, cursor: Option<String>) -> Result<ReceivedBatches, CliError> {
        let mut query = vec![("limit", limit.to_string())];
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        self.get(&["api", "v1", "batches"], &query).await
    }

    /// Submits a job file. It may be repeated with the same key if the answer was lost.
    pub async fn submit(
        &self,
        file: &JobFile<'_>,
        options: &SubmitOptions,
    ) -> Result<ReceivedCreatedJobs, CliError> {
        let max_cost = options.max_cost.map(max_cost_pair);
        let request = self.post_file(&["api", "v1", "jobs"], file, max_cost.into_iter().collect())?;
        let request = request.header("idempotency-key", &options.idempotency_key).timeout(LONG_TIMEOUT);
        let response = self.send(request).await?;
        if response.status().is_success() {
            self.read(response).await
        } else {
            Err(problem(response, Some(file.title)).await)
        }
    }

    /// Makes new jobs from the request of one. It may be repeated with the same key if the answer was lost.
    pub async fn again(
        &self,
        job: JobId,
        request: &AgainRequest,
        idempotency_key: &str,
        max_cost: Option<Quota>,
    ) -> Result<ReceivedCreatedJobs, CliError> {
        let query: Vec<_> = max_cost.map(max_cost_pair).into_iter().collect();
        let url = self.url(&["api", "v1", "jobs", &job.to_string(), "again"], &query)?;
        let body = serde_json::to_vec(request).map_err(|error| CliError::failed(error.to_string()))?;
        let request = self.http.post(url).header("content-type", "application/json");
        let request = request.header("idempotency-key", idempotency_key).body(body);
        self.read(self.send(request).await?).await
    }

    /// What [`Self::again`] would make, and what that would cost.
    pub async fn estimate_again(&self, job: JobId, request: &AgainRequest) -> Result<EstimateView, CliError> {
        let request = AgainRequest { dry_run: true, ..request.clone() };
        self.post(&["api", "v1", "jobs", &job.to_string(), "again"], &request).await
    }

    /// Changes a job that has not been submitted.
    pub async fn edit(&self, job: JobId, request: &EditRequest) -> Result<Received<ActionResult>, CliError> {
        self.post(&["api", "v1", "jobs", &job.to_string(), "edit"], request).await
    }

    /// The text that [`Self::edit`] would make of its job file, and what it would cost.
    pub async fn preview_edit(&self, job: JobId, request: &EditRequest) -> Result<EditPreview, CliError> {
        let request = EditRequest { dry_run: true, ..request.clone() };
        self.post(&["api", "v1", "jobs", &job.to_string(), "edit"], &request).await
    }

    /// Rates the outputs of a job.
    pub async fn rate(
        &self,
        job: JobId,
        request: &RatingRequest,
    ) -> Result<Received<ActionResult>, CliError> {
        self.post(&["api", "v1", "jobs", &job.to_string(), "rate"], request).await
    }

    /// A page of the jobs that match `filter` as job files, oldest first.
    pub async fn export(
        &self,
        filter: &JobFilter,
        pictures: bool,
        cursor: Option<String>,
    ) -> Result<ExportPage, CliError> {
        let mut query = filter.query_pairs();
        query.push(("pictures", pictures.to_string()));
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        self.get(&["api", "v1", "export"], &query).await
    }

    /// A picture that jobs name.
    pub async fn picture(&self, name: &str) -> Result<Vec<u8>, CliError> {
        let request = self.http.get(self.url(&["api", "v1", "pictures", name], &[])?).timeout(LONG_TIMEOUT);
        let response = self.send(request).await?;
        if !response.status().is_success() {
            return Err(problem(response, None).await);
        }
        let bytes = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        Ok(bytes.to_vec())
    }

    /// Some jobs for another machine, cancelled here; none: there are no more.
    pub async fn move_jobs(&self, request: &MoveRequest) -> Result<MovedPage, CliError> {
        self.post(&["api", "v1", "export", "move"], request).await
    }

    /// Confirms that the lines of moved jobs are where they were to go.
    pub async fn acknowledge_moved(&self, moved: &MovedJobs) -> Result<MovedJobs, CliError> {
        self.post(&["api", "v1", "export", "acknowledge"], moved).await
    }

    /// What the jobs of a file would cost.
    pub async fn estimate(&self, file: &JobFile<'_>) -> Result<EstimateView, CliError> {
        let request = self.post_file(&["api", "v1", "estimate"], file, Vec::new())?;
        self.read(self.send(request).await?).await
    }

    /// Hands over a picture for a job to come.
    pub async fn upload_picture(&self, picture: Vec<u8>) -> Result<UploadedPicture, CliError> {
        let request = self.http.post(self.url(&["api", "v1", "pictures"], &[])?).timeout(LONG_TIMEOUT);
        let request = request.header("content-type", "application/octet-stream").body(picture);
        self.read(self.send(request).await?).await
    }

    /// A request with a job file as its body, behind the names of its pictures and the defaults.
    fn post_file(
        &self,
        path: &[&str],
        file: &JobFile<'_>,
        mut query: Vec<(&'static str, String)>,
    ) -> Result<RequestBuilder, CliError> {
        query.extend(file.name.map(|name| ("name", name.to_owned())));
        let mut body = Vec::new();
        if !file.pictures.is_empty() {
            body = serde_json::to_vec(file.pictures).map_err(|error| CliError::failed(error.to_string()))?;
            query.push(("pictures_bytes", body.len().to_string()));
        }
        if let Some(defaults) = file.defaults {
            query.push(("defaults_bytes", defaults.bytes.len().to_string()));
            query.push(("defaults_name", defaults.name.clone()));
            body.extend_from_slice(&defaults.bytes);
        }
        body.extend_from_slice(file.bytes);
        let request = self.http.post(self.url(path, &query)?);
        Ok(request.header("content-type", file.form.media_type()).body(body))
    }

    /// Cancels, retries or releases a job.
    pub async fn act(&self, job: JobId, action: OperatorAction) -> Result<Received<ActionResult>, CliError> {
        let id = job.to_string();
        self.post(&["api", "v1", "jobs", &id, action.into_str()], &serde_json::json!({})).await
    }

    /// Applies an action to many jobs, or counts them, or changes their labels.
    pub async fn act_on_many(&self, request: &BulkActionRequest) -> Result<BulkActionResult, CliError> {
        let request = self.post_request(&["api", "v1", "jobs", "bulk"], request)?.timeout(LONG_TIMEOUT);
        self.read(self.send(request).await?).await
    }

    /// Tracks tasks that were made elsewhere.
    pub async fn adopt(&self, request: &AdoptRequest) -> Result<Received<AdoptResult>, CliError> {
        let request = self.post_request(&["api", "v1", "adopt"], request)?.timeout(LONG_TIMEOUT);
        self.read(self.send(request).await?).await
    }

    /// Jobs by state, and what is paused or suspended.
    pub async fn status(&self) -> Result<StatusView, CliError> {
        self.get(&["api", "v1", "status"], &[]).await
    }

    /// Fails if the daemon is not ready.
    pub async fn check_ready(&self) -> Result<(), CliError> {
        self.get::<IgnoredAny>(&["readyz"], &[]).await.map(drop)
    }

    pub async fn pause(&self, request: PauseRequest) -> Result<Received<StatusView>, CliError> {
        self.post(&["api", "v1", "pause"], &request).await
    }

    pub async fn resume(&self, request: ResumeRequest) -> Result<Received<StatusView>, CliError> {
        self.post(&["api", "v1", "resume"], &request).await
    }

    pub async fn rotate_callback_secret(&self) -> Result<Received<RotationResult>, CliError> {
        self.post(&["api", "v1", "callback-secret", "rotate"], &serde_json::json!({})).await
    }

    /// The models with prices, and what own jobs of each took and cost.
    pub async fn models(&self) -> Result<Received<ModelsView>, CliError> {
        self.get(&["api", "v1", "models"], &[]).await
    }

    /// The report of what finished at `since` (RFC 3339) or later, or since the beginning of that day.
    pub async fn report(
        &self,
        since: Option<String>,
        disputes: bool,
    ) -> Result<Received<ReportView>, CliError> {
        let mut query: Vec<_> = since.map(|since| ("since", since)).into_iter().collect();
        query.extend(disputes.then(|| ("disputes", "true".to_owned())));
        self.get(&["api", "v1", "report"], &query).await
    }

    /// Removes some of what is old, or counts all of it.
    pub async fn prune(&self, request: &PruneRequest) -> Result<PruneResult, CliError> {
        let request = self.post_request(&["api", "v1", "prune"], request)?.timeout(LONG_TIMEOUT);
        self.read(self.send(request).await?).await
    }

    /// Changes as they happen: those after the change numbered `after`, or from now on.
    pub async fn events(&self, after: Option<i64>) -> Result<EventStream, CliError> {
        let query: Vec<_> = after.map(|after| ("after", after.to_string())).into_iter().collect();
        let request = self.streaming.get(self.url(&["api", "v1", "events"], &query)?);
        let response = self.send(request).await?;
        if response.status().is_success() {
            Ok(EventStream::new(response))
        } else {
            Err(problem(response, None).await)
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, String)]) -> Result<T, CliError> {
        let request = self.http.get(self.url(path, query)?);
        self.read(self.send(request).await?).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> Result<T, CliError> {
        self.read(self.send(self.post_request(path, body)?).await?).await
    }

    fn post_request(&self, path: &[&str], body: &impl Serialize) -> Result<RequestBuilder, CliError> {
        let body = serde_json::to_vec(body).map_err(|error| CliError::failed(error.to_string()))?;
        let request = self.http.post(self.url(path, &[])?);
        Ok(request.header("content-type", "application/json").body(body))
    }

    fn url(&self, path: &[&str], query: &[(&str, String)]) -> Result<Url, CliError> {
        let invalid = || CliError::usage(format!("{} is not the address of a daemon", self.base));
        let mut url = Url::parse(&self.base).map_err(|_| invalid())?;
        url.path_segments_mut().map_err(|()| invalid())?.extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, CliError> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        };
        let request = request.header(DATA_DIR_HEADER, self.data_dir.to_header());
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let theirs =
            response.headers().get(DATA_DIR_HEADER).and_then(|value| DataDir::from_header(value.as_bytes()));
        match theirs {
            Some(theirs) if !theirs.is_same(&self.data_dir) => Err(self.other_daemon(&theirs)),
            _ => Ok(response),
        }
    }

    fn other_daemon(&self, theirs: &DataDir) -> CliError {
        let (base, theirs, own) = (&self.base, theirs.path.display(), self.data_dir.path.display());
        let message = format!(
            "the daemon at {base} is that of another data folder, {theirs}; the configuration of this command names {own}; \
             nothing was done\nset `data_dir` to the daemon's folder, or `admin.listen` to the address of the daemon of {own}"
        );
        CliError::new(Exit::OtherDaemon, printable_lines(&message))
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T, CliError> {
        if !response.status().is_success() {
            return Err(problem(response, None).await);
        }
        let text = response.text().await.map_err(|error| self.unreachable(&error))?;
        let unreadable = |_| CliError::failed("the daemon's answer is unreadable: is it another version?");
        serde_json::from_str(&text).map_err(unreadable)
    }

    fn unreachable(&self, error: &reqwest::Error) -> CliError {
        let base = &self.base;
        let message = if error.is_connect() {
            format!(
                "cannot reach the daemon at {base}: it is not running, or listens elsewhere\n\
                 start it with `dropreel serve` or `systemctl start dropreel`; `admin.listen` is its address"
            )
        } else {
            format!(
                "the daemon at {base} does not answer; the request may have been carried out\n\
                 check that dropreel listens there (`systemctl status dropreel`, its log), then see `dropreel list`"
            )
        };
        CliError { answer_lost: !error.is_connect(), ..CliError::new(Exit::Unreachable, message) }
    }
}

/// Six decimal places hold every amount of quota.
fn max_cost_pair(quota: Quota) -> (&'static str, String) {
    ("max_cost_usd", format!("{:.6}", quota.usd()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install_crypto() {
        // An error means that another test has installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }

    #[tokio::test]
    async fn silent_daemon_is_not_waited_for() {
        install_crypto();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let short = Duration::from_millis(50);
        let client =
            ApiClient::with_timeouts(listener.local_addr().unwrap(), None, Path::new("/"), short, short)
                .unwrap();
        let clock = crate::clock::Clock::machine();
        let answer = clock.within(Duration::from_secs(5), client.status()).await;
        assert_eq!(answer.unwrap().unwrap_err().exit, Exit::Unreachable);
        let stream = clock.within(Duration::from_secs(5), client.events(None)).await;
        assert_eq!(stream.unwrap().err().unwrap().exit, Exit::Unreachable);
    }

    #[tokio::test]
    async fn path_dots_are_rejected_as_job_references() {
        install_crypto();
        let client = ApiClient::new("127.0.0.1:9".parse().unwrap(), None, Path::new("/")).unwrap();
        for reference in ["", ".", ".."] {
            assert_eq!(client.job(reference).await.unwrap_err().exit, Exit::Usage, "{reference}");
        }
    }
}
