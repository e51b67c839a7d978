//! One connection to a server.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::pin::pin;

use futures_util::TryStreamExt;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Row, Statement};

use super::link::Link;
use super::translate::translate;
use super::values::Sent;
use super::{PostgresServer, lock};
use crate::store::db::{Error, Result, Row as AnyRow};

/// Prepared statements that a connection keeps. Each set of columns that changes together has an UPDATE of its own.
const KEPT_STATEMENTS: usize = 500;

pub(in crate::store) struct Session {
    server: PostgresServer,
    link: Link,
    writes: bool,
    /// By their text, with the types of parameters for which each is prepared.
    statements: RefCell<HashMap<Box<str>, Vec<Statement>>>,
    transaction: Cell<Transaction>,
    changed_rows: Cell<u64>,
    term: Cell<Option<i64>>,
    /// How many transactions of the term are committed, and the number of the one that is open.
    committed: Cell<i64>,
    counted: Cell<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transaction {
    None,
    Open,
    /// A statement has failed, so the server takes no other before a rollback.
    Failed,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Session").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Session {
    /// Connects, to read only.
    pub fn reader(server: &PostgresServer) -> Result<Self> {
        let session = Self::over(server, server.connect()?, false);
        session.run_batch(
            "SET default_transaction_read_only = on; SET default_transaction_isolation = 'repeatable read'",
        )?;
        Ok(session)
    }

    /// Connects to write, and keeps other processes from it while the connection lasts.
    pub fn writer(server: &PostgresServer) -> Result<Self> {
        Ok(Self::over(server, lock::connect_alone(server)?, true))
    }

    fn over(server: &PostgresServer, link: Link, writes: bool) -> Self {
        Self {
            server: server.clone(),
            link,
            writes,
            statements: RefCell::default(),
            transaction: Cell::new(Transaction::None),
            changed_rows: Cell::new(0),
            term: Cell::new(None),
            committed: Cell::new(0),
            counted: Cell::new(0),
        }
    }

    /// Begins to lead, once the tables are there.
    pub fn begin_term(&self) -> Result<()> {
        if !self.server.exclusive {
            return Ok(());
        }
        self.term.set(Some(lock::begin_term(&self.link)?));
        Ok(())
    }

    /// Connects again if the connection is lost.
    ///
    /// # Errors
    /// Also when another process has led meanwhile: what this one remembers of the database may be wrong.
    pub fn reconnect(&mut self) -> Result<()> {
        if !self.is_lost() {
            return Ok(());
        }
        let again = if self.writes { self.lead_again()? } else { Self::reader(&self.server)? };
        again.changed_rows.set(self.changed_rows.get());
        again.term.set(self.term.get());
        again.committed.set(self.committed.get());
        *self = again;
        Ok(())
    }

    fn lead_again(&self) -> Result<Self> {
        let again = match Self::writer(&self.server) {
            // Perhaps the lost connection itself, until the server notices.
            Err(error @ Error::InUse { .. }) => {
                self.check_term(&self.server.connect()?)?;
                return Err(error);
            }
            again => again?,
        };
        if let Err(error) = self.check_term(&again.link) {
            if matches!(error, Error::SetBack) {
                lock::mark_set_back(&again.link)?;
            }
            return Err(error);
        }
        Ok(again)
    }

    /// Shows the server that this process is not stopped, and whether it still leads.
    pub fn keep_alive(&mut self) -> Result<()> {
        self.reconnect()?;
        self.check_term(&self.link)
    }

    fn check_term(&self, link: &Link) -> Result<()> {
        self.term.get().map_or(Ok(()), |term| lock::check_term(link, term, self.committed.get()))
    }

    pub fn is_lost(&self) -> bool {
        self.link.is_lost()
    }

    pub fn is_in_transaction(&self) -> bool {
        self.transaction.get() != Transaction::None && !self.is_lost()
    }

    /// Whether a statement has failed in the transaction, which can only be rolled back then.
    pub fn has_failed(&self) -> bool {
        self.transaction.get() == Transaction::Failed
    }

    pub fn changed_rows(&self) -> u64 {
        self.changed_rows.get()
    }

    /// Runs statements without parameters, all or none.
    pub fn run_batch(&self, sql: &str) -> Result<()> {
        self.wait(self.link.client().batch_execute(&translate(sql)))
    }

    /// Runs a query whose statements all see the same state.
    pub fn in_snapshot<T, E: From<Error>>(&self, query: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.control(Control::Begin, "BEGIN")?;
        let result = query();
        // Nothing was written. A connection that is lost has no transaction any more.
        let ended = self.control(Control::Rollback, "ROLLBACK");
        let result = result?;
        ended?;
        Ok(result)
    }

    /// Runs a statement, and returns its rows and how many it has changed.
    pub fn run(&self, sql: &str, values: Vec<Sent>) -> Result<(Vec<Row>, u64)> {
        if let Some(control) = Control::of(sql) {
            return self.control(control, sql).map(|()| (Vec::new(), 0));
        }
        let statement = self.statement(sql, &values)?;
        let values = values.iter().map(|value| -> &(dyn ToSql + Sync) { value });
        let run = async {
            let mut stream = pin!(self.link.client().query_raw(&statement, values).await?);
            let mut rows = Vec::new();
            while let Some(row) = stream.try_next().await? {
                rows.push(row);
            }
            Ok((rows, stream.rows_affected().unwrap_or(0)))
        };
        let (rows, affected) = self.wait(run)?;
        if !sql.trim_start().starts_with("SELECT") {
            self.changed_rows.set(self.changed_rows.get() + affected);
        }
        Ok((rows, affected))
    }

    /// Reads the rows of a long query, a thousand at a time. Inside a transaction.
    pub fn read_long(&self, sql: &str, mut each: impl FnMut(&AnyRow<'_>) -> Result<()>) -> Result<()> {
        // A prepared statement remembers its columns, so each query has a cursor of its own.
        let cursor = format!("query_{:x}", BuildHasherDefault::<DefaultHasher>::default().hash_one(sql));
        self.run_batch(&format!("DECLARE {cursor} NO SCROLL CURSOR FOR {sql}"))?;
        loop {
            let (rows, _) = self.run(&format!("FETCH 1000 FROM {cursor}"), Vec::new())?;
            if rows.is_empty() {
                return self.run_batch(&format!("CLOSE {cursor}"));
            }
            rows.iter().try_for_each(|row| each(&AnyRow::Postgres(row)))?;
        }
    }

    /// Lets each table number its next row after the highest.
    pub fn continue_numbers(&self) -> Result<()> {
        let (tables, _) = self.run(
            "SELECT attrelid::regclass::text FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
             WHERE attidentity <> '' AND relnamespace = current_schema()::regnamespace",
            Vec::new(),
        )?;
        for table in tables {
            let table: &str = table.try_get(0).map_err(|error| Error::of_server(&error))?;
            self.run_batch(&format!(
                "SELECT setval(pg_get_serial_sequence('{table}', 'nr'), max(nr)) FROM {table}"
            ))?;
        }
        Ok(())
    }

    /// The statement, prepared for the types of these values.
    fn statement(&self, sql: &str, values: &[Sent]) -> Result<Statement> {
        let fits = |statement: &&Statement| {
            let declared = statement.params();
            declared.len() == values.len()
                && values.iter().zip(declared).all(|(value, declared)| value.fits(declared))
        };
        if let Some(known) = self.statements.borrow().get(sql).and_then(|known| known.iter().find(fits)) {
            return Ok(known.clone());
        }
        let types: Vec<Type> = values.iter().map(Sent::declared_type).collect();
        let prepared = self.wait(self.link.client().prepare_typed(&translate(sql), &types))?;
        let needed = prepared.params().len();
        if needed != values.len() {
            return Err(Error::ParameterCount { given: values.len(), needed });
        }
        let mut statements = self.statements.borrow_mut();
        if statements.len() >= KEPT_STATEMENTS {
            statements.clear();
        }
        statements.entry(sql.into()).or_default().push(prepared.clone());
        Ok(prepared)
    }

    fn control(&self, control: Control, sql: &str) -> Result<()> {
        let failed = self.has_failed();
        if control == Control::Commit && failed {
            // The server would roll it back and say that all is well.
            return Err(Error::TransactionFailed);
        }
        if let Err(failed) = self.run_batch(sql) {
            if control != Control::Commit {
                return Err(failed);
            }
            self.transaction.set(Transaction::None);
            // It may be committed, and its answer lost.
            return Err(if self.is_lost() { Error::OutcomeUnknown(failed.to_string()) } else { failed });
        }
        if control == Control::Begin
            && let Some(term) = self.term.get()
        {
            match lock::count_transaction(&self.link, term) {
                Ok(number) => self.counted.set(number),
                Err(error) => {
                    // The server would take nothing but this, and the next transaction could not begin.
                    if self.run_batch("ROLLBACK").is_err() {
                        self.link.abandon();
                    }
                    return Err(error);
                }
            }
        }
        if control == Control::Commit {
            self.committed.set(self.counted.get());
        }
        match control {
            Control::Begin | Control::RollbackTo => self.transaction.set(Transaction::Open),
            Control::Commit | Control::Rollback => self.transaction.set(Transaction::None),
            Control::Savepoint => {}
        }
        Ok(())
    }

    fn wait<T>(&self, answer: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T> {
        self.link.wait(answer).inspect_err(|_| {
            if self.transaction.get() == Transaction::Open {
                self.transaction.set(Transaction::Failed);
            }
        })
    }
}

/// A statement that begins or ends a transaction, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Control {
    Begin,
    Commit,
    Rollback,
    RollbackTo,
    Savepoint,
}

impl Control {
    fn of(sql: &str) -> Option<Self> {
        let mut words = sql.split_ascii_whitespace();
        Some(match (words.next()?, words.next()) {
            ("BEGIN", _) => Self::Begin,
            ("COMMIT", _) => Self::Commit,
            ("ROLLBACK", Some(_)) => Self::RollbackTo,
            ("ROLLBACK", None) => Self::Rollback,
            ("SAVEPOINT" | "RELEASE", _) => Self::Savepoint,
            _ => return None,
        })
    }
}
