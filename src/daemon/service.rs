//! The daemon as a service: signals, readiness, watchdog.

use std::time::Duration;

use sd_notify::NotifyState;
use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::clock::Clock;
use crate::daemon::Daemon;
use crate::daemon::error::StartError;
use crate::rng::Rng;
use crate::settings::{InvalidSettings, Settings};
use crate::store::leadership::Role;

/// Why the service ended other than by a signal.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The configuration is invalid.
    #[error(transparent)]
    Settings(#[from] InvalidSettings),
    /// It could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It could not take over from another daemon.
    #[error("cannot take over: {0}")]
    TakeOver(#[source] StartError),
    /// It followed, and cannot lead while it still has the database open.
    #[error("cannot take over while work of this process still uses the database; a restart leads")]
    StillOpen,
    /// The database failed; only a restart shows what was committed.
    #[error("the database failed: {0}; a restart shows what was committed")]
    Database(String),
    /// A listener failed, so nobody could reach the daemon.
    #[error("{0}; a restart opens it again")]
    Listener(String),
    /// No signal handler can be installed.
    #[error("cannot install signal handlers: {0}")]
    Signals(#[from] std::io::Error),
}

impl ServeError {
    /// 2 if a person must fix something first, 1 if a restart may help.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Start(error) if error.is_transient() => 1,
            Self::Settings(_) | Self::Start(_) => 2,
            // It started before.
            Self::TakeOver(_)
            | Self::StillOpen
            | Self::Database(_)
            | Self::Listener(_)
            | Self::Signals(_) => 1,
        }
    }
}

/// Runs the daemon until SIGTERM or SIGINT. SIGHUP reloads the API key, the callback secret, budgets and prices.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(
    load: impl Fn() -> Result<Settings, InvalidSettings>,
    clock: Clock,
    rng: Rng,
) -> Result<(), ServeError> {
    let watchdog = sd_notify::watchdog_enabled().map(|period| period / 2);
    let mut service =
        Service { signals: Signals::listen()?, settings: load()?, took_part: false, watchdog, clock, rng };
    loop {
        let Some(daemon) = service.start().await? else { return Ok(()) };
        if !service.run(daemon, &load).await? {
            return Ok(());
        }
        service.load_again(&load);
    }
}

struct Service {
    signals: Signals,
    settings: Settings,
    /// This process has followed before it leads.
    took_part: bool,
    watchdog: Option<Duration>,
    clock: Clock,
    rng: Rng,
}

impl Service {
    /// Starts a daemon that leads, or one that follows where another one leads. `None`: a signal has ended it.
    async fn start(&mut self) -> Result<Option<Daemon>, ServeError> {
        let mut started = self.start_as(Role::Leader).await;
        if matches!(&started, Some(Err(error)) if error.leader().is_some()) {
            started = self.start_as(Role::Follower).await;
        }
        match started {
            Some(Err(error)) if self.took_part => Err(ServeError::TakeOver(error)),
            Some(started) => Ok(Some(started?)),
            None => Ok(None),
        }
    }

    async fn start_as(&mut self, role: Role) -> Option<Result<Daemon, StartError>> {
        let starting = Daemon::start(self.settings.clone(), role, self.clock.clone(), self.rng.clone());
        if !self.took_part {
            return Some(starting.await);
        }
        // The service manager takes it for one that runs.
        match self.signals.while_starting(starting, &self.clock, self.watchdog).await {
            Ok(started) => Some(started),
            Err(signal) => {
                tracing::info!("{signal} received");
                notify_systemd(&[NotifyState::Stopping]);
                None
            }
        }
    }

    fn load_again(&mut self, load: &impl Fn() -> Result<Settings, InvalidSettings>) {
        match load() {
            Ok(loaded) => self.settings = loaded,
            Err(invalid) => {
                tracing::error!("the settings cannot be read again, so the earlier ones stay: {invalid}");
            }
        }
    }

    /// Runs a daemon. True: it followed, and another one is to be started in its place, which leads.
    async fn run(
        &mut self,
        daemon: Daemon,
        load: &impl Fn() -> Result<Settings, InvalidSettings>,
    ) -> Result<bool, ServeError> {
        let leader = daemon.leader();
        self.report_ready(&daemon, leader.as_deref());
        self.took_part = true;
        loop {
            match self.signals.next(&daemon, &self.clock, self.watchdog).await {
                ServiceEvent::Stop(signal) => {
                    tracing::info!("{signal} received; shutting down");
                    notify_systemd(&[NotifyState::Stopping]);
                    daemon.stop().await;
                    return Ok(false);
                }
                ServiceEvent::Reload => reload(&daemon, load).await,
                ServiceEvent::MayLead => {
                    tracing::info!("no daemon leads any more; this one takes over");
                    return match daemon.stop_at_once().await {
                        true => Ok(true),
                        false => {
                            tracing::error!("{}", ServeError::StillOpen);
                            Err(ServeError::StillOpen)
                        }
                    };
                }
                ServiceEvent::DatabaseFailed(why) => {
                    tracing::error!("the database failed: {why}");
                    return Err(ServeError::Database(why));
                }
                ServiceEvent::ListenerFailed(why) => {
                    tracing::error!("{why}; shutting down");
                    notify_systemd(&[NotifyState::Stopping]);
                    daemon.stop().await;
                    return Err(ServeError::Listener(why));
                }
                ServiceEvent::WatchdogDue => {
                    let stalled = daemon.stalled_stages();
                    if stalled.is_empty() {
                        notify_systemd(&[NotifyState::Watchdog]);
                    } else {
                        // Without the notification, systemd kills and restarts the service.
                        tracing::error!(
                            "stalled stages: {}; the watchdog is not notified",
                            stalled.join(", ")
                        );
                    }
                }
            }
        }
    }

    fn report_ready(&self, daemon: &Daemon, leader: Option<&str>) {
        let settings = &self.settings;
        let library = match &settings.bucket {
            Some(bucket) => bucket.address.clone(),
            None => settings.library.dir.display().to_string(),
        };
        let database = match &settings.database_server {
            Some(server) => server.address.clone(),
            None => settings.database_file().display().to_string(),
        };
        let follows = leader.map_or("", |_| " and follows the daemon that leads");
        tracing::info!(
            "dropreel {} is ready{follows}: inbox {}, library {library}, database {database}, admin at http://{}, callbacks at http://{}",
            env!("CARGO_PKG_VERSION"),
            settings.inbox.dir.display(),
            daemon.admin_address(),
            daemon.public_address(),
        );
        if settings.callbacks.public_url.is_none() {
            tracing::info!("callbacks.public_url is not set; tasks are only polled");
        }
        notify_systemd(&[NotifyState::Ready]);
        if self.settings.database_server.is_some() {
            notify_systemd(&[NotifyState::Status(if leader.is_some() { "follows" } else { "leads" })]);
        }
    }
}

async fn reload(daemon: &Daemon, load: &impl Fn() -> Result<Settings, InvalidSettings>) {
    let reloaded = match load() {
        Ok(settings) => daemon.reload(&settings).await.map_err(|error| error.to_string()),
        Err(invalid) => Err(invalid.to_string()),
    };
    match reloaded {
        Ok(()) => {
            tracing::info!(
                "API key, callback secret, budgets and prices reloaded; other settings need a restart"
            );
        }
        Err(why) => tracing::error!("reload failed; the old secrets, budgets and prices stay in use: {why}"),
    }
}

enum ServiceEvent {
    Stop(&'static str),
    Reload,
    MayLead,
    DatabaseFailed(String),
    ListenerFailed(String),
    WatchdogDue,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Runs `starting` to its end, or to a signal that ends the service.
    async fn while_starting<T>(
        &mut self,
        starting: impl Future<Output = T>,
        clock: &Clock,
        watchdog: Option<Duration>,
    ) -> Result<T, &'static str> {
        let mut starting = std::pin::pin!(starting);
        loop {
            tokio::select! {
                result = &mut starting => return Ok(result),
                _ = self.terminate.recv() => return Err("SIGTERM"),
                _ = self.interrupt.recv() => return Err("SIGINT"),
                _ = self.hang_up.recv() => {},
                () = watchdog_due(clock, watchdog) => notify_systemd(&[NotifyState::Watchdog]),
            }
        }
    }

    async fn next(&mut self, daemon: &Daemon, clock: &Clock, watchdog: Option<Duration>) -> ServiceEvent {
        tokio::select! {
            _ = self.terminate.recv() => ServiceEvent::Stop("SIGTERM"),
            _ = self.interrupt.recv() => ServiceEvent::Stop("SIGINT"),
            _ = self.hang_up.recv() => ServiceEvent::Reload,
            () = daemon.may_lead() => ServiceEvent::MayLead,
            why = daemon.database_failure() => ServiceEvent::DatabaseFailed(why),
            why = daemon.listener_failure() => ServiceEvent::ListenerFailed(why),
            () = watchdog_due(clock, watchdog) => ServiceEvent::WatchdogDue,
        }
    }
}

async fn watchdog_due(clock: &Clock, period: Option<Duration>) {
    match period {
        Some(period) => clock.sleep(period).await,
        None => std::future::pending().await,
    }
}

/// Does nothing outside systemd.
fn notify_systemd(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("systemd was not notified: {error}");
    }
}
