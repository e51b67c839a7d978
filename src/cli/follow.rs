//! `watch` and `wait`: jobs live, by the event stream, with a bar for each that runs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::cli::term::{self, say, say_json, text};
use crate::cli::{Api, Context, Exit, Failure, look};
use crate::clock::Clock;

/// A stream that broke off is opened again after this.
const RECONNECT: Duration = Duration::from_secs(1);
/// So often in a row without a single event, then the daemon is taken for gone.
const MOST_RECONNECTS: u32 = 30;
/// Words of the states that end a job.
const ENDS: [&str; 4] = ["succeeded", "failed", "cancelled", "expired"];

/// Jobs by id, in the order in which they came.
pub(super) type Jobs = Vec<Value>;

/// `wait`
pub(super) async fn wait(context: &Context, references: &[String]) -> Result<Exit, Failure> {
    let api = context.api()?;
    let mut jobs = Vec::new();
    for reference in references {
        jobs.push(api.get(&["api", "v1", "jobs", reference], &[]).await?);
    }
    let jobs = until_ended(&api, &context.clock, jobs).await?;
    report(context, &jobs)
}

/// Tells how jobs ended. Held ones are told with what they wait for.
pub(super) fn report(context: &Context, jobs: &Jobs) -> Result<Exit, Failure> {
    if context.json {
        say_json(&json!({"jobs": jobs}))?;
    } else {
        for job in jobs {
            say(&outcome(job))?;
        }
    }
    let all = jobs.iter().all(|job| job["state"] == "succeeded");
    Ok(if all { Exit::Done } else { Exit::NotSucceeded })
}

fn outcome(job: &Value) -> String {
    let (name, state) = (text(job, "name"), term::state(&text(job, "state")));
    let files: Vec<String> =
        job["files"].as_array().into_iter().flatten().map(|file| text(file, "path")).collect();
    let why = [text(&job["error"], "message"), text(job, "reason")].into_iter().find(|why| !why.is_empty());
    match (files.is_empty(), why) {
        (false, _) => format!("{name}  {state}  {}", files.join("  ")),
        (true, Some(why)) => format!("{name}  {state}  {why}"),
        (true, None) => format!("{name}  {state}"),
    }
}

/// Follows jobs until each has ended or waits for a person, with bars or lines on stderr.
pub(super) async fn until_ended(api: &Api, clock: &Clock, jobs: Jobs) -> Result<Jobs, Failure> {
    let mut show = Show::new(jobs.len());
    let order: Vec<String> = jobs.iter().map(|job| text(job, "id")).collect();
    let mut known: BTreeMap<String, Value> = jobs.into_iter().map(|job| (text(&job, "id"), job)).collect();
    for id in &order {
        show.job(&known[id]);
    }
    let open = |known: &BTreeMap<String, Value>| known.values().any(|job| !rests(job));
    if open(&known) {
        let watched: BTreeSet<String> = order.iter().cloned().collect();
        follow(api, clock, Some(&watched), |job| {
            show.job(&job);
            known.insert(text(&job, "id"), job);
            open(&known)
        })
        .await?;
    }
    show.end();
    Ok(order.iter().filter_map(|id| known.remove(id)).collect())
}

/// Whether a job moves no more by itself.
fn rests(job: &Value) -> bool {
    let state = job["state"].as_str().unwrap_or_default();
    ENDS.contains(&state) || state == "held"
}

/// Hands on each change of the jobs in `only` (of all, if `None`) until `on` says that it is enough. What happened
/// between two connections is not missed: changes are numbered.
async fn follow(
    api: &Api,
    clock: &Clock,
    only: Option<&BTreeSet<String>>,
    mut on: impl FnMut(Value) -> bool,
) -> Result<(), Failure> {
    // All changes there ever were would be too many; a look at the jobs themselves starts it off.
    let mut after: Option<i64> = None;
    let mut failures = 0;
    loop {
        match api.events(after).await {
            Ok(mut events) => {
                if let (None, Some(only)) = (after, only) {
                    for id in only {
                        if !on(api.get(&["api", "v1", "jobs", id], &[]).await?) {
                            return Ok(());
                        }
                    }
                }
                while let Some(event) = events.next().await {
                    failures = 0;
                    let told = event.data["change"].as_i64();
                    after = event.change.or(told).or(after);
                    let wanted = only.is_none_or(|only| only.contains(&text(&event.data, "id")));
                    if event.kind == "job" && wanted && !on(event.data) {
                        return Ok(());
                    }
                }
            }
            Err(failure) if failure.exit != Exit::Unreachable || failures >= MOST_RECONNECTS => {
                return Err(failure);
            }
            Err(_) => {}
        }
        failures += 1;
        clock.sleep(RECONNECT).await;
    }
}

/// `watch`
pub(super) async fn watch(context: &Context, reference: Option<&str>) -> Result<Exit, Failure> {
    let api = context.api()?;
    if let Some(reference) = reference {
        let job = api.get(&["api", "v1", "jobs", reference], &[]).await?;
        let watched = until_ended(&api, &context.clock, vec![job]);
        return tokio::select! {
            jobs = watched => report(context, &jobs?),
            _ = tokio::signal::ctrl_c() => Ok(Exit::Done),
        };
    }
    let status = api.get(&["api", "v1", "status"], &[]).await?;
    for stop in look::stops(&status) {
        eprintln!("{stop}");
    }
    let mut show = Show::new(0);
    for state in ["submitting", "queued", "processing", "downloading"] {
        let page = api.get(&["api", "v1", "jobs"], &[("state", state), ("limit", "100")]).await?;
        for job in page["jobs"].as_array().into_iter().flatten() {
            show.job(job);
        }
    }
    eprintln!("watching; ctrl-c ends it");
    let watching = follow(&api, &context.clock, None, |job| {
        if context.json {
            println!("{job}");
        } else {
            show.job(&job);
        }
        true
    });
    tokio::select! {
        ended = watching => ended.map(|()| Exit::Done),
        _ = tokio::signal::ctrl_c() => Ok(Exit::Done),
    }
}

/// Bars on a terminal, lines elsewhere.
pub(super) struct Show {
    bars: Option<MultiProgress>,
    shown: BTreeMap<String, ProgressBar>,
    /// What was last said of a job, so that nothing is said twice.
    said: BTreeMap<String, String>,
    /// Ended jobs keep their bar where all jobs are known beforehand.
    keeps: bool,
}

impl Show {
    /// For so many jobs; 0: for whatever comes.
    pub fn new(jobs: usize) -> Self {
        let bars = term::draws().then(MultiProgress::new);
        Self { bars, shown: BTreeMap::new(), said: BTreeMap::new(), keeps: jobs > 0 && jobs <= 40 }
    }

    /// Shows a job as it is now.
    pub fn job(&mut self, job: &Value) {
        match &self.bars {
            Some(bars) => {
                let bars = bars.clone();
                self.bar(&bars, job);
            }
            None => self.line(job),
        }
    }

    fn bar(&mut self, bars: &MultiProgress, job: &Value) {
        let (id, state) = (text(job, "id"), text(job, "state"));
        let over = rests(job);
        if over && !self.shown.contains_key(&id) && !self.keeps {
            return;
        }
        let bar = self.shown.entry(id.clone()).or_insert_with(|| {
            let bar = bars.add(ProgressBar::new(100));
            bar.set_style(style());
            bar.set_prefix(short(&text(job, "name")));
            bar
        });
        bar.set_position(if state == "succeeded" { 100 } else { job["progress"].as_u64().unwrap_or(0) });
        let why = if state == "held" || state == "failed" { reason(job) } else { String::new() };
        bar.set_message(format!("{state}{why}"));
        if over {
            if self.keeps {
                bar.abandon();
            } else {
                bar.finish_and_clear();
                // What is printed here must not tear the bars apart.
                let _ = bars.println(outcome(job));
                self.shown.remove(&id);
            }
        }
    }

    fn line(&mut self, job: &Value) {
        let line =
            format!("{} {} {}%{}", text(job, "name"), text(job, "state"), text(job, "progress"), reason(job));
        let said = self.said.entry(text(job, "id")).or_default();
        if *said != line {
            eprintln!("{line}");
            *said = line;
        }
        if rests(job) && !self.keeps {
            self.said.remove(&text(job, "id"));
        }
    }

    fn end(&self) {
        for bar in self.shown.values() {
            bar.abandon();
        }
    }
}

fn reason(job: &Value) -> String {
    let why = [text(&job["error"], "message"), text(job, "reason")].into_iter().find(|why| !why.is_empty());
    why.map_or_else(String::new, |why| format!("  {why}"))
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{prefix:24} {bar:30.cyan/dim} {pos:>3}%  {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─")
}

/// So much of a name as a bar has room for.
fn short(name: &str) -> String {
    if name.chars().count() <= 22 { name.to_owned() } else { name.chars().take(21).chain(['…']).collect() }
}
