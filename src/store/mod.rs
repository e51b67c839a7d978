//! The database: all state in one SQLite file or on a PostgreSQL server, written by one thread. The only module with SQL in it.
//!
//! A change is answered once it is committed and flushed. The store does not decide what a state means: it
//! reads a row, calls [`step`](crate::job::step::step), and writes the result.
//!
//! Where to look:
//!
//! | topic | files |
//! | --- | --- |
//! | change a job: apply an event, start an attempt; what happened to it | `apply`; `start_attempt`; `attempt`, the proof that one is committed; `history` |
//! | adopt tasks that were made elsewhere | `adopt` |
//! | change the request of a job that was not submitted | `edit` |
//! | estimates, and the quotes they are made from; the price of a job's next attempt; the sum for waiting jobs; what attempts cost and budgets have left | `estimates`; `quotes`; `prices`; `waiting`; `spending` |
//! | ingest job files, mark them as moved; what they would cost before | `job_files`; `new_jobs` |
//! | jobs as job files, and handing them out to another machine | `export` |
//! | whose turn it is to be submitted | `fairness` |
//! | which jobs are due; isolate a corrupt job; tasks that jobs no longer have | `due`; `earlier_tasks` |
//! | downloads that are due, planned paths of outputs; sidecars to rewrite | `downloads`; `sidecars` |
//! | keep and process callbacks | `deliveries` |
//! | the outbox of notifications | `hooks`; `subscription`, what a hook wants |
//! | what is suspended or paused | `suspensions` |
//! | one job: by id or name, its history and request | `details`; `view`, as the API shows it |
//! | rate outputs; label jobs | `ratings`; `labels` |
//! | lists of jobs, in pages and others, the change feed; search by words; lists of batches; the end of a batch | `job_pages`, `lists`; `search`; `batches`; `batch_ends` |
//! | what needs a person | `needs` |
//! | outputs in the library, in pages | `library_outputs` |
//! | local pictures that jobs name | `pictures` |
//! | how long tasks usually take; places at the provider | `learned_times`; `slots` |
//! | numbers | `counts` of jobs; `report`, money and times, from `report_sums` and their `histogram`; `model_stats`, the same by model; `activity`, by model in the last hours; `metrics` since the start of the process |
//! | epoch, API key, latest time; who leads | `meta`; `leadership` |
//! | remove old jobs; copy the database; move it to another engine | `prune`; `backup`; `migrate` |
//! | rows to values and back | `job_rows` (its list of columns is expanded by `columns_macro`), `output_rows`, `sql_types` |
//! | open and migrate the file, make the tables on a server; is the file still there | `opening`, `schema`, `postgres_schema`; `database_file` |
//! | connections, statements and rows of both | `db` |
//! | the thread that writes; waking others after a commit | `writer`; `notify` |

pub mod activity;
pub mod adopt;
pub mod apply;
pub mod attempt;
pub mod backup;
mod batch_ends;
mod batches;
mod columns_macro;
#[cfg(test)]
pub(crate) mod costs;
pub mod counts;
mod database_file;
mod db;
pub mod deliveries;
pub mod details;
pub mod disputes;
pub mod downloads;
pub mod due;
pub mod earlier_tasks;
pub mod edit;
pub mod error;
pub mod estimates;
pub mod export;
pub mod fairness;
mod gone_processes;
mod histogram;
mod history;
pub mod hooks;
pub mod job_files;
pub mod job_pages;
mod job_rows;
pub mod labels;
pub mod leadership;
mod learned_times;
pub mod library_outputs;
pub mod lists;
pub mod meta;
pub mod metrics;
pub mod migrate;
pub mod model_stats;
pub mod needs;
pub mod new_jobs;
pub mod notify;
mod opening;
mod output_rows;
pub mod pictures;
pub mod postgres_schema;
mod prices;
pub mod prune;
pub mod quotes;
pub mod ratings;
pub mod report;
mod report_sums;
pub mod schema;
mod search;
pub mod sidecars;
pub mod slots;
pub mod spending;
mod sql_types;
pub mod start_attempt;
pub mod subscription;
pub mod suspensions;
mod unprocessed;
mod view;
pub mod waiting;
mod writer;

use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, watch};

use crate::clock::Clock;
use crate::job::budget::Budgets;
use crate::job::policy::PollingPolicy;
use crate::pricing::price_book::PriceBook;
use crate::rng::Rng;
use crate::store::db::Connection;
pub use crate::store::db::Database;
use database_file::DatabaseFile;
use error::{OpenError, StoreError};
use leadership::{Leadership, LeadershipWatch, Role};
use metrics::{MISSED_CALLBACKS_THRESHOLD, Metrics};
use notify::{Notifications, Notifier, Topic};
use subscription::Subscription;
use writer::{Shared, Writer};

/// Most reads at a time; further ones wait.
const READERS: usize = 4;

/// The database. Clones share it; when the last one is dropped, the writer ends.
#[derive(Clone)]
pub struct Store {
    writer: Writer,
    readers: Arc<Readers>,
    notifier: Notifier,
    died: watch::Receiver<Option<String>>,
    leadership: watch::Receiver<Leadership>,
    policy: PollingPolicy,
    rng: Rng,
    clock: Clock,
    metrics: Metrics,
    subscriptions: Arc<OnceLock<Vec<Subscription>>>,
    budgets: Arc<RwLock<Budgets>>,
    prices: Arc<RwLock<Arc<PriceBook>>>,
    unfinished: job_files::unfinished::UnfinishedFiles,
    /// How the tasks of each model went, as of a moment ago.
    activity: Arc<Mutex<activity::LastActivity>>,
    /// The label whose values take turns.
    fair_by: Arc<RwLock<Option<String>>>,
}

struct Readers {
    file: Arc<DatabaseFile>,
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
}

/// Joins the writer thread once every [`Store`] is dropped, so that the file is closed in order.
pub struct WriterHandle(Option<std::thread::JoinHandle<()>>);

impl WriterHandle {
    /// Waits until the writer has ended. Call it after the last [`Store`] is dropped.
    pub fn wait(self) {
        // The callers of a writer that panicked have already failed.
        let _ = self.0.map(std::thread::JoinHandle::join);
    }
}

impl Store {
    /// Opens the database as the process that leads, and creates it if necessary. `clock` is not read: times come with each
    /// call. But under a paused clock there are no threads, and everything happens in one order.
    ///
    /// # Errors
    /// See [`OpenError`]; the daemon ends with exit code 2 on each of them.
    pub fn open(
        database: impl Into<Database>,
        policy: PollingPolicy,
        rng: Rng,
        clock: Clock,
    ) -> Result<(Self, WriterHandle), OpenError> {
        Self::open_as(Role::Leader, database, policy, rng, clock)
    }

    /// The same for either role. A process that follows creates nothing.
    ///
    /// # Errors
    /// As [`Store::open`]; [`OpenError::OtherVersion`] if the process that leads is of another version.
    pub fn open_as(
        role: Role,
        database: impl Into<Database>,
        policy: PollingPolicy,
        rng: Rng,
        clock: Clock,
    ) -> Result<(Self, WriterHandle), OpenError> {
        let database = database.into();
        let failed = |source| OpenError::Database { database: database.clone(), source };
        let connection = match role {
            Role::Leader => opening::open_writer(&database)?,
            Role::Follower => opening::open_follower(&database)?,
        };
        let unfinished = job_files::unfinished::recover(&connection, role).map_err(failed)?;
        let unfinished = Arc::new(Mutex::new(unfinished));
        let last_change = lists::last_change(&connection).map_err(failed)?;
        let first_reader = opening::open_reader(&database)?;
        let notifier = Notifier::new();
        let (died_sender, died) = watch::channel(None);
        let metrics = Metrics::default();
        let subscriptions = Arc::<OnceLock<Vec<Subscription>>>::default();
        let budgets = Arc::<RwLock<Budgets>>::default();
        let shared = Shared {
            notifier: notifier.clone(),
            metrics: metrics.clone(),
            subscriptions: subscriptions.clone(),
            budgets: budgets.clone(),
        };
        let file = Arc::new(DatabaseFile::opened(database.clone()));
        let opened = (connection, file.clone());
        let (watched, leadership) = LeadershipWatch::new(role);
        let (writer, thread) =
            Writer::start(opened, last_change, shared, (died_sender, watched), clock.clone())
                .map_err(|source| OpenError::Thread { source })?;
        let readers = Arc::new(Readers {
            file,
            idle: Mutex::new(vec![first_reader]),
            permits: Semaphore::new(READERS),
        });
        Ok((
            Self {
                writer,
                readers,
                notifier,
                died,
                leadership,
                policy,
                rng,
                clock,
                metrics,
                subscriptions,
                budgets,
                prices: Arc::default(),
                unfinished,
                activity: Arc::default(),
                fair_by: Arc::default(),
            },
            WriterHandle(thread),
        ))
    }

    /// What keeps the state: `sqlite` or `postgresql`.
    pub fn engine(&self) -> &'static str {
        self.readers.file.database().engine()
    }

    /// The counters since the start of the process.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Checks that the database is still the file under its name. Otherwise nothing is written, and so nothing is
    /// submitted, until it is back.
    ///
    /// # Errors
    /// [`StoreError::FileReplaced`]
    pub fn check_file(&self) -> Result<(), StoreError> {
        self.readers.file.check()
    }

    /// How many tasks in a row ended without a callback, if callbacks are expected and there are too many for chance.
    pub fn missed_callbacks(&self) -> Option<u32> {
        let missed = self.metrics.missed_callbacks();
        (self.policy.callbacks && missed >= MISSED_CALLBACKS_THRESHOLD).then_some(missed)
    }

    /// Notifies without a change of the database.
    pub fn wake(&self, topic: Topic) {
        self.notifier.notify(topic);
    }

    /// Listens for notifications. Listen before the first query: a change that is committed between the query and
    /// listening would go unnoticed.
    pub fn listen(&self, topic: Topic) -> Notifications {
        self.notifier.listen(topic)
    }

    /// Waits for a failure of the writer whose outcome is unknown, and returns its message. Then the process must end:
    /// only a restart can find out what was committed.
    pub async fn fatal_error(&self) -> String {
        let mut died = self.died.clone();
        match died.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => "the writer has ended".to_owned(),
        }
    }

    /// Makes every read fail from now on, so that a test notices reads.
    #[cfg(test)]
    pub(crate) fn refuse_reads(&self) {
        self.readers.permits.close();
    }

    /// Runs a query on a connection of its own, off the async threads.
    async fn read<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let readers = self.readers.clone();
        let _permit = self.readers.permits.acquire().await.map_err(|_| StoreError::Closed)?;
        let answer = self.clock.run_blocking(move || {
            let connection = match readers.take() {
                Some(connection) => connection,
                None => {
                    readers.file.check()?;
                    opening::open_reader(readers.file.database()).map_err(StoreError::of_reader)?
                }
            };
            let result = connection.read(query).map_err(|error| error.of_database(readers.file.database()));
            if !connection.is_lost() {
                readers.put_back(connection);
            }
            result
        });
        answer.await.map_err(|_| StoreError::Aborted("a bug: a query of the database panicked".into()))?
    }
}

impl Readers {
    fn take(&self) -> Option<Connection> {
        let mut idle = self.idle.lock();
        // A server that was stopped meanwhile has closed those to it.
        idle.retain(|connection| !connection.is_lost());
        idle.pop()
    }

    fn put_back(&self, connection: Connection) {
        self.idle.lock().push(connection);
    }
}

#[cfg(test)]
mod tests;
