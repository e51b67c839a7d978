//! Who stands in a door, and for how long: connections that only take up room are cut.
//!
//! actix-web bounds the first head of a connection and the silence between two requests, and nothing else: a body,
//! a second head, or the rest of a chunked body that was refused may take for ever. So each connection has a pass,
//! and one that is quiet, that is, neither being answered nor beginning another request, is cut after a while, or at
//! once if the door is full and it is the one that has been quiet the longest.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Extensions, Payload, Server, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::middleware::{Next, from_fn};
use actix_web::{App, HttpMessage, HttpServer, web};
use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::Notify;

use crate::clock::{Clock, Tick};
use crate::failpoints::{self, FailPoint};

/// A request that is under way when the daemon stops may take so long, in seconds.
const LAST_ANSWERS: u64 = 5;

/// How long a door waits for its guests, and for how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For the whole first head of a connection; answered with 408 then.
    pub head: Duration,
    /// Between an answer and the first byte of the next request.
    pub keep_alive: Duration,
    /// For the other side to hang up, after a refusal that left its body unread.
    pub linger: Duration,
    /// For a connection that is not being answered to complete a head or take its answer. Longer than the others.
    pub quiet: Duration,
    /// Connections at one time; one more, and the one quiet the longest is cut.
    pub connections: usize,
}

/// Keeps the guests of one door.
#[derive(Clone)]
pub(super) struct ConnectionLimits(Arc<Door>);

struct Door {
    clock: Clock,
    patience: Patience,
    present: Mutex<Present>,
    /// Told when somebody comes or has been answered, and when the door goes.
    someone_quiet: Arc<Notify>,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.someone_quiet.notify_one();
    }
}

#[derive(Default)]
struct Present {
    admitted: u64,
    guests: BTreeMap<u64, Guest>,
}

struct Guest {
    /// A second handle on the connection's socket, to hang up from outside.
    socket: TcpStream,
    /// `None` while it is being answered.
    quiet_since: Option<Tick>,
}

/// What a connection carries as long as it lives.
struct Pass {
    door: Arc<Door>,
    number: u64,
}

/// A request being answered: lasts until the last byte of its answer is written out.
struct Visit {
    door: Arc<Door>,
    number: u64,
}

impl ConnectionLimits {
    pub(super) fn new(clock: Clock, patience: Patience) -> Self {
        Self(Arc::new(Door { clock, patience, present: Mutex::default(), someone_quiet: Arc::default() }))
    }

    /// Opens the door: one worker, no signals of its own, no compression. `routes` says what is behind it.
    pub(super) fn open<F>(self, listener: TcpListener, routes: F) -> io::Result<Server>
    where
        F: Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
    {
        let Patience { head, keep_alive, linger, connections, .. } = self.0.patience;
        self.walk_the_rounds();
        let server = HttpServer::new(move || App::new().wrap(from_fn(attend)).configure(routes.clone()))
            .workers(1)
            .disable_signals()
            .client_request_timeout(head)
            .client_disconnect_timeout(linger)
            .keep_alive(keep_alive)
            // DropreelMember is the limit; theirs, at which nobody is let in any more, only a net below it.
            .max_connections(connections.saturating_mul(2))
            .shutdown_timeout(LAST_ANSWERS)
            .on_connect(move |socket, connection| self.admit(socket, connection))
            .listen(listener)?;
        Ok(server.run())
    }

    fn admit(&self, socket: &dyn Any, connection: &mut Extensions) {
        let Some(socket) = socket.downcast_ref::<actix_web::rt::net::TcpStream>() else { return };
        // Without a free descriptor the guest goes unwatched; actix-web's own limits still hold.
        let Ok(handle) = socket.as_fd().try_clone_to_owned() else { return };
        let quiet_since = Some(self.0.clock.tick());
        let mut present = self.0.present();
        while present.guests.len() >= self.0.patience.connections.max(1) {
            if !present.cut_the_quietest() {
                break;
            }
        }
        present.admitted += 1;
        let number = present.admitted;
        present.guests.insert(number, Guest { socket: handle.into(), quiet_since });
        self.0.someone_quiet.notify_one();
        connection.insert(Pass { door: self.0.clone(), number });
    }

    /// Looks for the overlong now and then, as long as the door is open and somebody in it is quiet: who is being answered
    /// for hours, as an open page is, wakes nobody.
    fn walk_the_rounds(&self) {
        let (door, clock, someone_quiet) =
            (Arc::downgrade(&self.0), self.0.clock.clone(), self.0.someone_quiet.clone());
        let round = (self.0.patience.quiet / 8).clamp(Duration::from_millis(20), Duration::from_secs(1));
        let rounds = async move {
            loop {
                let Some(nobody) = door.upgrade().map(|door| door.present().nobody_is_quiet()) else {
                    return;
                };
                if nobody {
                    someone_quiet.notified().await;
                }
                clock.sleep(round).await;
                let Some(door) = door.upgrade() else { return };
                door.cut_the_overlong();
            }
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "ends by itself when the door is gone, and leaves nothing undone"
        )]
        tokio::spawn(rounds);
    }
}

impl Door {
    fn present(&self) -> MutexGuard<'_, Present> {
        // No code that holds this lock can panic.
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_quiet(&self, number: u64, since: Option<Tick>) {
        if let Some(guest) = self.present().guests.get_mut(&number) {
            guest.quiet_since = since;
        }
        if since.is_some() {
            self.someone_quiet.notify_one();
        }
    }

    fn cut_the_overlong(&self) {
        let (now, quiet) = (self.clock.tick(), self.patience.quiet);
        self.present().guests.retain(|_, guest| {
            let stays = guest.quiet_since.is_none_or(|since| now.since(since) < quiet);
            if !stays {
                guest.hang_up();
            }
            stays
        });
    }
}

impl Present {
    fn nobody_is_quiet(&self) -> bool {
        self.guests.values().all(|guest| guest.quiet_since.is_none())
    }

    /// False when every guest is being answered.
    fn cut_the_quietest(&mut self) -> bool {
        let quietest =
            self.guests.iter().filter_map(|(number, guest)| Some((guest.quiet_since?, *number))).min();
        let guest = quietest.and_then(|(_, number)| self.guests.remove(&number));
        guest.inspect(Guest::hang_up).is_some()
    }
}

impl Guest {
    fn hang_up(&self) {
        // It fails only if the other side has already gone.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

impl Pass {
    fn begin(&self) -> Visit {
        self.door.set_quiet(self.number, None);
        Visit { door: self.door.clone(), number: self.number }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.door.present().guests.remove(&self.number);
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        failpoints::hit(FailPoint::DoorAnswered);
        let now = self.door.clock.tick();
        self.door.set_quiet(self.number, Some(now));
    }
}

/// Around every request: it is a visit until it is answered, and what is unread of its body is kept until then.
async fn attend(
    mut request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let visit = request.conn_data::<Pass>().map(Pass::begin);
    let unread = Unread(Rc::new(RefCell::new(request.take_payload())));
    request.set_payload(Payload::Stream { payload: Box::pin(unread.clone()) });
    let answer = next.call(request).await?;
    Ok(answer.map_body(|_, body| BoxBody::new(Attended { body, _unread: unread, _visit: visit })))
}

/// A request's body, shared with its answer. actix-web reads a chunked body that everybody has let go of to its end,
/// however long that takes; one that is still held it leaves, and closes the connection.
#[derive(Clone)]
struct Unread(Rc<RefCell<Payload>>);

impl Stream for Unread {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_next(context)
    }
}

struct Attended {
    body: BoxBody,
    _unread: Unread,
    _visit: Option<Visit>,
}

impl MessageBody for Attended {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}
