//! A long history: queries and updates in a database of a million jobs, a tenth of them at the provider.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dropreel::clock::Clock;
use dropreel::job::JobId;
use dropreel::job::event::{Event, StatusVerdict};
use dropreel::job::next_action::NextAction;
use dropreel::job::policy::PollingPolicy;
use dropreel::provider::wire::read_status;
use dropreel::rng::Rng;
use dropreel::store::Store;
use futures_util::future::join_all;
use rusqlite::Connection;

use crate::Options;
use crate::harness::{self, Process};
use crate::reads;
use crate::tables::{Series, Table, number};

/// Real jobs, of which the others are copies. `RUNNING` of them are at the provider, the others are stored.
const BASE: u64 = 20;
const RUNNING: u64 = 2;

/// The SQL expression of a column in a copy: unique values must stay unique.
fn copied_column(table: &str, column: &str) -> String {
    match (table, column) {
        ("jobs" | "history", "nr") => format!("{column} + k * (SELECT max(nr) FROM {table} WHERE nr <= old)"),
        ("jobs", "id") => "printf('%08x-%04x-7000-8000-%012x', 1795500000 + k, nr, k * 1000 + nr)".to_owned(),
        ("jobs", "last_change") => "last_change + k * 1000".to_owned(),
        ("jobs", "created_at" | "submitted_at" | "completed_at" | "finished_at" | "next_action_at") => {
            format!("{column} + k * 20")
        }
        (_, "job") => format!("job + k * {BASE}"),
        ("attempts", "key") | ("outputs", "path") | (_, "task_id") => format!("{column} || '-' || k"),
        ("jobs", "name") => "name || '-' || k".to_owned(),
        _ => column.to_owned(),
    }
}

/// Fills a database with copies of real jobs.
fn fill(data: &Path, jobs: u64) {
    let sandbox = Process::sandbox(&["--run-time", "1ms"]);
    let settings = [("PROVIDER__BASE_URL", sandbox.address.as_str()), ("POLLING__CALLBACK_GRACE", "2m")];
    let daemon = Process::daemon(data, &settings);
    let stored = harness::job_lines(BASE - RUNNING, "");
    harness::drop_file(data, "stored.jsonl", &stored);
    let database = harness::open_database(data);
    let in_state = |state: &str| {
        harness::count(&database, &format!("SELECT count(*) FROM jobs WHERE state = '{state}'"))
    };
    harness::until("the videos", || in_state("succeeded") == BASE - RUNNING);
    harness::drop_file(data, "running.jsonl", &harness::job_lines(RUNNING, "[sandbox: run=10h]"));
    harness::until("the tasks", || in_state("queued") + in_state("processing") == RUNNING);
    daemon.until_idle();
    daemon.stop();
    drop(database);
    let connection = Connection::open(data.join("dropreel.db")).unwrap();
    connection
        .execute_batch(
            "PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF; PRAGMA cache_size = -500000; BEGIN",
        )
        .unwrap();
    for table in ["jobs", "requests", "attempts", "outputs", "history"] {
        let mut columns = connection.prepare(&format!("PRAGMA table_info({table})")).unwrap();
        let columns: Vec<String> =
            columns.query_map([], |row| row.get(1)).unwrap().map(Result::unwrap).collect();
        let values: Vec<String> = columns.iter().map(|column| copied_column(table, column)).collect();
        let old = harness::count(
            &connection,
            &format!("SELECT max(rowid) FROM {}", if table == "outputs" { "jobs" } else { table }),
        );
        // A column may be null, and stays so: null || text is null.
        let values = values.join(", ").replace("<= old", &format!("<= {old}"));
        connection
            .execute_batch(&format!(
                "INSERT INTO {table} ({}) WITH RECURSIVE copies (k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM copies LIMIT {})
                 SELECT {values} FROM copies, (SELECT * FROM {table})",
                columns.join(", "),
                jobs / BASE - 1,
            ))
            .unwrap();
    }
    connection
        .execute_batch(
            "DELETE FROM job_counts; INSERT INTO job_counts SELECT state, model, count(*), coalesce(sum(estimate_quota), 0) FROM jobs GROUP BY state, model;
             DELETE FROM need_counts; INSERT INTO need_counts SELECT state, coalesce(reason, error_code, state), model, count(*)
             FROM jobs WHERE dismissed_at IS NULL AND state IN ('held', 'failed', 'expired') GROUP BY 1, 2, 3;
             DELETE FROM meta WHERE name = 'report_zone';
             COMMIT; PRAGMA wal_checkpoint(TRUNCATE)",
        )
        .unwrap();
    assert_eq!(harness::count(&connection, "SELECT count(*) FROM jobs"), jobs);
}

/// Measures what the stages do with the store, in microseconds.
async fn measure_store(data: &Path, table: &mut Table) {
    let clock = Clock::machine();
    let (store, _closing) =
        Store::open(&data.join("dropreel.db"), PollingPolicy::DEFAULT, Rng::seeded(1), clock.clone())
            .unwrap();
    store.count_days().await.unwrap();
    let store = Arc::new(store);
    let later = clock.now().plus(Duration::from_secs(30 * 24 * 3600));
    let mut pick = Series::default();
    for _ in 0..200 {
        let began = Instant::now();
        assert_eq!(store.due_jobs(NextAction::Poll, later, 100).await.unwrap().jobs.len(), 100);
        pick.push(began.elapsed().as_secs_f64() * 1e6);
    }
    table.row(&["query the next 100 due of 100,000, µs", &pick.to_text()]);
    let poll_of = async |id: JobId| {
        let job = store.details(id).await.unwrap().job;
        let task = job.task().unwrap().clone();
        let now = clock.now();
        let body = format!(r#"{{"task_id":"{}","status":"processing","progress":1}}"#, task.as_str());
        let facts = read_status(body.as_bytes(), &task, now, None).unwrap();
        (id, Event::StatusPolled { task, sent_at: now, verdict: StatusVerdict::Answered(facts) })
    };
    let [mut together, mut alone]: [Series; 2] = Default::default();
    for _ in 0..20 {
        let ids = store.due_jobs(NextAction::Poll, later, 100).await.unwrap().jobs;
        let events = join_all(ids.into_iter().map(&poll_of)).await;
        let began = Instant::now();
        let applied =
            join_all(events.into_iter().map(|(id, event)| store.apply(id, event, clock.now()))).await;
        together.push(began.elapsed().as_secs_f64() * 1e6 / applied.len() as f64);
        applied.into_iter().for_each(|applied| drop(applied.unwrap()));
        let ids = store.due_jobs(NextAction::Poll, later, 1).await.unwrap().jobs;
        let (id, event) = poll_of(ids[0]).await;
        let began = Instant::now();
        store.apply(id, event, clock.now()).await.unwrap();
        alone.push(began.elapsed().as_secs_f64() * 1e6);
    }
    table.row(&["poll and reschedule a job, 100 at a time, µs each", &together.to_text()]);
    table.row(&["the same alone, µs", &alone.to_text()]);
}

pub fn measure(options: &Options) -> Vec<Table> {
    let folder = harness::folder();
    let data = folder.path().join("data");
    fill(&data, options.rows);
    let size = std::fs::metadata(data.join("dropreel.db")).unwrap().len() as f64;
    let mut table = Table::new(
        format!("A database of {} jobs, a tenth of them at the provider", number(options.rows as f64)),
        &["what", "median (range)"],
    );
    table.row(&["bytes per job in the database", &number(size / options.rows as f64)]);
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(measure_store(&data, &mut table));
    let [mut start, mut memory]: [Series; 2] = Default::default();
    // The daemon calls nobody meanwhile: there is no provider, and every poll is due later.
    let mut daemon: Option<Process> = None;
    for _ in 0..options.rounds {
        if let Some(daemon) = daemon.take() {
            daemon.stop();
        }
        let began = Instant::now();
        daemon = Some(Process::daemon(&data, &[]));
        start.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    let daemon = daemon.unwrap();
    table.row(&["start to ready, ms", &start.to_text()]);
    for path in ["/", "/jobs", "/videos", "/metrics", "/api/v1/report"] {
        drop(daemon.get(path));
    }
    memory.push(daemon.memory_mib().0);
    table.row(&["memory after some pages and a report, MiB", &memory.to_text()]);
    daemon.stop();
    vec![table, reads::measure(options)]
}
