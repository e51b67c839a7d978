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
    /// `None` while a request is being answered.
    idle_since: Option<Tick>,
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
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, open: Mutex::default(), idle_arrived: Arc::default() }
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn idle_arrived(&self) -> Arc<Notify> {
        self.idle_arrived.clone()
    }

    /// Adds a connection, idle as yet, and returns its number. Makes room by closing the idlest others.
    pub(super) fn register(&self, socket: TcpStream, max_connections: usize) -> u64 {
        let idle_since = Some(self.clock.tick());
        let mut open = self.open.lock();
        while open.by_number.len() >= max_connections && open.evict_idlest() {}
        open.accepted += 1;
        let number = open.accepted;
        open.by_number.insert(number, Connection { socket, idle_since });
        self.idle_arrived.notify_one();
        number
    }

    pub(super) fn none_idle(&self) -> bool {
        self.open.lock().by_number.values().all(|connection| connection.idle_since.is_none())
    }

    pub(super) fn close_idle_for(&self, timeout: Duration) {
        let now = self.clock.tick();
        self.open.lock().by_number.retain(|_, connection| {
            let stays = connection.idle_since.is_none_or(|since| now.since(since) < timeout);
            if !stays {
                connection.close();
            }
            stays
        });
    }

    fn set_idle(&self, number: u64, since: Option<Tick>) {
        if let Some(connection) = self.open.lock().by_number.get_mut(&number) {
            connection.idle_since = since;
        }
        if since.is_some() {
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
        let idle = self.by_number.iter().filter_map(|(number, one)| Some((one.idle_since?, *number)));
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
        self.connections.set_idle(self.number, None);
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
        let now = self.connections.clock.tick();
        self.connections.set_idle(self.number, Some(now));
    }
}
