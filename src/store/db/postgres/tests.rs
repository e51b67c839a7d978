//! The tests of the store on a server: with `DROPREEL_TEST_DATABASE=postgres://…`, each database file is a schema of it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::OnceLock;

use super::{PostgresServer, Session};
use crate::store::db::Error;

/// Those that tell who leads.
const TABLES: &str = "CREATE TABLE meta (name TEXT PRIMARY KEY, value BIGINT);
    CREATE TABLE leadership (one INTEGER PRIMARY KEY, term BIGINT, leader BIGINT, of_leader BIGINT, transactions BIGINT,
    former_leader BIGINT, former_of_leader BIGINT)";

static SERVER: OnceLock<Option<PostgresServer>> = OnceLock::new();

#[allow(clippy::disallowed_methods, reason = "says what to test with")]
fn address() -> Option<String> {
    std::env::var("DROPREEL_TEST_DATABASE").ok()
}

/// The schema that stands for the file at `path`; `None`: the tests use SQLite.
pub(in crate::store) fn server_for(path: &Path) -> Option<PostgresServer> {
    let server = SERVER.get_or_init(|| Some(PostgresServer::new(&address()?, None).unwrap()));
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    let schema = format!("t{:x}", hasher.finish());
    let server = server.clone()?.shared(&schema);
    let session = Session::leader(&server).unwrap();
    session.run_batch(&format!("CREATE SCHEMA IF NOT EXISTS {schema}")).unwrap();
    Some(server)
}

#[test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
fn writer_waits_for_the_disk_even_where_the_database_does_not() {
    let address = address().expect("DROPREEL_TEST_DATABASE: run ci/postgres");
    let address = format!("{address}?options=-csynchronous_commit%3Doff%20-csearch_path%3Ddurable");
    let session = Session::leader(&PostgresServer::new(&address, None).unwrap()).unwrap();
    let (rows, _) = session.run("SHOW synchronous_commit", Vec::new()).unwrap();
    assert_eq!(rows[0].get::<_, &str>(0), "on");
}

#[test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
fn second_writer_is_refused_with_the_name_of_the_first() {
    let address = address().expect("DROPREEL_TEST_DATABASE: run ci/postgres");
    let server = |schema| {
        let named = format!("{address}?application_name=reels&options=-csearch_path%3D{schema}");
        PostgresServer::new(&named, None).unwrap()
    };
    let first = Session::leader(&server("pg_catalog")).unwrap();
    let refused = Session::leader(&server("pg_catalog")).unwrap_err();
    assert!(matches!(&refused, Error::InUse { leader } if leader.starts_with("reels (")), "{refused}");
    drop(first);
    Session::leader(&server("pg_catalog")).unwrap();
}

#[test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
fn leader_whose_lock_is_lost_unnoticed_commits_nothing_beside_another() {
    let address = address().expect("DROPREEL_TEST_DATABASE: run ci/postgres");
    let server = PostgresServer::new(&format!("{address}?options=-csearch_path%3Dterms"), None).unwrap();
    let mut first = Session::leader(&server).unwrap();
    first.run_batch(&format!("CREATE SCHEMA terms; {TABLES}")).unwrap();
    first.begin_term().unwrap();
    let run = |session: &Session, sql: &str| session.run(sql, Vec::new()).map(drop);
    run(&first, "BEGIN").unwrap();
    run(&first, "COMMIT").unwrap();

    // As a pool of connections loses it, which gives each transaction another one.
    first.run_batch("SELECT pg_advisory_unlock_all()").unwrap();
    let mut second = Session::leader(&server).unwrap();
    second.begin_term().unwrap();
    assert!(matches!(run(&first, "BEGIN"), Err(Error::TermOver)));
    run(&second, "BEGIN").unwrap();
}

#[test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
fn server_that_has_lost_transactions_is_marked_as_a_copy() {
    let address = address().expect("DROPREEL_TEST_DATABASE: run ci/postgres");
    let server = PostgresServer::new(&format!("{address}?options=-csearch_path%3Dlost"), None).unwrap();
    let mut leader = Session::leader(&server).unwrap();
    leader.run_batch(&format!("CREATE SCHEMA lost; {TABLES}")).unwrap();
    leader.begin_term().unwrap();
    let run = |session: &Session, sql: &str| session.run(sql, Vec::new()).map(drop);
    for end in ["COMMIT", "ROLLBACK", "COMMIT"] {
        run(&leader, "BEGIN").unwrap();
        run(&leader, end).unwrap();
    }
    run(&leader, "SELECT pg_terminate_backend(pg_backend_pid())").unwrap_err();
    leader.reconnect().unwrap();
    run(&leader, "BEGIN").unwrap();
    run(&leader, "COMMIT").unwrap();

    run(&leader, "SELECT pg_terminate_backend(pg_backend_pid())").unwrap_err();
    let replica = server.connect().unwrap();
    replica.run("UPDATE leadership SET of_leader = of_leader - 1, transactions = transactions + 10").unwrap();
    assert!(matches!(leader.reconnect(), Err(Error::SetBack)));
    assert!(replica.query_opt("SELECT value FROM meta WHERE name = 'backup_made_at'").unwrap().is_some());
}

#[test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
fn leader_of_a_server_that_was_set_back_has_to_start_again_once_the_one_before_tells() {
    let address = address().expect("DROPREEL_TEST_DATABASE: run ci/postgres");
    let server =
        || PostgresServer::new(&format!("{address}?options=-csearch_path%3Dfailed_over"), None).unwrap();
    let mut first = Session::leader(&server()).unwrap();
    first.run_batch(&format!("CREATE SCHEMA failed_over; {TABLES}")).unwrap();
    first.begin_term().unwrap();
    let run = |session: &Session, sql: &str| session.run(sql, Vec::new()).map(drop);
    for _ in 0..3 {
        run(&first, "BEGIN").unwrap();
        run(&first, "COMMIT").unwrap();
    }
    run(&first, "SELECT pg_terminate_backend(pg_backend_pid())").unwrap_err();
    // The last one is lost, and another process leads before this one is back.
    let set_back = server();
    let replica = set_back.connect().unwrap();
    replica.run("UPDATE leadership SET of_leader = of_leader - 1, transactions = transactions - 1").unwrap();
    let mut second = Session::leader(&server()).unwrap();
    second.begin_term().unwrap();
    for _ in 0..9 {
        run(&second, "BEGIN").unwrap();
        run(&second, "COMMIT").unwrap();
    }
    assert!(matches!(first.reconnect(), Err(Error::SetBack)));
    assert!(matches!(run(&second, "BEGIN"), Err(Error::TermOver)));
    assert!(replica.query_opt("SELECT value FROM meta WHERE name = 'backup_made_at'").unwrap().is_some());
}

#[test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
fn writes_continue_after_a_transaction_that_could_not_be_counted() {
    let address = address().expect("DROPREEL_TEST_DATABASE: run ci/postgres");
    let server = PostgresServer::new(&format!("{address}?options=-csearch_path%3Dcounted"), None).unwrap();
    let mut leader = Session::leader(&server).unwrap();
    leader.run_batch(&format!("CREATE SCHEMA counted; {TABLES}")).unwrap();
    leader.begin_term().unwrap();
    let run = |sql: &str| leader.run(sql, Vec::new()).map(drop);
    leader.run_batch("SET default_transaction_read_only = on").unwrap();
    run("BEGIN").unwrap_err();
    leader.run_batch("SET default_transaction_read_only = off").unwrap();
    run("BEGIN").unwrap();
    run("COMMIT").unwrap();
}
