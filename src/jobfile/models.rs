//! What is known of the provider's models, as data (docs/provider.md#models). Other models pass
//! unchecked but for what holds for all of them.

use crate::jobfile::field::{Field, Shape};

/// A model whose inputs and ranges are known.
pub struct Model {
    /// As the `model` of a request.
    pub name: &'static str,
    /// The ways to use it; a request must fit one.
    pub modes: &'static [Mode],
}

/// One way to use a model.
pub struct Mode {
    /// For messages.
    pub what: &'static str,
    /// The inputs that it needs, each with its other spellings behind it.
    pub needs: &'static [&'static [&'static str]],
}

const TEXT: Mode = Mode { what: "text-to-video", needs: &[&["prompt"]] };
const IMAGE: Mode = Mode { what: "image-to-video", needs: &[&["prompt"], &["image_urls"]] };
const FRAMES: Mode = Mode {
    what: "first/last frame",
    needs: &[&["first_frame", "first_frame_image"], &["last_frame", "last_frame_image"]],
};

/// The models that are checked.
pub const MODELS: &[Model] = &[
    Model { name: "wan2.5-t2v", modes: &[TEXT] },
    Model { name: "wan2.5-i2v", modes: &[IMAGE, FRAMES] },
    Model { name: "wan2.2-i2v-flash", modes: &[IMAGE] },
    Model { name: "wan2.2-i2v-plus", modes: &[IMAGE] },
];

/// The greatest seed; also taken as the greatest duration, which has no documented end.
const GREATEST: i64 = 2_147_483_647;

/// The documented fields of the known models. `model`, `prompt` and `callback_url` are checked for every model.
pub const FIELDS: &[Field] = &[
    Field { key: "action", shape: Shape::Text { max_chars: None } },
    Field { key: "aspect_ratio", shape: Shape::Word(&["16:9", "9:16", "1:1", "4:3", "3:4"]) },
    Field { key: "duration", shape: Shape::Whole { least: 1, greatest: GREATEST } },
    Field { key: "resolution", shape: Shape::Word(&["480p", "720p", "1080p"]) },
    Field { key: "seed", shape: Shape::Whole { least: 0, greatest: GREATEST } },
    Field { key: "watermark", shape: Shape::Flag },
    Field { key: "image_urls", shape: Shape::Medias },
    Field { key: "first_frame", shape: Shape::Media },
    Field { key: "last_frame", shape: Shape::Media },
    Field { key: "first_frame_image", shape: Shape::Media },
    Field { key: "last_frame_image", shape: Shape::Media },
    Field { key: "negative_prompt", shape: Shape::Text { max_chars: Some(500) } },
    Field { key: "callback_events", shape: Shape::Texts },
    Field {
        key: "extra",
        shape: Shape::Fields(&[
            Field { key: "prompt_extend", shape: Shape::Flag },
            Field { key: "audio", shape: Shape::Flag },
        ]),
    },
];

/// The keys that hold media with every model that has them.
pub const MEDIA_KEYS: &[&str] =
    &["image_urls", "first_frame", "last_frame", "first_frame_image", "last_frame_image"];
