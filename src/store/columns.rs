//! The columns of a table as one list: what is selected, read, inserted and updated follows from it.

/// Makes the struct `$row` readable and writable as a row of `$table`. `$column = $field` keeps a column in a field, or
/// in a field of a field; `FromSql` and `ToSql` convert. The `key` is given by SQLite, `fixed` columns never change.
///
/// A row is read by position: to look columns up by name would cost as much as reading them.
macro_rules! columns {
    (
        $row:ident in $table:ident;
        key { $key:ident }
        fixed { $($fixed:ident = $($fixed_field:ident).+,)+ }
        changing { $($column:ident = $($field:ident).+,)+ }
    ) => {
        impl $row {
            /// The columns, for a `SELECT`. Others may follow them.
            pub const SELECT: &str = concat!(
                stringify!($table.$key),
                $(", ", stringify!($table.$fixed),)+
                $(", ", stringify!($table.$column),)+
            );

            /// Inserts a row; its values are [`Self::fixed`], then [`Self::changing`].
            pub const INSERT: &str = concat!(
                "INSERT INTO ", stringify!($table), " (", stringify!($key),
                $(", ", stringify!($fixed),)+ $(", ", stringify!($column),)+
                ") VALUES (NULL",
                $(", :", stringify!($fixed),)+ $(", :", stringify!($column),)+
                ")",
            );

            /// Reads a row of a statement that begins with [`Self::SELECT`].
            pub fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
                #[expect(non_camel_case_types, reason = "the names are those of the columns")]
                enum Position { $key, $($fixed,)+ $($column,)+ }
                let mut read = Self { $key: row.get(Position::$key as usize)?, ..Self::default() };
                $(read.$($fixed_field).+ = row.get(Position::$fixed as usize)?;)+
                $(read.$($field).+ = row.get(Position::$column as usize)?;)+
                Ok(read)
            }

            /// The values of the columns that never change.
            pub fn fixed(&self) -> rusqlite::Result<[ToSqlOutput<'_>; [$(stringify!($fixed)),+].len()]> {
                Ok([$(self.$($fixed_field).+.to_sql()?,)+])
            }

            /// The columns that change, with their values.
            pub fn changing(
                &self,
            ) -> rusqlite::Result<[(&'static str, ToSqlOutput<'_>); [$(stringify!($column)),+].len()]> {
                Ok([$((stringify!($column), self.$($field).+.to_sql()?),)+])
            }
        }
    };
}
pub(super) use columns;
