//! The epoch: a number that rises with each start, and every two minutes if jobs have changed, in the database, in a file
//! beside it, and outside of this machine (`library::epoch_record`). A database that is behind is a copy of an older state,
//! however it was made.
//!
//! What waits in a copy may have been submitted since, so it is held for an operator, and so are the jobs of the files that
//! are in the inbox then, and of those in `accepted/` that the copy does not know. A daemon that finds the epoch of another
//! one outside does the same, and submits nothing until an operator says that the other is gone. It still polls and
//! downloads what it has paid for. A record that cannot be reached stops nothing.

mod comparison;
mod error;
mod holding;
mod unknown_files;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::clock::{Clock, Tick, Timestamp};
use crate::failpoints::{self, FailPoint};
use crate::fs::{FsError, host_name};
use crate::inbox::Inbox;
use crate::jobfile::is_job_file_name;
use crate::library::Library;
use crate::library::epoch_record::{EpochRecord, FoundRecord, RecordError};
use crate::rng::Rng;
use crate::stages::{Stage, Wake, run_blocking};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::meta::LastUse;
use crate::store::notify::{Notifications, Topic};
pub use comparison::note_epoch;
use comparison::{FILE, LocalEpoch, Outside, Standing, compare, next_epoch, of_shared};
pub use error::EpochError;

/// Between two rises of the epoch. A copy of the whole machine that is younger may be taken for the original; the keys of
/// its submits are then still valid.
const INTERVAL: Duration = Duration::from_secs(120);
/// How long a bucket may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often to look whether the files that were in the inbox have been accepted.
const INBOX_RECHECK: Duration = Duration::from_secs(1);
/// How often a record that others keep changing is read again.
const MAX_TRIES: u32 = 3;

/// The folders and handles of the stage.
pub struct EpochParts {
    pub store: Store,
    pub library: Library,
    pub clock: Clock,
    pub rng: Rng,
    /// For the file beside the database.
    pub data_dir: PathBuf,
    /// The database is on a server, so daemons with other data folders lead it in turn.
    pub is_shared: bool,
    pub inbox: PathBuf,
    /// Whether the folders below the inbox are read.
    pub recursive: bool,
    /// Where accepted files are.
    pub accepted: PathBuf,
}

/// See the module.
pub struct EpochStage {
    parts: EpochParts,
    path: PathBuf,
    /// The number of this process.
    run: i64,
    host: String,
    state: tokio::sync::Mutex<State>,
    resumed: Notifications,
}

struct State {
    epoch: i64,
    node: i64,
    database: i64,
    phase: Phase,
    next_rise: Tick,
    /// The number of the last change of a job that the epoch covers.
    last_change: i64,
    /// The record outside could not be reached the last time.
    is_unreachable: bool,
}

enum Phase {
    /// The record outside has not been read yet.
    Unknown { known: LastUse, local: LocalEpoch },
    /// This daemon submits.
    Leading {
        /// The epoch is in the record outside.
        is_recorded: bool,
    },
    /// The database is a copy, or another daemon has taken over.
    Superseded {
        /// Files that were in the inbox at the start and have not been accepted yet.
        files: BTreeSet<String>,
        /// Another daemon may submit, so an operator decides.
        has_other: bool,
    },
}

impl EpochStage {
    /// Compares the database with the one used last, before anything is submitted. Holds what is unsubmitted in a copy.
    ///
    /// # Errors
    /// When the database fails, or the file beside it cannot be written.
    pub async fn open(parts: EpochParts) -> Result<Self, EpochError> {
        let path = parts.data_dir.join(FILE);
        let (known, local) = (parts.store.last_use().await?, LocalEpoch::read(&path));
        let random = || random_number(&parts.rng);
        let state = State {
            epoch: known.epoch,
            node: if parts.is_shared { known.node } else { local.node }.unwrap_or_else(random),
            database: known.database.unwrap_or_else(random),
            phase: Phase::Unknown { known, local },
            next_rise: Tick::default(),
            last_change: 0,
            is_unreachable: false,
        };
        let stage = Self {
            path,
            run: random(),
            host: host_name(),
            resumed: parts.store.listen(Topic::Resume),
            parts,
            state: tokio::sync::Mutex::new(state),
        };
        let mut state = stage.state.lock().await;
        let outside = match known.database {
            Some(_) => stage.read_record(&mut state).await,
            // Its first start, or the first with a version that has records.
            None => Outside::Record(None),
        };
        stage.settle(&mut state, known, local, outside).await?;
        drop(state);
        Ok(stage)
    }

    /// Decides what this daemon is, as far as the record outside says it.
    async fn settle(
        &self,
        state: &mut State,
        known: LastUse,
        local: LocalEpoch,
        outside: Outside,
    ) -> Result<(), EpochError> {
        let is_first = known.epoch == 0 && known.node.is_none();
        let local = if self.parts.is_shared { of_shared(&known, local, &outside) } else { local };
        match (compare(&known, local, &outside), outside) {
            (Standing::Copy { what, other }, _) if !is_first => {
                tracing::error!(
                    "the database is {what}; unsubmitted jobs are held, they may have been submitted since"
                );
                let message = match &other {
                    Some(other) => format!(
                        "the database is {what}; another daemon may still use a newer one {other}, so this one submits \
                         nothing; if that one is gone for good, `dropreel resume takeover`"
                    ),
                    None if self.parts.is_shared => format!(
                        "the database is {what}; jobs that other machines had accepted since may have been submitted, so \
                         nothing is until the inbox of each is empty and a person says `dropreel resume takeover`"
                    ),
                    None => format!(
                        "the database is {what}; nothing is submitted before the job files in the inbox are accepted and \
                         held, or taken out of it"
                    ),
                };
                self.supersede(message).await?;
                self.return_unknown_files().await?;
                let files = self.files_in_inbox().await?;
                let has_other = other.is_some() || self.parts.is_shared;
                state.phase = Phase::Superseded { files, has_other };
                self.continue_superseded(state).await?;
            }
            // The daemon stays superseded until an operator says otherwise.
            _ if self.superseded().await?.is_some() => {
                state.phase = Phase::Superseded { files: BTreeSet::new(), has_other: true };
            }
            (_, Outside::Unknown(_)) => {}
            (_, Outside::Record(record)) => {
                let mut epoch = next_epoch(known.epoch.max(local.epoch), record.as_ref());
                if self.parts.is_shared {
                    // Not that of the daemon that led before, which may still write it outside.
                    epoch = epoch.max(known.epoch + 1);
                }
                self.lead(state, epoch).await?;
            }
        }
        Ok(())
    }

    /// From now on this daemon uses the database, under this epoch.
    async fn lead(&self, state: &mut State, epoch: i64) -> Result<(), EpochError> {
        // The file first knows the node, or after a crash its own database would seem to come from elsewhere.
        let local = LocalEpoch::read(&self.path);
        if local.node.is_none() {
            self.write_file(LocalEpoch { node: Some(state.node), ..local }).await?;
        }
        state.epoch = epoch;
        self.parts.store.begin_use(epoch, state.node, state.database).await?;
        failpoints::hit(FailPoint::EpochCommitted);
        self.write_file(LocalEpoch { epoch, node: Some(state.node) }).await?;
        failpoints::hit(FailPoint::EpochFileWritten);
        state.phase = Phase::Leading { is_recorded: false };
        state.next_rise = self.parts.clock.tick();
        Ok(())
    }

    /// Becomes the daemon that submits, ahead of all others.
    async fn take_over(&self, state: &mut State) -> Result<(), EpochError> {
        let local = LocalEpoch::read(&self.path);
        let record = match self.read_record(state).await {
            Outside::Record(record) => record.map_or(0, |record| record.epoch),
            Outside::Unknown(_) => 0,
        };
        if self.parts.is_shared
            && let Some(suspension) = self.superseded().await?
        {
            // What daemons that follow have ingested meanwhile may have been submitted, too.
            self.hold_unsubmitted(suspension.since).await?;
        }
        // Also ahead of a daemon whose last epoch is not in the record.
        self.lead(state, state.epoch.max(local.epoch).max(record) + 2).await?;
        tracing::info!("jobs are submitted from here again");
        Ok(())
    }

    /// The job files that are in the inbox. The original may have accepted them, too.
    async fn files_in_inbox(&self) -> Result<BTreeSet<String>, FsError> {
        let (inbox, recursive) = (Inbox::new(self.parts.inbox.clone()), self.parts.recursive);
        let scan = run_blocking(&self.parts.clock, move || inbox.scan(recursive)).await?;
        // A link or a pipe stays in the inbox for ever, and never becomes a job.
        let files = scan.files.into_iter().filter(|file| file.is_utf8 && file.irregular_kind.is_none());
        Ok(files.map(|file| file.name).filter(|name| is_job_file_name(name)).collect())
    }

    /// Waits for the files of the inbox, and for the operator if there is another daemon.
    async fn continue_superseded(&self, state: &mut State) -> Result<(), EpochError> {
        let Phase::Superseded { files, has_other } = &mut state.phase else { return Ok(()) };
        let is_asked = self.parts.is_shared && self.parts.store.is_takeover_asked().await?;
        if is_asked || self.superseded().await?.is_none() {
            return self.take_over(state).await;
        }
        if !files.is_empty() {
            let found = self.files_in_inbox().await?;
            files.retain(|name| found.contains(name));
            if !files.is_empty() {
                return Ok(());
            }
            self.hold_unsubmitted(Timestamp::from_millis(0)).await?;
        }
        if *has_other { Ok(()) } else { self.take_over(state).await }
    }

    /// Raises the epoch if any job has changed, and records it outside.
    async fn rise(&self, state: &mut State) -> Result<(), EpochError> {
        let last_change = self.parts.store.last_change().await?;
        if matches!(state.phase, Phase::Leading { is_recorded: true }) && last_change != state.last_change {
            self.raise_here(state).await?;
            state.last_change = last_change;
        }
        let recorded = self.record(state).await;
        self.note_reach(state, recorded.as_ref().err().map(ToString::to_string));
        match recorded {
            Ok(None) => state.phase = Phase::Leading { is_recorded: true },
            Ok(Some(other)) => {
                let by = format!("on {}, last heard of at {}", other.host, other.at);
                tracing::error!(
                    "another daemon uses a newer state of this database {by}; submitting is suspended, unsubmitted jobs are held"
                );
                let message = format!(
                    "another daemon uses a newer state of this database {by}: what waits here may have been submitted \
                     there; downloads continue; if that one is gone for good, `dropreel resume takeover`"
                );
                self.supersede(message).await?;
                state.phase = Phase::Superseded { files: BTreeSet::new(), has_other: true };
            }
            // The bucket is away: that stops nothing.
            Err(_) => {}
        }
        Ok(())
    }

    /// Raises the epoch in the database and in the file beside it.
    async fn raise_here(&self, state: &mut State) -> Result<(), EpochError> {
        self.parts.store.set_epoch(state.epoch + 1).await?;
        state.epoch += 1;
        state.phase = Phase::Leading { is_recorded: false };
        Ok(self.write_file(LocalEpoch { epoch: state.epoch, node: Some(state.node) }).await?)
    }

    /// Writes the record outside if it lacks the epoch, or returns that of another daemon which is ahead.
    async fn record(&self, state: &State) -> Result<Option<EpochRecord>, RecordError> {
        let (library, clock) = (&self.parts.library, &self.parts.clock);
        let mut last = Err(RecordError::Changed);
        for _ in 0..MAX_TRIES {
            let found = self.in_time(library.epoch_record(state.database, clock)).await?;
            if let Some(other) = &found.record
                && other.run != self.run
                && other.epoch >= state.epoch
            {
                return Ok(Some(other.clone()));
            }
            // A library on a disk that sleeps is not woken for nothing.
            if found.record.as_ref().is_some_and(|own| own.run == self.run && own.epoch == state.epoch) {
                return Ok(None);
            }
            last = self.in_time(self.write_record(state, found)).await;
            if !matches!(last, Err(RecordError::Changed)) {
                break;
            }
        }
        last.map(|()| None)
    }

    async fn write_record(&self, state: &State, found: FoundRecord) -> Result<(), RecordError> {
        let record = EpochRecord {
            epoch: state.epoch,
            node: state.node,
            run: self.run,
            host: self.host.clone(),
            at: self.parts.clock.now(),
        };
        self.parts.library.write_epoch_record(state.database, &record, found, &self.parts.clock).await
    }

    async fn read_record(&self, state: &mut State) -> Outside {
        let (library, clock) = (&self.parts.library, &self.parts.clock);
        let found = self.in_time(library.epoch_record(state.database, clock)).await;
        self.note_reach(state, found.as_ref().err().map(ToString::to_string));
        found.map_or_else(|error| Outside::Unknown(error.to_string()), |found| Outside::Record(found.record))
    }

    async fn in_time<T>(
        &self,
        answer: impl Future<Output = Result<T, RecordError>>,
    ) -> Result<T, RecordError> {
        self.parts.clock.within(TIMEOUT, answer).await.unwrap_or(Err(RecordError::Late))
    }

    /// Logs when the record outside cannot be reached any more, and when it can be again.
    fn note_reach(&self, state: &mut State, why: Option<String>) {
        match &why {
            Some(why) if !state.is_unreachable => tracing::warn!(
                "whether another daemon uses a newer state of this database is not known, submitting continues: {why}"
            ),
            None if state.is_unreachable => tracing::info!("the record of the epoch can be reached again"),
            _ => {}
        }
        state.is_unreachable = why.is_some();
    }

    async fn write_file(&self, local: LocalEpoch) -> Result<(), FsError> {
        let path = self.path.clone();
        run_blocking(&self.parts.clock, move || local.write(&path)).await
    }

    async fn continue_phase(&self, state: &mut State) -> Result<(), EpochError> {
        match state.phase {
            Phase::Unknown { known, local } => {
                let outside = self.read_record(state).await;
                self.settle(state, known, local, outside).await?;
            }
            Phase::Leading { .. } => {}
            Phase::Superseded { .. } => self.continue_superseded(state).await?,
        }
        // At once: until then, another daemon does not know that it was taken over.
        if matches!(state.phase, Phase::Leading { .. }) { self.rise(state).await } else { Ok(()) }
    }
}

fn random_number(rng: &Rng) -> i64 {
    rng.below(i64::MAX.unsigned_abs()).cast_signed()
}

impl Stage for EpochStage {
    const NAME: &'static str = "epoch";

    async fn pass(&self) -> Result<Wake, StoreError> {
        let (mut state, clock) = (self.state.lock().await, &self.parts.clock);
        let is_waiting = matches!(state.phase, Phase::Superseded { .. });
        if !is_waiting && clock.tick() < state.next_rise {
            let left = state.next_rise.since(clock.tick());
            return Ok(Wake::At(clock.now().plus(left)));
        }
        match self.continue_phase(&mut state).await {
            Ok(()) => {}
            Err(EpochError::Store(error)) => return Err(error),
            Err(EpochError::File(error)) => tracing::warn!("the epoch is raised later: {error}"),
        }
        let wait = match &state.phase {
            Phase::Superseded { files, .. } if !files.is_empty() => INBOX_RECHECK,
            _ => INTERVAL,
        };
        state.next_rise = clock.tick().plus(wait);
        Ok(Wake::At(clock.now().plus(wait)))
    }

    /// An operator who resumes anything has it looked at now.
    async fn notified(&self) {
        self.resumed.next().await;
        self.state.lock().await.next_rise = Tick::default();
    }

    /// A copy that was made before the end has an older epoch than the file beside the database.
    async fn drain(&self) {
        let mut state = self.state.lock().await;
        if matches!(state.phase, Phase::Leading { is_recorded: true })
            && let Err(error) = self.raise_here(&mut state).await
        {
            tracing::warn!("the epoch is raised at the next start: {error}");
        }
    }
}

#[cfg(test)]
mod tests;
