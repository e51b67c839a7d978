//! Moves job files out of the inbox once their jobs are committed. A committed file is never ingested again, even if a
//! crash leaves it in the inbox.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::clock::Timestamp;
use crate::failpoints::{self, FailPoint};
use crate::fs::{FsError, create_private_folder, create_private_folders};
use crate::inbox::{Destination, FileHere, Inbox, folder_for};
use crate::jobfile::split_path;
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
    /// Below the inbox.
    pub path: String,
    pub file: ValidFile,
}

/// Files that were moved from one folder to another.
pub(super) struct Moved {
    /// Below the inbox.
    from: String,
    to: PathBuf,
    /// The row of each, and where it is now.
    files: Vec<(i64, Option<String>)>,
}

impl IntakeStage {
    /// Finishes the moves that a crash or a full disk interrupted. Returns the names of the files that still cannot be
    /// moved: their jobs are committed, so they must not be ingested again.
    pub(super) async fn resume_moves(&self) -> Result<BTreeSet<String>, StoreError> {
        let (mut moved, mut still_unmoved) = (Vec::new(), BTreeSet::new());
        for unmoved in self.store.unmoved().await? {
            let day = self.folders.accepted.join(self.clock.local_date(unmoved.ingested_at));
            let name = unmoved.file_name.clone();
            failpoints::hit(FailPoint::MoveResumed);
            let (nr, from) = (unmoved.nr, split_path(&name).0.to_owned());
            let folder = folder_for(&day, &from);
            match self.finish_move(folder.clone(), unmoved).await? {
                Ok(to) => moved.push(Moved { from, to: folder, files: vec![(nr, display_path(to))] }),
                Err(error) => {
                    warn_stays(&name, &error);
                    still_unmoved.insert(name);
                }
            }
        }
        self.record_moves(moved).await;
        Ok(still_unmoved)
    }

    /// Moves the file to `folder`, and returns where it is now. Another file that was moved in its place is put back.
    async fn finish_move(
        &self,
        folder: PathBuf,
        unmoved: UnmovedFile,
    ) -> Result<Result<Option<PathBuf>, FsError>, StoreError> {
        let (validator, path, to) = (self.validator.clone(), unmoved.file_name.clone(), folder.clone());
        let finish = move || finish_move(&validator.inbox, &to, &unmoved);
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
            let (below, name) = split_path(&path);
            let opened = validator.inbox.open_below(below)?;
            Destination::create(&opened, &folder)?.put_back(name, &foreign)?;
            tracing::warn!("{path} was replaced while it was moved; the other file is back in the inbox");
            Ok(None)
        };
        Ok(run_blocking(&self.clock, put_back).await)
    }

    /// Moves files whose jobs are committed out of the inbox. The next pass retries those that could not be moved.
    pub(super) async fn archive(&self, batches: Vec<Batch>) -> Vec<Moved> {
        let mut by_folder = BTreeMap::<PathBuf, BTreeMap<String, Vec<Committed>>>::new();
        for Batch { now, files } in batches {
            let day = self.folders.accepted.join(self.clock.local_date(now));
            let of_day = by_folder.entry(day).or_default();
            for committed in files {
                of_day.entry(split_path(&committed.path).0.to_owned()).or_default().push(committed);
            }
        }
        if by_folder.values().all(BTreeMap::is_empty) {
            return Vec::new();
        }
        let validator = self.validator.clone();
        run_blocking(&self.clock, move || archive_all(&validator.inbox, by_folder)).await
    }

    /// Records moves in the database after they are flushed. After a crash before that, the next pass finds the files
    /// moved already.
    pub(super) async fn record_moves(&self, moved: Vec<Moved>) {
        let moved: Vec<Moved> = moved.into_iter().filter(|moved| !moved.files.is_empty()).collect();
        if moved.is_empty() {
            return;
        }
        let validator = self.validator.clone();
        let flush = move || {
            let folders = moved.iter().map(|moved| (&*moved.from, &*moved.to));
            let flushed = validator.inbox.flush_moves(folders);
            flushed.map(|()| moved.into_iter().flat_map(|moved| moved.files).collect::<Vec<_>>())
        };
        let moved = match run_blocking(&self.clock, flush).await {
            Ok(moved) => moved,
            // The next pass finds the files moved, or still in the inbox.
            Err(error) => {
                tracing::warn!(
                    "files were moved out of the inbox, but that could not be flushed and a crash may undo it: {error}"
                );
                return;
            }
        };
        let count = moved.len();
        if let Err(error) = self.store.mark_moved(moved, self.clock.now()).await {
            tracing::warn!(
                "{count} files were moved out of the inbox, but that could not be recorded yet: {error}"
            );
        }
        for _ in 0..count {
            failpoints::hit(FailPoint::MoveRecorded);
        }
    }
}

/// Moves files, by day and by folder of the inbox, each to the folder below that of the day that it has below the inbox.
fn archive_all(inbox: &Inbox, files: BTreeMap<PathBuf, BTreeMap<String, Vec<Committed>>>) -> Vec<Moved> {
    let mut moves = Vec::new();
    for (day, by_folder) in files {
        for (from, files) in by_folder {
            moves.push((folder_for(&day, &from), from, files));
        }
    }
    // All before any move: a file must not be in a folder whose name a power cut can undo.
    if let Err(error) = create_private_folders(moves.iter().map(|(to, ..)| &**to)) {
        let files = moves.iter().flat_map(|(.., files)| files);
        files.for_each(|committed| warn_stays(&committed.path, &error));
        return Vec::new();
    }
    failpoints::hit(FailPoint::ArchiveFoldersCreated);
    let moved = moves.into_iter().map(|(to, from, files)| {
        let files = archive_from(inbox, &from, &to, &files);
        Moved { from, to, files }
    });
    moved.collect()
}

fn warn_stays(path: &str, error: &FsError) {
    tracing::warn!("{path} was accepted but cannot be moved out of the inbox yet: {error}");
}

fn archive_from(inbox: &Inbox, from: &str, to: &Path, files: &[Committed]) -> Vec<(i64, Option<String>)> {
    let moved = inbox.open_below(from).and_then(|opened| {
        let destination = Destination::create(&opened, to)?;
        let moved = files.iter().filter_map(|committed| match archive(&destination, committed) {
            Ok(to) => Some((committed.nr, display_path(to))),
            Err(error) => {
                warn_stays(&committed.path, &error);
                None
            }
        });
        Ok(moved.collect())
    });
    moved.unwrap_or_else(|error| {
        files.iter().for_each(|committed| warn_stays(&committed.path, &error));
        Vec::new()
    })
}

fn archive(destination: &Destination<'_>, committed: &Committed) -> Result<Option<PathBuf>, FsError> {
    let Committed { path, file, .. } = committed;
    let name = split_path(path).1;
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

fn finish_move(inbox: &Inbox, to: &Path, unmoved: &UnmovedFile) -> Result<FinishedMove, FsError> {
    let (from, name) = split_path(&unmoved.file_name);
    let opened = match inbox.open_below(from) {
        // Its empty folder is gone. A file that was moved in its place is put back there.
        Err(FsError::NotFound(_)) => {
            create_private_folder(&inbox.path().join(from))?;
            inbox.open_below(from)?
        }
        opened => opened?,
    };
    let destination = Destination::create(&opened, to)?;
    Ok(match destination.archive_content(name, &unmoved.sha256) {
        // Moved already, removed, or another file by now.
        Err(FsError::Changed(_) | FsError::NotFound(_)) => {
            let files = destination.files_named(name);
            match files.iter().find(|file| file.sha256.as_ref() == Some(&unmoved.sha256)) {
                Some(own) => FinishedMove::Done(to.join(&own.name)),
                None => FinishedMove::Missing(files.into_iter().next()),
            }
        }
        moved => FinishedMove::Done(moved?),
    })
}

fn display_path(path: Option<PathBuf>) -> Option<String> {
    path.map(|path| path.display().to_string())
}
