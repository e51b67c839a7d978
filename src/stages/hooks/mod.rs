//! Tells hooks what happened: at least once, one after the other for each job, without ever changing a job
//! (docs/hooks.md).

mod program;
mod webhook;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::api::hook::HookData;
use crate::clock::Clock;
use crate::job::JobId;
use crate::job::notification::JobNotification;
use crate::settings::{Hook, HookTarget};
use crate::stages::{InFlight, Stage, Wake};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::hooks::{Call, Subscription};
use crate::store::notify::{Notifications, Topic};
use webhook::Sender;

/// So many hooks run at once.
const CONCURRENCY: usize = 4;
/// So many due calls are looked at in one pass.
const BATCH: u32 = 32;
/// How long after each try that failed the next one is made; after the last of them it is given up.
const AGAIN: [Duration; 7] = [
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(5 * 3600),
    Duration::from_secs(10 * 3600),
];

/// Why a try failed, for people; shows neither addresses nor what the other side said.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Failed {
    /// It is tried again.
    Passing(String),
    /// The other side wants no more of it.
    ForGood(String),
}

/// What is told.
struct Message {
    /// The same for every try: `JOB.EVENT.NUMBER`.
    id: String,
    event: JobNotification,
    job: Option<JobId>,
    /// The job, or what there is to say of all of them.
    data: HookData,
    at: crate::clock::Timestamp,
}

/// What the store is to write down for these hooks.
pub fn subscriptions(hooks: &[Hook]) -> Vec<Subscription> {
    hooks.iter().map(|hook| Subscription { hook: hook.name.clone(), on: hook.on.clone() }).collect()
}

/// The hook stage.
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
    sender: Sender,
}

impl HookStage {
    /// Listens from now on. What is to be told must have been [subscribed](subscriptions) to before.
    pub fn new(store: Store, clock: Clock, hooks: Vec<Hook>, library_dir: PathBuf) -> Self {
        let notifications = store.listen(Topic::Hooks);
        let in_flight = InFlight::new(CONCURRENCY, clock.clone());
        let sender = Sender::new();
        Self { inner: Arc::new(Inner { store, clock, hooks, library_dir, sender }), in_flight, notifications }
    }
}

impl Inner {
    /// Whether what came of it was kept.
    async fn call(self: Arc<Self>, call: Call) -> bool {
        let kept = self.try_call(&call).await;
        if let Err(error) = &kept {
            tracing::error!("what came of a hook could not be kept; it is called again: {error}");
        }
        kept.is_ok()
    }

    async fn try_call(&self, call: &Call) -> Result<(), StoreError> {
        let Some(hook) = self.hooks.iter().find(|hook| hook.name == call.hook) else {
            let outcome = "given up: this hook is no longer in the configuration".to_owned();
            return self.store.call_ended(call.nr, outcome, None, self.clock.now()).await;
        };
        let data = match call.job {
            Some(job) => HookData::Job(Box::new(self.store.look(job).await?.view(&self.library_dir))),
            None => HookData::MissedCallbacks {
                consecutive_missed_callbacks: self.store.metrics().missed_callbacks(),
            },
        };
        let of = call.job.map_or_else(|| "dropreel".to_owned(), |job| job.to_string());
        let id = format!("{of}.{}.{}", call.event.as_str(), call.nr);
        let message = Message { id, event: call.event, job: call.job, data, at: call.at };
        let shown = shown(hook);
        let told = match &hook.target {
            HookTarget::Program { program, arguments, environment } => {
                program::run(program, arguments, environment, &message, hook.timeout, &self.clock).await
            }
            HookTarget::Address { url, secret, .. } => {
                self.sender.post(url, secret.as_ref(), &message, hook.timeout, &self.clock).await
            }
        };
        let now = self.clock.now();
        let again = AGAIN.get(call.tries as usize).map(|wait| now.plus(*wait));
        let (event, of) =
            (call.event.as_str(), call.job.map(|job| format!(" of job {job}")).unwrap_or_default());
        let (outcome, again) = match told {
            Ok(()) => {
                tracing::info!("hook {shown} was told `{event}`{of}");
                ("told".to_owned(), None)
            }
            Err(Failed::ForGood(why)) => {
                tracing::warn!("hook {shown} wants no word of `{event}`{of}: {why}");
                (format!("given up: {why}"), None)
            }
            Err(Failed::Passing(why)) if again.is_none() => {
                tracing::warn!(
                    "hook {shown} is given up for `{event}`{of} after {} tries: {why}",
                    call.tries + 1
                );
                (format!("given up: {why}"), None)
            }
            Err(Failed::Passing(why)) => {
                tracing::warn!("hook {shown} could not be told `{event}`{of}; it is told again: {why}");
                (why, again)
            }
        };
        self.store.call_ended(call.nr, outcome, again, now).await
    }
}

/// A hook, for people.
fn shown(hook: &Hook) -> &str {
    match &hook.target {
        HookTarget::Program { program, .. } => program,
        HookTarget::Address { host, .. } => host,
    }
}

impl Stage for HookStage {
    const NAME: &'static str = "hooks";

    async fn pass(&self) -> Result<Wake, StoreError> {
        let (calls, next) = self.inner.store.due_calls(self.inner.clock.now(), BATCH).await?;
        for call in calls {
            if self.in_flight.is_full() {
                return Ok(Wake::OnNotify);
            }
            // One at a time for each job, oldest first; what is of no job is like one.
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
        // Cut off, they are called again after the start: at least once is what is promised.
        self.in_flight.abort().await;
    }
}
