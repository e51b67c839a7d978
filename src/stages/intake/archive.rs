//! Destination job files out of the inbox once their jobs are committed: a committed file is no new drop, whatever crashes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::clock::Timestamp;
use crate::failpoints::{self, FailPoint};
use crate::fs::FsError;
use crate::inbox::{Destination, Inbox};
use crate::stages::intake::validate::Ready;
use crate::stages::intake::{IntakeFolders, IntakeStage};
use crate::stages::run_blocking;
use crate::store::error::StoreError;
use crate::store::intake::Unmoved;

/// So often a file that changes while it is moved is looked at again.
const SECOND_LOOKS: u32 = 100;

/// Files whose jobs were committed together and which are now to be moved.
pub(super) struct Batch {
    pub now: Timestamp,
    pub files: Vec<Committed>,
}

/// One of them.
pub(super) struct Committed {
    /// The number of its row.
    pub nr: i64,
    pub name: String,
    pub file: Ready,
}

/// Files that have left the inbox for one folder.
pub(super) struct Moved {
    folder: PathBuf,
    /// The numbers of their rows, and where each lies now.
    files: Vec<(i64, Option<String>)>,
}

impl IntakeStage {
    /// Finishes the moves that a crash or a full disk left: their jobs are committed, so their files are no new drops.
    pub(super) async fn finish_moves(&self) -> Result<BTreeSet<String>, StoreError> {
        let mut pending = BTreeSet::new();
        for unmoved in self.store.unmoved().await? {
            let (judge, folders) = (self.judge.clone(), self.folders.clone());
            let name = unmoved.file_name.clone();
            failpoints::hit(FailPoint::MoveResumed);
            match run_blocking(&self.clock, move || {
                finish_move(&judge.inbox, &folders, &unmoved).map(|to| (unmoved.nr, to))
            })
            .await
            {
                Ok(moved) => self.store.mark_moved(vec![moved], self.clock.now()).await?,
                Err(error) => {
                    tracing::warn!("{name} was accepted but cannot be moved out of the inbox yet: {error}");
                    pending.insert(name);
                }
            }
        }
        Ok(pending)
    }

    /// Destination files whose jobs are committed out of the inbox. Those left out are tried again at the next look.
    pub(super) async fn archive(&self, batch: Batch) -> Moved {
        let folder = self.folders.accepted.join(batch.now.date());
        if batch.files.is_empty() {
            return Moved { folder, files: Vec::new() };
        }
        let judge = self.judge.clone();
        run_blocking(&self.clock, move || Moved {
            files: archive_all(&judge.inbox, &folder, &batch.files),
            folder,
        })
        .await
    }

    /// Writes down what was moved, once no crash can undo it. A crash before that costs another look at each.
    pub(super) async fn mark(&self, batches: Vec<Moved>) {
        let mut by_folder = BTreeMap::<PathBuf, Vec<_>>::new();
        for Moved { folder, files } in batches.into_iter().filter(|moved| !moved.files.is_empty()) {
            by_folder.entry(folder).or_default().extend(files);
        }
        for (folder, files) in by_folder {
            self.mark_in(folder, files).await;
        }
    }

    async fn mark_in(&self, folder: PathBuf, files: Vec<(i64, Option<String>)>) {
        let count = files.len();
        let (judge, flushed) = (self.judge.clone(), folder.clone());
        if let Err(error) = run_blocking(&self.clock, move || judge.inbox.flush_moves(&flushed)).await {
            // At the next look these are found moved, or still there.
            tracing::warn!("files were moved to {}, which a crash may undo: {error}", folder.display());
            return;
        }
        if let Err(error) = self.store.mark_moved(files, self.clock.now()).await {
            tracing::warn!("files were moved to {}, which is written down later: {error}", folder.display());
        }
        for _ in 0..count {
            failpoints::hit(FailPoint::MoveMarked);
        }
    }
}

fn archive_all(inbox: &Inbox, folder: &Path, files: &[Committed]) -> Vec<(i64, Option<String>)> {
    let stays = |name: &str, error: &FsError| {
        tracing::warn!("{name} was accepted but cannot be moved out of the inbox yet: {error}");
    };
    let moved = inbox.open().and_then(|opened| {
        let destination = Destination::create(&opened, folder)?;
        let moved = files.iter().filter_map(|committed| match archive(inbox, &destination, committed) {
            Ok(to) => Some((committed.nr, shown_path(to))),
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

fn archive(
    inbox: &Inbox,
    destination: &Destination<'_>,
    committed: &Committed,
) -> Result<Option<PathBuf>, FsError> {
    let Committed { name, file, .. } = committed;
    let moved = match destination.archive(name, &file.version) {
        Err(FsError::Changed(_)) => archive_if_the_same(inbox, destination, name, &file.sha256),
        moved => moved,
    };
    match (moved, &file.bytes) {
        // Edited or taken away in this very moment: what is there is a new drop, and what was read is kept.
        (Err(FsError::Changed(_) | FsError::NotFound(_)), Some(bytes)) => {
            inbox.save_copy(name, bytes, destination.path()).map(Some)
        }
        (Err(FsError::Changed(_) | FsError::NotFound(_)), None) => Ok(None),
        (moved, _) => moved.map(Some),
    }
}

/// For a file that is no longer as it was: if its bytes are, it is the same drop and not to be bought again. Its mode
/// may have been changed, or another of its names been taken away, and that more than once.
fn archive_if_the_same(
    inbox: &Inbox,
    destination: &Destination<'_>,
    name: &str,
    sha256: &str,
) -> Result<PathBuf, FsError> {
    let changed = || FsError::Changed(inbox.path().join(name));
    for _ in 0..SECOND_LOOKS {
        let version = match inbox.hash_file(name) {
            Ok((found, version)) if found == sha256 => version,
            Err(FsError::Changed(_)) => continue,
            Ok(_) | Err(_) => return Err(changed()),
        };
        match destination.archive(name, &version) {
            Err(FsError::Changed(_)) => {}
            moved => return moved,
        }
    }
    Err(changed())
}

fn finish_move(inbox: &Inbox, folders: &IntakeFolders, unmoved: &Unmoved) -> Result<Option<String>, FsError> {
    let folder = folders.accepted.join(unmoved.taken_at.date());
    let found = match inbox.hash_file(&unmoved.file_name) {
        Ok((sha256, version)) if sha256 == unmoved.sha256 => version,
        // Moved already, taken away, or another file by now.
        Ok(_) | Err(FsError::NotFound(_) | FsError::NotRegular { .. } | FsError::Changed(_)) => {
            // A move of which nobody knows whether it was flushed must not be undone once it is written down.
            if folder.is_dir() {
                inbox.flush_moves(&folder)?;
            }
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    match inbox.archive(&unmoved.file_name, &found, &folder) {
        Err(FsError::Changed(_) | FsError::NotFound(_)) => Ok(None),
        moved => {
            let to = moved?;
            inbox.flush_moves(&folder)?;
            Ok(shown_path(Some(to)))
        }
    }
}

fn shown_path(path: Option<PathBuf>) -> Option<String> {
    path.map(|path| path.display().to_string())
}
