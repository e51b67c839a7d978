//! Watches whether the database is still the file under its name, and logs when it is not. The store itself refuses to write
//! then; this notices it while nothing is to be written, too.

use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::store::Store;

/// How often to look.
const INTERVAL: Duration = Duration::from_secs(5);

/// Watches until `stop` turns true.
pub(super) async fn watch_database(store: Store, clock: Clock, mut stop: watch::Receiver<bool>) {
    let mut was_replaced = false;
    loop {
        tokio::select! {
            stopped = stop.wait_for(|stop| *stop) => { let _ = stopped; return }
            () = clock.sleep(INTERVAL) => {}
        }
        let checked = store.check_file();
        match &checked {
            Err(error) if !was_replaced => tracing::error!("{error}"),
            Ok(()) if was_replaced => {
                tracing::info!("the database file is back; writing and submitting continue")
            }
            _ => {}
        }
        was_replaced = checked.is_err();
    }
}
