//! Which stages run in a daemon: those of one that leads, and fewer of one that follows another.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use url::Url;

use crate::daemon::pipeline::{Leading, Pipeline, inbox_limits};
use crate::job::retry::WATCHED_POLL_INTERVAL;
use crate::job::scheduling::TaskLimits;
use crate::library::quarantine::Quarantine;
use crate::media::guard::Policy;
use crate::media::transport::PinnedTransport;
use crate::pictures::PictureFolder;
use crate::pictures::address::PictureUrls;
use crate::settings::{Settings, Trust};
use crate::stages::account::AccountStage;
use crate::stages::balance::BalanceStage;
use crate::stages::callback::CallbackStage;
use crate::stages::download::upload::UploadStage;
use crate::stages::download::worker_pool::WorkerPool;
use crate::stages::download::{DownloadStage, DownloadTools};
use crate::stages::gone_processes::GoneProcessStage;
use crate::stages::hooks::HookStage;
use crate::stages::intake::{IntakeFolders, IntakeStage};
use crate::stages::pictures::{PictureStage, PictureTools};
use crate::stages::poll::PollStage;
use crate::stages::quotes::QuoteStage;
use crate::stages::sidecars::SidecarStage;
use crate::stages::submit::{CallbackUrls, SubmitStage};
use crate::stages::{self, Stage};

impl Pipeline {
    /// Spawns all stages into `tasks`, to run until `stop` turns true; those of a daemon that follows if this one does.
    /// `public_port` is the port of the public server.
    pub fn spawn_stages(
        &self,
        settings: &Settings,
        public_port: u16,
        stop: &watch::Receiver<bool>,
        tasks: &mut JoinSet<()>,
    ) {
        if let Some(leading) = &self.leading {
            self.spawn_shared(leading.epoch.clone(), stop, tasks);
        }
        let intake = IntakeStage::new(
            self.store.clone(),
            self.clock.clone(),
            intake_folders(settings, self.pictures.clone()),
            inbox_limits(settings),
            self.rng.clone(),
        );
        self.spawn(intake.locking(self.inbox_lock.clone()), stop, tasks);
        if let Some(leading) = &self.leading {
            self.spawn_stages_that_lead(leading, settings, public_port, stop, tasks);
        }
        // A folder may be another one on each machine.
        if self.leading.is_some() || self.library.bucket().is_some() {
            self.spawn_downloads(settings, stop, tasks);
        }
    }

    fn spawn_stages_that_lead(
        &self,
        leading: &Leading,
        settings: &Settings,
        public_port: u16,
        stop: &watch::Receiver<bool>,
        tasks: &mut JoinSet<()>,
    ) {
        let (store, clock, session) = (&self.store, &self.clock, &leading.session);
        let public_url = public_url(settings, public_port);
        let urls = CallbackUrls::new(public_url.as_ref(), self.secrets.clone());
        let served_at = public_url.as_ref().filter(|_| settings.media.serve);
        let picture_urls = PictureUrls::new(served_at, self.secrets.clone());
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
                CallbackStage::trusting_after(leading.newest_delivery, store.clone(), clock.clone())
            }
        };
        self.spawn(callbacks, stop, tasks);
        self.spawn(AccountStage::new(store, session.clone()), stop, tasks);
        self.spawn(BalanceStage::new(session.clone()), stop, tasks);
        if let Some(wanted) = &leading.wanted_quotes {
            self.spawn(QuoteStage::new(store.clone(), session.clone(), wanted.clone()), stop, tasks);
        }
        let watched_interval = WATCHED_POLL_INTERVAL.max(settings.polling.interval);
        let poll = PollStage::new(store.clone(), session.clone(), self.watchers.clone(), watched_interval);
        self.spawn(poll, stop, tasks);
        self.spawn(SidecarStage::new(store.clone(), self.library.clone(), clock.clone()), stop, tasks);
        if store.has_others() {
            self.spawn(GoneProcessStage::new(store.clone(), clock.clone()), stop, tasks);
        }
        if !settings.hooks.is_empty() {
            let library_dir = self.library.root().to_owned();
            let (hooks, transport) = (settings.hooks.clone(), leading.hook_transport.clone());
            let hooks = HookStage::new(store.clone(), clock.clone(), hooks, library_dir, transport);
            self.spawn(hooks, stop, tasks);
        }
    }

    fn spawn_downloads(&self, settings: &Settings, stop: &watch::Receiver<bool>, tasks: &mut JoinSet<()>) {
        let (concurrency, alert) = (settings.downloads.concurrency, settings.downloads.alert_before_expiry);
        let tools = DownloadTools {
            store: self.store.clone(),
            clock: self.clock.clone(),
            workers: WorkerPool::new(self.media.clone(), self.clock.clone()),
            library: self.library.clone(),
            quarantine: Quarantine {
                folder: settings.quarantine_dir(),
                max_bytes: settings.quarantine.max_bytes,
            },
            layout: self.layout.clone(),
            alert_before_expiry: alert,
        };
        self.spawn(DownloadStage::new(tools, concurrency), stop, tasks);
        let (store, library) = (self.store.clone(), self.library.clone());
        self.spawn(UploadStage::new(store, self.clock.clone(), library, concurrency, alert), stop, tasks);
    }

    fn spawn<S: Stage>(&self, stage: S, stop: &watch::Receiver<bool>, tasks: &mut JoinSet<()>) {
        self.spawn_shared(Arc::new(stage), stop, tasks);
    }

    fn spawn_shared<S: Stage>(&self, stage: Arc<S>, stop: &watch::Receiver<bool>, tasks: &mut JoinSet<()>) {
        tasks.spawn(stages::run(stage, self.clock.clone(), self.heartbeats.clone(), stop.clone()));
    }
}

fn limits(settings: &Settings) -> TaskLimits {
    TaskLimits {
        max_running: settings.provider.max_running,
        max_running_per_model: settings.provider.max_running_per_model.clone(),
    }
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
