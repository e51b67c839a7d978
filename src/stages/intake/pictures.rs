//! The local pictures that a job file names: found beside or below it, waited for while they are missing or still being
//! copied, and kept as copies before the jobs are committed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::{Clock, Tick, Timestamp};
use crate::fs::{FsError, is_transient, open_file_below, open_for_writing};
use crate::jobfile::pictures::{FoundPicture, PictureContent, path_below};
use crate::jobfile::{Draft, ObjectPlace, Problem};
use crate::pictures::image::ImageFault;
use crate::pictures::{PictureError, PictureFolder, add_warnings, warnings};
use crate::stages::intake::IntakeStage;
use crate::stages::run_blocking;
use crate::store::error::StoreError;

/// How often a job file is looked at again while it waits for a picture.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Finds and keeps pictures.
pub(super) struct PictureFinder {
    pub inbox: PathBuf,
    pub folder: PictureFolder,
    /// How long a job file waits for its pictures (`inbox.picture_wait`).
    pub wait: Duration,
    /// How long a picture must be unchanged.
    pub settle: Duration,
    pub clock: Clock,
    /// The time between two removals of copies that no job needs.
    pub removal_interval: Duration,
    /// When copies that no job needs were last removed.
    pub removed_at: Mutex<Option<Tick>>,
}

/// The pictures of a job file, by their paths in it.
#[derive(Clone, Debug, Default)]
pub(super) struct FilePictures(BTreeMap<String, FilePicture>);

#[derive(Clone, Debug)]
struct FilePicture {
    /// The first object that names it.
    place: ObjectPlace,
    found: Option<FoundPicture>,
    /// For known models.
    warnings: Vec<String>,
}

impl FilePictures {
    /// Adds the pictures that a draft names.
    pub fn add(&mut self, draft: &Draft) {
        for picture in &draft.pictures {
            let first = || FilePicture { place: draft.place.clone(), found: None, warnings: Vec::new() };
            self.0.entry(picture.path.clone()).or_insert_with(first);
        }
    }

    /// The contents of those that were found, by their paths.
    pub fn contents(&self) -> impl Iterator<Item = (&String, &PictureContent)> {
        self.0.iter().filter_map(|(path, picture)| Some((path, &picture.found.as_ref()?.content)))
    }

    /// The draft with what was found of its pictures.
    pub fn resolve(&self, mut draft: Draft) -> Draft {
        let mut pictures = std::mem::take(&mut draft.pictures);
        for picture in &mut pictures {
            let Some(known) = self.0.get(&picture.path) else { continue };
            picture.found.clone_from(&known.found);
            add_warnings(&mut draft, &picture.path, &known.warnings);
        }
        Draft { pictures, ..draft }
    }
}

/// The result of a search for the pictures of a job file.
pub(super) enum Search {
    /// All are kept.
    Done,
    /// Search again once the job file has been unchanged for this long.
    Wait(Duration),
    /// The job file is to be rejected.
    Failed(Vec<Problem>),
    /// A fault of this machine that passes.
    Blocked(FsError),
}

/// What is the matter with a picture.
enum Finding {
    /// It may come, or become whole.
    Wait(String),
    /// It never will.
    Bad(String),
    /// A fault of this machine that passes.
    Fault(FsError),
}

impl PictureFinder {
    /// Finds and keeps the pictures of the job file `name`, which has been unchanged for this long. Blocks.
    pub fn find_all(&self, name: &str, unchanged_for: Duration, pictures: &mut FilePictures) -> Search {
        if pictures.0.is_empty() {
            return Search::Done;
        }
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        let faults = match self.find_in(folder, pictures) {
            Ok(faults) => faults,
            Err(fault) => return Search::Blocked(fault),
        };
        let only_waits = faults.iter().all(|(_, finding)| matches!(finding, Finding::Wait(_)));
        if faults.is_empty() {
            Search::Done
        } else if only_waits && unchanged_for < self.wait {
            Search::Wait((unchanged_for + LOOK_INTERVAL).min(self.wait))
        } else {
            let problems = faults.into_iter().map(|(path, finding)| self.problem(pictures, path, finding));
            Search::Failed(problems.collect())
        }
    }

    fn problem(&self, pictures: &FilePictures, path: String, finding: Finding) -> Problem {
        let place = pictures.0.get(&path).map(|picture| picture.place.clone()).unwrap_or_default();
        let message = match finding {
            Finding::Bad(why) => format!("the picture `{path}` {why}"),
            Finding::Wait(why) => format!(
                "the picture `{path}` {why}; a job file waits {} s for its pictures (inbox.picture_wait): drop it again \
                 once they are there",
                self.wait.as_secs()
            ),
            Finding::Fault(error) => format!("the picture `{path}`: {error}"),
        };
        Problem { pointer: place.pointer, message, line: place.line.max(1), column: 1 }
    }

    /// Looks for all pictures first, and reads them only once all are there: a job file may wait for a long time.
    fn find_in(&self, folder: &str, pictures: &mut FilePictures) -> Result<Vec<(String, Finding)>, FsError> {
        let mut opened = Vec::new();
        let mut faults = Vec::new();
        for path in pictures.0.keys() {
            let Some(inbox_path) = path_below(folder, path) else {
                faults.push((path.clone(), Finding::Bad("is outside the inbox".to_owned())));
                continue;
            };
            match self.look(&inbox_path) {
                Ok(id) => opened.push((path.clone(), inbox_path, id)),
                Err(finding) => faults.push((path.clone(), finding)),
            }
        }
        let being_written = open_for_writing(&opened.iter().map(|(.., id)| *id).collect::<BTreeSet<_>>());
        for (path, _, id) in &opened {
            if being_written.contains(id) {
                faults.push((path.clone(), Finding::Wait("is still open for writing".to_owned())));
            }
        }
        if faults.is_empty() {
            for (path, inbox_path, _) in opened {
                match self.keep(inbox_path) {
                    Ok((found, warnings)) => {
                        if let Some(picture) = pictures.0.get_mut(&path) {
                            (picture.found, picture.warnings) = (Some(found), warnings);
                        }
                    }
                    Err(Finding::Fault(error)) => return Err(error),
                    Err(finding) => faults.push((path, finding)),
                }
            }
        }
        Ok(faults)
    }

    fn open(&self, inbox_path: &str) -> Result<File, Finding> {
        open_file_below(&self.inbox, Path::new(inbox_path)).map_err(|error| match error {
            FsError::NotFound(_) => Finding::Wait("is not there".to_owned()),
            FsError::NotRegular { kind, .. } => {
                Finding::Bad(format!("is a {kind}, which dropreel does not open"))
            }
            error if has_no_room(&error) => Finding::Fault(error),
            error => Finding::Wait(format!("cannot be opened: {error}")),
        })
    }

    /// Device and inode of a picture that is there and has not changed for a while.
    fn look(&self, inbox_path: &str) -> Result<(u64, u64), Finding> {
        let file = self.open(inbox_path)?;
        let path = self.inbox.join(inbox_path);
        let found = file.metadata().map_err(|error| Finding::Fault(FsError::new(&path, error)))?;
        let millis = found.ctime().saturating_mul(1000).saturating_add(found.ctime_nsec() / 1_000_000);
        let (changed, now) = (Timestamp::from_millis(millis), self.clock.now());
        // A time in the future comes from another clock, and says nothing.
        if changed <= now && now.since(changed) < self.settle {
            return Err(Finding::Wait("is still being copied".to_owned()));
        }
        Ok((found.dev(), found.ino()))
    }

    fn keep(&self, inbox_path: String) -> Result<(FoundPicture, Vec<String>), Finding> {
        let file = self.open(&inbox_path)?;
        let kept = self.folder.keep(file, &self.inbox.join(&inbox_path)).map_err(|error| match error {
            PictureError::Fault(fault @ ImageFault::Cut) => Finding::Wait(fault.to_string()),
            error @ PictureError::Changing => Finding::Wait(error.to_string()),
            error @ (PictureError::Fault(_) | PictureError::TooLarge) => Finding::Bad(error.to_string()),
            PictureError::File(error) => Finding::Fault(error),
        })?;
        let warnings = warnings(&kept);
        Ok((FoundPicture { inbox_path: Some(inbox_path), content: kept.content }, warnings))
    }

    /// The copies, once it is time to remove those that no job needs.
    fn to_examine(&self) -> Result<Vec<PictureContent>, FsError> {
        let now = self.clock.tick();
        let last = self.removed_at.lock().replace(now);
        match last {
            Some(last) if now.since(last) < self.removal_interval => {
                *self.removed_at.lock() = Some(last);
                return Ok(Vec::new());
            }
            Some(_) => {}
            None => self.folder.remove_interrupted()?,
        }
        self.folder.list()
    }
}

/// Whether this process or this machine lacks room to open a file.
fn has_no_room(error: &FsError) -> bool {
    matches!(error, FsError::Io { source, .. } if is_transient(source))
}

impl IntakeStage {
    /// Removes the copies of pictures that no unfinished job names. Only between two ingestions: a copy is made before its
    /// job is committed.
    pub(super) async fn remove_unneeded_pictures(&self) -> Result<(), StoreError> {
        // Where several daemons share the folder, one of them removes.
        if self.store.follows() {
            return Ok(());
        }
        let finder = self.validator.pictures.clone();
        let _no_new_copies = finder.folder.before_removal().await;
        let kept = run_blocking(&self.clock, move || finder.to_examine()).await.unwrap_or_else(|error| {
            tracing::warn!("copies of pictures that no job needs cannot be removed: {error}");
            Vec::new()
        });
        if kept.is_empty() {
            return Ok(());
        }
        let unneeded = self.store.unneeded_pictures(kept, self.clock.now()).await?;
        let finder = self.validator.pictures.clone();
        run_blocking(&self.clock, move || finder.folder.remove_unneeded(&unneeded)).await;
        Ok(())
    }
}
