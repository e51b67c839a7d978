//! Job files taken in: many small ones against reading and moving them alone, and one long one against parsing it and
//! writing its lines into a plain database.

use std::path::Path;
use std::time::Instant;

use dropreel::sha256::sha256_hex;
use rusqlite::Connection;

use crate::Wanted;
use crate::bed::{self, Running};
use crate::figures::{Series, Table, number};

const FILES: u64 = 10_000;
const LINES: u64 = 100_000;

/// What was taken in, and has left the inbox.
fn taken_in(data: &Path, jobs: u64) -> impl FnMut() -> bool {
    let database = bed::look(data);
    move || {
        bed::count(&database, "SELECT count(*) FROM jobs") == jobs
            && bed::count(&database, "SELECT count(*) FROM intakes WHERE moved_at IS NULL") == 0
    }
}

fn write_files(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    for (number, line) in bed::lines(FILES, &"花".repeat(180)).lines().enumerate() {
        std::fs::write(folder.join(format!("{number}.json")), line).unwrap();
    }
}

fn floor(folder: &Path) -> f64 {
    let (from, to) = (folder.join("from"), folder.join("to"));
    write_files(&from);
    std::fs::create_dir_all(&to).unwrap();
    let began = Instant::now();
    let mut bytes = 0;
    for entry in std::fs::read_dir(&from).unwrap() {
        let entry = entry.unwrap();
        bytes += std::fs::read(entry.path()).unwrap().len();
        std::fs::rename(entry.path(), to.join(entry.file_name())).unwrap();
    }
    assert!(bytes > 0);
    FILES as f64 / began.elapsed().as_secs_f64()
}

/// The least that a program does that keeps what it reads: parse, hash, one row in one table with an index of the hashes,
/// 256 files a commit, and moved once that is flushed.
fn kept_files(folder: &Path) -> f64 {
    let (from, to) = (folder.join("from"), folder.join("to"));
    write_files(&from);
    std::fs::create_dir_all(&to).unwrap();
    let mut connection = Connection::open(folder.join("plain.db")).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE bodies (nr INTEGER PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, body TEXT NOT NULL)",
        )
        .unwrap();
    let began = Instant::now();
    let entries: Vec<_> = std::fs::read_dir(&from).unwrap().map(Result::unwrap).collect();
    for batch in entries.chunks(256) {
        let transaction = connection.transaction().unwrap();
        for entry in batch {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert!(value.is_object());
            transaction
                .prepare_cached("INSERT INTO bodies (sha256, body) VALUES (?1, ?2)")
                .unwrap()
                .execute((sha256_hex(text.as_bytes()), text))
                .unwrap();
        }
        transaction.commit().unwrap();
        for entry in batch {
            std::fs::rename(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
    FILES as f64 / began.elapsed().as_secs_f64()
}

fn files(template: &Path) -> f64 {
    let (_kept, data) = bed::copied(template);
    let beside = data.join("beside");
    write_files(&beside);
    let daemon = Running::daemon(&data, &[]);
    daemon.until_idle();
    std::fs::remove_dir(data.join("inbox"))
        .or_else(|_| std::fs::rename(data.join("inbox"), data.join("old")))
        .unwrap();
    drop(daemon);
    std::fs::rename(&beside, data.join("inbox")).unwrap();
    let began = Instant::now();
    let _daemon = Running::daemon(&data, &[]);
    bed::until("the files", taken_in(&data, FILES));
    FILES as f64 / began.elapsed().as_secs_f64()
}

/// Files written beside and moved in one after the other, while the daemon takes them in. How many a second were dropped,
/// and how many were dropped and taken in.
fn live(template: &Path) -> (f64, f64) {
    let (_kept, data) = bed::copied(template);
    let daemon = Running::daemon(&data, &[]);
    daemon.until_idle();
    let mut taken_in = taken_in(&data, FILES);
    let text = bed::lines(FILES, &"花".repeat(180));
    let began = Instant::now();
    for (number, line) in text.lines().enumerate() {
        let beside = data.join(format!(".{number}.json"));
        std::fs::write(&beside, line).unwrap();
        std::fs::rename(&beside, data.join("inbox").join(format!("{number}.json"))).unwrap();
    }
    let dropped = FILES as f64 / began.elapsed().as_secs_f64();
    bed::until("the files", &mut taken_in);
    (dropped, FILES as f64 / began.elapsed().as_secs_f64())
}

fn plain_lines(folder: &Path, text: &str) -> f64 {
    let file = folder.join("jobs.jsonl");
    std::fs::write(&file, text).unwrap();
    let mut connection = Connection::open(folder.join("plain.db")).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE bodies (nr INTEGER PRIMARY KEY, model TEXT, body TEXT NOT NULL)",
        )
        .unwrap();
    let began = Instant::now();
    let text = std::fs::read_to_string(&file).unwrap();
    let transaction = connection.transaction().unwrap();
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        transaction
            .prepare_cached("INSERT INTO bodies (model, body) VALUES (?1, ?2)")
            .unwrap()
            .execute((value["model"].as_str(), line))
            .unwrap();
    }
    transaction.commit().unwrap();
    LINES as f64 / began.elapsed().as_secs_f64()
}

fn lines(template: &Path, text: &str, memory: &mut Series) -> f64 {
    let (_kept, data) = bed::copied(template);
    let daemon = Running::daemon(&data, &[]);
    let mut taken_in = taken_in(&data, LINES);
    let began = Instant::now();
    bed::drop_file(&data, "jobs.jsonl", text);
    bed::until("the lines", &mut taken_in);
    let rate = LINES as f64 / began.elapsed().as_secs_f64();
    daemon.until_idle();
    memory.push(daemon.memory_mib().0);
    rate
}

pub fn measure(wanted: &Wanted) -> Vec<Table> {
    let (_kept, template) = bed::waiting(0);
    let text = bed::lines(LINES, "");
    let [
        mut floor_rate,
        mut file_rate,
        mut plain_rate,
        mut line_rate,
        mut memory,
        mut dropped_rate,
        mut live_rate,
        mut kept_rate,
    ]: [Series; 8] = Default::default();
    for round in 0..wanted.rounds {
        for what in bed::shuffled(6, round) {
            let folder = bed::folder();
            match what {
                0 => floor_rate.push(floor(folder.path())),
                1 => file_rate.push(files(&template)),
                2 => {
                    let (dropped, taken) = live(&template);
                    dropped_rate.push(dropped);
                    live_rate.push(taken);
                }
                3 => kept_rate.push(kept_files(folder.path())),
                4 => plain_rate.push(plain_lines(folder.path(), &text)),
                _ => line_rate.push(lines(&template, &text, &mut memory)),
            }
        }
        eprintln!("ingest: round {} of {}", round + 1, wanted.rounds);
    }
    let mut table = Table::new("Jobs taken in per second", &["from", "floor", "dropreel", "of the floor"]);
    table.row(&[
        &format!("{} files; floor: read each and move it, nothing kept", number(FILES as f64)),
        &floor_rate.shown(),
        &file_rate.shown(),
        &file_rate.by(&floor_rate).shown(),
    ]);
    table.row(&[
        "the same; floor: also parse, hash, one row each, 256 a commit",
        &kept_rate.shown(),
        &file_rate.shown(),
        &file_rate.by(&kept_rate).shown(),
    ]);
    table.row(&[
        &format!(
            "{} files dropped one after the other meanwhile; floor: who drops them",
            number(FILES as f64)
        ),
        &dropped_rate.shown(),
        &live_rate.shown(),
        &live_rate.by(&dropped_rate).shown(),
    ]);
    table.row(&[
        &format!(
            "one file of {} lines; floor: parse each, one insert each, one commit",
            number(LINES as f64)
        ),
        &plain_rate.shown(),
        &line_rate.shown(),
        &line_rate.by(&plain_rate).shown(),
    ]);
    let mut held = Table::new("Memory with many jobs waiting", &["what", "MiB"]);
    held.row(&[&format!("{} jobs waiting", number(LINES as f64)), &memory.shown()]);
    vec![table, held]
}
