//! Limits the number of connections of a listener and the time each may stay idle.
//!
//! actix-web bounds the first request head of a connection and the pause between two requests, and nothing
//! else: a body, a second head or the rest of a rejected chunked body may take forever. So each connection is
//! registered here. It is idle while no request of it is being answered, and is closed when it has been idle
//! for too long, or when the listener is full and it has been idle the longest.

mod connections;
mod guard;

use std::any::Any;
use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Extensions, Server};
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};

use crate::clock::Clock;
use connections::{ConnectionToken, SharedConnections};

/// How long a request in progress may take when the daemon stops, in seconds.
const SHUTDOWN_TIMEOUT: u64 = 5;

/// How long a listener waits for its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionTimeouts {
    /// For the first request head of a connection; the answer is 408 then.
    pub head: Duration,
    /// Between an answer and the first byte of the next request.
    pub keep_alive: Duration,
    /// For the client to close, after a rejection that left the body unread.
    pub linger: Duration,
    /// For an idle connection to send a head or to take its answer. Longer than the others.
    pub idle: Duration,
    /// For a whole answer; `None`: any time, as an event stream needs.
    pub answer: Option<Duration>,
}

/// The connection limits of one listener.
#[derive(Clone)]
pub(super) struct ConnectionLimits {
    timeouts: ConnectionTimeouts,
    max_connections: usize,
    connections: Arc<SharedConnections>,
}

impl ConnectionLimits {
    pub(super) fn new(clock: Clock, timeouts: ConnectionTimeouts, max_connections: usize) -> Self {
        Self {
            timeouts,
            max_connections,
            connections: Arc::new(SharedConnections::new(clock, timeouts.answer)),
        }
    }

    /// Starts a server with these routes: one worker, no signal handlers of its own, no compression.
    pub(super) fn serve<F>(self, listener: TcpListener, routes: F) -> io::Result<Server>
    where
        F: Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
    {
        let ConnectionTimeouts { head, keep_alive, linger, .. } = self.timeouts;
        self.reap_idle();
        let server =
            HttpServer::new(move || App::new().wrap(from_fn(guard::guard_request)).configure(routes.clone()))
                .workers(1)
                .disable_signals()
                .client_request_timeout(head)
                .client_disconnect_timeout(linger)
                .keep_alive(keep_alive)
                // A safety net above our limit. At its own limit actix-web accepts nobody, which a few idle
                // clients could abuse; ours closes the idlest connection instead.
                .max_connections(self.max_connections.saturating_mul(2))
                .shutdown_timeout(SHUTDOWN_TIMEOUT)
                .on_connect(move |socket, connection| self.register(socket, connection))
                .listen(listener)?;
        Ok(server.run())
    }

    fn register(&self, socket: &dyn Any, connection: &mut Extensions) {
        let Some(socket) = socket.downcast_ref::<actix_web::rt::net::TcpStream>() else { return };
        // Without a free file descriptor the connection stays unregistered; actix-web's own limits still
        // hold.
        let Ok(handle) = socket.as_fd().try_clone_to_owned() else { return };
        let number = self.connections.register(handle.into(), self.max_connections.max(1));
        connection.insert(ConnectionToken::new(self.connections.clone(), number));
    }

    /// Closes connections that have been idle, or busy, for too long, for as long as the listener exists. Sleeps while
    /// none can be: an answer that may take hours, as an event stream does, causes no wake-ups.
    fn reap_idle(&self) {
        let (connections, clock) = (Arc::downgrade(&self.connections), self.connections.clock().clone());
        let idle_arrived = self.connections.idle_arrived();
        let timeout = self.timeouts.idle;
        let interval = (timeout / 8).clamp(Duration::from_millis(20), Duration::from_secs(1));
        let reaper = async move {
            loop {
                let Some(none_limited) = connections.upgrade().map(|connections| connections.none_limited())
                else {
                    return;
                };
                if none_limited {
                    idle_arrived.notified().await;
                }
                clock.sleep(interval).await;
                let Some(connections) = connections.upgrade() else { return };
                connections.close_overdue(timeout);
            }
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "ends by itself with the listener, and has no state to lose"
        )]
        tokio::spawn(reaper);
    }
}
