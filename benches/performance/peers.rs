//! Callbacks answered by a typical receiver, a FastAPI server that commits each body, and by dropreel.
//! Needs python3 with venv, and PyPI: it installs `fastapi` and `uvicorn` below `target`, once.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Options;
use crate::answers::{JOBS, Load, write_paths};
use crate::harness::{self, Process};
use crate::tables::{Table, number};

const CONNECTIONS: usize = 64;
const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/performance/peer.py");

/// A Python with the packages that the peer needs.
fn python() -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers");
    let python = place.join("bin/python");
    if !place.join("ready").exists() {
        harness::run(Command::new("python3").args(["-m", "venv"]).arg(&place));
        harness::run(Command::new(&python).args([
            "-m",
            "pip",
            "install",
            "-q",
            "fastapi==0.*",
            "uvicorn==0.*",
        ]));
        std::fs::write(place.join("ready"), "").unwrap();
    }
    python
}

pub fn measure(options: &Options) -> Vec<Table> {
    let python = python();
    let (_folder, template) = harness::data_with_waiting_jobs(JOBS);
    let folder = harness::folder();
    let paths = folder.path().join("paths");
    write_paths(&template, &paths);
    let mut loads: [Load; 2] = Default::default();
    for round in 0..options.rounds {
        for who in harness::random_order(2, round) {
            if who == 0 {
                let (_folder, data) = harness::copy_of(&template);
                let daemon = Process::daemon(&data, &[]);
                daemon.until_idle();
                loads[who].measure(&daemon.public, &paths, CONNECTIONS);
            } else {
                let folder = harness::folder();
                let peer = Process::start(Command::new(&python).arg(PEER).arg(folder.path()), true);
                loads[who].measure(&peer.address, &paths, CONNECTIONS);
            }
        }
        eprintln!("peers: round {} of {}", round + 1, options.rounds);
    }
    let [dropreel, peer] = &loads;
    let mut table = Table::new(
        format!("Callbacks answered per second, and time to an answer in ms, at {CONNECTIONS} connections"),
        &["", "per second", "median / 99 of 100"],
    );
    for (name, load) in [("dropreel", dropreel), ("FastAPI, uvicorn, sqlite3 with synchronous=FULL", peer)] {
        let times = format!("{} / {}", number(load.p50_ms.median()), number(load.p99_ms.median()));
        table.row(&[name, &load.per_second.to_text(), &times]);
    }
    table.row(&[
        "dropreel's by FastAPI's (moves with the host)",
        &dropreel.per_second.ratio_to(&peer.per_second).to_text(),
        "",
    ]);
    vec![table]
}
