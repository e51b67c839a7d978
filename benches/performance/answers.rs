//! Callbacks answered: without any work, with a transaction each, with a shared transaction, and by dropreel, which also
//! processes each callback for its job.

use std::path::Path;
use std::process::Command;

use dropreel::secret::{CallbackSecrets, Secret};

use crate::Options;
use crate::harness::{self, KIB_PER_PAGE, Process};
use crate::plain_server::{self, Work};
use crate::tables::{Series, Table, number};

/// Enough jobs that none gets more callbacks than are stored.
pub const JOBS: u64 = 20_000;
const CONNECTIONS: [usize; 4] = [1, 16, 64, 256];
const SECONDS: &str = "2s";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/performance/answers.lua");

/// The results of `wrk`.
#[derive(Default)]
pub struct Load {
    pub per_second: Series,
    pub p50_ms: Series,
    pub p99_ms: Series,
    pub requests: f64,
}

impl Load {
    pub fn measure(&mut self, base: &str, paths: &Path, connections: usize) {
        let threads = connections.min(2).to_string();
        let output = harness::run(
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
        assert!(!output.contains("Non-2xx") && !output.contains("Socket errors"), "{output}");
        let after = |label: &str| {
            let line = output.lines().find_map(|line| line.trim().strip_prefix(label));
            line.unwrap_or_else(|| panic!("no {label} in {output}")).trim().to_owned()
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
        let total = output.lines().find(|line| line.contains(" requests in ")).unwrap();
        self.requests = total.split_whitespace().next().unwrap().parse().unwrap();
        self.per_second.push(after("Requests/sec:").parse().unwrap());
        self.p50_ms.push(milliseconds("50%"));
        self.p99_ms.push(milliseconds("99%"));
    }
}

/// Writes the callback path of each job, one per line.
pub fn write_paths(data: &Path, to: &Path) {
    let secret = std::fs::read_to_string(data.join("callback.secret")).unwrap();
    let secrets = CallbackSecrets::new(Secret::new(secret.trim()), Vec::new());
    let database = harness::open_database(data);
    let mut ids = database.prepare("SELECT id FROM jobs").unwrap();
    let path = |id: String| format!("/callbacks/{id}/{}\n", secrets.token(&id).expose());
    let paths: String = ids.query_map([], |row| row.get(0)).unwrap().map(|id| path(id.unwrap())).collect();
    std::fs::write(to, paths).unwrap();
}

pub fn measure(options: &Options) -> Vec<Table> {
    let (_folder, template) = harness::data_with_waiting_jobs(JOBS);
    let folder = harness::folder();
    let paths = folder.path().join("paths");
    write_paths(&template, &paths);
    let plain = [Work::Nothing, Work::OwnTransaction, Work::SharedTransaction];
    let [mut cpu, mut written]: [[Series; CONNECTIONS.len()]; 2] = Default::default();
    let mut loads: Vec<Vec<Load>> =
        CONNECTIONS.map(|_| (0..=plain.len()).map(|_| Load::default()).collect()).into();
    for round in 0..options.rounds {
        let (_folder, data) = harness::copy_of(&template);
        let daemon = Process::daemon(&data, &[]);
        for at in harness::random_order(CONNECTIONS.len(), round) {
            for server in harness::random_order(plain.len() + 1, round * 31 + at) {
                let load = &mut loads[at][server];
                if let Some(work) = plain.get(server) {
                    let folder = harness::folder();
                    load.measure(&plain_server::start(*work, folder.path()), &paths, CONNECTIONS[at]);
                } else {
                    daemon.until_idle();
                    let before = (daemon.cpu_ms(), daemon.written_kib());
                    load.measure(&daemon.public, &paths, CONNECTIONS[at]);
                    // Let it process the callbacks, so that this does not slow down the next server.
                    daemon.until_idle();
                    cpu[at].push((daemon.cpu_ms() - before.0) * 1000.0 / load.requests);
                    written[at].push((daemon.written_kib() - before.1) / KIB_PER_PAGE / load.requests);
                }
            }
        }
        eprintln!("answers: round {} of {}", round + 1, options.rounds);
    }
    let mut speeds = Table::new(
        "Callbacks answered per second, by connections",
        &[
            "connections",
            "no-op",
            "a transaction each",
            "shared, bare",
            "dropreel",
            "of no-op (moves with the host)",
            "of bare (same work)",
            "of a transaction each (moves with the host)",
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
            "dropreel's p99 by no-op's (moves with the host)",
            "by bare's (same work)",
        ],
    );
    let mut each = Table::new(
        "Per callback, answered and processed by dropreel",
        &["connections", "processor time, µs", "pages written (same on any host)"],
    );
    for ((connections, cpu), written) in CONNECTIONS.iter().zip(&cpu).zip(&written) {
        each.row(&[&connections.to_string(), &cpu.to_text(), &written.to_text()]);
    }
    for (connections, loads) in CONNECTIONS.iter().zip(&loads) {
        let [nothing, own, shared, dropreel] = &loads[..] else { unreachable!() };
        let speed = |load: &Load| load.per_second.to_text();
        let by = |load: &Load| dropreel.per_second.ratio_to(&load.per_second).to_text();
        speeds.row(&[
            &connections.to_string(),
            &speed(nothing),
            &speed(own),
            &speed(shared),
            &speed(dropreel),
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
            &time(dropreel),
            &dropreel.p99_ms.ratio_to(&nothing.p99_ms).to_text(),
            &dropreel.p99_ms.ratio_to(&shared.p99_ms).to_text(),
        ]);
    }
    vec![speeds, times, each]
}
