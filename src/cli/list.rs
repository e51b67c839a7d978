//! `list`, and lists of jobs for the other commands.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::api::job::JobView;
use crate::api::list::{JobFilter, MAX_PAGE};
use crate::cli::args::ListArgs;
use crate::cli::client::ApiClient;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::list_csv::csv_table;
use crate::cli::received::{ReceivedJob, ReceivedPage};
use crate::cli::suspensions::eprint_suspensions;
use crate::cli::terminal::{eprint_line, print_bytes, print_json, print_line};
use crate::cli::{format, terminal};
use crate::clock::Timestamp;

/// Jobs as a JSON document.
#[derive(Serialize)]
pub(crate) struct JobsDocument<'a> {
    pub jobs: &'a [ReceivedJob],
}

/// `list`
pub(crate) async fn list(context: &Context, args: &ListArgs) -> Result<Exit, CliError> {
    let client = context.client()?;
    let filter = JobFilter { rating: args.rating, ..args.filter.filter() };
    let page = fetch_jobs(&client, &filter, args.limit).await?;
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
    let width = terminal::width();
    let now = context.clock.now();
    let rows = page.jobs.iter().map(|job| row(job, now, width)).collect();
    print_line(&format::table(headers(width), rows, width))?;
    if page.next_cursor.is_some() {
        eprint_line("there are more jobs; see --limit");
    }
    Ok(Exit::Done)
}

/// The newest `limit` jobs that match `filter`, and where the next page would begin.
pub(crate) async fn fetch_jobs(
    client: &ApiClient,
    filter: &JobFilter,
    limit: u32,
) -> Result<ReceivedPage, CliError> {
    let mut all = ReceivedPage { jobs: Vec::new(), next_cursor: None, rest: BTreeMap::new() };
    loop {
        let left = limit.saturating_sub(u32::try_from(all.jobs.len()).unwrap_or(limit));
        if left == 0 {
            return Ok(all);
        }
        let page = client.jobs(filter, left.min(MAX_PAGE), all.next_cursor.take()).await?;
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
        let page = client.jobs(&JobFilter::default(), MAX_PAGE, cursor).await?;
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

/// Whether a list of this width has space for the model.
fn is_wide(width: Option<u16>) -> bool {
    width.is_none_or(|width| width >= 100)
}

fn headers(width: Option<u16>) -> &'static [&'static str] {
    if is_wide(width) {
        &["NAME", "STATE", "%", "MODEL", "AGE", "ID"]
    } else {
        &["NAME", "STATE", "%", "AGE", "ID"]
    }
}

fn row(job: &JobView, now: Timestamp, width: Option<u16>) -> Vec<String> {
    let age = format::duration(now.since(job.created_at).as_secs());
    let mut row = vec![job.name.clone(), job.state.to_string(), job.progress.to_string()];
    if is_wide(width) {
        row.push(job.model.clone());
    }
    row.extend([age, job.id.to_string()]);
    row
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cli::fixtures::{NOW, assert_golden, job};
    use crate::job::state::StateName;

    #[test]
    fn list_fits_the_terminal_and_keeps_the_whole_id() {
        let now = NOW.plus(Duration::from_secs(3600));
        let name = "樱花树下 ".repeat(12).trim_end().to_owned();
        let long = JobView { name, ..job(StateName::Downloading) };
        let jobs = [job(StateName::Held), long];
        for (name, width) in [("list-80", Some(80)), ("list-120", Some(120)), ("list-piped", None)] {
            let rows = jobs.iter().map(|job| row(job, now, width)).collect();
            assert_golden(name, &format::table(headers(width), rows, width));
        }
    }
}
