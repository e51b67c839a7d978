//! The documented fields of a request, and what each may hold.

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
