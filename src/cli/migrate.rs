//! `migrate`: moves the state to another database, while no daemon runs.

use std::path::Path;

use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::format::{count, printable};
use crate::cli::terminal::{eprint_line, print_json, print_line};
use crate::fs::lock::DataLock;
use crate::settings::{DatabaseServer, Purpose};
use crate::store::Database;
use crate::store::migrate::migrate as migrate_state;

#[derive(Serialize)]
struct MigrateDocument {
    from: String,
    to: String,
    jobs: u64,
    tables: usize,
    rows: u64,
    seconds: f64,
}

/// `migrate`
pub(crate) async fn migrate(context: &Context, to: &str) -> Result<Exit, CliError> {
    let settings = context.settings(Purpose::Client)?;
    let on_server = |address: &str, server: Option<&DatabaseServer>| {
        let password = server.and_then(|server| server.password.as_ref());
        Database::on_server(address, password).map_err(|error| CliError::usage(format!("{address}: {error}")))
    };
    let is_server = ["postgres://", "postgresql://"].iter().any(|scheme| to.starts_with(scheme));
    let target = match is_server {
        true => on_server(to, settings.database_server.as_ref())?,
        false => Database::Sqlite(std::path::absolute(to)?),
    };
    let source = match &settings.database_server {
        Some(server) => on_server(&server.address, Some(server))?,
        None => Database::Sqlite(settings.database_file()),
    };
    if let Some(path) = source.path().filter(|path| !path.exists()) {
        return Err(CliError::failed(format!("there is no database at {}", path.display())));
    }
    if let Some(path) = target.path().filter(|path| path.exists()) {
        return Err(CliError::failed(format!("{} exists; nothing was moved", path.display())));
    }
    let _lock = DataLock::acquire(&settings.data_dir).map_err(|error| {
        CliError::failed(format!("{error}\nstop the daemon first: systemctl stop dropreel"))
    })?;
    let (began, now) = (context.clock.tick(), context.clock.now());
    let (from, into) = (source.clone(), target.clone());
    let migrated = context.clock.run_blocking(move || migrate_state(&from, &into, now)).await;
    let migrated = migrated.map_err(|_| CliError::failed("a bug: the copying thread panicked"))?;
    let migrated = migrated.map_err(|error| {
        remove_unfinished(target.path());
        CliError::failed(error.to_string())
    })?;
    let document = MigrateDocument {
        from: source.to_string(),
        to: target.to_string(),
        jobs: migrated.jobs,
        tables: migrated.tables,
        rows: migrated.rows,
        seconds: context.clock.tick().since(began).as_secs_f64(),
    };
    if context.json {
        print_json(&document)?;
        return Ok(Exit::Done);
    }
    let (jobs, rows) = (count(migrated.jobs, "job"), count(migrated.rows, "row"));
    let (place, seconds) = (printable(&document.to), document.seconds);
    print_line(&format!("moved {jobs}, {rows} in {} tables, in {seconds:.1} s to {place}", migrated.tables))?;
    let setting = match is_server {
        true => "set `storage.database` to it".to_owned(),
        false => format!(
            "leave `storage.database` out, and have the file be {}",
            settings.data_dir.join("dropreel.db").display()
        ),
    };
    eprint_line(&format!(
        "now {setting}, and start dropreel; {} is marked as a backup: a daemon that is started with it holds its jobs",
        printable(&document.from)
    ));
    Ok(Exit::Done)
}

/// A file that was made for the copy and holds nothing.
fn remove_unfinished(path: Option<&Path>) {
    let Some(path) = path else { return };
    for ending in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        let _ = std::fs::remove_file(name);
    }
}
