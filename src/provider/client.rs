//! The client: one call is one attempt. It never repeats, follows or unpacks anything.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::header::HeaderValue;
use reqwest::{Client, ClientBuilder, NoProxy, Proxy, Request, Response};
use thiserror::Error;
use tracing::{debug, warn};

use crate::clock::Clock;
use crate::failpoints::{self, FailPoint};
use crate::job::TaskId;
use crate::job::attempt::Attempt;
use crate::job::event::{CancelVerdict, Phase, StatusVerdict, SubmitVerdict};
use crate::provider::gate::Pass;
use crate::provider::reply::{CallOutcome, Reply};
use crate::provider::request::{self, BadBaseUrl, BaseUrl, USER_AGENT};
use crate::provider::verdict::{self, Answered, ReplyContext};
use crate::secret::Secret;

/// The longest answer that is read.
pub const ANSWER_CAP: usize = 1024 * 1024;
/// Shorter than any common server keeps an idle connection, so that a call seldom meets one that just closed: that
/// would be one more submit with an unknown outcome.
const IDLE: Duration = Duration::from_secs(4);
/// A connection takes no longer than this; after it, the request certainly was not sent.
const CONNECT: Duration = Duration::from_secs(10);
/// How many unknown status words are remembered as already logged.
const WORDS_LOGGED: usize = 64;

/// Why there is no client.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The address of the API cannot be used.
    #[error(transparent)]
    BaseUrl(#[from] BadBaseUrl),
    /// The key cannot be put in a header.
    #[error(
        "the API key is empty or contains characters that cannot be sent; check DROPREEL_PROVIDER__API_KEY or `provider.api_key_file`"
    )]
    Key,
    /// The proxy's address cannot be used; it is not shown, for it may carry a password.
    #[error("`provider.proxy` is not the http(s) address of a proxy")]
    Proxy,
    /// Certificates or TLS could not be set up.
    #[error("cannot set up HTTPS: {0}; are the system's CA certificates installed?")]
    Tls(String),
}

/// What takes a request to the provider and brings the head of the answer back: HTTP, or a simulation of it. Once, and
/// without following anything.
pub trait ApiTransport: Send + Sync {
    /// Carries a request.
    ///
    /// # Errors
    /// With what was heard instead of an answer.
    fn carry(&self, request: Request) -> BoxFuture<'_, Result<Response, CallOutcome>>;
}

impl ApiTransport for Client {
    fn carry(&self, request: Request) -> BoxFuture<'_, Result<Response, CallOutcome>> {
        let sent = self.execute(request);
        Box::pin(async move {
            sent.await.map_err(|error| match error {
                error if error.is_connect() || error.is_builder() => CallOutcome::NotSent(sentence(error)),
                error => CallOutcome::Lost(sentence(error)),
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
        // Set once for the process. That it already is, by the media client or another of this, is all right.
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
        let http = builder.build().map_err(|error| ClientError::Tls(sentence(error)))?;
        Self::over(Arc::new(http), base_url, key, timeout, clock)
    }

    /// A client whose requests somebody else carries.
    ///
    /// # Errors
    /// When address or key cannot be used.
    pub fn over(
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

    /// Replaces the key for all calls from now on. Tell the gate too: [`crate::provider::gate::Gate::key_replaced`].
    ///
    /// # Errors
    /// When the key cannot be sent; the old one stays.
    pub fn set_key(&self, key: Secret) -> Result<(), ClientError> {
        check_key(&key)?;
        *held(&self.key) = key;
        Ok(())
    }

    /// The host of the API, for people.
    pub fn host(&self) -> &str {
        self.base.host()
    }

    /// Sends an attempt, once.
    pub async fn submit(&self, _pass: &Pass, attempt: &Attempt) -> Answered<SubmitVerdict> {
        let heard = match self
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
        let answered = verdict::submitted(&heard, self.scene());
        debug!(host = self.host(), attempt = attempt.key(), verdict = ?answered.verdict, "submitted");
        answered
    }

    /// Asks how a task stands, once.
    pub async fn ask(&self, _pass: &Pass, task: &TaskId) -> Answered<StatusVerdict> {
        failpoints::hit(FailPoint::AskSending);
        let heard = match self.authorization() {
            Ok(key) => self.call(request::ask(&self.base, key, task)).await,
            Err(error) => CallOutcome::NotSent(error.to_string()),
        };
        failpoints::hit(FailPoint::AskReceived);
        let answered = verdict::asked(&heard, task, self.scene());
        if let StatusVerdict::Seen(facts) = &answered.verdict
            && let Phase::Unclear(word) = &facts.phase
        {
            self.log_once(word, task);
        }
        debug!(host = self.host(), %task, verdict = ?answered.verdict, "asked");
        answered
    }

    /// Asks the provider to cancel a task, once.
    pub async fn call_off(&self, _pass: &Pass, task: &TaskId) -> Answered<CancelVerdict> {
        failpoints::hit(FailPoint::CallOffSending);
        let heard = match self.authorization() {
            Ok(key) => self.call(request::call_off(&self.base, key, task)).await,
            Err(error) => CallOutcome::NotSent(error.to_string()),
        };
        failpoints::hit(FailPoint::CallOffReceived);
        let answered = verdict::called_off(&heard, self.scene());
        debug!(host = self.host(), %task, verdict = ?answered.verdict, "called off");
        answered
    }

    fn scene(&self) -> ReplyContext<'_> {
        ReplyContext { now: self.clock.now(), base_url: self.base.as_str() }
    }

    fn authorization(&self) -> Result<HeaderValue, ClientError> {
        request::authorization(&held(&self.key)).map_err(|_| ClientError::Key)
    }

    async fn call(&self, request: Request) -> CallOutcome {
        let answer = async {
            match self.transport.carry(request).await {
                Ok(response) => CallOutcome::Reply(self.read(response).await),
                Err(heard) => heard,
            }
        };
        // The HTTP library keeps the same limit and says more about it, so ours comes a little later.
        let limit = self.timeout + Duration::from_secs(1);
        let lost = || CallOutcome::Lost(format!("no answer from {} within {:?}", self.host(), self.timeout));
        self.clock.within(limit, answer).await.unwrap_or_else(lost)
    }

    async fn read(&self, mut response: Response) -> Reply {
        let (status, headers) = (response.status().as_u16(), std::mem::take(response.headers_mut()));
        let mut body = Vec::new();
        let body = loop {
            match response.chunk().await {
                Ok(Some(piece)) if body.len() + piece.len() > ANSWER_CAP => {
                    break Err(format!("the answer is longer than {ANSWER_CAP} bytes"));
                }
                Ok(Some(piece)) => body.extend_from_slice(&piece),
                Ok(None) => break Ok(self.without_key(body)),
                Err(error) => break Err(format!("the answer broke off: {}", sentence(error))),
            }
        };
        Reply { status, headers, body }
    }

    /// The body without our key, should the provider quote it.
    fn without_key(&self, body: Vec<u8>) -> Vec<u8> {
        let key = held(&self.key);
        let text = String::from_utf8_lossy(&body);
        if !text.contains(key.expose()) {
            return body;
        }
        text.replace(key.expose(), "[key]").into_bytes()
    }

    fn log_once(&self, word: &str, task: &TaskId) {
        let mut known = held(&self.unknown_words);
        if known.len() < WORDS_LOGGED && known.insert(word.to_owned()) {
            warn!(%task, word, "task {task} has a status nobody has met: {word:?}; it counts as still running");
        }
    }
}

impl fmt::Debug for ProviderClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderClient").field("host", &self.host()).finish_non_exhaustive()
    }
}

/// A builder of clients that do no more than they are told.
#[expect(clippy::disallowed_methods, reason = "the one client for the provider")]
fn plain_builder(base: &BaseUrl, timeout: Duration) -> ClientBuilder {
    Client::builder()
        .user_agent(USER_AGENT)
        .https_only(base.is_https())
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .timeout(timeout)
        .connect_timeout(CONNECT.min(timeout.mul_f64(0.8)))
        .pool_idle_timeout(IDLE)
}

fn check_key(key: &Secret) -> Result<(), ClientError> {
    let sendable = !key.expose().trim().is_empty() && request::authorization(key).is_ok();
    if sendable { Ok(()) } else { Err(ClientError::Key) }
}

/// An error with its causes in one line, and without the address, which may be secret.
fn sentence(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// No code that holds these locks can panic, so a poisoned one is still whole.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
