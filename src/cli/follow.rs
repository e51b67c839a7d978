//! `watch` and `wait`: jobs live, by the event stream; where there is none, by asking again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::bars::{Show, outcome};
use crate::cli::events::Event;
use crate::cli::show::{self, Jobs, rests};
use crate::cli::term::{say, say_json, tell, text};
use crate::cli::{Api, Context, Exit, Failure};
use crate::clock::Clock;

/// A stream that broke off is opened again after this; without streams, jobs are looked at so often.
const RECONNECT: Duration = Duration::from_secs(1);
/// So often in a row without a word, then the daemon is taken for gone.
const MOST_RECONNECTS: u32 = 30;
/// States in which something is under way.
const RUNNING: [&str; 4] = ["submitting", "queued", "processing", "downloading"];

/// What is told of while jobs are followed.
#[derive(Debug)]
enum Told {
    /// A job, as it is now.
    Job(Value),
    /// The line: what stands still.
    Status(Value),
}

/// `wait`
pub(super) async fn wait(context: &Context, references: &[String]) -> Result<Exit, Failure> {
    let api = context.api()?;
    let mut jobs = Jobs::new();
    for reference in references {
        jobs.push(api.job(reference).await?);
    }
    let jobs = until_ended(&api, &context.clock, jobs).await?;
    if context.json {
        say_json(&json!({"jobs": jobs}))?;
    } else {
        report(&jobs)?;
    }
    Ok(exit(&jobs))
}

/// Tells how jobs ended. Held ones are told with what they wait for.
pub(super) fn report(jobs: &Jobs) -> Result<(), Failure> {
    jobs.iter().try_for_each(|job| say(&outcome(job)))
}

/// How a command that waited for these jobs ends.
pub(super) fn exit(jobs: &Jobs) -> Exit {
    let all = jobs.iter().all(|job| job["state"] == "succeeded");
    if all { Exit::Done } else { Exit::NotSucceeded }
}

/// Follows jobs until each has ended or waits for a person, with bars or lines on stderr.
pub(super) async fn until_ended(api: &Api, clock: &Clock, jobs: Jobs) -> Result<Jobs, Failure> {
    if jobs.iter().any(|job| !rests(job)) {
        show::tell_stops(api).await?;
    }
    let show = Show::aside(jobs.len());
    shown_until_ended(api, clock, jobs, show).await
}

async fn shown_until_ended(api: &Api, clock: &Clock, jobs: Jobs, mut show: Show) -> Result<Jobs, Failure> {
    let order: Vec<String> = jobs.iter().map(|job| text(job, "id")).collect();
    let mut open = BTreeSet::new();
    let mut known = BTreeMap::new();
    for job in jobs {
        show.job(&job)?;
        let id = text(&job, "id");
        if !rests(&job) {
            open.insert(id.clone());
        }
        known.insert(id, job);
    }
    if !open.is_empty() {
        let watched = open.clone();
        follow(api, clock, Some(&watched), |told| {
            if let Told::Job(job) = told {
                show.job(&job)?;
                let id = text(&job, "id");
                if rests(&job) {
                    open.remove(&id);
                } else {
                    open.insert(id.clone());
                }
                known.insert(id, job);
            }
            Ok(!open.is_empty())
        })
        .await?;
    }
    show.end();
    // A job named twice is told twice.
    Ok(order.iter().filter_map(|id| known.get(id).cloned()).collect())
}

/// Hands on each change of the jobs in `only` (of all, if `None`), until `on` says that it has heard enough. No change
/// is missed: jobs are looked at once the stream is known to tell what comes after, and changes are numbered, so that a
/// stream that broke off goes on where it stopped.
async fn follow(
    api: &Api,
    clock: &Clock,
    only: Option<&BTreeSet<String>>,
    mut on: impl FnMut(Told) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let mut place = Place::default();
    let mut silent = 0;
    loop {
        let before = place.heard;
        match connection(api, only, &mut place, &mut on).await {
            Ok(CallOutcome::Enough) => return Ok(()),
            Ok(CallOutcome::More) if silent < MOST_RECONNECTS => {}
            Ok(CallOutcome::More) => {
                return Err(Failure::new(Exit::Unreachable, "the daemon ends every event stream at once"));
            }
            // Restarted, perhaps; but a daemon that was never there is not waited for.
            Err(failure)
                if failure.exit == Exit::Unreachable && place.heard > 0 && silent < MOST_RECONNECTS => {}
            Err(failure) => return Err(failure),
        }
        silent = if place.heard == before { silent + 1 } else { 0 };
        clock.sleep(RECONNECT).await;
    }
}

/// How far a follower is.
#[derive(Default)]
struct Place {
    /// The last change told of; `None` before there was any stream.
    after: Option<i64>,
    /// Whether the jobs themselves were looked at since.
    looked: bool,
    /// So many answers and events so far.
    heard: u64,
}

enum CallOutcome {
    Enough,
    More,
}

/// Follows one stream until it ends. Where the daemon gives none but answers, the jobs are looked at once.
async fn connection(
    api: &Api,
    only: Option<&BTreeSet<String>>,
    place: &mut Place,
    on: &mut impl FnMut(Told) -> Result<bool, Failure>,
) -> Result<CallOutcome, Failure> {
    let mut events = match api.events(place.after).await {
        Ok(events) => events,
        Err(failure) if failure.exit == Exit::Failed => return look(api, only, place, on).await,
        Err(failure) => return Err(failure),
    };
    while let Some(Event { kind, change, data }) = events.next().await {
        place.heard += 1;
        place.after = change.or_else(|| data["change"].as_i64()).or(place.after);
        let wanted = only.is_none_or(|only| only.contains(&text(&data, "id")));
        let more = match kind.as_str() {
            "hello" if !place.looked => matches!(look(api, only, place, on).await?, CallOutcome::More),
            "job" if wanted => on(Told::Job(data))?,
            "status" => on(Told::Status(data))?,
            _ => true,
        };
        if !more {
            return Ok(CallOutcome::Enough);
        }
    }
    Ok(CallOutcome::More)
}

/// Looks at the jobs themselves: at those in `only`, else at those that run.
async fn look(
    api: &Api,
    only: Option<&BTreeSet<String>>,
    place: &mut Place,
    on: &mut impl FnMut(Told) -> Result<bool, Failure>,
) -> Result<CallOutcome, Failure> {
    let mut jobs = Jobs::new();
    match only {
        Some(only) => {
            for id in only {
                jobs.push(api.job(id).await?);
            }
        }
        None => {
            for state in RUNNING {
                let mut page = api.get(&["api", "v1", "jobs"], &[("state", state), ("limit", "100")]).await?;
                jobs.extend(page["jobs"].as_array_mut().map(std::mem::take).unwrap_or_default());
            }
        }
    }
    place.heard += 1;
    place.looked = true;
    for job in jobs {
        if !on(Told::Job(job))? {
            return Ok(CallOutcome::Enough);
        }
    }
    Ok(CallOutcome::More)
}

/// `watch`
pub(super) async fn watch(context: &Context, reference: Option<&str>) -> Result<Exit, Failure> {
    let api = context.api()?;
    let watching = async {
        match reference {
            Some(reference) => watch_one(context, &api, reference).await,
            None => watch_all(context, &api).await,
        }
    };
    tokio::select! {
        ended = watching => ended,
        _ = tokio::signal::ctrl_c() => Ok(Exit::Done),
    }
}

async fn watch_one(context: &Context, api: &Api, reference: &str) -> Result<Exit, Failure> {
    let jobs = vec![api.job(reference).await?];
    if context.json {
        let jobs = until_ended(api, &context.clock, jobs).await?;
        say_json(&json!({"jobs": jobs}))?;
        return Ok(exit(&jobs));
    }
    show::tell_stops(api).await?;
    let jobs = shown_until_ended(api, &context.clock, jobs, Show::itself(1, &context.clock)).await?;
    Ok(exit(&jobs))
}

async fn watch_all(context: &Context, api: &Api) -> Result<Exit, Failure> {
    let mut show = Show::itself(0, &context.clock);
    let mut stopped = Vec::new();
    tell("watching; ctrl-c ends it");
    follow(api, &context.clock, None, |told| {
        match told {
            // A document a line: there is no end to wait for.
            Told::Job(job) if context.json => say(&job.to_string())?,
            Told::Job(job) => show.job(&job)?,
            Told::Status(_) if context.json => {}
            Told::Status(status) => {
                let stops = show::stops(&status);
                for stop in stops.iter().filter(|stop| !stopped.contains(*stop)) {
                    show.note(stop)?;
                }
                if stops.is_empty() && !stopped.is_empty() {
                    show.note("nothing stands still any more")?;
                }
                stopped = stops;
            }
        }
        Ok(true)
    })
    .await?;
    Ok(Exit::Done)
}
