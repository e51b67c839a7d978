//! Takes over from processes that share the database and are gone what they have left undone, for their machine may never come
//! back. A process that is back in time does it itself, and cheaper.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::{Clock, Tick, Timestamp};
use crate::job::JobId;
use crate::job::event::{DownloadFailure, Event};
use crate::stages::{Stage, Wake, isolate_corrupt_job, log_transition};
use crate::store::Store;
use crate::store::error::StoreError;

/// A process that is gone for so long has not merely lost its connection: the files that it was ingesting are finished, and
/// what waits in its spool is downloaded once more where the links end soon.
const GONE_AFTER: Duration = Duration::from_secs(60);
/// How soon.
const SOON: Duration = Duration::from_secs(6 * 3600);
/// After so long, all that waits in its spool is downloaded once more: well before the links end, but not at each restart of a
/// machine.
const ALL_AFTER: Duration = Duration::from_secs(3600);

/// How many jobs of a spool a pass looks at.
const MOST_NOTED: u32 = 512;
/// How long a pass works, so that neither a stop nor the watchdog waits for it.
const LONGEST_PASS: Duration = Duration::from_secs(5);

/// Runs where several processes share a database, in the one that leads. It looks [regularly](super::MAX_WAIT).
pub struct GoneProcessStage {
    store: Store,
    clock: Clock,
    absences: Mutex<Absences>,
}

/// Since when each process is known to be gone.
#[derive(Default)]
struct Absences(BTreeMap<i32, Tick>);

impl Absences {
    /// Returns how long each process has been gone, as far as this one knows. Those that are not named are back.
    fn note(&mut self, gone: &[i32], now: Tick) -> Vec<(i32, Duration)> {
        self.0.retain(|process, _| gone.contains(process));
        gone.iter().map(|process| (*process, now.since(*self.0.entry(*process).or_insert(now)))).collect()
    }
}

impl GoneProcessStage {
    pub fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock, absences: Mutex::default() }
    }

    /// Does what a process has left undone. Returns whether there is more to do.
    async fn take_over(&self, process: i32, gone_for: Duration, began: Tick) -> Result<bool, StoreError> {
        if gone_for < GONE_AFTER {
            return Ok(false);
        }
        let now = self.clock.now();
        let until = if gone_for >= ALL_AFTER { now.plus(Duration::MAX) } else { now.plus(SOON) };
        let jobs = self.store.release_claims_of(process, now, until).await?;
        if jobs > 0 {
            tracing::warn!(
                process,
                "the daemon with the inbox number {process} is gone: what it had not uploaded of {jobs} jobs is downloaded \
                 again, while the links live"
            );
        }
        let noted = self.note_only_copies(process, now, began).await;
        let left = LONGEST_PASS.saturating_sub(self.clock.tick().since(began));
        // The files must not wait for what hinders the jobs.
        let has_more = self.store.finish_files_of(process, left).await?;
        noted.map(|()| has_more)
    }

    /// Says of jobs whose only copies are in the spool of a process what they wait for, and holds those that waited for long.
    /// Each is a failed upload: the process tries again when it is back.
    async fn note_only_copies(&self, process: i32, now: Timestamp, began: Tick) -> Result<(), StoreError> {
        for job in self.store.only_copies_of(process, now, MOST_NOTED).await? {
            let noted = self.note_job(job, process, now).await;
            isolate_corrupt_job(&self.store, job, noted).await?;
            if self.clock.tick().since(began) >= LONGEST_PASS {
                break;
            }
        }
        Ok(())
    }

    async fn note_job(&self, job: JobId, process: i32, now: Timestamp) -> Result<(), StoreError> {
        let details = self.store.details(job).await?;
        let (Some(task), outputs) = (details.job.task(), details.job.outputs()) else { return Ok(()) };
        let due: Vec<_> = outputs.iter().filter(|output| output.is_upload_due(now)).collect();
        if due.is_empty() {
            // What its row says is corrected.
            self.store.apply(job, Event::TimeElapsed, now).await?;
        }
        for output in due {
            let why = format!("the daemon that downloaded it, with the inbox number {process}, is gone");
            let failure = DownloadFailure::NotUploaded { why };
            let failed = Event::DownloadFailed { task: task.clone(), key: output.key, failure };
            log_transition(&self.store.apply(job, failed, now).await?);
        }
        Ok(())
    }
}

impl Stage for GoneProcessStage {
    const NAME: &'static str = "gone_processes";

    async fn pass(&self) -> Result<Wake, StoreError> {
        let began = self.clock.tick();
        let gone = self.store.gone_processes().await?;
        let absences = self.absences.lock().note(&gone, self.clock.tick());
        let mut outcome = Ok(Wake::OnNotify);
        for (process, gone_for) in absences {
            // The others must not wait for what hinders this one.
            match self.take_over(process, gone_for, began).await {
                Ok(true) => outcome = outcome.and(Ok(Wake::AtOnce)),
                Ok(false) => {}
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }

    async fn notified(&self) {
        std::future::pending().await
    }

    async fn drain(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn absence_of_a_process_that_comes_back_begins_again() {
        let clock = Clock::paused(Timestamp::from_millis(0));
        let mut absences = Absences::default();
        assert_eq!(absences.note(&[1], clock.tick()), [(1, Duration::ZERO)]);
        clock.advance(GONE_AFTER);
        assert_eq!(absences.note(&[1, 2], clock.tick()), [(1, GONE_AFTER), (2, Duration::ZERO)]);
        assert!(absences.note(&[], clock.tick()).is_empty());
        clock.advance(GONE_AFTER);
        assert_eq!(absences.note(&[1], clock.tick()), [(1, Duration::ZERO)]);
    }
}
