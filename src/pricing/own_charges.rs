//! What the user's own jobs of the same kind were charged: the kind, and the middle and the range of the charges.

use crate::money::Quota;
use crate::money::estimate::{Estimate, EstimateSource};
use crate::pricing::PricedRequest;

/// Longest kind, in bytes. What is longer is no name of a model.
const MAX_CLASS: usize = 200;

/// What own jobs of one kind were charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnCharges {
    /// The middle one.
    pub median: Quota,
    /// The lowest.
    pub low: Quota,
    /// The highest.
    pub high: Quota,
    /// How many.
    pub jobs: u32,
}

impl OwnCharges {
    /// Of these charges; `None` without any.
    pub fn of(mut charges: Vec<Quota>) -> Option<Self> {
        charges.sort_unstable();
        // The higher of two in the middle: budgets reserve it.
        let median = *charges.get(charges.len() / 2)?;
        let jobs = u32::try_from(charges.len()).unwrap_or(u32::MAX);
        Some(Self { median, low: *charges.first()?, high: *charges.last()?, jobs })
    }

    /// As an estimate.
    pub fn estimate(self) -> Estimate {
        let Self { median, low, high, jobs } = self;
        Estimate { quota: median, low, high, source: EstimateSource::Own, jobs }
    }
}

impl PricedRequest {
    /// What jobs of the same price have in common: model, resolution, length and sound, as in `720p|5|0|wan2.5-t2v`.
    /// `None` where the length cannot be read.
    pub fn price_class(&self) -> Option<String> {
        let sound = self.sound.map_or("-", |sound| if sound { "1" } else { "0" });
        let resolution = self.resolution.as_deref().unwrap_or("-");
        let class = format!("{resolution}|{}|{sound}|{}", self.seconds?, self.model);
        (class.len() <= MAX_CLASS).then_some(class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_have_a_median_and_a_range() {
        let of = |charges: &[i64]| {
            let own = OwnCharges::of(charges.iter().copied().map(Quota::new).collect())?;
            Some((own.median.get(), own.low.get(), own.high.get(), own.jobs))
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[7]), Some((7, 7, 7, 1)));
        assert_eq!(of(&[9, 1]), Some((9, 1, 9, 2)));
        assert_eq!(of(&[5, 900, 1, 6, 5]), Some((5, 1, 900, 5)));
    }

    #[test]
    fn price_class_is_model_resolution_length_and_sound() {
        let long = format!(r#"{{"model":"{}"}}"#, "m".repeat(300));
        let cases = [
            (r#"{"model":"wan2.5-t2v","resolution":"720P"}"#, Some("720p|5|0|wan2.5-t2v")),
            (r#"{"model":"wan2.5-preview","duration":10}"#, Some("-|10|1|wan2.5-preview")),
            (r#"{"model":"painter"}"#, Some("-|5|-|painter")),
            (r#"{"model":"painter","duration":"5s"}"#, None),
            (&long, None),
        ];
        for (body, class) in cases {
            let found = PricedRequest::of(body).and_then(|request| request.price_class());
            assert_eq!(found.as_deref(), class, "{body}");
        }
    }
}
