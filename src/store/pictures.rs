//! Which local pictures jobs name, and whether a copy of one is still needed.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::job::JobId;
use crate::jobfile::pictures::{FoundPicture, NamedPicture, PictureContent};
use crate::store::Store;
use crate::store::db::{self, Connection, OptionalExtension, Row};
use crate::store::error::StoreError;
use crate::store::writer::Writing;

const INSERT: &str =
    "INSERT INTO job_pictures (job, path, inbox_path, sha256, picture_type) VALUES (?1, ?2, ?3, ?4, ?5)";
const OF_JOB: &str = "SELECT path, inbox_path, sha256, picture_type FROM job_pictures WHERE job = ?1";
/// Named by an unfinished job, or by any job that has no original of it, or by one that is handed out to another machine.
const IS_NAMED: &str = "SELECT 1 FROM job_pictures INDEXED BY job_pictures_by_content
    JOIN jobs ON jobs.nr = job_pictures.job
    WHERE job_pictures.sha256 = ?1 AND job_pictures.picture_type = ?2
      AND (jobs.finished_at IS NULL OR job_pictures.inbox_path IS NULL
           OR EXISTS (SELECT 1 FROM moved_jobs WHERE moved_jobs.job = jobs.nr)) LIMIT 1";
const IS_UPLOADED: &str =
    "SELECT 1 FROM uploaded_pictures WHERE sha256 = ?1 AND picture_type = ?2 AND uploaded_at > ?3";
const UPLOAD: &str =
    "INSERT INTO uploaded_pictures (sha256, picture_type, bytes, uploaded_at) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (sha256, picture_type) DO UPDATE SET bytes = ?3, uploaded_at = ?4";
const UPLOADED_BYTES: &str = "SELECT coalesce(sum(bytes), 0) FROM uploaded_pictures";
const NEWEST_UPLOADS: &str =
    "SELECT sha256, picture_type, bytes FROM uploaded_pictures ORDER BY uploaded_at DESC";
const FORGET_UPLOAD: &str = "DELETE FROM uploaded_pictures WHERE sha256 = ?1 AND picture_type = ?2";
const FORGET_UPLOADS: &str = "DELETE FROM uploaded_pictures WHERE uploaded_at <= ?1";
/// How long an uploaded picture is kept for a job to come.
pub const UPLOAD_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Most bytes of uploaded pictures that are kept for jobs to come: some 200 of the largest, or 2,000 as cameras make them.
pub const MAX_WAITING_BYTES: u64 = 4 << 30;
const ORIGINAL: &str = "SELECT inbox_path FROM job_pictures INDEXED BY job_pictures_by_content
    WHERE sha256 = ?1 AND inbox_path IS NOT NULL LIMIT 1";
const IS_SERVED: &str = "SELECT 1 FROM jobs JOIN job_pictures ON job_pictures.job = jobs.nr
    WHERE jobs.id = ?1 AND jobs.finished_at IS NULL AND job_pictures.sha256 = ?2 AND job_pictures.picture_type = ?3";

#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, String)> {
    [
        ("pictures of a job", OF_JOB),
        ("named picture", IS_NAMED),
        ("uploaded picture", IS_UPLOADED),
        ("served picture", IS_SERVED),
        ("original of a picture", ORIGINAL),
    ]
    .map(|(name, sql)| (name, sql.to_owned()))
    .into()
}

/// Replaces the pictures of a job that was edited.
pub(super) fn replace_pictures(
    connection: &Connection,
    nr: i64,
    pictures: &[NamedPicture],
) -> db::Result<()> {
    connection.prepare_cached("DELETE FROM job_pictures WHERE job = ?1")?.execute([nr])?;
    insert_pictures(connection, nr, pictures)
}

/// Adds the pictures of a new job. Those that were not found are left out: the job then has no address for them.
pub(super) fn insert_pictures(connection: &Connection, nr: i64, pictures: &[NamedPicture]) -> db::Result<()> {
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

fn read_picture(row: &Row<'_>) -> db::Result<NamedPicture> {
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

    /// Where the original of a picture lies below the inbox, if a job names one that was found there.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn original_of(&self, content: PictureContent) -> Result<Option<String>, StoreError> {
        self.read(move |connection| {
            let mut original = connection.prepare_cached(ORIGINAL)?;
            Ok(original.query_row([&content.sha256], |row| row.get(0)).optional()?)
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

    /// Those of these pictures that no job needs and that were not uploaded within a day.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn unneeded_pictures(
        &self,
        kept: Vec<PictureContent>,
        now: Timestamp,
    ) -> Result<Vec<PictureContent>, StoreError> {
        let since = now.minus(UPLOAD_LIFETIME);
        let unneeded = self.read(move |connection| {
            let mut named = connection.prepare_cached(IS_NAMED)?;
            let mut uploaded = connection.prepare_cached(IS_UPLOADED)?;
            let mut unneeded = Vec::new();
            for content in kept {
                let PictureContent { sha256, picture_type } = &content;
                if !named.exists((sha256, picture_type))?
                    && !uploaded.exists((sha256, picture_type, since))?
                {
                    unneeded.push(content);
                }
            }
            Ok(unneeded)
        });
        let unneeded = unneeded.await?;
        if !unneeded.is_empty() {
            let forget = move |writing: &mut Writing<'_>| {
                writing.connection.prepare_cached(FORGET_UPLOADS)?.execute([since])?;
                Ok(())
            };
            self.writer.write(forget).await?;
        }
        Ok(unneeded)
    }

    /// Keeps the copy of an uploaded picture for [`UPLOAD_LIFETIME`]. Returns the oldest ones that no job names and that
    /// [`MAX_WAITING_BYTES`] leave no room for: they are not kept any more.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn record_upload(
        &self,
        content: PictureContent,
        bytes: u64,
        now: Timestamp,
    ) -> Result<Vec<PictureContent>, StoreError> {
        self.writer
            .write(move |writing| {
                let mut upload = writing.connection.prepare_cached(UPLOAD)?;
                let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
                upload.execute((&content.sha256, content.picture_type, bytes, now))?;
                forget_uploads(writing.connection)
            })
            .await
    }
}

fn forget_uploads(connection: &Connection) -> Result<Vec<PictureContent>, StoreError> {
    let mut left = i64::try_from(MAX_WAITING_BYTES).unwrap_or(i64::MAX);
    let total: i64 = connection.prepare_cached(UPLOADED_BYTES)?.query_row([], |row| row.get(0))?;
    let mut forgotten = Vec::new();
    if total <= left {
        return Ok(forgotten);
    }
    let (mut newest, mut named) =
        (connection.prepare_cached(NEWEST_UPLOADS)?, connection.prepare_cached(IS_NAMED)?);
    let mut rows = newest.query([])?;
    while let Some(row) = rows.next()? {
        let content = PictureContent { sha256: row.get(0)?, picture_type: row.get(1)? };
        if named.exists((&content.sha256, content.picture_type))? {
            continue;
        }
        left = left.saturating_sub(row.get(2)?);
        if left < 0 {
            forgotten.push(content);
        }
    }
    let mut forget = connection.prepare_cached(FORGET_UPLOAD)?;
    for content in &forgotten {
        forget.execute((&content.sha256, content.picture_type))?;
    }
    Ok(forgotten)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::event::{Event, OperatorAction};
    use crate::jobfile::Draft;
    use crate::jobfile::pictures::PictureType;
    use crate::store::tests::{NOW, Rig, draft};

    #[tokio::test]
    async fn uploaded_picture_is_kept_for_a_day_and_while_a_job_without_an_original_names_it() {
        let rig = Rig::new();
        let content =
            |digit: &str| PictureContent { sha256: digit.repeat(64), picture_type: PictureType::Png };
        let (before, after) =
            (NOW.plus(UPLOAD_LIFETIME).minus(Duration::from_secs(1)), NOW.plus(UPLOAD_LIFETIME));
        rig.store.record_upload(content("a"), 1, NOW).await.unwrap();
        rig.store.record_upload(content("b"), 1, NOW).await.unwrap();
        let found = FoundPicture { inbox_path: None, content: content("b") };
        let picture = NamedPicture { path: "b.png".to_owned(), found: Some(found) };
        let job = rig.ingest(vec![Draft { pictures: vec![picture], ..draft("b") }]).await[0];
        let unneeded = |now| rig.store.unneeded_pictures(["a", "b", "c"].map(content).into(), now);
        assert_eq!(unneeded(before).await.unwrap(), [content("c")]);
        assert_eq!(unneeded(after).await.unwrap(), ["a", "c"].map(content));
        rig.store.apply(job, Event::Operator(OperatorAction::Cancel), NOW).await.unwrap();
        assert_eq!(unneeded(after).await.unwrap(), ["a", "c"].map(content));
    }

    #[tokio::test]
    async fn oldest_uploads_without_a_job_make_room_for_new_ones() {
        const HALF: u64 = MAX_WAITING_BYTES / 2;
        let rig = Rig::new();
        let content =
            |digit: &str| PictureContent { sha256: digit.repeat(64), picture_type: PictureType::Png };
        let upload = |digit: &str, bytes: u64, second: u64| {
            rig.store.record_upload(content(digit), bytes, NOW.plus(Duration::from_secs(second)))
        };
        assert_eq!(upload("a", HALF, 1).await.unwrap(), []);
        let found = FoundPicture { inbox_path: None, content: content("a") };
        let picture = NamedPicture { path: "a.png".to_owned(), found: Some(found) };
        rig.ingest(vec![Draft { pictures: vec![picture], ..draft("a") }]).await;
        assert_eq!(upload("b", HALF, 2).await.unwrap(), [], "a job names the first");
        assert_eq!(upload("c", HALF, 3).await.unwrap(), [], "as much as is kept");
        assert_eq!(upload("b", HALF, 4).await.unwrap(), [], "once more");
        assert_eq!(upload("d", 1, 5).await.unwrap(), [content("c")]);
        let kept = ["a", "b", "c", "d"].map(content).into();
        assert_eq!(rig.store.unneeded_pictures(kept, NOW).await.unwrap(), [content("c")]);
    }
}
