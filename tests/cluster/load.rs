//! Jobs that arrive all the time, through inboxes and APIs of all nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dropreel::rng::Rng;
use tokio::task::{JoinHandle, JoinSet};

use crate::cluster::{Cluster, TIMEOUT};
use crate::node::Node;
use crate::support::quick;

/// What the provider does with the jobs. All of them succeed.
const PLANS: &[&str] = &[
    "",
    "run=2s",
    "submit=lost",
    "submit=slow:400ms",
    "callback=lost",
    "callback=copies:2",
    "media=reset:4KiB",
    "outputs=2",
];

/// What was accepted.
#[derive(Clone, Debug, Default)]
pub struct Accepted {
    pub names: BTreeSet<String>,
    /// The names of the jobs that the API has accepted, by their ids.
    pub by_id: BTreeMap<String, String>,
}

pub struct Load {
    stop: Arc<AtomicBool>,
    accepted: Arc<Mutex<Accepted>>,
    task: JoinHandle<()>,
}

impl Load {
    /// Jobs named `PREFIX-N`, at most this often.
    pub fn start(cluster: &Cluster, prefix: &str, seed: u64, every: Duration) -> Self {
        let (stop, accepted) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let nodes = cluster.nodes.clone();
        let arrival = Arrivals { nodes, accepted: Arc::clone(&accepted), prefix: prefix.to_owned() };
        let task = tokio::spawn(arrival.run(stop.clone(), Rng::seeded(seed), every));
        Self { stop, accepted, task }
    }

    pub fn count(&self) -> usize {
        self.accepted.lock().unwrap().names.len()
    }

    /// Waits until a number of further jobs has been accepted, or a while, where none is.
    pub async fn continue_for(&self, jobs: usize, at_most: Duration) {
        let (start, wanted) = (Instant::now(), self.count() + jobs);
        while self.count() < wanted && start.elapsed() < at_most {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends it. What is under way is accepted first.
    pub async fn end(self) -> Accepted {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        self.accepted.lock().unwrap().clone()
    }
}

struct Arrivals {
    nodes: Vec<Arc<Node>>,
    accepted: Arc<Mutex<Accepted>>,
    prefix: String,
}

impl Arrivals {
    async fn run(self, stop: Arc<AtomicBool>, rng: Rng, every: Duration) {
        let (mut calls, mut number) = (JoinSet::new(), 0);
        while !stop.load(Ordering::Relaxed) {
            number += 1;
            let name = format!("{}-{number}", self.prefix);
            let choose = |count: usize| usize::try_from(rng.below(count as u64)).unwrap();
            let (node, content) = (self.nodes[choose(3)].clone(), quick(&name, PLANS[choose(PLANS.len())]));
            if choose(2) == 0 {
                if node.drop_file(&format!("{name}.json"), &content) {
                    self.accepted.lock().unwrap().names.insert(name);
                }
            } else {
                let call = Call { nodes: self.nodes.clone(), name, content };
                calls.spawn(call.until_accepted(node.number, self.accepted.clone()));
            }
            tokio::time::sleep(every.mul_f64(0.5 + rng.fraction())).await;
        }
        while let Some(ended) = calls.join_next().await {
            ended.unwrap();
        }
    }
}

/// A program that hands in a job, and tries again until it is accepted.
struct Call {
    nodes: Vec<Arc<Node>>,
    name: String,
    content: String,
}

impl Call {
    async fn until_accepted(self, first: usize, accepted: Arc<Mutex<Accepted>>) {
        let (start, mut node) = (Instant::now(), first);
        loop {
            let sent = self.nodes[node - 1].post("/api/v1/jobs", &self.name, self.content.clone());
            match sent.await {
                Some((status, answer)) if status < 300 => {
                    let mut accepted = accepted.lock().unwrap();
                    let id = answer["jobs"][0]["id"].as_str().unwrap_or_else(|| panic!("{answer:#}"));
                    accepted.by_id.insert(id.to_owned(), self.name.clone());
                    accepted.names.insert(self.name);
                    return;
                }
                Some((status, answer)) if status < 500 && status != 408 => panic!("{status}: {answer:#}"),
                // The outcome is not known, the node has no database, or it was stopped in the middle of the request.
                _ => {}
            }
            assert!(start.elapsed() < 2 * TIMEOUT, "{} is never accepted", self.name);
            // A proxy in front finds the next node.
            node = node % 3 + 1;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
}
