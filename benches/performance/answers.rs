//! Callbacks answered: with nothing behind the answer, with a transaction each, with a shared one, and as dropreel does
//! it, which also tells each job of its callbacks meanwhile.

use std::path::Path;
use std::process::Command;

use dropreel::secret::{CallbackSecrets, Secret};

use crate::Wanted;
use crate::bed::{self, Running};
use crate::figures::{Series, Table, number};
use crate::plain_server::{self, Deed};

/// Enough that no job has more callbacks than are kept.
pub const JOBS: u64 = 20_000;
const CONNECTIONS: [usize; 4] = [1, 16, 64, 256];
const SECONDS: &str = "2s";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/performance/answers.lua");

/// What a load of requests came to.
#[derive(Default)]
pub struct Load {
    pub per_second: Series,
    pub p50_ms: Series,
    pub p99_ms: Series,
}

impl Load {
    pub fn take(&mut self, base: &str, paths: &Path, connections: usize) {
        let threads = connections.min(2).to_string();
        let said = bed::run(
            Command::new("wrk")
                .args([
                    "-t",
                    &threads,
                    "-c",
                    &connections.to_string(),
                    "-d",
                    SECONDS,
                    "--latency",
                    "-s",
                    SCRIPT,
                ])
                .args([base, "--"])
                .arg(paths),
        );
        assert!(!said.contains("Non-2xx") && !said.contains("Socket errors"), "{said}");
        let after = |label: &str| {
            let line = said.lines().find_map(|line| line.trim().strip_prefix(label));
            line.unwrap_or_else(|| panic!("no {label} in {said}")).trim().to_owned()
        };
        let milliseconds = |label: &str| {
            let text = after(label);
            let (number, factor) = match text.as_str() {
                text if text.ends_with("us") => (&text[..text.len() - 2], 0.001),
                text if text.ends_with("ms") => (&text[..text.len() - 2], 1.0),
                text => (&text[..text.len() - 1], 1000.0),
            };
            number.parse::<f64>().unwrap() * factor
        };
        self.per_second.push(after("Requests/sec:").parse().unwrap());
        self.p50_ms.push(milliseconds("50%"));
        self.p99_ms.push(milliseconds("99%"));
    }
}

/// The callback path of each job, one a line.
pub fn write_paths(data: &Path, to: &Path) {
    let secret = std::fs::read_to_string(data.join("callback.secret")).unwrap();
    let secrets = CallbackSecrets::new(Secret::new(secret.trim()), Vec::new());
    let database = bed::look(data);
    let mut ids = database.prepare("SELECT id FROM jobs").unwrap();
    let path = |id: String| format!("/callbacks/{id}/{}\n", secrets.token(&id).expose());
    let paths: String = ids.query_map([], |row| row.get(0)).unwrap().map(|id| path(id.unwrap())).collect();
    std::fs::write(to, paths).unwrap();
}

pub fn measure(wanted: &Wanted) -> Vec<Table> {
    let (_kept, template) = bed::waiting(JOBS);
    let folder = bed::folder();
    let paths = folder.path().join("paths");
    write_paths(&template, &paths);
    let plain = [Deed::Nothing, Deed::OwnTransaction, Deed::SharedTransaction];
    let mut loads: Vec<Vec<Load>> =
        CONNECTIONS.map(|_| (0..=plain.len()).map(|_| Load::default()).collect()).into();
    for round in 0..wanted.rounds {
        let (_kept, data) = bed::copied(&template);
        let daemon = Running::daemon(&data, &[]);
        for at in bed::shuffled(CONNECTIONS.len(), round) {
            for server in bed::shuffled(plain.len() + 1, round * 31 + at) {
                let load = &mut loads[at][server];
                if let Some(deed) = plain.get(server) {
                    let folder = bed::folder();
                    load.take(&plain_server::start(*deed, folder.path()), &paths, CONNECTIONS[at]);
                } else {
                    daemon.until_idle();
                    load.take(&daemon.public, &paths, CONNECTIONS[at]);
                    // What it has to tell the jobs shall not be held against the others.
                    daemon.until_idle();
                }
            }
        }
        eprintln!("answers: round {} of {}", round + 1, wanted.rounds);
    }
    let mut speeds = Table::new(
        "Callbacks answered per second, by connections",
        &[
            "connections",
            "no-op",
            "a transaction each",
            "shared, bare",
            "dropreel",
            "of no-op",
            "of bare",
            "of a transaction each",
        ],
    );
    let mut times = Table::new(
        "Time to an answer, in ms: median / 99 of 100",
        &[
            "connections",
            "no-op",
            "a transaction each",
            "shared, bare",
            "dropreel",
            "dropreel's p99 by no-op's",
        ],
    );
    for (connections, loads) in CONNECTIONS.iter().zip(&loads) {
        let [nothing, own, shared, ours] = &loads[..] else { unreachable!() };
        let speed = |load: &Load| load.per_second.shown();
        let by = |load: &Load| ours.per_second.by(&load.per_second).shown();
        speeds.row(&[
            &connections.to_string(),
            &speed(nothing),
            &speed(own),
            &speed(shared),
            &speed(ours),
            &by(nothing),
            &by(shared),
            &by(own),
        ]);
        let time =
            |load: &Load| format!("{} / {}", number(load.p50_ms.median()), number(load.p99_ms.median()));
        times.row(&[
            &connections.to_string(),
            &time(nothing),
            &time(own),
            &time(shared),
            &time(ours),
            &ours.p99_ms.by(&nothing.p99_ms).shown(),
        ]);
    }
    vec![speeds, times]
}
