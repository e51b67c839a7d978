//! Prices that are known besides the list: the operator's own, and those in the provider's catalogue.

use std::collections::{BTreeMap, BTreeSet};

use crate::money::Quota;
use crate::pricing::models;
use crate::pricing::{PriceRange, PricedRequest, SourcePrice};

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
    pub fn operator_price(&self, request: &PricedRequest) -> Option<SourcePrice> {
        let of_model = self.operator.iter().filter(|entry| entry.model == request.model);
        let has = |resolution: Option<&str>| {
            of_model.clone().any(|entry| entry.resolution.as_deref() == resolution)
        };
        let entries: Vec<&OperatorPrice> = match &request.resolution {
            None => of_model.clone().collect(),
            Some(name) => {
                let fitting = Some(name).filter(|name| has(Some(name)));
                of_model.clone().filter(|entry| entry.resolution.as_ref() == fitting).collect()
            }
        };
        let ranges = entries.into_iter().map(|entry| match entry.price {
            Price::PerSecond(second) => request.for_seconds(PriceRange { low: second, high: second }),
            Price::PerJob(quota) => Some(PriceRange { low: quota, high: quota }),
        });
        let range = ranges.collect::<Option<Vec<_>>>()?.into_iter().reduce(PriceRange::including)?;
        let known = models::model(&request.model).map_or(&[][..], |model| model.resolutions);
        let has_all = !known.is_empty() && known.iter().all(|resolution| has(Some(resolution.name)));
        Some(SourcePrice { range, is_complete: request.resolution.is_some() || has(None) || has_all })
    }

    /// What a request costs by the provider's catalogue.
    pub fn catalogue_price(&self, request: &PricedRequest) -> Option<SourcePrice> {
        let of_model = self.catalogue.get(&request.model)?;
        let fits = |price: &CataloguePrice, sound: bool| price.sound.is_none_or(|of_price| of_price == sound);
        let sounds = request.sound.map_or(vec![false, true], |sound| vec![sound]);
        let known = models::model(&request.model).map_or(&[][..], |model| model.resolutions);
        let resolutions: BTreeSet<&str> = match &request.resolution {
            Some(name) => [name.as_str()].into(),
            None => {
                let in_catalogue = of_model.iter().map(|price| price.resolution.as_str());
                in_catalogue.chain(known.iter().map(|resolution| resolution.name)).collect()
            }
        };
        let (mut range, mut is_complete) = (None::<PriceRange>, true);
        for (resolution, sound) in
            resolutions.iter().flat_map(|name| sounds.iter().map(move |sound| (*name, *sound)))
        {
            let fitting =
                of_model.iter().filter(|price| price.resolution == resolution && fits(price, sound));
            let seconds = fitting.map(|price| PriceRange { low: price.second, high: price.second });
            let of_case = seconds.reduce(PriceRange::including);
            is_complete &= of_case.is_some();
            range = range.into_iter().chain(of_case).reduce(PriceRange::including);
        }
        Some(SourcePrice { range: request.for_seconds(range?)?, is_complete })
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

    /// The lowest and the highest price, and whether every open case has one.
    fn listed(found: Option<SourcePrice>) -> Option<(i64, i64, bool)> {
        found.map(|SourcePrice { range, is_complete }| (range.low.get(), range.high.get(), is_complete))
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
            entry("wan2.7", Some("720p"), per_second(4)),
            entry("wan2.7", Some("1080p"), per_second(6)),
            entry("wan2.6", Some("720p"), per_second(4)),
        ];
        let book = PriceBook { operator, ..PriceBook::default() };
        let cases = [
            (r#"{"model":"a","resolution":"480p","duration":10}"#, Some((100, 100, true))),
            (r#"{"model":"a","resolution":"720P","duration":10}"#, Some((200, 200, true))),
            (r#"{"model":"a"}"#, Some((50, 100, true))),
            (r#"{"model":"a","duration":"long"}"#, None),
            (r#"{"model":"picture","duration":"long"}"#, Some((7, 7, true))),
            (r#"{"model":"b","duration":2}"#, Some((2, 6, false))),
            (r#"{"model":"b","resolution":"1080p"}"#, None),
            (r#"{"model":"wan2.7-videoedit"}"#, Some((50, 150, true))),
            (r#"{"model":"c"}"#, None),
            (r#"{"model":"wan2.7","duration":1}"#, Some((4, 6, true))),
            (r#"{"model":"wan2.6","duration":1}"#, Some((4, 4, false))),
        ];
        for (body, price) in cases {
            assert_eq!(listed(book.operator_price(&request(body))), price, "{body}");
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
        let catalogue = [
            ("m".to_owned(), tiers),
            ("wan2.6".to_owned(), vec![price("720p", None, 7)]),
            ("silent".to_owned(), vec![price("720p", Some(false), 8)]),
        ];
        let book = PriceBook { catalogue: catalogue.into(), ..PriceBook::default() };
        let cases = [
            (r#"{"model":"m","resolution":"720p","generate_audio":true}"#, Some((100, 100, true))),
            (r#"{"model":"m","resolution":"720p"}"#, Some((50, 100, true))),
            (r#"{"model":"m","resolution":"1080p","generate_audio":false}"#, Some((150, 150, true))),
            (r#"{"model":"m","generate_audio":false}"#, Some((50, 150, true))),
            (r#"{"model":"m","resolution":"480p"}"#, None),
            (r#"{"model":"m","duration":[]}"#, None),
            (r#"{"model":"other"}"#, None),
            // The model makes 1080p, too; nothing is known with sound.
            (r#"{"model":"wan2.6"}"#, Some((35, 35, false))),
            (r#"{"model":"silent"}"#, Some((40, 40, false))),
            (r#"{"model":"silent","generate_audio":false}"#, Some((40, 40, true))),
            (r#"{"model":"silent","generate_audio":true}"#, None),
        ];
        for (body, price) in cases {
            assert_eq!(listed(book.catalogue_price(&request(body))), price, "{body}");
        }
    }
}
