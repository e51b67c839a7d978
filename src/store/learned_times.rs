//! How long tasks took at the provider, by price class: learned in the transaction that records a completion, so that
//! nothing has to be added up when it is shown.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::job::event::{Event, Phase, StatusVerdict, SubmitVerdict};
use crate::job::usual_time::{MAX_TIMES, UsualTime};
use crate::job::{Job, TaskId};
use crate::store::db::{self, Connection, FromSqlError, OptionalExtension, Row};
use crate::store::error::StoreError;

/// Most classes that are kept: job files may name any model and length.
const MAX_CLASSES: u32 = 1_000;

/// What is known of the class of a task.
const CLASS_OF_TASK: &str = "SELECT attempts.price_class, learned_times.times
    FROM attempts LEFT JOIN learned_times ON learned_times.price_class = attempts.price_class
    WHERE attempts.task_id = ?1 AND attempts.price_class IS NOT NULL";
const LEARN: &str = "INSERT INTO learned_times (price_class, times, median, p90, long, learned_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT (price_class) DO UPDATE
    SET times = ?2, median = ?3, p90 = ?4, long = ?5, learned_at = ?6";
const FORGET: &str = "DELETE FROM learned_times WHERE price_class NOT IN
    (SELECT price_class FROM learned_times ORDER BY learned_at DESC, price_class LIMIT ?1)";
const USUAL: &str =
    "SELECT median, p90, long FROM learned_times WHERE price_class = ?1 AND median IS NOT NULL";
const USUAL_OF_ATTEMPT: &str = "SELECT median, p90, long
    FROM attempts JOIN learned_times ON learned_times.price_class = attempts.price_class
    WHERE attempts.job = ?1 AND attempts.number = ?2 AND median IS NOT NULL";
/// The usual time of a job with a task, as one column of a statement over `jobs`.
pub(super) const USUAL_COLUMN: &str = "CASE WHEN jobs.state = 'queued' OR jobs.state = 'processing' THEN
    (SELECT median || ' ' || p90 || ' ' || long FROM learned_times WHERE learned_times.price_class =
        (SELECT price_class FROM attempts WHERE attempts.job = jobs.nr AND attempts.number = jobs.attempts))
    END AS usual";

#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, String)> {
    [
        ("class of a task", CLASS_OF_TASK),
        ("usual time of a class", USUAL),
        ("usual time of an attempt", USUAL_OF_ATTEMPT),
    ]
    .map(|(name, sql)| (name, sql.to_owned()))
    .into()
}

/// Learns how long a task took that `event` completes.
pub(super) fn learn(
    connection: &Connection,
    event: &Event,
    before: &Job,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some((task, took)) = time_taken(event, before, now) else { return Ok(()) };
    let known: Option<(String, Option<String>)> = connection
        .prepare_cached(CLASS_OF_TASK)?
        .query_row([task.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((class, known)) = known else { return Ok(()) };
    let is_new = known.is_none();
    let mut times: Vec<u64> = known.and_then(|times| serde_json::from_str(&times).ok()).unwrap_or_default();
    times.push(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    times.drain(..times.len().saturating_sub(MAX_TIMES));
    let usual = UsualTime::of(&times);
    let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    connection.prepare_cached(LEARN)?.execute((
        class,
        // Numbers always serialize.
        serde_json::to_string(&times).unwrap_or_default(),
        usual.map(|usual| millis(usual.median)),
        usual.map(|usual| millis(usual.p90)),
        usual.map(|usual| millis(usual.long)),
        now,
    ))?;
    if is_new {
        connection.prepare_cached(FORGET)?.execute([MAX_CLASSES])?;
    }
    Ok(())
}

/// The task that `event` completes, and how long it took; `None` also where nobody can say when it ended.
fn time_taken<'e>(event: &'e Event, before: &Job, now: Timestamp) -> Option<(&'e TaskId, Duration)> {
    let Event::StatusPolled { task, verdict: StatusVerdict::Answered(facts), .. } = event else {
        return None;
    };
    let is_completed = facts.phase == Phase::Completed
        && before.is_task_unfinished()
        && before.task() == Some(task)
        && !before.identity().adopted;
    let submitted_at = before.facts().submitted_at.filter(|_| is_completed)?;
    // By the provider's clock, which may be another. A task that only a poll found may have ended long before.
    let reported = facts.completed_at.filter(|at| (submitted_at..=now).contains(at));
    let completed_at = reported.or(before.callback_at().map(|_| now))?;
    Some((task, completed_at.since(submitted_at)))
}

/// How long the task usually takes that `event` gives to the job in the row `nr`.
pub(super) fn usual_time_of_new_task(
    connection: &Connection,
    nr: i64,
    event: &Event,
) -> Result<Option<UsualTime>, StoreError> {
    match event {
        Event::SubmitAnswered { attempt, verdict: SubmitVerdict::Accepted { .. } } => {
            let mut statement = connection.prepare_cached(USUAL_OF_ATTEMPT)?;
            Ok(statement.query_row((nr, attempt), usual_time_in).optional()?)
        }
        _ => Ok(None),
    }
}

/// How long tasks of this class usually take.
pub(super) fn usual_time_of_class(
    connection: &Connection,
    class: &str,
) -> Result<Option<UsualTime>, StoreError> {
    Ok(connection.prepare_cached(USUAL)?.query_row([class], usual_time_in).optional()?)
}

fn usual_time_in(row: &Row<'_>) -> db::Result<UsualTime> {
    let millis =
        |column| Ok::<_, db::Error>(Duration::from_millis(row.get::<_, i64>(column)?.max(0).unsigned_abs()));
    Ok(UsualTime { median: millis(0)?, p90: millis(1)?, long: millis(2)? })
}

/// Reads [`USUAL_COLUMN`].
pub(super) fn usual_time_column(row: &Row<'_>) -> db::Result<Option<UsualTime>> {
    let Some(text) = row.get::<_, Option<String>>("usual")? else { return Ok(None) };
    let millis: Vec<u64> = text.split(' ').filter_map(|part| part.parse().ok()).collect();
    match millis[..] {
        [median, p90, long] => {
            let [median, p90, long] = [median, p90, long].map(Duration::from_millis);
            Ok(Some(UsualTime { median, p90, long }))
        }
        _ => Err(db::Error::Value { column: 0, source: FromSqlError::InvalidType }),
    }
}

#[cfg(test)]
mod tests;
