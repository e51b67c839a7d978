//! Ingests job files in batches, in three concurrent steps: validate, commit, and move out of the inbox. Each file still
//! takes its steps in order.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::{join3, ready};
use futures_util::stream::{self, StreamExt};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::clock::Timestamp;
use crate::failpoints::{self, FailPoint};
use crate::fs::FsError;
use crate::jobfile::{Draft, Problem, inputs_sha256};
use crate::stages::intake::IntakeStage;
use crate::stages::intake::archive::{Batch, Committed};
use crate::stages::intake::folder_defaults::DefaultsByFolder;
use crate::stages::intake::validate::{Candidate, ValidFile, Validation, file_problem};
use crate::stages::run_blocking;
use crate::store::error::StoreError;
use crate::store::job_files::staging::MAX_JOBS_PER_COMMIT;
use crate::store::job_files::{Drafts, FileToIngest, IngestError, IngestResult, Ingested, Source};

/// Until a file is tried again whose key is in a file that is being ingested.
const STAGED_KEY_DELAY: Duration = Duration::from_secs(1);
/// Most files per commit.
const MAX_BATCH_FILES: usize = 512;
/// The same of the first batch, for whose validation the commits wait; each next one may have twice as many.
const FIRST_BATCH_FILES: usize = 64;
/// Most batches whose moves are flushed and recorded together.
const MAX_MOVES_TOGETHER: usize = 4;
/// Batches with more files are logged in one line (each of their jobs at the level `debug`).
const MAX_FILES_LOGGED: usize = 16;
/// Batches validated concurrently.
const CONCURRENT_BATCHES: usize = 2;
/// Largest batch, in bytes; a larger file is a batch of its own. Bounds the files in memory to 8 MiB: being validated,
/// validated, being committed, waiting to be moved, and being moved.
const MAX_BATCH_BYTES: u64 = (8 << 20) / (CONCURRENT_BATCHES as u64 + 2 + 2 * MAX_MOVES_TOGETHER as u64);

/// The state shared by all batches of a pass.
#[derive(Default)]
struct PassState {
    /// The shortest time until a postponed file can be validated, and the first fault.
    result: Mutex<(Option<Duration>, Option<StoreError>)>,
    stopped: AtomicBool,
}

impl PassState {
    fn postpone(&self, left: Duration) {
        let mut result = self.result.lock();
        result.0 = Some(result.0.map_or(left, |next| next.min(left)));
    }

    /// Validates and commits no more batches. What is committed is moved.
    fn stop(&self, fault: StoreError) {
        self.stopped.store(true, Ordering::Relaxed);
        self.result.lock().1.get_or_insert(fault);
    }
}

impl IntakeStage {
    /// Validates, commits and moves files. Returns the time until a postponed file can be validated, if any.
    pub(super) async fn ingest(
        &self,
        candidates: Vec<Candidate>,
        defaults: DefaultsByFolder,
    ) -> (Option<Duration>, Result<(), StoreError>) {
        let (state, defaults) = (&PassState::default(), Arc::new(defaults));
        let batches = stream::iter(batches(candidates));
        let batches = batches.take_while(|_| ready(!state.stopped.load(Ordering::Relaxed)));
        // `send` fails only once the receiver is gone, and each step takes all that is sent.
        let (to_commit, mut validated) = mpsc::channel(1);
        let (to_archive, mut committed) = mpsc::channel(MAX_MOVES_TOGETHER);
        let validate = async move {
            let mut validating = pin!(
                batches
                    .map(|batch| self.validate(batch, defaults.clone(), state))
                    .buffered(CONCURRENT_BATCHES)
            );
            while let Some(valid) = validating.next().await {
                let _ = to_commit.send(valid).await;
            }
        };
        let commit = async move {
            // One by one in the order of names, so the ids of jobs follow it.
            while let Some(valid) = validated.recv().await {
                // What was validated before a fault comes again: behind the files that the fault concerns.
                if state.stopped.load(Ordering::Relaxed) {
                    continue;
                }
                let _ = to_archive.send(self.commit(valid, state).await).await;
            }
        };
        let archive = async move {
            let mut batches = Vec::new();
            while committed.recv_many(&mut batches, MAX_MOVES_TOGETHER).await > 0 {
                // One at a time: concurrent moves would only wait for the locks of the same folders.
                let moved = self.archive(std::mem::take(&mut batches)).await;
                self.record_moves(moved).await;
            }
        };
        join3(validate, commit, archive).await;
        let (next, fault) = std::mem::take(&mut *state.result.lock());
        (next, fault.map_or(Ok(()), Err))
    }

    /// Validates a batch, and handles all files but the valid ones, which it returns.
    async fn validate(
        &self,
        batch: Vec<Candidate>,
        defaults: Arc<DefaultsByFolder>,
        state: &PassState,
    ) -> Vec<(String, ValidFile)> {
        let validator = self.validator.clone();
        let validated = run_blocking(&self.clock, move || validator.validate_all(batch, &defaults)).await;
        let mut valid = Vec::new();
        for (name, validation) in validated {
            match validation {
                Validation::Postpone(settle) => state.postpone(self.postpone(&name, settle)),
                Validation::Stay(why) => self.warn_file_stays(&name, &why),
                Validation::Reject(problems, version) => self.reject(&name, version, problems).await,
                Validation::Valid(file) => valid.push((name, file)),
            }
        }
        valid
    }

    /// Commits the jobs of a batch. Returns the files to move.
    async fn commit(&self, mut files: Vec<(String, ValidFile)>, state: &PassState) -> Batch {
        let now = self.clock.now();
        let mut batch = Batch { now, files: Vec::new() };
        for _ in &files {
            failpoints::hit(FailPoint::IntakeValidated);
        }
        let outcomes = match &mut files[..] {
            [] => return batch,
            // A streamed file: its jobs are read while they are written.
            [(name, file)] if file.bytes.is_none() => match self.validator.stream_drafts(name, file) {
                Ok(drafts) => match self.store.ingest(file_to_ingest(name, file), drafts, now).await {
                    Err(IngestError::Store(error)) => Err(error),
                    outcome => Ok(vec![outcome]),
                },
                Err(FsError::Changed(_) | FsError::NotFound(_)) => Ok(Vec::new()),
                Err(error) => {
                    self.warn_file_stays(name, &error.to_string());
                    Ok(Vec::new())
                }
            },
            files => self.commit_files(files, now).await,
        };
        match outcomes {
            Ok(outcomes) => {
                let is_large = files.len() > MAX_FILES_LOGGED;
                let mut jobs = 0;
                for ((name, file), outcome) in files.into_iter().zip(outcomes) {
                    jobs += outcome.as_ref().map_or(0, |ingested| ingested.jobs.len());
                    if matches!(outcome, Err(IngestError::KeyStaged { .. })) {
                        state.postpone(STAGED_KEY_DELAY);
                    }
                    batch.files.extend(self.finish_commit(name, file, outcome, is_large).await);
                }
                if let [first, .., last] = &batch.files[..]
                    && is_large
                {
                    let (count, first, last) = (batch.files.len(), &first.path, &last.path);
                    tracing::info!("accepted {count} files, {first} to {last}: {jobs} jobs");
                }
            }
            Err(error) => state.stop(error),
        }
        batch
    }

    /// Commits files whose jobs are at hand, as many together as one commit may have jobs. After a fault, the files
    /// committed before it are moved by the next pass.
    async fn commit_files(
        &self,
        files: &mut [(String, ValidFile)],
        now: Timestamp,
    ) -> Result<Vec<IngestResult>, StoreError> {
        let mut outcomes = Vec::with_capacity(files.len());
        let mut together: Vec<(FileToIngest, Vec<Draft>)> = Vec::new();
        let mut jobs = 0;
        for (name, file) in files {
            let (to_ingest, drafts) = (file_to_ingest(name, file), std::mem::take(&mut file.drafts));
            let is_long = drafts.is_empty() || drafts.len() > MAX_JOBS_PER_COMMIT;
            if (is_long || jobs + drafts.len() > MAX_JOBS_PER_COMMIT) && !together.is_empty() {
                outcomes.extend(self.store.ingest_batch(std::mem::take(&mut together), now).await?);
                jobs = 0;
            }
            if is_long {
                let drafts: Drafts = match file.bytes.clone().filter(|_| drafts.is_empty()) {
                    Some(bytes) => {
                        let again = self.validator.drafts_again(name, bytes, file.defaults.clone());
                        let pictures = file.pictures.clone();
                        Box::new(again.map(move |draft| draft.map(|draft| pictures.resolve(draft))))
                    }
                    None => Box::new(drafts.into_iter().map(Ok)),
                };
                match self.store.ingest(to_ingest, drafts, now).await {
                    Err(IngestError::Store(error)) => return Err(error),
                    outcome => outcomes.push(outcome),
                }
            } else {
                jobs += drafts.len();
                together.push((to_ingest, drafts));
            }
        }
        if !together.is_empty() {
            outcomes.extend(self.store.ingest_batch(together, now).await?);
        }
        Ok(outcomes)
    }

    /// Logs the outcome of a file (in a `large_batch` only if it was not ingested) and rejects it if it is a duplicate.
    /// Returns the file if it is to be moved.
    async fn finish_commit(
        &self,
        name: String,
        file: ValidFile,
        outcome: Result<Ingested, IngestError>,
        large_batch: bool,
    ) -> Option<Committed> {
        match outcome {
            Ok(ingested) => {
                failpoints::hit(FailPoint::IntakeCommitted);
                for job in &ingested.jobs {
                    tracing::debug!(%job, "accepted job {job} from {name}");
                }
                let count = ingested.jobs.len();
                if !large_batch {
                    tracing::info!("accepted {name}: {count} job{}", if count == 1 { "" } else { "s" });
                }
                return Some(Committed { nr: ingested.nr, path: name, file });
            }
            Err(refusal @ (IngestError::Duplicate { .. } | IngestError::IdempotencyKeyReused)) => {
                self.reject(&name, file.version, vec![file_problem(refusal.to_string())]).await;
            }
            Err(ref refusal @ IngestError::KeyUsed { ref object, .. }) => {
                let problem = Problem {
                    pointer: format!("{}/dropreel/key", object.pointer),
                    line: object.line.max(1),
                    ..file_problem(refusal.to_string())
                };
                self.reject(&name, file.version, vec![problem]).await;
            }
            Err(staged @ IngestError::KeyStaged { .. }) => self.warn_file_stays(&name, &staged.to_string()),
            Err(IngestError::Unreadable(why)) => self.warn_file_stays(&name, &why),
            // A database error concerns the whole batch; `commit` handles it.
            Err(IngestError::Store(error)) => self.warn_file_stays(&name, &error.to_string()),
        }
        None
    }
}

fn file_to_ingest(name: &str, file: &ValidFile) -> FileToIngest {
    FileToIngest {
        source: Source::Inbox,
        file_name: Some(name.to_owned()),
        sha256: file.sha256.clone(),
        inputs_sha256: inputs_sha256(&file.defaults, file.pictures.contents()),
        bytes: file.version.bytes,
        idempotency_key: None,
    }
}

/// Groups files in order into batches that fit into memory. A streamed file is a batch of its own.
fn batches(candidates: Vec<Candidate>) -> Vec<Vec<Candidate>> {
    let mut batches: Vec<Vec<Candidate>> = Vec::new();
    let (mut bytes, mut after_streamed) = (0_u64, true);
    let mut max_files = FIRST_BATCH_FILES;
    for candidate in candidates {
        bytes = bytes.saturating_add(candidate.entry.version.bytes);
        let is_streamed = candidate.is_streamed();
        match batches.last_mut() {
            Some(batch)
                if batch.len() < max_files && bytes <= MAX_BATCH_BYTES && !after_streamed && !is_streamed =>
            {
                batch.push(candidate);
            }
            last => {
                if last.is_some() {
                    max_files = (max_files * 2).min(MAX_BATCH_FILES);
                }
                bytes = candidate.entry.version.bytes;
                batches.push(vec![candidate]);
            }
        }
        after_streamed = is_streamed;
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::Inbox;

    #[test]
    fn batches_are_bounded_and_a_streamed_file_is_alone() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, bytes: usize| std::fs::write(folder.path().join(name), vec![b' '; bytes]).unwrap();
        for number in 0..7 * FIRST_BATCH_FILES + MAX_BATCH_FILES + 2 {
            write(&format!("a{number:04}.json"), 10);
        }
        write("b.jsonl", 100_000);
        write("c.jsonl", 100);
        for name in ["d.json", "e.json", "f.json"] {
            write(name, 690_000);
        }
        let entries = Inbox::new(folder.path().to_owned()).scan(true).unwrap().files;
        let candidate = |entry| Candidate { entry, unchanged_for: Duration::ZERO };
        let batches = batches(entries.into_iter().map(candidate).collect());
        let sizes: Vec<usize> = batches.iter().map(Vec::len).collect();
        let first = FIRST_BATCH_FILES;
        assert_eq!(sizes, [first, 2 * first, 4 * first, MAX_BATCH_FILES, 2, 1, 2, 1, 1]);
        assert_eq!(batches[6][1].entry.name, "d.json");
    }
}
