//! What must hold once all faults have ended.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dropreel::sha256::sha256_hex;
use serde_json::Value;

use crate::cluster::{Cluster, SETTLED, TIMEOUT};
use crate::node::{CANARIES, Node};
use crate::support::checker::{self, Evidence, HarnessLog, Limits, Snapshot, When};
use crate::support::files_below;
use crate::{bucket, network};

/// Costs that are not final, sidecars that do not say them, and callbacks that are not processed.
const UNSETTLED: &str = "SELECT (SELECT count(*) FROM jobs WHERE settlement_at IS NOT NULL)
    + (SELECT count(*) FROM attempts WHERE settlement_at IS NOT NULL)
    + (SELECT count(*) FROM outdated_sidecars) + (SELECT count(*) FROM deliveries WHERE processed = 0)";

/// The most tasks at the provider at one time, whichever node leads. So few that jobs wait for their turn.
pub const MAX_RUNNING: usize = 4;

impl Cluster {
    /// The number that a query returns; `None`: the server does not answer.
    async fn query(&self, sql: &str) -> Option<i64> {
        let address = format!("postgres://dropreel@{}/{}", network::DATABASE, self.name);
        let (client, connection) = tokio_postgres::connect(&address, tokio_postgres::NoTls).await.ok()?;
        let connection = tokio::spawn(connection);
        let found = client.query_one(sql, &[]).await.map(|row| row.get(0));
        connection.abort();
        Some(found.unwrap_or_else(|error| panic!("{error:?}")))
    }

    /// Waits until all these jobs are there, and every job is settled. Returns all jobs.
    pub async fn until_settled(&self, names: &BTreeSet<String>) -> Vec<Value> {
        let start = Instant::now();
        loop {
            self.until_healthy().await;
            let jobs = self.jobs().await.unwrap_or_default();
            let found: BTreeSet<&str> = jobs.iter().filter_map(|job| job["name"].as_str()).collect();
            let missing: Vec<_> = names.iter().filter(|name| !found.contains(name.as_str())).collect();
            let is_settled = |job: &&Value| SETTLED.contains(&job["state"].as_str().unwrap());
            let unsettled: Vec<_> = jobs.iter().filter(|job| !is_settled(job)).collect();
            let inboxes: Vec<_> = self.nodes.iter().flat_map(|node| files_below(&node.inbox())).collect();
            let is_quiet = missing.is_empty() && unsettled.is_empty() && inboxes.is_empty();
            if is_quiet && self.query(UNSETTLED).await == Some(0) {
                return jobs;
            }
            assert!(
                start.elapsed() < TIMEOUT,
                "not settled: {missing:?} are missing, {inboxes:?} are in inboxes, and {unsettled:#?}\n{}",
                self.logs()
            );
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// Checks all invariants, with the database as a file beside the folders of each node, and every video in the bucket. The
    /// nodes must be stopped.
    pub async fn check(&self) {
        let state = self.copy_state();
        let mut wrong = Vec::new();
        for node in &self.nodes {
            let fatal = node.fatal_ends();
            assert!(fatal.is_empty(), "node {} ended with {fatal:?}\n{}", node.number, node.last_lines());
            assert!(!node.output().contains("a bug:"), "{}", node.output());
            let found = self.violations(node, &state);
            wrong.extend(found.iter().map(|violation| format!("node {}: {violation}", node.number)));
        }
        let snapshot = Snapshot::take(&self.node(1).data_dir).unwrap();
        wrong.extend(self.payments(&snapshot));
        wrong.extend(self.lost_videos(&snapshot, |_| true).await);
        assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), self.logs());
    }

    /// Checks that of every task that the database knows each video is in the bucket. It lacks the tasks that a server has lost.
    /// The nodes must be stopped. Returns how many it knows.
    pub async fn check_known_videos(&self) -> usize {
        place(&self.copy_state(), &self.node(1).data_dir);
        let snapshot = Snapshot::take(&self.node(1).data_dir).unwrap();
        let known: BTreeSet<_> = snapshot.outputs.iter().map(|row| row.text("task_id")).collect();
        let lost = self.lost_videos(&snapshot, |task| known.contains(task)).await;
        assert!(lost.is_empty(), "{}\n{}", lost.join("\n"), self.logs());
        known.len()
    }

    /// The database in a file.
    fn copy_state(&self) -> PathBuf {
        let state = self.folder.path().join("state.db");
        let migrated = self.node(1).command(&["migrate", "--to", state.to_str().unwrap()]).output().unwrap();
        assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
        state
    }

    fn violations(&self, node: &Node, state: &Path) -> Vec<checker::Violation> {
        place(state, &node.data_dir);
        let canaries = CANARIES.iter().map(|(name, secret)| ((*name).to_owned(), (*secret).to_owned()));
        // A leader that was killed may have polled a moment before the next one does.
        let (spacing, in_flight) = (Duration::ZERO, Duration::from_secs(1));
        let limits =
            Limits { submit_spacing: spacing, poll_spacing: spacing, max_running: MAX_RUNNING, in_flight };
        let log = HarnessLog { canaries: canaries.collect(), limits: Some(limits), ..HarnessLog::default() };
        checker::check(&Evidence {
            data_dir: &node.data_dir,
            ledger: &self.sandbox.ledger(),
            log: &log,
            output: &node.output(),
            when: When::Finally,
        })
    }

    /// Jobs that were paid twice, under one id or two.
    fn payments(&self, snapshot: &Snapshot) -> Vec<String> {
        let text = |job: &checker::Row, key: &str| job.text(key).to_owned();
        let names = snapshot.jobs.iter().map(|job| (text(job, "id"), text(job, "name"))).collect();
        self.paid_twice(&names)
    }

    /// Tasks of jobs with the same name, and of jobs that nobody knows.
    pub fn paid_twice(&self, names: &BTreeMap<String, String>) -> Vec<String> {
        let mut paid = BTreeSet::new();
        let ledger = self.sandbox.ledger();
        let tasks = ledger.tasks.iter().filter_map(|task| {
            let job = task.key.as_deref()?.split('.').next()?;
            let Some(name) = names.get(job) else {
                return Some(format!("task {} is of a job that nobody knows: {job}", task.task_id));
            };
            (!paid.insert(name)).then(|| format!("{name} is paid twice"))
        });
        tasks.collect()
    }

    /// What was paid for and is not in the bucket, whole and with its sidecar.
    async fn lost_videos(&self, snapshot: &Snapshot, is_expected: impl Fn(&str) -> bool) -> Vec<String> {
        let mut lost = Vec::new();
        for task in self.sandbox.ledger().tasks.iter().filter(|task| is_expected(&task.task_id)) {
            let rows = || snapshot.outputs.iter().filter(|row| row.text("task_id") == task.task_id);
            let stored = || rows().filter(|row| row.text("state") == "stored");
            if stored().count() != task.outputs.len() {
                lost.push(format!("of task {} {} outputs are stored", task.task_id, stored().count()));
            }
            for row in stored() {
                let (key, sha256) =
                    (format!("{}/{}", row.text("bucket"), row.text("path")), row.text("sha256"));
                let key = key.trim_start_matches("s3://");
                let video = bucket::object(key).await.unwrap_or_default();
                let sidecar = bucket::object(&format!("{key}.json")).await.unwrap_or_default();
                let sidecar: Value = serde_json::from_slice(&sidecar).unwrap_or_default();
                let is_of_task = task.outputs.iter().any(|output| output.sha256 == sha256);
                if sha256_hex(&video) != sha256 || sidecar["sha256"] != sha256 || !is_of_task {
                    lost.push(format!("{key} is not whole: {} bytes, {sidecar}", video.len()));
                }
            }
        }
        lost
    }
}

/// Puts a copy of the database into the data folder of a node.
fn place(state: &Path, data_dir: &Path) {
    let database = data_dir.join("dropreel.db");
    std::fs::copy(state, &database).unwrap();
    std::fs::set_permissions(&database, PermissionsExt::from_mode(0o600)).unwrap();
}
