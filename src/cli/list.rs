//! `list`, and lists of jobs for the other commands.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use serde::Serialize;

use crate::api::job::JobView;
use crate::api::list::{JobFilter, JobOrder, MAX_PAGE};
use crate::cli::args::ListArgs;
use crate::cli::client::ApiClient;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::format::{self, Column};
use crate::cli::list_csv::csv_table;
use crate::cli::received::{ReceivedJob, ReceivedPage};
use crate::cli::suspensions::eprint_suspensions;
use crate::cli::terminal;
use crate::cli::terminal::{eprint_line, print_bytes, print_json, print_line};
use crate::cli::usual::time_note;
use crate::clock::Timestamp;
use crate::job::JobId;
use crate::job::state::StateName;

/// Jobs as a JSON document.
#[derive(Serialize)]
pub(crate) struct JobsDocument<'a> {
    pub jobs: &'a [ReceivedJob],
}

/// `list`
pub(crate) async fn list(context: &Context, args: &ListArgs) -> Result<Exit, CliError> {
    let client = context.client()?;
    let filter = args.filter();
    let page = fetch_jobs(&client, &filter, args.sort, args.limit).await?;
    if context.json {
        print_json(&page)?;
        return Ok(Exit::Done);
    }
    if args.csv {
        print_bytes(&csv_table(&page.jobs)?)?;
        return Ok(Exit::Done);
    }
    eprint_suspensions(&client).await?;
    if page.jobs.is_empty() {
        eprint_line(if filter == JobFilter::default() {
            "no jobs; drop a job file into the inbox, or try `dropreel submit FILE`"
        } else {
            "no jobs match"
        });
        return Ok(Exit::Done);
    }
    print_line(&table(&page.jobs, context.clock.now(), terminal::width()))?;
    if page.next_cursor.is_some() {
        eprint_line("there are more jobs; see --limit");
    }
    Ok(Exit::Done)
}

/// The first `limit` jobs that match `filter`, in this order, and where the next page would begin.
pub(crate) async fn fetch_jobs(
    client: &ApiClient,
    filter: &JobFilter,
    order: JobOrder,
    limit: u32,
) -> Result<ReceivedPage, CliError> {
    let mut all = ReceivedPage { jobs: Vec::new(), next_cursor: None, rest: BTreeMap::new() };
    loop {
        let left = limit.saturating_sub(u32::try_from(all.jobs.len()).unwrap_or(limit));
        if left == 0 {
            return Ok(all);
        }
        let page = client.jobs(filter, order, left.min(MAX_PAGE), all.next_cursor.take()).await?;
        all.jobs.extend(page.jobs);
        all.next_cursor = page.next_cursor;
        all.rest = page.rest;
        if all.next_cursor.is_none() {
            return Ok(all);
        }
    }
}

/// All `count` jobs of one job file, given the `first` ones.
pub(crate) async fn fetch_jobs_of_file(
    client: &ApiClient,
    first: Vec<ReceivedJob>,
    count: usize,
) -> Result<Vec<ReceivedJob>, CliError> {
    let incomplete = || {
        CliError::failed(format!(
            "{count} jobs were accepted, but cannot be listed here; see `dropreel list`"
        ))
    };
    let first = first.first().map(|job| job.id).ok_or_else(incomplete)?;
    let mut jobs: Vec<ReceivedJob> = Vec::new();
    let mut cursor = None;
    // The jobs of a file are committed at once, so none of another file is listed between them.
    loop {
        let page = client.jobs(&JobFilter::default(), JobOrder::Created, MAX_PAGE, cursor).await?;
        jobs.extend(page.jobs);
        if let Some(end) = jobs.iter().position(|job| job.id == first) {
            jobs.truncate(end + 1);
            jobs.reverse();
            jobs.truncate(count);
            return Ok(jobs);
        }
        cursor = Some(page.next_cursor.ok_or_else(incomplete)?);
    }
}

/// A list of this width has space for the model.
const WIDE: u16 = 110;
/// Fewest characters of an id that are shown: with a million jobs, one in five thousand of these fits another job, too.
const SHORT_ID: usize = 8;

/// The jobs as a table of this width; without one, for programs, with whole ids.
fn table<'a, T: Deref<Target = JobView> + 'a>(jobs: &'a [T], now: Timestamp, width: Option<u16>) -> String {
    let age = |job: &JobView| format::duration(now.since(job.created_at).as_secs());
    let state = |job: &JobView| job.state.to_string();
    let Some(width) = width else {
        let columns = ["NAME", "STATE", "%", "MODEL", "AGE", "ID"].map(Column::whole);
        let row = |job: &T| {
            let (name, model) = (job.name.clone(), job.model.clone());
            vec![name, state(job), job.progress.to_string(), model, age(job), job.id.to_string()]
        };
        return format::table(&columns, jobs.iter().map(row).collect(), None);
    };
    let mut columns = vec![
        Column::whole("ID"),
        Column::cut("NAME"),
        Column::whole("STATE"),
        Column::number("COST"),
        Column::number("AGE"),
    ];
    if width >= WIDE {
        columns.push(Column::cut("MODEL"));
    }
    columns.push(Column::sentence("NOTE"));
    let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
    let row = |(job, id): (&T, String)| {
        let mut row = vec![id, job.name.clone(), state(job), cost(job), age(job)];
        row.extend((width >= WIDE).then(|| job.model.clone()));
        row.push(note(job, now));
        row
    };
    format::table(&columns, jobs.iter().zip(short_ids(&ids)).map(row).collect(), Some(width))
}

/// The ends of ids, which are random: as long as all of these differ. The beginnings are a time.
pub(crate) fn short_ids(ids: &[JobId]) -> Vec<String> {
    let whole: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let end = |id: &str, length: usize| id[id.len().saturating_sub(length)..].to_owned();
    let differ = |length: &usize| {
        let ends: BTreeSet<String> = whole.iter().map(|id| end(id, *length)).collect();
        ends.len() == ids.iter().collect::<BTreeSet<_>>().len()
    };
    // The last group has twelve characters.
    let length = (SHORT_ID..=12).find(differ).unwrap_or(usize::MAX);
    whole.iter().map(|id| end(id, length)).collect()
}

/// What it was charged, or while that is not known and it has not ended: `~$0.15`, what it will probably cost.
fn cost(job: &JobView) -> String {
    let estimate = job.estimate_usd.filter(|_| !job.state.is_end());
    let charged = job.cost_usd.map(format::usd);
    charged.or_else(|| estimate.map(|usd| format!("~{}", format::usd(usd)))).unwrap_or_default()
}

/// What a person looks for in a list beside the state: why, how far, how good.
fn note(job: &JobView, now: Timestamp) -> String {
    let error = job.error.as_ref().map(|error| error.message.clone());
    let progress = || {
        let percent = (1..100).contains(&job.progress).then(|| format!("{}%", job.progress));
        let parts: Vec<String> = percent.into_iter().chain(time_note(job, now)).collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    };
    match job.state {
        StateName::Succeeded => job.rating.map(|rating| format!("rated {rating}")),
        state if state.is_end() => error,
        StateName::Held | StateName::Pending => job.reason.clone(),
        _ => job.reason.clone().or_else(progress),
    }
    .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cli::fixtures::{NOW, assert_golden, job};
    use strum::VariantArray;

    use crate::job::JobError;
    use crate::rng::Rng;

    #[test]
    fn list_fits_the_terminal() {
        let now = NOW.plus(Duration::from_secs(3600));
        let mut jobs: Vec<Box<JobView>> = StateName::VARIANTS
            .iter()
            .map(|state| JobView { reason: None, name: state.to_string(), cost_usd: None, ..job(*state) })
            .map(Box::new)
            .collect();
        for (number, job) in jobs.iter_mut().enumerate() {
            job.id = JobId::new(NOW, number as u64, &Rng::seeded(number as u64));
        }
        jobs[0].reason = Some("waits until 2026-04-05T06:46:00.000Z (not_before)".into());
        let failed = jobs.iter_mut().find(|job| job.state == StateName::Failed).unwrap();
        failed.error =
            Some(JobError { code: "x".into(), message: "the prompt was\u{1b} refused. ".repeat(9) });
        failed.cost_usd = Some(12_345.67);
        let name = "樱花树下 ".repeat(12).trim_end().to_owned();
        jobs.push(Box::new(JobView { name, ..job(StateName::Held) }));
        for (name, width) in [("list-80", Some(80)), ("list-120", Some(120)), ("list-piped", None)] {
            assert_golden(name, &table(&jobs, now, width));
        }
    }

    #[test]
    fn short_ids_differ() {
        let id = |text: &str| JobId::parse(text).unwrap();
        let first = id("01a2069b-5192-7000-8002-4ba8a661699c");
        assert_eq!(short_ids(&[first, first]), ["a661699c", "a661699c"]);
        let second = id("01a2069b-5192-7000-8002-0ba9a661699c");
        assert_eq!(short_ids(&[first, second]), ["8a661699c", "9a661699c"]);
        let third = id("01a2069b-5192-7000-8003-4ba8a661699c");
        assert_eq!(short_ids(&[first, third]), [first.to_string(), third.to_string()]);
        assert!(short_ids(&[]).is_empty());
    }
}
