//! Methods of the rig for tests in which the daemon may die at any moment. None of them expects it to be running.

use std::collections::BTreeSet;
use std::process::{Child, ExitStatus};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::Value;

use super::{Rig, Running};

/// Counts the ports given out. They are outside the range from which the system assigns ports, so that no other
/// process takes one while the daemon restarts.
static NEXT_PORT: AtomicU16 = AtomicU16::new(0);

impl Rig {
    /// Gives the public listener the same port at each start, so that callbacks arrive after a restart.
    pub fn keep_public_port(&mut self) {
        let kept = KeptPort::find();
        let port = kept.0;
        self.set("CALLBACKS__LISTEN", &format!("127.0.0.1:{port}"));
        self.set("CALLBACKS__PUBLIC_URL", &format!("http://127.0.0.1:{port}"));
        self.kept_port = Some(kept);
    }

    /// Whether the daemon leads; `None` without an answer.
    pub async fn leads(&self) -> Option<bool> {
        let (_, ready) = self.try_get("/readyz").await?;
        ready["leads"].as_bool()
    }

    /// Waits until the daemon leads.
    pub async fn until_leading(&self) {
        let began = std::time::Instant::now();
        while self.leads().await != Some(true) {
            assert!(began.elapsed() < Duration::from_secs(60), "it does not lead:\n{}", self.output());
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// Waits until the daemon ends by itself.
    pub async fn until_ended(&mut self) -> ExitStatus {
        loop {
            if let Some(status) = self.exit_status() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// The address of the public listener, also while the daemon does not run.
    pub fn public_address(&self) -> String {
        self.settings["DROPREEL_CALLBACKS__PUBLIC_URL"].clone()
    }

    pub fn library(&self) -> std::path::PathBuf {
        self.settings["DROPREEL_LIBRARY__DIR"].clone().into()
    }

    /// Whether the daemon uses the sandbox of this rig.
    pub fn is_provider(&self) -> bool {
        self.settings["DROPREEL_PROVIDER__BASE_URL"] == self.sandbox.base_url()
    }

    /// What a former daemon has logged does not count any more.
    pub fn forget_output(&self) {
        self.output.lock().unwrap().clear();
    }

    /// Gives the admin listener the same port at each start.
    pub fn keep_admin_port(&mut self) {
        let kept = KeptPort::find();
        self.set("ADMIN__LISTEN", &format!("127.0.0.1:{}", kept.0));
        self.kept_admin_port = Some(kept);
    }

    /// Starts a daemon and kills it after `after`, also during its start. An error if it ends before it is ready.
    pub async fn start_and_kill_after(&mut self, after: Duration) -> Result<(), ExitStatus> {
        let (mut child, ready) = self.spawn();
        kill_later(&child, after);
        match ready.await {
            Ok((admin, public)) => {
                self.daemon = Some(Running { child, admin, public });
                Ok(())
            }
            Err(_) => Err(child.wait().unwrap()),
        }
    }

    /// Kills the running daemon after `after`.
    pub fn kill_after(&self, after: Duration) {
        kill_later(&self.running().child, after);
    }

    /// Removes an environment variable.
    pub fn unset_variable(&mut self, key: &str) {
        self.settings.remove(key);
    }

    /// Whether the daemon is running.
    pub fn is_running(&mut self) -> bool {
        self.daemon.as_mut().is_some_and(|daemon| daemon.child.try_wait().unwrap().is_none())
    }

    /// The exit status of the daemon, if it has ended.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        let status = self.daemon.as_mut()?.child.try_wait().unwrap()?;
        self.daemon = None;
        Some(status)
    }

    /// A GET request to the admin listener; `None` without an answer.
    pub async fn try_get(&self, path: &str) -> Option<(u16, Value)> {
        let admin = &self.daemon.as_ref()?.admin;
        self.send(self.http.get(format!("{admin}{path}"))).await
    }

    /// A POST request to the admin listener; `None` without an answer.
    pub async fn try_post(&self, path: &str, body: String) -> Option<(u16, Value)> {
        let admin = &self.daemon.as_ref()?.admin;
        let request = self.http.post(format!("{admin}{path}"));
        self.send(request.header("content-type", "application/json").body(body)).await
    }

    /// A callback from the harness itself. Returns the status; `None` without an answer.
    pub async fn try_send_callback(&self, job: &str, token: &str, body: String) -> Option<u16> {
        let public = &self.daemon.as_ref()?.public;
        let request = self.http.post(format!("{public}/callbacks/{job}/{token}")).body(body);
        Some(self.send(request).await?.0)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Option<(u16, Value)> {
        let answer = request.timeout(Duration::from_secs(10)).send().await.ok()?;
        let status = answer.status().as_u16();
        let text = answer.text().await.ok()?;
        Some((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }
}

fn kill_later(child: &Child, after: Duration) {
    // Not by process id, which another process may have by then.
    let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).unwrap();
    std::thread::spawn(move || {
        std::thread::sleep(after);
        let _ = pidfd_send_signal(&process, Signal::KILL);
    });
}

/// A port reserved for one rig of this process, whether or not the daemon is listening.
#[derive(Debug)]
pub struct KeptPort(u16);

static KEPT: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

impl KeptPort {
    fn find() -> Self {
        // Below the range from which the system assigns ports; each test process has its own 500 ports.
        let first = 10_000 + u16::try_from(std::process::id() % 40).unwrap() * 500;
        loop {
            let port = first + NEXT_PORT.fetch_add(1, Ordering::Relaxed) % 500;
            // Reserve first: a bind on another rig's port would make its restarting daemon fail.
            if !KEPT.lock().unwrap().insert(port) {
                continue;
            }
            let kept = Self(port);
            if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return kept;
            }
        }
    }
}

impl Drop for KeptPort {
    fn drop(&mut self) {
        KEPT.lock().unwrap().remove(&self.0);
    }
}
