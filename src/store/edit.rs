//! Changes the request of a job that no attempt was made for, with its row and its labels in one commit.

use crate::clock::Timestamp;
use crate::job::JobId;
use crate::job::Priority;
use crate::job::event::{Event, JobEdit};
use crate::job::state::State;
use crate::job::step::{ActionReply, Moment};
use crate::jobfile::Draft;
use crate::jobfile::rewrite::{OwnValues, job_file, on_one_line};
use crate::pricing::price_book::PriceBook;
use crate::store::Store;
use crate::store::apply::{Applied, apply_in};
use crate::store::db::{self, Connection};
use crate::store::details::{JobDetails, details_in, request_in};
use crate::store::error::StoreError;
use crate::store::fairness::set_turn;
use crate::store::pictures::replace_pictures;
use crate::store::waiting::set_estimate;
use crate::store::writer::Writing;

impl JobDetails {
    /// The `dropreel` member with which a job file makes this job, without a key.
    pub fn own_values(&self, now: Timestamp) -> OwnValues {
        let identity = self.job.identity();
        let not_before = match self.job.state() {
            // A job that waits for a budget has had its turn.
            State::Pending { schedule, .. } if self.job.budget_wait().is_none() => Some(schedule.due),
            _ => None,
        };
        OwnValues {
            name: identity.name.clone(),
            priority: identity.priority.get(),
            labels: self.labels.clone(),
            key: None,
            not_before: not_before.filter(|due| *due > now),
            max_cost: identity.max_cost,
        }
    }
}

impl Store {
    /// The job file that makes this job, in the user's own text.
    ///
    /// # Errors
    /// [`StoreError::NoSuchJob`], or any failure of the database.
    pub async fn job_file(&self, id: JobId, now: Timestamp) -> Result<String, StoreError> {
        self.read(move |connection| job_file_of(connection, id, now)).await
    }

    /// Changes a job to what `draft` says, unless it was submitted meanwhile: then nothing is changed, and the reply says why.
    ///
    /// # Errors
    /// As [`Store::apply`].
    pub async fn edit(&self, id: JobId, draft: Draft, now: Timestamp) -> Result<Applied, StoreError> {
        let (policy, jitter, context) = (self.policy, self.rng.fraction(), self.insert_context());
        self.writer
            .write(move |writing| {
                let event = Event::Edited(Box::new(JobEdit {
                    name: draft.name.clone(),
                    model: draft.model.clone(),
                    priority: Priority::new(draft.priority.into()).unwrap_or_default(),
                    max_cost: draft.max_cost,
                    not_before: draft.not_before,
                    names_pictures: !draft.pictures.is_empty(),
                    before: on_one_line(&job_file_of(writing.connection, id, now)?),
                }));
                let (applied, row) = apply_in(writing, id, &event, Moment { now, jitter, policy: &policy })?;
                if matches!(applied.reply, Some(ActionReply::Done(_))) {
                    write_request(writing, &context.book, row.nr, &draft)?;
                    replace_pictures(writing.connection, row.nr, &draft.pictures)?;
                    set_turn(writing, row.nr, context.fair_by.as_deref(), &draft.labels)?;
                }
                Ok(applied)
            })
            .await
    }
}

fn job_file_of(connection: &Connection, id: JobId, now: Timestamp) -> Result<String, StoreError> {
    let own = details_in(connection, id)?.own_values(now);
    Ok(job_file(&request_in(connection, id)?, &own))
}

fn write_request(writing: &Writing<'_>, book: &PriceBook, nr: i64, draft: &Draft) -> Result<(), StoreError> {
    let connection = writing.connection;
    let old: String = connection
        .prepare_cached("SELECT labels FROM requests WHERE job = ?1")?
        .query_row([nr], |row| row.get(0))?;
    let old: std::collections::BTreeMap<String, String> =
        serde_json::from_str(&old).map_err(|_| StoreError::UnknownWord { what: "labels", value: old })?;
    for (key, value) in &old {
        connection
            .prepare_cached("DELETE FROM labels WHERE key = ?1 AND value = ?2 AND job = ?3")?
            .execute((key, value, nr))?;
    }
    for (key, value) in &draft.labels {
        connection
            .prepare_cached("INSERT INTO labels (key, value, job) VALUES (?1, ?2, ?3)")?
            .execute((key, value, nr))?;
    }
    let warnings: Vec<&str> = draft.warnings.iter().map(|warning| warning.message.as_str()).collect();
    connection
        .prepare_cached(
            "UPDATE requests SET body = ?2, prompt = ?3, labels = ?4, warnings = ?5, defaults = NULL WHERE job = ?1",
        )?
        .execute((
            nr,
            &draft.body,
            &draft.prompt,
            serde_json::to_string(&draft.labels).map_err(db::Error::unwritable)?,
            serde_json::to_string(&warnings).map_err(db::Error::unwritable)?,
        ))?;
    set_estimate(connection, book, nr, &draft.body)
}

#[cfg(test)]
mod tests;
