//! Threads that each download one job's files at a time over connections of their own. A thread reads from the network and
//! writes to the disk itself, without handing chunks over, and keeps its connection for the next file.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::clock::{Clock, allow_blocking};
use crate::media::client::MediaClient;

/// The threads' nice value (0 is normal, 19 yields most): downloads yield to callbacks and the page.
const NICE: i32 = 10;
/// How long a thread waits for work before it ends: at rest there are none.
const IDLE: Duration = Duration::from_secs(10);

type Work = Box<dyn FnOnce(Arc<MediaClient>) -> BoxFuture<'static, ()> + Send>;
/// The idle threads, the last used on top.
type Idle = Mutex<Vec<mpsc::UnboundedSender<Work>>>;

/// The threads, each started when it is first needed.
pub struct WorkerPool {
    clock: Clock,
    client: Arc<MediaClient>,
    idle: Arc<Idle>,
}

impl WorkerPool {
    /// Starts no thread yet. Each gets a client [like this one](MediaClient::per_thread).
    pub fn new(client: Arc<MediaClient>, clock: Clock) -> Self {
        Self { clock, client, idle: Arc::default() }
    }

    /// Runs work on one of the threads, where it may block between its awaits. Under a paused clock the work runs in place.
    /// If the returned future is dropped, the work ends at its next await.
    ///
    /// # Errors
    /// When no thread could be started, or the work panicked.
    pub(super) async fn run<T, W, F>(&self, work: W) -> io::Result<T>
    where
        T: Send + 'static,
        W: FnOnce(Arc<MediaClient>) -> F + Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        if self.clock.is_paused() {
            return Ok(work(self.client.clone()).await);
        }
        let (mut done, result) = oneshot::channel();
        self.dispatch(Box::new(move |client| {
            let work = work(client);
            Box::pin(async move {
                tokio::select! {
                    biased;
                    answer = work => drop(done.send(answer)),
                    () = done.closed() => {}
                }
            })
        }))?;
        result.await.map_err(|_| io::Error::other("bug: the download thread panicked"))
    }

    fn take_idle(&self) -> Option<mpsc::UnboundedSender<Work>> {
        self.idle.lock().pop()
    }

    fn dispatch(&self, mut work: Work) -> io::Result<()> {
        while let Some(worker) = self.take_idle() {
            match worker.send(work) {
                Ok(()) => return Ok(()),
                // The thread has just ended.
                Err(mpsc::error::SendError(back)) => work = back,
            }
        }
        let (worker, receiver) = mpsc::unbounded_channel();
        let _ = worker.send(work);
        let (clock, idle) = (self.clock.clone(), Arc::downgrade(&self.idle));
        let client = self.client.per_thread();
        let thread = std::thread::Builder::new().name("download".into());
        thread.spawn(move || serve(&clock, &Arc::new(client), &idle, &worker, receiver)).map(drop)
    }
}

/// A thread's loop, until it has been idle for a while.
fn serve(
    clock: &Clock,
    client: &Arc<MediaClient>,
    idle: &Weak<Idle>,
    worker: &mpsc::UnboundedSender<Work>,
    mut receiver: mpsc::UnboundedReceiver<Work>,
) {
    // The nice value is per thread, so the threads cannot be those of the async runtime.
    let _ = rustix::process::setpriority_process(None, NICE);
    allow_blocking();
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        while let Some(Some(work)) = clock.within(IDLE, receiver.recv()).await {
            work(client.clone()).await;
            let Some(idle) = idle.upgrade() else { return };
            let mut idle = idle.lock();
            idle.retain(|worker| !worker.is_closed());
            idle.push(worker.clone());
        }
        // A caller that has just taken this thread from the idle list either fails to send now, or is still served.
        receiver.close();
        if let Ok(work) = receiver.try_recv() {
            work(client.clone()).await;
        }
    });
    // Do not wait for a DNS lookup that is still running.
    runtime.shutdown_background();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::media::download::MediaTimeouts;
    use crate::media::guard::Policy;

    fn workers(clock: Clock) -> WorkerPool {
        let client =
            MediaClient::new(Policy::PrivateToo, MediaTimeouts::default(), 1000, None, clock.clone());
        WorkerPool::new(Arc::new(client), clock)
    }

    async fn thread(workers: &WorkerPool) -> std::thread::ThreadId {
        workers.run(|_| async { std::thread::current().id() }).await.unwrap()
    }

    /// Waits until `count` threads are idle.
    async fn idle(workers: &WorkerPool, count: usize) {
        while workers.idle.lock().len() != count {
            workers.clock.sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn dropped_work_ends_and_blocking_work_completes() {
        let workers = workers(Clock::machine());
        let (sender, blocked) = std::sync::mpsc::channel();
        let blocks = workers.run(move |_| async move { blocked.recv_timeout(Duration::from_secs(9)) });
        let (received, ()) = tokio::join!(blocks, async { sender.send("continue").unwrap() });
        assert_eq!(received.unwrap(), Ok("continue"));
        let (alive, ended) = oneshot::channel::<()>();
        let endless = workers.run(|_| async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        assert!(workers.clock.within(Duration::from_millis(20), endless).await.is_none());
        assert!(ended.await.is_err(), "dropped work must release what it holds");
    }

    #[tokio::test]
    async fn idle_threads_are_reused_unless_they_panicked() {
        let workers = workers(Clock::machine());
        let first = thread(&workers).await;
        idle(&workers, 1).await;
        assert_eq!(thread(&workers).await, first);
        idle(&workers, 1).await;
        let bug = workers.run(|_| async { assert!(std::hint::black_box(false), "work") });
        assert!(bug.await.is_err());
        assert_ne!(thread(&workers).await, first);
        idle(&workers, 1).await;
        let (go, gone) = oneshot::channel::<()>();
        let both = async { tokio::join!(workers.run(|_| gone), thread(&workers)) };
        let (_, (_, second)) = tokio::join!(async { go.send(()).unwrap() }, both);
        assert_ne!(second, first);
    }

    #[tokio::test]
    async fn ended_threads_are_skipped() {
        let workers = workers(Clock::machine());
        let (ended, receiver) = mpsc::unbounded_channel();
        drop(receiver);
        workers.idle.lock().push(ended);
        thread(&workers).await;
        idle(&workers, 1).await;
    }

    #[tokio::test]
    async fn only_download_threads_are_nice() {
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let theirs = workers(Clock::machine()).run(move |_| async move { niceness() }).await.unwrap();
        assert!(theirs >= NICE, "{theirs}");
        assert!(niceness() < NICE || niceness() == theirs);
    }

    #[tokio::test]
    async fn paused_clock_runs_work_in_place() {
        let here = std::thread::current().id();
        assert_eq!(thread(&workers(Clock::paused(Timestamp::from_millis(0)))).await, here);
    }
}
