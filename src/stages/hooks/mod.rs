//! Delivers notifications to hooks: at least once, one at a time for each job, without ever changing a job
//! (docs/hooks.md).

mod program;
mod webhook;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::api::budget::BudgetView;
use crate::api::hook::HookData;
use crate::clock::Clock;
use crate::job::JobId;
use crate::job::notification::JobNotification;
use crate::settings::{Hook, HookTarget};
use crate::stages::{InFlight, Stage, Wake};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::hooks::HookCall;
use crate::store::notify::{Notifications, Topic};
use crate::store::subscription::Subscription;
use webhook::WebhookSender;

/// Most hooks called at the same time.
const CONCURRENCY: usize = 4;
/// Most due calls read in one pass.
const BATCH: u32 = 32;
/// The wait after each failed try. When they are used up, the call is given up.
const RETRY_DELAYS: [Duration; 7] = [
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(5 * 3600),
    Duration::from_secs(10 * 3600),
];

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
    job: Option<JobId>,
    data: HookData,
    at: crate::clock::Timestamp,
}

/// The events for which the store writes calls to these hooks.
pub fn subscriptions(hooks: &[Hook]) -> Vec<Subscription> {
    hooks.iter().map(|hook| Subscription { hook: hook.name.clone(), on: hook.on.clone() }).collect()
}

pub struct HookStage {
    inner: Arc<Inner>,
    in_flight: InFlight,
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
    pub fn new(store: Store, clock: Clock, hooks: Vec<Hook>, library_dir: PathBuf) -> Self {
        let notifications = store.listen(Topic::Hooks);
        let in_flight = InFlight::new(CONCURRENCY, clock.clone());
        let sender = WebhookSender::new();
        Self { inner: Arc::new(Inner { store, clock, hooks, library_dir, sender }), in_flight, notifications }
    }
}

impl Inner {
    /// Returns whether the result was saved.
    async fn call(self: Arc<Self>, call: HookCall) -> bool {
        let saved = self.try_call(&call).await;
        if let Err(error) = &saved {
            tracing::error!("saving the result of a hook failed; it is called again: {error}");
        }
        saved.is_ok()
    }

    async fn try_call(&self, call: &HookCall) -> Result<(), StoreError> {
        let Some(hook) = self.hooks.iter().find(|hook| hook.name == call.hook) else {
            let outcome = "given up: this hook is no longer in the configuration".to_owned();
            return self.store.finish_hook_call(call.nr, outcome, None, self.clock.now()).await;
        };
        let data = match call.job {
            Some(job) => {
                let (details, suspensions) =
                    (self.store.details(job).await?, self.store.suspensions().await?);
                HookData::Job(Box::new(details.view(&self.library_dir, &suspensions, self.clock.now())))
            }
            None if call.event == JobNotification::Budget => {
                let spent = self.store.spent(self.clock.now()).await?;
                let budgets = spent.iter().map(|(budget, spent)| BudgetView::new(budget, *spent)).collect();
                HookData::Budgets { budgets }
            }
            None => HookData::MissedCallbacks {
                consecutive_missed_callbacks: self.store.metrics().missed_callbacks(),
            },
        };
        let about = call.job.map_or_else(|| "dropreel".to_owned(), |job| job.to_string());
        let id = format!("{about}.{}.{}", call.event.into_str(), call.nr);
        let message = Message { id, event: call.event, job: call.job, data, at: call.at };
        let result = match &hook.target {
            HookTarget::Program { program, arguments, environment } => {
                program::run(program, arguments, environment, &message, hook.timeout, &self.clock).await
            }
            HookTarget::Url { url, secret, .. } => {
                self.sender.post(url, secret.as_ref(), &message, hook.timeout, &self.clock).await
            }
        };
        let now = self.clock.now();
        let retry_at = RETRY_DELAYS.get(call.tries as usize).map(|delay| now.plus(*delay));
        let (hook, event) = (display_name(hook), call.event.into_str());
        let about = call.job.map(|job| format!(" of job {job}")).unwrap_or_default();
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
        let (calls, next) = self.inner.store.due_hook_calls(self.inner.clock.now(), BATCH).await?;
        for call in calls {
            if self.in_flight.is_full() {
                return Ok(Wake::OnNotify);
            }
            // One at a time for each job, oldest first. Calls about no job are treated as one job's.
            let job = call.job.unwrap_or(JobId::NONE);
            if !self.in_flight.contains(job) {
                self.in_flight.spawn(job, self.inner.clone().call(call));
            }
        }
        Ok(Wake::at(next))
    }

    async fn notified(&self) {
        tokio::select! {
            biased;
            () = self.notifications.next() => {}
            () = self.in_flight.completed() => {}
        }
    }

    async fn drain(&self) {
        // Aborted calls are repeated after the restart: delivery is at least once.
        self.in_flight.abort().await;
    }
}
