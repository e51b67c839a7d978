//! What is known of a model: its inputs, its limits and the list price of a second.

use std::fmt;

use crate::money::Quota;

/// A model with known inputs. The provider may change each value without notice: what is wrong here costs a warning too
/// many, never a job.
pub struct Model {
    /// The `model` of a request.
    pub name: &'static str,
    /// A request must fit one of them. Empty: which inputs it needs is not known for certain.
    pub modes: &'static [Mode],
    /// The only `action` that it knows; `None`: the default, `generate`.
    pub action: Option<&'static str>,
    /// How long its videos can be.
    pub lengths: Lengths,
    /// What it makes, with the list price of each.
    pub resolutions: &'static [Resolution],
    /// Whether its videos have sound.
    pub sound: Sound,
    /// Most pictures in `image_urls`; 0: it takes none.
    pub max_images: usize,
    /// Most clips.
    pub max_clips: usize,
    /// Most sounds.
    pub max_sounds: usize,
    /// Whether `aspect_ratio` has no effect beside a picture.
    pub picture_decides_ratio: bool,
    /// Whether frames and `image_urls` exclude each other.
    pub frames_or_images: bool,
    /// Whether the seconds of its source clip are billed too.
    pub bills_source: bool,
    /// The root keys that it takes besides [`COMMON_KEYS`].
    pub keys: &'static [&'static str],
}

/// A way to use a model, with the inputs that it needs.
pub struct Mode {
    /// For messages.
    pub what: &'static str,
    /// Each needed input, with its other spellings after it.
    pub needs: &'static [&'static [&'static str]],
}

/// The lengths that a model makes, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lengths {
    /// Only these.
    OneOf(&'static [u32]),
    /// Whole seconds from the first to the second.
    Between(u32, u32),
    /// Not documented.
    Unknown,
}

/// A resolution of a model.
pub struct Resolution {
    /// Such as `720p`.
    pub name: &'static str,
    /// The aspect ratios that it allows; empty: all that are documented.
    pub ratios: &'static [&'static str],
    /// List price of a second; `None`: not published.
    pub price: Option<SecondPrice>,
}

/// The list price of a second of video.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecondPrice {
    /// Without sound.
    pub silent: Quota,
    /// With sound. The same for most models.
    pub with_sound: Quota,
}

/// Whether a model's videos have sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sound {
    /// It cannot make any.
    Never,
    /// It cannot be switched off.
    Always,
    /// As the request says; silent by default.
    OnRequest,
    /// As the request says; the default is not documented.
    Unknown,
}

/// The root keys that every known model takes.
pub const COMMON_KEYS: &[&str] = &[
    "model",
    "action",
    "prompt",
    "aspect_ratio",
    "duration",
    "resolution",
    "seed",
    "watermark",
    "negative_prompt",
    "callback_url",
    "callback_events",
];

impl Model {
    /// Whether the model takes this root key.
    pub fn takes(&self, key: &str) -> bool {
        COMMON_KEYS.contains(&key) || self.keys.contains(&key)
    }

    /// The list prices of a second: resolution, whether with sound (`None`: for both), price.
    pub fn second_prices(&self) -> Vec<(&'static str, Option<bool>, Quota)> {
        let mut prices = Vec::new();
        for resolution in self.resolutions {
            match resolution.price {
                Some(SecondPrice { silent, with_sound }) if silent == with_sound => {
                    prices.push((resolution.name, None, silent));
                }
                Some(SecondPrice { silent, with_sound }) => {
                    prices.push((resolution.name, Some(false), silent));
                    prices.push((resolution.name, Some(true), with_sound));
                }
                None => {}
            }
        }
        prices
    }

    /// Its resolution of this name, in any case.
    pub fn resolution(&self, name: &str) -> Option<&'static Resolution> {
        self.resolutions.iter().find(|resolution| resolution.name.eq_ignore_ascii_case(name))
    }
}

impl Lengths {
    /// Whether a video can be this long; what is not documented is allowed.
    pub fn allow(self, seconds: u32) -> bool {
        match self {
            Self::OneOf(lengths) => lengths.contains(&seconds),
            Self::Between(least, most) => (least..=most).contains(&seconds),
            Self::Unknown => true,
        }
    }

    /// The longest video, if it is documented.
    pub fn longest(self) -> Option<u32> {
        match self {
            Self::OneOf(lengths) => lengths.iter().max().copied(),
            Self::Between(_, most) => Some(most),
            Self::Unknown => None,
        }
    }
}

impl fmt::Display for Lengths {
    /// For sentences: "5 or 10 s", "2 to 15 s".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneOf(lengths) => {
                for (index, length) in lengths.iter().enumerate() {
                    let joint = match index {
                        0 => "",
                        last if last + 1 == lengths.len() => " or ",
                        _ => ", ",
                    };
                    write!(f, "{joint}{length}")?;
                }
                f.write_str(" s")
            }
            Self::Between(least, most) => write!(f, "{least} to {most} s"),
            Self::Unknown => f.write_str("any length"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_allow_what_they_say() {
        let cases = [
            (Lengths::OneOf(&[5, 10]), "5 or 10 s", [(5, true), (7, false), (10, true)], Some(10)),
            (Lengths::OneOf(&[5, 10, 15]), "5, 10 or 15 s", [(5, true), (15, true), (16, false)], Some(15)),
            (Lengths::OneOf(&[5]), "5 s", [(4, false), (5, true), (6, false)], Some(5)),
            (Lengths::Between(2, 15), "2 to 15 s", [(1, false), (2, true), (16, false)], Some(15)),
            (Lengths::Unknown, "any length", [(0, true), (1, true), (99, true)], None),
        ];
        for (lengths, text, allowed, longest) in cases {
            assert_eq!((lengths.to_string().as_str(), lengths.longest()), (text, longest));
            for (seconds, expected) in allowed {
                assert_eq!(lengths.allow(seconds), expected, "{text}: {seconds}");
            }
        }
    }
}
