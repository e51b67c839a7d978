//! `backup`: a consistent copy of the database, whether the daemon runs or not.

use std::io::ErrorKind;
use std::path::Path;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::term::{self, say, say_json, tell};
use crate::cli::{Context, Exit, Failure};
use crate::fs::FsError;
use crate::fs::atomic_file::AtomicFile;
use crate::settings::Purpose;
use crate::store::backup::{BackupError, copy};

/// `backup`
pub(super) async fn backup(context: &Context, file: &Path) -> Result<Exit, Failure> {
    let settings = context.settings(Purpose::Client)?;
    let to = std::path::absolute(file)?;
    let unfinished = AtomicFile::create(&to).map_err(|error| of_disk(&error, &to))?;
    let (from, path, now) = (settings.database(), unfinished.path().to_owned(), context.clock.now());
    let began = context.clock.tick();
    let (done, copied) = tokio::sync::oneshot::channel();
    // Not on the runtime, which would wait for it: when a person has had enough, the process ends in the middle of it.
    // Nobody waits for its answer then.
    std::thread::spawn(move || drop(done.send(copy(&from, &path, now))));
    let copied = tokio::select! {
        copied = copied => copied.map_err(|_| failed("a bug: the copying panicked"))?,
        stopped = interrupted() => {
            stopped?;
            return Err(failed("interrupted; nothing was kept"));
        }
    };
    let copied = copied.map_err(|error| of_store(&error, &to))?;
    unfinished.publish().map_err(|error| of_disk(&error, &to))?;
    let took = context.clock.tick().since(began).as_secs_f64();
    let shown = to.display().to_string();
    if context.json {
        say_json(&json!({
            "file": shown, "at": now, "jobs": copied.jobs, "bytes": copied.bytes, "seconds": took,
            "schema": copied.version,
        }))?;
    } else {
        let (jobs, bytes) = (copied.jobs, term::bytes(copied.bytes));
        let jobs = if jobs == 1 { "1 job".to_owned() } else { format!("{jobs} jobs") };
        say(&format!("copied {jobs}, {bytes}, in {took:.1} s to {}", term::plain(&shown)))?;
        tell(
            "keep the callback secret with it, which is a file of its own; docs/service.md tells how to restore",
        );
    }
    Ok(Exit::Done)
}

/// Waits until a person or the system wants an end of it.
async fn interrupted() -> Result<(), Failure> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

fn failed(message: impl Into<String>) -> Failure {
    Failure::new(Exit::Failed, message)
}

fn of_disk(error: &FsError, to: &Path) -> Failure {
    let to = to.display();
    failed(match error {
        FsError::AlreadyExists(path) if path.display().to_string() != to.to_string() => {
            format!("another backup to {to} is under way")
        }
        FsError::AlreadyExists(_) => {
            format!(
                "{to} is already there, and a backup never replaces a file: name another, or move it away"
            )
        }
        FsError::NotFound(folder) => {
            format!("{} is not there: make that folder first, or name another", folder.display())
        }
        FsError::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
            format!("{to} may not be written by this user: name a folder of theirs, or run this as its owner")
        }
        other => other.to_string(),
    })
}

fn of_store(error: &BackupError, to: &Path) -> Failure {
    let mend = match error {
        BackupError::NoDatabase(_) => {
            ": `data_dir` says where it is looked for, and the daemon's first start makes it"
        }
        BackupError::Forbidden(_) => {
            ": run this as the user that runs the daemon, such as `sudo -u dropreel dropreel backup FILE`"
        }
        // It knows the file by the name that it has until it is whole.
        BackupError::Full(_) => {
            let to = to.display();
            return failed(format!(
                "the disk that holds {to} is full: make room on it, or name a file on another"
            ));
        }
        BackupError::Open(_) | BackupError::Name(_) | BackupError::Copy { .. } => "",
    };
    failed(format!("{error}{mend}"))
}
