//! Which local pictures jobs name, and whether a copy of one is still needed.

use rusqlite::{Connection, Row};

use crate::job::JobId;
use crate::jobfile::pictures::{FoundPicture, NamedPicture, PictureContent};
use crate::store::Store;
use crate::store::error::StoreError;

const INSERT: &str =
    "INSERT INTO job_pictures (job, path, inbox_path, sha256, picture_type) VALUES (?1, ?2, ?3, ?4, ?5)";
const OF_JOB: &str = "SELECT path, inbox_path, sha256, picture_type FROM job_pictures WHERE job = ?1";
const IS_NEEDED: &str = "SELECT 1 FROM job_pictures INDEXED BY job_pictures_by_content
    JOIN jobs ON jobs.nr = job_pictures.job
    WHERE job_pictures.sha256 = ?1 AND job_pictures.picture_type = ?2 AND jobs.finished_at IS NULL LIMIT 1";
const IS_SERVED: &str = "SELECT 1 FROM jobs JOIN job_pictures ON job_pictures.job = jobs.nr
    WHERE jobs.id = ?1 AND jobs.finished_at IS NULL AND job_pictures.sha256 = ?2 AND job_pictures.picture_type = ?3";

#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, String)> {
    [("pictures of a job", OF_JOB), ("needed picture", IS_NEEDED), ("served picture", IS_SERVED)]
        .map(|(name, sql)| (name, sql.to_owned()))
        .into()
}

/// Adds the pictures of a new job. Those that were not found are left out: the job then has no address for them.
pub(super) fn insert_pictures(
    connection: &Connection,
    nr: i64,
    pictures: &[NamedPicture],
) -> rusqlite::Result<()> {
    for NamedPicture { path, found } in pictures {
        let Some(FoundPicture { inbox_path, content }) = found else { continue };
        let mut insert = connection.prepare_cached(INSERT)?;
        insert.execute((nr, path, inbox_path, &content.sha256, content.picture_type.into_str()))?;
    }
    Ok(())
}

/// The pictures of the job in this row.
pub(super) fn pictures_of(connection: &Connection, nr: i64) -> Result<Vec<NamedPicture>, StoreError> {
    let mut statement = connection.prepare_cached(OF_JOB)?;
    let pictures = statement.query_map([nr], read_picture)?;
    Ok(pictures.collect::<Result<_, _>>()?)
}

fn read_picture(row: &Row<'_>) -> rusqlite::Result<NamedPicture> {
    let content = PictureContent { sha256: row.get(2)?, picture_type: row.get(3)? };
    Ok(NamedPicture { path: row.get(0)?, found: Some(FoundPicture { inbox_path: row.get(1)?, content }) })
}

impl Store {
    /// The local pictures that a job names.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn pictures(&self, job: JobId) -> Result<Vec<NamedPicture>, StoreError> {
        self.read(move |connection| {
            let nr = crate::store::job_rows::number_of(connection, job)?;
            pictures_of(connection, nr)
        })
        .await
    }

    /// Whether an unfinished job names this picture, so that it is served to whoever has the address.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn is_served(&self, job: JobId, content: PictureContent) -> Result<bool, StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(IS_SERVED)?;
            Ok(statement.exists((job, &content.sha256, content.picture_type))?)
        })
        .await
    }

    /// Those of these pictures that no unfinished job names.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn unneeded_pictures(
        &self,
        kept: Vec<PictureContent>,
    ) -> Result<Vec<PictureContent>, StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(IS_NEEDED)?;
            let mut unneeded = Vec::new();
            for content in kept {
                if !statement.exists((&content.sha256, content.picture_type))? {
                    unneeded.push(content);
                }
            }
            Ok(unneeded)
        })
        .await
    }
}
