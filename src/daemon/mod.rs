//! The daemon: opens everything, wires the rooms together, serves, and drains.

pub mod pipeline;
pub mod service;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::daemon::pipeline::{Pipeline, Transports, file_limits};
use crate::failpoints::{self, FailPoint};
use crate::fs::create_private_folder;
use crate::fs::lock::{DataLock, LockError};
use crate::fs::{self, FsError};
use crate::library::Library;
use crate::library::layout::LayoutError;
use crate::provider::client::ClientError;
use crate::rng::Rng;
use crate::secret::CallbackSecrets;
use crate::server::admin::{self, AdminServer, Archives, AuthTokens, Rotate};
use crate::server::public::{self, PublicServer};
use crate::settings::{SecretsError, Settings, load_callback_secrets, rotate_callback_secret};
use crate::stages::Heartbeats;
use crate::store::Store;
use crate::store::error::{OpenError, StoreError};

/// A stage that has not been heard of for so long is stuck. Long enough for the largest line file on a slow disk.
const SILENCE: Duration = Duration::from_secs(120);
/// How long a stop may take before what is left is cut off. All of it can be.
const DRAIN: Duration = Duration::from_secs(12);

/// Why the daemon cannot start: mostly a matter of configuration or place, exit code 2.
#[derive(Debug, Error)]
pub enum StartError {
    /// No key to submit with.
    #[error(
        "no API key is set: put it into DROPREEL_PROVIDER__API_KEY, into a file named by `provider.api_key_file`, or into the systemd credential `api_key`"
    )]
    NoKey,
    /// The data folder is on a file system that cannot hold a database.
    #[error("{} is on {what}; a database there is not safe: set `data_dir` to a folder on a local disk", .folder.display())]
    FileSystem {
        /// The data folder.
        folder: PathBuf,
        /// What it is on.
        what: String,
    },
    /// A door cannot be opened.
    #[error("cannot listen on {address} (`{key}`): {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Which setting.
        key: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A folder cannot be used.
    #[error(transparent)]
    Disk(#[from] FsError),
    /// Another daemon is running.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database cannot be worked with.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The callback secret cannot be had.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// `library.layout` is wrong.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The provider's client cannot be made.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl StartError {
    /// Whether it may pass by itself, so that it is worth starting again: a full disk, a failing one, too many open
    /// files. Exit code 1 then, or a service manager would leave the daemon down when there is room again.
    pub fn passes(&self) -> bool {
        match self {
            Self::Open(error) => error.passes(),
            Self::Store(error) => !error.is_of_one_job(),
            Self::Disk(FsError::StorageFull(_)) => true,
            Self::Disk(_) | Self::Lock(_) | Self::Secrets(_) => {
                let mut cause = std::error::Error::source(self);
                while let Some(error) = cause {
                    if error.downcast_ref().is_some_and(fs::is_transient) {
                        return true;
                    }
                    cause = error.source();
                }
                false
            }
            Self::NoKey
            | Self::FileSystem { .. }
            | Self::Listen { .. }
            | Self::Layout(_)
            | Self::Client(_) => false,
        }
    }
}

/// Why new secrets could not be taken up; the old ones stay in force.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// The key.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The callback secret.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A running daemon.
pub struct Daemon {
    admin_address: SocketAddr,
    public_address: SocketAddr,
    river: Pipeline,
    clock: Clock,
    stop: watch::Sender<bool>,
    doors: Vec<actix_web::dev::ServerHandle>,
    tasks: JoinSet<()>,
    _lock: DataLock,
}

impl Daemon {
    /// Opens everything and starts all stages and doors. What the last process left undone is simply due.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running then.
    pub async fn start(settings: Settings, clock: Clock, rng: Rng) -> Result<Self, StartError> {
        create_private_folder(&settings.data_dir)?;
        pipeline::check_file_system(&settings)?;
        let lock = match DataLock::acquire(&settings.data_dir) {
            // A disk that has failed is read-only without a word of it among its mount options.
            Err(LockError::Io { source, .. }) if source.kind() == std::io::ErrorKind::ReadOnlyFilesystem => {
                let (folder, what) = (settings.data_dir.clone(), pipeline::READ_ONLY.to_owned());
                return Err(StartError::FileSystem { folder, what });
            }
            taken => taken?,
        };
        failpoints::hit(FailPoint::StartLocked);
        let river = Pipeline::open(&settings, Transports::Network, clock.clone(), rng).await?;
        let public_listener = listen(settings.callbacks.listen, "callbacks.listen")?;
        let admin_listener = listen(settings.admin.listen, "admin.listen")?;
        let (public_address, admin_address) = (address_of(&public_listener)?, address_of(&admin_listener)?);
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();

        let public = PublicServer {
            store: river.store.clone(),
            secrets: river.secrets.clone(),
            signature: settings.callbacks.signature.clone(),
            clock: clock.clone(),
        };
        let admin = AdminServer {
            store: river.store.clone(),
            clock: clock.clone(),
            file_limits: file_limits(&settings),
            keys: AuthTokens {
                token: settings.admin.token.clone(),
                read_token: settings.admin.read_token.clone(),
            },
            library_dir: settings.library.dir.clone(),
            data_dir: settings.data_dir.clone(),
            inbox_dir: settings.inbox.dir.clone(),
            archives: Archives {
                accepted: settings.accepted_dir(),
                rejected: settings.rejected_dir(),
                quarantine: settings.quarantine_dir(),
            },
            alert_before_expiry: settings.downloads.alert_before_expiry,
            health: health(river.pulse.clone(), river.library.clone()),
            worries: worries(river.store.clone(), &settings),
            rotate: rotation(settings.clone(), river.secrets.clone()),
            stop: stopped.clone(),
        };
        let opened = |address, key| move |source| StartError::Listen { address, key, source };
        let doors = [
            public::serve(public_listener, public).map_err(opened(public_address, "callbacks.listen"))?,
            admin::serve(admin_listener, admin).map_err(opened(admin_address, "admin.listen"))?,
        ];
        let handles = doors.iter().map(actix_web::dev::Server::handle).collect();
        failpoints::hit(FailPoint::DoorsOpened);
        for door in doors {
            tasks.spawn(async move {
                if let Err(error) = door.await {
                    tracing::error!("a door closed: {error}");
                }
            });
        }
        river.flow(&settings, public_address.port(), &stopped, &mut tasks);
        failpoints::hit(FailPoint::Ready);
        Ok(Self { admin_address, public_address, river, clock, stop, doors: handles, tasks, _lock: lock })
    }

    /// Where the admin door listens: the port is known even where the setting says 0.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Where the public door listens.
    pub fn public_address(&self) -> SocketAddr {
        self.public_address
    }

    /// Waits until the database has failed in a way that only a fresh start can see through, and says which.
    pub async fn died(&self) -> String {
        self.river.store.died().await
    }

    /// The stages that seem to be stuck.
    pub fn stuck(&self) -> Vec<&'static str> {
        self.river.pulse.missing(SILENCE)
    }

    /// Takes up a new API key and a new callback secret; old callback tokens stay valid.
    ///
    /// # Errors
    /// See [`ReloadError`]; what could not be taken up stays as it was.
    pub async fn reload(&self, settings: &Settings) -> Result<(), ReloadError> {
        if let Some(key) = settings.provider.api_key.clone() {
            let print = key.print();
            self.river.session.client.set_key(key.clone())?;
            self.river.media.set_key(key);
            self.river.session.key_replaced(self.clock.now()).await?;
            self.river.store.note_key(print).await?;
        }
        let secrets = load_callback_secrets(settings)?;
        *self.river.secrets.write().unwrap_or_else(PoisonError::into_inner) = secrets;
        Ok(())
    }

    /// Stops in order: no more is begun, what is under way lands or is left to be gone on with, the database is
    /// closed. Ends within seconds.
    pub async fn stop(mut self) {
        failpoints::hit(FailPoint::StopBegan);
        self.stop.send_replace(true);
        let doors = self.doors.iter().map(|door| door.stop(true));
        let drained = async {
            futures_util::future::join_all(doors).await;
            while self.tasks.join_next().await.is_some() {}
        };
        if self.clock.within(DRAIN, drained).await.is_none() {
            tracing::warn!("some work did not end in time; it is gone on with at the next start");
        }
        self.tasks.shutdown().await;
        failpoints::hit(FailPoint::StopDrained);
        let Pipeline { store, closing, session, media, .. } = self.river;
        drop((store, session, media));
        // The writer ends with the last handle; one held by a stuck request must not keep us.
        let closed = tokio::task::spawn_blocking(move || closing.wait());
        let _ = self.clock.within(Duration::from_secs(2), closed).await;
        failpoints::hit(FailPoint::StopClosed);
    }
}

fn listen(address: SocketAddr, key: &'static str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).map_err(|source| StartError::Listen { address, key, source })
}

fn address_of(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    listener.local_addr().map_err(|source| StartError::Listen { address: unknown, key: "listen", source })
}

fn rotation(settings: Settings, secrets: Arc<RwLock<CallbackSecrets>>) -> Rotate {
    Arc::new(move || {
        let rotated = rotate_callback_secret(&settings).map_err(|error| error.to_string())?;
        *secrets.write().unwrap_or_else(PoisonError::into_inner) = rotated;
        Ok(())
    })
}

/// What goes on, but not as it should.
fn worries(store: Store, settings: &Settings) -> Arc<dyn Fn() -> Vec<String> + Send + Sync> {
    let address = settings.callbacks.public_url.as_ref().map(ToString::to_string);
    Arc::new(move || {
        let missed = store.missed_callbacks();
        missed.map(|missed| callbacks_missing(missed, address.as_deref())).into_iter().collect()
    })
}

fn callbacks_missing(missed: u32, address: Option<&str>) -> String {
    format!(
        "the last {missed} tasks ended without a callback: is {} reached from outside, by POST, without a redirect, and \
         does it lead to callbacks.listen? Meanwhile the provider is asked, which takes longer",
        address.unwrap_or("callbacks.public_url")
    )
}

fn health(pulse: Heartbeats, library: Library) -> Arc<dyn Fn() -> Vec<String> + Send + Sync> {
    Arc::new(move || {
        let mut wrong: Vec<String> =
            pulse.missing(SILENCE).into_iter().map(|stage| format!("the {stage} stage is stuck")).collect();
        if !library.is_present() {
            wrong.push(format!("the library at {} is gone", library.root().display()));
        }
        wrong
    })
}
