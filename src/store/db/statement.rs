//! Statements with parameters.

use super::postgres::{Sent, Session};
use super::row::MappedRows;
use super::{Error, Params, Result, Row, Rows, ToSql, ToSqlOutput, Value};

/// A statement of one connection.
pub(in crate::store) enum Statement<'c> {
    Sqlite { connection: &'c rusqlite::Connection, statement: rusqlite::CachedStatement<'c> },
    Postgres { session: &'c Session, sql: Box<str> },
}

/// The values of a statement's parameters, while they are given.
pub(in crate::store) enum Binding<'s, 'c> {
    Sqlite { statement: &'s mut rusqlite::CachedStatement<'c>, bound: usize },
    Postgres(Vec<Sent>),
}

impl Binding<'_, '_> {
    /// The value of the next parameter.
    pub fn add(&mut self, value: &(impl ToSql + ?Sized)) -> Result<()> {
        match self {
            Self::Sqlite { statement, bound } => {
                *bound += 1;
                Ok(statement.raw_bind_parameter(*bound, value)?)
            }
            Self::Postgres(values) => {
                values.push(Sent(match value.to_sql()? {
                    ToSqlOutput::Borrowed(value) => Value::try_from(value).map_err(Error::unwritable)?,
                    ToSqlOutput::Owned(value) => value,
                    _ => return Err(rusqlite::Error::InvalidParameterCount(0, 0).into()),
                }));
                Ok(())
            }
        }
    }
}

fn bind(statement: &mut rusqlite::CachedStatement<'_>, params: impl Params) -> Result<()> {
    let mut binding = Binding::Sqlite { statement, bound: 0 };
    params.bind(&mut binding)?;
    match binding {
        Binding::Sqlite { statement, bound: given } => {
            let needed = statement.parameter_count();
            if given == needed { Ok(()) } else { Err(Error::ParameterCount { given, needed }) }
        }
        Binding::Postgres(_) => Ok(()),
    }
}

fn collect(params: impl Params) -> Result<Vec<Sent>> {
    let mut binding = Binding::Postgres(Vec::new());
    params.bind(&mut binding)?;
    match binding {
        Binding::Postgres(values) => Ok(values),
        Binding::Sqlite { .. } => Ok(Vec::new()),
    }
}

impl Statement<'_> {
    /// Runs it and returns how many rows it changed.
    pub fn execute(&mut self, params: impl Params) -> Result<usize> {
        match self {
            Self::Sqlite { statement, .. } => {
                bind(statement, params)?;
                Ok(statement.raw_execute()?)
            }
            Self::Postgres { session, sql } => {
                let (_, changed) = session.run(sql, collect(params)?)?;
                Ok(usize::try_from(changed).unwrap_or(usize::MAX))
            }
        }
    }

    /// Inserts one row and returns its number, `nr`.
    pub fn insert(&mut self, params: impl Params) -> Result<i64> {
        match self {
            Self::Sqlite { connection, statement } => {
                bind(statement, params)?;
                match statement.raw_execute()? {
                    1 => Ok(connection.last_insert_rowid()),
                    rows => Err(rusqlite::Error::StatementChangedRows(rows).into()),
                }
            }
            Self::Postgres { session, sql } => {
                let (rows, _) = session.run(&format!("{sql} RETURNING nr"), collect(params)?)?;
                Rows::received(rows).first()?.get(0)
            }
        }
    }

    pub fn query(&mut self, params: impl Params) -> Result<Rows<'_>> {
        match self {
            Self::Sqlite { statement, .. } => {
                bind(statement, params)?;
                Ok(Rows::Sqlite(statement.raw_query()))
            }
            Self::Postgres { session, sql } => Ok(Rows::received(session.run(sql, collect(params)?)?.0)),
        }
    }

    /// Reads the first row, which must be there.
    pub fn query_row<T>(
        &mut self,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<T> {
        read(&self.query(params)?.first()?)
    }

    /// Whether there is a row.
    pub fn exists(&mut self, params: impl Params) -> Result<bool> {
        Ok(self.query(params)?.next()?.is_some())
    }

    /// Each row as a value.
    pub fn query_map<T, F>(&mut self, params: impl Params, read: F) -> Result<MappedRows<'_, F>>
    where
        F: FnMut(&Row<'_>) -> Result<T>,
    {
        Ok(MappedRows { rows: self.query(params)?, read })
    }

    /// The same, where reading fails in further ways.
    pub fn query_and_then<T, E, F>(&mut self, params: impl Params, read: F) -> Result<MappedRows<'_, F>>
    where
        E: From<Error>,
        F: FnMut(&Row<'_>) -> Result<T, E>,
    {
        Ok(MappedRows { rows: self.query(params)?, read })
    }
}
