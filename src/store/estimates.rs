//! What jobs will probably cost.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::job::JobId;
use crate::money::Quota;
use crate::money::estimate::Estimate;
use crate::pricing::PricedRequest;
use crate::pricing::estimate::{KnownPrice, estimate};
use crate::pricing::own_charges::OwnCharges;
use crate::pricing::price_book::{CataloguePrice, OperatorPrice, PriceBook};
use crate::pricing::total::EstimateTotal;
use crate::store::Store;
use crate::store::db::{Connection, OptionalExtension};
use crate::store::error::StoreError;
use crate::store::quotes::{has_quotes, quote_in};

/// The newest charges of a kind of job; refunds and failures are not among them.
const OWN_CHARGES: &str = "SELECT charged_quota FROM attempts INDEXED BY attempts_by_price_class
    WHERE price_class = ?1 AND charged_quota > 0 ORDER BY job DESC LIMIT 200";

#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, String)> {
    vec![("own charges", OWN_CHARGES.to_owned()), ("request of a job", REQUEST.to_owned())]
}

const REQUEST: &str = "SELECT requests.body, jobs.last_change FROM requests JOIN jobs ON jobs.nr = requests.job WHERE jobs.id = ?1";

/// The request bodies of jobs that are estimated together.
pub type Bodies = Box<dyn Iterator<Item = String> + Send>;

/// What a job will probably cost, and the kind that its charge will count for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobEstimate {
    /// What it will probably cost.
    pub estimate: Estimate,
    /// What jobs of the same price have in common; `None`: not known.
    pub price_class: Option<String>,
    /// The number of the job's last change when it was estimated; 0: no job was.
    pub change: i64,
}

impl Store {
    /// Sets the operator's own prices.
    pub fn set_operator_prices(&self, prices: Vec<OperatorPrice>) {
        Arc::make_mut(&mut self.prices.write()).operator = prices;
    }

    /// Sets the prices of the provider's catalogue.
    pub fn set_catalogue_prices(&self, prices: BTreeMap<String, Vec<CataloguePrice>>) {
        Arc::make_mut(&mut self.prices.write()).catalogue = prices;
    }

    /// What a job will probably cost if it is submitted now.
    ///
    /// # Errors
    /// [`StoreError::NoSuchJob`], or any failure of the database.
    pub async fn estimate_job(&self, job: JobId) -> Result<JobEstimate, StoreError> {
        let book = self.prices.read().clone();
        self.read(move |connection| {
            let (body, change) = request_of(connection, job)?.ok_or(StoreError::NoSuchJob(job))?;
            Ok(JobEstimate { change, ..Estimator::new(connection, &book).estimate(&body)? })
        })
        .await
    }

    /// What jobs with these requests will probably cost in all.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn estimate_all(&self, bodies: Bodies) -> Result<EstimateTotal, StoreError> {
        let book = self.prices.read().clone();
        self.read(move |connection| {
            let mut estimator = Estimator::new(connection, &book);
            let mut total = EstimateTotal::default();
            for body in bodies {
                let JobEstimate { estimate, price_class, .. } = estimator.estimate(&body)?;
                total.add(estimate, price_class.as_deref());
            }
            Ok(total)
        })
        .await
    }
}

fn request_of(connection: &Connection, job: JobId) -> Result<Option<(String, i64)>, StoreError> {
    let mut statement = connection.prepare_cached(REQUEST)?;
    Ok(statement.query_row([job], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

/// Estimates requests, those that are alike once.
pub(super) struct Estimator<'a> {
    connection: &'a Connection,
    book: &'a PriceBook,
    /// By what decides the price, without a quote.
    unquoted: BTreeMap<Option<PricedRequest>, JobEstimate>,
    /// Whether there are quotes at all: otherwise none is looked for.
    has_quotes: Option<bool>,
}

impl<'a> Estimator<'a> {
    pub(super) fn new(connection: &'a Connection, book: &'a PriceBook) -> Self {
        Self { connection, book, unquoted: BTreeMap::new(), has_quotes: None }
    }

    pub(super) fn estimate(&mut self, body: &str) -> Result<JobEstimate, StoreError> {
        let request = PricedRequest::of(body);
        let quote = self.quote(body)?;
        if quote.is_none()
            && let Some(known) = self.unquoted.get(&request)
        {
            return Ok(known.clone());
        }
        let price_class = request.as_ref().and_then(PricedRequest::price_class);
        let own = match (&price_class, quote) {
            (Some(class), None) => self.own_charges(class)?,
            // A quote is more trusted.
            _ => None,
        };
        let estimate = estimate(request.as_ref(), self.book, KnownPrice { quote, own });
        let estimated = JobEstimate { estimate, price_class, change: 0 };
        if quote.is_none() {
            self.unquoted.insert(request, estimated.clone());
        }
        Ok(estimated)
    }

    fn quote(&mut self, body: &str) -> Result<Option<Quota>, StoreError> {
        let Some(provider) = &self.book.quoting else { return Ok(None) };
        let has_quotes = match self.has_quotes {
            Some(known) => known,
            None => has_quotes(self.connection)?,
        };
        self.has_quotes = Some(has_quotes);
        if has_quotes { quote_in(self.connection, provider, body) } else { Ok(None) }
    }

    fn own_charges(&self, class: &str) -> Result<Option<OwnCharges>, StoreError> {
        let mut statement = self.connection.prepare_cached(OWN_CHARGES)?;
        let charges = statement.query_map([class], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(OwnCharges::of(charges))
    }
}

#[cfg(test)]
mod tests;
