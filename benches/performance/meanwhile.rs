//! Callbacks answered while videos are fetched: by curl, which shows what the machine's business alone does to answers,
//! and by dropreel itself.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::Wanted;
use crate::answers::write_paths;
use crate::bed;
use crate::downloads::{Case, Source, curl};
use crate::figures::{Series, Table};

const CASES: [Case; 2] = [
    Case { name: "300 × 5 MiB", files: 300, mib: 5, line: 0 },
    // Eight connections make a line of one gigabit.
    Case { name: "60 × 5 MiB over a line of 1 Gbit/s", files: 60, mib: 5, line: 15 },
];
/// One callback in so long, whatever the one before took.
const PACE: Duration = Duration::from_millis(4);

/// The times of answers, in milliseconds, until it is enough.
fn answers(public: &str, paths: &Path, enough: &AtomicBool) -> Series {
    let paths = std::fs::read_to_string(paths).unwrap();
    let mut socket = TcpStream::connect(public.trim_start_matches("http://")).unwrap();
    socket.set_nodelay(true).unwrap();
    let (mut times, mut some) = (Series::default(), [0; 4096]);
    let began = Instant::now();
    for (number, path) in paths.lines().cycle().enumerate() {
        if enough.load(Ordering::Relaxed) {
            break;
        }
        let due = began + PACE * u32::try_from(number).unwrap();
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let body = format!("{{\"status\":\"processing\",\"n\":{number}}}");
        let request =
            format!("POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        socket.write_all(request.as_bytes()).unwrap();
        let read = socket.read(&mut some).unwrap();
        assert!(some[..read].starts_with(b"HTTP/1.1 204"), "{}", String::from_utf8_lossy(&some[..read]));
        // From when it was to be sent: what waits behind a slow answer waits, too.
        times.push(due.elapsed().as_secs_f64() * 1000.0);
    }
    times
}

fn answers_during(public: &str, paths: &Path, work: impl FnOnce()) -> Series {
    let enough = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let answering = scope.spawn(|| answers(public, paths, &enough));
        work();
        enough.store(true, Ordering::Relaxed);
        answering.join().unwrap()
    })
}

pub fn measure(wanted: &Wanted) -> Vec<Table> {
    let mut sources = CASES.each_ref().map(Source::new);
    let mut p50: [[Series; 3]; CASES.len()] = Default::default();
    let mut p99: [[Series; 3]; CASES.len()] = Default::default();
    for round in 0..wanted.rounds {
        for at in bed::shuffled(CASES.len(), round) {
            let folder = bed::folder();
            let (data, paths) = (folder.path().join("data"), folder.path().join("paths"));
            let (daemon, links) = sources[at].finished(&data);
            write_paths(&data, &paths);
            let database = bed::look(&data);
            for who in bed::shuffled(3, round * 31 + at) {
                let times = answers_during(&daemon.public, &paths, || match who {
                    0 => std::thread::sleep(Duration::from_secs(2)),
                    1 => drop(bed::run(&mut curl(bed::folder().path(), links))),
                    _ => {
                        daemon.post("/api/v1/resume", "{}");
                        let done = "SELECT count(*) FROM jobs WHERE state = 'succeeded'";
                        bed::until("the videos", || bed::count(&database, done) == CASES[at].files);
                    }
                });
                p50[at][who].push(times.median());
                p99[at][who].push(times.quantile(0.99));
                bed::run(&mut Command::new("sync"));
            }
        }
        eprintln!("meanwhile: round {} of {}", round + 1, wanted.rounds);
    }
    let mut table = Table::new(
        format!("Time to an answer, in ms, one callback each {} ms", PACE.as_millis()),
        &["meanwhile", "median", "99 of 100"],
    );
    table.row(&["nothing", &p50[0][0].shown(), &p99[0][0].shown()]);
    for ((case, p50), p99) in CASES.iter().zip(&p50).zip(&p99) {
        let curl = format!("curl -Z fetches {}", case.name);
        table.row(&[&curl, &p50[1].shown(), &p99[1].shown()]);
        table.row(&["dropreel itself fetches them", &p50[2].shown(), &p99[2].shown()]);
        table.row(&["dropreel's by curl's", &p50[2].by(&p50[1]).shown(), &p99[2].by(&p99[1]).shown()]);
    }
    vec![table]
}
