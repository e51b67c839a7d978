//! The open connections of a listener, and since when each is idle.

use std::collections::BTreeMap;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::clock::{Clock, Tick};
use crate::failpoints::{self, FailPoint};

/// The open connections, shared by their tokens and the reaper.
pub(super) struct SharedConnections {
    clock: Clock,
    /// How long an answer may take; `None`: any time.
    answer_timeout: Option<Duration>,
    open: Mutex<OpenConnections>,
    /// Notified when a connection becomes idle, and when the listener is dropped.
    idle_arrived: Arc<Notify>,
}

#[derive(Default)]
struct OpenConnections {
    /// Connections accepted so far; the number of the newest.
    accepted: u64,
    by_number: BTreeMap<u64, Connection>,
}

struct Connection {
    /// A second handle on the socket, to close it from outside.
    socket: TcpStream,
    /// Since when it is idle, or busy.
    since: Tick,
    /// False while a request is being answered.
    is_idle: bool,
}

/// Stored with each connection; dropped with it.
pub(super) struct ConnectionToken {
    connections: Arc<SharedConnections>,
    number: u64,
}

/// Held while a request is being answered, until the last byte of the answer is written.
pub(super) struct RequestGuard {
    connections: Arc<SharedConnections>,
    number: u64,
}

impl SharedConnections {
    pub(super) fn new(clock: Clock, answer_timeout: Option<Duration>) -> Self {
        Self { clock, answer_timeout, open: Mutex::default(), idle_arrived: Arc::default() }
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn idle_arrived(&self) -> Arc<Notify> {
        self.idle_arrived.clone()
    }

    /// Adds a connection, idle as yet, and returns its number. Makes room by closing the idlest others.
    pub(super) fn register(&self, socket: TcpStream, max_connections: usize) -> u64 {
        let since = self.clock.tick();
        let mut open = self.open.lock();
        while open.by_number.len() >= max_connections && open.evict_idlest() {}
        open.accepted += 1;
        let number = open.accepted;
        open.by_number.insert(number, Connection { socket, since, is_idle: true });
        self.idle_arrived.notify_one();
        number
    }

    /// Whether no connection has to be closed at some time.
    pub(super) fn none_limited(&self) -> bool {
        let answers_are_limited = self.answer_timeout.is_some();
        self.open.lock().by_number.values().all(|connection| !connection.is_idle && !answers_are_limited)
    }

    /// Closes connections that have been idle for this long, or busy for longer than an answer may take.
    pub(super) fn close_overdue(&self, idle_timeout: Duration) {
        let now = self.clock.tick();
        self.open.lock().by_number.retain(|_, connection| {
            let timeout = if connection.is_idle { Some(idle_timeout) } else { self.answer_timeout };
            let stays = timeout.is_none_or(|timeout| now.since(connection.since) < timeout);
            if !stays {
                connection.close();
            }
            stays
        });
    }

    fn set_idle(&self, number: u64, is_idle: bool) {
        let since = self.clock.tick();
        if let Some(connection) = self.open.lock().by_number.get_mut(&number) {
            (connection.since, connection.is_idle) = (since, is_idle);
        }
        if is_idle {
            self.idle_arrived.notify_one();
        }
    }
}

impl Drop for SharedConnections {
    fn drop(&mut self) {
        // Otherwise the reaper would wait forever.
        self.idle_arrived.notify_one();
    }
}

impl OpenConnections {
    /// Closes the connection that has been idle the longest; false if none is idle.
    fn evict_idlest(&mut self) -> bool {
        let idle =
            self.by_number.iter().filter(|(_, one)| one.is_idle).map(|(number, one)| (one.since, *number));
        let idlest = idle.min().and_then(|(_, number)| self.by_number.remove(&number));
        idlest.inspect(Connection::close).is_some()
    }
}

impl Connection {
    fn close(&self) {
        // Fails only if the client has already closed.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

impl ConnectionToken {
    pub(super) fn new(connections: Arc<SharedConnections>, number: u64) -> Self {
        Self { connections, number }
    }

    pub(super) fn begin_request(&self) -> RequestGuard {
        self.connections.set_idle(self.number, false);
        RequestGuard { connections: self.connections.clone(), number: self.number }
    }
}

impl Drop for ConnectionToken {
    fn drop(&mut self) {
        self.connections.open.lock().by_number.remove(&self.number);
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        failpoints::hit(FailPoint::ResponseWritten);
        self.connections.set_idle(self.number, true);
    }
}
