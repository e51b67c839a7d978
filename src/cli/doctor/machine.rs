//! Folders, disks and the database, as the daemon would find them. Nothing is changed but a file written and removed.

use std::path::Path;
use std::time::Duration;

use crate::cli::doctor::Finding;
use crate::clock::Clock;
use crate::fs::file_system::FileSystem;
use crate::fs::{create_private_folder, write_durably};
use crate::settings::Settings;
use crate::store;

/// Less room than this is soon gone.
const LITTLE: u64 = 2 << 30;
/// A flush that takes longer makes every submit and callback wait.
const SLOW: Duration = Duration::from_millis(50);
/// So many flushes are tried.
const FLUSHES: usize = 9;

/// The folders: there, ours to write, on a disk that can be trusted, with room.
pub(super) fn folders(settings: &Settings) -> Vec<Finding> {
    let folders = [
        ("data_dir", &settings.data_dir),
        ("inbox.dir", &settings.inbox.dir),
        ("library.dir", &settings.library.dir),
    ];
    folders.into_iter().map(|(key, path)| folder(key, path, key == "data_dir")).collect()
}

fn folder(key: &'static str, path: &Path, holds_database: bool) -> Finding {
    if !path.exists() {
        let above = path.ancestors().find(|above| above.is_dir()).unwrap_or(Path::new("/"));
        return Finding::ok(
            key,
            format!("{} is made at the first start, in {}", path.display(), above.display()),
        );
    }
    let probe = path.join(".dropreel-doctor");
    if let Err(error) = write_durably(&probe, b"may be removed\n") {
        let mend = format!(
            "whoever runs the daemon must own it: chown it, or set {key} elsewhere; or run this as that user"
        );
        return Finding::error(key, error.to_string(), mend);
    }
    let _ = std::fs::remove_file(&probe);
    let found = match FileSystem::of(path) {
        Ok(found) => found,
        Err(error) => return Finding::error(key, error.to_string(), "is its disk all right? see `dmesg`"),
    };
    let shown =
        format!("{}, {} free", path.display(), bytesize::ByteSize::b(found.free_bytes).display().iec());
    match found.network {
        Some(kind) if holds_database => Finding::error(
            key,
            format!("{shown}, on {kind}: locks and flushes cannot be relied on there"),
            "put data_dir on a disk of this machine; inbox and library may stay",
        ),
        Some(kind) => {
            Finding::ok(key, format!("{shown}, on {kind}: new files are found by looking, each inbox.rescan"))
        }
        None if found.free_bytes < LITTLE => Finding::warning(
            key,
            shown,
            "make room: on a full disk nothing is submitted, and downloads wait while links die",
        ),
        None => Finding::ok(key, shown),
    }
}

/// How long a flush takes where the database lies.
pub(super) fn disk_speed(settings: &Settings, clock: &Clock) -> Finding {
    let folder = settings.data_dir.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
    let trial = folder.join(".dropreel-doctor");
    let mut took = Vec::with_capacity(FLUSHES);
    for _ in 0..FLUSHES {
        let began = clock.tick();
        if let Err(error) =
            create_private_folder(&trial).and_then(|()| write_durably(&trial.join("flush"), &[0; 4096]))
        {
            return Finding::warning("disk", error.to_string(), "run this as the user that runs the daemon");
        }
        took.push(clock.tick().since(began));
    }
    let _ = std::fs::remove_dir_all(&trial);
    took.sort();
    let median = took[FLUSHES / 2];
    let what = format!("a durable write takes {:.1} ms", median.as_secs_f64() * 1000.0);
    if median > SLOW {
        Finding::warning("disk", what, "a faster disk for data_dir: each submit and callback waits for one")
    } else {
        Finding::ok("disk", what)
    }
}

/// The database: there, ours, whole.
pub(super) fn database(settings: &Settings) -> Finding {
    let path = settings.database();
    if !path.exists() {
        return Finding::ok("database", "is made at the first start");
    }
    match store::schema::look_over(&path) {
        Ok(facts) => Finding::ok("database", format!("{}: whole, {facts}", path.display())),
        Err(error) => Finding::error(
            "database",
            error.to_string(),
            "put a backup in its place: docs/service.md, `Backup`; ask before you repair it",
        ),
    }
}
