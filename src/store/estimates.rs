//! What jobs will probably cost.

use crate::job::JobId;
use crate::money::estimate::Estimate;
use crate::pricing::PricedRequest;
use crate::pricing::estimate::estimate;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::rows::number_of;

impl Store {
    /// What a job will probably cost if it is submitted now.
    ///
    /// # Errors
    /// [`StoreError::NoSuchJob`], or any failure of the database.
    pub async fn estimate_job(&self, job: JobId) -> Result<Estimate, StoreError> {
        self.read(move |connection| {
            let nr = number_of(connection, job)?;
            let body: String = connection
                .prepare_cached("SELECT body FROM requests WHERE job = ?1")?
                .query_row([nr], |row| row.get(0))?;
            Ok(estimate(PricedRequest::of(&body).as_ref()))
        })
        .await
    }
}
