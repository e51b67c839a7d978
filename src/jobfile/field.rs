//! The documented fields of a request, and what each may hold.

/// The key of dropreel's own object, which is never sent.
pub const DROPREEL_KEY: &str = "dropreel";

/// A key with the type of its value.
pub struct Field {
    pub key: &'static str,
    pub field_type: FieldType,
}

/// The type and range of a value.
pub enum FieldType {
    /// A string, with a maximum length in characters if there is one.
    Text { max_chars: Option<usize> },
    /// One of these strings.
    Word(&'static [&'static str]),
    /// A whole number within these bounds.
    Whole { least: i64, greatest: i64 },
    /// true or false.
    Flag,
    /// An array of strings.
    Texts,
    /// A public http(s) URL.
    Media,
    /// An array of at least one public http(s) URL.
    Medias,
    /// An object of which these fields are checked; others pass.
    Fields(&'static [Field]),
}

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
    Field { key: "prompt_extend", field_type: FieldType::Flag },
    Field { key: "generate_audio", field_type: FieldType::Flag },
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
