//! A daemon that waits until no other one uses the database that both share.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

use crate::clock::Clock;
use crate::daemon::error::StartError;
use crate::daemon::{listen, pipeline};
use crate::server::standby::{self, Leader};
use crate::settings::Settings;
use crate::stages::epoch::note_epoch;
use crate::store::error::StoreError;
use crate::store::meta::watch;

/// How often to look whether the other daemon still leads.
const INTERVAL: Duration = Duration::from_secs(1);

/// Waits until no daemon leads, and answers meanwhile who does. `leader` is the one that was found.
///
/// # Errors
/// When the daemon could not start either.
pub(super) async fn wait(settings: &Settings, leader: String, clock: &Clock) -> Result<(), StartError> {
    let database = pipeline::database(settings)?;
    let leader: Leader = Arc::new(RwLock::new(leader));
    let unusable = |address, key| move |source| StartError::Listen { address, key, source };
    let (public, admin) = (settings.callbacks.listen, settings.admin.listen);
    let servers = [
        standby::serve_public(listen(public, "callbacks.listen")?, clock.clone())
            .map_err(unusable(public, "callbacks.listen"))?,
        standby::serve_admin(
            listen(admin, "admin.listen")?,
            &settings.data_dir,
            leader.clone(),
            clock.clone(),
        )
        .map_err(unusable(admin, "admin.listen"))?,
    ];
    let handles = servers.each_ref().map(|server| server.handle());
    let watch = async {
        loop {
            clock.sleep(INTERVAL).await;
            let (database, data_dir) = (database.clone(), settings.data_dir.clone());
            let look = move || {
                let (leader, used) = watch(&database)?;
                if let Err(error) = note_epoch(&data_dir, &used) {
                    tracing::warn!("how far the database is cannot be noted: {error}");
                }
                Ok::<_, StoreError>(leader)
            };
            match clock.run_blocking(look).await {
                Ok(Ok(None)) => break,
                Ok(Ok(Some(name))) => *leader.write() = name,
                // The server of the database is away: so is the other daemon, and it may be back first.
                Ok(Err(error)) => tracing::debug!("the database does not say who leads: {error}"),
                Err(_) => {}
            }
        }
        // The daemon listens on the same addresses next.
        futures_util::future::join_all(handles.iter().map(|handle| handle.stop(false))).await;
    };
    // The servers run while they are awaited, and end once they are stopped.
    futures_util::future::join(futures_util::future::join_all(servers), watch).await;
    Ok(())
}
