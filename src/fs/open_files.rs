//! Which files other processes have open for writing, read from `/proc`. It shows the processes of this user and of this
//! machine; those of other users, and of other machines that share a file system, it does not.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, statat};

/// Device and inode of a file.
pub(crate) type FileId = (u64, u64);

/// The files among `files` that a process has open for writing. Nothing if `/proc` is not mounted.
pub(crate) fn open_for_writing(files: &BTreeSet<FileId>) -> BTreeSet<FileId> {
    let mut found = BTreeSet::new();
    if files.is_empty() {
        return found;
    }
    for process in names_in("/proc").filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) {
        // Another user's process, or one that has ended.
        let Some(descriptors) = open_folder(&format!("/proc/{process}/fd")) else { continue };
        let Ok(entries) = Dir::read_from(&descriptors) else { continue };
        for entry in entries.flatten() {
            let link = entry.file_name();
            // The mode of the link is that of the descriptor.
            let is_writable = statat(&descriptors, link, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| Mode::from_raw_mode(stat.st_mode).contains(Mode::WUSR));
            if !is_writable {
                continue;
            }
            let Ok(stat) = statat(&descriptors, link, AtFlags::empty()) else { continue };
            let id = (wide(stat.st_dev), wide(stat.st_ino));
            if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && files.contains(&id) {
                found.insert(id);
            }
        }
    }
    found
}

fn names_in(folder: &str) -> impl Iterator<Item = String> {
    let entries = open_folder(folder).and_then(|folder| Dir::read_from(folder).ok());
    entries
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some(entry.file_name().to_str().ok()?.to_owned()))
}

fn open_folder(path: &str) -> Option<OwnedFd> {
    openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// The width of these fields depends on the platform.
fn wide(number: impl TryInto<u64>) -> u64 {
    number.try_into().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn file_counts_while_a_process_has_it_open_for_writing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let writer = File::create(&path).unwrap();
        let reader = File::open(&path).unwrap();
        let found = reader.metadata().unwrap();
        let files: BTreeSet<FileId> = [(found.dev(), found.ino()), (found.dev(), 0)].into();
        assert_eq!(open_for_writing(&files), [(found.dev(), found.ino())].into());
        drop(writer);
        assert!(open_for_writing(&files).is_empty(), "the reader alone");
        let script = format!("exec >> '{}'; echo x; sleep 60", path.display());
        let mut child = std::process::Command::new("sh")
            .args(["-c", &script])
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        while path.metadata().unwrap().len() == 0 {
            std::thread::yield_now();
        }
        assert_eq!(open_for_writing(&files).len(), 1, "another process");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    #[ignore = "prints what a scan of /proc takes"]
    fn scan_of_open_files_is_timed() {
        let files: BTreeSet<FileId> = [(1, 1)].into();
        let clock = crate::clock::Clock::machine();
        let began = clock.tick();
        (0..100).for_each(|_| drop(open_for_writing(&files)));
        println!("{:?} for each scan", clock.tick().since(began) / 100);
    }
}
