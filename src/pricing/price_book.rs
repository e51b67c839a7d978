//! Prices that are known besides the list: the operator's own, and those in the provider's catalogue.

use std::collections::BTreeMap;

use crate::money::Quota;
use crate::pricing::{PriceRange, PricedRequest};

/// What is known of prices besides the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriceBook {
    /// The entries of the operator's price file (`budget.prices`).
    pub operator: Vec<OperatorPrice>,
    /// What each model of the provider's catalogue costs.
    pub catalogue: BTreeMap<String, Vec<CataloguePrice>>,
    /// The address of the provider whose quotes count; `None`: none do.
    pub quoting: Option<String>,
}

/// An entry of the operator's price file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorPrice {
    /// The provider's id of the model.
    pub model: String,
    /// In lower case; `None`: for every resolution without an entry of its own.
    pub resolution: Option<String>,
    /// How much.
    pub price: Price,
}

/// How much something costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Price {
    /// Each second of the video.
    PerSecond(Quota),
    /// The job, however long its video is.
    PerJob(Quota),
}

/// A price of the provider's catalogue for a second of video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CataloguePrice {
    /// In lower case.
    pub resolution: String,
    /// Whether it is the price with sound; `None`: for both.
    pub sound: Option<bool>,
    /// For a second.
    pub second: Quota,
}

impl PriceBook {
    /// What a request costs by the operator's price file; a range where it leaves open what decides the price.
    pub fn operator_price(&self, request: &PricedRequest) -> Option<PriceRange> {
        let of_model = self.operator.iter().filter(|entry| entry.model == request.model);
        let of_resolution: Vec<_> =
            of_model.clone().filter(|entry| entry.resolution == request.resolution).collect();
        let entries: Vec<&OperatorPrice> = match &request.resolution {
            None => of_model.collect(),
            Some(_) if of_resolution.is_empty() => {
                of_model.filter(|entry| entry.resolution.is_none()).collect()
            }
            Some(_) => of_resolution,
        };
        let ranges = entries.into_iter().map(|entry| match entry.price {
            Price::PerSecond(second) => request.for_seconds(PriceRange { low: second, high: second }),
            Price::PerJob(quota) => Some(PriceRange { low: quota, high: quota }),
        });
        ranges.collect::<Option<Vec<_>>>()?.into_iter().reduce(PriceRange::including)
    }

    /// What a request costs by the provider's catalogue.
    pub fn catalogue_price(&self, request: &PricedRequest) -> Option<PriceRange> {
        let fitting = self.catalogue.get(&request.model)?.iter().filter(|price| {
            let is_same_sound = match (price.sound, request.sound) {
                (Some(of_price), Some(of_request)) => of_price == of_request,
                _ => true,
            };
            is_same_sound && request.resolution.as_ref().is_none_or(|name| *name == price.resolution)
        });
        let seconds = fitting.map(|price| PriceRange { low: price.second, high: price.second });
        request.for_seconds(seconds.reduce(PriceRange::including)?)
    }

    /// Every price of a second in it.
    pub fn second_prices(&self) -> impl Iterator<Item = Quota> {
        let operator = self.operator.iter().filter_map(|entry| match entry.price {
            Price::PerSecond(second) => Some(second),
            Price::PerJob(_) => None,
        });
        operator.chain(self.catalogue.values().flatten().map(|price| price.second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(found: Option<PriceRange>) -> Option<(i64, i64)> {
        found.map(|PriceRange { low, high }| (low.get(), high.get()))
    }

    fn request(body: &str) -> PricedRequest {
        PricedRequest::of(body).expect("a request")
    }

    #[test]
    fn price_file_has_the_entry_of_the_resolution_before_the_general_one() {
        let entry = |model: &str, resolution: Option<&str>, price| OperatorPrice {
            model: model.into(),
            resolution: resolution.map(str::to_owned),
            price,
        };
        let per_second = |quota| Price::PerSecond(Quota::new(quota));
        let operator = vec![
            entry("a", None, per_second(10)),
            entry("a", Some("720p"), per_second(20)),
            entry("picture", None, Price::PerJob(Quota::new(7))),
            entry("b", Some("480p"), per_second(1)),
            entry("b", Some("720p"), per_second(3)),
            entry("wan2.7-videoedit", None, per_second(10)),
        ];
        let book = PriceBook { operator, ..PriceBook::default() };
        let cases = [
            (r#"{"model":"a","resolution":"480p","duration":10}"#, Some((100, 100))),
            (r#"{"model":"a","resolution":"720P","duration":10}"#, Some((200, 200))),
            (r#"{"model":"a"}"#, Some((50, 100))),
            (r#"{"model":"a","duration":"long"}"#, None),
            (r#"{"model":"picture","duration":"long"}"#, Some((7, 7))),
            (r#"{"model":"b","duration":2}"#, Some((2, 6))),
            (r#"{"model":"b","resolution":"1080p"}"#, None),
            (r#"{"model":"wan2.7-videoedit"}"#, Some((50, 150))),
            (r#"{"model":"c"}"#, None),
        ];
        for (body, price) in cases {
            assert_eq!(range(book.operator_price(&request(body))), price, "{body}");
        }
    }

    #[test]
    fn catalogue_price_is_a_range_where_the_request_leaves_it_open() {
        let price = |resolution: &str, sound, second| CataloguePrice {
            resolution: resolution.into(),
            sound,
            second: Quota::new(second),
        };
        let tiers =
            vec![price("720p", Some(false), 10), price("720p", Some(true), 20), price("1080p", None, 30)];
        let book = PriceBook { catalogue: [("m".to_owned(), tiers)].into(), ..PriceBook::default() };
        let cases = [
            (r#"{"model":"m","resolution":"720p","generate_audio":true}"#, Some((100, 100))),
            (r#"{"model":"m","resolution":"720p"}"#, Some((50, 100))),
            (r#"{"model":"m","resolution":"1080p","generate_audio":false}"#, Some((150, 150))),
            (r#"{"model":"m","generate_audio":false}"#, Some((50, 150))),
            (r#"{"model":"m","resolution":"480p"}"#, None),
            (r#"{"model":"m","duration":[]}"#, None),
            (r#"{"model":"other"}"#, None),
        ];
        for (body, price) in cases {
            assert_eq!(range(book.catalogue_price(&request(body))), price, "{body}");
        }
    }
}
