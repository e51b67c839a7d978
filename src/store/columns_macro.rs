//! The macro `columns!`: from one list of columns it makes how a row is selected, read, inserted and updated.

/// Makes the struct `$columns` readable and writable as a row of `$table`. `column = field` keeps a column in a field of the
/// row or of a struct in it; `FromSql` and `ToSql` convert. SQLite gives the `key`, and `fixed` columns never change.
/// `rest` ends the pattern of a struct: a field that has neither a column nor a place in `rest` does not compile
/// ("pattern requires `..`").
///
/// A row is read by position: finding columns by name would cost as much as reading them.
macro_rules! columns {
    (
        $columns:ident as $row:ident in $table:ident;
        key { $key:ident }
        fixed { $($fixed_struct:ident: $fixed_part:expr => {
            $($fixed:ident = $fixed_field:ident,)+
        } rest { $($fixed_rest:tt)* })+ }
        changing { $($struct:ident: $part:expr => {
            $($column:ident = $field:ident,)+
        } rest { $($rest:tt)* })+ }
    ) => {
        impl $columns {
            /// The columns, for a `SELECT`. Others may follow them.
            pub const SELECT: &str = concat!(
                stringify!($table.$key),
                $($(", ", stringify!($table.$fixed),)+)+
                $($(", ", stringify!($table.$column),)+)+
            );

            /// Inserts a row. Its values are [`Self::fixed`], then [`Self::changing`].
            pub const INSERT: &str = concat!(
                "INSERT INTO ", stringify!($table), " (", stringify!($key),
                $($(", ", stringify!($fixed),)+)+
                $($(", ", stringify!($column),)+)+
                ") VALUES (NULL",
                $($(", :", stringify!($fixed),)+)+
                $($(", :", stringify!($column),)+)+
                ")",
            );

            /// Reads a row of a statement that begins with [`Self::SELECT`].
            pub fn read(stored: &$crate::store::db::Row<'_>) -> $crate::store::db::Result<Self> {
                #[expect(non_camel_case_types, reason = "the names are those of the columns")]
                enum Position { $key, $($($fixed,)+)+ $($($column,)+)+ }
                let mut $row = Self { $key: stored.get(Position::$key as usize)?, ..Self::default() };
                $($($fixed_part.$fixed_field = stored.get(Position::$fixed as usize)?;)+)+
                $($($part.$field = stored.get(Position::$column as usize)?;)+)+
                $(let $fixed_struct { $($fixed_field: _,)+ $($fixed_rest)* } = &$fixed_part;)+
                $(let $struct { $($field: _,)+ $($rest)* } = &$part;)+
                Ok($row)
            }

            /// The values of the columns that never change.
            pub fn fixed(
                &self,
            ) -> $crate::store::db::Result<[ToSqlOutput<'_>; [$($(stringify!($fixed),)+)+].len()]> {
                let $row = self;
                Ok([$($($fixed_part.$fixed_field.to_sql()?,)+)+])
            }

            /// The columns that change, with their values.
            pub fn changing(
                &self,
            ) -> $crate::store::db::Result<[(&'static str, ToSqlOutput<'_>); [$($(stringify!($column),)+)+].len()]> {
                let $row = self;
                Ok([$($((stringify!($column), $part.$field.to_sql()?),)+)+])
            }
        }
    };
}
pub(super) use columns;
