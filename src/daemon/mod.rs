//! The daemon: opens everything, wires the rooms together, serves, and drains.

pub mod service;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::dice::Dice;
use crate::disk::DiskError;
use crate::disk::file_system::examine;
use crate::disk::inbox::Inbox;
use crate::disk::library::Library;
use crate::disk::lock::{DataLock, LockError};
use crate::disk::names::{Layout, LayoutError};
use crate::disk::{make_private_folder, write_durably};
use crate::doors::admin::{self, AdminDoor};
use crate::doors::public::{self, PublicDoor};
use crate::job::event::{Doubt, Event};
use crate::job::state::StateName;
use crate::job::terms::Terms;
use crate::job::turn::Limits;
use crate::jobfile;
use crate::lab::{self, Site};
use crate::media::fetch::{MediaClient, Patience};
use crate::media::guard::Policy;
use crate::provider::client::{ClientError, ProviderClient};
use crate::provider::gate::Gate;
use crate::secret::{CallbackSecrets, Secret};
use crate::settings::{SecretsError, Settings, load_callback_secrets};
use crate::stages::callback::CallbackStage;
use crate::stages::download::{DownloadStage, DownloadTools};
use crate::stages::intake::{IntakeFolders, IntakeStage};
use crate::stages::line::Line;
use crate::stages::poll::PollStage;
use crate::stages::submit::{CallbackUrls, SubmitStage};
use crate::stages::{self, Pulse, Stage};
use crate::store::error::{OpenError, StoreError};
use crate::store::look::Filter;
use crate::store::{Closing, Store};

/// A stage that has not been heard of for so long is stuck. Long enough for the largest line file on a slow disk.
const SILENCE: Duration = Duration::from_secs(120);
/// How long a stop may take before what is left is cut off. All of it can be.
const DRAIN: Duration = Duration::from_secs(12);

/// Why the daemon cannot start. Each is a matter of configuration or place: exit code 2.
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
    Disk(#[from] DiskError),
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
    store: Store,
    closing: Closing,
    line: Arc<Line>,
    media: Arc<MediaClient>,
    secrets: Arc<RwLock<CallbackSecrets>>,
    pulse: Pulse,
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
    pub async fn start(settings: Settings, clock: Clock, dice: Dice) -> Result<Self, StartError> {
        let key = settings.provider.api_key.clone().ok_or(StartError::NoKey)?;
        let layout = Layout::parse(&settings.library.layout)?;
        make_private_folder(&settings.data_dir)?;
        let lock = DataLock::take(&settings.data_dir)?;
        lab::reach(Site::StartLocked);
        check_file_system(&settings)?;
        for folder in [settings.accepted_dir(), settings.rejected_dir(), settings.quarantine_dir()] {
            make_private_folder(&folder)?;
        }
        // Files may be dropped as soon as the daemon says that it is ready.
        Inbox::new(settings.inbox.dir.clone()).ensure()?;
        let library = Library::open(&settings.library.dir, settings.library.mode)?;
        lab::reach(Site::FoldersMade);
        let secrets = Arc::new(RwLock::new(load_callback_secrets(&settings)?));
        let (store, closing) = Store::open(&settings.database(), terms(&settings), dice)?;
        begin_epoch(&store, &settings, &clock).await?;

        let client = provider_client(&settings, key.clone(), clock.clone())?;
        let gate = Gate::new(settings.provider.submit_per_second, clock.now());
        let line = Line::open(store.clone(), gate, client, clock.clone()).await?;
        let media = Arc::new(media_client(&settings, key, clock.clone()));

        let public_listener = listen(settings.callbacks.listen, "callbacks.listen")?;
        let admin_listener = listen(settings.admin.listen, "admin.listen")?;
        let (public_address, admin_address) = (address_of(&public_listener)?, address_of(&admin_listener)?);
        let pulse = Pulse::new(clock.clone());
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();

        let public = PublicDoor { store: store.clone(), secrets: secrets.clone(), clock: clock.clone() };
        let admin = AdminDoor {
            store: store.clone(),
            clock: clock.clone(),
            file_limits: file_limits(&settings),
            token: settings.admin.token.clone(),
            library_dir: settings.library.dir.clone(),
            health: health(pulse.clone(), library.clone()),
            stop: stopped.clone(),
        };
        let opened = |address, key| move |source| StartError::Listen { address, key, source };
        let doors = [
            public::serve(public_listener, public).map_err(opened(public_address, "callbacks.listen"))?,
            admin::serve(admin_listener, admin).map_err(opened(admin_address, "admin.listen"))?,
        ];
        let handles = doors.iter().map(actix_web::dev::Server::handle).collect();
        lab::reach(Site::DoorsOpened);
        for door in doors {
            tasks.spawn(async move {
                if let Err(error) = door.await {
                    tracing::error!("a door closed: {error}");
                }
            });
        }

        let mut daemon = Self {
            admin_address,
            public_address,
            store: store.clone(),
            closing,
            line: line.clone(),
            media: media.clone(),
            secrets: secrets.clone(),
            pulse,
            clock: clock.clone(),
            stop,
            doors: handles,
            tasks,
            _lock: lock,
        };
        let urls = callback_urls(&settings, public_address, secrets);
        daemon.run(IntakeStage::new(
            store.clone(),
            clock.clone(),
            intake_folders(&settings),
            file_limits(&settings),
        ));
        daemon.run(SubmitStage::new(store.clone(), line.clone(), limits(&settings), urls));
        daemon.run(CallbackStage::new(store.clone(), clock.clone()));
        daemon.run(PollStage::new(store.clone(), line));
        let tools = DownloadTools {
            store,
            clock,
            client: media,
            library,
            quarantine: settings.quarantine_dir(),
            layout,
            alert_before_expiry: settings.downloads.alert_before_expiry,
        };
        daemon.run(DownloadStage::new(tools, settings.downloads.concurrency));
        lab::reach(Site::Ready);
        Ok(daemon)
    }

    fn run<S: Stage>(&mut self, stage: S) {
        let stopped = self.stop.subscribe();
        self.tasks.spawn(stages::run(Arc::new(stage), self.clock.clone(), self.pulse.clone(), stopped));
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
        self.store.died().await
    }

    /// The stages that seem to be stuck.
    pub fn stuck(&self) -> Vec<&'static str> {
        self.pulse.silent(SILENCE)
    }

    /// Takes up a new API key and a new callback secret; old callback tokens stay valid.
    ///
    /// # Errors
    /// See [`ReloadError`]; what could not be taken up stays as it was.
    pub async fn reload(&self, settings: &Settings) -> Result<(), ReloadError> {
        if let Some(key) = settings.provider.api_key.clone() {
            self.line.client.set_key(key.clone())?;
            self.media.set_key(key);
            self.line.gate.key_replaced();
            self.line.write_stops(self.clock.now()).await?;
        }
        let secrets = load_callback_secrets(settings)?;
        *self.secrets.write().unwrap_or_else(std::sync::PoisonError::into_inner) = secrets;
        Ok(())
    }

    /// Stops in order: no more is begun, what is under way lands or is left to be gone on with, the database is
    /// closed. Ends within seconds.
    pub async fn stop(mut self) {
        lab::reach(Site::StopBegan);
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
        lab::reach(Site::StopDrained);
        let Self { store, closing, line, media, .. } = self;
        drop((store, line, media));
        // The writer ends with the last handle; one held by a stuck request must not keep us.
        let closed = tokio::task::spawn_blocking(move || closing.wait());
        let _ = self.clock.within(Duration::from_secs(2), closed).await;
        lab::reach(Site::StopClosed);
    }
}

fn listen(address: SocketAddr, key: &'static str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).map_err(|source| StartError::Listen { address, key, source })
}

fn address_of(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    listener.local_addr().map_err(|source| StartError::Listen { address: unknown, key: "listen", source })
}

fn check_file_system(settings: &Settings) -> Result<(), StartError> {
    let found = examine(&settings.data_dir)?;
    let folder = settings.data_dir.clone();
    match (found.read_only, found.network) {
        (true, _) => Err(StartError::FileSystem { folder, what: "a read-only file system".into() }),
        (_, Some(name)) => {
            Err(StartError::FileSystem { folder, what: format!("a network file system ({name})") })
        }
        (false, None) => Ok(()),
    }
}

/// Counts this start in the database and beside it. A database behind the count beside it was restored from an older
/// state: what it calls pending may have been submitted since, so a person must look first.
async fn begin_epoch(store: &Store, settings: &Settings, clock: &Clock) -> Result<(), StartError> {
    let path = settings.data_dir.join("epoch");
    let beside = match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().unwrap_or(0),
        Err(_) => 0,
    };
    if beside > store.epoch().await? {
        tracing::error!("the database is older than the last one used here: unsubmitted jobs are held");
        for state in [StateName::Pending, StateName::Submitting] {
            hold_restored(store, state, clock).await?;
        }
    }
    let epoch = store.begin_epoch(beside).await?;
    lab::reach(Site::EpochCounted);
    write_durably(&path, format!("{epoch}\n").as_bytes())?;
    lab::reach(Site::EpochWritten);
    Ok(())
}

async fn hold_restored(store: &Store, state: StateName, clock: &Clock) -> Result<(), StoreError> {
    let mut cursor = None;
    loop {
        let filter = Filter { state: Some(state), ..Filter::default() };
        let page = store.list(filter, cursor, 500).await?;
        for sight in &page.jobs {
            store.apply(sight.job.id(), Event::Doubted(Doubt::Restored), clock.now()).await?;
            lab::reach(Site::RestoredHeld);
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

fn terms(settings: &Settings) -> Terms {
    Terms {
        callbacks: settings.callbacks.public_url.is_some(),
        callback_grace: settings.polling.callback_grace,
        interval: settings.polling.interval,
        max_interval: settings.polling.max_interval,
        give_up: settings.polling.give_up,
        alert_before_expiry: settings.downloads.alert_before_expiry,
    }
}

fn limits(settings: &Settings) -> Limits {
    Limits {
        max_running: settings.provider.max_running,
        max_running_per_model: settings.provider.max_running_per_model.clone(),
    }
}

fn file_limits(settings: &Settings) -> jobfile::Limits {
    jobfile::Limits { max_bytes: settings.inbox.max_bytes, ..jobfile::Limits::default() }
}

fn intake_folders(settings: &Settings) -> IntakeFolders {
    IntakeFolders {
        inbox: settings.inbox.dir.clone(),
        accepted: settings.accepted_dir(),
        rejected: settings.rejected_dir(),
        settle: settings.inbox.settle,
        rescan: settings.inbox.rescan,
    }
}

fn provider_client(settings: &Settings, key: Secret, clock: Clock) -> Result<ProviderClient, ClientError> {
    let provider = &settings.provider;
    let proxy = provider.proxy.as_ref().map_or("", Secret::expose);
    ProviderClient::new(provider.base_url.as_str(), key, provider.request_timeout, proxy, clock)
}

fn media_client(settings: &Settings, key: Secret, clock: Clock) -> MediaClient {
    let downloads = &settings.downloads;
    let policy = if downloads.allow_private_addresses { Policy::PrivateToo } else { Policy::PublicOnly };
    let home = Some((&settings.provider.base_url, key));
    MediaClient::new(policy, Patience::default(), downloads.max_bytes, home, clock)
}

/// `{public_url}/callbacks/{job_id}/{token}` (contract, section 6). Port 0 in `public_url` stands for the port that
/// the public door was given: for demonstrations and tests on one machine.
fn callback_urls(
    settings: &Settings,
    door: SocketAddr,
    secrets: Arc<RwLock<CallbackSecrets>>,
) -> CallbackUrls {
    let base = settings.callbacks.public_url.clone().map(|mut url| {
        if url.port() == Some(0) {
            // Refused only for URLs without a host, which settings do not let pass.
            let _ = url.set_port(Some(door.port()));
        }
        url.as_str().trim_end_matches('/').to_owned()
    });
    Arc::new(move |job| {
        let base = base.as_ref()?;
        let secrets = secrets.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let token = secrets.token(&job.to_string());
        Some(Secret::new(format!("{base}/callbacks/{job}/{}", token.expose())))
    })
}

fn health(pulse: Pulse, library: Library) -> Arc<dyn Fn() -> Vec<String> + Send + Sync> {
    Arc::new(move || {
        let mut wrong: Vec<String> =
            pulse.silent(SILENCE).into_iter().map(|stage| format!("the {stage} stage is stuck")).collect();
        if !library.is_present() {
            wrong.push(format!("the library at {} is gone", library.root().display()));
        }
        wrong
    })
}
