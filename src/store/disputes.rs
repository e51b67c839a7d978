//! Tasks that were charged and have no video. Which these are is kept in `attempts.in_dispute`, in the transaction that changes
//! a job, so that a report looks at no others. `doctor` compares it with the jobs.

use crate::api::report::Dispute;
use crate::clock::Timestamp;
use crate::job::Job;
use crate::job::state::StateName;
use crate::money::Quota;
use crate::store::Store;
use crate::store::db::{self, Connection};
use crate::store::error::StoreError;

/// Charged without a video. A held job may have some of its files already; the others are in dispute.
const IS_DISPUTED: &str = "CASE WHEN attempts.charged_quota IS NOT NULL AND attempts.charged_quota > 0 AND attempts.task_id IS NOT NULL
    AND EXISTS (SELECT 1 FROM jobs WHERE jobs.nr = attempts.job
        AND (jobs.task_id IS DISTINCT FROM attempts.task_id OR jobs.state IN ('failed', 'cancelled', 'expired', 'held'))
        AND (jobs.task_id IS NOT DISTINCT FROM attempts.task_id AND jobs.state = 'held'
             OR NOT EXISTS (SELECT 1 FROM outputs WHERE outputs.job = jobs.nr
                            AND outputs.task_id = attempts.task_id AND outputs.state = 'stored')))
    THEN 1 ELSE 0 END";
const DISPUTED: &str =
    "SELECT jobs.id, jobs.name, jobs.state, attempts.task_id, jobs.model, attempts.created_at,
        attempts.charged_quota,
        (SELECT CASE detail WHEN '' THEN event ELSE event || ': ' || detail END FROM history
         WHERE history.job = jobs.nr AND event IN ('failed', 'cancelled', 'expired', 'held')
           AND at <= coalesce((SELECT min(later.created_at) FROM attempts AS later
                               WHERE later.job = attempts.job AND later.number > attempts.number),
                              history.at)
         ORDER BY history.nr DESC LIMIT 1)
    FROM attempts INDEXED BY attempts_in_dispute CROSS JOIN jobs ON jobs.nr = attempts.job
    WHERE attempts.in_dispute = 1 AND (jobs.finished_at IS NULL OR jobs.finished_at >= ?1)
    ORDER BY attempts.job DESC, attempts.number DESC LIMIT ?2";

fn set_disputes() -> String {
    format!("UPDATE attempts SET in_dispute = 1 - in_dispute WHERE job = ?1 AND in_dispute <> {IS_DISPUTED}")
}

/// Notes which tasks of a job are in dispute, after an event that may have changed it. A job that goes well asks nothing.
pub(super) fn note_disputes(
    connection: &Connection,
    (nr, is_charged): (i64, bool),
    before: &Job,
    after: &Job,
) -> Result<(), StoreError> {
    let state = |job: &Job| (job.state_name(), job.task().cloned());
    let is_changed = is_charged || state(before) != state(after) || before.outputs() != after.outputs();
    if is_changed && (may_have_disputes(before) || may_have_disputes(after)) {
        connection.prepare_cached(&set_disputes())?.execute([nr])?;
    }
    Ok(())
}

/// Whether a task of the job may have been charged without a video.
fn may_have_disputes(job: &Job) -> bool {
    let is_without_video = matches!(
        job.state_name(),
        StateName::Pending | StateName::Held | StateName::Failed | StateName::Cancelled | StateName::Expired
    );
    job.attempts() > 1 || job.attempts() == 1 && is_without_video
}

/// How many tasks are wrongly in dispute, or wrongly not.
pub(super) fn wrong_disputes(connection: &Connection) -> db::Result<i64> {
    let sql = format!("SELECT count(*) FROM attempts WHERE in_dispute <> {IS_DISPUTED}");
    connection.query_row(&sql, [], |row| row.get(0))
}

impl Store {
    /// Tasks that were charged and have no video, of jobs that ended at `since` or later or have not ended: the newest
    /// `limit`, newest first. A job that was retried may have several.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn disputes(&self, since: Timestamp, limit: u32) -> Result<Vec<Dispute>, StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(DISPUTED)?;
            let rows = statement.query_map((since, limit), |row| {
                let charged: Quota = row.get(6)?;
                let why: Option<String> = row.get(7)?;
                Ok(Dispute {
                    job: row.get(0)?,
                    name: row.get(1)?,
                    state: row.get(2)?,
                    task_id: row.get(3)?,
                    model: row.get(4)?,
                    submitted_at: row.get(5)?,
                    charged_quota: charged.get(),
                    charged_usd: charged.usd(),
                    why: why.unwrap_or_else(|| "no video was stored".to_owned()),
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, String)> {
    vec![("disputes", DISPUTED.to_owned()), ("disputes of a job", set_disputes())]
}
