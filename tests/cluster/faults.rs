//! What is broken while jobs arrive, and how it is repaired.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dropreel::rng::Rng;
use rustix::process::Signal;

use crate::cluster::Cluster;
use crate::network::{Cut, database_server};

/// A leader that is gone, cut off or stopped is replaced within 10 seconds.
const TAKEOVER: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    LeaderKilled,
    NodeKilled,
    LeaderCutFromDatabase,
    LeaderCutFromProvider,
    LeaderStopped,
    DatabaseKilled,
    DatabaseFull,
    BucketAway,
    ClockAhead,
}

impl Fault {
    pub const ALL: &[Self] = &[
        Self::LeaderKilled,
        Self::NodeKilled,
        Self::LeaderCutFromDatabase,
        Self::LeaderCutFromProvider,
        Self::LeaderStopped,
        Self::DatabaseKilled,
        Self::DatabaseFull,
        Self::BucketAway,
        Self::ClockAhead,
    ];
}

/// How long faults last.
#[derive(Clone, Copy, Debug)]
pub struct Lengths {
    pub stop: Duration,
    pub outage: Duration,
    pub bucket_away: Duration,
}

impl Lengths {
    pub const SHORT: Self = Self {
        stop: Duration::from_secs(15),
        outage: Duration::from_secs(4),
        bucket_away: Duration::from_secs(6),
    };
    pub const LONG: Self = Self {
        stop: Duration::from_secs(60),
        outage: Duration::from_secs(60),
        bucket_away: Duration::from_secs(240),
    };
}

/// What was done, and how long it took until a node led.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub counts: BTreeMap<&'static str, u32>,
    pub takeovers: BTreeMap<Fault, Duration>,
}

impl Report {
    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn took(&mut self, fault: Fault, took: Duration) {
        let longest = self.takeovers.entry(fault).or_default();
        *longest = took.max(*longest);
    }

    /// Fails if another node led too late after a leader was gone.
    pub fn check(&self) {
        use Fault::{LeaderCutFromDatabase, LeaderKilled, LeaderStopped};
        for fault in [LeaderKilled, LeaderCutFromDatabase, LeaderStopped] {
            let took = self.takeovers.get(&fault).copied().unwrap_or_default();
            assert!(took <= TAKEOVER, "after {fault:?}, another node led only after {took:?}");
        }
    }
}

impl Fault {
    /// Lets it happen, and waits until exactly one node leads and all answer.
    pub async fn run(self, cluster: &Cluster, lengths: &Lengths, rng: &Rng, report: &mut Report) {
        let leader = cluster.until_healthy().await;
        tokio::time::sleep(Duration::from_millis(300 + rng.below(1200))).await;
        let (node, others, began) = (cluster.node(leader), cluster.others(leader), Instant::now());
        match self {
            Self::LeaderKilled => {
                node.kill();
                report.took(self, cluster.until_one_leads(&others, began).await.1);
                node.start();
                report.count("kill");
            }
            Self::NodeKilled => {
                let any = cluster.node(1 + usize::try_from(rng.below(3)).unwrap());
                any.kill();
                tokio::time::sleep(Duration::from_millis(rng.below(2000))).await;
                any.start();
                report.count("kill");
            }
            Self::LeaderCutFromDatabase => {
                let cut = match rng.below(2) {
                    0 => Cut::node_from_database(leader),
                    _ => Cut::database_from_node(leader),
                };
                report.took(self, cluster.until_one_leads(&others, began).await.1);
                tokio::time::sleep(Duration::from_secs(1)).await;
                drop(cut);
                report.count("cut");
            }
            Self::LeaderCutFromProvider => {
                let cut = Cut::node_from_provider(leader);
                tokio::time::sleep(lengths.outage).await;
                drop(cut);
                report.count("cut");
            }
            Self::LeaderStopped => {
                node.signal(Signal::STOP);
                report.took(self, cluster.until_one_leads(&others, began).await.1);
                tokio::time::sleep(lengths.stop.saturating_sub(began.elapsed())).await;
                node.signal(Signal::CONT);
                report.count("stop");
            }
            Self::DatabaseKilled => {
                database_server(&["crash"]).await;
                tokio::time::sleep(Duration::from_millis(rng.below(3000))).await;
                database_server(&["start"]).await;
                report.took(self, cluster.until_one_leads(&cluster.nodes, Instant::now()).await.1);
                report.count("kill of the database");
            }
            Self::DatabaseFull => {
                database_server(&["fill"]).await;
                tokio::time::sleep(lengths.outage).await;
                database_server(&["free"]).await;
                report.took(self, cluster.until_one_leads(&cluster.nodes, Instant::now()).await.1);
                report.count("full disk");
            }
            Self::BucketAway => {
                let cut = Cut::bucket();
                tokio::time::sleep(lengths.bucket_away).await;
                drop(cut);
                report.count("outage of the bucket");
            }
            Self::ClockAhead => {
                // It must lead, or its clock says nothing.
                for other in &others {
                    other.stop().await;
                }
                node.stop().await;
                node.set_clock_ahead(true);
                node.start();
                cluster.until_one_leads(std::slice::from_ref(node), began).await;
                others.iter().for_each(|other| other.start());
                tokio::time::sleep(lengths.outage).await;
                node.set_clock_ahead(false);
                node.stop().await;
                node.start();
                report.count("clock ahead");
            }
        }
        cluster.until_healthy().await;
    }
}
