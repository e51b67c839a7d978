//! Names in the library: the layout template, and any text made one safe part of a path.

use std::collections::BTreeMap;

use thiserror::Error;

/// The longest part of a path made from a text, in bytes: room is left for a number and endings.
const PART_BYTES: usize = 180;

/// The longest part of a path before its number, whichever output it is for: were only the numbered ones shortened,
/// the first output of a long name ending in `-2` and the second of the same job would be one file.
const STEM_BYTES: usize = PART_BYTES - 8;

/// A template for paths below the library, such as `{date}/{name}.{ext}` (docs/reference.md#configuration).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The parts of the path, each a row of pieces.
    parts: Vec<Vec<Piece>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Date,
    Name,
    Id,
    Model,
    Number,
    Extension,
    Label(String),
}

/// What a layout is filled in with.
#[derive(Clone, Debug)]
pub struct NameFacts<'a> {
    /// `{date}`: `YYYY-MM-DD`.
    pub date: &'a str,
    /// `{name}`
    pub name: &'a str,
    /// `{id}`
    pub id: &'a str,
    /// `{model}`
    pub model: &'a str,
    /// `{n}`: which output of the job, from 1.
    pub number: usize,
    /// `{ext}`, without a dot.
    pub extension: &'a str,
    /// `{label.KEY}`
    pub labels: &'a BTreeMap<String, String>,
}

/// Why a layout cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LayoutError {
    /// An unknown word in braces.
    #[error(
        "library.layout: `{{{found}}}` is not known; did you mean `{{{nearest}}}`? Known are {{date}} {{name}} {{id}} {{model}} {{n}} {{ext}} {{label.KEY}}"
    )]
    Unknown {
        /// The word.
        found: String,
        /// The nearest known one.
        nearest: &'static str,
    },
    /// A brace without its partner.
    #[error("library.layout: a `{{` is never closed")]
    Unclosed,
    /// Not a path below the library.
    #[error("library.layout: it must be a relative path without empty parts or `..`")]
    NotBelow,
    /// The endings of files would be lost.
    #[error("library.layout: it must end in `.{{ext}}`")]
    NoExtension,
}

impl Layout {
    /// Reads a template.
    ///
    /// # Errors
    /// See [`LayoutError`].
    pub fn parse(template: &str) -> Result<Self, LayoutError> {
        if !template.ends_with(".{ext}") {
            return Err(LayoutError::NoExtension);
        }
        let parts = template.split('/').map(parse_part).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { parts })
    }

    /// The path for these facts: relative, below the library whatever the facts are. Without `{n}` in the template,
    /// the second and further outputs of a job get `-2`, `-3`, ...; so do all of them where a name is so long that
    /// its number would be cut away.
    pub fn path(&self, facts: &NameFacts<'_>) -> String {
        let last = self.parts.len() - 1;
        let mut stems = Vec::with_capacity(self.parts.len());
        let (mut numbered, mut cut) = (false, false);
        for (place, pieces) in self.parts.iter().enumerate() {
            // The last part ends in a dot and the ending, which are put on after the cut.
            let pieces = if place == last { &pieces[..pieces.len() - 2] } else { &pieces[..] };
            let text: String = pieces.iter().map(|piece| piece.text(facts)).collect();
            if pieces.contains(&Piece::Number) {
                numbered = true;
                cut |= text.len() >= STEM_BYTES;
            }
            stems.push(safe_within(&text, STEM_BYTES));
        }
        let wanted = cut || (!numbered && facts.number > 1);
        let number = if wanted { format!("-{}", facts.number) } else { String::new() };
        format!("{}{number}.{}", stems.join("/"), safe_part(facts.extension))
    }
}

fn parse_part(part: &str) -> Result<Vec<Piece>, LayoutError> {
    if part.is_empty() || part == "." || part == ".." {
        return Err(LayoutError::NotBelow);
    }
    let mut pieces = Vec::new();
    let mut rest = part;
    while let Some((text, after)) = rest.split_once('{') {
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        let (word, after) = after.split_once('}').ok_or(LayoutError::Unclosed)?;
        if word.contains('{') {
            return Err(LayoutError::Unclosed);
        }
        pieces.push(Piece::parse(word)?);
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    // `name.{ext}`: the dot is a text of its own, so that the ending can be told from the rest.
    if let [.., Piece::Text(text), Piece::Extension] = pieces.as_mut_slice()
        && let Some(before) = text.strip_suffix('.').map(str::to_owned)
        && !before.is_empty()
    {
        let at = pieces.len() - 2;
        pieces[at] = Piece::Text(before);
        pieces.insert(at + 1, Piece::Text(".".into()));
    }
    Ok(pieces)
}

impl Piece {
    fn parse(word: &str) -> Result<Self, LayoutError> {
        Ok(match word {
            "date" => Self::Date,
            "name" => Self::Name,
            "id" => Self::Id,
            "model" => Self::Model,
            "n" => Self::Number,
            "ext" => Self::Extension,
            _ => match word.strip_prefix("label.").filter(|key| !key.is_empty()) {
                Some(key) => Self::Label(key.to_owned()),
                None => {
                    let known = ["date", "name", "id", "model", "n", "ext", "label.KEY"];
                    let nearest =
                        known.into_iter().min_by_key(|known| strsim::damerau_levenshtein(known, word));
                    let nearest = nearest.unwrap_or("name");
                    return Err(LayoutError::Unknown { found: word.to_owned(), nearest });
                }
            },
        })
    }

    /// A value never adds a part to the path: its separators are replaced before it is put in.
    fn text(&self, facts: &NameFacts<'_>) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Date => facts.date.to_owned(),
            Self::Name => safe_part(facts.name),
            Self::Id => facts.id.to_owned(),
            Self::Model => safe_part(facts.model),
            Self::Number => facts.number.to_string(),
            Self::Extension => safe_part(facts.extension),
            Self::Label(key) => {
                facts.labels.get(key).map_or_else(|| "_".to_owned(), |value| safe_part(value))
            }
        }
    }
}

/// Any text as one part of a path that is safe on every system: no separators, no control or direction marks, no
/// leading dot or dash, no trailing dot or space, no name that Windows keeps for devices, at most 180 bytes.
pub fn safe_part(text: &str) -> String {
    safe_within(text, PART_BYTES)
}

/// [`safe_part`], of at most `most` bytes.
fn safe_within(text: &str, most: usize) -> String {
    let replaced: String = text.chars().map(|c| if is_unsafe(c) { '_' } else { c }).collect();
    let trimmed = replaced.trim_start_matches(['.', '-', ' ']);
    let stem = trimmed.split('.').next().unwrap_or(trimmed);
    let before = if is_device(stem) { "_" } else { "" };
    let mut end = trimmed.len().min(most.saturating_sub(before.len()));
    while !trimmed.is_char_boundary(end) {
        end -= 1;
    }
    let cut = trimmed[..end].trim_end_matches(['.', ' ']);
    if cut.is_empty() { "_".to_owned() } else { format!("{before}{cut}") }
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|')
        // Marks that turn the direction of text or have no width: names that look like others.
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}' | '\u{2028}' | '\u{2029}')
}

fn is_device(stem: &str) -> bool {
    let upper = stem.trim_end().to_ascii_uppercase();
    let numbered = |prefix: &str| {
        upper
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.len() == 1 && rest.bytes().all(|b| b.is_ascii_digit()))
    };
    matches!(upper.as_str(), "CON" | "PRN" | "AUX" | "NUL") || numbered("COM") || numbered("LPT")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn facts<'a>(name: &'a str, labels: &'a BTreeMap<String, String>) -> NameFacts<'a> {
        NameFacts {
            date: "2026-04-04",
            name,
            id: "id-1",
            model: "wan2.5-t2v",
            number: 1,
            extension: "mp4",
            labels,
        }
    }

    #[test]
    fn a_layout_is_filled_in() {
        let labels = [("project".to_owned(), "春/天".to_owned())].into();
        let path = |template: &str, number| {
            Layout::parse(template).unwrap().path(&NameFacts { number, ..facts("sakura", &labels) })
        };
        assert_eq!(path("{date}/{name}.{ext}", 1), "2026-04-04/sakura.mp4");
        assert_eq!(path("{date}/{name}.{ext}", 2), "2026-04-04/sakura-2.mp4");
        assert_eq!(path("{name}_{n}.{ext}", 2), "sakura_2.mp4");
        assert_eq!(path("{label.project}/{model}/clip {id}.{ext}", 1), "春_天/wan2.5-t2v/clip id-1.mp4");
        assert_eq!(path("{label.none}/clip.{ext}", 1), "_/clip.mp4");
    }

    #[test]
    fn each_output_of_a_job_has_a_name_of_its_own_however_long_the_name_is() {
        let labels = BTreeMap::new();
        let long = [format!("{}-2{}", "a".repeat(178), "b".repeat(40)), format!("{}-2", "a".repeat(170))];
        for name in long {
            for template in ["{name}.{ext}", "{name}{n}.{ext}", "{name}{n}/clip.{ext}", "{n}{name}.{ext}"] {
                let layout = Layout::parse(template).unwrap();
                let path = |number| layout.path(&NameFacts { number, ..facts(&name, &labels) });
                let paths: std::collections::BTreeSet<String> = (1..=120).map(path).collect();
                assert_eq!(paths.len(), 120, "{template}");
            }
        }
    }

    #[test]
    fn bad_layouts_are_refused_with_the_nearest_word() {
        let refused = |template: &str| Layout::parse(template).unwrap_err();
        assert_eq!(
            refused("{dat}/{name}.{ext}"),
            LayoutError::Unknown { found: "dat".into(), nearest: "date" }
        );
        assert_eq!(refused("/{name}.{ext}"), LayoutError::NotBelow);
        assert_eq!(refused("../{name}.{ext}"), LayoutError::NotBelow);
        assert_eq!(refused("{name}"), LayoutError::NoExtension);
        assert_eq!(refused("{name/a.{ext}"), LayoutError::Unclosed);
        assert_eq!(refused("{label.{ext}"), LayoutError::Unclosed);
    }

    #[test]
    fn no_name_leaves_its_folder_or_means_something_else() {
        let cases = [
            ("../../etc/passwd", "_.._etc_passwd"),
            ("-rf", "rf"),
            (".hidden", "hidden"),
            ("CON", "_CON"),
            ("com1.txt", "_com1.txt"),
            ("trailing. .", "trailing"),
            ("a\u{202E}gpj", "a_gpj"),
            ("nul\0byte", "nul_byte"),
            ("", "_"),
            ("...", "_"),
            ("春天的樱花", "春天的樱花"),
        ];
        for (text, safe) in cases {
            assert_eq!(safe_part(text), safe, "{text:?}");
        }
        let long = safe_part(&"春".repeat(100));
        assert_eq!((long.len(), long.chars().count()), (180, 60));
    }

    #[test]
    fn a_long_name_keeps_the_number_of_a_further_output() {
        let (labels, long) = (BTreeMap::new(), "春".repeat(100));
        let path = |number| {
            Layout::parse("{name}.{ext}").unwrap().path(&NameFacts { number, ..facts(&long, &labels) })
        };
        assert_eq!(path(1), format!("{}.mp4", "春".repeat(57)));
        assert_eq!(path(12), format!("{}-12.mp4", "春".repeat(57)));
    }

    #[test]
    fn a_device_name_made_safe_is_no_longer_than_others() {
        assert_eq!(safe_part(&format!("con.{}", "x".repeat(300))), format!("_con.{}", "x".repeat(175)));
    }

    proptest! {
        #[test]
        fn every_name_stays_one_safe_part(text in "\\PC*|.*") {
            let safe = safe_part(&text);
            prop_assert!(!safe.is_empty() && safe.len() <= PART_BYTES);
            prop_assert!(!safe.contains(['/', '\\', '\0']) && !safe.starts_with('.') && !safe.ends_with('.'));
            let labels = BTreeMap::new();
            let path = Layout::parse("{name}/{name}.{ext}").unwrap().path(&facts(&text, &labels));
            prop_assert_eq!(path.split('/').count(), 2);
        }
    }
}
