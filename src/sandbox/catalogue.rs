//! The models of the simulated service: what each costs and accepts (docs/provider.md#models). The daemon has a table of
//! its own. This one is written apart from it on purpose: a wrong price in either shows as a difference.

use crate::sandbox::faults::Generation;

/// A model that the service knows.
pub(crate) struct ListedModel {
    pub id: &'static str,
    /// The generations whose list of models has it.
    pub listed: &'static [Generation],
    pub tags: &'static [&'static str],
    pub pricing: Pricing,
    pub limits: Limits,
}

/// What is paid for.
pub(crate) enum Pricing {
    PerSecond(&'static [Tier]),
    /// Quota for each task, whatever it makes.
    PerFile(i64),
}

/// The price of a second.
pub(crate) struct Tier {
    pub resolution: &'static str,
    /// Whether it is the price with sound; `None`: sound makes no difference.
    pub sound: Option<bool>,
    /// In quota.
    pub per_second: i64,
}

/// What the newest generation accepts. Everything else is refused, unbilled.
pub(crate) struct Limits {
    /// Least and most of each range of lengths, in seconds.
    pub seconds: &'static [(u64, u64)],
    /// The root keys beyond those that every model has.
    pub parameters: &'static [&'static str],
    /// Least and most `image_urls`.
    pub images: (usize, usize),
    /// Least and most `video_urls`.
    pub clips: (usize, usize),
    /// Most `audio_urls`.
    pub sounds: usize,
    /// Whether pictures, frames and clips exclude each other.
    pub one_kind_of_input: bool,
    pub ratio_beside_images: bool,
    pub always_needs_prompt: bool,
    /// The only action; `None`: any.
    pub action: Option<&'static str>,
}

impl Tier {
    /// As a quote names it: `1080p`, `720p+audio`.
    pub fn name(&self) -> String {
        format!("{}{}", self.resolution, if self.sound == Some(true) { "+audio" } else { "" })
    }
}

const OLD: &[Generation] = &[Generation::Old];
const NEW: &[Generation] = &[Generation::New];
const BOTH: &[Generation] = &[Generation::Old, Generation::New];

const ANY_LENGTH: &[(u64, u64)] = &[(1, 60)];
const TEXT: &[&str] = &["prompt_extend", "generate_audio"];
/// The older models call the sound `extra.audio`; at the root it may have either name.
const OLDER_TEXT: &[&str] = &["prompt_extend", "generate_audio", "audio"];
const OLDER_PICTURES: &[&str] = &["prompt_extend", "generate_audio", "audio", "image_urls"];
const PICTURES: &[&str] = &["prompt_extend", "generate_audio", "image_urls"];
const OLDER_FRAMES: &[&str] = &[
    "prompt_extend",
    "generate_audio",
    "audio",
    "image_urls",
    "first_frame",
    "last_frame",
    "first_frame_image",
    "last_frame_image",
];
const INPUTS: &[&str] = &[
    "prompt_extend",
    "generate_audio",
    "image_urls",
    "first_frame",
    "last_frame",
    "first_frame_image",
    "last_frame_image",
    "video_urls",
    "audio_urls",
];

/// Takes what the others do not restrict.
const LIMITS: Limits = Limits {
    seconds: ANY_LENGTH,
    parameters: TEXT,
    images: (0, 10),
    clips: (0, 5),
    sounds: 5,
    one_kind_of_input: false,
    ratio_beside_images: true,
    always_needs_prompt: false,
    action: None,
};

const fn tier(resolution: &'static str, per_second: i64) -> Tier {
    Tier { resolution, sound: None, per_second }
}

const fn tier_of_sound(resolution: &'static str, sound: bool, per_second: i64) -> Tier {
    Tier { resolution, sound: Some(sound), per_second }
}

const WAN_2_5: Pricing =
    Pricing::PerSecond(&[tier("480p", 7500), tier("720p", 15_000), tier("1080p", 30_000)]);
const WAN_2_7: Pricing = Pricing::PerSecond(&[tier("720p", 45_000), tier("1080p", 67_500)]);
const WAN_3: Pricing =
    Pricing::PerSecond(&[tier("480p", 22_500), tier("720p", 45_000), tier("1080p", 90_000)]);

/// Nobody publishes prices of the first four: theirs are invented, and fixed.
static MODELS: [ListedModel; 15] = [
    ListedModel {
        id: "wan2.5-t2v",
        listed: OLD,
        tags: &["video", "text-to-video"],
        pricing: WAN_2_5,
        limits: Limits { parameters: OLDER_TEXT, ..LIMITS },
    },
    ListedModel {
        id: "wan2.5-i2v",
        listed: OLD,
        tags: &["video", "image-to-video"],
        pricing: WAN_2_5,
        limits: Limits { parameters: OLDER_FRAMES, ..LIMITS },
    },
    ListedModel {
        id: "wan2.2-i2v-flash",
        listed: OLD,
        tags: &["video", "image-to-video"],
        pricing: Pricing::PerSecond(&[tier("480p", 2500), tier("720p", 5000), tier("1080p", 10_000)]),
        limits: Limits { parameters: OLDER_PICTURES, ..LIMITS },
    },
    ListedModel {
        id: "wan2.2-i2v-plus",
        listed: OLD,
        tags: &["video", "image-to-video"],
        pricing: Pricing::PerSecond(&[tier("480p", 5000), tier("720p", 10_000), tier("1080p", 20_000)]),
        limits: Limits { parameters: OLDER_PICTURES, ..LIMITS },
    },
    ListedModel {
        id: "wan2.5-preview",
        listed: NEW,
        tags: &["video", "text-to-video", "image-to-video", "sound"],
        pricing: Pricing::PerSecond(&[tier("480p", 18_900), tier("720p", 37_350), tier("1080p", 61_650)]),
        limits: Limits {
            seconds: &[(5, 5), (10, 10)],
            parameters: &["prompt_extend", "image_urls", "audio_urls"],
            ratio_beside_images: false,
            ..LIMITS
        },
    },
    ListedModel {
        id: "wan2.6",
        listed: NEW,
        tags: &["video", "text-to-video", "image-to-video"],
        pricing: Pricing::PerSecond(&[tier("720p", 28_125), tier("1080p", 47_250)]),
        limits: Limits {
            seconds: &[(5, 5), (10, 10), (15, 15)],
            parameters: PICTURES,
            ratio_beside_images: false,
            ..LIMITS
        },
    },
    ListedModel {
        id: "wan2.6-i2v",
        listed: NEW,
        tags: &["video", "image-to-video"],
        pricing: Pricing::PerSecond(&[tier("720p", 37_350), tier("1080p", 61_650)]),
        limits: Limits { seconds: &[(2, 15)], parameters: PICTURES, images: (1, 1), ..LIMITS },
    },
    ListedModel {
        id: "wan2.6-i2v-flash",
        listed: NEW,
        tags: &["video", "image-to-video", "sound"],
        pricing: Pricing::PerSecond(&[
            tier_of_sound("720p", false, 11_250),
            tier_of_sound("1080p", false, 16_875),
            tier_of_sound("720p", true, 22_500),
            tier_of_sound("1080p", true, 33_750),
        ]),
        limits: Limits {
            seconds: &[(2, 15)],
            parameters: &["prompt_extend", "generate_audio", "image_urls", "audio_urls"],
            images: (1, 1),
            sounds: 1,
            ..LIMITS
        },
    },
    ListedModel {
        id: "wan2.7",
        listed: NEW,
        tags: &["video", "text-to-video", "image-to-video", "video-to-video"],
        pricing: WAN_2_7,
        limits: Limits { seconds: &[(2, 15)], parameters: INPUTS, one_kind_of_input: true, ..LIMITS },
    },
    ListedModel {
        id: "wan2.7-r2v",
        listed: NEW,
        tags: &["video", "reference-to-video"],
        pricing: WAN_2_7,
        limits: Limits {
            seconds: &[(2, 15)],
            parameters: &["prompt_extend", "generate_audio", "image_urls", "video_urls", "audio_urls"],
            images: (0, 5),
            one_kind_of_input: true,
            always_needs_prompt: true,
            ..LIMITS
        },
    },
    ListedModel {
        id: "wan2.7-videoedit",
        listed: NEW,
        tags: &["video", "video-to-video", "edit"],
        pricing: WAN_2_7,
        limits: Limits {
            seconds: &[(2, 10)],
            parameters: &["prompt_extend", "image_urls", "video_urls"],
            clips: (1, 1),
            action: Some("edit"),
            ..LIMITS
        },
    },
    ListedModel {
        id: "wan3.0-video",
        listed: NEW,
        tags: &["video", "text-to-video", "image-to-video", "video-to-video", "sound"],
        pricing: WAN_3,
        limits: Limits { seconds: &[(2, 30)], parameters: INPUTS, ..LIMITS },
    },
    ListedModel {
        id: "wan3.0-video-prime",
        listed: NEW,
        tags: &["video", "text-to-video", "image-to-video", "video-to-video", "sound"],
        pricing: WAN_3,
        limits: Limits { seconds: &[(2, 30)], parameters: INPUTS, ..LIMITS },
    },
    ListedModel {
        id: "sandbox-image",
        listed: BOTH,
        tags: &["image"],
        pricing: Pricing::PerFile(20_000),
        limits: Limits { parameters: PICTURES, ..LIMITS },
    },
    ListedModel {
        id: "sandbox-music",
        listed: BOTH,
        tags: &["audio"],
        pricing: Pricing::PerFile(5500),
        limits: LIMITS,
    },
];

/// A model by its id, whichever generation lists it.
pub(crate) fn model(id: &str) -> Option<&'static ListedModel> {
    MODELS.iter().find(|model| model.id == id)
}

/// The list of a generation, in its order.
pub(crate) fn listed(generation: &Generation) -> impl Iterator<Item = &'static ListedModel> {
    MODELS.iter().filter(|model| model.listed.contains(generation))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lists of docs/provider.md, in quota: 500,000 are a dollar.
    #[test]
    fn catalogue_has_the_published_prices_and_ids() {
        let prices = |model: &ListedModel| match &model.pricing {
            Pricing::PerSecond(tiers) => tiers.iter().map(|tier| tier.per_second).collect(),
            Pricing::PerFile(price) => vec![*price],
        };
        let list = |generation| {
            let lines = listed(&generation).map(|model| format!("{} {:?}", model.id, prices(model)));
            lines.collect::<Vec<_>>()
        };
        assert_eq!(
            list(Generation::Old),
            [
                "wan2.5-t2v [7500, 15000, 30000]",
                "wan2.5-i2v [7500, 15000, 30000]",
                "wan2.2-i2v-flash [2500, 5000, 10000]",
                "wan2.2-i2v-plus [5000, 10000, 20000]",
                "sandbox-image [20000]",
                "sandbox-music [5500]",
            ]
        );
        assert_eq!(
            list(Generation::New),
            [
                "wan2.5-preview [18900, 37350, 61650]",
                "wan2.6 [28125, 47250]",
                "wan2.6-i2v [37350, 61650]",
                "wan2.6-i2v-flash [11250, 16875, 22500, 33750]",
                "wan2.7 [45000, 67500]",
                "wan2.7-r2v [45000, 67500]",
                "wan2.7-videoedit [45000, 67500]",
                "wan3.0-video [22500, 45000, 90000]",
                "wan3.0-video-prime [22500, 45000, 90000]",
                "sandbox-image [20000]",
                "sandbox-music [5500]",
            ]
        );
    }
}
