//! Decides which downloads begin and which give way, so that no host stops the others. Pure: time and bytes come in.
//!
//! There are two pools of slots. The fast pool has `downloads.concurrency` slots, for hosts and jobs that have done nothing
//! wrong. The slow pool has more, because what runs in it hardly sends anything: silent hosts, slow ones, and unknown hosts
//! that are tried while the fast pool is full. A download that becomes slow while others wait moves to the slow pool, and
//! one that becomes fast moves back. A download that finds the slow pool full, or holds it up, gives way: its part stays,
//! and it is resumed later.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::job::JobId;

/// Bytes per second below which a download is slow, if others wait.
pub(super) const SLOW: u64 = 32 << 10;
/// How often a running download is reviewed.
pub(super) const REVIEW: Duration = Duration::from_millis(250);
/// How long a silent download keeps a slot of the slow pool that others wait for. Each turn doubles with each time the
/// job gave way, so that a host that needs long, or a line that is slow for everybody, is waited for in the end.
const SILENCE: Duration = Duration::from_secs(2);
/// The same for a download that sends something: if it can be resumed, and if it would have to begin again.
const TURN: Duration = Duration::from_secs(10);
const LONG_TURN: Duration = Duration::from_secs(600);
/// A host that has worked becomes a slow one after this many slow downloads in a row.
const MAX_TROUBLES: u32 = 8;
/// How many hosts and jobs are remembered.
const MAX_REMEMBERED: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pool {
    Fast,
    Slow,
}

/// A job that waits for its download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WaitingDownload {
    pub job: JobId,
    /// The host and port of its link.
    pub host: String,
}

/// What a running download did since its last review.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// Since it began.
    pub elapsed: Duration,
    /// Bytes since it began.
    pub received: u64,
    /// Bytes per second since the last review.
    pub speed: u64,
    /// Whether a later try can resume it.
    pub resumable: bool,
}

impl Progress {
    /// Whether it has been slow altogether. If it gave way because of a moment's pause, it would wait for nothing.
    fn is_slow_so_far(&self) -> bool {
        u128::from(self.received) * 1000 < u128::from(SLOW) * self.elapsed.as_millis()
    }
}

/// What becomes of a running download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Review {
    Continues,
    /// It has changed to this pool.
    Moved(Pool),
    /// It ends, to be tried again later.
    GivesWay,
}

/// How a download ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// All bytes arrived, fast enough.
    Fast,
    /// All bytes arrived, slowly.
    Slow,
    /// It took long and failed, or gave way.
    Wasted,
    /// It gave way before it could show its speed. On a busy machine, or far from its host, a healthy one may: it has its
    /// next turn before those that wasted more.
    Tried,
    /// It failed at once, or was stopped: that costs nobody anything.
    Quick,
}

#[derive(Debug, Default)]
struct Host {
    fast: usize,
    slow: usize,
    /// Downloads in a row that wasted time.
    troubles: u32,
    /// The last download was fast.
    proven: bool,
    /// Its share of the slow pool is full, and another download waits for it.
    crowded: bool,
}

impl Host {
    fn running(&self) -> usize {
        self.fast + self.slow
    }

    fn is_troubled(&self) -> bool {
        !self.proven && (self.troubles > 0 || self.slow > 0)
    }
}

/// The slots, and what is known of hosts and jobs. Forgotten at a restart.
#[derive(Debug)]
pub(super) struct Fairness {
    fast_slots: usize,
    slow_slots: usize,
    fast: usize,
    slow: usize,
    hosts: BTreeMap<String, Host>,
    /// How often each job's download wasted time.
    jobs: BTreeMap<JobId, u32>,
    /// Whether a download waits for a slot of the fast pool, and of the slow pool.
    crowded: bool,
    slow_crowded: bool,
}

impl Fairness {
    pub fn new(concurrency: usize) -> Self {
        let fast_slots = concurrency.max(1);
        Self {
            fast_slots,
            slow_slots: (8 * fast_slots).clamp(16, 64),
            fast: 0,
            slow: 0,
            hosts: BTreeMap::new(),
            jobs: BTreeMap::new(),
            crowded: false,
            slow_crowded: false,
        }
    }

    /// How many downloads can run at once, in both pools.
    pub fn slots(&self) -> usize {
        self.fast_slots + self.slow_slots
    }

    pub fn running(&self) -> usize {
        self.fast + self.slow
    }

    pub fn has_fast_slot(&self) -> bool {
        self.fast < self.fast_slots
    }

    /// Whether a download waits for a slot.
    pub fn is_crowded(&self) -> bool {
        self.crowded || self.slow_crowded || self.hosts.values().any(|host| host.crowded)
    }

    /// Gives the free slots to waiting downloads, which are ordered by the expiry of their links. No more
    /// than `most_fast` run in the fast pool then. Returns which, by their position.
    pub fn admit(&mut self, waiting: &[WaitingDownload], most_fast: usize) -> Vec<(usize, Pool)> {
        let mut admitted = Vec::new();
        let (mut slow_ones, fast_ones): (Vec<_>, Vec<_>) =
            (0..waiting.len()).partition(|&at| self.is_slow(&waiting[at]));
        let mut left = self.admit_fast(waiting, fast_ones, most_fast, &mut admitted);
        self.crowded = !left.is_empty();
        // Slow or silent links say nothing about other links of their host: these have their try in what is left.
        let probes = (self.fast_slots / 2).max(1);
        let mut probing: usize =
            self.hosts.values().filter(|host| host.is_troubled()).map(|host| host.fast).sum();
        slow_ones.retain(|&at| {
            if self.jobs.contains_key(&waiting[at].job) {
                return true;
            }
            if self.fast >= most_fast.min(self.fast_slots) || probing >= probes {
                self.crowded = true;
                return true;
            }
            probing += 1;
            self.begin(&waiting[at].host, Pool::Fast);
            admitted.push((at, Pool::Fast));
            false
        });
        // An unknown host is tried beside the fast pool, with one download: it may be the only one that works.
        let mut tried = BTreeSet::new();
        let is_unknown = |at: &usize| {
            let host = self.hosts.get(&waiting[*at].host);
            host.is_none_or(|host| !host.proven && host.running() == 0)
        };
        left.retain(|at| is_unknown(at) && tried.insert(&waiting[*at].host));
        let mut slow_ones: Vec<_> = left.into_iter().chain(slow_ones).collect();
        // Who has wasted least first; among these, as they come.
        slow_ones.sort_by_key(|&at| (self.wasted(&waiting[at]), at));
        self.slow_crowded = false;
        self.hosts.values_mut().for_each(|host| host.crowded = false);
        for at in slow_ones {
            let host = &waiting[at].host;
            if self.slow == self.slow_slots {
                self.slow_crowded = true;
                break;
            }
            let share = self.slow_share();
            match self.hosts.get_mut(host) {
                Some(known) if known.slow >= share => known.crowded = true,
                _ => {
                    self.begin(host, Pool::Slow);
                    admitted.push((at, Pool::Slow));
                }
            }
        }
        admitted
    }

    /// [Admits](Self::admit) one more download of a running job. Who waited before still waits.
    pub fn admit_one(&mut self, download: &WaitingDownload) -> Option<Pool> {
        let before = (self.crowded, self.slow_crowded);
        let crowded: Vec<_> =
            self.hosts.iter().filter(|(_, host)| host.crowded).map(|(name, _)| name.clone()).collect();
        let admitted = self.admit(std::slice::from_ref(download), usize::MAX).pop();
        self.crowded |= before.0;
        self.slow_crowded |= before.1;
        for name in crowded {
            self.hosts.entry(name).or_default().crowded = true;
        }
        admitted.map(|(_, pool)| pool)
    }

    /// Fills the fast pool, and returns who found no slot.
    fn admit_fast(
        &mut self,
        waiting: &[WaitingDownload],
        candidates: Vec<usize>,
        most_fast: usize,
        admitted: &mut Vec<(usize, Pool)>,
    ) -> Vec<usize> {
        let hosts: BTreeSet<_> = candidates.iter().map(|&at| waiting[at].host.as_str()).collect();
        let is_proven = |this: &Self, host: &str| this.hosts.get(host).is_some_and(|host| host.proven);
        let proven_wait = hosts.iter().any(|host| is_proven(self, host));
        let share = if hosts.len() > 1 { self.fast_slots.div_ceil(2) } else { self.fast_slots };
        let unproven_share = (self.fast_slots / 4).max(1);
        let most = most_fast.min(self.fast_slots);
        let mut left = candidates;
        // First each host up to its share, then whoever is next.
        for fair in [true, false] {
            let mut unproven: usize =
                self.hosts.values().filter(|host| !host.proven).map(|host| host.fast).sum();
            left.retain(|&at| {
                let host = &waiting[at].host;
                let proven = is_proven(self, host);
                let has_share = self.hosts.get(host).is_none_or(|known| known.fast < share)
                    && (proven || !proven_wait || unproven < unproven_share);
                if self.fast >= most || (fair && !has_share) {
                    return true;
                }
                unproven += usize::from(!proven);
                self.begin(host, Pool::Fast);
                admitted.push((at, Pool::Fast));
                false
            });
        }
        left
    }

    /// Takes a slot, whether it is free or not.
    pub fn begin(&mut self, host: &str, pool: Pool) {
        if self.hosts.len() >= MAX_REMEMBERED {
            self.hosts.retain(|_, host| host.running() > 0);
        }
        *self.count(pool) += 1;
        let host = self.hosts.entry(host.to_owned()).or_default();
        match pool {
            Pool::Fast => host.fast += 1,
            Pool::Slow => host.slow += 1,
        }
    }

    /// Gives a slot back, without a word on how the download ended.
    pub fn release(&mut self, host: &str, pool: Pool) {
        *self.count(pool) = self.count(pool).saturating_sub(1);
        if let Some(host) = self.hosts.get_mut(host) {
            let slots = match pool {
                Pool::Fast => &mut host.fast,
                Pool::Slow => &mut host.slow,
            };
            *slots = slots.saturating_sub(1);
        }
    }

    /// Reviews a running download.
    pub fn review(&mut self, job: JobId, host: &str, pool: Pool, progress: &Progress) -> Review {
        let is_slow = progress.speed < SLOW;
        match pool {
            Pool::Slow if !is_slow => self.change_pool(host, pool, Pool::Fast),
            Pool::Fast if is_slow && self.crowded => {
                let shared = self.hosts.get(host).is_some_and(|host| host.slow >= self.slow_share());
                if !shared && self.slow < self.slow_slots {
                    self.change_pool(host, pool, Pool::Slow)
                } else if progress.is_slow_so_far() && (progress.received == 0 || progress.resumable) {
                    Review::GivesWay
                } else {
                    Review::Continues
                }
            }
            Pool::Slow if self.slow_crowded || self.hosts.get(host).is_some_and(|host| host.crowded) => {
                let turn = match (progress.received, progress.resumable) {
                    (0, _) => SILENCE,
                    (_, true) => TURN,
                    (_, false) => LONG_TURN,
                };
                let times = self.jobs.get(&job).copied().unwrap_or(0);
                if progress.elapsed >= turn * 2_u32.pow(times.min(6)) {
                    Review::GivesWay
                } else {
                    Review::Continues
                }
            }
            Pool::Slow | Pool::Fast => Review::Continues,
        }
    }

    /// Learns how a download ended.
    pub fn record(&mut self, job: JobId, host: &str, ending: Ending) {
        if self.jobs.len() >= MAX_REMEMBERED {
            self.jobs.clear();
        }
        let first_time = match ending {
            Ending::Quick => return,
            Ending::Fast | Ending::Slow => {
                self.jobs.remove(&job);
                true
            }
            Ending::Wasted => {
                let times = self.jobs.entry(job).or_default();
                *times += 1;
                *times == 1
            }
            Ending::Tried => match self.jobs.entry(job) {
                Entry::Vacant(entry) => {
                    entry.insert(0);
                    true
                }
                Entry::Occupied(_) => false,
            },
        };
        let Some(host) = self.hosts.get_mut(host) else { return };
        match ending {
            Ending::Fast => (host.troubles, host.proven) = (0, true),
            Ending::Slow => (host.troubles, host.proven) = (1, false),
            // A link that never works says nothing about its host.
            Ending::Wasted | Ending::Tried if first_time || !host.proven => {
                host.troubles += 1;
                host.proven &= host.troubles < MAX_TROUBLES;
            }
            Ending::Wasted | Ending::Tried | Ending::Quick => {}
        }
    }

    fn change_pool(&mut self, host: &str, from: Pool, to: Pool) -> Review {
        self.release(host, from);
        self.begin(host, to);
        Review::Moved(to)
    }

    /// Most slots of the slow pool for one host.
    fn slow_share(&self) -> usize {
        self.slow_slots / 4
    }

    fn is_slow(&self, download: &WaitingDownload) -> bool {
        self.jobs.contains_key(&download.job) || self.hosts.get(&download.host).is_some_and(Host::is_troubled)
    }

    fn wasted(&self, download: &WaitingDownload) -> u32 {
        let of_job = self.jobs.get(&download.job).copied().unwrap_or(0);
        let of_host = self.hosts.get(&download.host).filter(|host| !host.proven);
        of_job.saturating_add(of_host.map_or(0, |host| host.troubles))
    }

    fn count(&mut self, pool: Pool) -> &mut usize {
        match pool {
            Pool::Fast => &mut self.fast,
            Pool::Slow => &mut self.slow,
        }
    }
}

#[cfg(test)]
mod tests;
