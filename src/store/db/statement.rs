//! Statements with parameters.

use super::row::MappedRows;
use super::{Error, Params, Result, Row, Rows, ToSql};

/// A statement of one connection.
pub(in crate::store) struct Statement<'c> {
    connection: &'c rusqlite::Connection,
    statement: rusqlite::CachedStatement<'c>,
}

/// A statement while its parameters are bound.
pub(in crate::store) struct Binding<'s, 'c> {
    statement: &'s mut rusqlite::CachedStatement<'c>,
    bound: usize,
}

impl Binding<'_, '_> {
    /// The value of the next parameter.
    pub fn add(&mut self, value: &(impl ToSql + ?Sized)) -> Result<()> {
        self.bound += 1;
        Ok(self.statement.raw_bind_parameter(self.bound, value)?)
    }
}

impl<'c> Statement<'c> {
    pub(super) fn prepare(connection: &'c rusqlite::Connection, sql: &str) -> Result<Self> {
        Ok(Self { connection, statement: connection.prepare_cached(sql)? })
    }

    fn bind(&mut self, params: impl Params) -> Result<()> {
        let mut binding = Binding { statement: &mut self.statement, bound: 0 };
        params.bind(&mut binding)?;
        let (bound, needed) = (binding.bound, self.statement.parameter_count());
        if bound == needed {
            Ok(())
        } else {
            Err(rusqlite::Error::InvalidParameterCount(bound, needed).into())
        }
    }

    /// Runs it and returns how many rows it changed.
    pub fn execute(&mut self, params: impl Params) -> Result<usize> {
        self.bind(params)?;
        Ok(self.statement.raw_execute()?)
    }

    /// Inserts one row and returns its number, `nr`.
    pub fn insert(&mut self, params: impl Params) -> Result<i64> {
        self.bind(params)?;
        match self.statement.raw_execute()? {
            1 => Ok(self.connection.last_insert_rowid()),
            rows => Err(rusqlite::Error::StatementChangedRows(rows).into()),
        }
    }

    pub fn query(&mut self, params: impl Params) -> Result<Rows<'_>> {
        self.bind(params)?;
        Ok(Rows::new(self.statement.raw_query()))
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
