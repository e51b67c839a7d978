//! The daemon's pipeline on a runtime of its own, which can be killed between any two steps of its tasks.

use std::path::Path;
use std::sync::{Arc, Mutex};

use parking_lot::RwLock;

use dropreel::api::list::JobFilter;
use dropreel::clock::{Clock, Timestamp};
use dropreel::daemon::pipeline::{Pipeline, Transports};
use dropreel::job::budget::Budgets;
use dropreel::job::event::{Event, OperatorAction};
use dropreel::job::step::ActionReply;
use dropreel::job::suspension::{Suspension, SuspensionCause};
use dropreel::job::{JobId, state::StateName};
use dropreel::rng::Rng;
use dropreel::secret::CallbackSecrets;
use dropreel::settings::Settings;
use dropreel::store::Store;
use dropreel::store::error::StoreError;
use dropreel::store::leadership::Role;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::network::Network;

/// The largest callback body.
const MAX_BODY: usize = 256 * 1024;

/// The job that an operator acts on.
#[derive(Clone, Copy)]
pub enum Target {
    Job(JobId),
    /// The nth of the list.
    Nth(u64),
}

/// A process of the daemon.
pub struct DaemonProcess {
    runtime: Runtime,
    pub clock: Clock,
    network: Network,
    shared: Arc<Mutex<Shared>>,
    stop: watch::Sender<bool>,
}

#[derive(Default)]
struct Shared {
    open: Option<Open>,
    /// Why the process has ended by itself.
    ended: Option<String>,
    /// The jobs of actions that may lead to another charge.
    paid_actions: Vec<JobId>,
    /// Those of them that were rejected.
    rejected: Vec<JobId>,
    tasks: JoinSet<()>,
}

#[derive(Clone)]
struct Open {
    store: Store,
    secrets: Arc<RwLock<CallbackSecrets>>,
}

impl DaemonProcess {
    /// Starts the daemon on its folders as they are.
    pub fn start(
        settings: &Settings,
        network: &Network,
        wall: Timestamp,
        seed: u64,
        is_watched: bool,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (stop, stopped) = watch::channel(false);
        let (clock, shared) = (Clock::paused(wall), Arc::new(Mutex::new(Shared::default())));
        let process =
            Self { runtime, clock: clock.clone(), network: network.clone(), shared: shared.clone(), stop };
        let (settings, network) = (settings.clone(), network.clone());
        process.runtime.spawn(async move {
            let network = Arc::new(network);
            let transports =
                Transports::Simulated { provider: network.clone(), media: network.clone(), hooks: network };
            match Pipeline::open(&settings, Role::Leader, transports, clock, Rng::seeded(seed)).await {
                Err(error) => shared.lock().unwrap().ended = Some(error.to_string()),
                Ok(pipeline) => {
                    let _watching = is_watched.then(|| pipeline.watchers.open_stream());
                    let store = pipeline.store.clone();
                    {
                        let mut inside = shared.lock().unwrap();
                        pipeline.spawn_stages(&settings, 1, &stopped, &mut inside.tasks);
                        inside.open =
                            Some(Open { store: pipeline.store.clone(), secrets: pipeline.secrets.clone() });
                    }
                    let why = store.fatal_error().await;
                    shared.lock().unwrap().ended = Some(why);
                }
            }
        });
        process
    }

    /// Runs each ready task once. Returns a number that stays the same if nothing happened.
    pub fn step(&self) -> u64 {
        self.runtime.block_on(tokio::task::yield_now());
        self.clock.steps() + self.network.events()
    }

    pub fn is_open(&self) -> bool {
        self.shared.lock().unwrap().open.is_some()
    }

    /// Why the process ended by itself, if it has.
    pub fn ended(&self) -> Option<String> {
        self.shared.lock().unwrap().ended.clone()
    }

    /// The jobs of applied actions that may lead to another charge.
    pub fn paid_actions(&self) -> Vec<JobId> {
        let inside = self.shared.lock().unwrap();
        let mut actions = inside.paid_actions.clone();
        for rejected in &inside.rejected {
            if let Some(place) = actions.iter().position(|job| job == rejected) {
                actions.swap_remove(place);
            }
        }
        actions
    }

    /// Takes back all budgets, as a reload does.
    pub fn lift_budgets(&self) {
        if let Some(open) = self.open() {
            open.store.set_budgets(Budgets::default());
        }
    }

    fn open(&self) -> Option<Open> {
        self.shared.lock().unwrap().open.clone()
    }

    /// Sends a callback. Returns false if the daemon is not listening.
    pub fn send_callback(&self, number: u64, url: &str, body: Vec<u8>) -> bool {
        let Some(open) = self.open() else { return false };
        let (network, clock) = (self.network.clone(), self.clock.clone());
        let path = url.split("/callbacks/").nth(1).unwrap_or_default().to_owned();
        self.runtime.spawn(async move {
            let (id, token) = path.split_once('/').unwrap_or_default();
            let admitted = open.secrets.read().verify(id, token);
            let status = match JobId::parse(id).filter(|_| admitted) {
                None => 404,
                Some(_) if body.len() > MAX_BODY => 413,
                Some(job) => match open.store.keep_delivery(job, body, clock.now()).await {
                    Ok(_) => 204,
                    Err(StoreError::NoSuchJob(_)) => 404,
                    Err(_) => 503,
                },
            };
            network.callback_answered(number, status);
        });
        true
    }

    /// An operator's action on a job.
    pub fn act(&self, action: OperatorAction, target: Target) {
        let Some(open) = self.open() else { return };
        let (clock, shared) = (self.clock.clone(), self.shared.clone());
        self.runtime.spawn(async move {
            let job = match target {
                Target::Job(job) => job,
                Target::Nth(nth) => {
                    let Ok(page) = open.store.list(JobFilter::default(), None, 100).await else { return };
                    let nth = usize::try_from(nth).unwrap() % page.jobs.len().max(1);
                    let Some(details) = page.jobs.get(nth) else { return };
                    details.job.id()
                }
            };
            // Recorded before the outcome is known: a process killed in between may have committed it.
            let may_cost = matches!(action, OperatorAction::Retry | OperatorAction::Release);
            if may_cost {
                shared.lock().unwrap().paid_actions.push(job);
            }
            let applied = open.store.apply(job, Event::Operator(action), clock.now()).await;
            if may_cost
                && matches!(&applied, Ok(done) if matches!(done.reply, Some(ActionReply::Rejected(_))))
            {
                shared.lock().unwrap().rejected.push(job);
            }
        });
    }

    /// An operator pauses submits, or resumes them.
    pub fn pause(&self, paused: bool) {
        let Some(open) = self.open() else { return };
        let now = self.clock.now();
        self.runtime.spawn(async move {
            let cause = SuspensionCause::PausedSubmits;
            // An operator would see a failure and repeat it; here it does not matter.
            let _ = if paused {
                let pause = Suspension { cause, until: None, message: String::new(), since: now };
                open.store.suspend(pause).await
            } else {
                open.store.lift_suspensions(vec![cause]).await.map(drop)
            };
        });
    }

    /// Requests an orderly stop.
    pub fn request_stop(&self) {
        self.stop.send_replace(true);
    }

    /// SIGKILL: memory is lost, and the database files stay as they are at this moment.
    pub fn kill(self, data_dir: &Path) {
        let files = ["dropreel.db", "dropreel.db-wal"];
        // Closing the connections changes the files; a killed process does not close them.
        let kept = files.map(|name| std::fs::read(data_dir.join(name)).ok());
        let Self { runtime, shared, .. } = self;
        drop(runtime);
        drop(shared);
        for (name, bytes) in files.iter().zip(kept) {
            let path = data_dir.join(name);
            match bytes {
                Some(bytes) => std::fs::write(path, bytes).unwrap(),
                None => drop(std::fs::remove_file(path)),
            }
        }
        let _ = std::fs::remove_file(data_dir.join("dropreel.db-shm"));
    }
}

/// Whether only an operator changes this state.
pub fn is_settled(state: &str) -> bool {
    state.parse().is_ok_and(|state: StateName| state.is_end() || state == StateName::Held)
}
