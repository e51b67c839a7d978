//! Callbacks answered by what is usually written for it, a FastAPI server that commits each body, and by dropreel.
//! Needs python3 with venv, and PyPI: it installs `fastapi` and `uvicorn` below `target`, once.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Wanted;
use crate::answers::{JOBS, Load, write_paths};
use crate::bed::{self, Running};
use crate::figures::{Table, number};

const CONNECTIONS: usize = 64;
const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/performance/peer.py");

/// A Python that has what the peer needs.
fn python() -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers");
    let python = place.join("bin/python");
    if !place.join("ready").exists() {
        bed::run(Command::new("python3").args(["-m", "venv"]).arg(&place));
        bed::run(Command::new(&python).args(["-m", "pip", "install", "-q", "fastapi==0.*", "uvicorn==0.*"]));
        std::fs::write(place.join("ready"), "").unwrap();
    }
    python
}

pub fn measure(wanted: &Wanted) -> Vec<Table> {
    let python = python();
    let (_kept, template) = bed::waiting(JOBS);
    let folder = bed::folder();
    let paths = folder.path().join("paths");
    write_paths(&template, &paths);
    let mut loads: [Load; 2] = Default::default();
    for round in 0..wanted.rounds {
        for who in bed::shuffled(2, round) {
            if who == 0 {
                let (_kept, data) = bed::copied(&template);
                let daemon = Running::daemon(&data, &[]);
                daemon.until_idle();
                loads[who].take(&daemon.public, &paths, CONNECTIONS);
            } else {
                let folder = bed::folder();
                let peer = Running::start(Command::new(&python).arg(PEER).arg(folder.path()), true);
                loads[who].take(&peer.address, &paths, CONNECTIONS);
            }
        }
        eprintln!("peers: round {} of {}", round + 1, wanted.rounds);
    }
    let [ours, peer] = &loads;
    let mut table = Table::new(
        format!("Callbacks answered per second, and time to an answer in ms, at {CONNECTIONS} connections"),
        &["", "per second", "median / 99 of 100"],
    );
    for (name, load) in [("dropreel", ours), ("FastAPI, uvicorn, sqlite3 with synchronous=FULL", peer)] {
        let times = format!("{} / {}", number(load.p50_ms.median()), number(load.p99_ms.median()));
        table.row(&[name, &load.per_second.shown(), &times]);
    }
    table.row(&["dropreel's by FastAPI's", &ours.per_second.by(&peer.per_second).shown(), ""]);
    vec![table]
}
