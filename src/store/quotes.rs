//! The provider's quotes, kept by the request that they are for.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::money::Quota;
use crate::sha256::sha256_hex;
use crate::store::Store;
use crate::store::db::{Connection, OptionalExtension};
use crate::store::error::StoreError;

/// How long a quote counts: prices change.
pub const QUOTE_AGE: Duration = Duration::from_secs(24 * 3600);

const FIND: &str = "SELECT quota FROM quotes WHERE request_sha256 = ?1";
const KEEP: &str = "INSERT INTO quotes (request_sha256, quota, quoted_at) VALUES (?1, ?2, ?3)
    ON CONFLICT (request_sha256) DO UPDATE SET quota = ?2, quoted_at = ?3";
/// All but the newest.
const REMOVE_SURPLUS: &str = "DELETE FROM quotes WHERE quoted_at <
    (SELECT quoted_at FROM quotes ORDER BY quoted_at DESC LIMIT 1 OFFSET 9999)";
const REMOVE_OLD: &str = "DELETE FROM quotes WHERE quoted_at < ?1";

#[cfg(test)]
pub(super) fn hot_statements() -> Vec<(&'static str, String)> {
    [("quote", FIND), ("keep a quote", KEEP), ("surplus quotes", REMOVE_SURPLUS), ("old quotes", REMOVE_OLD)]
        .map(|(name, sql)| (name, sql.to_owned()))
        .into()
}

/// What a quote is kept by: another address may have other prices.
fn digest(provider: &str, body: &str) -> String {
    sha256_hex(format!("{provider}\0{body}").as_bytes())
}

/// The quote of this provider for a request.
pub(super) fn quote_in(
    connection: &Connection,
    provider: &str,
    body: &str,
) -> Result<Option<Quota>, StoreError> {
    let mut statement = connection.prepare_cached(FIND)?;
    Ok(statement.query_row([digest(provider, body)], |row| row.get(0)).optional()?)
}

/// Whether there is any quote.
pub(super) fn has_quotes(connection: &Connection) -> Result<bool, StoreError> {
    Ok(connection.prepare_cached("SELECT 1 FROM quotes LIMIT 1")?.exists([])?)
}

impl Store {
    /// Quotes of the provider at this address count from now on. `None`: no quotes.
    pub fn set_quoting(&self, provider: Option<String>) {
        std::sync::Arc::make_mut(&mut self.prices.write()).quoting = provider;
    }

    /// Whether there is a quote for this request, or none is needed.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn is_quoted(&self, body: String) -> Result<bool, StoreError> {
        let Some(provider) = self.prices.read().quoting.clone() else { return Ok(true) };
        self.read(move |connection| Ok(quote_in(connection, &provider, &body)?.is_some())).await
    }

    /// Keeps a quote. Of too many, the oldest are removed.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn keep_quote(&self, body: String, quota: Quota, now: Timestamp) -> Result<(), StoreError> {
        let Some(provider) = self.prices.read().quoting.clone() else { return Ok(()) };
        self.writer
            .write(move |writing| {
                let values = (digest(&provider, &body), quota, now);
                writing.connection.prepare_cached(KEEP)?.execute(values)?;
                writing.connection.prepare_cached(REMOVE_SURPLUS)?.execute([])?;
                Ok(())
            })
            .await
    }

    /// Removes quotes from before `time`.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn remove_old_quotes(&self, time: Timestamp) -> Result<(), StoreError> {
        let any = self
            .read(move |connection| {
                let sql = "SELECT 1 FROM quotes WHERE quoted_at < ?1 LIMIT 1";
                Ok(connection.prepare_cached(sql)?.exists([time])?)
            })
            .await?;
        if !any {
            return Ok(());
        }
        self.writer
            .write(move |writing| {
                writing.connection.prepare_cached(REMOVE_OLD)?.execute([time])?;
                Ok(())
            })
            .await
    }
}

#[cfg(test)]
mod tests;
