//! Ratings of outputs. A job's rating is that of its best output, kept in its row for lists.

use thiserror::Error;

use crate::clock::Timestamp;
use crate::job::JobId;
use crate::job::history::{HistoryEntry, HistoryEvent};
use crate::job::notification::JobNotification;
use crate::store::Store;
use crate::store::db::{self, params_from_iter};
use crate::store::details::{LibraryFile, details_in};
use crate::store::error::StoreError;
use crate::store::history::write_history;
use crate::store::hooks::{About, write_calls};
use crate::store::job_rows::number_of;
use crate::store::notify::Topic;
use crate::store::sidecars::outdate_sidecar;
use crate::store::writer::Writing;

/// Why nothing was rated.
#[derive(Debug, Error)]
pub enum RateError {
    /// Nothing of the job is in the library.
    #[error("the job has no file in the library to rate")]
    NoFiles,
    /// The job has other outputs.
    #[error("it has no output `{output}` in the library; it has {known}")]
    NoSuchOutput {
        /// The output.
        output: String,
        /// What it has, in words.
        known: String,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Rates an output of a job, such as `video-0`, or all its files in the library; `None` clears. Their sidecars are rewritten
    /// after it. Returns the number of files.
    ///
    /// # Errors
    /// See [`RateError`]; nothing is rated then.
    pub async fn rate(
        &self,
        id: JobId,
        output: Option<String>,
        rating: Option<u8>,
        now: Timestamp,
    ) -> Result<usize, RateError> {
        self.writer
            .write(move |writing| match rate_in(writing, id, output.as_deref(), rating, now) {
                Err(RateError::Store(error)) => Err(error),
                rated => Ok(rated),
            })
            .await?
    }
}

fn rate_in(
    writing: &mut Writing<'_>,
    id: JobId,
    output: Option<&str>,
    rating: Option<u8>,
    now: Timestamp,
) -> Result<usize, RateError> {
    let nr = number_of(writing.connection, id)?;
    let all = details_in(writing.connection, id)?.files;
    let files = select(all, output)?;
    // Also where the rating is the same: somebody may have put an old sidecar back.
    files.iter().try_for_each(|file| outdate_sidecar(writing, &file.file.path))?;
    if files.iter().all(|file| file.rating == rating) {
        return Ok(files.len());
    }
    let connection = writing.connection;
    let write = || -> db::Result<()> {
        for file in &files {
            // The path is unique. A file may be that of an earlier task.
            connection
                .prepare_cached("UPDATE outputs SET rating = ?2 WHERE path = ?1 AND job = ?3")?
                .execute((&file.file.path, rating, nr))?;
        }
        Ok(())
    };
    write().map_err(StoreError::from)?;
    let change = writing.next_change();
    connection
        .prepare_cached(
            "UPDATE jobs SET last_change = ?2,
                 rating = (SELECT max(rating) FROM outputs WHERE outputs.job = ?1 AND outputs.state = 'stored')
             WHERE nr = ?1",
        )
        .and_then(|mut update| update.execute(params_from_iter([nr, change])))
        .map_err(StoreError::from)?;
    let rating = rating.map_or_else(|| "cleared".to_owned(), |rating| rating.to_string());
    let detail = output.map_or_else(|| rating.clone(), |output| format!("{rating} ({output})"));
    write_history(writing, nr, now, &[HistoryEntry { event: HistoryEvent::Rated, detail }])?;
    write_calls(writing, About::Job(nr), JobNotification::Rated, now)?;
    writing.notify(Topic::Changes);
    Ok(files.len())
}

/// The output of this name of the newest task, or all.
fn select(all: Vec<LibraryFile>, output: Option<&str>) -> Result<Vec<LibraryFile>, RateError> {
    if all.is_empty() {
        return Err(RateError::NoFiles);
    }
    let Some(output) = output else { return Ok(all) };
    match all.iter().rev().find(|file| file.key.to_string() == output) {
        Some(found) => Ok(vec![found.clone()]),
        None => {
            let known: std::collections::BTreeSet<String> =
                all.iter().map(|file| file.key.to_string()).collect();
            let known = known.into_iter().collect::<Vec<_>>().join(", ");
            Err(RateError::NoSuchOutput { output: output.to_owned(), known })
        }
    }
}
