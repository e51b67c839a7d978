//! The pipeline: folders, database, the session with the provider, and the stages on top. It has no server, no lock and
//! no signal handler, so that the simulation runs exactly this code.

use std::sync::Arc;

use parking_lot::RwLock;

use tokio::sync::watch;
use tokio::task::JoinSet;
use url::Url;

use crate::clock::Clock;
use crate::daemon::error::StartError;
use crate::failpoints::{self, FailPoint};
use crate::fs::abilities::Abilities;
use crate::fs::file_system::FileSystem;
use crate::fs::lock::InboxLock;
use crate::fs::{FsError, create_private_folder};
use crate::heartbeats::Heartbeats;
use crate::inbox::Inbox;
use crate::job::policy::PollingPolicy;
use crate::job::retry::WATCHED_POLL_INTERVAL;
use crate::job::scheduling::TaskLimits;
use crate::jobfile::{self, LocalPictures};
use crate::library::Library;
use crate::library::bucket::Bucket;
use crate::library::layout::Layout;
use crate::library::quarantine::Quarantine;
use crate::media::client::MediaClient;
use crate::media::download::MediaTimeouts;
use crate::media::guard::Policy;
use crate::media::transport::{self, PinnedTransport};
use crate::pictures::PictureFolder;
use crate::pictures::address::PictureUrls;
use crate::provider::client::ProviderClient;
use crate::provider::gate::Gate;
use crate::provider::transport::{ApiTransport, ClientError};
use crate::provider::wanted_quotes::WantedQuotes;
use crate::rng::Rng;
use crate::secret::{CallbackSecrets, Secret};
use crate::settings::{DatabaseServer, Quotes, Settings, Trust, load_callback_secrets};
use crate::stages::account::AccountStage;
use crate::stages::balance::BalanceStage;
use crate::stages::callback::CallbackStage;
use crate::stages::download::upload::UploadStage;
use crate::stages::download::worker_pool::WorkerPool;
use crate::stages::download::{DownloadStage, DownloadTools};
use crate::stages::epoch::{EpochParts, EpochStage};
use crate::stages::hooks::webhook::{HookTransport, HttpHooks};
use crate::stages::hooks::{HookStage, subscriptions};
use crate::stages::intake::{IntakeFolders, IntakeStage};
use crate::stages::pictures::{PictureStage, PictureTools};
use crate::stages::poll::PollStage;
use crate::stages::provider_session::ProviderSession;
use crate::stages::quotes::QuoteStage;
use crate::stages::sidecars::SidecarStage;
use crate::stages::submit::{CallbackUrls, SubmitStage};
use crate::stages::{self, Stage};
use crate::store::error::OpenError;
use crate::store::{Database, Store, WriterHandle};
use crate::watchers::Watchers;

/// The newest of the provider's hosts (docs/provider.md#endpoints), which takes parameters at the root and refuses `extra`.
const NEWEST_HOST: &str = "api.qingbo.ai";

/// How requests to the provider and to media hosts are sent.
pub enum Transports {
    /// Over HTTP.
    Network,
    /// Within a simulation.
    Simulated {
        /// To the provider.
        provider: Arc<dyn ApiTransport>,
        /// To media hosts.
        media: Arc<dyn transport::MediaTransport>,
        /// To the receivers of hooks.
        hooks: Arc<dyn HookTransport>,
    },
}

/// See the module.
pub struct Pipeline {
    /// All state.
    pub store: Store,
    /// Waits until the database is closed.
    pub closing: WriterHandle,
    /// The session with the provider.
    pub session: Arc<ProviderSession>,
    /// The client of media hosts.
    pub media: Arc<MediaClient>,
    /// The secrets of callback tokens.
    pub secrets: Arc<RwLock<CallbackSecrets>>,
    /// The folder of finished media.
    pub library: Library,
    /// The copies of local pictures.
    pub pictures: PictureFolder,
    /// The heartbeats of all stages.
    pub heartbeats: Heartbeats,
    /// Whether somebody watches the jobs.
    pub watchers: Watchers,
    /// The lock of the inbox, if the daemon holds one.
    pub inbox_lock: Option<Arc<InboxLock>>,
    /// Requests whose quotes somebody waits for; `None`: prices are not asked for.
    pub wanted_quotes: Option<WantedQuotes>,
    /// Draws seeds for jobs.
    pub rng: Rng,
    layout: Layout,
    clock: Clock,
    hook_transport: Arc<dyn HookTransport>,
    /// The newest callback stored before this process began.
    newest_delivery: i64,
    /// Whether the database is the one used last.
    pub epoch: Arc<EpochStage>,
}

/// Where the settings say that the state is.
pub(super) fn database(settings: &Settings) -> Result<Database, OpenError> {
    match &settings.database_server {
        None => Ok(settings.database_file().as_path().into()),
        Some(DatabaseServer { address, password }) => Database::on_server(address, password.as_ref())
            .map_err(|source| OpenError::Server { address: address.clone(), source }),
    }
}

impl Pipeline {
    /// Opens folders, database and clients.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn open(
        settings: &Settings,
        transports: Transports,
        clock: Clock,
        rng: Rng,
    ) -> Result<Self, StartError> {
        let key = settings.provider.api_key.clone().ok_or(StartError::NoKey)?;
        let layout = Layout::parse(&settings.library.layout)?;
        create_private_folder(&settings.data_dir)?;
        for folder in [settings.accepted_dir(), settings.rejected_dir(), settings.quarantine_dir()] {
            create_private_folder(&folder)?;
        }
        // The inbox must exist before the daemon reports that it is ready.
        Inbox::new(settings.inbox.dir.clone()).create_if_missing()?;
        let bucket = settings.bucket.as_ref().map(Bucket::open).transpose()?;
        let library = open_library(settings, &rng)?.keeping_out_of(&settings.inbox.dir, &layout)?;
        let library = library.with_bucket(bucket);
        failpoints::hit(FailPoint::FoldersCreated);
        let secrets = Arc::new(RwLock::new(load_callback_secrets(settings)?));
        let (store, closing) =
            Store::open(database(settings)?, polling_policy(settings), rng.clone(), clock.clone())?;
        // Before the first event: hooks are not notified of earlier ones.
        store.set_subscriptions(subscriptions(&settings.hooks));
        store.set_budgets(settings.budget.budgets(&clock));
        store.set_operator_prices(settings.budget.prices.clone());
        store.set_fair_by(settings.provider.fair_by.clone()).await?;
        store.count_days().await?;
        let epoch = EpochStage::open(EpochParts {
            store: store.clone(),
            library: library.clone(),
            clock: clock.clone(),
            rng: rng.clone(),
            data_dir: settings.data_dir.clone(),
            is_shared: settings.database_server.is_some(),
            inbox: settings.inbox.dir.clone(),
            recursive: settings.inbox.recursive,
            accepted: settings.accepted_dir(),
        })
        .await?;

        let fingerprint = key.fingerprint();
        let hook_transport: Arc<dyn HookTransport> = match &transports {
            Transports::Network => Arc::new(HttpHooks::default()),
            Transports::Simulated { hooks, .. } => hooks.clone(),
        };
        let (client, media) = clients(settings, transports, key, &clock)?;
        let gate = Gate::new(settings.provider.submit_per_second, clock.now());
        let session = ProviderSession::open(
            store.clone(),
            gate,
            client,
            fingerprint,
            settings.quarantine_dir(),
            clock.clone(),
        )
        .await?;
        let wanted_quotes =
            (settings.provider.quotes == Quotes::Auto).then(|| WantedQuotes::new(clock.clone()));
        store.set_quoting(wanted_quotes.as_ref().map(|_| session.client.base_url().to_owned()));
        let newest_delivery = store.newest_delivery().await?;
        let (media, heartbeats) = (Arc::new(media), Heartbeats::new(clock.clone()));
        Ok(Self {
            store,
            closing,
            session,
            media,
            secrets,
            library,
            pictures: PictureFolder::new(settings.pictures_dir()),
            heartbeats,
            watchers: Watchers::new(clock.clone()),
            inbox_lock: None,
            wanted_quotes,
            rng,
            layout,
            clock,
            hook_transport,
            newest_delivery,
            epoch: Arc::new(epoch),
        })
    }

    /// Refuses folders on file systems that cannot move files safely, before anything is bought. Other failures show when
    /// the folder is used.
    pub(super) fn check_abilities(&self, settings: &Settings) -> Result<(), StartError> {
        let mut folders = vec![
            settings.inbox.dir.clone(),
            settings.accepted_dir(),
            settings.rejected_dir(),
            settings.quarantine_dir(),
        ];
        if self.library.is_present() {
            folders.push(settings.library.dir.clone());
        }
        for folder in folders {
            match Abilities::of(&folder) {
                Ok(found) => {
                    if let Some(restriction) = found.restriction() {
                        tracing::warn!(
                            "the file system of {} is restricted: {restriction}",
                            folder.display()
                        );
                    }
                }
                Err(error @ FsError::Unsuitable { .. }) => return Err(error.into()),
                Err(error) => tracing::warn!("{} could not be examined: {error}", folder.display()),
            }
        }
        Ok(())
    }

    /// Spawns all stages into `tasks`, to run until `stop` turns true. `public_port` is the port of the public server.
    pub fn spawn_stages(
        &self,
        settings: &Settings,
        public_port: u16,
        stop: &watch::Receiver<bool>,
        tasks: &mut JoinSet<()>,
    ) {
        let (store, clock, session) = (&self.store, &self.clock, &self.session);
        let public_url = public_url(settings, public_port);
        let urls = CallbackUrls::new(public_url.as_ref(), self.secrets.clone());
        let served_at = public_url.as_ref().filter(|_| settings.media.serve);
        let picture_urls = PictureUrls::new(served_at, self.secrets.clone());
        let tools = DownloadTools {
            store: store.clone(),
            clock: clock.clone(),
            workers: WorkerPool::new(self.media.clone(), clock.clone()),
            library: self.library.clone(),
            quarantine: Quarantine {
                folder: settings.quarantine_dir(),
                max_bytes: settings.quarantine.max_bytes,
            },
            layout: self.layout.clone(),
            alert_before_expiry: settings.downloads.alert_before_expiry,
        };
        let intake = IntakeStage::new(
            store.clone(),
            clock.clone(),
            intake_folders(settings, self.pictures.clone()),
            inbox_limits(settings),
            self.rng.clone(),
        );
        self.spawn_shared(self.epoch.clone(), stop, tasks);
        self.spawn(intake.locking(self.inbox_lock.clone()), stop, tasks);
        let submit =
            SubmitStage::new(store.clone(), session.clone(), limits(settings), urls, picture_urls.clone());
        self.spawn(submit, stop, tasks);
        // Fetched from our own public address, which may be a private one on a machine that is not on the internet.
        let own = Policy { private_addresses: true, plain_http: true, hosts: Vec::new() };
        let pictures = PictureStage::new(PictureTools {
            store: store.clone(),
            clock: clock.clone(),
            inbox: settings.inbox.dir.clone(),
            folder: self.pictures.clone(),
            urls: picture_urls,
            transport: Arc::new(PinnedTransport::new(own, clock.clone())),
        });
        self.spawn(pictures, stop, tasks);
        let callbacks = match settings.callbacks.trust {
            Trust::Verify => CallbackStage::new(store.clone(), clock.clone()),
            Trust::Payload => {
                CallbackStage::trusting_after(self.newest_delivery, store.clone(), clock.clone())
            }
        };
        self.spawn(callbacks, stop, tasks);
        self.spawn(AccountStage::new(store, session.clone()), stop, tasks);
        self.spawn(BalanceStage::new(session.clone()), stop, tasks);
        if let Some(wanted) = &self.wanted_quotes {
            self.spawn(QuoteStage::new(store.clone(), session.clone(), wanted.clone()), stop, tasks);
        }
        let watched_interval = WATCHED_POLL_INTERVAL.max(settings.polling.interval);
        let poll = PollStage::new(store.clone(), session.clone(), self.watchers.clone(), watched_interval);
        self.spawn(poll, stop, tasks);
        self.spawn(DownloadStage::new(tools, settings.downloads.concurrency), stop, tasks);
        let (concurrency, alert) = (settings.downloads.concurrency, settings.downloads.alert_before_expiry);
        let upload = UploadStage::new(store.clone(), clock.clone(), self.library.clone(), concurrency, alert);
        self.spawn(upload, stop, tasks);
        self.spawn(SidecarStage::new(store.clone(), self.library.clone(), clock.clone()), stop, tasks);
        if !settings.hooks.is_empty() {
            let library_dir = self.library.root().to_owned();
            let (hooks, transport) = (settings.hooks.clone(), self.hook_transport.clone());
            let hooks = HookStage::new(store.clone(), clock.clone(), hooks, library_dir, transport);
            self.spawn(hooks, stop, tasks);
        }
    }

    fn spawn<S: Stage>(&self, stage: S, stop: &watch::Receiver<bool>, tasks: &mut JoinSet<()>) {
        self.spawn_shared(Arc::new(stage), stop, tasks);
    }

    fn spawn_shared<S: Stage>(&self, stage: Arc<S>, stop: &watch::Receiver<bool>, tasks: &mut JoinSet<()>) {
        tasks.spawn(stages::run(stage, self.clock.clone(), self.heartbeats.clone(), stop.clone()));
    }
}

fn open_library(settings: &Settings, rng: &Rng) -> Result<Library, FsError> {
    let library = Library::open(&settings.library.dir, settings.library.mode, &settings.data_dir, rng)?;
    if !library.is_present() {
        tracing::error!(
            "the disk of the library at {} is missing; downloads wait for it; to start a new library instead, remove {} \
             and restart",
            library.root().display(),
            settings.data_dir.join("library.disk").display()
        );
    }
    Ok(library)
}

fn clients(
    settings: &Settings,
    transports: Transports,
    key: Secret,
    clock: &Clock,
) -> Result<(ProviderClient, MediaClient), ClientError> {
    let (provider, downloads) = (&settings.provider, &settings.downloads);
    let policy = Policy {
        private_addresses: downloads.allow_private_addresses,
        plain_http: downloads.plain_http,
        hosts: downloads.hosts.clone(),
    };
    let (base, timeout) = (provider.base_url.as_str(), provider.request_timeout);
    let (client, transport): (_, Arc<dyn transport::MediaTransport>) = match transports {
        Transports::Network => {
            let proxy = provider.proxy.as_ref().map_or("", Secret::expose);
            let client = ProviderClient::new(base, key.clone(), timeout, proxy, clock.clone())?;
            (client, Arc::new(PinnedTransport::new(policy.clone(), clock.clone())))
        }
        Transports::Simulated { provider, media, .. } => {
            (ProviderClient::with_transport(provider, base, key.clone(), timeout, clock.clone())?, media)
        }
    };
    let home = Some((&provider.base_url, key));
    let media = MediaClient::with_transport(
        transport,
        policy,
        MediaTimeouts::default(),
        downloads.max_bytes,
        home,
        clock.clone(),
    );
    Ok((client, media))
}

pub(super) const READ_ONLY: &str = "a read-only file system";

/// Refuses file systems on which a database is not safe. Must run before anything is opened for writing, whose error
/// would not name the cause.
pub(super) fn check_file_system(settings: &Settings) -> Result<(), StartError> {
    let found = FileSystem::of(&settings.data_dir)?;
    let folder = settings.data_dir.clone();
    match (found.read_only, found.network) {
        (true, _) => Err(StartError::FileSystem { folder, what: READ_ONLY.into() }),
        (_, Some(name)) => {
            Err(StartError::FileSystem { folder, what: format!("a network file system ({name})") })
        }
        (false, None) => Ok(()),
    }
}

fn polling_policy(settings: &Settings) -> PollingPolicy {
    PollingPolicy {
        callbacks: settings.callbacks.public_url.is_some(),
        callback_grace: settings.polling.callback_grace,
        interval: settings.polling.interval,
        max_interval: settings.polling.max_interval,
        give_up: settings.polling.give_up,
        alert_before_expiry: settings.downloads.alert_before_expiry,
        usual: None,
    }
}

fn limits(settings: &Settings) -> TaskLimits {
    TaskLimits {
        max_running: settings.provider.max_running,
        max_running_per_model: settings.provider.max_running_per_model.clone(),
    }
}

/// What job files are held to.
pub fn file_limits(settings: &Settings) -> jobfile::JobFileLimits {
    jobfile::JobFileLimits {
        max_bytes: settings.inbox.max_bytes,
        max_jobs: settings.inbox.max_jobs.into(),
        newest_host: settings.provider.base_url.host_str() == Some(NEWEST_HOST),
        max_expansion: settings.inbox.max_expansion,
        pictures: if settings.media.serve { LocalPictures::HandedOver } else { LocalPictures::Off },
        ..jobfile::JobFileLimits::default()
    }
}

/// What the job files of the inbox are held to, and those that the command line reads.
pub fn inbox_limits(settings: &Settings) -> jobfile::JobFileLimits {
    let pictures = if settings.media.serve { LocalPictures::BesideJobFile } else { LocalPictures::Off };
    jobfile::JobFileLimits { pictures, ..file_limits(settings) }
}

fn intake_folders(settings: &Settings, pictures: PictureFolder) -> IntakeFolders {
    IntakeFolders {
        inbox: settings.inbox.dir.clone(),
        accepted: settings.accepted_dir(),
        rejected: settings.rejected_dir(),
        recursive: settings.inbox.recursive,
        settle: settings.inbox.settle,
        rescan: settings.inbox.rescan,
        pictures,
        picture_wait: settings.inbox.picture_wait,
    }
}

/// Port 0 in `public_url` stands for the port of the public server: for demonstrations and tests on one machine.
fn public_url(settings: &Settings, public_port: u16) -> Option<Url> {
    let mut url = settings.callbacks.public_url.clone();
    if let Some(url) = url.as_mut().filter(|url| url.port() == Some(0)) {
        // Cannot fail: settings refuse URLs without a host.
        let _ = url.set_port(Some(public_port));
    }
    url
}
