//! The `defaults.json` files of the inbox: which apply to a job file, read when it is judged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::fs::FsError;
use crate::inbox::{FileVersion, Inbox, InboxEntry};
use crate::jobfile::{
    Defaults, DefaultsFile, MAX_DEFAULTS_BYTES, Problem, Refusal, bad_defaults, split_path,
};

/// A `defaults.json` that a scan found.
#[derive(Clone, Debug)]
pub(super) struct FoundDefaults {
    pub entry: InboxEntry,
    /// How long it has been unchanged.
    pub unchanged_for: Duration,
    /// Another one in the same folder, in other letters.
    pub other: Option<String>,
}

/// All of them, by folder.
pub(super) type DefaultsByFolder = BTreeMap<String, FoundDefaults>;

/// Why a job file cannot be judged with its defaults.
pub(super) enum DefaultsError {
    /// They may still be being written.
    Unfinished,
    /// They cannot be read.
    Unreadable(String),
    /// They cannot be used.
    Bad(Vec<Problem>),
}

/// The folder and those above it, up to the inbox itself.
pub(super) fn folders_of(folder: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(folder), |folder| (!folder.is_empty()).then(|| split_path(folder).0))
}

/// Reads defaults, each file once for the job files that are judged together.
pub(super) struct DefaultsReader<'a> {
    inbox: &'a Inbox,
    settle: Duration,
    found: &'a DefaultsByFolder,
    read: BTreeMap<String, Result<DefaultsFile, DefaultsError>>,
    /// What applies in the folder of the last job file: those of a folder follow each other.
    last: Option<(String, Arc<Defaults>)>,
}

impl<'a> DefaultsReader<'a> {
    pub fn new(inbox: &'a Inbox, settle: Duration, found: &'a DefaultsByFolder) -> Self {
        Self { inbox, settle, found, read: BTreeMap::new(), last: None }
    }

    /// What applies to the job files of a folder.
    pub fn of_folder(&mut self, folder: &str) -> Result<Arc<Defaults>, DefaultsError> {
        if let Some((last, defaults)) = &self.last
            && last == folder
        {
            return Ok(defaults.clone());
        }
        let applied = || folders_of(folder).filter(|folder| self.found.contains_key(*folder));
        for (folder, found) in applied().filter_map(|folder| Some((folder, self.found.get(folder)?))) {
            let (inbox, settle) = (self.inbox, self.settle);
            self.read.entry(folder.to_owned()).or_insert_with(|| read(inbox, settle, found));
        }
        let mut values = Vec::new();
        for read in applied().filter_map(|folder| self.read.get(folder)) {
            match read {
                Ok(file) => values.push(file),
                Err(DefaultsError::Unfinished) => return Err(DefaultsError::Unfinished),
                Err(DefaultsError::Unreadable(why)) => return Err(DefaultsError::Unreadable(why.clone())),
                Err(DefaultsError::Bad(problems)) => return Err(DefaultsError::Bad(problems.clone())),
            }
        }
        let defaults = Arc::new(Defaults::new(folder, values));
        self.last = Some((folder.to_owned(), defaults.clone()));
        Ok(defaults)
    }

    /// The versions of the defaults that job files were judged by, by path.
    pub fn used(&self) -> BTreeMap<String, FileVersion> {
        let judged_by = |read: &Result<_, _>| matches!(read, Ok(_) | Err(DefaultsError::Bad(_)));
        let used = self.read.iter().filter(|(_, read)| judged_by(read));
        let found = used.filter_map(|(folder, _)| self.found.get(folder));
        found.map(|found| (found.entry.name.clone(), found.entry.version)).collect()
    }
}

fn read(inbox: &Inbox, settle: Duration, found: &FoundDefaults) -> Result<DefaultsFile, DefaultsError> {
    let path = &found.entry.name;
    let bad = |message: String| {
        let problem = Problem { pointer: String::new(), message, line: 1, column: 1 };
        DefaultsError::Bad(vec![problem])
    };
    if let Some(other) = &found.other {
        return Err(bad(format!("both {path} and {other} hold defaults: keep one")));
    }
    if let Some(kind) = found.entry.irregular_kind {
        return Err(bad(format!("the defaults in {path} cannot be used: a {kind} is never opened")));
    }
    let (folder, name) = split_path(path);
    let opened = inbox.open_below(folder).and_then(|opened| opened.read_file(name, MAX_DEFAULTS_BYTES));
    let bytes = match opened {
        Ok((bytes, version, _)) if version == found.entry.version => bytes,
        // It was replaced since the scan: the next one finds what is there now.
        Ok(_) | Err(FsError::Changed(_) | FsError::NotFound(_)) => return Err(DefaultsError::Unfinished),
        Err(FsError::TooLarge { limit, .. }) => {
            return Err(bad(format!(
                "the defaults in {path} cannot be used: they have more than {limit} bytes"
            )));
        }
        Err(error) => return Err(DefaultsError::Unreadable(error.to_string())),
    };
    DefaultsFile::read(path, &bytes).map_err(|refusal: Refusal| {
        // An editor that has just emptied it to write it again must not have the job files of the folder rejected.
        if refusal.unfinished() && found.unchanged_for < settle {
            DefaultsError::Unfinished
        } else {
            DefaultsError::Bad(bad_defaults(path, &refusal))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_emptied_since_the_scan_are_awaited() {
        let folder = tempfile::tempdir().unwrap();
        let inbox = Inbox::new(folder.path().to_owned());
        let path = folder.path().join("defaults.json");
        let is_unfinished = |found: &FoundDefaults| {
            matches!(read(&inbox, Duration::from_secs(2), found), Err(DefaultsError::Unfinished))
        };
        let scan = || {
            let entry = inbox.scan(true).unwrap().files.into_iter().next().unwrap();
            FoundDefaults { entry, unchanged_for: Duration::from_secs(3600), other: None }
        };
        std::fs::write(&path, r#"{"duration": 5}"#).unwrap();
        let scanned = scan();
        assert!(read(&inbox, Duration::from_secs(2), &scanned).is_ok());
        std::fs::write(&path, "").unwrap();
        assert!(is_unfinished(&scanned));
        assert!(!is_unfinished(&scan()), "empty for an hour: bad, not unfinished");
    }
}
