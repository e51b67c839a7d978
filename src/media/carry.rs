//! The way to a media host: one request to one checked address.
#![expect(clippy::disallowed_methods, reason = "the one home of the media client")]

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::header::HeaderMap;
use reqwest::{Client, Response};
use url::{Host, Url};

use crate::clock::Clock;
use crate::media::fetch::{MediaError, host_of, network};
use crate::media::guard::Policy;

const CONNECT: Duration = Duration::from_secs(15);
const LOOK_UP: Duration = Duration::from_secs(15);

/// What takes a GET to a media host and brings the head of the answer back: HTTP, or a simulation of it. Once, and
/// without following anything.
pub trait Carrier: Send + Sync {
    /// Asks for `url` with these headers.
    ///
    /// # Errors
    /// When no answer came.
    fn carry<'a>(&'a self, url: &'a Url, headers: HeaderMap) -> BoxFuture<'a, Result<Response, MediaError>>;
}

/// HTTP, each time over a connection of its own to an address that the policy allows.
pub struct Pinned {
    policy: Policy,
    clock: Clock,
}

impl Pinned {
    /// Under this policy.
    pub fn new(policy: Policy, clock: Clock) -> Self {
        // Set once for the process. That it already is, by the provider's client, is all right.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { policy, clock }
    }

    /// A client that connects to the addresses just checked and to no others.
    async fn pinned(&self, url: &Url, host: &str) -> Result<Client, MediaError> {
        let mut builder = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .http1_only()
            .pool_max_idle_per_host(0)
            .connect_timeout(CONNECT)
            .user_agent(concat!("dropreel/", env!("CARGO_PKG_VERSION")));
        if url.scheme() == "http" {
            // Without TLS the system's certificates are not needed.
            builder = builder.tls_certs_only([]);
        }
        if let Some(Host::Domain(name)) = url.host() {
            let port = url.port_or_known_default().unwrap_or(443);
            let found = self.clock.within(LOOK_UP, tokio::net::lookup_host((name, port))).await;
            let why = "its name cannot be looked up";
            let unknown = || MediaError::Network { host: host.to_owned(), why: why.into() };
            let addresses: Vec<SocketAddr> = found.ok_or_else(unknown)?.map_err(|_| unknown())?.collect();
            if addresses.is_empty() {
                return Err(unknown());
            }
            for address in &addresses {
                self.policy.check_address(host, address.ip())?;
            }
            builder = builder.resolve_to_addrs(name, &addresses);
        }
        builder.build().map_err(|error| network(host, error))
    }
}

impl Carrier for Pinned {
    fn carry<'a>(&'a self, url: &'a Url, headers: HeaderMap) -> BoxFuture<'a, Result<Response, MediaError>> {
        Box::pin(async move {
            let host = host_of(url);
            let client = self.pinned(url, &host).await?;
            let sent = client.get(url.clone()).headers(headers).send();
            sent.await.map_err(|error| network(&host, error))
        })
    }
}
