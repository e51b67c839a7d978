//! The pipeline: folders, database, the session with the provider, and the stages on top. It has no server, no lock and
//! no signal handler, so that the simulation runs exactly this code.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::clock::Clock;
use crate::daemon::error::StartError;
use crate::daemon::inbox_number::inbox_number;
use crate::failpoints::{self, FailPoint};
use crate::fs::abilities::Abilities;
use crate::fs::file_system::FileSystem;
use crate::fs::lock::InboxLock;
use crate::fs::{FsError, create_private_folder};
use crate::heartbeats::Heartbeats;
use crate::inbox::Inbox;
use crate::job::policy::PollingPolicy;
use crate::jobfile::{self, LocalPictures};
use crate::library::Library;
use crate::library::bucket::Bucket;
use crate::library::layout::Layout;
use crate::media::client::MediaClient;
use crate::media::download::MediaTimeouts;
use crate::media::guard::Policy;
use crate::media::transport::{self, PinnedTransport};
use crate::pictures::PictureFolder;
use crate::provider::balance::SharedBalance;
use crate::provider::catalogue::SharedCatalogue;
use crate::provider::client::ProviderClient;
use crate::provider::gate::Gate;
use crate::provider::transport::{ApiTransport, ClientError};
use crate::provider::wanted_quotes::WantedQuotes;
use crate::rng::Rng;
use crate::secret::{CallbackSecrets, Secret};
use crate::settings::{DatabaseServer, Quotes, Settings, load_callback_secrets};

use crate::stages::epoch::{EpochParts, EpochStage};
use crate::stages::hooks::subscriptions;
use crate::stages::hooks::webhook::{HookTransport, HttpHooks};
use crate::stages::provider_session::{ProviderSession, SessionParts};
use crate::store::error::OpenError;
use crate::store::leadership::Role;
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
    /// What only the daemon that leads has.
    pub leading: Option<Leading>,
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
    /// The models that the account may use.
    pub catalogue: SharedCatalogue,
    /// The balance of the account.
    pub balance: SharedBalance,
    /// Draws seeds for jobs.
    pub rng: Rng,
    pub(super) layout: Layout,
    pub(super) clock: Clock,
}

/// What asks the provider and acts on its answers: one daemon at a time does.
pub struct Leading {
    /// The session with the provider.
    pub session: Arc<ProviderSession>,
    /// Requests whose quotes somebody waits for; `None`: prices are not asked for.
    pub wanted_quotes: Option<WantedQuotes>,
    /// Whether the database is the one used last.
    pub(super) epoch: Arc<EpochStage>,
    pub(super) hook_transport: Arc<dyn HookTransport>,
    /// The newest callback stored before this process began.
    pub(super) newest_delivery: i64,
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
        role: Role,
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
        let mut database = database(settings)?;
        if settings.database_server.is_some() {
            database = database.of_process(inbox_number(&settings.data_dir, &rng)?);
        }
        let (store, closing) =
            Store::open_as(role, database, polling_policy(settings), rng.clone(), clock.clone())?;
        // Before the first event: hooks are not notified of earlier ones.
        store.set_subscriptions(subscriptions(&settings.hooks));
        store.set_budgets(settings.budget.budgets(&clock));
        store.set_operator_prices(settings.budget.prices.clone());
        let fair_by = settings.provider.fair_by.clone();
        match role {
            Role::Leader => store.set_fair_by(fair_by).await?,
            Role::Follower => store.follow_fair_by(fair_by),
        }
        let secret = secrets.read().fingerprint();
        store.set_callback_secret_fingerprint(secret).await?;
        // One that follows with a folder downloads nothing.
        let gives_up_spool = role == Role::Follower && library.bucket().is_none();
        store.release_own_claims(gives_up_spool, clock.now()).await?;
        let fingerprint = key.fingerprint();
        let hook_transport: Arc<dyn HookTransport> = match &transports {
            Transports::Network => Arc::new(HttpHooks::default()),
            Transports::Simulated { hooks, .. } => hooks.clone(),
        };
        let (client, media) = clients(settings, transports, key, &clock)?;
        let asks_for_quotes = settings.provider.quotes == Quotes::Auto;
        store.set_quoting(asks_for_quotes.then(|| client.base_url().to_owned()));
        let (catalogue, balance) = (SharedCatalogue::new(clock.clone()), SharedBalance::new(clock.clone()));
        let leading = match role {
            Role::Follower => None,
            Role::Leader => {
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
                let session = ProviderSession::open(SessionParts {
                    store: store.clone(),
                    gate: Gate::new(settings.provider.submit_per_second, clock.now()),
                    client,
                    key_fingerprint: fingerprint,
                    quarantine: settings.quarantine_dir(),
                    clock: clock.clone(),
                    catalogue: catalogue.clone(),
                    balance: balance.clone(),
                })
                .await?;
                Some(Leading {
                    session,
                    wanted_quotes: asks_for_quotes.then(|| WantedQuotes::new(clock.clone())),
                    epoch: Arc::new(epoch),
                    hook_transport,
                    newest_delivery: store.newest_delivery().await?,
                })
            }
        };
        Ok(Self {
            store,
            closing,
            leading,
            media: Arc::new(media),
            secrets,
            library,
            pictures: PictureFolder::new(settings.pictures_dir()),
            heartbeats: Heartbeats::new(clock.clone()),
            watchers: Watchers::new(clock.clone()),
            inbox_lock: None,
            catalogue,
            balance,
            rng,
            layout,
            clock,
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
