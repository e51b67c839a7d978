//! The rig of the integration tests: a folder, the sandbox on a real port, and the real binary as a child process.
#![allow(dead_code, reason = "each test program uses its own part of the rig")]

pub mod bucket;
pub mod checker;
pub mod lifecycle;
pub mod mutants;
pub mod output;
mod private_files;
pub mod proxy;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dropreel::clock::Clock;
use dropreel::sandbox::fault_plan::FaultPlan;
use dropreel::sandbox::{Options, Sandbox};
use serde_json::Value;

/// The example prompt of the provider's documentation.
pub const SAKURA: &str = "春天的樱花树下,花瓣随风飘落";
/// The API key. It must appear nowhere in what the daemon prints or writes for people.
pub const KEY: &str = "sk-canary-5f1c0ffee";
/// No wait takes this long unless something is wrong.
const TIMEOUT: Duration = Duration::from_secs(90);

/// A job that runs half a second at the provider.
pub fn quick(name: &str, plan: &str) -> String {
    let prompt = format!("{SAKURA} [sandbox: queue=50ms run=300ms {plan}]");
    serde_json::json!({
        "model": "wan2.5-t2v", "prompt": prompt, "aspect_ratio": "16:9", "duration": 5,
        "dropreel": {"name": name},
    })
    .to_string()
}

/// A picture of 640 x 480 pixels, by its structure; `content` makes it differ from others.
pub fn png(content: &[u8]) -> Vec<u8> {
    let chunk = |kind: &[u8], body: &[u8]| {
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&length[..], kind, body, &[0; 4]].concat()
    };
    let header = [&640_u32.to_be_bytes()[..], &480_u32.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    let chunks = [chunk(b"IHDR", &header), chunk(b"IDAT", content), chunk(b"IEND", b"")].concat();
    [&b"\x89PNG\r\n\x1A\n"[..], &chunks].concat()
}

/// The environment of a daemon whose work takes little time.
pub fn settings(data: &Path, provider: &str) -> BTreeMap<String, String> {
    let settings = [
        ("DROPREEL_DATA_DIR", data.display().to_string()),
        ("DROPREEL_PROVIDER__BASE_URL", provider.to_owned()),
        ("DROPREEL_PROVIDER__API_KEY", KEY.to_owned()),
        ("DROPREEL_PROVIDER__SUBMIT_PER_SECOND", "100.0".to_owned()),
        // Tests of quotes switch them on: the others count calls.
        ("DROPREEL_PROVIDER__QUOTES", "off".to_owned()),
        ("DROPREEL_PROVIDER__MAX_RUNNING", "200".to_owned()),
        ("DROPREEL_PROVIDER__REQUEST_TIMEOUT", "3s".to_owned()),
        ("DROPREEL_INBOX__SETTLE", "200ms".to_owned()),
        ("DROPREEL_INBOX__RESCAN", "1s".to_owned()),
        ("DROPREEL_CALLBACKS__LISTEN", "127.0.0.1:0".to_owned()),
        ("DROPREEL_CALLBACKS__PUBLIC_URL", "http://127.0.0.1:0".to_owned()),
        ("DROPREEL_POLLING__CALLBACK_GRACE", "5s".to_owned()),
        ("DROPREEL_POLLING__INTERVAL", "200ms".to_owned()),
        ("DROPREEL_POLLING__MAX_INTERVAL", "1s".to_owned()),
        ("DROPREEL_DOWNLOADS__ALLOW_PRIVATE_ADDRESSES", "true".to_owned()),
        ("DROPREEL_ADMIN__LISTEN", "127.0.0.1:0".to_owned()),
        ("TZ", "UTC".to_owned()),
    ];
    let mut settings = BTreeMap::from(settings.map(|(key, value)| (key.to_owned(), value)));
    settings.extend(std::env::var(mutants::VARIABLE).map(|mutant| (mutants::VARIABLE.to_owned(), mutant)));
    settings
}

/// A test's daemon, sandbox and folders.
pub struct Rig {
    folder: tempfile::TempDir,
    pub sandbox: Sandbox,
    settings: BTreeMap<String, String>,
    daemon: Option<Running>,
    output: Arc<Mutex<String>>,
    http: reqwest::Client,
    /// Charges allowed for a job: 1, unless an operator asked for another attempt.
    pub charges_allowed: BTreeMap<String, usize>,
    /// The test put the database back to an older state, so the checker would find facts missing.
    pub database_rolled_back: bool,
    /// The public listener's port, if it must be the same after each restart.
    kept_port: Option<lifecycle::KeptPort>,
    kept_admin_port: Option<lifecycle::KeptPort>,
}

struct Running {
    child: Child,
    admin: String,
    public: String,
}

impl Rig {
    /// Starts a sandbox with this fault plan, and prepares a daemon for it without starting it.
    pub async fn set_up(plan: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let options = Options {
            fault_plan: FaultPlan::parse(plan).unwrap(),
            queue_time: (Duration::from_millis(50), Duration::from_millis(100)),
            run_time: (Duration::from_millis(200), Duration::from_millis(500)),
            balance: dropreel::money::Quota::new(1_000_000_000_000),
            ..Options::default()
        };
        let sandbox = dropreel::sandbox::start(listener, options, Clock::machine()).await.unwrap();
        let settings = settings(&folder.path().join("data"), &sandbox.base_url());
        Self {
            folder,
            sandbox,
            settings,
            daemon: None,
            output: Arc::default(),
            http: reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap(),
            charges_allowed: BTreeMap::new(),
            database_rolled_back: false,
            kept_port: None,
            kept_admin_port: None,
        }
    }

    /// Starts a sandbox with this fault plan, and a daemon for it.
    pub async fn start(plan: &str) -> Self {
        let mut rig = Self::set_up(plan).await;
        rig.start_daemon().await;
        rig
    }

    pub fn set(&mut self, key: &str, value: &str) {
        self.settings.insert(format!("DROPREEL_{key}"), value.to_owned());
    }

    /// Sets an environment variable that is not a setting of dropreel.
    pub fn set_variable(&mut self, key: &str, value: &str) {
        self.settings.insert(key.to_owned(), value.to_owned());
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join("data").join(relative)
    }

    /// A path outside the data folder.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The real binary with the rig's settings and these arguments.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dropreel"));
        command.env_clear().envs(&self.settings).current_dir(self.folder.path()).args(arguments);
        if let Some(daemon) = &self.daemon
            && arguments.first() != Some(&"serve")
        {
            command.env("DROPREEL_ADMIN__LISTEN", daemon.admin.trim_start_matches("http://"));
        }
        command
    }

    /// Runs a command to its end.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    pub async fn start_daemon(&mut self) {
        if let Err(status) = self.try_start_daemon().await {
            panic!("the daemon did not start ({status}):\n{}", self.output());
        }
    }

    /// Starts the daemon; an error if it ends before it is ready.
    pub async fn try_start_daemon(&mut self) -> Result<(), ExitStatus> {
        let (mut child, ready) = self.spawn();
        match tokio::time::timeout(TIMEOUT, ready).await {
            Ok(Ok((admin, public))) => {
                self.daemon = Some(Running { child, admin, public });
                Ok(())
            }
            // The pipe is closed, so its output is complete.
            Ok(Err(_)) => Err(child.wait().unwrap()),
            Err(_) => {
                let _ = child.kill();
                panic!("the daemon did not start:\n{}", self.output());
            }
        }
    }

    /// Spawns the daemon. The receiver gets its addresses once it is ready.
    fn spawn(&self) -> (Child, tokio::sync::oneshot::Receiver<(String, String)>) {
        let mut child =
            self.command(&["serve"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let (ready, found) = tokio::sync::oneshot::channel();
        let output = self.output.clone();
        std::thread::spawn(move || {
            let mut ready = Some(ready);
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Some((admin, public)) = addresses(&line)
                    && let Some(ready) = ready.take()
                {
                    let _ = ready.send((admin, public));
                }
                let mut output = output.lock().unwrap();
                output.push_str(&line);
                output.push('\n');
            }
        });
        (child, found)
    }

    fn running(&self) -> &Running {
        self.daemon.as_ref().expect("the daemon is running")
    }

    pub fn admin(&self) -> String {
        self.running().admin.clone()
    }

    pub fn public(&self) -> String {
        self.running().public.clone()
    }

    /// What the daemon has logged so far.
    pub fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// Waits until the daemon has logged this text. Another thread reads the log, so a line may arrive late.
    pub async fn until_output(&self, what: &str) {
        let start = Instant::now();
        while !self.output().contains(what) {
            assert!(start.elapsed() < TIMEOUT, "the daemon never logged {what:?} but\n{}", self.output());
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    pub fn drop(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path("inbox").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let unfinished = path.with_file_name(format!(".{}", path.file_name().unwrap().display()));
        std::fs::write(&unfinished, content).unwrap();
        std::fs::rename(unfinished, path).unwrap();
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        read(self.http.get(format!("{}{path}", self.running().admin))).await
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let request = self.http.post(format!("{}{path}", self.running().admin));
        read(request.header("content-type", "application/json").body(body.to_string())).await
    }

    /// A request to another server. Returns the status.
    pub async fn post_to(&self, base: &str, path: &str, body: Value) -> u16 {
        read(self.http.post(format!("{base}{path}")).body(body.to_string())).await.0
    }

    /// Makes a task at the provider as another program would. Returns its id.
    pub async fn make_task(&self, plan: &str) -> String {
        let mut body: Value = serde_json::from_str(&quick("", plan)).unwrap();
        body.as_object_mut().unwrap().remove("dropreel");
        let key = format!("{}{}", checker::ELSEWHERE, self.sandbox.ledger().tasks.len());
        let request = self.http.post(format!("{}/v1/tasks", self.sandbox.base_url()));
        let request = request.bearer_auth(KEY).header("idempotency-key", key).body(body.to_string());
        let (status, answer) = read(request).await;
        assert_eq!(status, 200, "{answer}");
        answer["task_id"].as_str().unwrap().to_owned()
    }

    pub async fn job(&self, reference: &str) -> Value {
        self.get(&format!("/api/v1/jobs/{reference}")).await.1
    }

    /// Waits until the job is in one of these states, and returns it.
    pub async fn until(&self, reference: &str, states: &[&str]) -> Value {
        let is_reached = |job: &Value| job["state"].as_str().is_some_and(|state| states.contains(&state));
        self.until_job(reference, is_reached).await
    }

    /// Waits until this holds for the job, and returns it.
    pub async fn until_job(&self, reference: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let job = self.job(reference).await;
            if holds(&job) {
                return job;
            }
            if start.elapsed() >= TIMEOUT {
                panic!("{reference} stays\n{job:#}\n{}", self.output());
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// Waits until there are `count` jobs and all are finished or held. Returns their states by name.
    pub async fn until_settled(&self, count: usize) -> BTreeMap<String, String> {
        let start = Instant::now();
        loop {
            let jobs = self.all_jobs().await;
            let text = |job: &Value, key: &str| job[key].as_str().unwrap_or_default().to_owned();
            let states: BTreeMap<_, _> =
                jobs.iter().map(|job| (text(job, "name"), text(job, "state"))).collect();
            let settled = ["succeeded", "failed", "cancelled", "expired", "held"];
            if jobs.len() == count && jobs.iter().all(|job| settled.contains(&text(job, "state").as_str())) {
                return states;
            }
            if start.elapsed() >= TIMEOUT {
                let others: Vec<_> =
                    jobs.iter().filter(|job| !settled.contains(&text(job, "state").as_str())).collect();
                panic!("not settled after {TIMEOUT:?}: {others:#?}\n{}", self.output());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn all_jobs(&self) -> Vec<Value> {
        let (mut jobs, mut cursor) = (Vec::new(), String::new());
        loop {
            let (_, page) = self.get(&format!("/api/v1/jobs?limit=500{cursor}")).await;
            jobs.extend(page["jobs"].as_array().cloned().unwrap_or_default());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return jobs,
            }
        }
    }

    /// Kills the daemon with SIGKILL.
    pub fn kill(&mut self) {
        let mut daemon = self.daemon.take().expect("the daemon is running");
        daemon.child.kill().unwrap();
        daemon.child.wait().unwrap();
    }

    /// The daemon's process id.
    pub fn pid(&self) -> u32 {
        self.running().child.id()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.running().child.id()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Stops the daemon with SIGTERM. Returns its exit code.
    pub async fn stop(&mut self) -> Option<i32> {
        self.signal(rustix::process::Signal::TERM);
        let mut daemon = self.daemon.take().expect("the daemon is running");
        tokio::task::spawn_blocking(move || daemon.child.wait().unwrap().code()).await.unwrap()
    }

    /// Ends every story: stops the daemon, runs the checker, and searches for secrets in what people can see.
    pub async fn finish(mut self) {
        if self.daemon.is_some() {
            let line = std::fs::read(format!("/proc/{}/cmdline", self.pid())).unwrap();
            assert!(!String::from_utf8_lossy(&line).contains(KEY), "the key is in the process list");
            assert_eq!(self.stop().await, Some(0), "{}", self.output());
        }
        self.check_invariants();
        self.check_secrets();
    }

    /// What the checker finds wrong, given the harness's own `log`. The daemon must not be running.
    pub fn violations(&self, log: &checker::HarnessLog, when: checker::When) -> Vec<checker::Violation> {
        let (ledger, output) = (self.sandbox.ledger(), self.output());
        let mut log = log.clone();
        log.canaries.push(("the API key".to_owned(), KEY.to_owned()));
        let secrets = std::fs::read_to_string(self.path("callback.secret")).unwrap_or_default();
        for secret in secrets.lines() {
            log.canaries.push(("a callback secret".to_owned(), secret.to_owned()));
        }
        for (job, charges) in &self.charges_allowed {
            *log.extra_charges.entry(job.clone()).or_default() += u32::try_from(charges - 1).unwrap();
        }
        let data_dir = self.path("");
        checker::check(&checker::Evidence {
            data_dir: &data_dir,
            ledger: &ledger,
            log: &log,
            output: &output,
            when,
        })
    }

    fn check_invariants(&self) {
        if self.database_rolled_back || !self.path("dropreel.db").exists() {
            return;
        }
        let broken = self.violations(&checker::HarnessLog::default(), checker::When::Always);
        let broken: Vec<String> = broken.iter().map(ToString::to_string).collect();
        assert!(broken.is_empty(), "{}\n{}", broken.join("\n"), self.output());
    }

    fn check_secrets(&self) {
        let output = self.output();
        let mut places = vec![("the log", output.clone())];
        for folder in ["videos", "rejected", "quarantine"] {
            for file in files_below(&self.path(folder)) {
                if file.extension().is_some_and(|ending| ending == "json") {
                    places.push(("a file for people", std::fs::read_to_string(file).unwrap()));
                }
            }
        }
        for (place, text) in places {
            assert!(!text.contains("/callbacks/"), "a callback address is in {place}");
            assert!(!text.contains("sig="), "a link is in {place}");
        }
        assert!(!output.contains("a bug:"), "the log has a bug:\n{output}");
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            let _ = daemon.child.kill();
            let _ = daemon.child.wait();
        }
    }
}

async fn read(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
    for secret in [KEY, "/callbacks/", "sig="] {
        assert!(!text.contains(secret), "`{secret}` is in an answer: {text}");
    }
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

fn addresses(line: &str) -> Option<(String, String)> {
    let after = |marker: &str| {
        let rest = line.split(marker).nth(1)?;
        Some(rest.split([',', ' ']).next()?.to_owned())
    };
    Some((after("admin at ")?, after("callbacks at ")?))
}

pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in entries.map(Result::unwrap) {
        if entry.path().is_dir() {
            files.extend(files_below(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files.sort();
    files
}
