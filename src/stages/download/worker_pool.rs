//! Threads that each bring in one job's files at a time, with connections of their own: what reads from the network and
//! writes to the disk in turn need not hand each piece over, and a file comes over the connection of the one before it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use crate::clock::{Clock, allow_blocking};
use crate::media::fetch::MediaClient;

/// How nice they are, where 0 is everybody else and 19 the nicest.
const GIVES_WAY: i32 = 10;
/// Without work one ends after so long: at rest there are none.
const IDLE: Duration = Duration::from_secs(10);

type Work = Box<dyn FnOnce(Arc<MediaClient>) -> BoxFuture<'static, ()> + Send>;
/// Those that have nothing to do, the last one that had on top.
type Idle = Mutex<Vec<mpsc::UnboundedSender<Work>>>;

/// The threads, each made when it is first needed.
pub struct WorkerPool {
    clock: Clock,
    client: Arc<MediaClient>,
    idle: Arc<Idle>,
}

impl WorkerPool {
    /// None yet. Each will have a client [like this one](MediaClient::per_thread).
    pub fn new(client: Arc<MediaClient>, clock: Clock) -> Self {
        Self { clock, client, idle: Arc::default() }
    }

    /// Has work done by one of them, where it may block between its awaits and holds up nobody. Under a paused clock
    /// in place. Given up, it ends at its next await.
    ///
    /// # Errors
    /// When it could not be begun, or panicked.
    pub(super) async fn lend<T, W, F>(&self, work: W) -> io::Result<T>
    where
        T: Send + 'static,
        W: FnOnce(Arc<MediaClient>) -> F + Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        if self.clock.is_paused() {
            return Ok(work(self.client.clone()).await);
        }
        let (mut done, result) = oneshot::channel();
        self.give(Box::new(move |client| {
            let work = work(client);
            Box::pin(async move {
                tokio::select! {
                    biased;
                    answer = work => drop(done.send(answer)),
                    () = done.closed() => {}
                }
            })
        }))?;
        result.await.map_err(|_| io::Error::other("a bug: the thread that did it panicked"))
    }

    fn free(&self) -> Option<mpsc::UnboundedSender<Work>> {
        locked(&self.idle).pop()
    }

    fn give(&self, mut work: Work) -> io::Result<()> {
        while let Some(hand) = self.free() {
            match hand.send(work) {
                Ok(()) => return Ok(()),
                // It has just ended.
                Err(mpsc::error::SendError(back)) => work = back,
            }
        }
        let (hand, given) = mpsc::unbounded_channel();
        let _ = hand.send(work);
        let (clock, idle) = (self.clock.clone(), Arc::downgrade(&self.idle));
        let client = self.client.per_thread();
        let thread = std::thread::Builder::new().name("download".into());
        thread.spawn(move || serve(&clock, &Arc::new(client), &idle, &hand, given)).map(drop)
    }
}

/// What one of them does until it has had nothing to do for a while.
fn serve(
    clock: &Clock,
    client: &Arc<MediaClient>,
    idle: &Weak<Idle>,
    hand: &mpsc::UnboundedSender<Work>,
    mut given: mpsc::UnboundedReceiver<Work>,
) {
    // Only this thread's, which is why it is no thread of a pool: bulk gives way to what somebody waits for.
    let _ = rustix::process::setpriority_process(None, GIVES_WAY);
    allow_blocking();
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        while let Some(Some(work)) = clock.within(IDLE, given.recv()).await {
            work(client.clone()).await;
            let Some(idle) = idle.upgrade() else { return };
            let mut idle = locked(&idle);
            idle.retain(|hand| !hand.is_closed());
            idle.push(hand.clone());
        }
        // Who has found it idle a moment ago is either refused now, or still served.
        given.close();
        if let Ok(work) = given.try_recv() {
            work(client.clone()).await;
        }
    });
    // A name that is still being looked up is not waited for.
    runtime.shutdown_background();
}

/// No code that holds this lock can panic, so a poisoned one is still whole.
fn locked(idle: &Idle) -> MutexGuard<'_, Vec<mpsc::UnboundedSender<Work>>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::media::fetch::Patience;
    use crate::media::guard::Policy;

    fn hands(clock: Clock) -> WorkerPool {
        let client = MediaClient::new(Policy::PrivateToo, Patience::default(), 1000, None, clock.clone());
        WorkerPool::new(Arc::new(client), clock)
    }

    async fn thread(hands: &WorkerPool) -> std::thread::ThreadId {
        hands.lend(|_| async { std::thread::current().id() }).await.unwrap()
    }

    /// Until so many are idle.
    async fn idle(hands: &WorkerPool, count: usize) {
        while locked(&hands.idle).len() != count {
            hands.clock.sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn work_may_block_and_ends_when_it_is_given_up() {
        let hands = hands(Clock::machine());
        let (tell, told) = std::sync::mpsc::channel();
        let blocks = hands.lend(move |_| async move { told.recv_timeout(Duration::from_secs(9)) });
        let (heard, ()) = tokio::join!(blocks, async { tell.send("we go on").unwrap() });
        assert_eq!(heard.unwrap(), Ok("we go on"));
        let (alive, ended) = oneshot::channel::<()>();
        let endless = hands.lend(|_| async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        assert!(hands.clock.within(Duration::from_millis(20), endless).await.is_none());
        assert!(ended.await.is_err(), "it holds nothing any more");
    }

    #[tokio::test]
    async fn one_that_is_free_is_taken_before_another_is_made_and_one_that_panicked_is_never_taken_again() {
        let hands = hands(Clock::machine());
        let first = thread(&hands).await;
        idle(&hands, 1).await;
        assert_eq!(thread(&hands).await, first);
        idle(&hands, 1).await;
        let bug = hands.lend(|_| async { assert!(std::hint::black_box(false), "work") });
        assert!(bug.await.is_err());
        assert_ne!(thread(&hands).await, first);
        idle(&hands, 1).await;
        let (go, gone) = oneshot::channel::<()>();
        let both = async { tokio::join!(hands.lend(|_| gone), thread(&hands)) };
        let (_, (_, second)) = tokio::join!(async { go.send(()).unwrap() }, both);
        assert_ne!(second, first);
    }

    #[tokio::test]
    async fn one_that_has_ended_is_not_waited_for() {
        let hands = hands(Clock::machine());
        let (ended, receiver) = mpsc::unbounded_channel();
        drop(receiver);
        locked(&hands.idle).push(ended);
        thread(&hands).await;
        idle(&hands, 1).await;
    }

    #[tokio::test]
    async fn they_give_way_and_nobody_else_does() {
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let theirs = hands(Clock::machine()).lend(move |_| async move { niceness() }).await.unwrap();
        assert!(theirs >= GIVES_WAY, "{theirs}");
        assert!(niceness() < GIVES_WAY || niceness() == theirs);
    }

    #[tokio::test]
    async fn under_a_paused_clock_there_are_none() {
        let here = std::thread::current().id();
        assert_eq!(thread(&hands(Clock::paused(Timestamp::from_millis(0)))).await, here);
    }
}
