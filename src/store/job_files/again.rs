//! New jobs from the request of an old one: one batch that names it, with names of its own (`NAME-v2`, `NAME-v3`, ...).

use crate::clock::Timestamp;
use crate::job::JobId;
use crate::jobfile::{Draft, MAX_NAME_CHARS};
use crate::store::Store;
use crate::store::db::Connection;
use crate::store::details::{JobDetails, details_where};
use crate::store::error::StoreError;
use crate::store::job_files::idempotency::{ingested_before, record_key};
use crate::store::job_files::insert::{
    InsertContext, Inserts, Visibility, count_accepted, insert_file, undoing_refusal,
};
use crate::store::job_files::{FileToIngest, IngestError, IngestResult, Ingested};
use crate::store::job_rows::read_job;
use crate::store::writer::Writing;

/// At most 100. In two steps: PostgreSQL would read the newest jobs of all until it has 100 that are in one of the batches,
/// and so every job where there are few batches.
const JOBS_AGAIN: &str = "jobs.nr IN (
        WITH again AS MATERIALIZED (
            SELECT nr FROM jobs WHERE batch IN (SELECT nr FROM batches WHERE again_of = ?1))
        SELECT nr FROM again ORDER BY nr DESC LIMIT 100)
    ORDER BY jobs.nr DESC";
/// The names that may be versions: those that go on with a digit.
const VERSIONS: &str = "SELECT name FROM jobs WHERE name >= ?1 || '-v0' AND name < ?1 || '-v:'";

impl Store {
    /// Ingests jobs that run the request of `origin` again, in one commit. The names of those that have its name
    /// become the next versions of it.
    ///
    /// # Errors
    /// See [`IngestError`]; nothing is committed then.
    pub async fn ingest_again(
        &self,
        origin: JobId,
        file: FileToIngest,
        drafts: Vec<Draft>,
        now: Timestamp,
    ) -> IngestResult {
        let (rng, context) = (self.rng.clone(), self.insert_context());
        let write = move |writing: &mut Writing<'_>| {
            let new_id = |order| JobId::new(now, order, &rng);
            match ingest(writing, &context, origin, &file, drafts.clone(), now, &new_id) {
                Err(IngestError::Store(error)) => Err(error),
                outcome => Ok(outcome),
            }
        };
        self.writer.write(write).await?
    }

    /// The drafts with the names that jobs which run the request of `origin` again would have now.
    ///
    /// # Errors
    /// [`StoreError::NoSuchJob`], or any failure of the database.
    pub async fn name_versions(
        &self,
        origin: JobId,
        mut drafts: Vec<Draft>,
    ) -> Result<Vec<Draft>, StoreError> {
        self.read(move |connection| {
            name_versions(connection, origin, &mut drafts)?;
            Ok(drafts)
        })
        .await
    }

    /// The jobs that run the request of `origin` again, the newest first, at most 100.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn jobs_again(&self, origin: JobId) -> Result<Vec<JobDetails>, StoreError> {
        self.read_priced(move |connection| details_where(connection, JOBS_AGAIN, [origin])).await
    }
}

fn ingest(
    writing: &mut Writing<'_>,
    context: &InsertContext,
    origin: JobId,
    file: &FileToIngest,
    mut drafts: Vec<Draft>,
    now: Timestamp,
    new_id: &impl Fn(u64) -> JobId,
) -> IngestResult {
    let connection = writing.connection;
    if let Some(ingested) = ingested_before(connection, file)? {
        return Ok(ingested);
    }
    name_versions(connection, origin, &mut drafts)?;
    let has_keys = drafts.iter().any(|draft| draft.key.is_some());
    let (nr, jobs) = undoing_refusal(connection, has_keys, || {
        let nr = insert_file(connection, (file, None), drafts.len(), Visibility::AtOnce, now)?;
        connection
            .prepare_cached("UPDATE batches SET again_of = ?2 WHERE nr = ?1")
            .and_then(|mut link| link.execute((nr, origin)))
            .map_err(StoreError::from)?;
        let mut inserts = Inserts::prepare(connection, context, Visibility::AtOnce)?;
        Ok((nr, inserts.add_jobs(writing, nr, &drafts, now, new_id)?))
    })?;
    record_key(connection, file, nr, now)?;
    count_accepted(writing, jobs.len());
    Ok(Ingested { nr, jobs })
}

/// Those that have the name of `origin` get the next versions of it.
fn name_versions(connection: &Connection, origin: JobId, drafts: &mut [Draft]) -> Result<(), StoreError> {
    let name = read_job(connection, origin)?.job.identity().name.clone();
    let base = base_of_version(&name);
    let first = next_version(connection, base)?;
    for (draft, version) in drafts.iter_mut().filter(|draft| draft.name == name).zip(first..) {
        draft.name = version_name(base, version);
    }
    Ok(())
}

/// `sakura` of `sakura` and of `sakura-v3`.
fn base_of_version(name: &str) -> &str {
    match name.rsplit_once("-v") {
        Some((base, digits)) if !base.is_empty() && version_of(digits).is_some() => base,
        _ => name,
    }
}

fn version_of(digits: &str) -> Option<u64> {
    let version: u64 = digits.parse().ok().filter(|version| (2..1_000_000_000).contains(version))?;
    (digits == version.to_string()).then_some(version)
}

fn next_version(connection: &Connection, base: &str) -> Result<u64, StoreError> {
    // As it was cut when the versions were named.
    let kept = version_name(base, 2);
    let kept = kept.strip_suffix("-v2").unwrap_or(base);
    let mut statement = connection.prepare_cached(VERSIONS)?;
    let mut rows = statement.query([kept])?;
    let mut last = 1;
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let version = name.strip_prefix(kept).and_then(|rest| rest.strip_prefix("-v")).and_then(version_of);
        last = last.max(version.unwrap_or(1));
    }
    Ok(last + 1)
}

/// The longest version has ten digits, so that all versions of a name are cut at the same place.
fn version_name(base: &str, version: u64) -> String {
    let kept: String = base.chars().take(MAX_NAME_CHARS - "-v".len() - 10).collect();
    format!("{kept}-v{version}")
}

/// The statements, so that a test can check their query plans.
#[cfg(test)]
pub(in crate::store) fn hot_statements() -> Vec<(&'static str, String)> {
    vec![("versions of a name", VERSIONS.to_owned())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::details::select_where;
    use crate::store::tests::{Rig, draft, raw};

    #[tokio::test]
    #[ignore = "needs the PostgreSQL server that ci/postgres starts"]
    async fn server_reads_no_other_jobs_to_list_jobs_again() {
        let rig = Rig::new();
        for _ in 0..3 {
            let drafts = (0..2_000).map(|_| Draft { again: true, ..draft("sakura") });
            rig.ingest(drafts.collect()).await;
        }
        let connection = raw(&rig.path());
        connection.execute_batch("ANALYZE").unwrap();
        let sql = format!("EXPLAIN {}", select_where(JOBS_AGAIN).replace("?1", "'a'"));
        let mut statement = connection.prepare_cached(&sql).unwrap();
        let plan: Vec<String> =
            statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
        let plan = plan.join("\n");
        let reads_all = plan.contains("Backward using jobs_pkey") || plan.contains("Seq Scan on jobs");
        assert!(!reads_all && plan.contains("jobs_by_batch"), "{plan}");
    }

    #[test]
    fn versions_count_on_from_the_highest() {
        let cases = [
            ("sakura", "sakura"),
            ("sakura-v2", "sakura"),
            ("sakura-v12", "sakura"),
            ("sakura-v1", "sakura-v1"),
            ("sakura-v02", "sakura-v02"),
            ("sakura-v", "sakura-v"),
            ("-v2", "-v2"),
            ("a-v2-v3", "a-v2"),
        ];
        for (name, base) in cases {
            assert_eq!(base_of_version(name), base, "{name}");
        }
        let long = "春".repeat(200);
        assert_eq!(version_name(&long, 12), format!("{}-v12", "春".repeat(188)));

        let connection = crate::store::db::sqlite::open_in_memory();
        connection.execute_batch("CREATE TABLE jobs (name TEXT)").unwrap();
        let add = |name: &str| connection.execute("INSERT INTO jobs VALUES (?1)", [name]).unwrap();
        assert_eq!(next_version(&connection, "a").unwrap(), 2);
        for name in ["a-v2", "a-v10", "a-v3x", "a-video", "b-v99", "a-v011"] {
            add(name);
        }
        assert_eq!(next_version(&connection, "a").unwrap(), 11);
        add(&version_name(&long, 4));
        assert_eq!(next_version(&connection, &long).unwrap(), 5);
    }
}
