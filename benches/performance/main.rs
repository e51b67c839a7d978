//! The benchmark: measures dropreel beside something comparable in the same run.
//!
//! `cargo bench --profile dist` measures everything in the build that is shipped; with `-- answers downloads` only these
//! parts. `--rounds N` sets the rounds (5), `--rows N` the jobs in the database of `history` (1,000,000), `--files N` the job
//! files of `ingest` (10,000).
//! `costs` counts instead of timing, and fails if the counts differ from the table; only if it is named. See `ci/costs`.
//! `engines` compares SQLite with PostgreSQL, and one node with several; only if it is named. See `ci/engines`.
//! `--against BINARY` compares another build of dropreel with this one, in turn. `--write` puts the tables into
//! docs/performance.md, in place of those of the same host. Needs `wrk`, `curl`, `nginx`, `aria2c`, `openssl` and `python3`, and an otherwise idle machine.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a harness"
)]

mod against;
mod answers;
mod bare_downloads;
mod clips;
mod concurrent;
mod costs;
mod downloads;
mod engines;
mod harness;
mod history;
mod host;
mod idle;
mod ingest;
mod nodes;
mod peers;
mod pipeline;
mod plain_server;
mod reads;
mod tables;

use std::path::PathBuf;

use host::Host;
use tables::Table;

/// Measures one part and returns its tables.
pub type Part = fn(&Options) -> Vec<Table>;

/// The command line.
pub struct Options {
    /// How often each value is measured.
    pub rounds: usize,
    /// The number of jobs in the database of `history`.
    pub rows: u64,
    /// The number of job files of `ingest`.
    pub files: u64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let number = |name: &str, default: u64| {
        let place = arguments.iter().position(|argument| argument == name);
        place.map_or(default, |place| arguments[place + 1].parse().unwrap())
    };
    let options = Options {
        rounds: number("--rounds", 5).try_into().unwrap(),
        rows: number("--rows", 1_000_000),
        files: number("--files", 10_000),
    };
    let parts: [(&str, Part, &[&str]); 10] = [
        ("answers", answers::measure, &["wrk"]),
        ("peers", peers::measure, &["wrk", "python3"]),
        ("ingest", ingest::measure, &[]),
        ("downloads", downloads::measure, &["nginx", "aria2c", "openssl"]),
        ("concurrent", concurrent::measure, &["nginx"]),
        ("pipeline", pipeline::measure, &[]),
        ("history", history::measure, &[]),
        ("idle", idle::measure, &[]),
        (costs::PART, costs::measure, &["valgrind", "strace"]),
        (engines::PART, engines::measure, &["wrk"]),
    ];
    let other = arguments
        .iter()
        .position(|argument| argument == "--against")
        .map(|at| PathBuf::from(&arguments[at + 1]));
    let is_named = |name: &str| arguments.iter().any(|argument| argument == name);
    let all = !parts.iter().any(|(name, ..)| is_named(name));
    // Counts need a build of their own, and engines a server.
    let is_apart = |name: &str| [costs::PART, engines::PART].contains(&name);
    let chosen: Vec<_> =
        parts.into_iter().filter(|(name, ..)| is_named(name) || (all && !is_apart(name))).collect();
    // Check all programs before the first part, which takes minutes.
    for (name, _, programs) in &chosen {
        for program in programs.iter().chain(&["curl"]) {
            assert!(harness::find(program).is_some(), "`{name}` needs `{program}`, which is not installed");
        }
    }
    let host = Host::this();
    println!("{host}");
    for (name, part, _) in chosen {
        let tables = match &other {
            Some(other) => against::measure(part, &options, other),
            None => part(&options),
        };
        for table in &tables {
            println!("\n{table}");
        }
        if is_named("--write") {
            tables::write(name, &tables, Some(&host).filter(|_| name != costs::PART));
        } else if name == costs::PART {
            let differences = costs::check(&tables[0]);
            assert!(differences.is_empty(), "{}\n{}", differences.join("\n"), costs::ADVICE);
        }
    }
}
