//! Opens the database, in a file or on a server.

use crate::store::db::{Connection, Database};
use crate::store::error::OpenError;
use crate::store::{postgres_schema, schema};

/// Opens the one connection that writes, and makes or updates the schema.
pub(super) fn open_writer(database: &Database) -> Result<Connection, OpenError> {
    match database {
        Database::Sqlite(path) => schema::open_writer(path),
        Database::Postgres(server) => postgres_schema::open_writer(server),
    }
}

/// Opens a connection that only reads.
pub(super) fn open_reader(database: &Database) -> Result<Connection, OpenError> {
    match database {
        Database::Sqlite(path) => schema::open_reader(path),
        Database::Postgres(server) => postgres_schema::open_reader(server),
    }
}
