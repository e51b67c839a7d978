//! Folders, disks and the database, as the daemon would find them. Only probe files are written, and removed again.

use std::path::Path;
use std::time::Duration;

use bytesize::ByteSize;

use crate::cli::doctor::finding::Finding;
use crate::cli::format::printable;
use crate::clock::Clock;
use crate::fs::abilities::Abilities;
use crate::fs::file_system::FileSystem;
use crate::fs::{create_private_folder, write_durably};
use crate::inbox::Leftovers;
use crate::settings::{DatabaseServer, Settings};
use crate::stages::provider_session::unusable_answers::kept_answers;
use crate::store;

/// Less free space, in bytes, is soon used up.
const LOW_SPACE: u64 = 2 << 30;
/// A slower flush delays every submit and callback.
const SLOW_FLUSH: Duration = Duration::from_millis(50);
/// The median of this many flushes counts.
const FLUSHES: usize = 9;

/// Answers of the provider that could not be used.
pub(super) fn unusable_answers(settings: &Settings) -> Option<Finding> {
    let kept = kept_answers(&settings.quarantine_dir());
    let newest = kept.last()?.display();
    let what = format!("{} of the provider could not be used, the newest in {newest}", kept.len());
    let fix = "look at it: a page of a firewall or proxy, or a new format of the provider; then remove it";
    Some(Finding::warning("answers", what, fix))
}

/// What lies in the inbox and is no job file.
pub(super) fn leftovers(settings: &Settings, clock: &Clock) -> Option<Finding> {
    // An inbox that cannot be read is a finding about the folder.
    let found =
        Leftovers::in_inbox(&settings.inbox.dir, settings.inbox.recursive, settings.media.serve, clock.now());
    let found = found.ok().filter(|found| !found.is_empty())?;
    let what = format!(
        "{} holds what is no job file: {}",
        settings.inbox.dir.display(),
        printable(&found.to_string())
    );
    let fix = "it is never read: take it away, or give job files a name such as NAME.json";
    Some(Finding::warning("inbox.dir", what, fix))
}

/// Whether the folders exist, are writable, lie on a suitable file system and have space.
pub(super) fn folders(settings: &Settings) -> Vec<Finding> {
    let folders = [
        ("data_dir", &settings.data_dir),
        ("inbox.dir", &settings.inbox.dir),
        ("library.dir", &settings.library.dir),
    ];
    folders.into_iter().map(|(key, path)| folder(key, path)).collect()
}

fn folder(key: &'static str, path: &Path) -> Finding {
    if !path.exists() {
        let parent = path.ancestors().find(|parent| parent.is_dir()).unwrap_or(Path::new("/"));
        let what = format!("{} will be created at the first start, in {}", path.display(), parent.display());
        return Finding::ok(key, what);
    }
    let probe = path.join(".dropreel-doctor");
    if let Err(error) = write_durably(&probe, b"may be removed\n") {
        let fix = format!(
            "the daemon's user must own it: chown it, or set {key} to another folder; or run this as that user"
        );
        return Finding::error(key, error.to_string(), fix);
    }
    let _ = std::fs::remove_file(&probe);
    let found = match FileSystem::of(path) {
        Ok(found) => found,
        Err(error) => return Finding::error(key, error.to_string(), "check the disk; see `dmesg`"),
    };
    let what = format!("{}, {} free", path.display(), ByteSize::b(found.free_bytes).display().iec());
    let restriction = match Abilities::of(path) {
        Ok(abilities) => abilities.restriction(),
        Err(error) => {
            let fix = format!("set {key} to a folder on another file system");
            return Finding::error(key, error.to_string(), fix);
        }
    };
    match found.network {
        Some(kind) if key == "data_dir" => Finding::error(
            key,
            format!("{what}, on {kind}: locks and flushes are not reliable there"),
            "set data_dir to a folder on a local disk; inbox and library may stay",
        ),
        Some(kind) => {
            let what = format!("{what}, on {kind}: new files are found by scanning, every inbox.rescan");
            Finding::ok(key, what)
        }
        None if found.free_bytes < LOW_SPACE => Finding::warning(
            key,
            what,
            "free some space: with a full disk nothing is submitted, and downloads wait while links expire",
        ),
        None => match restriction {
            Some(restriction) => {
                let fix = format!("set {key} to a folder on another file system if you can");
                Finding::warning(key, format!("{what}; {restriction}"), fix)
            }
            None => Finding::ok(key, what),
        },
    }
}

/// How long a flush takes on the disk of the database.
pub(super) fn disk_speed(settings: &Settings, clock: &Clock) -> Finding {
    let parent = settings.data_dir.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
    let probe = parent.join(".dropreel-doctor");
    let mut durations = Vec::with_capacity(FLUSHES);
    for _ in 0..FLUSHES {
        let began = clock.tick();
        let written =
            create_private_folder(&probe).and_then(|()| write_durably(&probe.join("flush"), &[0; 4096]));
        if let Err(error) = written {
            return Finding::warning("disk", error.to_string(), "run this as the user that runs the daemon");
        }
        durations.push(clock.tick().since(began));
    }
    let _ = std::fs::remove_dir_all(&probe);
    durations.sort();
    let median = durations[FLUSHES / 2];
    let what = format!("a durable write takes {:.1} ms", median.as_secs_f64() * 1000.0);
    if median > SLOW_FLUSH {
        Finding::warning(
            "disk",
            what,
            "move data_dir to a faster disk: each submit and callback waits for a write",
        )
    } else {
        Finding::ok("disk", what)
    }
}

/// Whether the database is there, ours and intact.
pub(super) fn database(settings: &Settings, daemon_runs: bool) -> Finding {
    if let Some(server) = &settings.database_server {
        return database_server(server, daemon_runs);
    }
    let path = settings.database_file();
    if !path.exists() && daemon_runs {
        return Finding::error(
            "database",
            format!("{} was removed while the daemon runs", path.display()),
            "restore its files under their names, or restart the daemon to begin with an empty one",
        );
    }
    if !path.exists() {
        return Finding::ok("database", "will be created at the first start");
    }
    match store::schema::inspect(&path) {
        Ok(facts) => Finding::ok("database", format!("{}: intact, {facts}", path.display())),
        Err(error) => Finding::error(
            "database",
            error.to_string(),
            "restore a backup: docs/service.md, \"Backup\"; keep the damaged file until you have your jobs back",
        ),
    }
}

/// Whether the server answers and its database is ours, and which daemons use it.
fn database_server(server: &DatabaseServer, daemon_runs: bool) -> Finding {
    let inspected = store::postgres_schema::inspect(&server.address, server.password.as_ref());
    match inspected {
        Ok(facts) => Finding::ok("database", facts),
        // A daemon under systemd has its password from systemd, where this command cannot read it.
        Err(error) if daemon_runs && server.password.is_none() => Finding::warning(
            "database",
            format!("not examined: {error}"),
            "if it wants a password, name it for this command, too: storage.database_password_file or PGPASSWORD",
        ),
        Err(error) => Finding::error(
            "database",
            error.to_string(),
            "check storage.database, the password, the network, and whether the server runs: docs/deploy.md",
        ),
    }
}
