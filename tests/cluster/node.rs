//! One daemon in its network namespace. It is started again whenever it ends, as a service manager does.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::network;
use crate::support;

/// Between an end and the next start.
const RESTART: Duration = Duration::from_secs(1);
pub const SECRET_KEY: &str = "canary-secret-access-key";
const TOKEN: &str = "canary-admin-token-4711";
pub const CALLBACK_SECRET: &str = "canary-callback-secret-4711";
/// What must appear nowhere.
pub const CANARIES: &[(&str, &str)] = &[
    ("the API key", support::KEY),
    ("the secret key of the bucket", SECRET_KEY),
    ("the token", TOKEN),
    ("the callback secret", CALLBACK_SECRET),
];

pub struct Node {
    pub number: usize,
    pub data_dir: PathBuf,
    settings: BTreeMap<String, String>,
    state: Mutex<State>,
    output: Arc<Mutex<String>>,
    /// Where the output is after the test.
    log: PathBuf,
    http: reqwest::Client,
}

#[derive(Default)]
struct State {
    child: Option<Child>,
    /// Whether it is started when it does not run, and not before when.
    wanted: bool,
    restart_at: Option<Instant>,
    clock_ahead: bool,
    /// How the processes have ended that nobody ended.
    ends: Vec<ExitStatus>,
}

impl Node {
    /// `name` is that of the cluster.
    pub fn new(number: usize, name: &str, folder: &Path, database: &str, library: &str) -> Self {
        let data_dir = folder.join(format!("node-{number}"));
        let secret = |name: &str, text: &str| {
            let path = folder.join(format!("{name}-{number}"));
            std::fs::write(&path, format!("{text}\n")).unwrap();
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            path.display().to_string()
        };
        let address = network::address_of_node(number);
        let logs = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cluster").join(name);
        std::fs::create_dir_all(&logs).unwrap();
        let log = logs.join(format!("node-{number}.log"));
        File::create(&log).unwrap();
        let mut settings = support::settings(&data_dir, &format!("http://{}", network::PROVIDER));
        let own = [
            ("STORAGE__DATABASE", database.to_owned()),
            ("STORAGE__LIBRARY", library.to_owned()),
            ("STORAGE__ENDPOINT", format!("http://{}", network::BUCKET)),
            ("CALLBACKS__SECRET_FILE", secret("callback-secret", CALLBACK_SECRET)),
            ("CALLBACKS__LISTEN", format!("{address}:8787")),
            ("CALLBACKS__PUBLIC_URL", format!("http://{}", network::PROXY)),
            ("ADMIN__LISTEN", format!("{address}:8788")),
            ("ADMIN__TOKEN_FILE", secret("admin-token", TOKEN)),
        ];
        settings.extend(own.map(|(key, value)| (format!("DROPREEL_{key}"), value)));
        settings.insert("AWS_ACCESS_KEY_ID".to_owned(), "any".to_owned());
        settings.insert("AWS_SECRET_ACCESS_KEY".to_owned(), SECRET_KEY.to_owned());
        settings.insert("PATH".to_owned(), "/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]);
        Self {
            number,
            data_dir,
            settings,
            state: Mutex::default(),
            output: Arc::default(),
            log,
            http: http.connect_timeout(Duration::from_secs(1)).build().unwrap(),
        }
    }

    pub fn set(&mut self, key: &str, value: &str) {
        self.settings.insert(format!("DROPREEL_{key}"), value.to_owned());
    }

    /// The real binary in the node's network namespace.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        let namespace = network::namespace(&format!("node-{}", self.number));
        command.env_clear().envs(&self.settings).current_dir(self.data_dir.parent().unwrap());
        command.args(["netns", "exec", &namespace, env!("CARGO_BIN_EXE_dropreel")]).args(arguments);
        command
    }

    fn spawn(&self, clock_ahead: bool) -> Child {
        let mut command = self.command(&["serve"]);
        if clock_ahead {
            let library = std::env::var("DROPREEL_FAKETIME").expect("DROPREEL_FAKETIME: run ci/cluster");
            command.env("LD_PRELOAD", library).env("FAKETIME", "+600s");
            command.env("DONT_FAKE_MONOTONIC", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
            command.env("FAKETIME_DISABLE_SHM", "1");
        }
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (stderr, output) = (child.stderr.take().unwrap(), self.output.clone());
        let mut log = File::options().create(true).append(true).open(&self.log).unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = writeln!(log, "{line}");
                let mut output = output.lock().unwrap();
                output.push_str(&line);
                output.push('\n');
            }
        });
        child
    }

    /// Starts the daemon if it must run and does not. Called often.
    pub fn supervise(&self) {
        let mut state = self.state.lock().unwrap();
        if let Some(child) = &mut state.child
            && let Some(status) = child.try_wait().unwrap()
        {
            state.child = None;
            state.restart_at = Some(Instant::now() + RESTART);
            state.ends.push(status);
        }
        let is_time = state.restart_at.is_none_or(|at| at <= Instant::now());
        if state.child.is_none() && state.wanted && is_time {
            state.child = Some(self.spawn(state.clock_ahead));
        }
    }

    pub fn start(&self) {
        let mut state = self.state.lock().unwrap();
        (state.wanted, state.restart_at) = (true, None);
        drop(state);
        self.supervise();
    }

    pub fn set_clock_ahead(&self, ahead: bool) {
        self.state.lock().unwrap().clock_ahead = ahead;
    }

    /// Kills the daemon, which stays dead until it is started.
    pub fn kill(&self) {
        let mut state = self.state.lock().unwrap();
        state.wanted = false;
        if let Some(mut child) = state.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn signal(&self, signal: Signal) {
        if let Some(child) = &self.state.lock().unwrap().child {
            kill_process(Pid::from_child(child), signal).unwrap();
        }
    }

    /// Ends the daemon with SIGTERM. Returns its exit status; `None`: it did not run.
    pub async fn stop(self: &Arc<Self>) -> Option<ExitStatus> {
        self.signal(Signal::TERM);
        let child = {
            let mut state = self.state.lock().unwrap();
            state.wanted = false;
            state.child.take()
        };
        let mut child = child?;
        Some(tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap())
    }

    /// What the daemons have logged so far.
    pub fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// The end of the log, for a failure.
    pub fn last_lines(&self) -> String {
        let output = self.output();
        let skipped = output.lines().count().saturating_sub(40);
        let lines: Vec<&str> = output.lines().skip(skipped).collect();
        format!("the end of {}:\n{}\n", self.log.display(), lines.join("\n"))
    }

    /// How often a process ended by itself in a way that a service manager would not repair.
    pub fn fatal_ends(&self) -> Vec<ExitStatus> {
        let state = self.state.lock().unwrap();
        let is_fatal = |status: &&ExitStatus| status.code() == Some(2) || status.signal().is_some();
        state.ends.iter().filter(is_fatal).copied().collect()
    }

    /// How often a process ended by itself.
    pub fn ends(&self) -> usize {
        self.state.lock().unwrap().ends.len()
    }

    pub fn inbox(&self) -> PathBuf {
        self.data_dir.join("inbox")
    }

    /// Drops a job file, or returns that there is no inbox yet.
    pub fn drop_file(&self, name: &str, content: &str) -> bool {
        let unfinished = self.inbox().join(format!(".{name}"));
        std::fs::write(&unfinished, content)
            .and_then(|()| std::fs::rename(unfinished, self.inbox().join(name)))
            .is_ok()
    }

    /// A request to the admin listener. The status and the text of the answer; `None`: there was none.
    async fn send(&self, request: reqwest::RequestBuilder, within: Duration) -> Option<(u16, String)> {
        let answer = request.bearer_auth(TOKEN).timeout(within).send().await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}:8788{path}", network::address_of_node(self.number))
    }

    pub async fn get(&self, path: &str) -> Option<(u16, Value)> {
        let (status, text) = self.send(self.http.get(self.url(path)), Duration::from_secs(10)).await?;
        Some((status, serde_json::from_str(&text).unwrap_or_default()))
    }

    /// A POST with an idempotency key.
    pub async fn post(&self, path: &str, key: &str, body: String) -> Option<(u16, Value)> {
        let request = self.http.post(self.url(path)).header("content-type", "application/json");
        let request = request.header("idempotency-key", key).body(body);
        let (status, text) = self.send(request, Duration::from_secs(10)).await?;
        Some((status, serde_json::from_str(&text).unwrap_or_default()))
    }

    /// Whether it leads; `None`: it does not answer.
    pub async fn leads(&self) -> Option<bool> {
        let (_, text) = self.send(self.http.get(self.url("/metrics")), Duration::from_secs(1)).await?;
        Some(text.lines().any(|line| line == "dropreel_leads 1"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}
