//! What dropreel reaches, each figure beside something measured in the same run.
//!
//! `cargo bench --profile dist` measures all of it, in the build that is shipped; with `-- answers downloads` only these
//! parts. `--rounds N` sets the rounds (5), `--rows N` the jobs in the database of `history` (1,000,000);
//! `--against BINARY` measures another build of dropreel in turn with this one; `--write` puts the tables into
//! docs/performance.md. Needs `wrk`, `curl`, `nginx`, `aria2c`, `openssl` and `python3`, and an otherwise idle machine.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a harness"
)]

mod against;
mod answers;
mod bed;
mod clips;
mod downloads;
mod figures;
mod history;
mod ingest;
mod meanwhile;
mod peers;
mod plain_server;
mod rest;
mod whole;

use std::path::PathBuf;

use figures::Table;

/// One of the things that can be measured.
pub type Part = fn(&Wanted) -> Vec<Table>;

/// What is asked for.
pub struct Wanted {
    /// How often each thing is measured.
    pub rounds: usize,
    /// How many jobs a long history has.
    pub rows: u64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let number = |name: &str, otherwise: u64| {
        let place = arguments.iter().position(|argument| argument == name);
        place.map_or(otherwise, |place| arguments[place + 1].parse().unwrap())
    };
    let wanted =
        Wanted { rounds: number("--rounds", 5).try_into().unwrap(), rows: number("--rows", 1_000_000) };
    let parts: [(&str, Part, &[&str]); 8] = [
        ("answers", answers::measure, &["wrk"]),
        ("peers", peers::measure, &["wrk", "python3"]),
        ("ingest", ingest::measure, &[]),
        ("downloads", downloads::measure, &["nginx", "aria2c", "openssl"]),
        ("meanwhile", meanwhile::measure, &["nginx"]),
        ("whole", whole::measure, &[]),
        ("history", history::measure, &[]),
        ("rest", rest::measure, &[]),
    ];
    let other = arguments
        .iter()
        .position(|argument| argument == "--against")
        .map(|at| PathBuf::from(&arguments[at + 1]));
    let is_named = |name: &str| arguments.iter().any(|argument| argument == name);
    let all = !parts.iter().any(|(name, ..)| is_named(name));
    let chosen: Vec<_> = parts.into_iter().filter(|(name, ..)| all || is_named(name)).collect();
    // Before the first of them: nobody shall wait long to hear of the last.
    for (name, _, programs) in &chosen {
        for program in programs.iter().chain(&["curl"]) {
            assert!(bed::find(program).is_some(), "`{name}` needs `{program}`, which is not installed");
        }
    }
    for (name, part, _) in chosen {
        let tables = match &other {
            Some(other) => against::measure(part, &wanted, other),
            None => part(&wanted),
        };
        for table in &tables {
            println!("\n{table}");
        }
        if is_named("--write") {
            figures::write(name, &tables);
        }
    }
}
