//! For tests in which the daemon may die at any moment: nothing here takes for granted that it is there.

use std::collections::BTreeSet;
use std::process::{Child, ExitStatus};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::Value;

use super::{Rig, Running};

/// Below the ports that the system gives out by itself, so that nobody takes one between two lives of a daemon.
static NEXT_PORT: AtomicU16 = AtomicU16::new(0);

impl Rig {
    /// Gives the public listener one port for all lives, so that callbacks find it again after a death.
    pub fn keep_public_port(&mut self) {
        let kept = KeptPort::find();
        let port = kept.0;
        self.set("CALLBACKS__LISTEN", &format!("127.0.0.1:{port}"));
        self.set("CALLBACKS__PUBLIC_URL", &format!("http://127.0.0.1:{port}"));
        self.kept_port = Some(kept);
    }

    /// Starts a daemon that is killed after so long, whatever it does then; an error if it ends before it is ready.
    pub async fn start_and_kill_after(&mut self, after: Duration) -> Result<(), ExitStatus> {
        let (mut child, ready) = self.launch();
        kill_later(&child, after);
        match ready.await {
            Ok((admin, public)) => {
                self.daemon = Some(Running { child, admin, public });
                Ok(())
            }
            Err(_) => Err(child.wait().unwrap()),
        }
    }

    /// Has the daemon that runs killed after so long, whatever it does then.
    pub fn doom(&self, after: Duration) {
        kill_later(&self.running().child, after);
    }

    /// Forgets a variable.
    pub fn unset_plain(&mut self, key: &str) {
        self.settings.remove(key);
    }

    /// Whether there is a daemon that lives.
    pub fn lives(&mut self) -> bool {
        self.daemon.as_mut().is_some_and(|daemon| daemon.child.try_wait().unwrap().is_none())
    }

    /// How the daemon ended, if it has.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        let status = self.daemon.as_mut()?.child.try_wait().unwrap()?;
        self.daemon = None;
        Some(status)
    }

    /// A request to the admin listener; `None` if nobody answers.
    pub async fn try_get(&self, path: &str) -> Option<(u16, Value)> {
        let admin = &self.daemon.as_ref()?.admin;
        self.ask(self.http.get(format!("{admin}{path}"))).await
    }

    /// An action through the admin listener; `None` if nobody answers.
    pub async fn try_post(&self, path: &str, body: String) -> Option<(u16, Value)> {
        let admin = &self.daemon.as_ref()?.admin;
        let request = self.http.post(format!("{admin}{path}"));
        self.ask(request.header("content-type", "application/json").body(body)).await
    }

    /// A callback of the harness's own; `None` if nobody answers.
    pub async fn try_send_callback(&self, job: &str, token: &str, body: String) -> Option<u16> {
        let public = &self.daemon.as_ref()?.public;
        let request = self.http.post(format!("{public}/callbacks/{job}/{token}")).body(body);
        Some(self.ask(request).await?.0)
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> Option<(u16, Value)> {
        let answer = request.timeout(Duration::from_secs(10)).send().await.ok()?;
        let status = answer.status().as_u16();
        let text = answer.text().await.ok()?;
        Some((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }
}

fn kill_later(child: &Child, after: Duration) {
    // Not the number, which may be another's by then.
    let victim = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).unwrap();
    std::thread::spawn(move || {
        std::thread::sleep(after);
        let _ = pidfd_send_signal(&victim, Signal::KILL);
    });
}

/// A port that no other rig of this process gets while this one lives, whether or not somebody listens there just now.
#[derive(Debug)]
pub struct KeptPort(u16);

static KEPT: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

impl KeptPort {
    fn find() -> Self {
        // Below the range from which the system takes ports, and apart from other test processes.
        let first = 10_000 + u16::try_from(std::process::id() % 40).unwrap() * 500;
        loop {
            let port = first + NEXT_PORT.fetch_add(1, Ordering::Relaxed) % 500;
            // Asked before it is tried: a try would be in the way of a daemon that is just coming back.
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
