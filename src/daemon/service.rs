//! The daemon as a service: signals, readiness, the watchdog.

use std::time::Duration;

use sd_notify::NotifyState;
use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::clock::Clock;
use crate::daemon::{Daemon, StartError};
use crate::rng::Rng;
use crate::settings::{Invalid, Settings};

/// Why the service ended other than by being asked to.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The configuration is wrong.
    #[error(transparent)]
    Settings(#[from] Invalid),
    /// It could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The database failed; only a fresh start can tell what was kept.
    #[error("{0}; starting again shows what was kept")]
    Died(String),
    /// Signals cannot be listened to.
    #[error("signals cannot be listened to: {0}")]
    Signals(#[from] std::io::Error),
}

impl ServeError {
    /// 2 for what a person must mend first, 1 for what a restart mends.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Start(error) if error.passes() => 1,
            Self::Settings(_) | Self::Start(_) => 2,
            Self::Died(_) | Self::Signals(_) => 1,
        }
    }
}

/// Runs the daemon until SIGTERM or SIGINT. SIGHUP reads the API key and the callback secret anew.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(
    load: impl Fn() -> Result<Settings, Invalid>,
    clock: Clock,
    rng: Rng,
) -> Result<(), ServeError> {
    let mut signals = Signals::listen()?;
    let settings = load()?;
    let folders = (settings.inbox.dir.clone(), settings.library.dir.clone());
    let has_callbacks = settings.callbacks.public_url.is_some();
    let daemon = Daemon::start(settings, clock.clone(), rng).await?;
    tracing::info!(
        "dropreel {} is ready: drop job files into {}, find videos in {}; admin at http://{}, callbacks at http://{}",
        env!("CARGO_PKG_VERSION"),
        folders.0.display(),
        folders.1.display(),
        daemon.admin_address(),
        daemon.public_address(),
    );
    if !has_callbacks {
        tracing::info!("`callbacks.public_url` is not set: tasks are only polled");
    }
    tell_systemd(&[NotifyState::Ready]);
    let watchdog = sd_notify::watchdog_enabled().map(|period| period / 2);
    loop {
        match signals.next(&daemon, &clock, watchdog).await {
            News::Stop(which) => {
                tracing::info!("stopping at {which}");
                tell_systemd(&[NotifyState::Stopping]);
                daemon.stop().await;
                return Ok(());
            }
            News::Reload => reload(&daemon, &load).await,
            News::Died(why) => {
                tracing::error!("the database failed: {why}");
                return Err(ServeError::Died(why));
            }
            News::WatchdogDue => {
                let stuck = daemon.stuck();
                if stuck.is_empty() {
                    tell_systemd(&[NotifyState::Watchdog]);
                } else {
                    tracing::error!("stuck: {}; the watchdog is not fed any more", stuck.join(", "));
                }
            }
        }
    }
}

async fn reload(daemon: &Daemon, load: &impl Fn() -> Result<Settings, Invalid>) {
    let done = match load() {
        Ok(settings) => daemon.reload(&settings).await.map_err(|error| error.to_string()),
        Err(invalid) => Err(invalid.to_string()),
    };
    match done {
        Ok(()) => {
            tracing::info!("took up the API key and the callback secret anew; other settings need a restart");
        }
        Err(why) => tracing::error!("nothing was taken up, the old secrets stay in force: {why}"),
    }
}

enum News {
    Stop(&'static str),
    Reload,
    Died(String),
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

    async fn next(&mut self, daemon: &Daemon, clock: &Clock, watchdog: Option<Duration>) -> News {
        let feeding = async {
            match watchdog {
                Some(period) => clock.sleep(period).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => News::Stop("SIGTERM"),
            _ = self.interrupt.recv() => News::Stop("SIGINT"),
            _ = self.hang_up.recv() => News::Reload,
            why = daemon.died() => News::Died(why),
            () = feeding => News::WatchdogDue,
        }
    }
}

/// Outside systemd there is nobody to tell, and that is all right.
fn tell_systemd(news: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(news) {
        tracing::debug!("systemd was not told: {error}");
    }
}
