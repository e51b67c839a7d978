//! Detects a server error that the provider has stored under one idempotency key: other submits succeed, those with
//! this key never do (docs/provider.md#headers).

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::job::event::SubmitVerdict;
use crate::store::attempt::Attempt;

/// After this many server errors in a row under one key, the error counts as stored if another submit succeeded meanwhile.
const STORED_AFTER: u32 = 5;

/// See the module.
#[derive(Default)]
pub(super) struct StoredErrors(Mutex<State>);

#[derive(Default)]
struct State {
    /// Keys whose last answers were server errors: the time of the first, and how many.
    server_errors: BTreeMap<String, (Timestamp, u32)>,
    last_success: Option<Timestamp>,
}

impl StoredErrors {
    /// Records a verdict, and replaces it by [`SubmitVerdict::Replayed`] if its error is a stored one.
    pub(super) fn check(
        &self,
        attempt: &Attempt,
        is_server_error: bool,
        verdict: SubmitVerdict,
        now: Timestamp,
    ) -> SubmitVerdict {
        let mut state = self.0.lock();
        match verdict {
            SubmitVerdict::Unknown { why, not_before } if is_server_error => {
                let last_success = state.last_success;
                let (first, count) = state.server_errors.entry(attempt.key()).or_insert((now, 0));
                *count += 1;
                if *count >= STORED_AFTER && last_success.is_some_and(|success| success > *first) {
                    return SubmitVerdict::Replayed { why };
                }
                SubmitVerdict::Unknown { why, not_before }
            }
            SubmitVerdict::Unknown { .. } => verdict,
            SubmitVerdict::Accepted { .. } => {
                state.last_success = Some(now);
                state.server_errors.remove(&attempt.key());
                verdict
            }
            SubmitVerdict::Refused(_)
            | SubmitVerdict::NotExecuted { .. }
            | SubmitVerdict::Blocked { .. }
            | SubmitVerdict::Replayed { .. }
            | SubmitVerdict::DuplicateTask { .. } => {
                state.server_errors.remove(&attempt.key());
                verdict
            }
        }
    }
}
