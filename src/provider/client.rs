//! The client: one method call is one HTTP request. It never repeats, follows or decompresses anything.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::header::HeaderValue;
use reqwest::{Request, Response};
use serde_json::Value;
use tracing::{debug, warn};

use crate::clock::Clock;
use crate::failpoints::{self, FailPoint};
use crate::job::TaskId;
use crate::job::adoption::TaskDescription;
use crate::job::event::{CancelVerdict, Phase, StatusVerdict, SubmitVerdict};
use crate::money::Quota;
use crate::provider::answer::{Classified, ReplyContext};
use crate::provider::catalogue::Catalogue;
use crate::provider::classify::{classify_cancel, classify_status, classify_submit};
use crate::provider::gate::{BalancePermit, NeutralPermit, QueryPermit, QuotePermit, SentCall, SubmitPermit};
use crate::provider::neutral::{NeutralCall, classify_neutral};
use crate::provider::quote::{QuoteAnswer, read_quote};
use crate::provider::reply::{ApiReply, CallOutcome};
use crate::provider::request::{self, BaseUrl};
use crate::provider::transport::{ApiTransport, ClientError, HttpTransport, describe};
use crate::provider::wire::compression::{BODY_LIMIT, decompressed};
use crate::provider::wire::{read_balance, read_description, read_json};
use crate::secret::Secret;
use crate::store::attempt::Attempt;

/// How long a quote may take: it is not worth a longer wait.
const QUOTE_TIMEOUT: Duration = Duration::from_secs(5);
/// How many unknown status words are logged, each once.
const MAX_LOGGED_WORDS: usize = 64;

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
        let http = HttpTransport::new(&base, timeout, proxy)?;
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

    /// Where the task of an attempt lives: at the address that the attempt was sent to, whatever the settings say now.
    fn address_of(&self, base_url: Option<&str>) -> BaseUrl {
        base_url.and_then(|stored| BaseUrl::parse(stored).ok()).unwrap_or_else(|| self.base.clone())
    }

    /// Submits an attempt, once.
    pub async fn submit(
        &self,
        permit: SubmitPermit,
        attempt: &Attempt,
    ) -> (SentCall, Classified<SubmitVerdict>) {
        let call = permit.consume();
        let base = self.address_of(attempt.base_url());
        let outcome = match self
            .authorization()
            .and_then(|key| request::submit(&base, key, attempt).map_err(|_| ClientError::Key))
        {
            Ok(request) => {
                failpoints::hit(FailPoint::SubmitSending);
                self.call(request).await
            }
            Err(error) => CallOutcome::NotSent(error.to_string()),
        };
        failpoints::hit(FailPoint::SubmitReceived);
        let classified = classify_submit(&outcome, self.context(&base));
        debug!(host = base.host(), attempt = attempt.key(), verdict = ?classified.verdict, "submit");
        (call, classified)
    }

    /// Polls the status of a task, once. `base_url` is the address that it was submitted to; `None`: that of the settings.
    pub async fn poll(
        &self,
        permit: QueryPermit,
        task: &TaskId,
        base_url: Option<&str>,
    ) -> (SentCall, Classified<StatusVerdict>) {
        let (call, classified, _) = self.query(permit, task, base_url).await;
        (call, classified)
    }

    /// [`ProviderClient::poll`] of a task that was not submitted here; with what the answer says about its request.
    pub async fn describe(
        &self,
        permit: QueryPermit,
        task: &TaskId,
    ) -> (SentCall, Classified<StatusVerdict>, TaskDescription) {
        let (call, classified, outcome) = self.query(permit, task, None).await;
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
        base_url: Option<&str>,
    ) -> (SentCall, Classified<StatusVerdict>, CallOutcome) {
        let (call, base) = (permit.consume(), self.address_of(base_url));
        failpoints::hit(FailPoint::PollSending);
        let outcome = match self.authorization() {
            Ok(key) => self.call(request::status(&base, key, task)).await,
            Err(error) => CallOutcome::NotSent(error.to_string()),
        };
        failpoints::hit(FailPoint::PollReceived);
        let classified = classify_status(&outcome, task, self.context(&base));
        if let StatusVerdict::Answered(facts) = &classified.verdict
            && let Phase::Unclear(word) = &facts.phase
        {
            self.log_once(word, task);
        }
        debug!(host = base.host(), %task, verdict = ?classified.verdict, "status");
        (call, classified, outcome)
    }

    /// Requests that a task be cancelled, once. `base_url` as for [`Self::poll`].
    pub async fn cancel(
        &self,
        permit: QueryPermit,
        task: &TaskId,
        base_url: Option<&str>,
    ) -> (SentCall, Classified<CancelVerdict>) {
        let (call, base) = (permit.consume(), self.address_of(base_url));
        failpoints::hit(FailPoint::CancelSending);
        let outcome = match self.authorization() {
            Ok(key) => self.call(request::cancel(&base, key, task)).await,
            Err(error) => CallOutcome::NotSent(error.to_string()),
        };
        failpoints::hit(FailPoint::CancelReceived);
        let classified = classify_cancel(&outcome, self.context(&base));
        debug!(host = base.host(), %task, verdict = ?classified.verdict, "cancel");
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
        let classified = classify_neutral(neutral, &outcome, self.context(&self.base));
        debug!(host = self.host(), ?neutral, evidence = ?classified.evidence, "neutral call");
        (call, classified)
    }

    /// The balance, for people. `None`: the provider does not tell it.
    pub async fn balance(&self, _permit: BalancePermit) -> Option<Quota> {
        let key = self.authorization().ok()?;
        let outcome = self.call(request::neutral(&self.base, key, NeutralCall::Balance)).await;
        let CallOutcome::Reply(reply) = outcome else { return None };
        let Value::Object(answer) = read_json(reply.bytes())? else { return None };
        let is_success = (200..300).contains(&reply.status);
        let balance = read_balance(&answer).filter(|_| is_success).and_then(Quota::from_usd);
        debug!(host = self.host(), ?balance, "balance");
        balance
    }

    /// Asks for the price of a request, once and without the key.
    pub async fn quote(&self, _permit: QuotePermit, body: &str) -> QuoteAnswer {
        let call = self.call(request::quote(&self.base, body));
        let lost = || CallOutcome::Lost(format!("no quote within {QUOTE_TIMEOUT:?}"));
        let answer = read_quote(&self.clock.within(QUOTE_TIMEOUT, call).await.unwrap_or_else(lost));
        debug!(host = self.host(), ?answer, "quote");
        answer
    }

    fn context<'a>(&self, base: &'a BaseUrl) -> ReplyContext<'a> {
        ReplyContext { now: self.clock.now(), base_url: base.as_str() }
    }

    fn authorization(&self) -> Result<HeaderValue, ClientError> {
        request::authorization(&self.key.lock()).map_err(|_| ClientError::Key)
    }

    async fn call(&self, request: Request) -> CallOutcome {
        let host = request.url().host_str().unwrap_or_default().to_owned();
        let answer = async {
            match self.transport.send(request).await {
                Ok(response) => CallOutcome::Reply(self.read(response).await),
                Err(outcome) => outcome,
            }
        };
        // A second more than the HTTP library's own timeout, whose error says more.
        let limit = self.timeout + Duration::from_secs(1);
        let lost = || CallOutcome::Lost(format!("no answer from {host} within {:?}", self.timeout));
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

fn check_key(key: &Secret) -> Result<(), ClientError> {
    let sendable = !key.expose().trim().is_empty() && request::authorization(key).is_ok();
    if sendable { Ok(()) } else { Err(ClientError::Key) }
}

#[cfg(test)]
mod tests;
