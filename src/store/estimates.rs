//! What jobs will probably cost.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use crate::job::JobId;
use crate::money::Quota;
use crate::money::estimate::Estimate;
use crate::pricing::PricedRequest;
use crate::pricing::estimate::{KnownPrice, estimate};
use crate::pricing::own_charges::OwnCharges;
use crate::pricing::price_book::{OperatorPrice, PriceBook};
use crate::store::Store;
use crate::store::error::StoreError;

/// The newest charges of a kind of job; refunds and failures are not among them.
const OWN_CHARGES: &str = "SELECT charged_quota FROM attempts INDEXED BY attempts_by_price_class
    WHERE price_class = ?1 AND charged_quota > 0 ORDER BY job DESC LIMIT 200";

#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, String)> {
    vec![("own charges", OWN_CHARGES.to_owned())]
}

/// What a job will probably cost, and the kind that its charge will count for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobEstimate {
    /// What it will probably cost.
    pub estimate: Estimate,
    /// What jobs of the same price have in common; `None`: not known.
    pub price_class: Option<String>,
}

impl Store {
    /// Sets the operator's own prices.
    pub fn set_operator_prices(&self, prices: Vec<OperatorPrice>) {
        Arc::make_mut(&mut self.prices.write()).operator = prices;
    }

    /// What a job will probably cost if it is submitted now.
    ///
    /// # Errors
    /// [`StoreError::NoSuchJob`], or any failure of the database.
    pub async fn estimate_job(&self, job: JobId) -> Result<JobEstimate, StoreError> {
        let book = self.prices.read().clone();
        self.read(move |connection| {
            let body: Option<String> = connection
                .prepare_cached(
                    "SELECT body FROM requests JOIN jobs ON jobs.nr = requests.job WHERE jobs.id = ?1",
                )?
                .query_row([job], |row| row.get(0))
                .optional()?;
            estimate_in(connection, &body.ok_or(StoreError::NoSuchJob(job))?, &book)
        })
        .await
    }
}

/// What a job with this request will probably cost.
fn estimate_in(connection: &Connection, body: &str, book: &PriceBook) -> Result<JobEstimate, StoreError> {
    let request = PricedRequest::of(body);
    let price_class = request.as_ref().and_then(PricedRequest::price_class);
    let own = match &price_class {
        Some(class) => own_charges(connection, class)?,
        None => None,
    };
    let known = KnownPrice { own, ..KnownPrice::default() };
    Ok(JobEstimate { estimate: estimate(request.as_ref(), book, known), price_class })
}

fn own_charges(connection: &Connection, class: &str) -> Result<Option<OwnCharges>, StoreError> {
    let mut statement = connection.prepare_cached(OWN_CHARGES)?;
    let charges: Vec<Quota> = statement.query_map([class], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(OwnCharges::of(charges))
}

#[cfg(test)]
mod tests;
