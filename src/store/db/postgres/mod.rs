//! PostgreSQL: connections to a server that behave like those to a SQLite file. The store stays synchronous: what talks to
//! the server runs on a thread of its own, and callers wait for it.

mod block_on;
mod claims;
mod link;
mod lock;
mod news;
mod session;
mod tls;
mod translate;
mod values;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicI32;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, TargetSessionAttrs};

use super::{Error, Result};
use crate::fs::host_name;
use crate::secret::Secret;
use link::{Link, no_answer, wait_at_most};
use news::News;
use tls::Tls;

pub(in crate::store) use session::Session;
pub(in crate::store) use translate::translate_schema;
pub(super) use values::{Received, Sent};

/// How long to wait for a host that does not answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for the answer to a statement. A server that was halted, or waits for its disk, keeps connections open.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// How long what was sent may stay unacknowledged before the connection counts as lost.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// The statements are written for their indexes. Without these settings, the planner reads whole tables where it knows too
/// little of them, as after the first start.
const PLANNER: &str =
    "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off";

/// How often the connection that writes shows that its process is not stopped, well within `idle_session_timeout`, and looks
/// for what other processes have changed.
pub(super) const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(1);

/// A database on a server. Clones share what talks to it.
#[derive(Clone)]
pub struct PostgresServer {
    config: Arc<Config>,
    tls: Tls,
    io: Arc<Io>,
    news: News,
    /// The number of this process among those that share the database.
    pub(super) process: Option<i32>,
    /// Tests open a database twice, to see what a restart would.
    alone_in_tests: bool,
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
        // Of several servers the one that leads them, to read, too: a replica may lag behind.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        if config.get_application_name().is_none() {
            config.application_name(format!("dropreel on {}", host_name()));
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
            news: News::default(),
            process: None,
            alone_in_tests: false,
        })
    }

    /// The same, for the process with this number.
    pub(super) fn of_process(self, number: i32) -> Self {
        Self { process: Some(number), ..self }
    }

    /// The processes that are connected to write, for people.
    pub(super) fn processes(&self) -> Result<Option<String>> {
        claims::processes(&self.connect()?)
    }

    fn connect(&self) -> Result<Link> {
        let closed = || Error::unavailable(&"the connection is closed");
        let runtime = self.io.0.as_ref().ok_or_else(closed)?.handle();
        let connected = wait_at_most(runtime, self.config.connect(self.tls.clone()));
        let (client, connection) =
            connected.ok_or_else(no_answer)?.map_err(|error| Error::of_server(&error))?;
        // Ends with the client. What breaks it, the client reports too.
        let process = Arc::new(AtomicI32::new(0));
        let task = runtime.spawn(self.news.clone().carry(connection, process.clone())).abort_handle();
        let link = Link::new(client, runtime.clone(), task, process);
        link.run(PLANNER)?;
        Ok(link)
    }
}

#[cfg(test)]
pub(super) mod tests;

#[cfg(test)]
impl PostgresServer {
    /// For the tables of a test.
    pub(in crate::store) fn create_schema(&self, schema: &str) {
        self.connect().unwrap().run(&format!("CREATE SCHEMA IF NOT EXISTS {schema}")).unwrap();
    }

    /// For tests, which open a database twice to see what a restart would.
    pub(in crate::store) fn shared(mut self, schema: &str) -> Self {
        self.alone_in_tests = true;
        Arc::make_mut(&mut self.config).options(format!("-csearch_path={schema}"));
        self
    }
}
