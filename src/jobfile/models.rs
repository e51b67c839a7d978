//! The known models as data (docs/provider.md#models). Other models pass, with only the checks that hold for all.

use crate::jobfile::field::{Field, FieldType};

/// A model with known inputs.
pub struct Model {
    /// The `model` of a request.
    pub name: &'static str,
    /// A request must fit one of them.
    pub modes: &'static [Mode],
}

/// A way to use a model, with the inputs that it needs.
pub struct Mode {
    /// For messages.
    pub what: &'static str,
    /// Each needed input, with its other spellings after it.
    pub needs: &'static [&'static [&'static str]],
}

const TEXT: Mode = Mode { what: "text-to-video", needs: &[&["prompt"]] };
const IMAGE: Mode = Mode { what: "image-to-video", needs: &[&["prompt"], &["image_urls"]] };
const FRAMES: Mode = Mode {
    what: "first/last frame",
    needs: &[&["first_frame", "first_frame_image"], &["last_frame", "last_frame_image"]],
};

pub const MODELS: &[Model] = &[
    Model { name: "wan2.5-t2v", modes: &[TEXT] },
    Model { name: "wan2.5-i2v", modes: &[IMAGE, FRAMES] },
    Model { name: "wan2.2-i2v-flash", modes: &[IMAGE] },
    Model { name: "wan2.2-i2v-plus", modes: &[IMAGE] },
];

/// Largest seed. Also the largest duration, for which no limit is documented.
const GREATEST: i64 = 2_147_483_647;

/// The documented fields of the known models. `model`, `prompt` and `callback_url` are checked for every model.
pub const FIELDS: &[Field] = &[
    Field { key: "action", field_type: FieldType::Text { max_chars: None } },
    Field { key: "aspect_ratio", field_type: FieldType::Word(&["16:9", "9:16", "1:1", "4:3", "3:4"]) },
    Field { key: "duration", field_type: FieldType::Whole { least: 1, greatest: GREATEST } },
    Field { key: "resolution", field_type: FieldType::Word(&["480p", "720p", "1080p"]) },
    Field { key: "seed", field_type: FieldType::Whole { least: 0, greatest: GREATEST } },
    Field { key: "watermark", field_type: FieldType::Flag },
    Field { key: "image_urls", field_type: FieldType::Medias },
    Field { key: "first_frame", field_type: FieldType::Media },
    Field { key: "last_frame", field_type: FieldType::Media },
    Field { key: "first_frame_image", field_type: FieldType::Media },
    Field { key: "last_frame_image", field_type: FieldType::Media },
    Field { key: "negative_prompt", field_type: FieldType::Text { max_chars: Some(500) } },
    Field { key: "callback_events", field_type: FieldType::Texts },
    Field {
        key: "extra",
        field_type: FieldType::Fields(&[
            Field { key: "prompt_extend", field_type: FieldType::Flag },
            Field { key: "audio", field_type: FieldType::Flag },
        ]),
    },
];

/// Keys that hold media, whatever the model.
pub const MEDIA_KEYS: &[&str] =
    &["image_urls", "first_frame", "last_frame", "first_frame_image", "last_frame_image"];
