//! PostgreSQL: connections to a server that behave like those to a SQLite file. The store stays synchronous: what talks to
//! the server runs on a thread of its own, and callers wait for it.

mod block_on;
mod lock;
mod session;
mod tls;
mod translate;
mod values;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config};

use super::{Error, Result};
use crate::secret::Secret;
use block_on::block_on;
use tls::Tls;

pub(in crate::store) use session::Session;
pub(in crate::store) use translate::translate_schema;
pub(super) use values::{Received, Sent};

/// How long to wait for a server that does not answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long what was sent may stay unacknowledged before the connection counts as lost.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// A database on a server. Clones share what talks to it.
#[derive(Clone)]
pub struct PostgresServer {
    config: Arc<Config>,
    tls: Tls,
    io: Arc<Io>,
    /// Whether the connection that writes keeps others from writing.
    exclusive: bool,
}

/// Shows no password.
impl fmt::Debug for PostgresServer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

/// The address without user and password.
impl fmt::Display for PostgresServer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            Some(Host::Unix(folder)) => folder.display().to_string(),
            None => "localhost".to_owned(),
        };
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        write!(out, "postgres://{host}:{port}/{}", self.config.get_dbname().unwrap_or_default())
    }
}

/// The thread that talks to the server.
struct Io(Option<Runtime>);

impl Drop for Io {
    fn drop(&mut self) {
        // Not by waiting, which a thread of an async runtime may not do.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl PostgresServer {
    /// The database that an address names, without connecting to it.
    ///
    /// # Errors
    /// When the text is no address of a PostgreSQL database, or no thread can be started.
    pub fn new(address: &str, password: Option<&Secret>) -> Result<Self> {
        let mut config = Config::from_str(address).map_err(|error| Error::of_server(&error))?;
        if let Some(password) = password {
            config.password(password.expose());
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(UNACKNOWLEDGED);
        }
        config.keepalives_idle(UNACKNOWLEDGED);
        if config.get_application_name().is_none() {
            config.application_name("dropreel");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("store-postgres")
            .enable_all()
            .build()
            .map_err(|error| Error::unavailable(&error))?;
        Ok(Self {
            config: Arc::new(config),
            tls: Tls::new()?,
            io: Arc::new(Io(Some(runtime))),
            exclusive: true,
        })
    }

    fn connect(&self) -> Result<Client> {
        let closed = || Error::unavailable(&"the connection is closed");
        let runtime = self.io.0.as_ref().ok_or_else(closed)?;
        let (config, tls) = (self.config.clone(), self.tls.clone());
        let connecting = runtime.spawn(async move { config.connect(tls).await });
        let (client, connection) =
            block_on(connecting).map_err(|_| closed())?.map_err(|error| Error::of_server(&error))?;
        // Ends with the client. What breaks it, the client reports too.
        runtime.spawn(async move { drop(connection.await) });
        Ok(client)
    }
}

#[cfg(test)]
pub(super) mod tests;

#[cfg(test)]
impl PostgresServer {
    /// For tests, which open a database twice to see what a restart would.
    pub(in crate::store) fn shared(mut self, schema: &str) -> Self {
        self.exclusive = false;
        Arc::make_mut(&mut self.config).options(format!("-csearch_path={schema}"));
        self
    }
}
