//! Folders on a real disk, the real binary as daemon and as sandbox, and what the kernel counts for them.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::RwLock;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

/// Another binary than the one built with this harness.
static OTHER: RwLock<Option<PathBuf>> = RwLock::new(None);

/// The database and the kernel write pages of this size.
pub const KIB_PER_PAGE: f64 = 4.0;

/// No wait takes longer.
const TIMEOUT: Duration = Duration::from_secs(600);

/// The binary built with this harness.
pub fn built() -> PathBuf {
    env!("CARGO_BIN_EXE_dropreel").into()
}

/// Measures this binary from now on.
pub fn measure_with(binary: &Path) {
    *OTHER.write().unwrap() = Some(binary.to_owned());
}

fn binary() -> PathBuf {
    OTHER.read().unwrap().clone().unwrap_or_else(built)
}

/// Creates an empty folder below `target`, which is on a real disk.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Starts the clock once everything that was written for the run is on disk: otherwise the first flush of a file system
/// would wait for that, too, be it dropreel's or another program's.
pub fn begin() -> Instant {
    run(&mut Command::new("sync"));
    Instant::now()
}

/// Waits until `condition` holds.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < TIMEOUT, "{what} never came");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs a command that must succeed.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Finds a program. Servers may be in `/usr/sbin`, which `PATH` may lack.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    folders.find_map(|folder| Some(folder.join(program)).filter(|found| found.is_file()))
}

/// Processor time of this program so far, in milliseconds.
pub fn own_cpu_ms() -> f64 {
    cpu_ms_in(&std::fs::read_to_string("/proc/self/stat").unwrap())
}

/// User and system time in a `stat` file of the kernel, in milliseconds.
fn cpu_ms_in(stat: &str) -> f64 {
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) * 10.0
}

/// A child process. Dropping it kills it.
pub struct Process {
    child: Child,
    /// The address that it printed.
    pub address: String,
    /// The address of the daemon's public listener.
    pub public: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts a process and waits until it prints its address.
    pub fn start(command: &mut Command, in_stdout: bool) -> Self {
        let (out, err) =
            if in_stdout { (Stdio::piped(), Stdio::null()) } else { (Stdio::null(), Stdio::piped()) };
        let mut child = command.stdout(out).stderr(err).spawn().unwrap();
        let output: Box<dyn std::io::Read + Send> = match child.stdout.take() {
            Some(out) => Box::new(out),
            None => Box::new(child.stderr.take().unwrap()),
        };
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        let mut printed = String::new();
        let ready = lines.by_ref().find(|line| {
            printed.push_str(line);
            line.contains("http://127")
        });
        let ready = ready.unwrap_or_else(|| panic!("it did not start: {printed}"));
        let mut addresses = ready.split("http://").skip(1).map(|rest| {
            let end = rest.find([',', ';', ' ']).unwrap_or(rest.len());
            format!("http://{}", &rest[..end])
        });
        let address = addresses.next().unwrap();
        let public = addresses.next().unwrap_or_default();
        // Read and drop the rest, so that the pipe never fills up.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address, public }
    }

    /// Starts a sandbox.
    pub fn sandbox(arguments: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.args(["sandbox", "--listen", "127.0.0.1:0", "--balance", "100000000"]).args(arguments);
        Self::start(&mut command, true)
    }

    /// Starts the daemon on the data folder `data`.
    pub fn daemon(data: &Path, settings: &[(&str, &str)]) -> Self {
        Self::daemon_under(&[], &binary(), data, settings)
    }

    /// Starts the daemon under another program, which the kernel must show as the daemon itself: signals go to it.
    pub fn daemon_under(program: &[&str], binary: &Path, data: &Path, settings: &[(&str, &str)]) -> Self {
        let whole: Vec<&OsStr> = program.iter().map(OsStr::new).chain([binary.as_os_str()]).collect();
        let mut command = Command::new(whole[0]);
        command
            .args(&whole[1..])
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

    pub fn post(&self, path: &str, body: &str) {
        let url = format!("{}{path}", self.address);
        run(Command::new("curl").args(["-sfS", "-H", "content-type: application/json", "-d", body, &url]));
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap()
    }

    /// Processor time so far, in milliseconds.
    pub fn cpu_ms(&self) -> f64 {
        cpu_ms_in(&self.proc("stat"))
    }

    /// Memory now and its peak, in MiB.
    pub fn memory_mib(&self) -> (f64, f64) {
        let status = self.proc("status");
        let of = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
        };
        (of("VmRSS"), of("VmHWM"))
    }

    /// Bytes written to the disk so far, in KiB.
    pub fn written_kib(&self) -> f64 {
        let io = self.proc("io");
        let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap();
        line.parse::<f64>().unwrap() / 1024.0
    }

    /// How often its threads were put to sleep, and so woken up again.
    pub fn sleeps(&self) -> f64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let of = |task: std::fs::DirEntry| {
            let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
            let lines = status.lines().filter(|line| line.starts_with("voluntary_ctxt_switches"));
            lines.map(|line| line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap()).sum::<f64>()
        };
        tasks.map(|task| of(task.unwrap())).sum()
    }

    /// Waits until the process uses no processor time.
    pub fn until_idle(&self) {
        let mut last = -1.0;
        until("idleness", || {
            std::thread::sleep(Duration::from_millis(300));
            let now = self.cpu_ms();
            let idle = now - last < 1.0;
            last = now;
            idle
        });
    }

    /// Stops it with SIGTERM, so that the next start has nothing to recover.
    pub fn stop(mut self) {
        run(Command::new("kill").arg(self.child.id().to_string()));
        self.child.wait().unwrap();
    }
}

/// Opens the daemon's database for reading.
pub fn open_database(data: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(data.join("dropreel.db"), flags).unwrap();
    connection.busy_timeout(Duration::from_secs(5)).unwrap();
    connection
}

/// Runs a query that returns one number.
pub fn count(connection: &Connection, sql: &str) -> u64 {
    connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs()
}

/// Jobs, one per line.
pub fn job_lines(jobs: u64, directive: &str) -> String {
    let line = |number: u64| {
        format!(
            "{{\"model\":\"wan2.5-t2v\",\"prompt\":\"春天的樱花树下,花瓣随风飘落 {number} {directive}\",\"duration\":5}}\n"
        )
    };
    (0..jobs).map(line).collect()
}

/// Drops a file: writes it outside the inbox and moves it in.
pub fn drop_file(data: &Path, name: &str, text: &str) {
    let unfinished = data.join(name);
    std::fs::write(&unfinished, text).unwrap();
    std::fs::rename(unfinished, data.join("inbox").join(name)).unwrap();
}

/// Creates a data folder with jobs that wait because submits are paused.
pub fn data_with_waiting_jobs(jobs: u64) -> (tempfile::TempDir, PathBuf) {
    let folder = folder();
    let data = folder.path().join("data");
    let daemon = Process::daemon(&data, &[]);
    daemon.post("/api/v1/pause", "{}");
    if jobs > 0 {
        drop_file(&data, "jobs.jsonl", &job_lines(jobs, ""));
        let database = open_database(&data);
        until("the jobs", || count(&database, "SELECT count(*) FROM jobs") == jobs);
    }
    daemon.until_idle();
    daemon.stop();
    (folder, data)
}

/// Copies a folder, by reflink if the file system can.
pub fn copy_of(from: &Path) -> (tempfile::TempDir, PathBuf) {
    let folder = folder();
    let to = folder.path().join("data");
    run(Command::new("cp").args(["-r", "--preserve=mode", "--reflink=auto"]).args([from, &to]));
    (folder, to)
}

/// A random order, different in each round.
pub fn random_order(count: usize, round: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    fastrand::Rng::with_seed(round as u64 + 1).shuffle(&mut order);
    order
}
