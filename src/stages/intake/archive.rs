//! Moves job files out of the inbox once their jobs are committed. A committed file is never ingested again, even if a
//! crash leaves it in the inbox.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::clock::Timestamp;
use crate::failpoints::{self, FailPoint};
use crate::fs::FsError;
use crate::inbox::{Destination, FileHere, Inbox};
use crate::stages::intake::IntakeStage;
use crate::stages::intake::validate::ValidFile;
use crate::stages::run_blocking;
use crate::store::error::StoreError;
use crate::store::job_files::UnmovedFile;

/// Files whose jobs were committed together, to be moved.
pub(super) struct Batch {
    pub now: Timestamp,
    pub files: Vec<Committed>,
}

/// A file whose jobs are committed.
pub(super) struct Committed {
    /// Its row.
    pub nr: i64,
    pub name: String,
    pub file: ValidFile,
}

/// Files that were moved to one folder.
pub(super) struct Moved {
    folder: PathBuf,
    /// The row of each, and where it is now.
    files: Vec<(i64, Option<String>)>,
}

impl IntakeStage {
    /// Finishes the moves that a crash or a full disk interrupted. Returns the names of the files that still cannot be
    /// moved: their jobs are committed, so they must not be ingested again.
    pub(super) async fn resume_moves(&self) -> Result<BTreeSet<String>, StoreError> {
        let mut still_unmoved = BTreeSet::new();
        for unmoved in self.store.unmoved().await? {
            let folder = self.folders.accepted.join(self.clock.local_date(unmoved.ingested_at));
            let name = unmoved.file_name.clone();
            failpoints::hit(FailPoint::MoveResumed);
            let nr = unmoved.nr;
            match self.finish_move(folder, unmoved).await? {
                Ok(to) => self.store.mark_moved(vec![(nr, display_path(to))], self.clock.now()).await?,
                Err(error) => {
                    tracing::warn!("{name} was accepted but cannot be moved out of the inbox yet: {error}");
                    still_unmoved.insert(name);
                }
            }
        }
        Ok(still_unmoved)
    }

    /// Moves the file, and returns where it is now. Another file that was moved in its place is put back.
    async fn finish_move(
        &self,
        folder: PathBuf,
        unmoved: UnmovedFile,
    ) -> Result<Result<Option<PathBuf>, FsError>, StoreError> {
        let (validator, name, from) = (self.validator.clone(), unmoved.file_name.clone(), folder.clone());
        let finish = move || finish_move(&validator.inbox, &folder, &unmoved);
        let foreign = match run_blocking(&self.clock, finish).await {
            Ok(FinishedMove::Done(to)) => return Ok(Ok(Some(to))),
            Ok(FinishedMove::Missing(Some(file))) => file,
            Ok(FinishedMove::Missing(None)) => return Ok(Ok(None)),
            Err(error) => return Ok(Err(error)),
        };
        // An earlier drop of the same name: its content is in the database.
        if let Some(sha256) = &foreign.sha256
            && self.store.was_dropped(sha256.clone()).await?
        {
            return Ok(Ok(None));
        }
        let validator = self.validator.clone();
        let put_back = move || {
            let opened = validator.inbox.open()?;
            Destination::create(&opened, &from)?.put_back(&name, &foreign)?;
            tracing::warn!("{name} was replaced while it was moved; the other file is back in the inbox");
            Ok(None)
        };
        Ok(run_blocking(&self.clock, put_back).await)
    }

    /// Moves files whose jobs are committed out of the inbox. The next pass retries those that could not be moved.
    pub(super) async fn archive(&self, batch: Batch) -> Moved {
        let folder = self.folders.accepted.join(self.clock.local_date(batch.now));
        if batch.files.is_empty() {
            return Moved { folder, files: Vec::new() };
        }
        let validator = self.validator.clone();
        run_blocking(&self.clock, move || Moved {
            files: archive_all(&validator.inbox, &folder, &batch.files),
            folder,
        })
        .await
    }

    /// Records moves in the database after they are flushed. After a crash before that, the next pass finds the files
    /// moved already.
    pub(super) async fn record_moves(&self, batches: Vec<Moved>) {
        let mut by_folder = BTreeMap::<PathBuf, Vec<_>>::new();
        for Moved { folder, files } in batches.into_iter().filter(|moved| !moved.files.is_empty()) {
            by_folder.entry(folder).or_default().extend(files);
        }
        for (folder, files) in by_folder {
            self.record_moves_to(folder, files).await;
        }
    }

    async fn record_moves_to(&self, folder: PathBuf, files: Vec<(i64, Option<String>)>) {
        let count = files.len();
        let (validator, flushed) = (self.validator.clone(), folder.clone());
        if let Err(error) = run_blocking(&self.clock, move || validator.inbox.flush_moves(&flushed)).await {
            // The next pass finds them moved, or still in the inbox.
            tracing::warn!(
                "files were moved to {}, but the move could not be flushed and a crash may undo it: {error}",
                folder.display()
            );
            return;
        }
        if let Err(error) = self.store.mark_moved(files, self.clock.now()).await {
            tracing::warn!(
                "files were moved to {}, but that could not be recorded yet: {error}",
                folder.display()
            );
        }
        for _ in 0..count {
            failpoints::hit(FailPoint::MoveRecorded);
        }
    }
}

fn archive_all(inbox: &Inbox, folder: &Path, files: &[Committed]) -> Vec<(i64, Option<String>)> {
    let stays = |name: &str, error: &FsError| {
        tracing::warn!("{name} was accepted but cannot be moved out of the inbox yet: {error}");
    };
    let moved = inbox.open().and_then(|opened| {
        let destination = Destination::create(&opened, folder)?;
        let moved = files.iter().filter_map(|committed| match archive(&destination, committed) {
            Ok(to) => Some((committed.nr, display_path(to))),
            Err(error) => {
                stays(&committed.name, &error);
                None
            }
        });
        Ok(moved.collect())
    });
    moved.unwrap_or_else(|error| {
        files.iter().for_each(|committed| stays(&committed.name, &error));
        Vec::new()
    })
}

fn archive(destination: &Destination<'_>, committed: &Committed) -> Result<Option<PathBuf>, FsError> {
    let Committed { name, file, .. } = committed;
    match (destination.archive(name, &file.version, &file.sha256), &file.bytes) {
        // Edited or removed just before the move: the edited file is a new drop, and the archive gets what was read.
        (Err(FsError::Changed(_) | FsError::NotFound(_)), Some(bytes)) => {
            destination.save_copy(name, bytes).map(Some)
        }
        (Err(FsError::Changed(_) | FsError::NotFound(_)), None) => Ok(None),
        (moved, _) => moved.map(Some),
    }
}

/// The end of a move that was interrupted.
enum FinishedMove {
    /// The file is here.
    Done(PathBuf),
    /// The file is gone. With the newest file that is under one of its names: it may have been moved instead.
    Missing(Option<FileHere>),
}

fn finish_move(inbox: &Inbox, folder: &Path, unmoved: &UnmovedFile) -> Result<FinishedMove, FsError> {
    let opened = inbox.open()?;
    let destination = Destination::create(&opened, folder)?;
    let finished = match destination.archive_content(&unmoved.file_name, &unmoved.sha256) {
        // Moved already, removed, or another file by now.
        Err(FsError::Changed(_) | FsError::NotFound(_)) => {
            let files = destination.files_named(&unmoved.file_name);
            match files.iter().find(|file| file.sha256.as_ref() == Some(&unmoved.sha256)) {
                Some(own) => FinishedMove::Done(folder.join(&own.name)),
                None => FinishedMove::Missing(files.into_iter().next()),
            }
        }
        moved => FinishedMove::Done(moved?),
    };
    // A move must be flushed before it is recorded, or a power cut could undo it unnoticed.
    inbox.flush_moves(folder)?;
    Ok(finished)
}

fn display_path(path: Option<PathBuf>) -> Option<String> {
    path.map(|path| path.display().to_string())
}
