//! Ten thousand jobs from the dropped file to the stored video, through the simulated provider.

use std::time::Instant;

use crate::Wanted;
use crate::bed::{self, Running};
use crate::figures::{Series, Table, number};

const JOBS: u64 = 10_000;

/// The sum of a metric over its labels.
fn metric(text: &str, name: &str) -> f64 {
    let lines = text.lines().filter(|line| line.starts_with(&format!("dropreel_{name}")));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

pub fn measure(wanted: &Wanted) -> Vec<Table> {
    let [mut rate, mut cpu, mut commits, mut pieces, mut writes, mut memory]: [Series; 6] =
        Default::default();
    // Long enough each to be steady.
    for round in 0..wanted.rounds.min(3) {
        let folder = bed::folder();
        let data = folder.path().join("data");
        let sandbox = Running::sandbox(&["--run-time", "300ms"]);
        let daemon = Running::daemon(&data, &[("PROVIDER__BASE_URL", &sandbox.address)]);
        let (before, began) = (daemon.cpu_ms(), Instant::now());
        bed::drop_file(&data, "jobs.jsonl", &bed::lines(JOBS, ""));
        let database = bed::look(&data);
        bed::until("the videos", || {
            std::thread::sleep(std::time::Duration::from_millis(200));
            bed::count(&database, "SELECT count(*) FROM jobs WHERE state = 'succeeded'") == JOBS
        });
        let jobs = JOBS as f64;
        rate.push(jobs / began.elapsed().as_secs_f64());
        cpu.push((daemon.cpu_ms() - before) / jobs);
        let said = daemon.get("/metrics");
        commits.push(metric(&said, "commit_seconds_count") / jobs);
        pieces.push(metric(&said, "commit_pieces_total") / jobs);
        writes.push(daemon.written_kib() / jobs);
        memory.push(daemon.memory_mib().1);
        eprintln!("whole: round {}", round + 1);
    }
    let title = format!(
        "{} jobs from the dropped file to the stored video, submitted at 100 per second",
        number(JOBS as f64)
    );
    let mut table = Table::new(title, &["what", "median (range)"]);
    table.row(&["jobs per second", &rate.shown()]);
    table.row(&["processor time per job, in ms", &cpu.shown()]);
    table.row(&["commits per job", &commits.shown()]);
    table.row(&["pieces of work committed per job", &pieces.shown()]);
    table.row(&["written to disk per job, in KiB, the video of 9 KiB included", &writes.shown()]);
    table.row(&["memory at its highest, in MiB", &memory.shown()]);
    vec![table]
}
