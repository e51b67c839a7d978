//! The template `library.layout`, which gives each output its path below the library.

use std::collections::BTreeMap;
use std::path::PathBuf;

use thiserror::Error;

use crate::library::safe_name::{MAX_BYTES as MAX_NAME_BYTES, safe_name, safe_name_within};

/// Longest component before its number, in bytes; 8 less than a safe name. It applies to the first output too: if only
/// numbered names were cut, the first output of a long name that ends in `-2` and the second output of another job
/// would share a path.
const MAX_STEM_BYTES: usize = 112;

/// The most digits of the number of an output.
const MAX_NUMBER_DIGITS: usize = usize::MAX.ilog10() as usize + 1;

/// The label whose slashes make folders: where in the inbox the job came from.
const FOLDER_LABEL: &str = "folder";
/// The most folders that it makes.
const MAX_FOLDERS: usize = 8;
/// The longest path that a layout may make, in bytes. An entry of an index of PostgreSQL holds 2,704, also of a path to which
/// an id and a number are added.
const MAX_PATH_BYTES: usize = 2_400;

const PLACEHOLDERS: [&str; 8] = ["date", "name", "id", "model", "n", "ext", "folder", "label.KEY"];

/// A template for paths below the library, such as `{date}/{name}.{ext}` (docs/reference.md#configuration).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    components: Vec<Vec<Segment>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Text(String),
    Date,
    Name,
    Id,
    Model,
    Number,
    Extension,
    /// The label `folder`, each of its parts a folder.
    Folder,
    Label(String),
}

/// Values for the placeholders of a layout.
#[derive(Clone, Debug)]
pub struct LayoutValues<'a> {
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
    /// A placeholder that does not exist.
    #[error(
        "`{{{found}}}` is not known; did you mean `{{{nearest}}}`? Known are {{date}} {{name}} {{id}} {{model}} {{n}} {{ext}} {{folder}} {{label.KEY}}"
    )]
    Unknown {
        /// The placeholder as written.
        found: String,
        /// The nearest valid one.
        nearest: &'static str,
    },
    /// A brace is not closed.
    #[error("a `{{` is not closed")]
    Unclosed,
    /// Not a path below the library.
    #[error("it must be a relative path without empty parts or `..`")]
    NotBelow,
    /// All files would be published in the inbox.
    #[error(
        "library.layout: it leads into the inbox at {}, which would read the sidecars as job files; change it or `inbox.dir`",
        .0.display()
    )]
    LeadsToInbox(PathBuf),
    /// Long values would make paths that cannot be stored.
    #[error(
        "with the longest values its paths have up to {0} bytes, and {MAX_PATH_BYTES} are allowed; use fewer folders"
    )]
    TooLong(usize),
    /// The files would have no extension.
    #[error("it must end in `.{{ext}}`")]
    NoExtension,
}

impl Layout {
    /// Parses a template.
    ///
    /// # Errors
    /// See [`LayoutError`].
    pub fn parse(template: &str) -> Result<Self, LayoutError> {
        if !template.ends_with(".{ext}") {
            return Err(LayoutError::NoExtension);
        }
        let components = template.split('/').map(parse_component).collect::<Result<Vec<_>, _>>()?;
        let layout = Self { components };
        let longest = layout.longest_path();
        if longest > MAX_PATH_BYTES { Err(LayoutError::TooLong(longest)) } else { Ok(layout) }
    }

    /// No path is longer, in bytes, whatever the values are.
    fn longest_path(&self) -> usize {
        let folders = self.components.iter().flatten().filter(|segment| **segment == Segment::Folder).count();
        // A folder label adds its own number of components to the one it is in, less one.
        let components = self.components.len() + folders * (MAX_FOLDERS - 1);
        components * (MAX_STEM_BYTES + "/".len()) + "-".len() + MAX_NUMBER_DIGITS + MAX_NAME_BYTES
    }

    /// The folders at the beginning of every path, as far as no placeholder decides them; `None` without any.
    pub(super) fn fixed_folder(&self) -> Option<String> {
        let (_, folders) = self.components.split_last()?;
        let fixed = folders.iter().map_while(|segments| match &segments[..] {
            [Segment::Text(text)] => Some(safe_name_within(text, MAX_STEM_BYTES)),
            _ => None,
        });
        let fixed: Vec<String> = fixed.collect();
        (!fixed.is_empty()).then(|| fixed.join("/"))
    }

    /// The path for these values: relative and below the library, whatever the values are. Without `{n}` in the
    /// template, the second and later outputs of a job get `-2`, `-3`, ...; so do all outputs if the name is so long
    /// that its number would be cut off.
    pub fn path(&self, values: &LayoutValues<'_>) -> String {
        let last = self.components.len() - 1;
        let mut stems = Vec::with_capacity(self.components.len());
        let (mut has_number, mut number_is_cut) = (false, false);
        for (place, segments) in self.components.iter().enumerate() {
            // The last component ends in a dot and the extension, which are appended after the cut.
            let segments = if place == last { &segments[..segments.len() - 2] } else { &segments[..] };
            let text: String = segments.iter().map(|segment| segment.text(values)).collect();
            if segments.contains(&Segment::Number) {
                has_number = true;
                number_is_cut |= text.len() >= MAX_STEM_BYTES;
            }
            if segments.contains(&Segment::Folder) {
                // Only here a value may hold separators. Without the label there is no folder.
                let parts = text.split('/').filter(|part| !part.is_empty());
                stems.extend(parts.map(|part| safe_name_within(part, MAX_STEM_BYTES)));
                if place == last && text.trim_end_matches('/').is_empty() {
                    stems.push(safe_name(""));
                }
            } else {
                stems.push(safe_name_within(&text, MAX_STEM_BYTES));
            }
        }
        let needs_number = number_is_cut || (!has_number && values.number > 1);
        let number = if needs_number { format!("-{}", values.number) } else { String::new() };
        format!("{}{number}.{}", stems.join("/"), safe_name(values.extension))
    }
}

fn parse_component(component: &str) -> Result<Vec<Segment>, LayoutError> {
    if component.is_empty() || component == "." || component == ".." {
        return Err(LayoutError::NotBelow);
    }
    let mut segments = Vec::new();
    let mut rest = component;
    while let Some((text, after)) = rest.split_once('{') {
        if !text.is_empty() {
            segments.push(Segment::Text(text.to_owned()));
        }
        let (word, after) = after.split_once('}').ok_or(LayoutError::Unclosed)?;
        if word.contains('{') {
            return Err(LayoutError::Unclosed);
        }
        segments.push(Segment::parse(word)?);
        rest = after;
    }
    if !rest.is_empty() {
        segments.push(Segment::Text(rest.to_owned()));
    }
    // Make the dot of `name.{ext}` a segment of its own, so that `path` can leave out the last two.
    if let [.., Segment::Text(text), Segment::Extension] = segments.as_mut_slice()
        && let Some(before) = text.strip_suffix('.').map(str::to_owned)
        && !before.is_empty()
    {
        let at = segments.len() - 2;
        segments[at] = Segment::Text(before);
        segments.insert(at + 1, Segment::Text(".".into()));
    }
    Ok(segments)
}

impl Segment {
    fn parse(word: &str) -> Result<Self, LayoutError> {
        Ok(match word {
            "date" => Self::Date,
            "name" => Self::Name,
            "id" => Self::Id,
            "model" => Self::Model,
            "n" => Self::Number,
            "ext" => Self::Extension,
            "folder" => Self::Folder,
            _ => match word.strip_prefix("label.").filter(|key| !key.is_empty()) {
                Some(key) => Self::Label(key.to_owned()),
                None => {
                    let distance = |known: &&str| strsim::damerau_levenshtein(known, word);
                    let nearest = PLACEHOLDERS.into_iter().min_by_key(distance).unwrap_or("name");
                    return Err(LayoutError::Unknown { found: word.to_owned(), nearest });
                }
            },
        })
    }

    /// The text of the segment. Separators in a value are replaced here, so that it cannot add a path component; but for the
    /// folder, whose number of components is limited.
    fn text(&self, values: &LayoutValues<'_>) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Date => values.date.to_owned(),
            Self::Name => safe_name(values.name),
            Self::Id => values.id.to_owned(),
            Self::Model => safe_name(values.model),
            Self::Number => values.number.to_string(),
            Self::Extension => safe_name(values.extension),
            Self::Folder => {
                let label = values.labels.get(FOLDER_LABEL).map_or("", String::as_str);
                let parts = label.split('/').filter(|part| !part.is_empty()).take(MAX_FOLDERS);
                parts.map(safe_name).collect::<Vec<_>>().join("/")
            }
            Self::Label(key) => {
                values.labels.get(key).map_or_else(|| "_".to_owned(), |value| safe_name(value))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values<'a>(name: &'a str, labels: &'a BTreeMap<String, String>) -> LayoutValues<'a> {
        LayoutValues {
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
    fn placeholders_are_replaced_by_values() {
        let labels = [("project".to_owned(), "春/天".to_owned())].into();
        let path = |template: &str, number| {
            Layout::parse(template).unwrap().path(&LayoutValues { number, ..values("sakura", &labels) })
        };
        assert_eq!(path("{date}/{name}.{ext}", 1), "2026-04-04/sakura.mp4");
        assert_eq!(path("{date}/{name}.{ext}", 2), "2026-04-04/sakura-2.mp4");
        assert_eq!(path("{name}_{n}.{ext}", 2), "sakura_2.mp4");
        assert_eq!(path("{label.project}/{model}/clip {id}.{ext}", 1), "春_天/wan2.5-t2v/clip id-1.mp4");
        assert_eq!(path("{label.none}/clip.{ext}", 1), "_/clip.mp4");
    }

    #[test]
    fn folder_label_makes_folders_each_of_them_safe() {
        let cases = [
            ("spring/day 1", "{folder}/{name}.{ext}", "spring/day 1/sakura.mp4"),
            ("", "{folder}/{name}.{ext}", "sakura.mp4"),
            ("../../etc//x/", "{folder}/{name}.{ext}", "_/_/etc/x/sakura.mp4"),
            ("a/b", "{date} {folder}/{name}.{ext}", "2026-04-04 a/b/sakura.mp4"),
            ("a/b", "{folder}.{ext}", "a/b.mp4"),
            ("", "{folder}.{ext}", "_.mp4"),
            ("1/2/3/4/5/6/7/8/9", "{folder}/{n}.{ext}", "1/2/3/4/5/6/7/8/1.mp4"),
            ("a/b", "{label.folder}/{name}.{ext}", "a_b/sakura.mp4"),
        ];
        for (label, template, expected) in cases {
            let labels = [("folder".to_owned(), label.to_owned())].into();
            assert_eq!(Layout::parse(template).unwrap().path(&values("sakura", &labels)), expected);
        }
    }

    #[test]
    fn outputs_of_a_job_have_distinct_paths_even_if_its_name_is_cut() {
        let labels = BTreeMap::new();
        let long = [format!("{}-2{}", "a".repeat(118), "b".repeat(40)), format!("{}-2", "a".repeat(110))];
        for name in long {
            for template in ["{name}.{ext}", "{name}{n}.{ext}", "{name}{n}/clip.{ext}", "{n}{name}.{ext}"] {
                let layout = Layout::parse(template).unwrap();
                let path = |number| layout.path(&LayoutValues { number, ..values(&name, &labels) });
                let paths: std::collections::BTreeSet<String> = (1..=120).map(path).collect();
                assert_eq!(paths.len(), 120, "{template}");
            }
        }
    }

    #[test]
    fn invalid_layout_is_rejected_with_the_nearest_placeholder() {
        let rejected = |template: &str| Layout::parse(template).unwrap_err();
        assert_eq!(
            rejected("{dat}/{name}.{ext}"),
            LayoutError::Unknown { found: "dat".into(), nearest: "date" }
        );
        assert_eq!(rejected("/{name}.{ext}"), LayoutError::NotBelow);
        assert_eq!(rejected("../{name}.{ext}"), LayoutError::NotBelow);
        assert_eq!(rejected("{name}"), LayoutError::NoExtension);
        assert_eq!(rejected("{name/a.{ext}"), LayoutError::Unclosed);
        assert_eq!(rejected("{label.{ext}"), LayoutError::Unclosed);
        assert!(matches!(rejected("{folder}/{folder}/{folder}.{ext}"), LayoutError::TooLong(_)));
        assert!(matches!(rejected(&("a/".repeat(20) + "{name}.{ext}")), LayoutError::TooLong(_)));
    }

    #[test]
    fn long_name_is_cut_before_the_number() {
        let (labels, long) = (BTreeMap::new(), "春".repeat(100));
        let path = |number| {
            Layout::parse("{name}.{ext}").unwrap().path(&LayoutValues { number, ..values(&long, &labels) })
        };
        assert_eq!(path(1), format!("{}.mp4", "春".repeat(37)));
        assert_eq!(path(12), format!("{}-12.mp4", "春".repeat(37)));
    }

    #[test]
    fn no_path_is_longer_than_its_layout_says() {
        let long = "n".repeat(200);
        let label = [long.as_str(); 20].join("/");
        let labels = [("folder".to_owned(), label)].into();
        for (template, is_reached) in [
            ("{name}.{ext}", true),
            ("{folder}/{name}.{ext}", true),
            ("{folder}{folder}/{n}.{ext}", false),
            ("{name}{folder}{n}.{ext}", true),
        ] {
            let layout = Layout::parse(template).unwrap();
            let (number, extension) = (usize::MAX, long.as_str());
            let path = layout.path(&LayoutValues { number, extension, ..values(&long, &labels) });
            assert!(path.len() <= layout.longest_path(), "{template}");
            assert_eq!(path.len() == layout.longest_path(), is_reached, "{template}");
        }
    }

    proptest! {
        #[test]
        fn no_name_adds_a_path_component(text in "\\PC*|.*") {
            let labels = BTreeMap::new();
            let path = Layout::parse("{name}/{name}.{ext}").unwrap().path(&values(&text, &labels));
            prop_assert_eq!(path.split('/').count(), 2);
        }
    }
}
