//! The river: folders, database, the line to the provider, and the five stages over them. No door, no lock and no
//! signal, so that a simulation runs the very same one.

use std::sync::{Arc, RwLock};

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::api::list::JobFilter;
use crate::clock::Clock;
use crate::daemon::StartError;
use crate::failpoints::{self, FailPoint};
use crate::fs::file_system::FileSystem;
use crate::fs::{FsError, create_private_folder, write_durably};
use crate::inbox::Inbox;
use crate::job::event::{Doubt, Event};
use crate::job::policy::PollingPolicy;
use crate::job::scheduling::Limits;
use crate::job::state::StateName;
use crate::jobfile;
use crate::library::Library;
use crate::library::layout::Layout;
use crate::media::fetch::{MediaClient, Patience};
use crate::media::guard::Policy;
use crate::media::transport::{self, Pinned};
use crate::provider::client::{self, ClientError, ProviderClient};
use crate::provider::gate::Gate;
use crate::rng::Rng;
use crate::secret::{CallbackSecrets, Secret};
use crate::settings::{Settings, Trust, load_callback_secrets};
use crate::stages::callback::CallbackStage;
use crate::stages::download::worker_pool::WorkerPool;
use crate::stages::download::{DownloadStage, DownloadTools};
use crate::stages::hooks::{HookStage, subscriptions};
use crate::stages::intake::{IntakeFolders, IntakeStage};
use crate::stages::poll::PollStage;
use crate::stages::provider_session::ProviderSession;
use crate::stages::submit::{CallbackUrls, SubmitStage};
use crate::stages::{self, Heartbeats, Stage};
use crate::store::error::StoreError;
use crate::store::{Closing, Store};

/// Who carries requests to the world outside.
pub enum Transports {
    /// HTTP.
    Network,
    /// Somebody else: a simulation.
    Carried {
        /// To the provider.
        provider: Arc<dyn client::ApiTransport>,
        /// To media hosts.
        media: Arc<dyn transport::MediaTransport>,
    },
}

/// All that works without a door.
pub struct Pipeline {
    /// All state.
    pub store: Store,
    /// Closes the database in order.
    pub closing: Closing,
    /// The line to the provider.
    pub session: Arc<ProviderSession>,
    /// The way to media hosts.
    pub media: Arc<MediaClient>,
    /// What admits a callback.
    pub secrets: Arc<RwLock<CallbackSecrets>>,
    /// Where files go.
    pub library: Library,
    /// The stages' signs of life.
    pub pulse: Heartbeats,
    layout: Layout,
    clock: Clock,
    /// The newest callback that was kept before this process began.
    newest_delivery: i64,
}

impl Pipeline {
    /// Opens folders, database and clients. What the last process left undone is simply due.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn open(
        settings: &Settings,
        ways: Transports,
        clock: Clock,
        rng: Rng,
    ) -> Result<Self, StartError> {
        let key = settings.provider.api_key.clone().ok_or(StartError::NoKey)?;
        let layout = Layout::parse(&settings.library.layout)?;
        create_private_folder(&settings.data_dir)?;
        for folder in [settings.accepted_dir(), settings.rejected_dir(), settings.quarantine_dir()] {
            create_private_folder(&folder)?;
        }
        // Files may be dropped as soon as the daemon says that it is ready.
        Inbox::new(settings.inbox.dir.clone()).create_if_missing()?;
        let library = open_library(settings, &rng)?;
        failpoints::hit(FailPoint::FoldersMade);
        let secrets = Arc::new(RwLock::new(load_callback_secrets(settings)?));
        let (store, closing) = Store::open(&settings.database(), terms(settings), rng, clock.clone())?;
        // Before anything can happen that they are told of.
        store.subscribe(subscriptions(&settings.hooks));
        begin_epoch(&store, settings, &clock).await?;

        let print = key.print();
        let (client, media) = clients(settings, ways, key, &clock)?;
        let gate = Gate::new(settings.provider.submit_per_second, clock.now());
        let session = ProviderSession::open(store.clone(), gate, client, print, clock.clone()).await?;
        let newest_delivery = store.newest_delivery().await?;
        let (media, pulse) = (Arc::new(media), Heartbeats::new(clock.clone()));
        Ok(Self { store, closing, session, media, secrets, library, pulse, layout, clock, newest_delivery })
    }

    /// Runs all stages in `tasks` until `stop` turns true. `door` is the port of the public door.
    pub fn flow(
        &self,
        settings: &Settings,
        door: u16,
        stop: &watch::Receiver<bool>,
        tasks: &mut JoinSet<()>,
    ) {
        let (store, clock, session) = (&self.store, &self.clock, &self.session);
        let urls = callback_urls(settings, door, self.secrets.clone());
        let intake = (intake_folders(settings), file_limits(settings));
        let tools = DownloadTools {
            store: store.clone(),
            clock: clock.clone(),
            hands: WorkerPool::new(self.media.clone(), clock.clone()),
            library: self.library.clone(),
            quarantine: settings.quarantine_dir(),
            layout: self.layout.clone(),
            alert_before_expiry: settings.downloads.alert_before_expiry,
        };
        self.run(IntakeStage::new(store.clone(), clock.clone(), intake.0, intake.1), stop, tasks);
        self.run(SubmitStage::new(store.clone(), session.clone(), limits(settings), urls), stop, tasks);
        let callbacks = match settings.callbacks.trust {
            Trust::Verify => CallbackStage::new(store.clone(), clock.clone()),
            Trust::Payload => {
                CallbackStage::trusting_after(self.newest_delivery, store.clone(), clock.clone())
            }
        };
        self.run(callbacks, stop, tasks);
        self.run(PollStage::new(store.clone(), session.clone()), stop, tasks);
        self.run(DownloadStage::new(tools, settings.downloads.concurrency), stop, tasks);
        if !settings.hooks.is_empty() {
            let library_dir = self.library.root().to_owned();
            let hooks = HookStage::new(store.clone(), clock.clone(), settings.hooks.clone(), library_dir);
            self.run(hooks, stop, tasks);
        }
    }

    fn run<S: Stage>(&self, stage: S, stop: &watch::Receiver<bool>, tasks: &mut JoinSet<()>) {
        tasks.spawn(stages::run(Arc::new(stage), self.clock.clone(), self.pulse.clone(), stop.clone()));
    }
}

fn open_library(settings: &Settings, rng: &Rng) -> Result<Library, FsError> {
    let library = Library::open(&settings.library.dir, settings.library.mode, &settings.data_dir, rng)?;
    if !library.is_present() {
        tracing::error!(
            "the disk of the library at {} is not there: downloads wait until it is; to begin a new library instead, \
             remove {} and start again",
            library.root().display(),
            settings.data_dir.join("library.disk").display()
        );
    }
    Ok(library)
}

fn clients(
    settings: &Settings,
    ways: Transports,
    key: Secret,
    clock: &Clock,
) -> Result<(ProviderClient, MediaClient), ClientError> {
    let (provider, downloads) = (&settings.provider, &settings.downloads);
    let policy = if downloads.allow_private_addresses { Policy::PrivateToo } else { Policy::PublicOnly };
    let (base, timeout) = (provider.base_url.as_str(), provider.request_timeout);
    let (client, transport): (_, Arc<dyn transport::MediaTransport>) = match ways {
        Transports::Network => {
            let proxy = provider.proxy.as_ref().map_or("", Secret::expose);
            let client = ProviderClient::new(base, key.clone(), timeout, proxy, clock.clone())?;
            (client, Arc::new(Pinned::new(policy, clock.clone())))
        }
        Transports::Carried { provider, media } => {
            (ProviderClient::with_transport(provider, base, key.clone(), timeout, clock.clone())?, media)
        }
    };
    let home = Some((&provider.base_url, key));
    let media =
        MediaClient::over(transport, policy, Patience::default(), downloads.max_bytes, home, clock.clone());
    Ok((client, media))
}

/// What is said of it.
pub(super) const READ_ONLY: &str = "a read-only file system";

/// Before anything is opened for writing: what is the matter with the file system is best told by its name.
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

/// Counts this start in the database and beside it. A database behind the count beside it was restored from an older
/// state, and so was one that says itself that it is a backup: what it calls pending may have been submitted since, so a
/// person must look first.
async fn begin_epoch(store: &Store, settings: &Settings, clock: &Clock) -> Result<(), StartError> {
    let path = settings.data_dir.join("epoch");
    let beside = match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().unwrap_or(0),
        Err(_) => 0,
    };
    let copied_at = store.copied_at().await?;
    if copied_at.is_some() || beside > store.epoch().await? {
        let what = match copied_at {
            Some(at) => format!("a backup of {at}"),
            None => "older than the last one used here".to_owned(),
        };
        tracing::error!(
            "the database is {what}: unsubmitted jobs are held, for they may have been submitted since"
        );
        for state in [StateName::Pending, StateName::Submitting] {
            hold_restored(store, state, clock).await?;
        }
    }
    let epoch = store.begin_epoch(beside).await?;
    failpoints::hit(FailPoint::EpochCounted);
    write_durably(&path, format!("{epoch}\n").as_bytes())?;
    failpoints::hit(FailPoint::EpochWritten);
    Ok(())
}

async fn hold_restored(store: &Store, state: StateName, clock: &Clock) -> Result<(), StoreError> {
    let mut cursor = None;
    loop {
        let filter = JobFilter { state: Some(state), ..JobFilter::default() };
        let page = store.list(filter, cursor, 500).await?;
        for sight in &page.jobs {
            store.apply(sight.job.id(), Event::Doubted(Doubt::Restored), clock.now()).await?;
            failpoints::hit(FailPoint::RestoredHeld);
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

fn terms(settings: &Settings) -> PollingPolicy {
    PollingPolicy {
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

pub(super) fn file_limits(settings: &Settings) -> jobfile::Limits {
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

/// `{public_url}/callbacks/{job_id}/{token}` (docs/reference.md#http). Port 0 in `public_url` stands for the
/// port that the public door was given: for demonstrations and tests on one machine.
fn callback_urls(settings: &Settings, door: u16, secrets: Arc<RwLock<CallbackSecrets>>) -> CallbackUrls {
    let base = settings.callbacks.public_url.clone().map(|mut url| {
        if url.port() == Some(0) {
            // Refused only for URLs without a host, which settings do not let pass.
            let _ = url.set_port(Some(door));
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
