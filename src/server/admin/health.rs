//! What is wrong with the running daemon, a sentence each, for `readyz`, the metrics and the page.

use parking_lot::RwLock;

use crate::heartbeats::STALLED_AFTER;
use crate::library::bucket::Bucket;
use crate::secret::CallbackSecrets;
use crate::server::admin::state::AdminServer;
use crate::store::Store;

/// Problems because of which the daemon is not ready.
pub(super) fn problems(server: &AdminServer) -> Vec<String> {
    let stalled = server.heartbeats.missing(STALLED_AFTER);
    let mut problems: Vec<String> =
        stalled.into_iter().map(|stage| format!("the {stage} stage is stalled")).collect();
    problems.extend(server.store.check_file().err().map(|error| error.to_string()));
    if !server.library.is_present() {
        problems.push(format!("the library at {} is missing", server.library.root().display()));
    }
    problems
}

/// Why a daemon that follows does not accept the callbacks that the leader asks for.
pub async fn other_secret(store: &Store, secrets: &RwLock<CallbackSecrets>) -> Option<String> {
    if !store.follows() {
        return None;
    }
    // A failure of the database is a reason of its own.
    let of_leader = store.callback_secret_fingerprint().await.ok().flatten()?;
    let is_known = secrets.read().include(of_leader);
    (!is_known).then(|| {
        "the callback secret is not that of the leader, so callbacks are refused here: give both the same \
         `callbacks.secret_file`"
            .to_owned()
    })
}

/// Problems in spite of which everything works, though not as well as it could.
pub(super) fn warnings(server: &AdminServer) -> Vec<String> {
    let address = server.settings.callbacks.public_url.as_ref().map(ToString::to_string);
    let missed = server.store.missed_callbacks();
    let bucket = server.library.bucket().and_then(Bucket::trouble);
    let bucket = bucket.map(|why| format!("videos stay on this machine until they can be uploaded: {why}"));
    missed.map(|missed| callbacks_missing(missed, address.as_deref())).into_iter().chain(bucket).collect()
}

fn callbacks_missing(missed: u32, address: Option<&str>) -> String {
    format!(
        "the last {missed} tasks ended without a callback; check that {} leads to callbacks.listen and accepts POST from \
         outside without a redirect; tasks are polled meanwhile, which takes longer",
        address.unwrap_or("callbacks.public_url")
    )
}
