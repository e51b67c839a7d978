//! The log of what a test dropped, and the checks at its end.

use crate::support::checker::{Evidence, HarnessLog, When, check};
use crate::support::{KEY, Rig};

/// A log with the rig's secrets as canaries.
pub fn log_of(rig: &Rig) -> HarnessLog {
    let mut log = HarnessLog::default();
    log.canaries.push(("the API key".to_owned(), KEY.to_owned()));
    let secret = std::fs::read_to_string(rig.path("callback.secret")).unwrap_or_default();
    if !secret.trim().is_empty() {
        log.canaries.push(("the callback secret".to_owned(), secret.trim().to_owned()));
    }
    log
}

/// Records a complete file dropped under this name.
pub fn record_drop(log: &mut HarnessLog, name: &str, content: impl AsRef<[u8]>, jobs: Option<u32>) {
    log.record_drop(name, content.as_ref(), jobs);
}

/// Stops the daemon and runs the checker and the rig's own checks.
pub async fn conclude(mut rig: Rig, log: &HarnessLog, when: When) {
    assert_eq!(rig.stop().await, Some(0), "{}", rig.output());
    let ledger = rig.sandbox.ledger();
    let output = rig.output();
    let data_dir = rig.path("");
    let found = check(&Evidence { data_dir: &data_dir, ledger: &ledger, log, output: &output, when });
    let found: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert!(found.is_empty(), "{}\n{output}", found.join("\n"));
    rig.finish().await;
}
