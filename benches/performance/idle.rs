//! The cost of an idle daemon.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::Options;
use crate::harness::{self, Process};
use crate::tables::{Series, Table, number};

const SECONDS: u64 = 20;
const RUNNING: u64 = 1_000;

pub fn measure(options: &Options) -> Vec<Table> {
    let mut table = Table::new(
        format!("Idle, over {SECONDS} s"),
        &["what", "wake-ups per second", "processor time, ms per minute", "memory, MiB"],
    );
    for (name, page) in [("nothing to do", false), ("an event stream open, as of the page", true)] {
        let [mut switches, mut cpu, mut memory]: [Series; 3] = Default::default();
        for _ in 0..options.rounds.min(3) {
            let folder = harness::folder();
            let daemon = Process::daemon(&folder.path().join("data"), &[]);
            let mut reader = None;
            if page {
                daemon.get("/");
                let url = format!("{}/api/v1/events", daemon.address);
                reader =
                    Some(Command::new("curl").args(["-sN", &url]).stdout(Stdio::null()).spawn().unwrap());
            }
            std::thread::sleep(Duration::from_secs(3));
            let before = (daemon.sleeps(), daemon.cpu_ms());
            std::thread::sleep(Duration::from_secs(SECONDS));
            switches.push((daemon.sleeps() - before.0) / SECONDS as f64);
            cpu.push((daemon.cpu_ms() - before.1) * 60.0 / SECONDS as f64);
            memory.push(daemon.memory_mib().0);
            if let Some(mut reader) = reader {
                let _ = reader.kill();
                let _ = reader.wait();
            }
        }
        table.row(&[name, &switches.to_text(), &cpu.to_text(), &memory.to_text()]);
    }
    let mut running = Series::default();
    for _ in 0..options.rounds.min(3) {
        let folder = harness::folder();
        let data = folder.path().join("data");
        let sandbox = Process::sandbox(&["--run-time", "10h"]);
        let settings = [("PROVIDER__BASE_URL", sandbox.address.as_str()), ("POLLING__MAX_INTERVAL", "5s")];
        let daemon = Process::daemon(&data, &settings);
        harness::drop_file(&data, "jobs.jsonl", &harness::job_lines(RUNNING, ""));
        let database = harness::open_database(&data);
        let at_provider = "SELECT count(*) FROM jobs WHERE state IN ('queued', 'processing')";
        harness::until("the tasks", || harness::count(&database, at_provider) == RUNNING);
        std::thread::sleep(Duration::from_secs(6));
        running.push(daemon.memory_mib().0);
    }
    let mut load = Table::new("Memory with many tasks at the provider", &["what", "MiB"]);
    load.row(&[&format!("{} tasks, each polled every 5 s", number(RUNNING as f64)), &running.to_text()]);
    let mut size = Table::new("Size", &["what", "MB"]);
    let binary = std::fs::metadata(env!("CARGO_BIN_EXE_dropreel")).unwrap().len();
    size.row(&["the release binary, stripped", &number(binary as f64 / 1e6)]);
    vec![table, load, size]
}
