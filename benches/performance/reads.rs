//! What pages and reads of the API take with a thousand and with a million finished jobs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Instant;

use rusqlite::Connection;

use crate::Options;
use crate::harness::{self, Process};
use crate::tables::{Series, Table, number};

const FEW: u64 = 1_000;

const READS: [(&str, &str); 25] = [
    ("the page", "/"),
    ("its list", "/jobs"),
    ("the list by cost", "/jobs?sort=cost"),
    ("the list by rating", "/jobs?sort=rating"),
    ("the list by name", "/jobs?sort=name"),
    ("the list of a state, by cost", "/jobs?state=succeeded&sort=cost"),
    ("the list of failed jobs", "/jobs?state=failed"),
    ("the list of a label", "/jobs?label=project%3Dp3"),
    ("the list of a label, by cost", "/jobs?label=project%3Dp3&sort=cost"),
    ("the list of a model that no job has", "/jobs?model=none-such"),
    ("a search that finds much", "/jobs?q=street"),
    ("a search that finds nothing", "/jobs?q=none-such"),
    ("the videos", "/videos"),
    ("the videos by rating", "/videos?sort=rating"),
    ("the videos by cost", "/videos?sort=cost"),
    ("a search of videos that finds nothing", "/videos?q=none-such"),
    ("the batches", "/batches"),
    ("a job's page", "/jobs/shot-41"),
    ("`GET /api/v1/jobs`", "/api/v1/jobs?limit=50"),
    ("`GET /api/v1/status`", "/api/v1/status"),
    ("`GET /api/v1/models`", "/api/v1/models"),
    ("the report of 30 days", "/api/v1/report"),
    ("the report of all days", "/api/v1/report?since=2020-01-01"),
    ("the report with disputes", "/api/v1/report?disputes=true"),
    ("`/metrics`", "/metrics"),
];

/// Fills a new database with a history of this many jobs.
fn fill(data: &Path, jobs: u64) {
    Process::daemon(data, &[]).stop();
    let connection = Connection::open(data.join("dropreel.db")).unwrap();
    let now: i64 = connection.query_row("SELECT unixepoch() * 1000", [], |row| row.get(0)).unwrap();
    let sql = include_str!("../../tests/support/history.sql")
        .replace(":jobs", &jobs.to_string())
        .replace(":now", &now.to_string());
    connection
        .execute_batch(&format!(
            "PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF; PRAGMA cache_size = -500000; BEGIN; {sql}; COMMIT;
             PRAGMA wal_checkpoint(TRUNCATE)"
        ))
        .unwrap();
}

/// The milliseconds of a request, from the connection to the last byte.
fn milliseconds(daemon: &Process, path: &str) -> f64 {
    let host = daemon.address.trim_start_matches("http://");
    let began = Instant::now();
    let mut socket = TcpStream::connect(host).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    let took = began.elapsed().as_secs_f64() * 1000.0;
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{path}: {}", String::from_utf8_lossy(&answer));
    took
}

pub fn measure(options: &Options) -> Table {
    let folders = [FEW, options.rows].map(|jobs| {
        let folder = harness::folder();
        fill(&folder.path().join("data"), jobs);
        folder
    });
    let daemons = folders.each_ref().map(|folder| Process::daemon(&folder.path().join("data"), &[]));
    let mut table = Table::new(
        format!("Reads at {} jobs and at {}, in ms", number(FEW as f64), number(options.rows as f64)),
        &["what", "few", "many", "ratio"],
    );
    for (what, path) in READS {
        let mut series: [Series; 2] = Default::default();
        for round in 0..options.rounds * 4 {
            for (daemon, series) in daemons.iter().zip(&mut series) {
                let took = milliseconds(daemon, path);
                // The first answer of each waits for the disk.
                if round > 0 {
                    series.push(took);
                }
            }
        }
        let [few, many] = &series;
        let ratio = number(many.median() / few.median());
        table.row(&[what, &few.to_text(), &many.to_text(), &ratio]);
    }
    daemons.into_iter().for_each(Process::stop);
    table
}
