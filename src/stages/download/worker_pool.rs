//! A thread for each job that downloads. The thread reads from the network and writes to the disk itself, without handing
//! chunks over. Its runtime and client pass on to the next thread, so that the next file uses the same connection.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::clock::{Clock, allow_blocking};
use crate::media::client::MediaClient;

/// The threads' nice value (0 is normal, 19 yields most): downloads yield to callbacks and the page.
const NICE: i32 = 10;

/// Starts the threads and keeps idle workers for the next ones.
pub struct WorkerPool {
    clock: Clock,
    client: Arc<MediaClient>,
    workers: Arc<Mutex<Workers>>,
}

#[derive(Default)]
struct Workers {
    threads: usize,
    /// The last used on top.
    idle: Vec<Worker>,
}

/// What a thread works with. A connection lives on the runtime that opened it.
struct Worker {
    /// Taken only on drop.
    runtime: Option<Runtime>,
    client: Arc<MediaClient>,
}

impl Worker {
    /// Its client is [like this one](MediaClient::per_thread).
    fn new(client: &MediaClient) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime: Some(runtime), client: Arc::new(client.per_thread()) })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Do not wait for a DNS lookup that is still running; an async thread could not wait at all.
            runtime.shutdown_background();
        }
    }
}

/// Counts a thread while it lives. The last one to end closes the idle connections, so an idle daemon has none.
struct ThreadGuard(Arc<Mutex<Workers>>);

impl ThreadGuard {
    fn new(workers: &Arc<Mutex<Workers>>) -> Self {
        workers.lock().threads += 1;
        Self(workers.clone())
    }
}

impl Drop for ThreadGuard {
    fn drop(&mut self) {
        let mut workers = self.0.lock();
        workers.threads -= 1;
        let closed = if workers.threads == 0 { std::mem::take(&mut workers.idle) } else { Vec::new() };
        // Close connections without the lock.
        drop(workers);
        drop(closed);
    }
}

impl WorkerPool {
    /// Starts no thread yet.
    pub fn new(client: Arc<MediaClient>, clock: Clock) -> Self {
        Self { clock, client, workers: Arc::default() }
    }

    /// Runs work on a thread of its own, where it may block between its awaits. Under a paused clock the work runs in
    /// place. If the returned future is dropped, the work ends at its next await.
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
        let guard = ThreadGuard::new(&self.workers);
        let idle = self.workers.lock().idle.pop();
        let worker = idle.map_or_else(|| Worker::new(&self.client), Ok)?;
        let serve = move || {
            // The nice value is per thread, so the thread cannot be one of the async runtime.
            let _ = rustix::process::setpriority_process(None, NICE);
            allow_blocking();
            let work = work(worker.client.clone());
            if let Some(runtime) = &worker.runtime {
                runtime.block_on(async {
                    tokio::select! {
                        biased;
                        answer = work => drop(done.send(answer)),
                        () = done.closed() => {}
                    }
                });
            }
            guard.0.lock().idle.push(worker);
        };
        std::thread::Builder::new().name("download".into()).spawn(serve)?;
        result.await.map_err(|_| io::Error::other("bug: the download thread panicked"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Timestamp;
    use crate::media::download::MediaTimeouts;
    use crate::media::guard::Policy;

    fn workers(clock: Clock) -> WorkerPool {
        let client = MediaClient::new(
            Policy { private_addresses: true, ..Policy::default() },
            MediaTimeouts::default(),
            1000,
            None,
            clock.clone(),
        );
        WorkerPool::new(Arc::new(client), clock)
    }

    /// The client that work is given, as an address.
    async fn client(workers: &WorkerPool) -> usize {
        workers.run(|client| async move { Arc::as_ptr(&client) as usize }).await.unwrap()
    }

    /// Waits until this many threads run and this many workers are idle.
    async fn until(workers: &WorkerPool, threads: usize, idle: usize) {
        let counts = || {
            let workers = workers.workers.lock();
            (workers.threads, workers.idle.len())
        };
        while counts() != (threads, idle) {
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
    async fn idle_workers_are_reused_until_the_last_thread_ends() {
        let workers = workers(Clock::machine());
        let (go, gone) = oneshot::channel::<()>();
        let others = async {
            until(&workers, 1, 0).await;
            let first = client(&workers).await;
            until(&workers, 1, 1).await;
            assert_eq!(client(&workers).await, first);
            until(&workers, 1, 1).await;
            let bug = workers.run(|_| async { assert!(std::hint::black_box(false), "work") });
            assert!(bug.await.is_err());
            until(&workers, 1, 0).await;
            client(&workers).await;
            until(&workers, 1, 1).await;
            go.send(()).unwrap();
        };
        let (_, ()) = tokio::join!(workers.run(|_| gone), others);
        until(&workers, 0, 0).await;
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
        let workers = workers(Clock::paused(Timestamp::from_millis(0)));
        assert_eq!(workers.run(|_| async { std::thread::current().id() }).await.unwrap(), here);
    }
}
