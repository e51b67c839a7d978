//! The client: one method call is one HTTP request. It never repeats, follows or decompresses anything.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use reqwest::header::HeaderValue;
use reqwest::{Client, ClientBuilder, NoProxy, Proxy, Request, Response};
use thiserror::Error;
use tracing::{debug, warn};

use crate::clock::Clock;
use crate::failpoints::{self, FailPoint};
use crate::job::TaskId;
use crate::job::adoption::TaskDescription;
use crate::job::event::{CancelVerdict, Phase, StatusVerdict, SubmitVerdict};
use crate::provider::answer::{Classified, ReplyContext};
use crate::provider::catalogue::Catalogue;
use crate::provider::classify::{classify_cancel, classify_status, classify_submit};
use crate::provider::gate::{NeutralPermit, QueryPermit, SentCall, SubmitPermit};
use crate::provider::neutral::classify_neutral;
use crate::provider::reply::{ApiReply, CallOutcome};
use crate::provider::request::{self, BadBaseUrl, BaseUrl, USER_AGENT};
use crate::provider::wire::compression::{BODY_LIMIT, decompressed};
use crate::provider::wire::read_description;
use crate::secret::Secret;
use crate::store::attempt::Attempt;

/// How long an idle connection is kept. Shorter than common servers do: a submit on a connection that the server has
/// just closed would have an unknown outcome.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// How long a connection may take. When it takes longer, the request was certainly not sent.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How many unknown status words are logged, each once.
const MAX_LOGGED_WORDS: usize = 64;

/// Why a client cannot be made, or its key not be replaced.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The address of the API cannot be used.
    #[error(transparent)]
    BaseUrl(#[from] BadBaseUrl),
    /// The key cannot be sent in a header.
    #[error(
        "the API key is empty or contains characters that cannot be sent; check DROPREEL_PROVIDER__API_KEY or `provider.api_key_file`"
    )]
    Key,
    /// The proxy's address cannot be used. It is not shown because it may contain a password.
    #[error("`provider.proxy` is not the http(s) or socks5(h) address of a proxy")]
    Proxy,
    /// Certificates or TLS could not be set up.
    #[error("cannot set up HTTPS: {0}; are the system's CA certificates installed?")]
    Tls(String),
}

/// Sends requests to the provider: over HTTP, or in a simulation. A request is sent once, and no redirect is followed.
pub trait ApiTransport: Send + Sync {
    /// Sends a request and waits for status and headers of the response.
    ///
    /// # Errors
    /// With the outcome when there is no response.
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, CallOutcome>>;
}

impl ApiTransport for Client {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, CallOutcome>> {
        let sent = self.execute(request);
        Box::pin(async move {
            sent.await.map_err(|error| match error {
                error if error.is_connect() || error.is_builder() => CallOutcome::NotSent(describe(error)),
                error => CallOutcome::Lost(describe(error)),
            })
        })
    }
}

/// The provider's API. One for the whole daemon: its connections are shared.
pub struct ProviderClient {
    transport: Arc<dyn ApiTransport>,
    base: BaseUrl,
    key: Mutex<Secret>,
    timeout: Duration,
    clock: Clock,
    unknown_words: Mutex<BTreeSet<String>>,
}

impl ProviderClient {
    /// A client for the API at `base_url`; a call takes at most `timeout`. `proxy` is the address of a proxy; empty,
    /// the usual proxy variables decide, except for an API on this machine.
    ///
    /// # Errors
    /// When one of the settings cannot be used, or the system has no certificates to trust.
    pub fn new(
        base_url: &str,
        key: Secret,
        timeout: Duration,
        proxy: &str,
        clock: Clock,
    ) -> Result<Self, ClientError> {
        let base = BaseUrl::parse(base_url)?;
        check_key(&key)?;
        // Set once per process; an error means that another client has already set it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = plain_builder(&base, timeout);
        if !proxy.is_empty() {
            builder = builder
                .proxy(Proxy::all(proxy).map_err(|_| ClientError::Proxy)?.no_proxy(NoProxy::from_env()));
        } else if base.is_loopback() {
            builder = builder.no_proxy();
        }
        // Without TLS the system's certificates are not needed, and a bare container has none.
        if !base.is_https() && proxy.is_empty() {
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(|error| ClientError::Tls(describe(error)))?;
        Self::with_transport(Arc::new(http), base_url, key, timeout, clock)
    }

    /// A client over another transport than HTTP.
    ///
    /// # Errors
    /// When address or key cannot be used.
    pub fn with_transport(
        transport: Arc<dyn ApiTransport>,
        base_url: &str,
        key: Secret,
        timeout: Duration,
        clock: Clock,
    ) -> Result<Self, ClientError> {
        let base = BaseUrl::parse(base_url)?;
        check_key(&key)?;
        let unknown_words = Mutex::default();
        Ok(Self { transport, base, key: Mutex::new(key), timeout, clock, unknown_words })
    }

    /// The address of the API.
    pub fn base_url(&self) -> &str {
        self.base.as_str()
    }

    /// Replaces the key for all later calls. The gate must know too: [`crate::provider::gate::Gate::key_replaced`].
    ///
    /// # Errors
    /// When the key cannot be sent; the old one stays.
    pub fn set_key(&self, key: Secret) -> Result<(), ClientError> {
        check_key(&key)?;
        *self.key.lock() = key;
        Ok(())
    }

    /// The host of the API, for people.
    pub fn host(&self) -> &str {
        self.base.host()
    }

    /// Submits an attempt, once.
    pub async fn submit(
        &self,
        permit: SubmitPermit,
        attempt: &Attempt,
    ) -> (SentCall, Classified<SubmitVerdict>) {
        let call = permit.consume();
        let outcome = match self
            .authorization()
            .and_then(|key| request::submit(&self.base, key, attempt).map_err(|_| ClientError::Key))
        {
            Ok(request) => {
                failpoints::hit(FailPoint::SubmitSending);
                self.call(request).await
            }
            Err(error) => CallOutcome::NotSent(error.to_string()),
        };
        failpoints::hit(FailPoint::SubmitReceived);
        let classified = classify_submit(&outcome, self.context());
        debug!(host = self.host(), attempt = attempt.key(), verdict = ?classified.verdict, "submit");
        (call, classified)
    }

    /// Polls the status of a task, once.
    pub async fn poll(&self, permit: QueryPermit, task: &TaskId) -> (SentCall, Classified<StatusVerdict>) {
        let (call, classified, _) = self.query(permit, task).await;
        (call, classified)
    }

    /// [`ProviderClient::poll`] of a task that was not submitted here; with what the answer says about its request.
    pub async fn describe(
        &self,
        permit: QueryPermit,
        task: &TaskId,
    ) -> (SentCall, Classified<StatusVerdict>, TaskDescription) {
        let (call, classified, outcome) = self.query(permit, task).await;
        let description = match &outcome {
            CallOutcome::Reply(reply) => read_description(reply.bytes(), task, self.clock.now()),
            CallOutcome::NotSent(_) | CallOutcome::Lost(_) => TaskDescription::default(),
        };
        (call, classified, description)
    }

    async fn query(
        &self,
        permit: QueryPermit,
        task: &TaskId,
    ) -> (SentCall, Classified<StatusVerdict>, CallOutcome) {
        let call = permit.consume();
        failpoints::hit(FailPoint::PollSending);
        let outcome = match self.authorization() {
            Ok(key) => self.call(request::status(&self.base, key, task)).await,
            Err(error) => CallOutcome::NotSent(error.to_string()),
        };
        failpoints::hit(FailPoint::PollReceived);
        let classified = classify_status(&outcome, task, self.context());
        if let StatusVerdict::Answered(facts) = &classified.verdict
            && let Phase::Unclear(word) = &facts.phase
        {
            self.log_once(word, task);
        }
        debug!(host = self.host(), %task, verdict = ?classified.verdict, "status");
        (call, classified, outcome)
    }

    /// Requests that a task be cancelled, once.
    pub async fn cancel(&self, permit: QueryPermit, task: &TaskId) -> (SentCall, Classified<CancelVerdict>) {
        let call = permit.consume();
        failpoints::hit(FailPoint::CancelSending);
        let outcome = match self.authorization() {
            Ok(key) => self.call(request::cancel(&self.base, key, task)).await,
            Err(error) => CallOutcome::NotSent(error.to_string()),
        };
        failpoints::hit(FailPoint::CancelReceived);
        let classified = classify_cancel(&outcome, self.context());
        debug!(host = self.host(), %task, verdict = ?classified.verdict, "cancel");
        (call, classified)
    }

    /// Makes a neutral call, once; the list of models is its verdict.
    pub async fn neutral(&self, permit: NeutralPermit) -> (SentCall, Classified<Option<Catalogue>>) {
        let neutral = permit.call();
        let call = permit.consume();
        let outcome = match self.authorization() {
            Ok(key) => self.call(request::neutral(&self.base, key, neutral)).await,
            Err(error) => CallOutcome::NotSent(error.to_string()),
        };
        let classified = classify_neutral(neutral, &outcome, self.context());
        debug!(host = self.host(), ?neutral, evidence = ?classified.evidence, "neutral call");
        (call, classified)
    }

    fn context(&self) -> ReplyContext<'_> {
        ReplyContext { now: self.clock.now(), base_url: self.base.as_str() }
    }

    fn authorization(&self) -> Result<HeaderValue, ClientError> {
        request::authorization(&self.key.lock()).map_err(|_| ClientError::Key)
    }

    async fn call(&self, request: Request) -> CallOutcome {
        let answer = async {
            match self.transport.send(request).await {
                Ok(response) => CallOutcome::Reply(self.read(response).await),
                Err(outcome) => outcome,
            }
        };
        // A second more than the HTTP library's own timeout, whose error says more.
        let limit = self.timeout + Duration::from_secs(1);
        let lost = || CallOutcome::Lost(format!("no answer from {} within {:?}", self.host(), self.timeout));
        self.clock.within(limit, answer).await.unwrap_or_else(lost)
    }

    async fn read(&self, mut response: Response) -> ApiReply {
        let (status, headers) = (response.status().as_u16(), std::mem::take(response.headers_mut()));
        let mut body = Vec::new();
        let body = loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > BODY_LIMIT => {
                    break Err(format!("the answer is longer than {BODY_LIMIT} bytes"));
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break Ok(self.without_key(decompressed(&body, BODY_LIMIT).into_owned())),
                Err(error) => break Err(format!("the answer was cut off: {}", describe(error))),
            }
        };
        ApiReply { status, headers, body }
    }

    /// The body without the API key, in case the provider quotes it.
    fn without_key(&self, body: Vec<u8>) -> Vec<u8> {
        let key = self.key.lock();
        let text = String::from_utf8_lossy(&body);
        if !text.contains(key.expose()) {
            return body;
        }
        text.replace(key.expose(), "[key]").into_bytes()
    }

    fn log_once(&self, word: &str, task: &TaskId) {
        let mut known = self.unknown_words.lock();
        if known.len() < MAX_LOGGED_WORDS && known.insert(word.to_owned()) {
            warn!(%task, word, "unknown status {word:?} of task {task}; it counts as still running");
        }
    }
}

impl fmt::Debug for ProviderClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderClient").field("host", &self.host()).finish_non_exhaustive()
    }
}

/// A builder of clients that send each request exactly once.
#[expect(clippy::disallowed_methods, reason = "the one client for the provider")]
fn plain_builder(base: &BaseUrl, timeout: Duration) -> ClientBuilder {
    Client::builder()
        .user_agent(USER_AGENT)
        .https_only(base.is_https())
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .timeout(timeout)
        .connect_timeout(CONNECT_TIMEOUT.min(timeout.mul_f64(0.8)))
        .pool_idle_timeout(IDLE_TIMEOUT)
}

fn check_key(key: &Secret) -> Result<(), ClientError> {
    let sendable = !key.expose().trim().is_empty() && request::authorization(key).is_ok();
    if sendable { Ok(()) } else { Err(ClientError::Key) }
}

/// An error with its causes in one line, without the address, which may be secret.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests;
