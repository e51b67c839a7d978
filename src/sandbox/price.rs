//! What a request costs: the listed price of a second, by resolution and sound, times the seconds. Integers throughout.

use serde_json::{Map, Value};

use crate::money::Quota;
use crate::sandbox::catalogue::{self, Pricing, Tier};
use crate::sandbox::faults::MediaKind;

/// What a video costs whose model is in no list: as much as `wan2.5-t2v`.
const UNLISTED: &str = "wan2.5-t2v";
/// What each clip of `video_urls` counts where source seconds are billed. The sandbox does not fetch it.
const SOURCE_SECONDS: i64 = 5;

pub(crate) struct RequestPrice {
    /// `second` or `file`.
    pub unit: &'static str,
    pub quantity: i64,
    /// In quota.
    pub per_unit: i64,
    /// Resolution and sound, as in `1080p` or `720p+audio`; empty for files.
    pub tier: String,
    /// The price of a unit in the model's first tier, in quota.
    pub base: i64,
}

impl RequestPrice {
    /// The whole price.
    pub fn total(&self) -> Quota {
        Quota::new(self.per_unit * self.quantity)
    }
}

/// What a task costs that makes files of this `kind` from the request `body`.
pub(crate) fn of_request(body: &Map<String, Value>, kind: &MediaKind) -> RequestPrice {
    let id = body.get("model").and_then(Value::as_str).unwrap_or_default();
    let unlisted = match kind {
        MediaKind::Video => UNLISTED,
        MediaKind::Image => "sandbox-image",
        MediaKind::Audio => "sandbox-music",
    };
    let model = catalogue::model(id).or_else(|| catalogue::model(unlisted));
    match model.map(|model| &model.pricing) {
        Some(Pricing::PerSecond(tiers)) => per_second(body, tiers, bills_source_seconds(id)),
        Some(Pricing::PerFile(price)) => per_file(*price),
        None => per_file(0),
    }
}

fn per_file(price: i64) -> RequestPrice {
    RequestPrice { unit: "file", quantity: 1, per_unit: price, tier: String::new(), base: price }
}

fn per_second(body: &Map<String, Value>, tiers: &[Tier], source_seconds: bool) -> RequestPrice {
    let seconds = body.get("duration").and_then(Value::as_i64).unwrap_or(5).clamp(1, 600);
    let clips = body.get("video_urls").and_then(Value::as_array).map_or(0, Vec::len).min(100) as i64;
    let quantity = if source_seconds { seconds + clips * SOURCE_SECONDS } else { seconds };
    let resolution = body.get("resolution").and_then(Value::as_str).unwrap_or("720p");
    let sound = has_sound(body);
    let price_of = |resolution: &str| {
        let mut fitting = tiers.iter().filter(|tier| tier.sound.is_none_or(|of_tier| of_tier == sound));
        fitting.find(|tier| tier.resolution == resolution)
    };
    let found = price_of(resolution).or_else(|| price_of("720p"));
    let base = tiers.first().map_or(0, |tier| tier.per_second);
    RequestPrice {
        unit: "second",
        quantity,
        per_unit: found.map_or(0, |tier| tier.per_second),
        tier: found.map_or_else(String::new, Tier::name),
        base,
    }
}

fn bills_source_seconds(model: &str) -> bool {
    model == "wan2.7-videoedit"
}

/// `generate_audio` at the root, or `extra.audio` as older services want it.
fn has_sound(body: &Map<String, Value>) -> bool {
    let old = body.get("extra").and_then(|extra| extra.get("audio"));
    body.get("generate_audio").or(old).and_then(Value::as_bool).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn price_is_the_listed_price_of_a_second_times_the_seconds() {
        let cases = [
            (r#"{"model":"wan2.5-t2v"}"#, 75_000),
            (r#"{"model":"wan2.5-t2v","duration":10,"resolution":"1080p"}"#, 300_000),
            (r#"{"model":"wan2.2-i2v-flash","resolution":"480p"}"#, 12_500),
            (r#"{"model":"wan2.2-i2v-plus"}"#, 50_000),
            (r#"{"model":"wan2.5-preview","duration":10,"resolution":"480p"}"#, 189_000),
            (
                r#"{"model":"wan2.5-preview","duration":5,"resolution":"1080p","generate_audio":true}"#,
                308_250,
            ),
            (r#"{"model":"wan2.6","duration":15,"resolution":"720p"}"#, 421_875),
            (r#"{"model":"wan2.6-i2v","duration":3,"resolution":"1080p"}"#, 184_950),
            (r#"{"model":"wan2.6-i2v-flash","duration":2}"#, 22_500),
            (r#"{"model":"wan2.6-i2v-flash","duration":2,"generate_audio":false}"#, 22_500),
            (r#"{"model":"wan2.6-i2v-flash","duration":2,"generate_audio":true}"#, 45_000),
            (
                r#"{"model":"wan2.6-i2v-flash","duration":2,"resolution":"1080p","extra":{"audio":true}}"#,
                67_500,
            ),
            (r#"{"model":"wan2.7","duration":7,"resolution":"1080p"}"#, 472_500),
            (r#"{"model":"wan2.7-videoedit","duration":4,"video_urls":["https://a/1"]}"#, 405_000),
            (r#"{"model":"wan2.7-r2v","duration":4,"video_urls":["https://a/1"]}"#, 180_000),
            (r#"{"model":"wan3.0-video-prime","duration":30,"resolution":"480p"}"#, 675_000),
            // What no list has: the default resolution, the default length, some price.
            (r#"{"model":"wan2.6","resolution":"480p"}"#, 140_625),
            (r#"{"model":"wan2.6","duration":"10"}"#, 140_625),
            (r#"{"model":"some-model"}"#, 75_000),
        ];
        for (body, quota) in cases {
            let map: Map<String, Value> = serde_json::from_str(body).expect(body);
            assert_eq!(of_request(&map, &MediaKind::Video).total(), Quota::new(quota), "{body}");
        }
        for (model, kind, quota) in
            [("a-picture", MediaKind::Image, 20_000), ("a-song", MediaKind::Audio, 5500)]
        {
            let body = serde_json::json!({"model": model, "duration": 30});
            let body = body.as_object().expect("an object");
            assert_eq!(of_request(body, &kind).total(), Quota::new(quota), "{model}");
        }
    }
}
