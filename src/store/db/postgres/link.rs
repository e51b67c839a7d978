//! A connection to a server, of which every answer is waited for only so long.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio_postgres::{Client, Row};

use super::ANSWER_TIMEOUT;
use super::block_on::block_on;
use crate::store::db::error::ends_connection;
use crate::store::db::{Error, Result};

pub(super) struct Link {
    client: Client,
    runtime: Handle,
    /// What moves its bytes.
    task: AbortHandle,
    /// The server's process of this connection, once it is known.
    process: Arc<AtomicI32>,
    /// The server is gone, perhaps before the client has noticed.
    lost: Cell<bool>,
}

impl Link {
    pub fn new(client: Client, runtime: Handle, task: AbortHandle, process: Arc<AtomicI32>) -> Self {
        Self { client, runtime, task, process, lost: Cell::new(false) }
    }

    /// Notes which process of the server this connection has.
    pub fn set_process(&self, process: i32) {
        self.process.store(process, Ordering::Relaxed);
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    pub fn is_lost(&self) -> bool {
        self.lost.get() || self.client.is_closed()
    }

    /// Waits for an answer of the server. One that hangs keeps the connection open, so that only time tells.
    pub fn wait<T>(&self, answer: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T> {
        match wait_at_most(&self.runtime, answer) {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => {
                if ends_connection(&error) {
                    self.lost.set(true);
                }
                Err(Error::of_server(&error))
            }
            None => {
                self.abandon();
                Err(no_answer())
            }
        }
    }

    /// Closes the connection. As long as its socket is open, the server keeps the transaction and the lock.
    pub fn abandon(&self) {
        self.lost.set(true);
        self.task.abort();
    }

    /// Runs statements without parameters, all or none.
    pub fn run(&self, sql: &str) -> Result<()> {
        self.wait(self.client.batch_execute(sql))
    }

    pub fn query_one(&self, sql: &str) -> Result<Row> {
        self.wait(self.client.query_one(sql, &[]))
    }

    pub fn query_opt(&self, sql: &str) -> Result<Option<Row>> {
        self.wait(self.client.query_opt(sql, &[]))
    }
}

pub(super) fn no_answer() -> Error {
    Error::unavailable(&format_args!("it has not answered for {} seconds", ANSWER_TIMEOUT.as_secs()))
}

/// `None`: it took longer than [`ANSWER_TIMEOUT`].
#[expect(
    clippy::disallowed_methods,
    reason = "a server keeps the time of the machine, never that of a simulation"
)]
pub(super) fn wait_at_most<F: Future>(runtime: &Handle, future: F) -> Option<F::Output> {
    // The timer is one of the runtime.
    let _entered = runtime.enter();
    // The budget of a task of the caller's runtime would end here, where that runtime cannot renew it.
    block_on(tokio::task::unconstrained(tokio::time::timeout(ANSWER_TIMEOUT, future))).ok()
}
