//! Changes the labels of jobs. What their attempts count for in budgets moves with them.

use crate::api::action::LabelChanges;
use crate::clock::Timestamp;
use crate::job::history::{HistoryEntry, HistoryEvent};
use crate::job::{JobId, Labels};
use crate::jobfile::dropreel_member::MAX_LABELS;
use crate::store::Store;
use crate::store::db::{self, params_from_iter};
use crate::store::details::details_in;
use crate::store::error::StoreError;
use crate::store::fairness::set_turn;
use crate::store::history::write_history;
use crate::store::job_rows::number_of;
use crate::store::notify::Topic;
use crate::store::report_sums;
use crate::store::sidecars::outdate_sidecar;
use crate::store::spending::move_label_spending;
use crate::store::writer::Writing;

/// What became of a change of labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelOutcome {
    Changed,
    /// The job has these labels already.
    Same,
    /// It would have more than [`MAX_LABELS`]; nothing is changed.
    TooMany,
}

impl Store {
    /// Sets labels of a job, or removes them.
    ///
    /// # Errors
    /// [`StoreError::NoSuchJob`], or any failure of the database.
    pub async fn set_labels(
        &self,
        id: JobId,
        changes: LabelChanges,
        now: Timestamp,
    ) -> Result<LabelOutcome, StoreError> {
        let fair_by = self.insert_context().fair_by;
        self.writer.write(move |writing| set_in(writing, id, &changes, fair_by.as_deref(), now)).await
    }
}

fn set_in(
    writing: &mut Writing<'_>,
    id: JobId,
    changes: &LabelChanges,
    fair_by: Option<&str>,
    now: Timestamp,
) -> Result<LabelOutcome, StoreError> {
    let nr = number_of(writing.connection, id)?;
    let details = details_in(writing.connection, id)?;
    let (old, mut new) = (details.labels, Labels::new());
    new.clone_from(&old);
    for (key, value) in changes {
        match value {
            Some(value) => new.insert(key.clone(), value.clone()),
            None => new.remove(key),
        };
    }
    if new == old {
        return Ok(LabelOutcome::Same);
    }
    if new.len() > MAX_LABELS.max(old.len()) {
        return Ok(LabelOutcome::TooMany);
    }
    report_sums::uncount(writing, nr)?;
    write_labels(writing, nr, &old, &new)?;
    report_sums::count(writing, nr)?;
    move_label_spending(writing.connection, nr, &old, &new)?;
    set_turn(writing, nr, fair_by, &new)?;
    details.files.iter().try_for_each(|file| outdate_sidecar(writing, &file.file.path))?;
    let change = writing.next_change();
    writing
        .connection
        // A job of a long file that is not due yet gets its number with its next action, and is found by having none.
        .prepare_cached("UPDATE jobs SET last_change = ?2 WHERE nr = ?1 AND last_change > 0")?
        .execute(params_from_iter([nr, change]))?;
    let entry = HistoryEntry { event: HistoryEvent::Labelled, detail: describe(&old, &new) };
    write_history(writing, nr, now, &[entry])?;
    // A job may wait for the budget of a label that it no longer has.
    writing.notify(Topic::BudgetFreed);
    writing.notify(Topic::Changes);
    Ok(LabelOutcome::Changed)
}

fn write_labels(writing: &Writing<'_>, nr: i64, old: &Labels, new: &Labels) -> Result<(), StoreError> {
    let connection = writing.connection;
    let text = serde_json::to_string(new).map_err(db::Error::unwritable)?;
    connection.prepare_cached("UPDATE requests SET labels = ?2 WHERE job = ?1")?.execute((nr, text))?;
    for (key, value) in old {
        connection
            .prepare_cached("DELETE FROM labels WHERE key = ?1 AND value = ?2 AND job = ?3")?
            .execute((key, value, nr))?;
    }
    for (key, value) in new {
        connection
            .prepare_cached("INSERT INTO labels (key, value, job) VALUES (?1, ?2, ?3)")?
            .execute((key, value, nr))?;
    }
    Ok(())
}

/// "project=spring, no client".
fn describe(old: &Labels, new: &Labels) -> String {
    let set = new.iter().filter(|(key, value)| old.get(*key) != Some(value));
    let set = set.map(|(key, value)| format!("{key}={value}"));
    let removed = old.keys().filter(|key| !new.contains_key(*key)).map(|key| format!("no {key}"));
    set.chain(removed).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
