//! The tables on a PostgreSQL server: those of `schema.sql`, translated, and what only PostgreSQL needs, `schema/postgres.sql`.

use crate::secret::Secret;
use crate::store::counts::wrong_counts;
use crate::store::db::postgres::{PostgresServer, Session, translate_schema};
use crate::store::db::{self, Connection, Database, OptionalExtension};
use crate::store::error::OpenError;
use crate::store::schema::{SCHEMA, VERSION};

/// Functions and triggers.
const FUNCTIONS: &str = include_str!("../../schema/postgres.sql");
/// The first version whose tables were on servers.
const FIRST: i64 = 4;
/// The migration from version `FIRST + n` to the next is at index `n`, written for PostgreSQL.
const MIGRATIONS: &[&str] = &[];
const _: () = assert!(MIGRATIONS.len() as i64 == VERSION - FIRST);
/// The row of `meta` with the version of the schema.
const SCHEMA_VERSION: &str = "schema_version";

/// Connects as the process that leads, and makes the tables if there are none.
pub(super) fn open_writer(server: &PostgresServer) -> Result<Connection, OpenError> {
    let failed = |source| OpenError::Database { database: Database::Postgres(server.clone()), source };
    let session = Session::leader(server).map_err(failed)?;
    let mut connection = Connection::Postgres(Box::new(session));
    match version(&connection).map_err(failed)? {
        Found::Nothing => create(&connection).map_err(failed)?,
        Found::Foreign => return Err(OpenError::Foreign { database: Database::Postgres(server.clone()) }),
        Found::Version(found) if found > VERSION => {
            let database = Database::Postgres(server.clone());
            return Err(OpenError::Newer { database, found, known: VERSION });
        }
        Found::Version(found) => migrate(&connection, found, MIGRATIONS).map_err(failed)?,
    }
    connection.begin_term().map_err(failed)?;
    Ok(connection)
}

/// Connects to write beside the process that leads, if that is of the same version.
pub(super) fn open_follower(server: &PostgresServer) -> Result<Connection, OpenError> {
    let database = || Database::Postgres(server.clone());
    let failed = |source| OpenError::Database { database: database(), source };
    let mut connection = Connection::Postgres(Box::new(Session::follower(server).map_err(failed)?));
    match version(&connection).map_err(failed)? {
        Found::Version(VERSION) => {}
        // The process that leads makes the tables now.
        Found::Nothing => return Err(failed(connection.in_use())),
        Found::Foreign => return Err(OpenError::Foreign { database: database() }),
        Found::Version(found) => {
            return Err(OpenError::OtherVersion { database: database(), found, known: VERSION });
        }
    }
    connection.follow().map_err(failed)?;
    Ok(connection)
}

/// Connects to read only.
pub(super) fn open_reader(server: &PostgresServer) -> Result<Connection, OpenError> {
    let session = Session::reader(server);
    session
        .map(|session| Connection::Postgres(Box::new(session)))
        .map_err(|source| OpenError::Database { database: Database::Postgres(server.clone()), source })
}

/// Connects without changing anything, and says what answers and how much is in it.
///
/// # Errors
/// When the server cannot be reached or used, or its database is not ours, damaged or of a newer version.
pub fn inspect(address: &str, password: Option<&Secret>) -> Result<String, OpenError> {
    let unnamed = |source| OpenError::Server { address: address.to_owned(), source };
    let server = PostgresServer::new(address, password).map_err(unnamed)?;
    let database = Database::Postgres(server.clone());
    let failed = |source| OpenError::Database { database: database.clone(), source };
    let connection = open_reader(&server)?;
    let text = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, String>(0)).map_err(failed);
    let engine = format!("{database}: PostgreSQL {}", text("SHOW server_version")?);
    match version(&connection).map_err(failed)? {
        Found::Nothing => return Ok(format!("{engine}, tables will be created at the first start")),
        Found::Foreign => return Err(OpenError::Foreign { database }),
        Found::Version(found) if found > VERSION => {
            return Err(OpenError::Newer { database, found, known: VERSION });
        }
        Found::Version(_) => {}
    }
    if wrong_counts(&connection).map_err(failed)? > 0 {
        let finding = "job_counts, need_counts or in_dispute differs from a count of the jobs".to_owned();
        return Err(OpenError::Damaged { path: database.to_string().into(), finding });
    }
    let jobs = text("SELECT count(*)::text FROM jobs")?;
    let processes = database.processes().map_err(failed)?;
    Ok(format!("{engine}, {jobs} jobs{}", processes.map_or_else(String::new, |names| format!("; {names}"))))
}

/// What is in the schema of the database.
enum Found {
    Nothing,
    Foreign,
    Version(i64),
}

fn version(connection: &Connection) -> db::Result<Found> {
    let count = |which: &str| -> db::Result<i64> {
        let sql = format!("SELECT count(*) FROM pg_tables WHERE schemaname = current_schema() {which}");
        connection.query_row(&sql, [], |row| row.get(0))
    };
    if count("")? == 0 {
        return Ok(Found::Nothing);
    }
    if count("AND tablename IN ('meta', 'jobs', 'attempts')")? < 3 {
        return Ok(Found::Foreign);
    }
    let version = connection
        .query_row("SELECT value FROM meta WHERE name = ?1", [SCHEMA_VERSION], |row| row.get(0))
        .optional()?;
    Ok(version.map_or(Found::Foreign, Found::Version))
}

fn create(connection: &Connection) -> db::Result<()> {
    let tables = translate_schema(SCHEMA);
    connection.execute_batch(&format!(
        "BEGIN;\n{tables}\n{FUNCTIONS}\nINSERT INTO meta (name, value) VALUES ('{SCHEMA_VERSION}', {VERSION});\nCOMMIT;"
    ))
}

/// Migrates older tables, one transaction per version. Processes of the older version have been stopped (docs/deploy.md).
fn migrate(connection: &Connection, found: i64, migrations: &[&str]) -> db::Result<()> {
    for (migration, next) in migrations.iter().zip(FIRST + 1..).filter(|(_, next)| *next > found) {
        connection.execute_batch(&format!(
            "BEGIN;\n{migration}\nUPDATE meta SET value = {next} WHERE name = '{SCHEMA_VERSION}';\nCOMMIT;"
        ))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[ignore = "needs the PostgreSQL server that ci/postgres starts"]
    fn migration_changes_tables_and_version_together_or_neither() {
        let address =
            std::env::var("DROPREEL_TEST_DATABASE").expect("DROPREEL_TEST_DATABASE: run ci/postgres");
        let address = format!("{address}?options=-csearch_path%3Dmigrations");
        let server = PostgresServer::new(&address, None).unwrap();
        server.create_schema("migrations");
        drop(open_writer(&server).unwrap());
        let connect = || Connection::Postgres(Box::new(Session::leader(&server).unwrap()));
        let found = |connection: &Connection| match version(connection).unwrap() {
            Found::Version(version) => version - FIRST,
            Found::Nothing | Found::Foreign => panic!("no tables"),
        };
        let connection = connect();
        let first = "ALTER TABLE jobs ADD COLUMN first_new bigint";
        migrate(&connection, FIRST, &[&format!("{first};")]).unwrap();
        assert_eq!(found(&connection), 1);
        drop(connection);

        let connection = connect();
        let second = "ALTER TABLE jobs ADD COLUMN second_new bigint; SELECT nothing;";
        migrate(&connection, FIRST + 1, &["SELECT nothing;", second]).unwrap_err();
        drop(connection);

        let connection = connect();
        assert_eq!(found(&connection), 1);
        let has = |column: &str| {
            connection.query_row(&format!("SELECT {column} FROM jobs LIMIT 1"), [], |_| Ok(()))
        };
        assert!(has("first_new").optional().is_ok() && has("second_new").optional().is_err());
        drop(connection);
        assert!(
            matches!(open_writer(&server), Err(OpenError::Newer { .. })),
            "this program knows none of it"
        );
    }
}
