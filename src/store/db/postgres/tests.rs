//! The tests of the store on a server: with `DROPREEL_TEST_DATABASE=postgres://…`, each database file is a schema of it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::OnceLock;

use super::{PostgresServer, Session};

static SERVER: OnceLock<Option<PostgresServer>> = OnceLock::new();

/// The schema that stands for the file at `path`; `None`: the tests use SQLite.
#[allow(clippy::disallowed_methods, reason = "says what to test with")]
pub(in crate::store) fn server_for(path: &Path) -> Option<PostgresServer> {
    let server = SERVER.get_or_init(|| {
        let address = std::env::var("DROPREEL_TEST_DATABASE").ok()?;
        Some(PostgresServer::new(&address, None).unwrap())
    });
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    let schema = format!("t{:x}", hasher.finish());
    let server = server.clone()?.shared(&schema);
    let session = Session::writer(&server).unwrap();
    session.run_batch(&format!("CREATE SCHEMA IF NOT EXISTS {schema}")).unwrap();
    Some(server)
}
