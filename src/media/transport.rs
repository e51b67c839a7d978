//! The way to a media host: one request to one checked address.
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
use crate::media::fetch::{MediaError, host_of, network};
use crate::media::guard::Policy;

/// For looking a name up and connecting to where it leads.
const CONNECT: Duration = Duration::from_secs(25);
const LOOK_UP: Duration = Duration::from_secs(15);
/// A connection waits so long for its next request: shorter than any host waits, so that none is closed while we ask.
const KEPT: Duration = Duration::from_secs(2);

/// What takes a GET to a media host and brings the head of the answer back: HTTP, or a simulation of it. Once, and
/// without following anything.
pub trait MediaTransport: Send + Sync {
    /// Asks for `url` with these headers.
    ///
    /// # Errors
    /// When no answer came.
    fn carry<'a>(&'a self, url: &'a Url, headers: HeaderMap) -> BoxFuture<'a, Result<Response, MediaError>>;

    /// One for a single thread. `None`: this one does for all.
    fn per_thread(&self) -> Option<Arc<dyn MediaTransport>> {
        None
    }
}

/// HTTP, over connections to addresses that the policy allows.
///
/// The clients are made when they are first needed, and kept: the certificates of the system take time to read and
/// room to hold. A connection is served by the thread that made it. So only where there is a single one does any outlive
/// its request, for two seconds; otherwise each request has its own.
pub struct Pinned {
    checked: Checked,
    keeps: bool,
    /// Without TLS the system's certificates are not needed.
    plain: OnceLock<Client>,
    secured: OnceLock<Client>,
}

impl Pinned {
    /// Under this policy.
    pub fn new(policy: Policy, clock: Clock) -> Self {
        // Set once for the process. That it already is, by the provider's client, is all right.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self::of(Checked { policy, clock }, false)
    }

    fn of(checked: Checked, keeps: bool) -> Self {
        Self { checked, keeps, plain: OnceLock::new(), secured: OnceLock::new() }
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
            .pool_max_idle_per_host(usize::from(self.keeps))
            .pool_idle_timeout(KEPT)
            .connect_timeout(CONNECT)
            .dns_resolver(self.checked.clone())
            .user_agent(concat!("dropreel/", env!("CARGO_PKG_VERSION")));
        if plain {
            builder = builder.tls_certs_only([]);
        }
        let made = builder.build()?;
        Ok(kept.get_or_init(|| made).clone())
    }
}

impl MediaTransport for Pinned {
    fn carry<'a>(&'a self, url: &'a Url, headers: HeaderMap) -> BoxFuture<'a, Result<Response, MediaError>> {
        Box::pin(async move {
            let host = host_of(url);
            let client = self.client(url).map_err(|error| network(&host, error))?;
            let sent = client.get(url.clone()).headers(headers).send();
            sent.await.map_err(|error| network(&host, error))
        })
    }

    fn per_thread(&self) -> Option<Arc<dyn MediaTransport>> {
        Some(Arc::new(Self::of(self.checked.clone(), true)))
    }
}

/// Looks names up, and tells only addresses that the policy allows: a client connects to what it is told here and to
/// nothing else. A literal address never comes here; [`Policy::check_link`] has seen it.
#[derive(Clone)]
struct Checked {
    policy: Policy,
    clock: Clock,
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let Self { policy, clock } = self.clone();
        Box::pin(async move {
            let unknown = "its name cannot be looked up";
            let found = clock.within(LOOK_UP, tokio::net::lookup_host((name.as_str(), 0))).await;
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
    fn a_client_is_made_once_and_only_when_it_is_needed() {
        let pinned = Pinned::new(Policy::PrivateToo, Clock::machine());
        let made = |pinned: &Pinned| (pinned.plain.get().is_some(), pinned.secured.get().is_some());
        assert_eq!(made(&pinned), (false, false));
        pinned.client(&Url::parse("http://cdn.example/a.mp4").unwrap()).unwrap();
        assert_eq!(made(&pinned), (true, false), "plain HTTP reads no certificates");
        pinned.client(&Url::parse("https://cdn.example/a.mp4").unwrap()).unwrap();
        assert_eq!(made(&pinned), (true, true));
    }
}
