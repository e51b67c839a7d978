//! Opens the database, in a file or on a server.

use crate::store::db::{Connection, Database};
use crate::store::error::OpenError;
use crate::store::{postgres_schema, schema};

/// Opens the one connection of the process that leads, and makes or updates the schema.
pub(super) fn open_writer(database: &Database) -> Result<Connection, OpenError> {
    match database {
        Database::Sqlite(path) => schema::open_writer(path),
        Database::Postgres(server) => postgres_schema::open_writer(server),
    }
}

/// Opens the one connection of a process that writes beside the one that leads.
pub(super) fn open_follower(database: &Database) -> Result<Connection, OpenError> {
    match database {
        // Its file is locked by one process.
        Database::Sqlite(path) => schema::open_writer(path),
        Database::Postgres(server) => postgres_schema::open_follower(server),
    }
}

/// Opens a connection that only reads.
pub(super) fn open_reader(database: &Database) -> Result<Connection, OpenError> {
    match database {
        Database::Sqlite(path) => schema::open_reader(path),
        Database::Postgres(server) => postgres_schema::open_reader(server),
    }
}
