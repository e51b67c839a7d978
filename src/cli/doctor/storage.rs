//! Whether the bucket of the library takes, returns and removes an object.

use std::time::Duration;

use crate::cli::doctor::finding::Finding;
use crate::clock::Clock;
use crate::library::bucket::{Bucket, BucketError};
use crate::rng::Rng;
use crate::settings::BucketSettings;

const ABOUT: &str = "storage";
/// The daemon is more patient.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Writes, reads and removes a small object. `runs`: a daemon does, which may have keys that this command cannot read.
pub(super) async fn check(settings: &BucketSettings, runs: bool, clock: &Clock) -> Finding {
    let bucket = match Bucket::open(settings) {
        Ok(bucket) => bucket,
        Err(BucketError::NoKeys(_)) if runs => {
            return Finding::ok(ABOUT, "the daemon has keys for the bucket; this command cannot read them");
        }
        Err(error) => return failed(&error),
    };
    match clock.within(TIMEOUT, bucket.check(&Rng::from_system())).await {
        Some(Ok(true)) => {
            Finding::ok(ABOUT, format!("{} takes, returns and removes objects", bucket.address()))
        }
        Some(Ok(false)) => Finding::warning(
            ABOUT,
            format!("{} takes, returns and removes objects, but has no conditional writes", bucket.address()),
            "nothing to do, unless a standby uses the same bucket: of two daemons that take over at the same moment, both \
             may submit for two minutes",
        ),
        Some(Err(error)) => failed(&error),
        None => {
            let what = format!("the bucket {} takes longer than {} s", bucket.address(), TIMEOUT.as_secs());
            Finding::error(
                ABOUT,
                what,
                "check the network and storage.endpoint; files stay on this machine meanwhile",
            )
        }
    }
}

fn failed(error: &BucketError) -> Finding {
    let fix = match error {
        BucketError::NoKeys(_) => "if the keys belong to another user, run this as that user",
        BucketError::Settings(_) => "correct [storage] in the configuration",
        BucketError::Unreachable { .. } => {
            "check the network and storage.endpoint; files stay on this machine and are tried again meanwhile"
        }
        BucketError::Denied { .. } => {
            "check the keys and storage.region; they must allow to put, get and delete objects below storage.library"
        }
        BucketError::NotFound { .. } => "create the bucket, or correct storage.library and storage.endpoint",
        BucketError::Failed { .. } | BucketError::NotWhole { .. } | BucketError::File(_) => {
            "look into the store's own log; files stay on this machine and are tried again meanwhile"
        }
    };
    Finding::error(ABOUT, error.to_string(), fix)
}
