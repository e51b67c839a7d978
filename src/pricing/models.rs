//! The known models as data (docs/provider.md#models). Other models pass, with only the checks that hold for all.

use crate::money::Quota;
pub use crate::pricing::model::{COMMON_KEYS, Lengths, Mode, Model, Resolution, SecondPrice, Sound};

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
    max_clips: usize::MAX,
    max_sounds: usize::MAX,
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
        max_sounds: 1,
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
        max_clips: 5,
        picture_decides_ratio: false,
        ..USUAL
    },
    Model {
        name: "wan2.7-videoedit",
        action: Some("edit"),
        lengths: Lengths::Between(2, 10),
        max_clips: 1,
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
    max_clips: 5,
    max_sounds: 5,
    picture_decides_ratio: false,
    ..USUAL
};

/// The known model of this name.
pub fn model(name: &str) -> Option<&'static Model> {
    MODELS.iter().find(|model| model.name == name)
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
}
