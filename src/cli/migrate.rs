//! `migrate`: moves the state to another database, while no daemon runs.

use serde::Serialize;

use crate::cli::context::{Context, load_settings_with};
use crate::cli::exit::{CliError, Exit};
use crate::cli::format::{count, printable};
use crate::cli::terminal::{eprint_line, print_json, print_line};
use crate::clock::Timestamp;
use crate::daemon::inbox_number::inbox_number;
use crate::fs::atomic_file::AtomicFile;
use crate::fs::lock::DataLock;
use crate::rng::Rng;
use crate::settings::{
    DatabaseServer, InvalidSettings, Origin, Purpose, Settings, SettingsProblem, variable_of,
};
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
    backup_made_at: Option<Timestamp>,
}

/// What `--to` is an address for.
const SETTING: &str = "storage.database";

/// `migrate`
pub(crate) async fn migrate(context: &Context, to: &str) -> Result<Exit, CliError> {
    // With the passwords, which only the daemon needs otherwise.
    let settings = context.settings(Purpose::Daemon)?;
    let source = match &settings.database_server {
        Some(server) => on_server(server)?,
        None => Database::Sqlite(settings.database_file()),
    };
    if let Some(path) = source.path().filter(|path| !path.exists()) {
        return Err(CliError::failed(format!("there is no database at {}", path.display())));
    }
    let is_server = ["postgres://", "postgresql://"].iter().any(|scheme| to.starts_with(scheme));
    // A file gets its name when it is whole.
    let (target, unfinished) = match is_server {
        true => (server_at(context, to)?, None),
        false => {
            let path = std::path::absolute(to)?;
            let file = AtomicFile::create(&path)
                .map_err(|error| CliError::failed(format!("{error}; nothing was moved")))?;
            (Database::Sqlite(file.path().to_owned()), Some((file, path)))
        }
    };
    let _lock = lock(&settings)?;
    let target = match source.path() {
        Some(_) if is_server => {
            let number = inbox_number(&settings.data_dir, &Rng::from_system());
            target.of_process(number.map_err(|error| CliError::failed(error.to_string()))?)
        }
        _ => target,
    };
    let (began, now) = (context.clock.tick(), context.clock.now());
    let (from, into) = (source.clone(), target.clone());
    let migrated = context.clock.run_blocking(move || migrate_state(&from, &into, now)).await;
    let migrated = migrated.map_err(|_| CliError::failed("a bug: the copying thread panicked"))?;
    let migrated = migrated.map_err(|error| CliError::failed(error.to_string()))?;
    let place = match unfinished {
        Some((file, path)) => {
            file.publish().map_err(|error| CliError::failed(error.to_string()))?;
            path.display().to_string()
        }
        None => target.to_string(),
    };
    let document = MigrateDocument {
        from: source.to_string(),
        to: place,
        jobs: migrated.jobs,
        tables: migrated.tables,
        rows: migrated.rows,
        seconds: context.clock.tick().since(began).as_secs_f64(),
        backup_made_at: migrated.backup_made_at,
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
            "leave `storage.database` out, and move the file to {}",
            settings.data_dir.join("dropreel.db").display()
        ),
    };
    let from = printable(&document.from);
    let mark = match document.backup_made_at {
        Some(at) => format!("{from} is a backup made at {at}, and so is the new one"),
        None => format!("{from} is marked as a backup"),
    };
    eprint_line(&format!(
        "now {setting}, and start dropreel; {mark}: a daemon that is started with it holds its jobs"
    ));
    Ok(Exit::Done)
}

fn on_server(server: &DatabaseServer) -> Result<Database, CliError> {
    Database::on_server(&server.address, server.password.as_ref())
        .map_err(|error| CliError::usage(format!("{}: {error}", server.address)))
}

/// The database at an address that is checked as `storage.database` is, with the password that would belong to it.
fn server_at(context: &Context, address: &str) -> Result<Database, CliError> {
    let settings = load_settings_with(context.config.as_deref(), Purpose::Daemon, (SETTING, address))
        .map_err(name_option)?;
    match &settings.database_server {
        Some(server) => on_server(server),
        None => Err(CliError::usage("--to names no database")),
    }
}

/// The settings are read with the address in a variable, which the user has not set.
fn name_option(invalid: InvalidSettings) -> CliError {
    let variable = Origin::Variable(variable_of(SETTING));
    let of_option = invalid.problems.iter().find_map(|problem| match problem {
        SettingsProblem::BadValue { origin, why, .. } if *origin == variable => {
            Some(CliError::usage(format!("--to {why}")))
        }
        _ => None,
    });
    of_option.unwrap_or_else(|| invalid.into())
}

fn lock(settings: &Settings) -> Result<DataLock, CliError> {
    DataLock::acquire(&settings.data_dir)
        .map_err(|error| CliError::failed(format!("{error}\nstop the daemon first: systemctl stop dropreel")))
}
