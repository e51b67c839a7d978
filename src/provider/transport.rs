//! HTTP to the provider: one client for each kind of address. A task stays where it was submitted, so a daemon whose settings
//! name another address by now talks to both.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use reqwest::{Client, ClientBuilder, NoProxy, Proxy, Request, Response};
use thiserror::Error;

use crate::provider::reply::CallOutcome;
use crate::provider::request::{AddressKind, BadBaseUrl, BaseUrl, USER_AGENT};

/// How long an idle connection is kept. Shorter than common servers do: a submit on a connection that the server has
/// just closed would have an unknown outcome.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// How long a connection may take. When it takes longer, the request was certainly not sent.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

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

/// Sends requests over HTTP.
pub(super) struct HttpTransport {
    timeout: Duration,
    proxy: Option<Proxy>,
    clients: Mutex<BTreeMap<AddressKind, Client>>,
}

impl HttpTransport {
    /// A transport whose calls take at most `timeout`. `proxy` is the address of a proxy; empty, the usual proxy variables
    /// decide, except for an API on this machine. The client for `base` is made at once, so that its errors show.
    pub fn new(base: &BaseUrl, timeout: Duration, proxy: &str) -> Result<Self, ClientError> {
        let proxy = match proxy {
            "" => None,
            proxy => Some(Proxy::all(proxy).map_err(|_| ClientError::Proxy)?.no_proxy(NoProxy::from_env())),
        };
        let transport = Self { timeout, proxy, clients: Mutex::default() };
        transport.client(base.kind())?;
        Ok(transport)
    }

    fn client(&self, kind: AddressKind) -> Result<Client, ClientError> {
        let mut clients = self.clients.lock();
        if let Some(client) = clients.get(&kind) {
            return Ok(client.clone());
        }
        let mut builder = plain_builder(kind, self.timeout);
        if let Some(proxy) = &self.proxy {
            builder = builder.proxy(proxy.clone());
        } else if kind.loopback {
            builder = builder.no_proxy();
        }
        // Without TLS the system's certificates are not needed, and a bare container has none.
        if !kind.https && self.proxy.is_none() {
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| ClientError::Tls(describe(error)))?;
        clients.insert(kind, client.clone());
        Ok(client)
    }
}

impl ApiTransport for HttpTransport {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, CallOutcome>> {
        let client = self.client(AddressKind::of(request.url()));
        Box::pin(async move {
            let client = client.map_err(|error| CallOutcome::NotSent(error.to_string()))?;
            client.execute(request).await.map_err(|error| match error {
                error if error.is_connect() || error.is_builder() => CallOutcome::NotSent(describe(error)),
                error => CallOutcome::Lost(describe(error)),
            })
        })
    }
}

/// A builder of clients that send each request exactly once.
#[expect(clippy::disallowed_methods, reason = "the one home of clients for the provider")]
fn plain_builder(kind: AddressKind, timeout: Duration) -> ClientBuilder {
    Client::builder()
        .user_agent(USER_AGENT)
        .https_only(kind.https)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .timeout(timeout)
        .connect_timeout(CONNECT_TIMEOUT.min(timeout.mul_f64(0.8)))
        .pool_idle_timeout(IDLE_TIMEOUT)
}

/// An error with its causes in one line, without the address, which may be secret.
pub(super) fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
