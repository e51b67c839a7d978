//! Numbered names for files whose name exists already.

use std::os::fd::BorrowedFd;

/// The longest file name in bytes on most file systems.
const MAX_NAME_BYTES: usize = 255;
/// The longest file name in bytes that all supported file systems take: eCryptfs has 143.
pub(crate) const SHORTEST_NAME_LIMIT: usize = 143;
/// Text behind the last dot that is as long as this is part of the name, not an extension.
const MAX_EXTENSION_BYTES: usize = 16;

/// The longest file name in bytes that a folder takes.
pub(crate) fn max_name_bytes(folder: BorrowedFd<'_>) -> usize {
    let found = rustix::fs::fstatvfs(folder)
        .map_or(MAX_NAME_BYTES, |stat| usize::try_from(stat.f_namemax).unwrap_or(MAX_NAME_BYTES));
    // Some file systems report 0, or a number of characters.
    if found == 0 { MAX_NAME_BYTES } else { found.min(MAX_NAME_BYTES) }
}

/// `name` with `-1`, `-2`, ... before its extension, at most `max_bytes` long: the text before the number is cut.
/// Unchanged for 0, if it is not too long.
pub(crate) fn numbered_within(name: &str, number: u32, max_bytes: usize) -> String {
    let mark = if number == 0 { String::new() } else { format!("-{number}") };
    marked_within(name, &mark, max_bytes)
}

/// `name` with ` (1)`, ` (2)`, ... before its extension; unchanged for 0. This is how other programs name a copy, so a
/// file that gets such a name is recognized by its bytes as a copy of `name`.
pub(crate) fn numbered_as_copy(name: &str, number: u32, max_bytes: usize) -> String {
    let mark = if number == 0 { String::new() } else { format!(" ({number})") };
    marked_within(name, &mark, max_bytes)
}

/// `name` with `mark` before its extension, at most `max_bytes` long.
fn marked_within(name: &str, mark: &str, max_bytes: usize) -> String {
    let (stem, extension) = match name.rsplit_once('.') {
        // Two endings that are one.
        Some((stem, "txt")) if stem.len() > 8 && stem.ends_with(".prompts") => name.split_at(stem.len() - 8),
        Some((stem, extension)) if !stem.is_empty() && extension.len() < MAX_EXTENSION_BYTES => {
            name.split_at(stem.len())
        }
        _ => (name, ""),
    };
    let mut end = stem.len().min(max_bytes.saturating_sub(mark.len() + extension.len()));
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{mark}{extension}", &stem[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_goes_before_the_extension() {
        assert_eq!(numbered_within("a.json", 0, MAX_NAME_BYTES), "a.json");
        assert_eq!(numbered_within("a.b.json", 2, MAX_NAME_BYTES), "a.b-2.json");
        assert_eq!(numbered_within(".hidden", 1, MAX_NAME_BYTES), ".hidden-1");
        assert_eq!(numbered_within("plain", 1, MAX_NAME_BYTES), "plain-1");
        assert_eq!(
            [0, 2].map(|number| numbered_as_copy("a.json", number, MAX_NAME_BYTES)),
            ["a.json", "a (2).json"]
        );
        assert_eq!(numbered_within("a.prompts.txt", 1, MAX_NAME_BYTES), "a-1.prompts.txt");
        assert_eq!(numbered_within(".prompts.txt", 1, MAX_NAME_BYTES), ".prompts-1.txt");
    }

    #[test]
    fn long_name_is_cut_before_the_number() {
        assert_eq!(numbered_within("sakura.json", 0, 9), "saku.json");
        assert_eq!(numbered_within("sakura.json", 12, 9), "s-12.json");
        assert_eq!(numbered_within("樱花.json", 0, 9), "樱.json");
        assert_eq!(numbered_within(&format!("{}.json", "x".repeat(250)), 1, 255).len(), 255);
    }
}
