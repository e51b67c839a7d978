//! The rows of a query.

use super::postgres::Received;
use super::{Error, FromSql, Result, ValueRef};

/// The rows of a query, one after the other.
pub(in crate::store) enum Rows<'s> {
    Sqlite(rusqlite::Rows<'s>),
    /// All of them have arrived: the next statement can use the connection while they are read.
    Postgres {
        left: std::vec::IntoIter<tokio_postgres::Row>,
        current: Option<tokio_postgres::Row>,
    },
}

impl Rows<'_> {
    pub(super) fn received(rows: Vec<tokio_postgres::Row>) -> Self {
        Self::Postgres { left: rows.into_iter(), current: None }
    }

    /// The next row. Not an iterator: a row is gone once the next one is read.
    pub fn next(&mut self) -> Result<Option<Row<'_>>> {
        Ok(match self {
            Self::Sqlite(rows) => rows.next()?.map(Row::Sqlite),
            Self::Postgres { left, current } => {
                *current = left.next();
                current.as_ref().map(Row::Postgres)
            }
        })
    }

    /// The first row, which must be there.
    pub(super) fn first(&mut self) -> Result<Row<'_>> {
        self.next()?.ok_or(Error::NoRow)
    }
}

/// The rows of a query, each made into a value.
pub(in crate::store) struct MappedRows<'s, F> {
    pub(super) rows: Rows<'s>,
    pub(super) read: F,
}

impl<T, E: From<Error>, F: FnMut(&Row<'_>) -> Result<T, E>> Iterator for MappedRows<'_, F> {
    type Item = Result<T, E>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.rows.next() {
            Ok(row) => row.map(|row| (self.read)(&row)),
            Err(error) => Some(Err(error.into())),
        }
    }
}

/// A row of a query.
pub(in crate::store) enum Row<'r> {
    Sqlite(&'r rusqlite::Row<'r>),
    Postgres(&'r tokio_postgres::Row),
}

impl Row<'_> {
    /// The value of a column, by its position or its name.
    pub fn get<I: Column, T: FromSql>(&self, column: I) -> Result<T> {
        let column = column.position(self)?;
        T::column_result(self.at(column)?).map_err(|source| Error::Value { column, source })
    }

    /// A text as it lies in the row; `None`: null.
    pub fn text<I: Column>(&self, column: I) -> Result<Option<&str>> {
        let column = column.position(self)?;
        self.at(column)?.as_str_or_null().map_err(|source| Error::Value { column, source })
    }

    fn at(&self, column: usize) -> Result<ValueRef<'_>> {
        match self {
            Self::Sqlite(row) => Ok(row.get_ref(column)?),
            Self::Postgres(row) => {
                let received: Received<'_> = row.try_get(column).map_err(|error| Error::of_server(&error))?;
                Ok(received.0)
            }
        }
    }
}

/// What names a column.
pub(in crate::store) trait Column {
    fn position(self, row: &Row<'_>) -> Result<usize>;
}

impl Column for usize {
    fn position(self, _: &Row<'_>) -> Result<usize> {
        Ok(self)
    }
}

impl Column for &str {
    fn position(self, row: &Row<'_>) -> Result<usize> {
        let missing = || rusqlite::Error::InvalidColumnName(self.to_owned()).into();
        match row {
            Row::Sqlite(row) => Ok(row.as_ref().column_index(self)?),
            Row::Postgres(row) => {
                row.columns().iter().position(|column| column.name() == self).ok_or_else(missing)
            }
        }
    }
}
