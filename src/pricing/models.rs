//! The known models as data (docs/provider.md#models): their inputs, their limits and the list price of a second. Other
//! models pass, with only the checks that hold for all.

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

/// Longest prompt that nobody cuts, in characters. Relays cut longer ones, at 800 to 2,000 characters, and bill them.
pub const MAX_PROMPT: usize = 800;

const TEXT: Mode = Mode { what: "text-to-video", needs: &[&["prompt"]] };
const IMAGE: Mode = Mode { what: "image-to-video", needs: &[&["prompt"], &["image_urls"]] };
/// Of the current models, whose pages say neither that a picture needs a prompt nor which keys besides `image_urls` hold
/// one.
const PICTURE: Mode = Mode {
    what: "image-to-video",
    needs: &[&["image_urls", "image_url", "images", "image", "first_frame", "first_frame_image"]],
};
const FRAMES: Mode = Mode {
    what: "first/last frame",
    needs: &[&["first_frame", "first_frame_image"], &["last_frame", "last_frame_image"]],
};

/// 480p exists in these shapes only.
const SMALL_RATIOS: &[&str] = &["16:9", "9:16", "1:1"];

/// The keys of the older models: `extra` on the older hosts, its members at the root on the newest.
const OLDER: &[&str] = &["extra", "prompt_extend", "audio"];
const OLDER_IMAGE: &[&str] = &["image_urls", "extra", "prompt_extend", "audio"];
const OLDER_FRAMES: &[&str] = &[
    "image_urls",
    "first_frame",
    "last_frame",
    "first_frame_image",
    "last_frame_image",
    "extra",
    "prompt_extend",
    "audio",
];
const CURRENT: &[&str] = &["image_urls", "prompt_extend", "generate_audio"];
const CURRENT_FRAMES: &[&str] = &[
    "image_urls",
    "first_frame",
    "last_frame",
    "first_frame_image",
    "last_frame_image",
    "prompt_extend",
    "generate_audio",
];

/// No price is published for the four older models.
const UNPRICED: &[Resolution] = &[
    Resolution { name: "480p", ratios: SMALL_RATIOS, price: None },
    Resolution { name: "720p", ratios: &[], price: None },
    Resolution { name: "1080p", ratios: &[], price: None },
];

const fn at(name: &'static str, quota: i64) -> Resolution {
    with_sound(name, quota, quota)
}

const fn with_sound(name: &'static str, silent: i64, with_sound: i64) -> Resolution {
    let price = SecondPrice { silent: Quota::new(silent), with_sound: Quota::new(with_sound) };
    Resolution { name, ratios: &[], price: Some(price) }
}

/// What most of the current models have in common; each row of the table says what differs.
const USUAL: Model = Model {
    name: "",
    modes: &[],
    action: None,
    lengths: Lengths::Between(2, 15),
    resolutions: &[at("720p", 45_000), at("1080p", 67_500)],
    sound: Sound::Unknown,
    max_images: usize::MAX,
    picture_decides_ratio: true,
    frames_or_images: false,
    bills_source: false,
    keys: CURRENT,
};

/// The known models: first the four older ones, whose names may no longer answer, then those of the current catalogue.
pub const MODELS: &[Model] = &[
    Model {
        name: "wan2.5-t2v",
        modes: &[TEXT],
        lengths: Lengths::OneOf(&[5, 10]),
        resolutions: UNPRICED,
        sound: Sound::OnRequest,
        max_images: 0,
        keys: OLDER,
        ..USUAL
    },
    Model {
        name: "wan2.5-i2v",
        modes: &[IMAGE, FRAMES],
        lengths: Lengths::OneOf(&[5, 10]),
        resolutions: UNPRICED,
        sound: Sound::OnRequest,
        keys: OLDER_FRAMES,
        ..USUAL
    },
    Model {
        name: "wan2.2-i2v-flash",
        modes: &[IMAGE],
        lengths: Lengths::OneOf(&[5]),
        resolutions: UNPRICED,
        sound: Sound::Never,
        keys: OLDER_IMAGE,
        ..USUAL
    },
    Model {
        name: "wan2.2-i2v-plus",
        modes: &[IMAGE],
        lengths: Lengths::Unknown,
        resolutions: UNPRICED,
        sound: Sound::Never,
        keys: OLDER_IMAGE,
        ..USUAL
    },
    Model {
        name: "wan2.5-preview",
        modes: &[TEXT, PICTURE],
        lengths: Lengths::OneOf(&[5, 10]),
        resolutions: &[
            Resolution { ratios: SMALL_RATIOS, ..at("480p", 18_900) },
            at("720p", 37_350),
            at("1080p", 61_650),
        ],
        sound: Sound::Always,
        ..USUAL
    },
    Model {
        name: "wan2.6",
        modes: &[TEXT, PICTURE],
        lengths: Lengths::OneOf(&[5, 10, 15]),
        resolutions: &[at("720p", 28_125), at("1080p", 47_250)],
        ..USUAL
    },
    Model {
        name: "wan2.6-i2v",
        modes: &[PICTURE],
        resolutions: &[at("720p", 37_350), at("1080p", 61_650)],
        max_images: 1,
        ..USUAL
    },
    Model {
        name: "wan2.6-i2v-flash",
        modes: &[PICTURE],
        resolutions: &[with_sound("720p", 11_250, 22_500), with_sound("1080p", 16_875, 33_750)],
        max_images: 1,
        ..USUAL
    },
    // The names of the keys for clips and sounds are not published, so that what the following need besides is unknown.
    Model {
        name: "wan2.7",
        picture_decides_ratio: false,
        frames_or_images: true,
        keys: CURRENT_FRAMES,
        ..USUAL
    },
    Model {
        name: "wan2.7-r2v",
        modes: &[Mode { what: "reference-to-video", needs: &[&["prompt"]] }],
        max_images: 5,
        picture_decides_ratio: false,
        ..USUAL
    },
    Model {
        name: "wan2.7-videoedit",
        action: Some("edit"),
        lengths: Lengths::Between(2, 10),
        picture_decides_ratio: false,
        bills_source: true,
        ..USUAL
    },
    Model { name: "wan3.0-video", ..WAN3 },
    Model { name: "wan3.0-video-prime", ..WAN3 },
];

const WAN3: Model = Model {
    lengths: Lengths::Between(2, 30),
    resolutions: &[
        Resolution { ratios: SMALL_RATIOS, ..at("480p", 22_500) },
        at("720p", 45_000),
        at("1080p", 90_000),
    ],
    max_images: 10,
    picture_decides_ratio: false,
    ..USUAL
};

/// The known model of this name.
pub fn model(name: &str) -> Option<&'static Model> {
    MODELS.iter().find(|model| model.name == name)
}

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
    fn list_prices_are_those_of_the_documents() {
        let documented = include_str!("../../docs/provider.md");
        let mut compared = 0;
        for model in MODELS {
            let cell = format!("`{}`", model.name);
            let row = documented
                .lines()
                .find(|line| line.starts_with('|') && line.contains(&cell) && line.split('|').count() == 7);
            let Some(row) = row else {
                assert!(model.resolutions.iter().all(|one| one.price.is_none()), "{} is priced", model.name);
                continue;
            };
            let prices = |sound: bool| {
                let of = |one: &Resolution| {
                    let price = one.price.expect("a price");
                    let usd = if sound { price.with_sound } else { price.silent }.usd();
                    format!("{usd}")
                };
                model.resolutions.iter().map(of).collect::<Vec<_>>().join(" / ")
            };
            for expected in [prices(false), prices(true)] {
                assert!(row.contains(&expected), "{}: {expected} is not in {row}", model.name);
            }
            let lengths =
                model.lengths.to_string().replace(" to ", "-").replace(" or ", ", ").replace(" s", "");
            assert!(row.contains(&format!("| {lengths} |")), "{}: {lengths} is not in {row}", model.name);
            compared += 1;
        }
        assert_eq!(compared, 9);
    }

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
