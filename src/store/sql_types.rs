//! How values are stored: times as Unix milliseconds, amounts as whole quota, ids and words as text.

use crate::clock::Timestamp;
use crate::job::history::HistoryEvent;
use crate::job::hold::HoldReason;
use crate::job::next_action::NextAction;
use crate::job::notification::JobNotification;
use crate::job::output::OutputKind;
use crate::job::state::StateName;
use crate::job::suspension::SuspensionCause;
use crate::job::{JobId, Priority, TaskId};
use crate::jobfile::pictures::PictureType;
use crate::money::Quota;
use crate::store::db::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlResult, ValueRef};
use crate::store::error::StoreError;
use crate::store::report_sums::SumKind;

macro_rules! stored {
    ($($kind:ty: $value:ident => $to_sql:expr, $stored:ident => $from_sql:expr;)+) => { $(
        impl ToSql for $kind {
            fn to_sql(&self) -> ToSqlResult<'_> {
                let $value = self;
                Ok($to_sql.into())
            }
        }
        impl FromSql for $kind {
            fn column_result($stored: ValueRef<'_>) -> FromSqlResult<Self> {
                $from_sql
            }
        }
    )+ };
}

stored! {
    Timestamp: time => time.millis(), stored => stored.as_i64().map(Self::from_millis);
    Quota: quota => quota.get(), stored => stored.as_i64().map(Self::new);
    Priority: priority => priority.get(),
        stored => stored.as_i64().map(|value| Self::new(value).unwrap_or_default());
    JobId: id => id.to_string(), stored => parse("job id", stored, Self::parse);
    TaskId: id => id.as_str(), stored => parse("task id", stored, Self::parse);
    StateName: word => word.into_str(), stored => parse("state", stored, |word| word.parse().ok());
    HoldReason: word => word.into_str(), stored => parse("reason", stored, |word| word.parse().ok());
    NextAction: word => word.into_str(), stored => parse("next_action", stored, |word| word.parse().ok());
    PictureType: word => word.into_str(), stored => parse("type of a picture", stored, |word| word.parse().ok());
    OutputKind: word => word.into_str(), stored => parse("output kind", stored, |word| word.parse().ok());
    JobNotification: word => word.into_str(), stored => parse("event", stored, |word| word.parse().ok());
    SumKind: word => word.into_str(), stored => parse("kind of a sum", stored, |word| word.parse().ok());
    SuspensionCause: word => word.into_str(),
        stored => parse("cause of a suspension", stored, |word| word.parse().ok());
}

impl ToSql for HistoryEvent {
    fn to_sql(&self) -> ToSqlResult<'_> {
        Ok(self.into_str().into())
    }
}

/// `None` becomes the error that the database holds an unknown value.
fn parse<T>(
    what: &'static str,
    stored: ValueRef<'_>,
    parse: impl FnOnce(&str) -> Option<T>,
) -> FromSqlResult<T> {
    let value = stored.as_str()?;
    parse(value).ok_or_else(|| FromSqlError::other(StoreError::UnknownWord { what, value: value.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: FromSql>(value: &str) -> Result<T, StoreError> {
        let connection = crate::store::db::sqlite::open_in_memory();
        Ok(connection.query_row("SELECT ?1", [value], |row| row.get(0))?)
    }

    #[test]
    fn unknown_value_is_named_and_concerns_one_job() {
        let errors = [
            read::<StateName>("odd").unwrap_err(),
            read::<NextAction>("odd").unwrap_err(),
            read::<JobId>("odd").unwrap_err(),
            read::<TaskId>("odd/").unwrap_err(),
        ];
        for (error, what) in
            errors.iter().zip(["state: `odd`", "next_action: `odd`", "job id: `odd`", "`odd/`"])
        {
            assert!(error.concerns_one_job() && error.to_string().ends_with(what), "{error}");
        }
        assert_eq!(read::<StateName>("held").unwrap(), StateName::Held);
        assert!(!read::<Timestamp>("odd").unwrap_err().concerns_one_job());
    }
}
