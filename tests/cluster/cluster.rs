//! Three nodes, the provider and its ledger.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dropreel::clock::Clock;
use dropreel::sandbox::{Options, Sandbox};
use futures_util::future::join_all;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::node::Node;
use crate::{bucket, network, proxy};

/// No wait takes this long unless something is wrong.
pub const TIMEOUT: Duration = Duration::from_secs(90);
/// States that only a person changes.
pub const SETTLED: &[&str] = &["succeeded", "failed", "cancelled", "expired", "held"];

pub struct Cluster {
    pub folder: tempfile::TempDir,
    pub sandbox: Sandbox,
    /// Node 1 to 3.
    pub nodes: Vec<Arc<Node>>,
    /// The name of the database, and the prefix in the bucket.
    pub name: String,
    /// The number of the node that leads, as far as it is known.
    pub leader: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<()>>,
}

impl Cluster {
    /// Starts three nodes on a new database. `settings` are for each.
    pub async fn start(name: &str, settings: &[(&str, &str)]) -> Self {
        network::database_server(&["database", name]).await;
        let listener = TcpListener::bind(network::PROVIDER).unwrap();
        let options = Options {
            queue_time: (Duration::from_millis(50), Duration::from_millis(100)),
            run_time: (Duration::from_millis(200), Duration::from_millis(500)),
            balance: dropreel::money::Quota::new(1_000_000_000_000),
            ..Options::default()
        };
        let sandbox = dropreel::sandbox::start(listener, options, Clock::machine()).await.unwrap();
        bucket::create().await;
        let folder = tempfile::tempdir().unwrap();
        let database = format!("postgres://dropreel@{}/{name}?sslmode=disable", network::DATABASE);
        let library = format!("s3://{}/{name}", bucket::NAME);
        let node = |number| {
            let mut node = Node::new(number, name, folder.path(), &database, &library);
            settings.iter().for_each(|(key, value)| node.set(key, value));
            Arc::new(node)
        };
        let nodes: Vec<_> = (1..=3).map(node).collect();
        let mut cluster = Self {
            sandbox,
            nodes,
            name: name.to_owned(),
            leader: Arc::new(AtomicUsize::new(1)),
            tasks: Vec::new(),
            folder,
        };
        cluster.tasks.push(tokio::spawn(proxy::run()));
        cluster.tasks.push(tokio::spawn(supervise(cluster.nodes.clone())));
        cluster.tasks.push(tokio::spawn(watch(cluster.nodes.clone(), cluster.leader.clone())));
        cluster.nodes.iter().for_each(|node| node.start());
        cluster.until_healthy().await;
        cluster
    }

    pub fn node(&self, number: usize) -> &Arc<Node> {
        &self.nodes[number - 1]
    }

    /// The end of all logs, for a failure.
    pub fn logs(&self) -> String {
        self.nodes.iter().map(|node| node.last_lines()).collect()
    }

    /// The nodes without this one.
    pub fn others(&self, number: usize) -> Vec<Arc<Node>> {
        self.nodes.iter().filter(|node| node.number != number).cloned().collect()
    }

    /// Waits until one of these leads. Returns which, and how long it took since `began`.
    pub async fn until_one_leads(&self, nodes: &[Arc<Node>], began: Instant) -> (usize, Duration) {
        loop {
            let leads = join_all(nodes.iter().map(|node| node.leads())).await;
            if let Some(place) = leads.iter().position(|leads| *leads == Some(true)) {
                self.leader.store(nodes[place].number, Ordering::Relaxed);
                return (nodes[place].number, began.elapsed());
            }
            assert!(began.elapsed() < TIMEOUT, "no node leads\n{}", self.logs());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until exactly one node leads and the others say that they do not. Returns which leads.
    pub async fn until_healthy(&self) -> usize {
        let start = Instant::now();
        loop {
            let leads = join_all(self.nodes.iter().map(|node| node.leads())).await;
            let leading = leads.iter().filter(|leads| **leads == Some(true)).count();
            if leading == 1 && leads.iter().all(Option::is_some) {
                let place = leads.iter().position(|leads| *leads == Some(true)).unwrap();
                self.leader.store(place + 1, Ordering::Relaxed);
                return place + 1;
            }
            assert!(start.elapsed() < TIMEOUT, "{leads:?} lead\n{}", self.logs());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// All jobs, as the leader lists them; `None` without an answer.
    pub async fn jobs(&self) -> Option<Vec<Value>> {
        let node = self.node(self.leader.load(Ordering::Relaxed));
        let (mut jobs, mut cursor) = (Vec::new(), String::new());
        loop {
            let (_, page) = node.get(&format!("/api/v1/jobs?limit=500{cursor}")).await?;
            jobs.extend(page["jobs"].as_array()?.iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Some(jobs),
            }
        }
    }

    /// The names of all jobs, by their ids.
    pub async fn names(&self) -> BTreeMap<String, String> {
        let text = |job: &Value, key: &str| job[key].as_str().unwrap().to_owned();
        loop {
            if let Some(jobs) = self.jobs().await {
                return jobs.iter().map(|job| (text(job, "id"), text(job, "name"))).collect();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Stops all nodes in good order, the leader last.
    pub async fn stop(&self) {
        let leader = self.until_healthy().await;
        for node in self.others(leader).iter().chain([self.node(leader)]) {
            let ended = node.stop().await;
            assert!(ended.is_some_and(|status| status.success()), "{ended:?}\n{}", node.last_lines());
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.nodes.iter().for_each(|node| node.kill());
    }
}

async fn supervise(nodes: Vec<Arc<Node>>) {
    loop {
        nodes.iter().for_each(|node| node.supervise());
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// Notes who leads.
async fn watch(nodes: Vec<Arc<Node>>, leader: Arc<AtomicUsize>) {
    loop {
        let leads = join_all(nodes.iter().map(|node| node.leads())).await;
        let leading: Vec<usize> = (1..=3).filter(|number| leads[number - 1] == Some(true)).collect();
        // The former one, which is cut off, may still say that it leads.
        if let Some(number) = leading.iter().find(|number| **number != leader.load(Ordering::Relaxed)) {
            leader.store(*number, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}
