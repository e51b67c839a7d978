//! Numbered names for files whose name exists already.

/// The longest file name in bytes, on all common file systems.
pub(crate) const MAX_NAME_BYTES: usize = 255;
/// Text behind the last dot that is as long as this is part of the name, not an extension.
const MAX_EXTENSION_BYTES: usize = 16;

/// `name` with `-1`, `-2`, ... before its extension; unchanged for 0.
pub(crate) fn numbered(name: &str, number: u32) -> String {
    numbered_within(name, number, MAX_NAME_BYTES)
}

/// [`numbered`], at most `max_bytes` long: the text before the number is cut.
pub(crate) fn numbered_within(name: &str, number: u32, max_bytes: usize) -> String {
    let mark = if number == 0 { String::new() } else { format!("-{number}") };
    marked_within(name, &mark, max_bytes)
}

/// `name` with ` (1)`, ` (2)`, ... before its extension; unchanged for 0. This is how other programs name a copy, so a
/// file that gets such a name is recognized by its bytes as a copy of `name`.
pub(crate) fn numbered_as_copy(name: &str, number: u32) -> String {
    let mark = if number == 0 { String::new() } else { format!(" ({number})") };
    marked_within(name, &mark, MAX_NAME_BYTES)
}

/// `name` with `mark` before its extension, at most `max_bytes` long.
fn marked_within(name: &str, mark: &str, max_bytes: usize) -> String {
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() && extension.len() < MAX_EXTENSION_BYTES => {
            (stem, format!(".{extension}"))
        }
        _ => (name, String::new()),
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
        assert_eq!(numbered("a.json", 0), "a.json");
        assert_eq!(numbered("a.b.json", 2), "a.b-2.json");
        assert_eq!(numbered(".hidden", 1), ".hidden-1");
        assert_eq!(numbered("plain", 1), "plain-1");
        assert_eq!([0, 2].map(|number| numbered_as_copy("a.json", number)), ["a.json", "a (2).json"]);
    }

    #[test]
    fn long_name_is_cut_before_the_number() {
        assert_eq!(numbered_within("sakura.json", 0, 9), "saku.json");
        assert_eq!(numbered_within("sakura.json", 12, 9), "s-12.json");
        assert_eq!(numbered_within("樱花.json", 0, 9), "樱.json");
        assert_eq!(numbered(&format!("{}.json", "x".repeat(250)), 1).len(), MAX_NAME_BYTES);
    }
}
