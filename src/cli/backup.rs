//! `backup`: a consistent copy of the database, whether the daemon runs or not.

use std::io::ErrorKind;
use std::path::Path;

use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::format::{bytes, count, printable};
use crate::cli::terminal::{eprint_line, print_json, print_line};
use crate::clock::Timestamp;
use crate::fs::atomic_file::AtomicFile;
use crate::fs::{FsError, describe_space};
use crate::settings::Purpose;
use crate::store::backup::{BackupError, copy};

#[derive(Serialize)]
struct BackupDocument {
    file: String,
    at: Timestamp,
    jobs: u64,
    bytes: u64,
    seconds: f64,
    schema: i64,
}

/// `backup`
pub(crate) async fn backup(context: &Context, file: &Path) -> Result<Exit, CliError> {
    let settings = context.settings(Purpose::Client)?;
    if let Some(server) = &settings.database_server {
        return Err(CliError::failed(format!(
            "the state is on a server, {}: copy it with `pg_dump` or as that server is backed up; docs/deploy.md",
            server.address
        )));
    }
    let target = std::path::absolute(file)?;
    let unfinished = AtomicFile::create(&target).map_err(|error| file_error(&error, &target))?;
    let (database, path, now) = (settings.database_file(), unfinished.path().to_owned(), context.clock.now());
    let began = context.clock.tick();
    let (done, copied) = tokio::sync::oneshot::channel();
    // Not a blocking task: the runtime would wait for it, and an interrupt could not end the process. If the command
    // is gone by then, nobody receives the result.
    std::thread::spawn(move || drop(done.send(copy(&database, &path, now))));
    let copied = tokio::select! {
        copied = copied => copied.map_err(|_| CliError::failed("a bug: the copying thread panicked"))?,
        interrupted = wait_for_interrupt() => {
            interrupted?;
            return Err(CliError::failed("interrupted; no copy was kept"));
        }
    };
    let copied = copied.map_err(|error| copy_error(&error, &target, &settings.database_file()))?;
    unfinished.publish().map_err(|error| file_error(&error, &target))?;
    let document = BackupDocument {
        file: target.display().to_string(),
        at: now,
        jobs: copied.jobs,
        bytes: copied.bytes,
        seconds: context.clock.tick().since(began).as_secs_f64(),
        schema: copied.version,
    };
    if context.json {
        print_json(&document)?;
        return Ok(Exit::Done);
    }
    let BackupDocument { file, seconds, .. } = &document;
    let (jobs, bytes) = (count(copied.jobs, "job"), bytes(copied.bytes));
    print_line(&format!("copied {jobs}, {bytes}, in {seconds:.1} s to {}", printable(file)))?;
    eprint_line(
        "keep the callback secret with it, which is a file of its own; docs/service.md explains how to restore",
    );
    Ok(Exit::Done)
}

async fn wait_for_interrupt() -> Result<(), CliError> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

fn file_error(error: &FsError, target: &Path) -> CliError {
    let shown = target.display();
    CliError::failed(match error {
        FsError::AlreadyExists(path) if path == target => {
            format!(
                "{shown} exists, and a backup never replaces a file: name another file, or move this one away"
            )
        }
        FsError::AlreadyExists(_) => format!("another backup to {shown} is running"),
        FsError::NotFound(folder) => {
            format!("{} does not exist: create that folder first, or name another", folder.display())
        }
        FsError::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
            format!("this user may not write {shown}: name another folder, or run this as the folder's owner")
        }
        other => other.to_string(),
    })
}

fn copy_error(error: &BackupError, target: &Path, database: &Path) -> CliError {
    let fix = match error {
        BackupError::NoDatabase(_) => {
            ": `data_dir` says where to look for it, and the daemon's first start creates it"
        }
        BackupError::Forbidden(_) => {
            ": run this as the user that runs the daemon, such as `sudo -u dropreel dropreel backup FILE`"
        }
        // The error names the temporary file.
        BackupError::Full(_) => {
            // A copy has no more pages than the database.
            let space = describe_space(target, database.metadata().ok().map(|database| database.len()));
            return CliError::failed(format!(
                "the disk that holds {} is full: {space}; make room on it, or name a file on another disk",
                target.display()
            ));
        }
        BackupError::Open(_) | BackupError::Name(_) | BackupError::Copy { .. } => "",
    };
    CliError::failed(format!("{error}{fix}"))
}
