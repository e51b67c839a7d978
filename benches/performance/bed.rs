//! What is measured on: folders on a real disk, the real binary as daemon and as simulated provider, and what the kernel
//! says of them.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::RwLock;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

/// Another binary than the one built with this harness.
static OTHER: RwLock<Option<PathBuf>> = RwLock::new(None);

/// Nothing here takes so long.
const PATIENCE: Duration = Duration::from_secs(600);

/// The binary built with this harness.
pub fn built() -> PathBuf {
    env!("CARGO_BIN_EXE_dropreel").into()
}

/// From now on, this binary is measured.
pub fn measure_with(binary: &Path) {
    *OTHER.write().unwrap() = Some(binary.to_owned());
}

fn binary() -> PathBuf {
    OTHER.read().unwrap().clone().unwrap_or_else(built)
}

/// An empty folder on the disk that the project is on.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Waits until it is so.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < PATIENCE, "{what} never came");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs a command that must succeed.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Where a program lies. Servers lie where not everybody looks.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    folders.find_map(|folder| Some(folder.join(program)).filter(|found| found.is_file()))
}

/// A process that ends with us.
pub struct Running {
    child: Child,
    /// What it is reached by.
    pub address: String,
    /// Of the daemon: where callbacks go.
    pub public: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Starts it, and waits until it says where it is reached.
    pub fn start(command: &mut Command, in_stdout: bool) -> Self {
        let (out, err) =
            if in_stdout { (Stdio::piped(), Stdio::null()) } else { (Stdio::null(), Stdio::piped()) };
        let mut child = command.stdout(out).stderr(err).spawn().unwrap();
        let said: Box<dyn std::io::Read + Send> = match child.stdout.take() {
            Some(out) => Box::new(out),
            None => Box::new(child.stderr.take().unwrap()),
        };
        let mut lines = BufReader::new(said).lines().map_while(Result::ok);
        let mut heard = String::new();
        let ready = lines.by_ref().find(|line| {
            heard.push_str(line);
            line.contains("http://127")
        });
        let ready = ready.unwrap_or_else(|| panic!("it did not start: {heard}"));
        let mut addresses = ready.split("http://").skip(1).map(|rest| {
            let end = rest.find([',', ';', ' ']).unwrap_or(rest.len());
            format!("http://{}", &rest[..end])
        });
        let address = addresses.next().unwrap();
        let public = addresses.next().unwrap_or_default();
        // What it says further on is let through.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address, public }
    }

    /// A simulated provider.
    pub fn sandbox(arguments: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.args(["sandbox", "--listen", "127.0.0.1:0", "--balance", "100000000"]).args(arguments);
        Self::start(&mut command, true)
    }

    /// The daemon, with its data in `data`.
    pub fn daemon(data: &Path, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(binary());
        command
            .arg("serve")
            .env_clear()
            .current_dir(data.parent().unwrap())
            .env("DROPREEL_DATA_DIR", data)
            .env("DROPREEL_PROVIDER__BASE_URL", "http://127.0.0.1:9")
            .env("DROPREEL_PROVIDER__API_KEY", "sk-bench")
            .env("DROPREEL_PROVIDER__SUBMIT_PER_SECOND", "100.0")
            .env("DROPREEL_PROVIDER__MAX_RUNNING", "2000")
            .env("DROPREEL_DOWNLOADS__ALLOW_PRIVATE_ADDRESSES", "true")
            .env("DROPREEL_INBOX__SETTLE", "100ms")
            .env("DROPREEL_CALLBACKS__LISTEN", "127.0.0.1:0")
            .env("DROPREEL_CALLBACKS__PUBLIC_URL", "http://127.0.0.1:0")
            .env("DROPREEL_ADMIN__LISTEN", "127.0.0.1:0");
        for (name, value) in settings {
            command.env(format!("DROPREEL_{name}"), value);
        }
        Self::start(&mut command, false)
    }

    pub fn get(&self, path: &str) -> String {
        run(Command::new("curl").args(["-sfS", &format!("{}{path}", self.address)]))
    }

    pub fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path)).unwrap()
    }

    pub fn post(&self, path: &str, body: &str) {
        let url = format!("{}{path}", self.address);
        run(Command::new("curl").args(["-sfS", "-H", "content-type: application/json", "-d", body, &url]));
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap()
    }

    /// Time on a processor so far, in milliseconds.
    pub fn cpu_ms(&self) -> f64 {
        let stat = self.proc("stat");
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) * 10.0
    }

    /// Memory now and at its highest, in MiB.
    pub fn memory_mib(&self) -> (f64, f64) {
        let status = self.proc("status");
        let of = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
        };
        (of("VmRSS"), of("VmHWM"))
    }

    /// What it had the disk write, in KiB.
    pub fn written_kib(&self) -> f64 {
        let io = self.proc("io");
        let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap();
        line.parse::<f64>().unwrap() / 1024.0
    }

    /// How often its threads went to sleep, to be woken up again.
    pub fn sleeps(&self) -> f64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let of = |task: std::fs::DirEntry| {
            let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
            let lines = status.lines().filter(|line| line.starts_with("voluntary_ctxt_switches"));
            lines.map(|line| line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap()).sum::<f64>()
        };
        tasks.map(|task| of(task.unwrap())).sum()
    }

    /// Waits until it does nothing any more.
    pub fn until_idle(&self) {
        let mut last = -1.0;
        until("rest", || {
            std::thread::sleep(Duration::from_millis(300));
            let now = self.cpu_ms();
            let idle = now - last < 1.0;
            last = now;
            idle
        });
    }

    /// In order, so that the next start has nothing to fix.
    pub fn stop(mut self) {
        run(Command::new("kill").arg(self.child.id().to_string()));
        self.child.wait().unwrap();
    }
}

/// Its database, to be looked at.
pub fn look(data: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(data.join("dropreel.db"), flags).unwrap();
    connection.busy_timeout(Duration::from_secs(5)).unwrap();
    connection
}

/// A number that the database is asked for.
pub fn count(connection: &Connection, sql: &str) -> u64 {
    connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs()
}

/// Jobs, one per line.
pub fn lines(jobs: u64, directive: &str) -> String {
    let line = |number: u64| {
        format!(
            "{{\"model\":\"wan2.5-t2v\",\"prompt\":\"春天的樱花树下,花瓣随风飘落 {number} {directive}\",\"duration\":5}}\n"
        )
    };
    (0..jobs).map(line).collect()
}

/// As a person drops it: beside, and then moved in.
pub fn drop_file(data: &Path, name: &str, text: &str) {
    let beside = data.join(name);
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, data.join("inbox").join(name)).unwrap();
}

/// A data folder with jobs that wait because submits are paused.
pub fn waiting(jobs: u64) -> (tempfile::TempDir, PathBuf) {
    let folder = folder();
    let data = folder.path().join("data");
    let daemon = Running::daemon(&data, &[]);
    daemon.post("/api/v1/pause", "{}");
    if jobs > 0 {
        drop_file(&data, "jobs.jsonl", &lines(jobs, ""));
        let database = look(&data);
        until("the jobs", || count(&database, "SELECT count(*) FROM jobs") == jobs);
    }
    daemon.until_idle();
    daemon.stop();
    (folder, data)
}

/// A copy of a folder, sharing its blocks where the disk can.
pub fn copied(from: &Path) -> (tempfile::TempDir, PathBuf) {
    let folder = folder();
    let to = folder.path().join("data");
    run(Command::new("cp").args(["-r", "--preserve=mode", "--reflink=auto"]).args([from, &to]));
    (folder, to)
}

/// A new random order for each round.
pub fn shuffled(count: usize, round: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    fastrand::Rng::with_seed(round as u64 + 1).shuffle(&mut order);
    order
}
