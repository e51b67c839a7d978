//! Ten thousand jobs from the dropped file to the stored video, with the sandbox.

use std::time::Instant;

use crate::Options;
use crate::harness::{self, Process};
use crate::tables::{Series, Table, number};

const JOBS: u64 = 10_000;

/// The sum of a metric over its labels.
pub fn metric(text: &str, name: &str) -> f64 {
    let lines = text.lines().filter(|line| line.starts_with(&format!("dropreel_{name}")));
    let values: Vec<f64> = lines.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert!(!values.is_empty(), "there is no metric {name}");
    values.iter().sum()
}

pub fn measure(options: &Options) -> Vec<Table> {
    let [mut rate, mut cpu, mut commits, mut writes_per_job, mut writes, mut memory]: [Series; 6] =
        Default::default();
    // Three rounds are enough: each is long.
    for round in 0..options.rounds.min(3) {
        let folder = harness::folder();
        let data = folder.path().join("data");
        let sandbox = Process::sandbox(&["--run-time", "300ms"]);
        let daemon = Process::daemon(&data, &[("PROVIDER__BASE_URL", &sandbox.address)]);
        let (before, began) = (daemon.cpu_ms(), Instant::now());
        harness::drop_file(&data, "jobs.jsonl", &harness::job_lines(JOBS, ""));
        let database = harness::open_database(&data);
        harness::until("the videos", || {
            std::thread::sleep(std::time::Duration::from_millis(200));
            harness::count(&database, "SELECT count(*) FROM jobs WHERE state = 'succeeded'") == JOBS
        });
        let jobs = JOBS as f64;
        rate.push(jobs / began.elapsed().as_secs_f64());
        cpu.push((daemon.cpu_ms() - before) / jobs);
        let output = daemon.get("/metrics");
        commits.push(metric(&output, "commit_duration_seconds_count") / jobs);
        writes_per_job.push(metric(&output, "commit_batch_writes_total") / jobs);
        writes.push(daemon.written_kib() / jobs);
        memory.push(daemon.memory_mib().1);
        eprintln!("pipeline: round {}", round + 1);
    }
    let title = format!(
        "{} jobs from the dropped file to the stored video, submitted at 100 per second",
        number(JOBS as f64)
    );
    let mut table = Table::new(title, &["what", "median (range)"]);
    table.row(&["jobs per second", &rate.to_text()]);
    table.row(&["processor time per job, in ms", &cpu.to_text()]);
    table.row(&["commits per job", &commits.to_text()]);
    table.row(&["committed writes per job", &writes_per_job.to_text()]);
    table.row(&["written to disk per job, in KiB, including the video of 9 KiB", &writes.to_text()]);
    table.row(&["peak memory, in MiB", &memory.to_text()]);
    vec![table]
}
