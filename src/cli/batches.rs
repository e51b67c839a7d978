//! `list --batches`: job files with what became of their jobs.

use crate::api::batch::{BatchView, MAX_BATCH_PAGE};
use crate::cli::client::ApiClient;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::format::{self, Column};
use crate::cli::received::ReceivedBatches;
use crate::cli::suspensions::eprint_suspensions;
use crate::cli::terminal;
use crate::cli::terminal::{eprint_line, print_json, print_line};
use crate::clock::Timestamp;
use crate::job::state::StateName;

const COLUMNS: [Column; 8] = [
    Column::cut("FILE"),
    Column::number("DONE"),
    Column::number("FAILED"),
    Column::number("HELD"),
    Column::number("COST"),
    Column::number("OF ABOUT"),
    Column::number("LEFT"),
    Column::whole("ID"),
];

/// `list --batches`
pub(crate) async fn list_batches(context: &Context, limit: u32) -> Result<Exit, CliError> {
    let client = context.client()?;
    let page = fetch_batches(&client, limit).await?;
    if context.json {
        print_json(&page)?;
        return Ok(Exit::Done);
    }
    eprint_suspensions(&client).await?;
    if page.batches.is_empty() {
        eprint_line("no jobs; drop a job file into the inbox, or try `dropreel submit FILE`");
        return Ok(Exit::Done);
    }
    let now = context.clock.now();
    let rows = page.batches.iter().map(|batch| row(batch, now)).collect();
    print_line(&format::table(&COLUMNS, rows, terminal::width()))?;
    if page.next_cursor.is_some() {
        eprint_line("there are more batches; see --limit");
    }
    Ok(Exit::Done)
}

async fn fetch_batches(client: &ApiClient, limit: u32) -> Result<ReceivedBatches, CliError> {
    let mut all = client.batches(limit.min(MAX_BATCH_PAGE), None).await?;
    loop {
        let left = limit.saturating_sub(u32::try_from(all.batches.len()).unwrap_or(limit));
        if left == 0 || all.next_cursor.is_none() {
            return Ok(all);
        }
        let page = client.batches(left.min(MAX_BATCH_PAGE), all.next_cursor.take()).await?;
        all.batches.extend(page.batches);
        all.next_cursor = page.next_cursor;
    }
}

fn row(batch: &BatchView, now: Timestamp) -> Vec<String> {
    let count = |states: fn(StateName) -> bool| -> u64 {
        let counts = batch.states.iter().filter(|(state, _)| states(**state));
        counts.map(|(_, jobs)| jobs).sum()
    };
    let left = batch.eta_at.filter(|at| *at > now).map(|at| format::duration(at.since(now).as_secs()));
    vec![
        batch.file.clone().unwrap_or_default(),
        format!("{}/{}", count(StateName::is_end), batch.jobs),
        count(|state| state == StateName::Failed).to_string(),
        count(|state| state == StateName::Held).to_string(),
        format::usd(batch.cost_usd),
        format::usd(batch.estimate_usd),
        left.unwrap_or_default(),
        batch.id.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cli::fixtures::{NOW, assert_golden};

    #[test]
    fn batches_fit_the_terminal() {
        let states = [(StateName::Succeeded, 99_996), (StateName::Held, 1), (StateName::Queued, 2)];
        let batch = BatchView {
            id: "b12345".into(),
            file: Some("樱花树下 ".repeat(12)),
            jobs: 100_000,
            states: states.into(),
            cost_usd: 12_345.678_9,
            estimate_usd: 12_400.0,
            created_at: NOW,
            finished_at: None,
            eta_at: Some(NOW.plus(Duration::from_secs(3600 + 400))),
        };
        let unnamed = BatchView { file: None, eta_at: None, ..batch.clone() };
        let now = NOW.plus(Duration::from_secs(3600));
        let rows = [batch, unnamed].iter().map(|batch| row(batch, now)).collect();
        assert_golden("batches-80", &format::table(&COLUMNS, rows, Some(80)));
    }
}
