//! Delivers notifications to hooks: at least once, one at a time for each job and hook, without ever changing a job
//! (docs/hooks.md).

mod body;
mod program;
pub mod webhook;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::select_all;

use crate::api::budget::BudgetView;
use crate::api::hook::{FinishedBatch, HookData};
use crate::clock::Clock;
use crate::job::notification::JobNotification;
use crate::settings::{Hook, HookTarget};
use crate::stages::{InFlight, Stage, Wake};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::hooks::{HookCall, Subject};
use crate::store::notify::{Notifications, Topic};
use crate::store::subscription::Subscription;
use webhook::{HookTransport, Target, WebhookSender};

/// Most due calls of a hook read in one pass, beyond what it may be called at once.
const READ_AHEAD: usize = 32;
/// Most paths of files in the data of `batch_finished`.
const MAX_PATHS: u32 = 10_000;
/// The wait after each failed try. When they are used up, the call is given up.
const RETRY_DELAYS: [Duration; 7] = [
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(5 * 3600),
    LONGEST_DELAY,
];
const LONGEST_DELAY: Duration = Duration::from_secs(10 * 3600);

/// Why a try failed, for people. Contains no address and no response body: both may be secret.
#[derive(Clone, Debug, PartialEq, Eq)]
enum HookFailure {
    /// Worth another try.
    Transient(String),
    /// The receiver asks not to be called again.
    Permanent(String),
}

/// One notification.
struct Message {
    /// `JOB.EVENT.NUMBER`, the same for every try.
    id: String,
    event: JobNotification,
    subject: Subject,
    data: HookData,
    at: crate::clock::Timestamp,
}

/// The events for which the store writes calls to these hooks.
pub fn subscriptions(hooks: &[Hook]) -> Vec<Subscription> {
    hooks.iter().map(|hook| Subscription { hook: hook.name.clone(), on: hook.on.clone() }).collect()
}

pub struct HookStage {
    inner: Arc<Inner>,
    /// The calls under way of each hook, in the order of `hooks`.
    in_flight: Vec<InFlight<Subject>>,
    /// Whether the calls of hooks that are no longer configured are given up.
    is_cleared: AtomicBool,
    notifications: Notifications,
}

struct Inner {
    store: Store,
    clock: Clock,
    hooks: Vec<Hook>,
    library_dir: PathBuf,
    sender: WebhookSender,
}

impl HookStage {
    /// Listens from now on, so that no commit before the first pass is missed. The store must already have the hooks'
    /// [`subscriptions`].
    pub fn new(
        store: Store,
        clock: Clock,
        hooks: Vec<Hook>,
        library_dir: PathBuf,
        transport: Arc<dyn HookTransport>,
    ) -> Self {
        let notifications = store.listen(Topic::Hooks);
        let in_flight = hooks.iter().map(|hook| InFlight::new(hook.at_once, clock.clone())).collect();
        let sender = WebhookSender::new(transport);
        let inner = Arc::new(Inner { store, clock, hooks, library_dir, sender });
        Self { inner, in_flight, is_cleared: AtomicBool::new(false), notifications }
    }

    /// Starts the due calls of a hook, as many as it may be called at once: one at a time for each job, oldest first. Calls
    /// about no job and no batch are treated as one job's.
    async fn start_due(&self, index: usize, in_flight: &InFlight<Subject>) -> Result<Wake, StoreError> {
        let hook = &self.inner.hooks[index];
        if in_flight.is_full() {
            return Ok(Wake::OnNotify);
        }
        let limit = u32::try_from(hook.at_once + READ_AHEAD).unwrap_or(u32::MAX);
        let now = self.inner.clock.now();
        let store = &self.inner.store;
        let (mut calls, mut next) = store.due_hook_calls(hook.name.clone(), now, limit).await?;
        // A clock that was ahead made them wait for a time that is far away, now that it is right.
        let latest = now.plus(LONGEST_DELAY);
        if next.is_some_and(|next| next > latest) {
            store.bring_hook_calls_forward(hook.name.clone(), now, latest).await?;
            (calls, next) = store.due_hook_calls(hook.name.clone(), now, limit).await?;
        }
        for call in calls {
            if in_flight.is_full() {
                return Ok(Wake::OnNotify);
            }
            if !in_flight.contains(call.subject) {
                in_flight.spawn(call.subject, self.inner.clone().call(index, call));
            }
        }
        Ok(Wake::at(next))
    }

    async fn give_up_calls_of_others(&self) -> Result<(), StoreError> {
        if self.is_cleared.load(Ordering::Relaxed) {
            return Ok(());
        }
        let known = self.inner.hooks.iter().map(|hook| hook.name.clone()).collect();
        let outcome = "given up: this hook is no longer in the configuration".to_owned();
        self.inner.store.finish_calls_of_other_hooks(known, outcome, self.inner.clock.now()).await?;
        self.is_cleared.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl Inner {
    /// Returns whether the result was saved.
    async fn call(self: Arc<Self>, hook: usize, call: HookCall) -> bool {
        let saved = self.try_call(&self.hooks[hook], &call).await;
        if let Err(error) = &saved {
            tracing::error!("a call of a hook failed on our side; it is made again: {error}");
        }
        saved.is_ok()
    }

    /// What the hook is sent; `None`: it is pruned.
    async fn data(&self, call: &HookCall) -> Result<Option<HookData>, StoreError> {
        let now = self.clock.now();
        Ok(match call.subject {
            Subject::Job(job) => {
                let (details, suspensions) =
                    (self.store.details(job).await?, self.store.suspensions().await?);
                Some(HookData::Job(Box::new(details.view(&self.library_dir, &suspensions, now))))
            }
            Subject::Batch(nr) => self.store.batch(nr, MAX_PATHS, now).await?.map(|(batch, paths)| {
                let paths = paths.iter().map(|place| place.location(&self.library_dir)).collect();
                HookData::Batch(Box::new(FinishedBatch { batch, paths }))
            }),
            Subject::Daemon if call.event == JobNotification::Budget => {
                let spent = self.store.spent(now).await?;
                let budgets = spent.iter().map(|(budget, spent)| BudgetView::new(budget, *spent)).collect();
                Some(HookData::Budgets { budgets })
            }
            Subject::Daemon => Some(HookData::MissedCallbacks {
                consecutive_missed_callbacks: self.store.metrics().missed_callbacks(),
            }),
        })
    }

    async fn try_call(&self, hook: &Hook, call: &HookCall) -> Result<(), StoreError> {
        // It was read before it was under way here, and an earlier try may have ended between the two.
        if !self.store.awaits_try(call).await? {
            return Ok(());
        }
        let Some(data) = self.data(call).await? else {
            let outcome = "given up: what it is about is pruned".to_owned();
            return self.store.finish_hook_call(call.nr, outcome, None, self.clock.now()).await;
        };
        let (subject, event) = (call.subject, call.event);
        let id = format!("{subject}.{}.{}", event.into_str(), call.nr);
        let message = Message { id, event, subject, data, at: call.at };
        let result = match &hook.target {
            HookTarget::Program { program, arguments, environment } => {
                program::run(program, arguments, environment, &message, hook.timeout, &self.clock).await
            }
            HookTarget::Url { url, secret, body, .. } => {
                let target = Target { url, secret: secret.as_ref(), body: body.as_ref() };
                self.sender.post(target, &message, hook.timeout, &self.clock).await
            }
        };
        let now = self.clock.now();
        let retry_at = RETRY_DELAYS.get(call.tries as usize).map(|delay| now.plus(*delay));
        let (hook, event) = (display_name(hook), call.event.into_str());
        let about = match subject {
            Subject::Job(job) => format!(" of job {job}"),
            Subject::Batch(_) => format!(" of batch {subject}"),
            Subject::Daemon => String::new(),
        };
        let (outcome, retry_at) = match result {
            Ok(()) => {
                tracing::info!("`{event}`{about} delivered to hook {hook}");
                ("delivered".to_owned(), None)
            }
            Err(HookFailure::Permanent(why)) => {
                tracing::warn!("hook {hook} declines `{event}`{about}: {why}");
                (format!("given up: {why}"), None)
            }
            Err(HookFailure::Transient(why)) if retry_at.is_none() => {
                let tries = call.tries + 1;
                tracing::warn!(
                    "delivery of `{event}`{about} to hook {hook} given up after {tries} tries: {why}"
                );
                (format!("given up: {why}"), None)
            }
            Err(HookFailure::Transient(why)) => {
                tracing::warn!(
                    "delivery of `{event}`{about} to hook {hook} failed; it is tried again: {why}"
                );
                (why, retry_at)
            }
        };
        self.store.finish_hook_call(call.nr, outcome, retry_at, now).await
    }
}

/// The program or the host: the rest of an address may be secret.
fn display_name(hook: &Hook) -> &str {
    match &hook.target {
        HookTarget::Program { program, .. } => program,
        HookTarget::Url { host, .. } => host,
    }
}

impl Stage for HookStage {
    const NAME: &'static str = "hooks";

    async fn pass(&self) -> Result<Wake, StoreError> {
        self.give_up_calls_of_others().await?;
        let mut wake = Wake::OnNotify;
        for (index, in_flight) in self.in_flight.iter().enumerate() {
            wake = wake.or(self.start_due(index, in_flight).await?);
        }
        Ok(wake)
    }

    async fn notified(&self) {
        // Not empty: without hooks there is no such stage.
        let completed = select_all(self.in_flight.iter().map(|in_flight| Box::pin(in_flight.completed())));
        tokio::select! {
            biased;
            () = self.notifications.next() => {}
            _ = completed => {}
        }
    }

    async fn drain(&self) {
        // Aborted calls are repeated after the restart: delivery is at least once.
        for in_flight in &self.in_flight {
            in_flight.abort().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;
    use parking_lot::Mutex;
    use reqwest::Response;
    use reqwest::header::HeaderMap;

    use super::*;
    use crate::clock::Timestamp;
    use crate::job::policy::PollingPolicy;
    use crate::rng::Rng;
    use crate::secret::Secret;

    /// Answers 200, and keeps what it was sent.
    #[derive(Default)]
    struct Receiver(Mutex<Vec<String>>);

    impl HookTransport for Receiver {
        fn post<'a>(
            &'a self,
            _url: &'a str,
            _headers: HeaderMap,
            body: String,
        ) -> BoxFuture<'a, Result<Response, String>> {
            self.0.lock().push(body);
            std::future::ready(Ok(http::Response::new(String::new()).into())).boxed()
        }
    }

    #[tokio::test]
    async fn call_that_was_delivered_since_it_was_read_is_not_made_again() {
        let now = Timestamp::from_millis(1_775_285_160_000);
        let (clock, folder) = (Clock::paused(now), tempfile::tempdir().unwrap());
        let path = folder.path().join("dropreel.db");
        let (store, _closing) =
            Store::open(&path, PollingPolicy::DEFAULT, Rng::seeded(1), clock.clone()).unwrap();
        let hook = Hook {
            name: "hook".into(),
            on: BTreeSet::from([JobNotification::CallbacksMissing]),
            target: HookTarget::Url {
                url: Secret::new("http://receiver/"),
                host: "receiver".into(),
                secret: None,
                body: None,
            },
            timeout: Duration::from_secs(1),
            at_once: 1,
        };
        store.set_subscriptions(subscriptions(std::slice::from_ref(&hook)));
        let receiver = Arc::new(Receiver::default());
        let stage =
            HookStage::new(store.clone(), clock, vec![hook], folder.path().to_owned(), receiver.clone());
        store.notify_hooks(JobNotification::CallbacksMissing, now).await.unwrap();
        let (read, _) = store.due_hook_calls("hook".into(), now, 10).await.unwrap();
        for call in [&read[0], &read[0]] {
            assert!(stage.inner.clone().call(0, call.clone()).await);
        }
        assert_eq!(receiver.0.lock().len(), 1);
    }
}
