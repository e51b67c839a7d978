//! Sends one request to a media host, to an address that the policy allows.
#![expect(clippy::disallowed_methods, reason = "the one home of the media client")]

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::HeaderMap;
use reqwest::{Client, Response};
use url::Url;

use crate::clock::Clock;
use crate::media::error::{MediaError, host_of, network};
use crate::media::guard::Policy;

/// Longest time for DNS lookup and connect together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(25);
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(15);
/// How long an idle connection is kept. Shorter than hosts wait: otherwise the host may close it under a new request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);

/// Sends a GET to a media host and returns the head of the response: HTTP, or its simulation. No retries, no redirects.
pub trait MediaTransport: Send + Sync {
    /// # Errors
    /// When there is no response.
    fn get<'a>(&'a self, url: &'a Url, headers: HeaderMap) -> BoxFuture<'a, Result<Response, MediaError>>;

    /// A transport for one thread. `None`: this one serves all threads.
    fn per_thread(&self) -> Option<Arc<dyn MediaTransport>> {
        None
    }
}

/// HTTP to addresses that the policy allows.
///
/// Clients are built when first needed and then kept, because reading the system's certificates takes time and memory.
/// A connection belongs to the thread that made it, so only a transport for one thread keeps connections.
pub struct PinnedTransport {
    resolver: CheckedResolver,
    keeps_connections: bool,
    /// For plain HTTP, without certificates.
    plain: OnceLock<Client>,
    secured: OnceLock<Client>,
}

impl PinnedTransport {
    pub fn new(policy: Policy, clock: Clock) -> Self {
        // Set once per process; the provider's client may already have done it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self::of(CheckedResolver { policy, clock }, false)
    }

    fn of(resolver: CheckedResolver, keeps_connections: bool) -> Self {
        Self { resolver, keeps_connections, plain: OnceLock::new(), secured: OnceLock::new() }
    }

    fn client(&self, url: &Url) -> reqwest::Result<Client> {
        let plain = url.scheme() == "http";
        let kept = if plain { &self.plain } else { &self.secured };
        if let Some(client) = kept.get() {
            return Ok(client.clone());
        }
        let mut builder = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .http1_only()
            .pool_max_idle_per_host(usize::from(self.keeps_connections))
            .pool_idle_timeout(IDLE_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .dns_resolver(self.resolver.clone())
            .user_agent(concat!("dropreel/", env!("CARGO_PKG_VERSION")));
        if plain {
            builder = builder.tls_certs_only([]);
        }
        let made = builder.build()?;
        Ok(kept.get_or_init(|| made).clone())
    }
}

impl MediaTransport for PinnedTransport {
    fn get<'a>(&'a self, url: &'a Url, headers: HeaderMap) -> BoxFuture<'a, Result<Response, MediaError>> {
        Box::pin(async move {
            let host = host_of(url);
            let client = self.client(url).map_err(|error| network(&host, error))?;
            let sent = client.get(url.clone()).headers(headers).send();
            sent.await.map_err(|error| network(&host, error))
        })
    }

    fn per_thread(&self) -> Option<Arc<dyn MediaTransport>> {
        Some(Arc::new(Self::of(self.resolver.clone(), true)))
    }
}

/// Resolves names to addresses that the policy allows; the client connects to nothing else. Literal addresses do not
/// pass through here: [`Policy::check_link`] checks them.
#[derive(Clone)]
struct CheckedResolver {
    policy: Policy,
    clock: Clock,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let Self { policy, clock } = self.clone();
        Box::pin(async move {
            let unknown = "DNS lookup failed";
            let found = clock.within(LOOKUP_TIMEOUT, tokio::net::lookup_host((name.as_str(), 0))).await;
            let addresses: Vec<SocketAddr> = found.ok_or(unknown)?.map_err(|_| unknown)?.collect();
            if addresses.is_empty() {
                return Err(unknown.into());
            }
            for address in &addresses {
                policy.check_address(name.as_str(), address.ip())?;
            }
            let addresses: Addrs = Box::new(addresses.into_iter());
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_built_once_and_when_needed() {
        let pinned =
            PinnedTransport::new(Policy { private_addresses: true, ..Policy::default() }, Clock::machine());
        let made = |pinned: &PinnedTransport| (pinned.plain.get().is_some(), pinned.secured.get().is_some());
        assert_eq!(made(&pinned), (false, false));
        pinned.client(&Url::parse("http://cdn.example/a.mp4").unwrap()).unwrap();
        assert_eq!(made(&pinned), (true, false), "plain HTTP reads no certificates");
        pinned.client(&Url::parse("https://cdn.example/a.mp4").unwrap()).unwrap();
        assert_eq!(made(&pinned), (true, true));
    }
}
