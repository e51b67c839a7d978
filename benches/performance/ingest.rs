//! Job files ingested: many small ones, compared with only reading and moving them; the same in sub-folders and as the rows of
//! a table, compared with the flat inbox; and a long one, compared with parsing it and inserting its lines into a plain table.

use std::path::Path;

use dropreel::sha256::sha256_hex;
use rusqlite::Connection;

use crate::Options;
use crate::harness::{self, Process};
use crate::tables::{Series, Table, number};

/// How many files a folder has, where they are in folders.
const FILES_PER_FOLDER: u64 = 10;
/// What makes prompts as long as people write them.
const PADDING: usize = 180;
/// The daemon waits this long for the rest of a new folder, or of a table: short, because only its work is measured.
const SETTLE: &[(&str, &str)] = &[("INBOX__SETTLE", "1ms")];

/// The number of lines in the long file.
fn long(options: &Options) -> u64 {
    options.files * 10
}

/// Whether this many jobs exist and every file has left the inbox.
pub fn is_ingested(data: &Path, jobs: u64) -> impl FnMut() -> bool {
    let database = harness::open_database(data);
    move || {
        harness::count(&database, "SELECT count(*) FROM jobs") == jobs
            && harness::count(&database, "SELECT count(*) FROM batches WHERE moved_at IS NULL") == 0
    }
}

/// Where the files are: all in one folder, or some in each of many.
#[derive(Clone, Copy)]
pub enum Layout {
    Flat,
    Folders,
}

pub fn write_files(folder: &Path, files: u64, layout: Layout) {
    std::fs::create_dir_all(folder).unwrap();
    for (number, line) in (0..files).zip(harness::job_lines(files, &"花".repeat(PADDING)).lines()) {
        let folder = match layout {
            Layout::Flat => folder.to_owned(),
            Layout::Folders => folder.join(format!("scene {}", number / FILES_PER_FOLDER)),
        };
        if number % FILES_PER_FOLDER == 0 {
            std::fs::create_dir_all(&folder).unwrap();
        }
        std::fs::write(folder.join(format!("{number}.json")), line).unwrap();
    }
}

fn floor(folder: &Path, files: u64) -> f64 {
    let (from, to) = (folder.join("from"), folder.join("to"));
    write_files(&from, files, Layout::Flat);
    std::fs::create_dir_all(&to).unwrap();
    let began = harness::begin();
    let mut bytes = 0;
    for entry in std::fs::read_dir(&from).unwrap() {
        let entry = entry.unwrap();
        bytes += std::fs::read(entry.path()).unwrap().len();
        std::fs::rename(entry.path(), to.join(entry.file_name())).unwrap();
    }
    assert!(bytes > 0);
    files as f64 / began.elapsed().as_secs_f64()
}

/// The least that a program with a database does: parse, hash, insert one row into a table with an index of the hashes, 256
/// files per commit, and move the files after the commit.
fn stored_files(folder: &Path, files: u64) -> f64 {
    let (from, to) = (folder.join("from"), folder.join("to"));
    write_files(&from, files, Layout::Flat);
    std::fs::create_dir_all(&to).unwrap();
    let mut connection = Connection::open(folder.join("plain.db")).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE bodies (nr INTEGER PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, body TEXT NOT NULL)",
        )
        .unwrap();
    let began = harness::begin();
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
    files as f64 / began.elapsed().as_secs_f64()
}

/// Files that are there when the daemon starts.
fn files(template: &Path, files: u64, layout: Layout) -> f64 {
    let (_folder, data) = harness::copy_of(template);
    let beside = data.join("beside");
    write_files(&beside, files, layout);
    let daemon = Process::daemon(&data, &[]);
    daemon.until_idle();
    std::fs::remove_dir(data.join("inbox"))
        .or_else(|_| std::fs::rename(data.join("inbox"), data.join("old")))
        .unwrap();
    drop(daemon);
    std::fs::rename(&beside, data.join("inbox")).unwrap();
    let began = harness::begin();
    let _daemon = Process::daemon(&data, SETTLE);
    harness::until("the files", is_ingested(&data, files));
    files as f64 / began.elapsed().as_secs_f64()
}

/// The same jobs as the rows of a table that is there when the daemon starts.
fn rows(template: &Path, rows: u64) -> f64 {
    let (_folder, data) = harness::copy_of(template);
    let padding = "花".repeat(PADDING);
    let row = |number: u64| format!("wan2.5-t2v,\"春天的樱花树下,花瓣随风飘落 {number} {padding}\",5\r\n");
    let table: String =
        std::iter::once("model,prompt,duration\r\n".to_owned()).chain((0..rows).map(row)).collect();
    harness::drop_file(&data, "shots.csv", &table);
    let began = harness::begin();
    let _daemon = Process::daemon(&data, SETTLE);
    harness::until("the rows", is_ingested(&data, rows));
    rows as f64 / began.elapsed().as_secs_f64()
}

/// Writes files and moves them into the inbox one by one while the daemon ingests them. Returns how many were dropped per
/// second, and how many were dropped and ingested.
fn live(template: &Path, files: u64) -> (f64, f64) {
    let (_folder, data) = harness::copy_of(template);
    let daemon = Process::daemon(&data, &[]);
    daemon.until_idle();
    let mut is_ingested = is_ingested(&data, files);
    let text = harness::job_lines(files, &"花".repeat(PADDING));
    let began = harness::begin();
    for (number, line) in text.lines().enumerate() {
        let beside = data.join(format!(".{number}.json"));
        std::fs::write(&beside, line).unwrap();
        std::fs::rename(&beside, data.join("inbox").join(format!("{number}.json"))).unwrap();
    }
    let dropped = files as f64 / began.elapsed().as_secs_f64();
    harness::until("the files", &mut is_ingested);
    (dropped, files as f64 / began.elapsed().as_secs_f64())
}

fn plain_lines(folder: &Path, text: &str, lines: u64) -> f64 {
    let file = folder.join("jobs.jsonl");
    std::fs::write(&file, text).unwrap();
    let mut connection = Connection::open(folder.join("plain.db")).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE bodies (nr INTEGER PRIMARY KEY, model TEXT, body TEXT NOT NULL)",
        )
        .unwrap();
    let began = harness::begin();
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
    lines as f64 / began.elapsed().as_secs_f64()
}

fn lines(template: &Path, text: &str, lines: u64, memory: &mut Series) -> f64 {
    let (_folder, data) = harness::copy_of(template);
    let daemon = Process::daemon(&data, &[]);
    let mut is_ingested = is_ingested(&data, lines);
    let began = harness::begin();
    harness::drop_file(&data, "jobs.jsonl", text);
    harness::until("the lines", &mut is_ingested);
    let rate = lines as f64 / began.elapsed().as_secs_f64();
    daemon.until_idle();
    memory.push(daemon.memory_mib().0);
    rate
}

pub fn measure(options: &Options) -> Vec<Table> {
    let (_folder, template) = harness::data_with_waiting_jobs(0);
    let text = harness::job_lines(long(options), "");
    let [
        mut floor_rate,
        mut file_rate,
        mut plain_rate,
        mut line_rate,
        mut memory,
        mut dropped_rate,
        mut live_rate,
        mut kept_rate,
        mut folder_rate,
        mut row_rate,
    ]: [Series; 10] = Default::default();
    let (files_of, lines_of) = (options.files, long(options));
    for round in 0..options.rounds {
        for what in harness::random_order(8, round) {
            let folder = harness::folder();
            match what {
                0 => floor_rate.push(floor(folder.path(), files_of)),
                1 => file_rate.push(files(&template, files_of, Layout::Flat)),
                2 => {
                    let (dropped, taken) = live(&template, files_of);
                    dropped_rate.push(dropped);
                    live_rate.push(taken);
                }
                3 => kept_rate.push(stored_files(folder.path(), files_of)),
                4 => plain_rate.push(plain_lines(folder.path(), &text, lines_of)),
                5 => folder_rate.push(files(&template, files_of, Layout::Folders)),
                6 => row_rate.push(rows(&template, files_of)),
                _ => line_rate.push(lines(&template, &text, lines_of, &mut memory)),
            }
        }
        eprintln!("ingest: round {} of {}", round + 1, options.rounds);
    }
    let mut table = Table::new("Jobs ingested per second", &["from", "floor", "dropreel", "of the floor"]);
    table.row(&[
        &format!("{} files; floor: read and move each (moves with the host)", number(files_of as f64)),
        &floor_rate.to_text(),
        &file_rate.to_text(),
        &file_rate.ratio_to(&floor_rate).to_text(),
    ]);
    table.row(&[
        "the same; floor: also parse, hash, insert a row, 256 per commit (nearly the same work)",
        &kept_rate.to_text(),
        &file_rate.to_text(),
        &file_rate.ratio_to(&kept_rate).to_text(),
    ]);
    let folders = number(files_of.div_ceil(FILES_PER_FOLDER) as f64);
    table.row(&[
        &format!("the same in {folders} folders; floor: all of them in one (same work)"),
        &file_rate.to_text(),
        &folder_rate.to_text(),
        &folder_rate.ratio_to(&file_rate).to_text(),
    ]);
    table.row(&[
        &format!(
            "one table of {} rows; floor: a file for each (moves with the host)",
            number(files_of as f64)
        ),
        &file_rate.to_text(),
        &row_rate.to_text(),
        &row_rate.ratio_to(&file_rate).to_text(),
    ]);
    table.row(&[
        &format!(
            "{} files dropped one by one; floor: the drops alone (moves with the host)",
            number(files_of as f64)
        ),
        &dropped_rate.to_text(),
        &live_rate.to_text(),
        &live_rate.ratio_to(&dropped_rate).to_text(),
    ]);
    table.row(&[
        &format!(
            "one file of {} lines; floor: parse and insert each, one commit (moves with the host)",
            number(lines_of as f64)
        ),
        &plain_rate.to_text(),
        &line_rate.to_text(),
        &line_rate.ratio_to(&plain_rate).to_text(),
    ]);
    let mut held = Table::new("Memory with many jobs waiting", &["what", "MiB"]);
    held.row(&[&format!("{} jobs waiting", number(lines_of as f64)), &memory.to_text()]);
    vec![table, held]
}
