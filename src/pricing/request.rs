//! What of a request decides its price, read leniently from its body, and the list price of it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::money::Quota;
use crate::pricing::models::{self, Resolution, SecondPrice, Sound};

/// Seconds of a video whose request does not say how many (docs/provider.md#submit-request).
const DEFAULT_SECONDS: u32 = 5;

/// The parts of a request that decide its price, with the documented defaults for what it leaves out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PricedRequest {
    /// The provider's id of the model.
    pub model: String,
    /// Length of the video, rounded up; `None`: the request gives one that is no number above 0.
    pub seconds: Option<u32>,
    /// Whether the request gives a length; otherwise it is the documented default.
    pub gives_length: bool,
    /// Such as `720p`, in lower case; `None`: not given, and no default is documented.
    pub resolution: Option<String>,
    /// Whether there will be sound; `None`: not given, and no default is documented.
    pub sound: Option<bool>,
}

/// What a list of prices says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourcePrice {
    /// The prices of the cases that it has.
    pub range: PriceRange,
    /// Whether it has every case that the request leaves open. Otherwise a dearer one may be missing.
    pub is_complete: bool,
}

/// The lowest and the highest price that a request may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriceRange {
    /// At least this much.
    pub low: Quota,
    /// At most this much.
    pub high: Quota,
}

impl PricedRequest {
    /// Reads the body of a submit. `None` only if it is no JSON object with a `model`. A value of another type than the
    /// documented one counts as unknown; of equal keys the last counts.
    pub fn of(body: &str) -> Option<Self> {
        let members: BTreeMap<String, &RawValue> = serde_json::from_str(body).ok()?;
        let model: String = value(&members, "model")?;
        let extra: BTreeMap<String, &RawValue> = value(&members, "extra").unwrap_or_default();
        let known = models::model(&model);
        let asked = flag(&members, "generate_audio")
            .or_else(|| flag(&members, "audio"))
            .or_else(|| flag(&extra, "generate_audio"))
            .or_else(|| flag(&extra, "audio"));
        let sound = match known.map_or(Sound::Unknown, |model| model.sound) {
            Sound::Never => Some(false),
            Sound::Always => Some(true),
            Sound::OnRequest => Some(asked.unwrap_or(false)),
            Sound::Unknown => asked,
        };
        let resolution = value::<String>(&members, "resolution").map(|text| text.trim().to_lowercase());
        let length = members.get("duration").filter(|raw| raw.get() != "null");
        let seconds = length.map_or(Some(DEFAULT_SECONDS), |raw| seconds(raw.get()));
        Some(Self { seconds, gives_length: length.is_some(), resolution, sound, model })
    }

    /// What it costs by the list: a range where the request leaves open what decides the price. `None`: the list does
    /// not have it.
    pub fn list_price(&self) -> Option<SourcePrice> {
        let known = models::model(&self.model)?;
        let resolutions: Vec<&Resolution> = match &self.resolution {
            Some(name) => vec![known.resolution(name)?],
            None => known.resolutions.iter().collect(),
        };
        let prices: Vec<SecondPrice> = resolutions.iter().filter_map(|resolution| resolution.price).collect();
        let of_second = prices.iter().flat_map(|price| match self.sound {
            Some(true) => [price.with_sound; 2],
            Some(false) => [price.silent; 2],
            None => [price.silent, price.with_sound],
        });
        let range = self.for_seconds(PriceRange { low: of_second.clone().min()?, high: of_second.max()? })?;
        Some(SourcePrice { range, is_complete: prices.len() == resolutions.len() })
    }

    /// What the video costs if a second costs `second`. `None`: its length cannot be read.
    pub(super) fn for_seconds(&self, second: PriceRange) -> Option<PriceRange> {
        let seconds = self.seconds?;
        // Where the source clip is billed too, its length is unknown, and taken to be at most what the model makes.
        let source = models::model(&self.model)
            .filter(|model| model.bills_source)
            .map_or(0, |model| model.lengths.longest().unwrap_or(seconds));
        let times = |price: Quota, seconds: u32| Quota::new(price.get().saturating_mul(i64::from(seconds)));
        Some(PriceRange {
            low: times(second.low, seconds),
            high: times(second.high, seconds.saturating_add(source)),
        })
    }
}

impl PriceRange {
    /// The range that includes both.
    pub(super) fn including(self, other: Self) -> Self {
        Self { low: self.low.min(other.low), high: self.high.max(other.high) }
    }
}

/// A started second counts, and so does a length that nobody makes: what it would cost must not pass a limit.
fn seconds(raw: &str) -> Option<u32> {
    // Some clients send numbers as strings.
    let seconds: f64 = raw.trim_matches('"').trim().parse().ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "above 0, and the cast saturates"
    )]
    (seconds > 0.0).then(|| seconds.ceil() as u32)
}

fn flag(members: &BTreeMap<String, &RawValue>, key: &str) -> Option<bool> {
    value(members, key)
}

fn value<'a, T: Deserialize<'a>>(members: &BTreeMap<String, &'a RawValue>, key: &str) -> Option<T> {
    serde_json::from_str(members.get(key)?.get()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_are_priced_by_model_length_resolution_and_sound() {
        let cases = [
            // The body without its model; seconds, resolution, sound; the list price in quota.
            ("wan2.5-t2v", r#""duration":10"#, Some(10), None, Some(false), None),
            ("wan2.5-t2v", r#""extra":{"audio":true}"#, Some(5), None, Some(true), None),
            ("wan2.2-i2v-plus", r#""extra":{"audio":true}"#, Some(5), None, Some(false), None),
            (
                "wan2.5-preview",
                r#""resolution":"480p""#,
                Some(5),
                Some("480p"),
                Some(true),
                Some((94_500, 94_500)),
            ),
            (
                "wan2.5-preview",
                r#""generate_audio":false"#,
                Some(5),
                None,
                Some(true),
                Some((94_500, 308_250)),
            ),
            (
                "wan2.6",
                r#""resolution":"1080P","duration":15"#,
                Some(15),
                Some("1080p"),
                None,
                Some((708_750, 708_750)),
            ),
            ("wan2.6", r#""resolution":"480p""#, Some(5), Some("480p"), None, None),
            ("wan2.6-i2v", r#""resolution":"720p""#, Some(5), Some("720p"), None, Some((186_750, 186_750))),
            (
                "wan2.6-i2v-flash",
                r#""resolution":"720p""#,
                Some(5),
                Some("720p"),
                None,
                Some((56_250, 112_500)),
            ),
            (
                "wan2.6-i2v-flash",
                r#""generate_audio":true"#,
                Some(5),
                None,
                Some(true),
                Some((112_500, 168_750)),
            ),
            ("wan2.7", r#""duration":null,"resolution":null"#, Some(5), None, None, Some((225_000, 337_500))),
            (
                "wan2.7-r2v",
                r#""duration":"4","resolution":"720p""#,
                Some(4),
                Some("720p"),
                None,
                Some((180_000, 180_000)),
            ),
            (
                "wan2.7-videoedit",
                r#""resolution":"720p""#,
                Some(5),
                Some("720p"),
                None,
                Some((225_000, 675_000)),
            ),
            (
                "wan3.0-video",
                r#""duration":30,"resolution":"1080p""#,
                Some(30),
                Some("1080p"),
                None,
                Some((2_700_000, 2_700_000)),
            ),
            (
                "wan3.0-video-prime",
                r#""duration":2,"resolution":"480p""#,
                Some(2),
                Some("480p"),
                None,
                Some((45_000, 45_000)),
            ),
            ("wan9", r#""duration":4294967295,"audio":"x""#, Some(u32::MAX), None, None, None),
        ];
        for (model, rest, seconds, resolution, sound, price) in cases {
            let request = PricedRequest::of(&format!(r#"{{"model":"{model}",{rest}}}"#)).expect("a request");
            let read = (request.seconds, request.resolution.as_deref(), request.sound);
            assert_eq!(read, (seconds, resolution, sound), "{model} {rest}");
            let listed = request.list_price().map(|price| (price.range.low.get(), price.range.high.get()));
            assert_eq!(listed, price, "{model} {rest}");
        }
    }

    #[test]
    fn length_is_a_number_above_zero_in_any_spelling() {
        let lengths = [
            ("1e2", Some(100)),
            ("\"100\"", Some(100)),
            ("100.5", Some(101)),
            ("0.1", Some(1)),
            ("123456789012345678901234567890", Some(u32::MAX)),
            ("1e400", Some(u32::MAX)),
            ("0", None),
            ("-0.0", None),
            ("-1", None),
            ("true", None),
            ("null", Some(DEFAULT_SECONDS)),
        ];
        for (length, seconds) in lengths {
            let body = format!(r#"{{"model":"wan2.7","duration":{length}}}"#);
            assert_eq!(PricedRequest::of(&body).expect("a request").seconds, seconds, "{length}");
        }
    }

    #[test]
    fn odd_bodies_have_no_price_and_do_no_harm() {
        let deep = format!(r#"{{"model":"wan2.7","duration":{}{}}}"#, "[".repeat(127), "]".repeat(127));
        let unpriced = [
            r#"{"model":"wan2.7","duration":-5}"#,
            r#"{"model":"wan2.7","duration":0}"#,
            r#"{"model":"wan2.7","duration":"0"}"#,
            r#"{"model":"wan2.7","duration":0.0}"#,
            r#"{"model":"wan2.7","duration":"5s"}"#,
            r#"{"model":"wan2.7","duration":"NaN"}"#,
            r#"{"model":"wan2.7","duration":"春"}"#,
            r#"{"model":"wan2.7","duration":5,"duration":[]}"#,
            r#"{"model":"wan2.7","resolution":"8k"}"#,
            &deep,
        ];
        for body in unpriced {
            assert_eq!(PricedRequest::of(body).expect("a request").list_price(), None, "{body}");
        }
        for body in ["", "[]", "{}", r#"{"model":7}"#, r#"{"model":"a""#, "null"] {
            assert_eq!(PricedRequest::of(body), None, "{body}");
        }
        let twice = r#"{"model":"a","\u006dodel":"wan2.7","extra":7,"resolution":["720p"],"duration":9,"duration":4}"#;
        let request = PricedRequest::of(twice).expect("a request");
        assert_eq!((request.model.as_str(), request.seconds, request.resolution), ("wan2.7", Some(4), None));
    }

    proptest! {
        #[test]
        fn any_length_is_priced_without_overflow(seconds in any::<u32>(), which in any::<prop::sample::Index>()) {
            let model = models::MODELS[which.index(models::MODELS.len())].name;
            let body = format!(r#"{{"model":"{model}","duration":{seconds}}}"#);
            if let Some(price) = PricedRequest::of(&body).and_then(|request| request.list_price()) {
                let range = price.range;
                prop_assert!(Quota::ZERO <= range.low && range.low <= range.high);
            }
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,60}") {
            let _ = PricedRequest::of(&text);
            let _ = PricedRequest::of(&format!(r#"{{"model":"wan2.7","duration":{text},"extra":{text}}}"#));
        }
    }
}
