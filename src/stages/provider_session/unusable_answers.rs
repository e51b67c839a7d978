//! Keeps answers of the provider that could not be used, as evidence: the latest of each job, in `quarantine/`.

use std::collections::BTreeMap;
use std::fs::DirEntry;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde_json::json;

use crate::clock::Clock;
use crate::fs::{FsError, create_private_folder, write_durably};
use crate::job::JobId;
use crate::library::evidence::{ANSWER, answer_name};

/// An answer that says what happened, but not what is needed, is kept at once; others from this one in a row.
const KEPT_FROM: u32 = 3;
/// While it continues, each further answer of this number replaces the stored one.
const KEPT_AGAIN: u32 = 10;
/// At most this many are kept; the oldest are removed.
const MAX_KEPT: usize = 200;
/// Most jobs whose answers are counted. With more at a time, counting starts again.
const MAX_COUNTED: usize = 10_000;

/// See the module.
pub struct UnusableAnswers {
    folder: PathBuf,
    clock: Clock,
    /// How many in a row.
    counts: Mutex<BTreeMap<JobId, u32>>,
}

impl UnusableAnswers {
    /// Nothing is counted yet.
    pub fn new(folder: PathBuf, clock: Clock) -> Self {
        Self { folder, clock, counts: Mutex::default() }
    }

    /// Records the answer to a call about `job`: `unusable`, or `None` for one that could be used.
    pub async fn record(&self, job: JobId, unusable: Option<String>, at_once: bool) {
        let Some(answer) = unusable else {
            self.counts.lock().remove(&job);
            return;
        };
        if !self.is_kept(job, at_once) {
            return;
        }
        let path = self.folder.join(answer_name(job));
        let content = json!({"job": job.to_string(), "at": self.clock.now(), "answer": answer});
        let (folder, file) = (self.folder.clone(), path.clone());
        let written = self.clock.run_blocking(move || write(&folder, &file, &content.to_string())).await;
        match written {
            Ok(Ok(())) => tracing::warn!(
                %job,
                "the provider's answer about job {job} cannot be used; it is kept in {}",
                path.display()
            ),
            Ok(Err(error)) => tracing::warn!(%job, "cannot keep an answer about job {job}: {error}"),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    fn is_kept(&self, job: JobId, at_once: bool) -> bool {
        let mut counts = self.counts.lock();
        if counts.len() >= MAX_COUNTED {
            counts.clear();
        }
        let count = counts.entry(job).or_default();
        *count += 1;
        *count == if at_once { 1 } else { KEPT_FROM } || count.is_multiple_of(KEPT_AGAIN)
    }
}

fn write(folder: &Path, path: &Path, content: &str) -> Result<(), FsError> {
    create_private_folder(folder)?;
    write_durably(path, content.as_bytes())?;
    let kept = kept_answers(folder);
    for old in kept.iter().take(kept.len().saturating_sub(MAX_KEPT)) {
        // Pruning may have been faster.
        let _ = std::fs::remove_file(old);
    }
    Ok(())
}

/// The files of the answers that are kept in the quarantine folder, oldest first.
pub fn kept_answers(quarantine: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(quarantine).into_iter().flatten().flatten();
    let is_answer = |entry: &DirEntry| entry.file_name().to_string_lossy().starts_with(ANSWER);
    let with_time = |entry: DirEntry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()));
    let mut kept: Vec<_> = entries.filter(is_answer).filter_map(with_time).collect();
    kept.sort();
    kept.into_iter().map(|(_, path)| path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::rng::Rng;

    const START: Timestamp = Timestamp::from_millis(1_775_285_160_000);

    fn job(number: u64) -> JobId {
        JobId::new(START, number, &Rng::seeded(1))
    }

    #[tokio::test]
    async fn unusable_answer_is_kept_at_once_or_from_the_third_in_a_row() {
        let folder = tempfile::tempdir().expect("a folder");
        let answers = UnusableAnswers::new(folder.path().join("quarantine"), Clock::machine());
        let kept = || kept_answers(&folder.path().join("quarantine")).len();
        let page = || Some("<html>".to_owned());
        answers.record(job(1), page(), false).await;
        answers.record(job(1), page(), false).await;
        answers.record(job(1), None, false).await;
        answers.record(job(1), page(), false).await;
        answers.record(job(1), page(), false).await;
        assert_eq!(kept(), 0, "a usable one in between");
        answers.record(job(1), page(), false).await;
        assert_eq!(kept(), 1);
        answers.record(job(2), page(), true).await;
        assert_eq!(kept(), 2);
        let kept = kept_answers(&folder.path().join("quarantine"));
        let content = std::fs::read_to_string(&kept[1]).expect("a file");
        assert!(content.contains(&job(2).to_string()) && content.contains("<html>"), "{content}");
    }

    #[tokio::test]
    async fn oldest_answers_make_room() {
        let folder = tempfile::tempdir().expect("a folder");
        for number in 0..MAX_KEPT + 5 {
            let file = std::fs::File::create(folder.path().join(format!("{ANSWER}{number}.json")));
            // Files written at the same moment have the same time.
            file.and_then(|file| file.set_modified(std::time::UNIX_EPOCH)).expect("written");
        }
        let answers = UnusableAnswers::new(folder.path().to_owned(), Clock::machine());
        answers.record(job(1), Some(String::new()), true).await;
        let kept = kept_answers(folder.path());
        assert_eq!(kept.len(), MAX_KEPT);
        assert!(kept.last().is_some_and(|path| path.ends_with(answer_name(job(1)))));
    }
}
