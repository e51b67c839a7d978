//! What the jobs of a file are made of beside its text: defaults and local pictures.

use crate::jobfile::Defaults;
use crate::jobfile::pictures::PictureContent;
use crate::sha256::sha256_hex;

/// The digest of the defaults that apply to a job file, and of its pictures by their paths, which are in order. `None`: it
/// has neither.
pub fn inputs_sha256<'p>(
    defaults: &Defaults,
    pictures: impl IntoIterator<Item = (&'p String, &'p PictureContent)>,
) -> Option<String> {
    let mut inputs = String::new();
    for (path, content) in pictures {
        inputs += &format!("\n{path}\0{}", content.file_name());
    }
    let defaults = defaults.sha256();
    if inputs.is_empty() {
        return defaults.map(str::to_owned);
    }
    Some(sha256_hex(format!("{}{inputs}", defaults.unwrap_or_default()).as_bytes()))
}
