//! Files that another program is still writing: what was read of them may be the first part only.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::fs::open_for_writing;
use crate::inbox::FileVersion;
use crate::stages::intake::validate::{Candidate, Validation, Validator};

/// A file that is unchanged for this long and still open for writing is reported.
const OPEN_REPORT: Duration = Duration::from_secs(60);

impl Validator {
    /// Postpones files that were read while another program wrote them or their `defaults`: it has them open, or has
    /// finished since. Called after they are read, or a writer that opens one in between would not be seen.
    pub(super) fn postpone_written(
        &self,
        validated: Vec<(Candidate, Validation)>,
        defaults: &BTreeMap<String, FileVersion>,
    ) -> Vec<(String, Validation)> {
        let judged = validated.iter().filter_map(|(_, validation)| validation.judged());
        let open_files: BTreeSet<_> =
            open_for_writing(&judged.chain(defaults.values()).map(FileVersion::id).collect());
        // Defaults are shared by most of the files that are judged together, and rarely written: then all of them wait.
        let defaults_are_open = defaults.values().any(|version| open_files.contains(&version.id()));
        let defaults_changed = defaults.iter().any(|(path, version)| !self.inbox.has_version(path, version));
        let postponed = validated.into_iter().map(|(candidate, validation)| {
            let Candidate { entry, unchanged_for } = candidate;
            let Some(version) = validation.judged() else { return (entry.name, validation) };
            let validation = if defaults_are_open || open_files.contains(&version.id()) {
                if unchanged_for < OPEN_REPORT {
                    Validation::Postpone(unchanged_for + self.settle)
                } else {
                    let why = "another program has it, or its `defaults.json`, open for writing";
                    Validation::Stay(why.to_owned())
                }
            } else if defaults_changed || !self.inbox.has_version(&entry.name, version) {
                Validation::Postpone(self.settle)
            } else {
                validation
            };
            (entry.name, validation)
        });
        postponed.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;
    use crate::clock::Clock;
    use crate::inbox::Inbox;
    use crate::jobfile::{JobFileLimits, JobFileReader, is_defaults_name};
    use crate::pictures::PictureFolder;
    use crate::rng::Rng;
    use crate::stages::intake::folder_defaults::{DefaultsByFolder, FoundDefaults};
    use crate::stages::intake::pictures::PictureFinder;

    const JOB: &str = r#"{"model": "wan2.5-t2v", "prompt": "a lighthouse"}"#;

    const DEFAULTS: &str = r#"{"duration": 5}"#;

    /// Reads `spring/a.json` beside its `defaults`, lets `meanwhile` work on one of them, and says how the job file is judged.
    fn judged(defaults: &str, file: &str, meanwhile: impl FnOnce(&mut File)) -> &'static str {
        let text = defaults;
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("inbox");
        fs::create_dir_all(path.join("spring")).unwrap();
        let settle = Duration::from_secs(2);
        let pictures = PictureFinder {
            inbox: path.clone(),
            folder: PictureFolder::new(root.path().join("pictures")),
            wait: settle,
            settle,
            clock: Clock::machine(),
            removal_interval: settle,
            removed_at: Mutex::default(),
        };
        let inbox = Inbox::new(path.clone());
        let reader = JobFileReader::new(JobFileLimits::default(), Rng::seeded(1));
        let validator = Validator { inbox, settle, reader, pictures: Arc::new(pictures) };
        let mut a = File::create(path.join("spring/a.json")).unwrap();
        a.write_all(JOB.as_bytes()).unwrap();
        let mut defaults = File::create(path.join("spring/defaults.json")).unwrap();
        defaults.write_all(text.as_bytes()).unwrap();
        let (mut candidates, mut found) = (Vec::new(), DefaultsByFolder::new());
        for entry in validator.inbox.scan(true).unwrap().files {
            if is_defaults_name(&entry.name) {
                found
                    .insert("spring".to_owned(), FoundDefaults { entry, unchanged_for: settle, other: None });
            } else {
                candidates.push(Candidate { entry, unchanged_for: settle });
            }
        }
        let (read, used) = validator.read_all(candidates, &found);
        assert_eq!(used.len(), 1);
        let mut files = [("a.json", a), ("defaults.json", defaults)].into_iter();
        let (_, mut written) = files.find(|(name, _)| *name == file).unwrap();
        drop(files);
        meanwhile(&mut written);
        drop(written);
        match validator.postpone_written(read, &used).remove(0).1 {
            Validation::Valid(_) => "valid",
            Validation::Postpone(_) => "postponed",
            Validation::Reject(..) => "rejected",
            Validation::Stay(_) => "stays",
        }
    }

    #[test]
    fn file_written_and_closed_since_it_was_read_is_read_again() {
        for file in ["a.json", "defaults.json"] {
            assert_eq!(judged(DEFAULTS, file, |_| {}), "valid", "{file}");
            let written = |file: &mut File| file.write_all(b" ").unwrap();
            assert_eq!(judged(DEFAULTS, file, written), "postponed", "{file}");
        }
    }

    #[test]
    fn job_file_is_not_rejected_for_defaults_whose_rest_was_written_since() {
        let half = &DEFAULTS[..8];
        assert_eq!(judged(half, "defaults.json", |_| {}), "rejected");
        let rest = |file: &mut File| file.write_all(&DEFAULTS.as_bytes()[8..]).unwrap();
        assert_eq!(judged(half, "defaults.json", rest), "postponed");
    }
}
