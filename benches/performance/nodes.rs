//! The same work with one daemon on SQLite, and with one, two and three daemons on one PostgreSQL server: callbacks that
//! arrive at all of them, and videos from a slow media host into a bucket.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Instant;

use crate::Options;
use crate::answers::Load;
use crate::engines::{CONNECTIONS, JOBS, Server, until, write_paths};
use crate::harness::{self, Process};
use crate::tables::{Series, Table};

const CASES: [(&str, usize); 4] = [
    ("SQLite, one daemon", 1),
    ("PostgreSQL, 1 node", 1),
    ("PostgreSQL, 2 nodes", 2),
    ("PostgreSQL, 3 nodes", 3),
];
const VIDEOS: u64 = 120;
/// The media host answers after a second, so that each download takes that long and no machine is busy.
const SLOW: &str = "[sandbox: queue=100ms run=200ms media=slow:1s]";
const SECRET: &str = "the-callback-secret-of-all-nodes";
const BUCKET: &str = "bench";
/// moto asks for a signature, and for no valid one.
const UNCHECKED: &str = "authorization: AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/s3/aws4_request, \
    SignedHeaders=host, Signature=any";

/// Daemons that share everything but their data folders; the first leads.
struct Nodes {
    folder: tempfile::TempDir,
    daemons: Vec<Process>,
}

impl Nodes {
    fn start(count: usize, database: Option<&(&'static str, String)>, settings: &[(&str, &str)]) -> Self {
        let folder = harness::folder();
        let secret = folder.path().join("secret");
        write_secret(&secret, SECRET);
        let mut all = settings.to_vec();
        all.push(("CALLBACKS__SECRET_FILE", secret.to_str().unwrap()));
        all.extend(database.map(|(key, value)| (*key, value.as_str())));
        let daemons = (0..count)
            .map(|node| Process::daemon(&folder.path().join(format!("node-{node}")), &all))
            .collect();
        Self { folder, daemons }
    }

    fn leader(&self) -> &Process {
        &self.daemons[0]
    }

    fn drop_jobs(&self, jobs: u64, directive: &str) {
        harness::drop_file(
            &self.folder.path().join("node-0"),
            "jobs.jsonl",
            &harness::job_lines(jobs, directive),
        );
    }
}

fn write_secret(path: &Path, text: &str) {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    std::io::Write::write_all(&mut file, format!("{text}\n").as_bytes()).unwrap();
}

/// Callbacks per second, at connections that are spread over the nodes.
fn callbacks(nodes: &Nodes) -> f64 {
    nodes.leader().post("/api/v1/pause", "{}");
    nodes.drop_jobs(JOBS, "");
    until("the jobs", nodes.leader(), "dropreel_jobs_accepted_total", JOBS);
    let paths = nodes.folder.path().join("paths");
    write_paths(nodes.leader(), SECRET, &paths);
    nodes.daemons.iter().for_each(Process::until_idle);
    let load = |daemon: &Process| {
        let mut load = Load::default();
        load.measure(&daemon.public, &paths, CONNECTIONS / nodes.daemons.len());
        load.per_second.median()
    };
    std::thread::scope(|scope| {
        let loads: Vec<_> = nodes.daemons.iter().map(|daemon| scope.spawn(move || load(daemon))).collect();
        loads.into_iter().map(|load| load.join().unwrap()).sum()
    })
}

/// Videos per second, from the dropped file into the bucket.
fn videos(nodes: &Nodes) -> f64 {
    let began = Instant::now();
    nodes.drop_jobs(VIDEOS, SLOW);
    harness::until("the videos", || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let status: serde_json::Value = serde_json::from_str(&nodes.leader().get("/api/v1/status")).unwrap();
        status["counts"]["succeeded"].as_u64() == Some(VIDEOS)
    });
    VIDEOS as f64 / began.elapsed().as_secs_f64()
}

pub fn measure(options: &Options, server: &Server) -> Table {
    let endpoint = std::env::var("DROPREEL_S3").expect("run ci/engines");
    harness::run(std::process::Command::new("curl").args([
        "-sfS",
        "--retry",
        "20",
        "--retry-connrefused",
        "-X",
        "PUT",
        "-H",
        UNCHECKED,
        &format!("{endpoint}/{BUCKET}"),
    ]));
    let place = harness::folder();
    let key = place.path().join("key");
    write_secret(&key, "bench");
    let mut found: [[Series; 2]; CASES.len()] = Default::default();
    for round in 0..options.rounds {
        for case in harness::random_order(CASES.len(), round) {
            let count = CASES[case].1;
            let name = |part: &str| format!("{part}_{round}_{case}");
            let database = |part: &str| (case > 0).then(|| server.new_database(&name(part)));
            found[case][0].push(callbacks(&Nodes::start(count, database("callbacks").as_ref(), &[])));
            let sandbox = Process::sandbox(&[]);
            let library = format!("s3://{BUCKET}/{}", name("videos"));
            let settings = [
                ("PROVIDER__BASE_URL", sandbox.address.as_str()),
                ("STORAGE__LIBRARY", &library),
                ("STORAGE__ENDPOINT", &endpoint),
                ("STORAGE__REGION", "us-east-1"),
                ("STORAGE__ACCESS_KEY_ID", "bench"),
                ("STORAGE__SECRET_KEY_FILE", key.to_str().unwrap()),
            ];
            found[case][1].push(videos(&Nodes::start(count, database("videos").as_ref(), &settings)));
        }
        eprintln!("nodes: round {} of {}", round + 1, options.rounds);
    }
    let mut table = Table::new(
        format!(
            "Callbacks and videos by the number of nodes, all on this machine: callbacks at {CONNECTIONS} connections; \
             {VIDEOS} videos whose host answers after a second, 4 downloads at a time on each node"
        ),
        &["", "callbacks per second", "videos per second"],
    );
    for ((name, _), [callbacks, videos]) in CASES.iter().zip(&found) {
        table.row(&[name, &callbacks.to_text(), &videos.to_text()]);
    }
    table
}
