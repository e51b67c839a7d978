//! The daemon as a service: signals, readiness, watchdog.

use std::time::Duration;

use sd_notify::NotifyState;
use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::clock::Clock;
use crate::daemon::Daemon;
use crate::daemon::error::StartError;
use crate::daemon::standby::wait;
use crate::rng::Rng;
use crate::server::standby;
use crate::settings::{InvalidSettings, Settings};

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
            Self::TakeOver(_) | Self::Database(_) | Self::Listener(_) | Self::Signals(_) => 1,
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
    let mut signals = Signals::listen()?;
    let mut settings = load()?;
    let inbox = settings.inbox.dir.clone();
    let library = match &settings.bucket {
        Some(bucket) => bucket.address.clone(),
        None => settings.library.dir.display().to_string(),
    };
    let database = match &settings.database_server {
        Some(server) => server.address.clone(),
        None => settings.database_file().display().to_string(),
    };
    let has_callbacks = settings.callbacks.public_url.is_some();
    let watchdog = sd_notify::watchdog_enabled().map(|period| period / 2);
    let mut has_waited = false;
    let daemon = loop {
        let starting = Daemon::start(settings.clone(), clock.clone(), rng.clone());
        // The service manager takes a daemon that has waited for one that runs, and wants to hear of it.
        let started = match has_waited {
            true => signals.while_waiting(starting, &clock, watchdog).await,
            false => Ok(starting.await),
        };
        let error = match started {
            Ok(Ok(daemon)) => break daemon,
            Ok(Err(error)) => error,
            Err(signal) => return ended_by(signal),
        };
        let Some(leader) = error.leader() else {
            return Err(if has_waited { ServeError::TakeOver(error) } else { error.into() });
        };
        tracing::info!("{}", standby::describe(leader));
        let status = format!("waits: {leader} leads");
        notify_systemd(&[NotifyState::Ready, NotifyState::Status(&status)]);
        let ended = signals.while_waiting(wait(&settings, leader.to_owned(), &clock), &clock, watchdog).await;
        match ended {
            Ok(result) => result?,
            Err(signal) => return ended_by(signal),
        }
        tracing::info!("no daemon leads any more; this one takes over");
        has_waited = true;
        match load() {
            Ok(loaded) => settings = loaded,
            Err(invalid) => {
                tracing::error!("the settings cannot be read again, so the earlier ones stay: {invalid}")
            }
        }
    };
    tracing::info!(
        "dropreel {} is ready: inbox {}, library {library}, database {database}, admin at http://{}, callbacks at http://{}",
        env!("CARGO_PKG_VERSION"),
        inbox.display(),
        daemon.admin_address(),
        daemon.public_address(),
    );
    if !has_callbacks {
        tracing::info!("callbacks.public_url is not set; tasks are only polled");
    }
    notify_systemd(&[NotifyState::Ready]);
    if has_waited {
        notify_systemd(&[NotifyState::Status("leads")]);
    }
    loop {
        match signals.next(&daemon, &clock, watchdog).await {
            ServiceEvent::Stop(signal) => {
                tracing::info!("{signal} received; shutting down");
                notify_systemd(&[NotifyState::Stopping]);
                daemon.stop().await;
                return Ok(());
            }
            ServiceEvent::Reload => reload(&daemon, &load).await,
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
                    tracing::error!("stalled stages: {}; the watchdog is not notified", stalled.join(", "));
                }
            }
        }
    }
}

fn ended_by(signal: &str) -> Result<(), ServeError> {
    tracing::info!("{signal} received");
    notify_systemd(&[NotifyState::Stopping]);
    Ok(())
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

    /// Runs `waiting` to its end, or to a signal that ends the service.
    async fn while_waiting<T>(
        &mut self,
        waiting: impl Future<Output = T>,
        clock: &Clock,
        watchdog: Option<Duration>,
    ) -> Result<T, &'static str> {
        let mut waiting = std::pin::pin!(waiting);
        loop {
            tokio::select! {
                result = &mut waiting => return Ok(result),
                _ = self.terminate.recv() => return Err("SIGTERM"),
                _ = self.interrupt.recv() => return Err("SIGINT"),
                _ = self.hang_up.recv() => tracing::info!("SIGHUP received; the settings are read again when this daemon takes over"),
                () = watchdog_due(clock, watchdog) => notify_systemd(&[NotifyState::Watchdog]),
            }
        }
    }

    async fn next(&mut self, daemon: &Daemon, clock: &Clock, watchdog: Option<Duration>) -> ServiceEvent {
        tokio::select! {
            _ = self.terminate.recv() => ServiceEvent::Stop("SIGTERM"),
            _ = self.interrupt.recv() => ServiceEvent::Stop("SIGINT"),
            _ = self.hang_up.recv() => ServiceEvent::Reload,
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
