//! Estimates what a request will cost, from the most trusted source that knows it.

use crate::money::Quota;
use crate::money::estimate::{Estimate, EstimateSource};
use crate::pricing::models::MODELS;
use crate::pricing::own_charges::OwnCharges;
use crate::pricing::price_book::PriceBook;
use crate::pricing::{PriceRange, PricedRequest};

/// Seconds of a guess for a request whose length cannot be read.
const GUESSED_SECONDS: i64 = 15;

/// What is known of the price of one request, besides what holds for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownPrice {
    /// The provider's quote for its very body.
    pub quote: Option<Quota>,
    /// What own jobs of the same kind were charged.
    pub own: Option<OwnCharges>,
}

/// What `request` will probably cost. `None`: a body that is not read as a request.
pub fn estimate(request: Option<&PricedRequest>, book: &PriceBook, known: KnownPrice) -> Estimate {
    let Some(request) = request else { return guess(None, book) };
    let range = |source| {
        // Where the request leaves open what decides the price, the higher one is reserved.
        move |PriceRange { low, high }: PriceRange| Estimate { quota: high, low, high, source, jobs: 0 }
    };
    book.operator_price(request)
        .map(range(EstimateSource::Prices))
        .or_else(|| known.quote.map(|quote| Estimate::exactly(quote, EstimateSource::Quote)))
        .or_else(|| known.own.map(OwnCharges::estimate))
        .or_else(|| book.catalogue_price(request).map(range(EstimateSource::PriceConfig)))
        .or_else(|| request.list_price().map(range(EstimateSource::List)))
        .unwrap_or_else(|| guess(Some(request), book))
}

/// Nothing is known: the dearest known second, for as long as the request says.
fn guess(request: Option<&PricedRequest>, book: &PriceBook) -> Estimate {
    let listed = MODELS.iter().flat_map(|model| model.resolutions).filter_map(|resolution| resolution.price);
    let listed = listed.flat_map(|price| [price.silent, price.with_sound]);
    let second_prices: Vec<Quota> = listed.chain(book.second_prices()).collect();
    let seconds = request.and_then(|request| request.seconds).map_or(GUESSED_SECONDS, i64::from);
    let times =
        |second: Option<&Quota>| Quota::new(second.map_or(0, |quota| quota.get().saturating_mul(seconds)));
    let (low, high) = (times(second_prices.iter().min()), times(second_prices.iter().max()));
    Estimate { quota: high, low, high, source: EstimateSource::Guess, jobs: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pricing::price_book::{CataloguePrice, OperatorPrice, Price};

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
            let request = PricedRequest::of(body);
            let estimate = estimate(request.as_ref(), &PriceBook::default(), KnownPrice::default());
            assert_eq!((estimate.source.into_str(), estimate.quota.get()), (source, quota), "{body}");
            assert!(estimate.low <= estimate.quota && estimate.quota <= estimate.high, "{body}");
        }
    }

    #[test]
    fn more_trusted_source_wins() {
        let request = PricedRequest::of(r#"{"model":"wan2.5-preview","resolution":"720p"}"#).unwrap();
        let price = Price::PerJob(Quota::new(1));
        let operator = OperatorPrice { model: "wan2.5-preview".into(), resolution: None, price };
        let tier = CataloguePrice { resolution: "720p".into(), sound: None, second: Quota::new(4) };
        let mut book = PriceBook {
            operator: vec![operator],
            catalogue: [("wan2.5-preview".to_owned(), vec![tier])].into(),
            quoting: None,
        };
        let own = OwnCharges::of([2, 3, 9].map(Quota::new).into());
        let mut known = KnownPrice { quote: Some(Quota::new(2)), own };
        let check = |book: &PriceBook, known, source, quota, jobs| {
            let estimate = estimate(Some(&request), book, known);
            assert_eq!(
                (estimate.source, estimate.quota.get(), estimate.jobs),
                (source, quota, jobs),
                "{estimate:?}"
            );
        };
        check(&book, known, EstimateSource::Prices, 1, 0);
        book.operator.clear();
        check(&book, known, EstimateSource::Quote, 2, 0);
        known.quote = None;
        check(&book, known, EstimateSource::Own, 3, 3);
        known.own = None;
        check(&book, known, EstimateSource::PriceConfig, 20, 0);
        book.catalogue.clear();
        check(&book, known, EstimateSource::List, 186_750, 0);
    }

    #[test]
    fn guess_takes_the_dearest_second_that_any_source_knows() {
        let tier = CataloguePrice { resolution: "4k".into(), sound: None, second: Quota::new(400_000) };
        let catalogue = [("dear".to_owned(), vec![tier])].into();
        let book = PriceBook { catalogue, ..PriceBook::default() };
        let request = PricedRequest::of(r#"{"model":"painter-9"}"#);
        let estimate = estimate(request.as_ref(), &book, KnownPrice::default());
        assert_eq!((estimate.source, estimate.quota.get()), (EstimateSource::Guess, 2_000_000));
    }
}
