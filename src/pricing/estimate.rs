//! Estimates what a request will cost, from the most trusted source that knows it.

use crate::money::Quota;
use crate::money::estimate::{Estimate, EstimateSource};
use crate::pricing::models::MODELS;
use crate::pricing::{PriceRange, PricedRequest};

/// Seconds of a guess for a request whose length cannot be read.
const GUESSED_SECONDS: i64 = 15;

/// What `request` will probably cost. `None`: a body that is not read as a request.
pub fn estimate(request: Option<&PricedRequest>) -> Estimate {
    match request.and_then(PricedRequest::list_price) {
        // Where the request leaves open what decides the price, the higher one is reserved.
        Some(PriceRange { low, high }) => Estimate { quota: high, low, high, source: EstimateSource::List },
        None => guess(request),
    }
}

/// Nothing is known: the dearest known second, for as long as the request says.
fn guess(request: Option<&PricedRequest>) -> Estimate {
    let prices = MODELS.iter().flat_map(|model| model.resolutions).filter_map(|resolution| resolution.price);
    let seconds_prices: Vec<Quota> = prices.flat_map(|price| [price.silent, price.with_sound]).collect();
    let seconds = request.and_then(|request| request.seconds).map_or(GUESSED_SECONDS, i64::from);
    let times =
        |second: Option<&Quota>| Quota::new(second.map_or(0, |quota| quota.get().saturating_mul(seconds)));
    let (low, high) = (times(seconds_prices.iter().min()), times(seconds_prices.iter().max()));
    Estimate { quota: high, low, high, source: EstimateSource::Guess }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimate_names_its_source_and_reserves_the_higher_price() {
        let cases = [
            (r#"{"model":"wan2.5-preview","resolution":"480p","duration":5}"#, "list", 94_500),
            (r#"{"model":"wan2.5-preview","duration":5}"#, "list", 308_250),
            (r#"{"model":"wan2.5-t2v","duration":5}"#, "guess", 450_000),
            (r#"{"model":"painter-9"}"#, "guess", 450_000),
            (r#"{"model":"painter-9","duration":"long"}"#, "guess", 1_350_000),
            ("[]", "guess", 1_350_000),
        ];
        for (body, source, quota) in cases {
            let estimate = estimate(PricedRequest::of(body).as_ref());
            assert_eq!((estimate.source.into_str(), estimate.quota.get()), (source, quota), "{body}");
            assert!(estimate.low <= estimate.quota && estimate.quota <= estimate.high, "{body}");
        }
    }
}
