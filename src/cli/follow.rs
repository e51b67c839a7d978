//! Following jobs by the daemon's event stream or, where it gives none, by polling.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use crate::api::list::{JobFilter, JobOrder};
use crate::api::status::StatusView;
use crate::cli::client::ApiClient;
use crate::cli::event_stream::ReceivedEvent;
use crate::cli::exit::{CliError, Exit};
use crate::cli::progress::Progress;
use crate::cli::received::ReceivedJob;
use crate::clock::Clock;
use crate::job::JobId;
use crate::job::state::StateName;

/// Pause before a broken stream is opened again, or jobs are polled again.
const RECONNECT_DELAY: Duration = Duration::from_secs(1);
/// After this many connections in a row without a message, the daemon counts as gone.
const MAX_EMPTY_CONNECTIONS: u32 = 30;
/// Most running jobs of one state that are read when following begins.
const MAX_INITIAL_JOBS: u32 = 100;
/// The states between a submit and the end.
const RUNNING: [StateName; 4] =
    [StateName::Submitting, StateName::Queued, StateName::Processing, StateName::Downloading];

/// A change passed to the caller.
#[derive(Debug)]
pub(crate) enum Update {
    /// A job as it is now.
    Job(Box<ReceivedJob>),
    /// Counts, pauses and suspensions as they are now.
    Status(StatusView),
}

/// Follows jobs until each has ended or is held. Returns them in the order given, a job given twice twice.
pub(crate) async fn follow_until_settled(
    client: &ApiClient,
    clock: &Clock,
    jobs: Vec<ReceivedJob>,
    mut progress: Progress,
) -> Result<Vec<ReceivedJob>, CliError> {
    let order: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
    let mut unsettled = BTreeSet::new();
    let mut latest = BTreeMap::new();
    for job in jobs {
        progress.update(&job)?;
        if !job.is_settled() {
            unsettled.insert(job.id);
        }
        latest.insert(job.id, job);
    }
    if !unsettled.is_empty() {
        let followed = unsettled.clone();
        follow(client, clock, Some(&followed), |update| {
            if let Update::Job(job) = update {
                progress.update(&job)?;
                // A held job may be released meanwhile: then it is waited for again.
                if job.is_settled() {
                    unsettled.remove(&job.id);
                } else {
                    unsettled.insert(job.id);
                }
                latest.insert(job.id, *job);
            }
            Ok(if unsettled.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })
        .await?;
    }
    progress.finish();
    Ok(order.iter().filter_map(|id| latest.get(id).cloned()).collect())
}

/// Passes each change of the jobs in `only` (of all jobs, if `None`) to `on_update`, until that breaks.
///
/// No change is missed: jobs are read only after the stream has said where it begins, and a broken stream is opened again
/// after the last change received.
pub(crate) async fn follow(
    client: &ApiClient,
    clock: &Clock,
    only: Option<&BTreeSet<JobId>>,
    mut on_update: impl FnMut(Update) -> Result<ControlFlow<()>, CliError>,
) -> Result<(), CliError> {
    let mut follower = Follower { client, only, last_change: None, jobs_read: false, received: 0 };
    let mut empty_connections = 0;
    loop {
        let before = follower.received;
        match follower.connect(&mut on_update).await {
            Ok(ControlFlow::Break(())) => return Ok(()),
            Ok(ControlFlow::Continue(())) if empty_connections < MAX_EMPTY_CONNECTIONS => {}
            Ok(ControlFlow::Continue(())) => {
                return Err(CliError::new(Exit::Unreachable, "the daemon closes every event stream at once"));
            }
            // The daemon may be restarting; one that was never there is not waited for.
            Err(error)
                if error.exit == Exit::Unreachable
                    && follower.received > 0
                    && empty_connections < MAX_EMPTY_CONNECTIONS => {}
            Err(error) => return Err(error),
        }
        empty_connections = if follower.received == before { empty_connections + 1 } else { 0 };
        clock.sleep(RECONNECT_DELAY).await;
    }
}

struct Follower<'a> {
    client: &'a ApiClient,
    only: Option<&'a BTreeSet<JobId>>,
    /// The last change received; `None` before the first stream.
    last_change: Option<i64>,
    /// Whether the jobs themselves have been read.
    jobs_read: bool,
    /// Messages and answers so far.
    received: u64,
}

impl Follower<'_> {
    /// Follows one stream until it ends. Where the daemon answers but gives no stream, reads the jobs once.
    async fn connect(
        &mut self,
        on_update: &mut impl FnMut(Update) -> Result<ControlFlow<()>, CliError>,
    ) -> Result<ControlFlow<()>, CliError> {
        let mut stream = match self.client.events(self.last_change).await {
            Ok(stream) => stream,
            Err(error) if error.exit == Exit::Failed => return self.read_jobs(on_update).await,
            Err(error) => return Err(error),
        };
        while let Some(message) = stream.next().await {
            self.received += 1;
            self.last_change = message.change.or(self.last_change);
            let flow = match message.event {
                ReceivedEvent::Hello if !self.jobs_read => self.read_jobs(on_update).await?,
                ReceivedEvent::Job(job) if self.follows(job.id) => on_update(Update::Job(job))?,
                ReceivedEvent::Status(status) => on_update(Update::Status(status))?,
                ReceivedEvent::Hello | ReceivedEvent::Job(_) => ControlFlow::Continue(()),
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn follows(&self, job: JobId) -> bool {
        self.only.is_none_or(|only| only.contains(&job))
    }

    /// Reads the followed jobs; of all jobs, the running ones.
    async fn read_jobs(
        &mut self,
        on_update: &mut impl FnMut(Update) -> Result<ControlFlow<()>, CliError>,
    ) -> Result<ControlFlow<()>, CliError> {
        let mut jobs = Vec::new();
        match self.only {
            Some(only) => {
                for id in only {
                    jobs.push(self.client.job(&id.to_string()).await?);
                }
            }
            None => {
                for state in RUNNING {
                    let filter = JobFilter { state: Some(state), ..JobFilter::default() };
                    jobs.extend(
                        self.client.jobs(&filter, JobOrder::Created, MAX_INITIAL_JOBS, None).await?.jobs,
                    );
                }
            }
        }
        self.received += 1;
        self.jobs_read = true;
        for job in jobs {
            if on_update(Update::Job(Box::new(job)))?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
