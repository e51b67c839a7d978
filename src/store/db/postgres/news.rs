//! That other processes have committed, as the server announces it to the connection that writes (LISTEN, NOTIFY).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::{AsyncMessage, Connection};

/// How long to gather what is announced. Each look at the database costs a query, and wakes everybody here.
const GATHER_TIME: Duration = Duration::from_millis(50);
/// Listens from now on, on the channel of the database.
pub(super) const LISTEN: &str = "LISTEN dropreel";
/// Announces the transaction at its commit: an expression.
pub(super) const ANNOUNCE: &str = "pg_notify('dropreel', '')";

type Listener = Box<dyn Fn() + Send + Sync>;

/// Clones share who listens.
#[derive(Clone, Default)]
pub(super) struct News {
    listener: Arc<Mutex<Option<Listener>>>,
    is_gathering: Arc<AtomicBool>,
}

impl News {
    pub fn set_listener(&self, listener: Listener) {
        *self.listener.lock() = Some(listener);
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a server keeps the time of the machine, never that of a simulation"
    )]
    fn announced(&self) {
        if self.is_gathering.swap(true, Ordering::AcqRel) {
            return;
        }
        let news = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(GATHER_TIME).await;
            news.is_gathering.store(false, Ordering::Release);
            if let Some(listener) = &*news.listener.lock() {
                listener();
            }
        });
    }

    /// Moves the bytes of a connection until it ends. What the server process `own` announces, this one has committed.
    pub async fn carry<S, T>(self, mut connection: Connection<S, T>, own: Arc<AtomicI32>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notification(announced) = message
                && announced.process_id() != own.load(Ordering::Relaxed)
            {
                self.announced();
            }
        }
    }
}
