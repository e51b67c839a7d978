//! Callbacks answered while videos are downloaded: by curl, which shows the effect of a busy machine alone, and by
//! dropreel.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::Options;
use crate::answers::write_paths;
use crate::downloads::{Case, Source, curl};
use crate::harness;
use crate::tables::{Series, Table};

const CASES: [Case; 2] = [
    Case { name: "300 × 5 MiB", files: 300, mib: 5, mib_per_second: 0 },
    // Eight connections together have one gigabit per second.
    Case { name: "60 × 5 MiB over a line of 1 Gbit/s", files: 60, mib: 5, mib_per_second: 15 },
];
/// Time between two callbacks, however long the first one takes.
const INTERVAL: Duration = Duration::from_millis(4);

/// Sends callbacks until `stop` is set. Returns the times to their answers, in milliseconds.
fn answers(public: &str, paths: &Path, stop: &AtomicBool) -> Series {
    let paths = std::fs::read_to_string(paths).unwrap();
    let mut socket = TcpStream::connect(public.trim_start_matches("http://")).unwrap();
    socket.set_nodelay(true).unwrap();
    let (mut times, mut buffer) = (Series::default(), [0; 4096]);
    let began = Instant::now();
    for (number, path) in paths.lines().cycle().enumerate() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let due = began + INTERVAL * u32::try_from(number).unwrap();
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let body = format!("{{\"status\":\"processing\",\"n\":{number}}}");
        let request =
            format!("POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        socket.write_all(request.as_bytes()).unwrap();
        let read = socket.read(&mut buffer).unwrap();
        assert!(buffer[..read].starts_with(b"HTTP/1.1 204"), "{}", String::from_utf8_lossy(&buffer[..read]));
        // Counted from when it was due: callbacks that wait for a slow answer count, too.
        times.push(due.elapsed().as_secs_f64() * 1000.0);
    }
    times
}

fn answers_during(public: &str, paths: &Path, work: impl FnOnce()) -> Series {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let answering = scope.spawn(|| answers(public, paths, &stop));
        work();
        stop.store(true, Ordering::Relaxed);
        answering.join().unwrap()
    })
}

pub fn measure(options: &Options) -> Vec<Table> {
    let mut sources = CASES.each_ref().map(Source::new);
    let mut p50: [[Series; 3]; CASES.len()] = Default::default();
    let mut p99: [[Series; 3]; CASES.len()] = Default::default();
    for round in 0..options.rounds {
        for at in harness::random_order(CASES.len(), round) {
            let folder = harness::folder();
            let (data, paths) = (folder.path().join("data"), folder.path().join("paths"));
            let (daemon, links) = sources[at].completed(&data);
            write_paths(&data, &paths);
            let database = harness::open_database(&data);
            for who in harness::random_order(3, round * 31 + at) {
                let times = answers_during(&daemon.public, &paths, || match who {
                    0 => std::thread::sleep(Duration::from_secs(2)),
                    1 => drop(harness::run(&mut curl(harness::folder().path(), links))),
                    _ => {
                        daemon.post("/api/v1/resume", "{}");
                        let done = "SELECT count(*) FROM jobs WHERE state = 'succeeded'";
                        harness::until("the videos", || harness::count(&database, done) == CASES[at].files);
                    }
                });
                p50[at][who].push(times.median());
                p99[at][who].push(times.quantile(0.99));
                harness::run(&mut Command::new("sync"));
            }
        }
        eprintln!("concurrent: round {} of {}", round + 1, options.rounds);
    }
    let mut table = Table::new(
        format!("Time to an answer, in ms, one callback each {} ms", INTERVAL.as_millis()),
        &["at the same time", "median", "99 of 100"],
    );
    table.row(&["nothing", &p50[0][0].to_text(), &p99[0][0].to_text()]);
    for ((case, p50), p99) in CASES.iter().zip(&p50).zip(&p99) {
        let curl = format!("curl -Z downloads {}", case.name);
        table.row(&[&curl, &p50[1].to_text(), &p99[1].to_text()]);
        table.row(&["dropreel downloads them", &p50[2].to_text(), &p99[2].to_text()]);
        table.row(&[
            "dropreel's by curl's (moves with the host)",
            &p50[2].ratio_to(&p50[1]).to_text(),
            &p99[2].ratio_to(&p99[1]).to_text(),
        ]);
    }
    vec![table]
}
