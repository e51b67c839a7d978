//! What is wrong with a running daemon, a sentence each, for `readyz`, the page and the watchdog.

use std::sync::Arc;
use std::time::Duration;

use crate::library::Library;
use crate::server::admin::HealthCheck;
use crate::settings::Settings;
use crate::stages::Heartbeats;
use crate::store::Store;

/// A stage without a heartbeat for this long is stalled. Long enough for the largest line file on a slow disk.
pub(super) const STALLED_AFTER: Duration = Duration::from_secs(120);

/// Problems because of which the daemon is not ready.
pub(super) fn problems(heartbeats: Heartbeats, library: Library) -> HealthCheck {
    Arc::new(move || {
        let stalled = heartbeats.missing(STALLED_AFTER);
        let mut problems: Vec<String> =
            stalled.into_iter().map(|stage| format!("the {stage} stage is stalled")).collect();
        if !library.is_present() {
            problems.push(format!("the library at {} is missing", library.root().display()));
        }
        problems
    })
}

/// Problems in spite of which everything works, though not as well as it could.
pub(super) fn warnings(store: Store, settings: &Settings) -> HealthCheck {
    let address = settings.callbacks.public_url.as_ref().map(ToString::to_string);
    Arc::new(move || {
        let missed = store.missed_callbacks();
        missed.map(|missed| callbacks_missing(missed, address.as_deref())).into_iter().collect()
    })
}

fn callbacks_missing(missed: u32, address: Option<&str>) -> String {
    format!(
        "the last {missed} tasks ended without a callback; check that {} leads to callbacks.listen and accepts POST from \
         outside without a redirect; tasks are polled meanwhile, which takes longer",
        address.unwrap_or("callbacks.public_url")
    )
}
