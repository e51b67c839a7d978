//! Starts attempts: checks that the job may be submitted, and commits key, exact body and reserved cost before the send.

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::job::JobId;
use crate::job::attempt::attempt_key;
use crate::job::budget::{BudgetVerdict, Budgets};
use crate::job::event::{Event, PictureFault};
use crate::job::state::StateName;
use crate::job::step::{AttemptToSend, Moment};
use crate::jobfile::pictures::{NamedPicture, PictureContent, with_addresses};
use crate::jobfile::{self, quoted};
use crate::money::estimate::Estimate;
use crate::secret::Secret;
use crate::store::Store;
use crate::store::apply::{Applied, apply_to};
use crate::store::attempt::Attempt;
use crate::store::error::StoreError;
use crate::store::job_rows::{JobRow, read_job};
use crate::store::pictures::pictures_of;
use crate::store::spending::{alert, judge_in, reserve, reserve_new};
use crate::store::suspensions::waits_for_operator;
use crate::store::writer::Writing;

/// The result of starting an attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum AttemptStart {
    /// Send this attempt, which is committed.
    Send(Attempt),
    /// There is nothing to send; the job as it is.
    Nothing(Box<Applied>),
    /// An operator has paused submits, or the database is superseded; nothing was changed.
    Paused,
    /// The job was changed since it was estimated, so the estimate may be that of another request; nothing was changed.
    Changed,
}

/// Makes the callback URL of a new attempt; `None` for no callbacks.
pub type CallbackUrl = Box<dyn Fn(JobId) -> Option<Secret> + Send>;

/// Makes the public address of a local picture of a job; `None` if they are not served.
pub type PictureUrl = Box<dyn Fn(JobId, &PictureContent) -> Option<Secret> + Send>;

/// What an attempt is made of, besides the job's own request.
pub struct AttemptParts {
    /// Where it is sent.
    pub base_url: String,
    /// Where the provider calls back.
    pub callback_url: CallbackUrl,
    /// Where the provider fetches local pictures.
    pub picture_url: PictureUrl,
    /// What it will probably cost.
    pub estimate: Estimate,
    /// What jobs of the same price have in common.
    pub price_class: Option<String>,
    /// The number of the job's last change when it was estimated; `None`: whatever the job is now.
    pub estimated_change: Option<i64>,
}

impl Store {
    /// Starts an attempt: creates a new one with its key and exact body, or reads the pending one to send it again.
    /// Checks for a pause and for the budgets in the same transaction: once a pause is acknowledged, no attempt starts any
    /// more, and no two attempts spend the same money.
    ///
    /// # Errors
    /// As [`Store::apply`].
    pub async fn start_attempt(
        &self,
        id: JobId,
        parts: AttemptParts,
        now: Timestamp,
    ) -> Result<AttemptStart, StoreError> {
        let (policy, jitter) = (self.policy, self.rng.fraction());
        let budgets = self.budgets.clone();
        self.writer
            .write(move |writing| {
                if waits_for_operator(writing.connection)? {
                    return Ok(AttemptStart::Paused);
                }
                let moment = Moment { now, jitter, policy: &policy };
                let known = read_job(writing.connection, id)?;
                if parts.estimated_change.is_some_and(|change| change != known.change) {
                    return Ok(AttemptStart::Changed);
                }
                // The cost of one that may have been executed is reserved already.
                let unpaid = known.job.state_name() == StateName::Pending;
                if unpaid && let Some(event) = picture_refusal(writing, &known, &parts)? {
                    let (applied, _) = apply_to(writing, &known, &event, moment)?;
                    return Ok(AttemptStart::Nothing(Box::new(applied)));
                }
                if unpaid {
                    let budgets = budgets.read();
                    if let Some(event) = cost_refusal(writing, &known, parts.estimate, &budgets, now)? {
                        let (applied, _) = apply_to(writing, &known, &event, moment)?;
                        if matches!(event, Event::OverBudget { .. }) {
                            alert(writing, known.nr, &budgets, Some(parts.estimate.quota), now)?;
                        }
                        return Ok(AttemptStart::Nothing(Box::new(applied)));
                    }
                }
                let (applied, row) = apply_to(writing, &known, &Event::AttemptStarted, moment)?;
                let attempt = match row.send {
                    Some(AttemptToSend::New(number)) => create_attempt(
                        writing,
                        row.nr,
                        id,
                        number,
                        applied.job.names_pictures(),
                        &parts,
                        now,
                    )?,
                    Some(AttemptToSend::Pending(number)) => {
                        if unpaid {
                            reserve(writing, row.nr, number, parts.estimate, now)?;
                        }
                        resend_attempt(writing, row.nr, id, number, now)?
                    }
                    None => return Ok(AttemptStart::Nothing(Box::new(applied))),
                };
                if unpaid {
                    alert(writing, row.nr, &budgets.read(), None, now)?;
                }
                Ok(AttemptStart::Send(attempt))
            })
            .await
    }
}

/// Why a job may not be submitted for its local pictures.
fn picture_refusal(
    writing: &Writing<'_>,
    known: &JobRow,
    parts: &AttemptParts,
) -> Result<Option<Event>, StoreError> {
    if !known.job.names_pictures() {
        return Ok(None);
    }
    let id = known.job.id();
    let has_address = |picture: &NamedPicture| {
        picture.found.as_ref().is_some_and(|found| (parts.picture_url)(id, &found.content).is_some())
    };
    let without =
        pictures_of(writing.connection, known.nr)?.into_iter().find(|picture| !has_address(picture));
    Ok(without.map(|picture| {
        let why = format!("picture {}: local pictures are not served (`media.serve`)", quoted(&picture.path));
        Event::PictureUnavailable(PictureFault::Unreachable { why })
    }))
}

/// Why a job may not be submitted for its cost.
fn cost_refusal(
    writing: &Writing<'_>,
    known: &JobRow,
    estimate: Estimate,
    budgets: &Budgets,
    now: Timestamp,
) -> Result<Option<Event>, StoreError> {
    let need = estimate.quota;
    if let Some(limit) = known.job.identity().max_cost
        && need > limit
        && !known.job.checks_waived()
    {
        let why = format!("it costs about {need}, more than its `max_cost_usd` of {limit}");
        return Ok(Some(Event::TooExpensive { why }));
    }
    Ok(match judge_in(writing.connection, known.nr, need, budgets, now)? {
        BudgetVerdict::Fits => None,
        BudgetVerdict::Waits { why, until, .. } => Some(Event::OverBudget { need, why, until }),
        BudgetVerdict::TooExpensive { why, .. } => Some(Event::TooExpensive { why }),
    })
}

fn create_attempt(
    writing: &mut Writing<'_>,
    nr: i64,
    id: JobId,
    number: u32,
    names_pictures: bool,
    parts: &AttemptParts,
    now: Timestamp,
) -> Result<Attempt, StoreError> {
    let (request, labels): (String, String) = writing
        .connection
        .prepare_cached("SELECT body, labels FROM requests WHERE job = ?1")?
        .query_row([nr], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let request = if names_pictures { with_pictures(writing, nr, id, &request, parts)? } else { request };
    let body = match (parts.callback_url)(id) {
        Some(url) => jobfile::with_callback(&request, url.expose()),
        None => request,
    };
    let attempt = Attempt::new(id, number, body, Some(parts.base_url.clone()), now);
    writing
        .connection
        .prepare_cached(
            "INSERT INTO attempts (job, number, key, body, body_sha256, created_at, sends, last_sent_at, base_url,
                                   estimate_quota, estimate_source, price_class, counted_quota, counted_settled,
                                   counted_at, settlement_tries)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?6, ?7, ?8, ?9, ?10, ?8, 0, ?6, 0)",
        )?
        .execute((
            nr,
            number,
            attempt_key(id, number),
            attempt.body(),
            attempt.body_sha256(),
            now,
            &parts.base_url,
            parts.estimate.quota,
            parts.estimate.source.into_str(),
            &parts.price_class,
        ))?;
    reserve_new(writing, labels, parts.estimate.quota, now)?;
    Ok(attempt)
}

/// The request with the public addresses of its local pictures.
fn with_pictures(
    writing: &Writing<'_>,
    nr: i64,
    id: JobId,
    request: &str,
    parts: &AttemptParts,
) -> Result<String, StoreError> {
    let mut addresses = BTreeMap::new();
    for NamedPicture { path, found } in pictures_of(writing.connection, nr)? {
        if let Some(address) = found.and_then(|found| (parts.picture_url)(id, &found.content)) {
            addresses.insert(path, address.expose().to_owned());
        }
    }
    Ok(with_addresses(request, &addresses))
}

fn resend_attempt(
    writing: &Writing<'_>,
    nr: i64,
    id: JobId,
    number: u32,
    now: Timestamp,
) -> Result<Attempt, StoreError> {
    let attempt = writing
        .connection
        .prepare_cached("SELECT body, base_url, created_at FROM attempts WHERE job = ?1 AND number = ?2")?
        .query_row((nr, number), |row| Ok(Attempt::new(id, number, row.get(0)?, row.get(1)?, row.get(2)?)))?;
    writing
        .connection
        .prepare_cached(
            "UPDATE attempts SET sends = sends + 1, last_sent_at = ?3 WHERE job = ?1 AND number = ?2",
        )?
        .execute((nr, number, now))?;
    Ok(attempt)
}

#[cfg(test)]
mod tests;
