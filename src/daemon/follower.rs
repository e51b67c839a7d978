//! What a daemon does beside its stages while another one leads the database that both share.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::stages::epoch::note_epoch;
use crate::store::Store;

/// How often to note the epoch, which rises every two minutes.
const INTERVAL: Duration = Duration::from_secs(1);

/// Notes the epoch of the daemon that leads until `stop` turns true. The one that leads next knows by it whether the server
/// was set back before it was started again.
pub(super) async fn note_epochs(
    store: Store,
    data_dir: PathBuf,
    clock: Clock,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        // While the server is away, nothing is to be noted.
        if let Ok(used) = store.last_use().await {
            let data_dir = data_dir.clone();
            let noted = clock.run_blocking(move || note_epoch(&data_dir, &used)).await;
            if let Ok(Err(error)) = noted {
                tracing::warn!("how far the database is cannot be noted: {error}");
            }
        }
        tokio::select! {
            stopped = stop.wait_for(|stop| *stop) => { let _ = stopped; return }
            () = clock.sleep(INTERVAL) => {}
        }
    }
}
