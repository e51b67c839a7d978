//! The daemon: opens everything, starts stages and servers, and shuts them down in order.

mod database_watch;
pub mod error;
mod follower;
pub(crate) mod inbox_number;
mod listener_watch;
pub mod pipeline;
pub mod service;
mod spawn;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::failpoints::{self, FailPoint};
use crate::fs::create_private_folder;
use crate::fs::lock::{DataLock, InboxLock, LockError};
use crate::heartbeats::STALLED_AFTER;
use crate::inbox::Inbox;
use crate::rng::Rng;
use crate::server::admin::{self, AdminServer, AdoptTasks, other_secret};
use crate::server::public::{self, PublicServer};
use crate::settings::{Settings, load_callback_secrets};
use crate::stages::adopt::Adopter;
use crate::store::leadership::Role;
use database_watch::watch_database;
use error::{ReloadError, StartError};
use listener_watch::WatchedListener;
use pipeline::{Leading, Pipeline, Transports, file_limits};

/// How long a shutdown waits for work that is under way. What is aborted then, the next start resumes.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(12);
/// How long a shutdown waits for the database to be closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A running daemon.
pub struct Daemon {
    admin_address: SocketAddr,
    public_address: SocketAddr,
    pipeline: Pipeline,
    clock: Clock,
    stop: watch::Sender<bool>,
    /// Why a listener failed.
    listener_failure: watch::Receiver<Option<String>>,
    servers: Vec<actix_web::dev::ServerHandle>,
    tasks: JoinSet<()>,
    _lock: DataLock,
}

impl Daemon {
    /// Opens everything and starts the stages and servers of a daemon in this role. What the previous process left undone is
    /// simply due.
    ///
    /// # Errors
    /// See [`StartError`]; nothing keeps running then.
    pub async fn start(settings: Settings, role: Role, clock: Clock, rng: Rng) -> Result<Self, StartError> {
        create_private_folder(&settings.data_dir)?;
        pipeline::check_file_system(&settings)?;
        let lock = match DataLock::acquire(&settings.data_dir) {
            // A failed disk becomes read-only without a trace in its mount options.
            Err(LockError::Io { source, .. }) if source.kind() == std::io::ErrorKind::ReadOnlyFilesystem => {
                let (folder, what) = (settings.data_dir.clone(), pipeline::READ_ONLY.to_owned());
                return Err(StartError::FileSystem { folder, what });
            }
            acquired => acquired?,
        };
        Inbox::new(settings.inbox.dir.clone()).create_if_missing()?;
        let inbox_lock = InboxLock::acquire(&settings.inbox.dir)?;
        failpoints::hit(FailPoint::StartLocked);
        let mut pipeline = Pipeline::open(&settings, role, Transports::Network, clock.clone(), rng).await?;
        pipeline.inbox_lock = Some(Arc::new(inbox_lock));
        pipeline.check_abilities(&settings)?;
        let public_listener = listen(settings.callbacks.listen, "callbacks.listen")?;
        let admin_listener = listen(settings.admin.listen, "admin.listen")?;
        let (public_address, admin_address) = (address_of(&public_listener)?, address_of(&admin_listener)?);
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();

        let public = PublicServer {
            store: pipeline.store.clone(),
            secrets: pipeline.secrets.clone(),
            signature: settings.callbacks.signature.clone(),
            pictures: settings.media.serve.then(|| pipeline.pictures.clone()),
            clock: clock.clone(),
        };
        let admin = admin_server(&settings, &pipeline, clock.clone(), stopped.clone());
        let public_listen = WatchedListener { address: public_address, key: "callbacks.listen" };
        let admin_listen = WatchedListener { address: admin_address, key: "admin.listen" };
        let unusable = |listener: WatchedListener| {
            let WatchedListener { address, key } = listener;
            move |source| StartError::Listen { address, key, source }
        };
        let servers = [
            (public_listen, public::serve(public_listener, public).map_err(unusable(public_listen))?),
            (admin_listen, admin::serve(admin_listener, admin).map_err(unusable(admin_listen))?),
        ];
        let handles = servers.iter().map(|(_, server)| server.handle()).collect();
        failpoints::hit(FailPoint::ListenersOpen);
        let (failed, listener_failure) = watch::channel(None);
        for (listener, server) in servers {
            let (clock, stopped) = (clock.clone(), stopped.clone());
            tasks.spawn(listener_watch::serve(listener, server, clock, stopped, failed.clone()));
        }
        tasks.spawn(watch_database(pipeline.store.clone(), clock.clone(), stopped.clone()));
        if role == Role::Follower {
            if let Some(why) = other_secret(&pipeline.store, &pipeline.secrets).await {
                tracing::error!("{why}");
            }
            let (store, data_dir) = (pipeline.store.clone(), settings.data_dir.clone());
            tasks.spawn(follower::note_epochs(store, data_dir, clock.clone(), stopped.clone()));
        }
        pipeline.spawn_stages(&settings, public_address.port(), &stopped, &mut tasks);
        failpoints::hit(FailPoint::Ready);
        Ok(Self {
            admin_address,
            public_address,
            pipeline,
            clock,
            stop,
            listener_failure,
            servers: handles,
            tasks,
            _lock: lock,
        })
    }

    /// Where the admin server listens: with the real port where the setting says 0.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Where the public server listens.
    pub fn public_address(&self) -> SocketAddr {
        self.public_address
    }

    /// Waits until the database fails in such a way that only a restart shows what was committed. Returns why.
    pub async fn database_failure(&self) -> String {
        self.pipeline.store.fatal_error().await
    }

    /// Waits until no daemon leads any more, if this one follows: it may lead, once it is stopped and started again.
    pub async fn may_lead(&self) {
        self.pipeline.store.may_lead().await;
    }

    /// The daemon that leads, for people, if this one follows.
    pub fn leader(&self) -> Option<String> {
        self.pipeline.store.leader()
    }

    /// Waits until a listener fails. Returns which and why.
    pub async fn listener_failure(&self) -> String {
        let mut failure = self.listener_failure.clone();
        match failure.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            // No listener is watched any more: the daemon is stopping.
            Err(_) => std::future::pending().await,
        }
    }

    /// The stages that have not begun a pass for too long.
    pub fn stalled_stages(&self) -> Vec<&'static str> {
        self.pipeline.heartbeats.missing(STALLED_AFTER)
    }

    /// Loads the API key, the callback secret, budgets and prices again. Callback tokens made under the old secret stay valid.
    ///
    /// # Errors
    /// See [`ReloadError`]; what could not be loaded stays as it was.
    pub async fn reload(&self, settings: &Settings) -> Result<(), ReloadError> {
        self.pipeline.store.set_operator_prices(settings.budget.prices.clone());
        self.pipeline.store.set_budgets(settings.budget.budgets(&self.clock));
        if self.pipeline.leading.is_some() {
            self.pipeline.store.count_days().await?;
        }
        if let Some(key) = settings.provider.api_key.clone() {
            self.pipeline.media.set_key(key.clone());
            if let Some(Leading { session, .. }) = &self.pipeline.leading {
                let fingerprint = key.fingerprint();
                session.client.set_key(key)?;
                session.key_replaced(self.clock.now()).await?;
                self.pipeline.store.set_api_key_fingerprint(fingerprint).await?;
            }
        }
        let secrets = load_callback_secrets(settings)?;
        let secret = secrets.fingerprint();
        *self.pipeline.secrets.write() = secrets;
        self.pipeline.store.set_callback_secret_fingerprint(secret).await?;
        Ok(())
    }

    /// Shuts down in order: starts nothing new, drains what is under way, closes the database. Ends within seconds.
    pub async fn stop(self) {
        self.shut_down(true).await;
    }

    /// The same within four seconds, since somebody has to lead. False: the database is still open here, by work that has not
    /// ended.
    pub async fn stop_at_once(self) -> bool {
        self.shut_down(false).await
    }

    async fn shut_down(mut self, gracefully: bool) -> bool {
        failpoints::hit(FailPoint::ShutdownBegan);
        self.stop.send_replace(true);
        let servers = self.servers.iter().map(|server| server.stop(gracefully));
        let drained = async {
            futures_util::future::join_all(servers).await;
            while self.tasks.join_next().await.is_some() {}
        };
        let timeout = if gracefully { DRAIN_TIMEOUT } else { CLOSE_TIMEOUT };
        if self.clock.within(timeout, drained).await.is_none() {
            tracing::warn!("shutdown timed out; unfinished work resumes at the next start");
        }
        self.tasks.shutdown().await;
        failpoints::hit(FailPoint::ShutdownDrained);
        let Pipeline { store, closing, leading, media, .. } = self.pipeline;
        // The writer thread ends with the last handle of the store.
        drop((store, leading, media));
        // Not for ever: a request that hangs may still hold one.
        let closed = tokio::task::spawn_blocking(move || closing.wait());
        let is_closed = self.clock.within(CLOSE_TIMEOUT, closed).await.is_some();
        failpoints::hit(FailPoint::ShutdownClosed);
        is_closed
    }
}

fn admin_server(
    settings: &Settings,
    pipeline: &Pipeline,
    clock: Clock,
    shutdown: watch::Receiver<bool>,
) -> AdminServer {
    AdminServer {
        store: pipeline.store.clone(),
        clock,
        settings: Arc::new(settings.clone()),
        file_limits: file_limits(settings),
        rng: pipeline.rng.clone(),
        adopt: adopt_tasks(pipeline),
        catalogue: pipeline.catalogue.clone(),
        balance: pipeline.balance.clone(),
        wanted_quotes: pipeline.leading.as_ref().and_then(|leading| leading.wanted_quotes.clone()),
        library: pipeline.library.clone(),
        pictures: pipeline.pictures.clone(),
        heartbeats: pipeline.heartbeats.clone(),
        watchers: pipeline.watchers.clone(),
        callback_secrets: pipeline.secrets.clone(),
        shutdown,
    }
}

/// `None`: this daemon follows.
fn adopt_tasks(pipeline: &Pipeline) -> Option<AdoptTasks> {
    let leading = pipeline.leading.as_ref()?;
    let adopter = Adopter::new(pipeline.store.clone(), leading.session.clone());
    Some(Arc::new(move |tasks, name| {
        let adopter = adopter.clone();
        Box::pin(async move { adopter.adopt(tasks, name).await })
    }))
}

fn listen(address: SocketAddr, key: &'static str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).map_err(|source| StartError::Listen { address, key, source })
}

fn address_of(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    listener.local_addr().map_err(|source| StartError::Listen { address: unknown, key: "listen", source })
}
