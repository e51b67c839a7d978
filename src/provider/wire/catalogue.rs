//! Reads the list of models (`GET /v1/models`).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::money::{QUOTA_PER_USD, Quota};

/// Longest name of a model, in bytes. A longer one is not a name.
const MAX_NAME: usize = 200;
/// How alike two names must be for one to be suggested for the other.
const MIN_LIKENESS: f64 = 0.7;
/// Keys under which a list may be wrapped.
const LISTS: &[&str] = &["data", "models", "list", "items"];
/// Keys of a tier's price, in US dollars per second.
const PRICES: &[&str] = &["price", "usd_per_second", "price_per_second", "unit_price", "usd"];
/// Keys of a tier's resolution.
const RESOLUTIONS: &[&str] = &["resolution", "tier", "name", "quality"];

/// The models that the account may use, as the provider listed them.
#[derive(Clone, Debug, PartialEq)]
pub struct Catalogue(BTreeMap<String, Value>);

/// A price of the catalogue for a second of video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedPrice {
    /// Such as `720p`.
    pub resolution: String,
    /// Whether it is the price with sound; `None`: for both.
    pub sound: Option<bool>,
    /// For a second.
    pub price: Quota,
}

/// Reads a list in the OpenAI shape, bare or wrapped. `None` if it is empty, is only a part of the list, or has an entry
/// without a name: such a list says nothing about models that it lacks.
pub fn read_catalogue(answer: &Value) -> Option<Catalogue> {
    let entries = list_in(answer, 2)?;
    let named = entries.iter().map(|entry| {
        let name = match entry {
            Value::String(name) => name,
            Value::Object(object) => {
                ["id", "model", "name"].iter().find_map(|key| object.get(*key))?.as_str()?
            }
            _ => return None,
        };
        let is_name = !name.trim().is_empty() && name.len() <= MAX_NAME && !name.contains(char::is_control);
        let price = entry.get("price_config").cloned().unwrap_or_default();
        is_name.then(|| (name.trim().to_owned(), price))
    });
    let models: BTreeMap<String, Value> = named.collect::<Option<_>>()?;
    (!models.is_empty()).then_some(Catalogue(models))
}

fn list_in(answer: &Value, depth: u8) -> Option<&Vec<Value>> {
    match answer {
        Value::Array(entries) => Some(entries),
        Value::Object(object) if !is_part(object) => {
            let inner = LISTS.iter().filter_map(|key| object.get(*key)).next()?;
            list_in(inner, depth.checked_sub(1)?)
        }
        _ => None,
    }
}

fn is_part(object: &Map<String, Value>) -> bool {
    object.get("has_more") == Some(&Value::Bool(true))
        || ["next", "next_page", "next_cursor"]
            .iter()
            .any(|key| object.get(*key).is_some_and(|next| !next.is_null() && next.as_str() != Some("")))
}

impl Catalogue {
    /// Whether it has the model.
    pub fn lists(&self, model: &str) -> bool {
        self.0.contains_key(model)
    }

    /// The names of its models.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// What it says about the price of a model, in the provider's own form.
    pub fn price_config(&self, model: &str) -> Option<&Value> {
        self.0.get(model).filter(|price| !price.is_null())
    }

    /// The prices of a second that it gives for a model, as far as their form is known.
    pub fn prices(&self, model: &str) -> Vec<ListedPrice> {
        self.price_config(model).map(read_prices).unwrap_or_default()
    }

    /// The model whose name is most like this one, if any is: one of the same family and version before others.
    pub fn nearest(&self, model: &str) -> Option<&str> {
        let model = model.to_lowercase();
        let likeness = |name: &str| strsim::jaro_winkler(&name.to_lowercase(), &model);
        let beginning = |name: &str| {
            name.to_lowercase().bytes().zip(model.bytes()).take_while(|(theirs, ours)| theirs == ours).count()
        };
        let alike = self.names().map(|name| (beginning(name), likeness(name), name));
        let alike = alike.filter(|(_, likeness, _)| *likeness >= MIN_LIKENESS);
        let nearest = alike.max_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        nearest.map(|(_, _, name)| name)
    }
}

fn read_prices(config: &Value) -> Vec<ListedPrice> {
    let parsed;
    let config = match config {
        Value::String(text) => {
            parsed = serde_json::from_str(text).unwrap_or_default();
            &parsed
        }
        config => config,
    };
    let is_per_second = |unit: &Value| unit.as_str().is_some_and(|unit| unit.to_lowercase().contains("sec"));
    if config.get("unit").is_some_and(|unit| !is_per_second(unit)) {
        return Vec::new();
    }
    let tiers = config.get("tiers").unwrap_or(config).as_array();
    tiers.into_iter().flatten().filter_map(read_price).collect()
}

fn read_price(tier: &Value) -> Option<ListedPrice> {
    let text = |keys: &[&str]| keys.iter().find_map(|key| tier.get(*key)?.as_str());
    let usd = PRICES.iter().find_map(|key| match tier.get(*key)? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().trim_start_matches('$').parse().ok(),
        _ => None,
    })?;
    let sound = ["audio", "sound", "with_audio"].iter().find_map(|key| tier.get(*key)?.as_bool());
    // Exact for the prices that there are: they have at most five decimal places.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "see above; it saturates"
    )]
    let price = Quota::new((usd * QUOTA_PER_USD as f64).round() as i64);
    let is_price = usd.is_finite() && usd > 0.0 && usd < 1000.0;
    is_price.then_some(ListedPrice { resolution: text(RESOLUTIONS)?.to_lowercase(), sound, price })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Option<Vec<String>> {
        let catalogue = read_catalogue(&serde_json::from_str(text).unwrap())?;
        Some(catalogue.names().map(str::to_owned).collect())
    }

    #[test]
    fn lists_are_read_in_all_shapes_and_incomplete_ones_not_at_all() {
        for text in [
            r#"{"object":"list","data":[{"id":"b","object":"model"},{"id":"a"}]}"#,
            r#"[{"id":"a"},{"id":"b"}]"#,
            r#"["a","b"]"#,
            r#"{"code":"success","data":{"object":"list","data":[{"id":"a"},{"id":"b"}]}}"#,
            r#"{"models":[{"model":"a"},{"name":"b"}],"has_more":false,"next":null}"#,
        ] {
            assert_eq!(read(text), Some(vec!["a".to_owned(), "b".to_owned()]), "{text}");
        }
        for text in [
            "{}",
            "7",
            "[]",
            r#"{"data":[]}"#,
            r#"{"data":{}}"#,
            r#"{"data":null}"#,
            r#"{"data":[{"id":"a"},{"object":"model"}]}"#,
            r#"{"data":[{"id":"a"},null]}"#,
            r#"{"data":[{"id":""}]}"#,
            r#"{"data":[{"id":"a"}],"has_more":true}"#,
            r#"{"data":[{"id":"a"}],"next_cursor":"x"}"#,
            r#"{"data":{"data":{"data":{"data":[{"id":"a"}]}}}}"#,
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn prices_are_read_where_their_form_is_known() {
        let tiers = json!([
            {"resolution": "720p", "price": 0.0225, "audio": false},
            {"resolution": "720P", "price": "$0.045", "audio": true},
            {"resolution": "1080p", "price": 0.03375},
        ]);
        let price = |resolution: &str, sound, quota| {
            let resolution = resolution.to_owned();
            ListedPrice { resolution, sound, price: Quota::new(quota) }
        };
        let expected = vec![
            price("720p", Some(false), 11_250),
            price("720p", Some(true), 22_500),
            price("1080p", None, 16_875),
        ];
        let config = json!({"currency": "USD", "unit": "second", "tiers": tiers});
        for config in [config.clone(), config.to_string().into(), tiers.clone()] {
            assert_eq!(read_prices(&config), expected, "{config}");
        }
        for unknown in [
            json!("on request"),
            json!({"unit": "file", "tiers": [{"resolution": "720p", "price": 0.1}]}),
            json!({"mode": "ratio", "ratio": {"model": 37.5}}),
            json!([{"resolution": "720p", "price": 0}, {"resolution": "720p", "price": "a"}, {"price": 1}]),
        ] {
            assert_eq!(read_prices(&unknown), [], "{unknown}");
        }
    }

    #[test]
    fn nearest_name_is_found_if_any_is_like_it() {
        let catalogue = read_catalogue(&json!(["wan2.5-preview", "wan2.6-i2v", "kling-v3"])).unwrap();
        assert_eq!(catalogue.nearest("wan2.5-t2v"), Some("wan2.5-preview"));
        assert_eq!(catalogue.nearest("WAN2.6-I2V"), Some("wan2.6-i2v"));
        assert_eq!(catalogue.nearest("wling-v3"), Some("kling-v3"));
        assert_eq!(catalogue.nearest("suno"), None);
    }
}
