//! The way of job files through the stage, in steps that go on at once: while one batch is read, the one before it is
//! committed, and the one before that is moved. Each file still takes its steps one after the other.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{join, join4, ready};
use futures_util::stream::{self, Stream, StreamExt};
use tokio::sync::mpsc;

use crate::clock::Timestamp;
use crate::failpoints::{self, Bug, FailPoint, planted};
use crate::fs::FsError;
use crate::inbox::InboxEntry;
use crate::jobfile::{Draft, Problem};
use crate::stages::intake::IntakeStage;
use crate::stages::intake::archive::{Batch, Committed};
use crate::stages::intake::read_ahead::read_ahead;
use crate::stages::intake::validate::{Judgement, Ready, is_long, whole};
use crate::stages::run_blocking;
use crate::store::error::StoreError;
use crate::store::intake::{Drafts, IngestError, Intake, Source, Taken};

/// So many files are committed together at most.
const BATCH: usize = 512;
/// The moves of so many batches are flushed and written down together at most.
const MARKED_TOGETHER: usize = 4;
/// So many files of a batch are told one by one, more of them in one line (each of its jobs at the level `debug`).
const TOLD_ALONE: usize = 16;
/// So many batches may be judged, and so many committed, at once.
const AHEAD: usize = 2;
/// So many bytes a batch has, unless one file is more: with all that are on their way (in each step, and between two), 8
/// MiB are held in memory.
const BATCH_BYTES: u64 = (8 << 20) / (2 * (AHEAD as u64 + 1) + 1);

/// A file that is to be judged, and how long it has been still.
pub(super) type Chosen = (InboxEntry, Duration);

/// What a pass comes to.
#[derive(Default)]
struct Outcome {
    /// When one of the files may be judged.
    next: Option<Duration>,
    fault: Option<StoreError>,
}

/// What all batches of a pass report to.
#[derive(Default)]
struct Report {
    outcome: Mutex<Outcome>,
    halted: AtomicBool,
}

impl Report {
    fn wait(&self, left: Duration) {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        outcome.next = Some(outcome.next.map_or(left, |next| next.min(left)));
    }

    /// No more batches are begun; those on their way go on, for what is committed must be moved.
    fn halt(&self, fault: StoreError) {
        self.halted.store(true, Ordering::Relaxed);
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).fault.get_or_insert(fault);
    }
}

impl IntakeStage {
    /// Judges, commits and moves files. The earliest time to look again, if any of them must wait.
    pub(super) async fn take(&self, chosen: Vec<Chosen>) -> (Option<Duration>, Result<(), StoreError>) {
        let report = &Report::default();
        let batches = stream::iter(batches(chosen));
        let wanted = batches.take_while(|_| ready(!report.halted.load(Ordering::Relaxed)));
        // One stream through all steps would stand still in each step that the last one does not ask for more.
        let (to_commit, judged) = mpsc::channel(1);
        let (to_archive, mut committed) = mpsc::channel(1);
        let (to_mark, mut archived) = mpsc::channel(MARKED_TOGETHER);
        // The next step takes all that comes, so that none is handed over in vain.
        let judging = async move {
            let mut judging = pin!(wanted.map(|batch| self.judge(batch, report)).buffered(AHEAD));
            while let Some(judged) = judging.next().await {
                let _ = to_commit.send(judged).await;
            }
        };
        let committing = async move {
            // Handed to the writer in the order of names, so that ids follow it: at the first poll, which comes in order.
            let judged = handed_on(judged).map(|ready| self.commit(ready, report));
            let mut committing = pin!(judged.buffered(AHEAD));
            while let Some(committed) = committing.next().await {
                let _ = to_archive.send(committed).await;
            }
        };
        let archiving = async move {
            // One at a time: two would only wait for each other's folders.
            while let Some(batch) = committed.recv().await {
                let _ = to_mark.send(self.archive(batch).await).await;
            }
        };
        let marking = async move {
            let mut moved = Vec::new();
            while archived.recv_many(&mut moved, MARKED_TOGETHER).await > 0 {
                self.mark(std::mem::take(&mut moved)).await;
            }
        };
        join4(judging, committing, archiving, marking).await;
        let mut outcome = report.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        (outcome.next, outcome.fault.take().map_or(Ok(()), Err))
    }

    /// Judges a batch, and deals with all that is not to be taken in. The rest.
    async fn judge(&self, batch: Vec<Chosen>, report: &Report) -> Vec<(String, Ready)> {
        let judge = self.judge.clone();
        let judged = run_blocking(&self.clock, move || judge.judge_all(batch)).await;
        let mut ready = Vec::new();
        for (InboxEntry { name, .. }, judgement) in judged {
            match judgement {
                Judgement::Wait(patience) => report.wait(self.be_patient(&name, patience)),
                Judgement::Trouble(trouble) => self.tell_trouble(&name, &trouble),
                Judgement::Reject(problems, version) => self.reject(&name, version, problems).await,
                Judgement::Ready(file) => ready.push((name, file)),
            }
        }
        ready
    }

    /// Commits the jobs of a batch. What of it is to be moved now.
    async fn commit(&self, mut files: Vec<(String, Ready)>, report: &Report) -> Batch {
        let now = self.clock.now();
        let mut batch = Batch { now, files: Vec::new() };
        if planted(Bug::MoveBeforeCommit) {
            for (name, file) in &files {
                let folder = self.folders.accepted.join(now.date());
                let _ = self.judge.inbox.archive(name, &file.version, &folder);
            }
        }
        for _ in &files {
            failpoints::hit(FailPoint::IntakeJudged);
        }
        let outcomes = match &mut files[..] {
            [] => return batch,
            // Alone: its jobs are read while they are written.
            [(name, file)] if file.bytes.is_none() => match self.judge.drafts(name, file) {
                Ok(drafts) => match self.take_long(intake(name, file), drafts, now).await {
                    Err(IngestError::Store(error)) => Err(error),
                    outcome => Ok(vec![outcome]),
                },
                Err(FsError::Changed(_) | FsError::NotFound(_)) => Ok(Vec::new()),
                Err(error) => {
                    self.tell_trouble(name, &error.to_string());
                    Ok(Vec::new())
                }
            },
            files => {
                let together: Vec<(Intake, Vec<Draft>)> = files
                    .iter_mut()
                    .map(|(name, file)| (intake(name, file), std::mem::take(&mut file.drafts)))
                    .collect();
                self.store.take_in_together(together, now).await
            }
        };
        match outcomes {
            Ok(outcomes) => {
                let many = files.len() > TOLD_ALONE;
                let mut jobs = 0;
                for ((name, file), outcome) in files.into_iter().zip(outcomes) {
                    jobs += outcome.as_ref().map_or(0, |taken| taken.jobs.len());
                    batch.files.extend(self.taken(name, file, outcome, many).await);
                }
                if let [first, .., last] = &batch.files[..]
                    && many
                {
                    let (count, first, last) = (batch.files.len(), &first.name, &last.name);
                    tracing::info!("accepted {count} files, {first} to {last}: {jobs} jobs");
                }
            }
            Err(error) => report.halt(error),
        }
        batch
    }

    async fn take_long(&self, intake: Intake, drafts: Drafts, now: Timestamp) -> Result<Taken, IngestError> {
        // Under a paused clock nothing goes on beside anything else.
        if self.clock.is_paused() {
            return self.store.take_in(intake, drafts, now).await;
        }
        let (read, drafts) = read_ahead(drafts);
        let (taken, ()) =
            join(self.store.take_in(intake, drafts, now), run_blocking(&self.clock, read)).await;
        taken
    }

    /// Tells what became of a file, of one of `many` only if it is refused. `None` when there is nothing to move.
    async fn taken(
        &self,
        name: String,
        file: Ready,
        outcome: Result<Taken, IngestError>,
        many: bool,
    ) -> Option<Committed> {
        match outcome {
            Ok(taken) => {
                failpoints::hit(FailPoint::IntakeCommitted);
                for job in &taken.jobs {
                    tracing::debug!(%job, "accepted job {job} from {name}");
                }
                let count = taken.jobs.len();
                if !many {
                    tracing::info!("accepted {name}: {count} job{}", if count == 1 { "" } else { "s" });
                }
                return Some(Committed { nr: taken.nr, name, file });
            }
            Err(refusal @ IngestError::Repeated { .. }) => {
                self.reject(&name, file.version, vec![whole(refusal.to_string())]).await;
            }
            Err(refusal @ IngestError::KeySeen { .. }) => {
                let problem = Problem { pointer: key_pointer(&refusal), ..whole(refusal.to_string()) };
                self.reject(&name, file.version, vec![problem]).await;
            }
            Err(IngestError::Unread(why)) => self.tell_trouble(&name, &why),
            // Not of one file, see `commit`.
            Err(IngestError::Store(error)) => self.tell_trouble(&name, &error.to_string()),
        }
        None
    }
}

fn handed_on<T>(mut steps: mpsc::Receiver<T>) -> impl Stream<Item = T> {
    stream::poll_fn(move |context| steps.poll_recv(context))
}

fn intake(name: &str, file: &Ready) -> Intake {
    Intake {
        source: Source::Inbox,
        file_name: Some(name.to_owned()),
        sha256: file.sha256.clone(),
        bytes: file.version.bytes,
    }
}

fn key_pointer(refusal: &IngestError) -> String {
    match refusal {
        IngestError::KeySeen { place, .. } if *place > 0 => format!("/{place}/dropreel/key"),
        IngestError::KeySeen { .. } => "/dropreel/key".into(),
        IngestError::Repeated { .. } | IngestError::Unread(_) | IngestError::Store(_) => String::new(),
    }
}

/// What is taken in together, in order: files that fit into memory, or one that does not.
fn batches(chosen: Vec<Chosen>) -> Vec<Vec<Chosen>> {
    let mut batches: Vec<Vec<Chosen>> = Vec::new();
    let (mut bytes, mut long) = (0_u64, true);
    for file in chosen {
        bytes = bytes.saturating_add(file.0.version.bytes);
        let is_long = is_long(&file.0);
        match batches.last_mut() {
            Some(batch) if batch.len() < BATCH && bytes <= BATCH_BYTES && !long && !is_long => {
                batch.push(file)
            }
            _ => {
                bytes = file.0.version.bytes;
                batches.push(vec![file]);
            }
        }
        long = is_long;
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::Inbox;

    #[test]
    fn batches_are_bounded_and_a_long_line_file_goes_alone() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, bytes: usize| std::fs::write(folder.path().join(name), vec![b' '; bytes]).unwrap();
        for number in 0..BATCH + 2 {
            write(&format!("a{number:03}.json"), 10);
        }
        write("b.jsonl", 100_000);
        write("c.jsonl", 100);
        for name in ["d.json", "e.json", "f.json"] {
            write(name, 1_000_000);
        }
        let entries = Inbox::new(folder.path().to_owned()).list().unwrap();
        let batches = batches(entries.into_iter().map(|entry| (entry, Duration::ZERO)).collect());
        let sizes: Vec<usize> = batches.iter().map(Vec::len).collect();
        assert_eq!(sizes, [BATCH, 2, 1, 2, 1, 1]);
        assert_eq!(batches[3][1].0.name, "d.json");
    }
}
