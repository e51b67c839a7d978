//! Whether a database is the one that was used last. Three numbers say it: the epoch in the database, the one in a file
//! beside it, and the one outside of this machine.

use std::path::Path;

use crate::fs::{FsError, write_durably};
use crate::library::epoch_record::EpochRecord;
use crate::store::meta::LastUse;

/// In the data folder.
pub(super) const FILE: &str = "epoch";

/// What is in the file `epoch` in the data folder: which database was used here last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LocalEpoch {
    pub epoch: i64,
    /// `None`: there is no file, or one of a version before there were nodes.
    pub node: Option<i64>,
}

impl LocalEpoch {
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut words = text.split_whitespace();
        let epoch = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        Self { epoch, node: words.next().and_then(|word| i64::from_str_radix(word, 16).ok()) }
    }

    pub fn write(self, path: &Path) -> Result<(), FsError> {
        let node = self.node.map_or_else(String::new, |node| format!(" {node:x}"));
        write_durably(path, format!("{}{node}\n", self.epoch).as_bytes())
    }
}

/// Notes in a data folder how far a database on a server is, while another daemon leads it: if the server is set back
/// afterwards, this one will know.
///
/// # Errors
/// When the file cannot be written.
pub fn note_epoch(data_dir: &Path, used: &LastUse) -> Result<(), FsError> {
    let (path, seen) = (data_dir.join(FILE), LocalEpoch { epoch: used.epoch, node: used.node });
    let known = LocalEpoch::read(&path);
    let is_news = known.node != seen.node || known.epoch < seen.epoch;
    if used.node.is_some() && is_news { seen.write(&path) } else { Ok(()) }
}

/// What is known of the record outside.
#[derive(Clone, Debug)]
pub(super) enum Outside {
    Record(Option<EpochRecord>),
    /// It cannot be read, for this reason.
    Unknown(String),
}

/// How a database compares with the one that was used last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is that one.
    Current,
    /// It may be an older copy of it.
    Copy {
        /// What the database is.
        what: String,
        /// The daemon elsewhere that may still use the other one.
        other: Option<String>,
    },
}

/// Compares the numbers. The order in which a daemon raises them is: database, file, outside. So after a crash at any
/// point, none of the others is ahead of the database.
pub(super) fn compare(known: &LastUse, local: LocalEpoch, outside: &Outside) -> Standing {
    let record = match outside {
        Outside::Record(record) => record.as_ref(),
        Outside::Unknown(_) => None,
    };
    let by = |record: &EpochRecord| format!("on {}, last heard of at {}", record.host, record.at);
    // Another data folder wrote it, or this one at a time that it does not know of. A daemon that cannot reach the record
    // is ahead of it by one at most; what is further behind was written before this database was used here.
    let is_of_other = |record: &&EpochRecord| {
        record.epoch >= known.epoch - 1 && (Some(record.node) != local.node || record.epoch > local.epoch)
    };
    let other = record.filter(is_of_other).map(by);
    let is_ahead = |record: &&EpochRecord| {
        record.epoch > known.epoch || record.epoch == known.epoch && Some(record.node) != known.node
    };
    let what = if let Some(at) = known.backup_made_at {
        format!("a backup made at {at}")
    } else if local.epoch > known.epoch {
        "older than the last one used here".to_owned()
    } else if let Some(record) = record.filter(is_ahead) {
        format!("older than the one used {}", by(record))
    } else if known.node.is_some() && known.node != local.node {
        "a copy of one that was used in another data folder".to_owned()
    } else if let Some(other) = &other {
        format!("also used {other}")
    } else {
        return Standing::Current;
    };
    let other = match outside {
        Outside::Record(_) => other,
        Outside::Unknown(why) => Some(format!("(its record cannot be read: {why})")),
    };
    Standing::Copy { what, other }
}

/// What a folder knows of a database on a server. The daemons that lead it in turn are one node, so what others of them did
/// counts as its own, unless nothing but the database says that it is one of them: then it may be an older copy.
pub(super) fn of_shared(known: &LastUse, local: LocalEpoch, outside: &Outside) -> LocalEpoch {
    let is_known_here = local.node.is_some() && local.node == known.node;
    let is_known_outside =
        matches!(outside, Outside::Record(Some(record)) if Some(record.node) == known.node);
    match (is_known_here, is_known_outside) {
        (true, _) => LocalEpoch { epoch: local.epoch.max(known.epoch), node: known.node },
        (false, true) => LocalEpoch { epoch: known.epoch, node: known.node },
        // Also where the file is of another database.
        (false, false) => LocalEpoch::default(),
    }
}

/// The epoch of a start, if the record outside is known. At most one ahead of that, also after many starts without a
/// record that can be written.
pub(super) fn next_epoch(known: i64, record: Option<&EpochRecord>) -> i64 {
    record.map_or(known + 1, |record| known.max(record.epoch + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    const HERE: i64 = 1;
    const THERE: i64 = 2;
    const AT: Timestamp = Timestamp::from_millis(0);

    fn used(epoch: i64, node: i64) -> LastUse {
        LastUse { epoch, node: Some(node), database: Some(9), backup_made_at: None }
    }

    fn file(epoch: i64, node: i64) -> LocalEpoch {
        LocalEpoch { epoch, node: Some(node) }
    }

    fn outside(epoch: i64, node: i64) -> Outside {
        Outside::Record(Some(EpochRecord { epoch, node, run: 5, host: "a".into(), at: AT }))
    }

    #[test]
    fn file_is_read_as_written_and_as_older_versions_wrote_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("epoch");
        assert_eq!(LocalEpoch::read(&path), LocalEpoch::default());
        for local in [file(7, 3), file(7, i64::MAX), LocalEpoch { epoch: 7, node: None }] {
            local.write(&path).unwrap();
            let read = LocalEpoch::read(&path);
            assert_eq!((read.epoch, read.node.is_some()), (7, local.node.is_some()));
            assert_eq!(read, local);
        }
    }

    #[test]
    fn copy_is_recognized_however_it_was_made() {
        let none = || Outside::Record(None);
        let unknown = || Outside::Unknown("away".into());
        let backup = LastUse { backup_made_at: Some(AT), ..used(5, HERE) };
        let before_nodes = LastUse { node: None, database: None, ..used(5, HERE) };
        // What it is, and whether another daemon may use the newer one.
        let cases = [
            ("restart", used(5, HERE), file(5, HERE), outside(5, HERE), None),
            ("crash before the file", used(5, HERE), file(4, HERE), outside(4, HERE), None),
            ("crash before the record", used(5, HERE), file(5, HERE), outside(4, HERE), None),
            ("first record", used(5, HERE), file(5, HERE), none(), None),
            ("bucket away", used(5, HERE), file(5, HERE), unknown(), None),
            ("upgrade", before_nodes, LocalEpoch { epoch: 5, node: None }, none(), None),
            ("whole folder moved", used(5, HERE), file(5, HERE), outside(5, HERE), None),
            ("taken over long ago", used(9, HERE), file(9, HERE), outside(5, THERE), None),
            ("backup here", backup, file(5, HERE), outside(5, HERE), Some(false)),
            ("backup elsewhere", backup, LocalEpoch::default(), outside(5, HERE), Some(true)),
            ("older copy here", used(4, HERE), file(5, HERE), outside(5, HERE), Some(false)),
            ("older copy here, bucket away", used(4, HERE), file(5, HERE), unknown(), Some(true)),
            ("older version's", before_nodes, LocalEpoch { epoch: 6, node: None }, none(), Some(false)),
            ("copy without its file", used(5, HERE), LocalEpoch::default(), outside(5, HERE), Some(true)),
            ("the same, nothing outside", used(5, HERE), LocalEpoch::default(), none(), Some(false)),
            ("copy to an old standby", used(5, HERE), file(9, THERE), outside(5, HERE), Some(true)),
            ("machine restored", used(4, HERE), file(4, HERE), outside(5, HERE), Some(true)),
            ("old machine back", used(5, HERE), file(5, HERE), outside(7, THERE), Some(true)),
            ("old machine back at once", used(5, HERE), file(5, HERE), outside(5, THERE), Some(true)),
            ("old machine, a start ahead", used(6, HERE), file(6, HERE), outside(5, THERE), Some(true)),
        ];
        for (name, known, local, outside, expected) in cases {
            let standing = compare(&known, local, &outside);
            let found = match &standing {
                Standing::Current => None,
                Standing::Copy { other, .. } => Some(other.is_some()),
            };
            assert_eq!(found, expected, "{name}: {standing:?}");
        }
    }

    #[test]
    fn database_on_a_server_is_current_for_each_folder_that_knows_it() {
        let (none, unknown) = (Outside::Record(None), Outside::Unknown("away".into()));
        let cases = [
            ("led before", file(5, HERE), &outside(5, HERE), true),
            ("led long ago", file(2, HERE), &outside(5, HERE), true),
            ("led long ago, no record", file(2, HERE), &none, true),
            ("bucket away", file(2, HERE), &unknown, true),
            ("new folder", LocalEpoch::default(), &outside(5, HERE), true),
            ("folder of another database", file(5000, THERE), &outside(5, HERE), true),
            ("server set back", file(6, HERE), &outside(5, HERE), false),
            ("server set back, seen outside", file(5, HERE), &outside(6, HERE), false),
            ("new folder, no record", LocalEpoch::default(), &none, false),
            ("new folder, bucket away", LocalEpoch::default(), &unknown, false),
            ("folder of another database, no record", file(5000, THERE), &none, false),
        ];
        for (name, local, outside, is_current) in cases {
            let known = used(5, HERE);
            let standing = compare(&known, of_shared(&known, local, outside), outside);
            assert_eq!(standing == Standing::Current, is_current, "{name}: {standing:?}");
        }
    }

    #[test]
    fn epoch_is_at_most_one_ahead_of_the_record() {
        let record = |epoch| EpochRecord { epoch, node: 1, run: 1, host: String::new(), at: AT };
        assert_eq!(next_epoch(5, None), 6);
        assert_eq!(next_epoch(5, Some(&record(5))), 6);
        assert_eq!(next_epoch(6, Some(&record(5))), 6);
    }
}
