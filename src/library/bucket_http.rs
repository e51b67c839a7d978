//! The HTTP client for the bucket.

use std::time::Duration;

use object_store::ClientOptions;
use object_store::client::{HttpClient, HttpConnector};

/// Longest silence of a server, a piece that is being sent included.
pub(super) const SILENCE: Duration = Duration::from_secs(300);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Builds the HTTP client: no redirect, nothing sent twice.
#[derive(Debug)]
pub(super) struct Connector {
    /// The server is on this machine: no proxy leads there.
    pub is_loopback: bool,
}

impl HttpConnector for Connector {
    #[expect(clippy::disallowed_methods, reason = "the one home of clients for the bucket")]
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        // The process may have one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("dropreel/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .http1_only()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(SILENCE);
        if self.is_loopback {
            builder = builder.no_proxy();
        }
        let client = builder.build();
        let client =
            client.map_err(|error| object_store::Error::Generic { store: "S3", source: error.into() })?;
        Ok(HttpClient::new(client))
    }
}
