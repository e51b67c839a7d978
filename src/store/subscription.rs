//! Which notifications a hook wants. The writer adds them to the outbox with each change.

use std::collections::BTreeSet;

use crate::job::notification::JobNotification;

/// A hook and the notifications it wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    pub hook: String,
    pub on: BTreeSet<JobNotification>,
}
