//! The admin server over real sockets.

mod control;
mod estimate;
mod growth;
mod http;
mod jobs;
mod lists;
mod models;
mod page;
mod prune;
mod stream;
mod videos;

use std::sync::Arc;

use parking_lot::RwLock;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::*;
use crate::clock::Clock;
use crate::heartbeats::{Heartbeats, STALLED_AFTER};
use crate::job::JobId;
use crate::job::budget::Budgets;
use crate::job::event::{Event, OperatorAction};
use crate::job::suspension::{Suspension, SuspensionCause};
use crate::jobfile;
use crate::jobfile::Draft;
use crate::library::Library;
use crate::money::Quota;
use crate::pictures::PictureFolder;
use crate::provider::balance::SharedBalance;
use crate::provider::catalogue::SharedCatalogue;
use crate::rng::Rng;
use crate::secret::{CallbackSecrets, Secret};
use crate::server::connection_limits::ConnectionTimeouts;
use crate::server::rig::{NOW, Rig, TestResponse, TestServer, draft};
use crate::settings;
use crate::watchers::Watchers;

/// An admin server with default settings, in the rig's folder.
fn admin_server(rig: &Rig, shutdown: watch::Receiver<bool>) -> AdminServer {
    let folder = rig.folder.path();
    let config = folder.join("config.toml");
    std::fs::write(&config, "").unwrap();
    let environment = [
        ("DROPREEL_DATA_DIR", folder.to_owned()),
        ("DROPREEL_LIBRARY__DIR", folder.join("videos")),
        ("DROPREEL_INBOX__DIR", "/srv/inbox".into()),
    ];
    let environment = environment.into_iter().collect();
    let settings = settings::load(Some(&config), &environment, settings::Purpose::Offline).unwrap();
    let library =
        Library::open(&settings.library.dir, settings.library.mode, folder, &Rng::seeded(1)).unwrap();
    AdminServer {
        store: rig.store.clone(),
        clock: Clock::machine(),
        settings: Arc::new(settings),
        file_limits: jobfile::JobFileLimits { max_bytes: 2048, max_stream_bytes: 8192, ..Default::default() },
        rng: Rng::seeded(1),
        adopt: Some(Arc::new(|_, _| Box::pin(async { Ok((Vec::new(), Vec::new())) }))),
        catalogue: SharedCatalogue::new(Clock::machine()),
        balance: SharedBalance::new(Clock::machine()),
        wanted_quotes: None,
        library,
        pictures: PictureFolder::new(folder.join("pictures")),
        heartbeats: Heartbeats::new(Clock::machine()),
        watchers: Watchers::new(Clock::machine()),
        callback_secrets: Arc::new(RwLock::new(CallbackSecrets::new(Secret::new("first"), Vec::new()))),
        shutdown,
    }
}

struct TestAdmin {
    rig: Rig,
    server: TestServer,
    shutdown: watch::Sender<bool>,
}

impl TestAdmin {
    fn start() -> Self {
        Self::start_with(|_| {})
    }

    fn start_with(change: impl FnOnce(&mut AdminServer)) -> Self {
        Self::on(Rig::new(), change)
    }

    fn on(rig: Rig, change: impl FnOnce(&mut AdminServer)) -> Self {
        let (shutdown, stopped) = watch::channel(false);
        let mut admin = admin_server(&rig, stopped);
        change(&mut admin);
        let server = TestServer::start(|listener| serve(listener, admin).unwrap());
        Self { rig, server, shutdown }
    }

    async fn get(&self, path: &str) -> TestResponse {
        self.server.send(&format!("GET {path}"), "").await
    }

    async fn post(&self, path: &str, body: &str) -> TestResponse {
        self.server.send(&format!("POST {path}\nContent-Type: application/json"), body).await
    }

    async fn post_lines(&self, path: &str, body: &str) -> TestResponse {
        self.server.send(&format!("POST {path}\nContent-Type: application/x-ndjson"), body).await
    }

    async fn add_jobs(&self, names: &[&str]) -> Vec<JobId> {
        self.rig.add_jobs(names.iter().map(|name| draft(name)).collect()).await
    }

    async fn act(&self, job: JobId, action: OperatorAction) {
        self.rig.store.apply(job, Event::Operator(action), NOW).await.unwrap();
    }
}

/// Asserts that the answer is a problem (RFC 9457) with this status and text.
#[track_caller]
fn assert_problem(answer: &TestResponse, status: u16, detail: &str) -> Value {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    let problem = answer.json();
    assert_eq!(problem["status"], status);
    assert!(problem["type"].is_string() && problem["title"].is_string(), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains(detail), "{problem}");
    problem
}

fn names(list: &Value) -> Vec<&str> {
    list["jobs"].as_array().unwrap().iter().map(|job| job["name"].as_str().unwrap()).collect()
}
