//! One connection to a server.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::pin::pin;

use futures_util::TryStreamExt;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Row, Statement};

use super::link::Link;
use super::lock::Progress;
use super::translate::translate;
use super::values::Sent;
use super::{PostgresServer, claims, lock};
use crate::store::db::{Error, Result, Row as AnyRow, Value};

/// Prepared statements that a connection keeps. Each set of columns that changes together has an UPDATE of its own.
const KEPT_STATEMENTS: usize = 500;

pub(in crate::store) struct Session {
    server: PostgresServer,
    link: Link,
    role: Role,
    /// By their text, with the types of parameters for which each is prepared.
    statements: RefCell<HashMap<Box<str>, Vec<Statement>>>,
    transaction: Cell<Transaction>,
    changed_rows: Cell<u64>,
    /// How far the database was when this process looked or committed last.
    seen: Cell<Progress>,
    /// How far it will be after the commit of the open transaction.
    counted: Cell<Progress>,
    /// Other processes have committed since [`Session::others_committed`] was asked.
    others: Cell<bool>,
}

/// What a connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Reads,
    /// It writes, and others that do are not counted.
    Writes,
    Leads,
    Follows,
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
        let session = Self::over(server, server.connect()?, Role::Reads);
        session.run_batch(
            "SET default_transaction_read_only = on; SET default_transaction_isolation = 'repeatable read'",
        )?;
        Ok(session)
    }

    /// Connects to write as the process that leads, once [`Session::begin_term`] is called.
    pub fn leader(server: &PostgresServer) -> Result<Self> {
        let link = lock::connect_writer(server)?;
        if !server.alone_in_tests {
            lock::lock(&link)?;
        }
        Ok(Self::over(server, link, Role::Writes))
    }

    /// Connects to write as one of those that follow, once [`Session::follow`] is called.
    pub fn follower(server: &PostgresServer) -> Result<Self> {
        Ok(Self::over(server, lock::connect_follower(server)?, Role::Writes))
    }

    /// Begins to follow.
    ///
    /// # Errors
    /// [`Error::InUse`] if the process that leads has not begun its term yet.
    pub fn follow(&mut self) -> Result<()> {
        self.seen.set(lock::progress(&self.link)?.ok_or_else(|| self.in_use())?);
        self.role = Role::Follows;
        Ok(())
    }

    /// The error of a process that can neither lead nor follow.
    pub fn in_use(&self) -> Error {
        lock::in_use(&self.link).unwrap_or_else(|error| error)
    }

    fn over(server: &PostgresServer, link: Link, role: Role) -> Self {
        Self {
            server: server.clone(),
            link,
            role,
            statements: RefCell::default(),
            transaction: Cell::new(Transaction::None),
            changed_rows: Cell::new(0),
            seen: Cell::default(),
            counted: Cell::default(),
            others: Cell::new(false),
        }
    }

    /// Begins to lead, once the tables are there.
    pub fn begin_term(&mut self) -> Result<()> {
        if !self.server.alone_in_tests {
            self.role = Role::Leads;
            self.seen.set(lock::begin_term(&self.link)?);
        }
        Ok(())
    }

    fn is_counted(&self) -> bool {
        matches!(self.role, Role::Leads | Role::Follows)
    }

    /// The number of the term.
    pub fn term(&self) -> i64 {
        self.counted.get().term.max(self.seen.get().term)
    }

    /// Whether other processes have committed since this was asked last.
    pub fn others_committed(&self) -> bool {
        self.others.take()
    }

    /// Calls this soon after other processes have committed.
    pub fn hear_news(&self, heard: Box<dyn Fn() + Send + Sync>) {
        self.server.news.set_listener(heard);
    }

    /// Takes the lock of the process that leads if it is free. The connection keeps it.
    pub fn try_lead(&self) -> Result<bool> {
        Ok(self.role == Role::Follows && lock::try_lock(&self.link)?)
    }

    /// The process that leads, for people.
    pub fn leader_name(&self) -> Result<Option<String>> {
        lock::leader(&self.link)
    }

    /// The condition that no other process has claimed a row of `jobs`.
    pub fn unclaimed(&self) -> Option<String> {
        self.server.process.map(claims::unclaimed)
    }

    /// The condition that a column has the number of another process, which is gone.
    pub fn is_gone(&self, column: &str) -> Option<String> {
        self.server.process.map(|process| claims::is_gone(column, process))
    }

    /// The condition that a column has the number of this process.
    pub fn is_own(&self, column: &str) -> Option<String> {
        self.server.process.map(|process| format!("{column} = {process}"))
    }

    /// The condition that a row of `batches` is for this process to finish.
    pub fn own_batches(&self, leads: bool) -> Option<String> {
        self.server.process.map(|process| claims::own_batches(process, leads))
    }

    /// Claims a job for this process. False if another one has it.
    pub fn claim(&self, job: i64) -> Result<bool> {
        let Some(process) = self.server.process else { return Ok(true) };
        let [clean, claim] = claims::claim(process);
        self.run(&clean, Vec::new())?;
        Ok(self.run(&claim, vec![Sent(Value::Integer(job))])?.1 == 1)
    }

    /// Claims a job for this process, whoever has it.
    pub fn take_claim(&self, job: i64) -> Result<()> {
        let Some(process) = self.server.process else { return Ok(()) };
        self.run(&claims::take(process), vec![Sent(Value::Integer(job))])?;
        Ok(())
    }

    /// Connects again if the connection is lost.
    ///
    /// # Errors
    /// Also when the database is not what this process remembers of it: another one has led meanwhile, or transactions are lost.
    pub fn reconnect(&mut self) -> Result<()> {
        if !self.is_lost() {
            return Ok(());
        }
        let again = match self.role {
            Role::Reads => Self::reader(&self.server)?,
            Role::Writes => Self::leader(&self.server)?,
            Role::Leads => self.lead_again()?,
            Role::Follows => {
                self.checked(Self::over(&self.server, lock::connect_follower(&self.server)?, self.role))?
            }
        };
        again.changed_rows.set(self.changed_rows.get());
        again.others.set(self.others.get());
        *self = again;
        Ok(())
    }

    fn lead_again(&self) -> Result<Self> {
        let mut again = match Self::leader(&self.server) {
            // Perhaps the lost connection itself, until the server notices.
            Err(error @ Error::InUse { .. }) => {
                self.checked(Self::over(&self.server, self.server.connect()?, Role::Leads))?;
                return Err(error);
            }
            again => again?,
        };
        again.role = Role::Leads;
        self.checked(again)
    }

    /// A new connection, if the database is what this one remembers of it. One that was set back is marked.
    fn checked(&self, again: Self) -> Result<Self> {
        again.seen.set(self.seen.get());
        if let Err(error) = again.look() {
            if matches!(error, Error::SetBack) {
                lock::mark_set_back(&again.link)?;
            }
            return Err(error);
        }
        Ok(again)
    }

    /// Shows the server that this process is not stopped, and finds out whether it still leads, and what others have done.
    pub fn keep_alive(&mut self) -> Result<()> {
        self.reconnect()?;
        self.look()
    }

    fn look(&self) -> Result<()> {
        if self.is_counted() {
            let seen = self.seen.get();
            self.see(lock::check_progress(&self.link, self.role == Role::Leads, seen)?, seen.transactions);
        }
        Ok(())
    }

    /// Remembers how far the database is. This process knows of `known` transactions.
    fn see(&self, found: Progress, known: i64) {
        if found.transactions != known {
            self.others.set(true);
        }
        self.seen.set(found);
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
        if control == Control::Begin && self.is_counted() {
            let seen = self.seen.get();
            match lock::count_transaction(&self.link, self.role == Role::Leads, seen) {
                Ok(counted) => {
                    if counted.transactions != seen.transactions + 1 {
                        self.others.set(true);
                    }
                    self.counted.set(counted);
                }
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
            self.seen.set(self.counted.get());
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
