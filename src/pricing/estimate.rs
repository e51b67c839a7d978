//! Estimates what a request will cost, from the most trusted source that knows it.

use crate::money::Quota;
use crate::money::estimate::{Estimate, EstimateSource};
use crate::pricing::models::{self, MODELS};
use crate::pricing::own_charges::OwnCharges;
use crate::pricing::price_book::PriceBook;
use crate::pricing::{PriceRange, PricedRequest, SourcePrice};

/// Seconds of a guess for a request whose length is not known: the longest usual video.
const LONGEST_USUAL_SECONDS: u32 = 15;

/// What is known of the price of one request, besides what holds for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownPrice {
    /// The provider's quote for its very body.
    pub quote: Option<Quota>,
    /// What own jobs of the same kind were charged.
    pub own: Option<OwnCharges>,
}

/// What `request` will probably cost. `None`: a body that is not read as a request.
///
/// Where the request leaves open what decides the price, the highest one is reserved. A source that has not every open case
/// is not enough for that: the next one decides, and no case makes it cheaper.
pub fn estimate(request: Option<&PricedRequest>, book: &PriceBook, known: KnownPrice) -> Estimate {
    let Some(request) = request else { return with_range(guess(None, book), EstimateSource::Guess) };
    let mut open: Option<PriceRange> = None;
    let mut by = |price: Option<SourcePrice>, source| {
        let SourcePrice { range, is_complete } = price?;
        let range = open.map_or(range, |open| open.including(range));
        open = Some(range);
        is_complete.then(|| with_range(range, source))
    };
    if let Some(estimate) = by(book.operator_price(request), EstimateSource::Prices) {
        return estimate;
    }
    // What is known of this very request, or of others like it, has every case.
    let exact = known.quote.map(|quote| Estimate::exactly(quote, EstimateSource::Quote));
    if let Some(estimate) = exact.or_else(|| known.own.map(OwnCharges::estimate)) {
        return estimate;
    }
    by(book.catalogue_price(request), EstimateSource::PriceConfig)
        .or_else(|| by(request.list_price(), EstimateSource::List))
        .unwrap_or_else(|| {
            let guessed = guess(Some(request), book);
            with_range(open.map_or(guessed, |open| open.including(guessed)), EstimateSource::Guess)
        })
}

fn with_range(PriceRange { low, high }: PriceRange, source: EstimateSource) -> Estimate {
    Estimate { quota: high, low, high, source, jobs: 0 }
}

/// Nothing is known: the dearest known second, for as long as the request says. Of a model that is not known, the default
/// length is not known either.
fn guess(request: Option<&PricedRequest>, book: &PriceBook) -> PriceRange {
    let listed = MODELS.iter().flat_map(|model| model.resolutions).filter_map(|resolution| resolution.price);
    let listed = listed.flat_map(|price| [price.silent, price.with_sound]);
    let second_prices: Vec<Quota> = listed.chain(book.second_prices()).collect();
    let model = request.and_then(|request| models::model(&request.model));
    let longest = model.and_then(|model| model.lengths.longest()).unwrap_or(0).max(LONGEST_USUAL_SECONDS);
    let known = request.filter(|request| request.gives_length || model.is_some());
    let seconds = known.and_then(|request| request.seconds).unwrap_or(longest);
    let times = |second: Option<&Quota>| {
        Quota::new(second.map_or(0, |quota| quota.get().saturating_mul(i64::from(seconds))))
    };
    PriceRange { low: times(second_prices.iter().min()), high: times(second_prices.iter().max()) }
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
            (r#"{"model":"wan2.5-t2v"}"#, "guess", 450_000),
            (r#"{"model":"painter-9"}"#, "guess", 1_350_000),
            (r#"{"model":"painter-9","duration":0}"#, "guess", 1_350_000),
            (r#"{"model":"painter-9","duration":"0"}"#, "guess", 1_350_000),
            (r#"{"model":"painter-9","duration":-1}"#, "guess", 1_350_000),
            (r#"{"model":"painter-9","duration":"long"}"#, "guess", 1_350_000),
            (r#"{"model":"painter-9","duration":1e2}"#, "guess", 9_000_000),
            (r#"{"model":"painter-9","duration":100.5}"#, "guess", 9_090_000),
            (r#"{"model":"wan2.7","duration":0}"#, "guess", 1_350_000),
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
        assert_eq!((estimate.source, estimate.quota.get()), (EstimateSource::Guess, 6_000_000));
    }

    #[test]
    fn source_without_every_open_case_makes_no_request_cheaper() {
        let entry = |quota| OperatorPrice {
            model: "wan2.7".into(),
            resolution: Some("720p".into()),
            price: Price::PerJob(Quota::new(quota)),
        };
        let tier =
            |second| CataloguePrice { resolution: "720p".into(), sound: None, second: Quota::new(second) };
        let check = |book: &PriceBook, body: &str, known, source, quota| {
            let estimate = estimate(PricedRequest::of(body).as_ref(), book, known);
            assert_eq!((estimate.source, estimate.quota.get()), (source, quota), "{estimate:?}");
        };
        let (open, given) = (r#"{"model":"wan2.7"}"#, r#"{"model":"wan2.7","resolution":"720p"}"#);
        let unknown = KnownPrice::default();
        let mut book = PriceBook { operator: vec![entry(1)], ..PriceBook::default() };
        check(&book, given, unknown, EstimateSource::Prices, 1);
        check(&book, open, unknown, EstimateSource::List, 337_500);
        let own = KnownPrice { own: OwnCharges::of(vec![Quota::new(75_000)]), ..unknown };
        check(&book, open, own, EstimateSource::Own, 75_000);
        book.operator = vec![entry(1_000_000)];
        check(&book, open, unknown, EstimateSource::List, 1_000_000);
        book.operator.clear();
        book.catalogue = [("wan2.7".to_owned(), vec![tier(1)])].into();
        check(&book, given, unknown, EstimateSource::PriceConfig, 5);
        check(&book, open, unknown, EstimateSource::List, 337_500);
    }
}
