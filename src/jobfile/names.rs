//! Rules about the names of job files: which files are job files, their form, and the default names of their jobs.

use crate::jobfile::Form;

/// Longest default name, in characters, leaving room for the number of a further object.
const STEM_CHARS: usize = 180;

/// The name of the file whose values are defaults for the job files of its folder and below.
pub const DEFAULTS_NAME: &str = "defaults.json";

/// The ending of lists of prompts.
const PROMPTS_ENDING: &str = ".prompts.txt";

impl Form {
    /// The form by the file name's ending, in any case; `None` for other files.
    pub fn of_name(path: &str) -> Option<Self> {
        let (_, ending) = split_ending(split_path(path).1);
        match ending.to_ascii_lowercase().as_str() {
            ".json" => Some(Self::Document),
            ".jsonl" | ".ndjson" => Some(Self::Lines),
            ".csv" => Some(Self::Csv),
            PROMPTS_ENDING => Some(Self::Prompts),
            _ => None,
        }
    }

    /// Its media type in requests.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Document => "application/json",
            Self::Lines => "application/x-ndjson",
            Self::Csv => "text/csv",
            Self::Prompts => "text/x-prompts",
        }
    }

    /// The form of a media type.
    pub fn of_media_type(media_type: &str) -> Option<Self> {
        [Self::Document, Self::Lines, Self::Csv, Self::Prompts]
            .into_iter()
            .find(|form| form.media_type() == media_type)
    }
}

/// Whether the name marks unfinished writing: begins with `.`, or ends in `.tmp`, `.part` or `~`.
pub fn is_unfinished(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    lower.starts_with('.') || [".tmp", ".part", "~"].iter().any(|ending| lower.ends_with(ending))
}

/// Whether a file of this name or path in the inbox is a job file (docs/reference.md#folders).
pub fn is_job_file_name(path: &str) -> bool {
    let name = split_path(path).1;
    !is_unfinished(name) && !is_defaults_name(name) && Form::of_name(name).is_some()
}

/// Whether a file of this name or path is the `defaults.json` of its folder, in any case of letters.
pub fn is_defaults_name(path: &str) -> bool {
    split_path(path).1.eq_ignore_ascii_case(DEFAULTS_NAME)
}

/// The name without its folders and its ending: the default name of the file's jobs.
pub fn stem(path: &str) -> &str {
    split_ending(split_path(path).1).0
}

/// The name without its ending, and the ending with its dot.
pub(super) fn split_ending(name: &str) -> (&str, &str) {
    let prompts = name
        .len()
        .checked_sub(PROMPTS_ENDING.len())
        .filter(|at| name.get(*at..).is_some_and(|ending| ending.eq_ignore_ascii_case(PROMPTS_ENDING)));
    prompts.or_else(|| name.rfind('.')).map_or((name, ""), |at| name.split_at(at))
}

/// The path of a file below the inbox as the path of its folder, empty for the inbox itself, and its name.
pub fn split_path(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// The default name of the `ordinal`th object (from 1) of a file: the stem, with `-2`, `-3`, ... from the second on.
/// Characters that a job's name may not have are replaced.
pub(crate) fn default_name(stem: &str, ordinal: u64) -> String {
    let clean: String = stem.chars().take(STEM_CHARS).map(|c| if c.is_control() { '_' } else { c }).collect();
    let clean = if clean.trim().is_empty() { "job" } else { &clean };
    if ordinal <= 1 { clean.to_owned() } else { format!("{clean}-{ordinal}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_files_are_recognised_by_their_ending() {
        let cases = [
            ("a.json", Some(Form::Document), true),
            ("A.JSON", Some(Form::Document), true),
            ("春天.ndjson", Some(Form::Lines), true),
            ("a.b.jsonl", Some(Form::Lines), true),
            ("a.json.tmp", None, false),
            ("a.json.part", None, false),
            ("a.json~", None, false),
            ("a.TMP", None, false),
            (".json", Some(Form::Document), false),
            (".a.jsonl", Some(Form::Lines), false),
            ("json", None, false),
            ("a.json5", None, false),
            ("a.reason.json", Some(Form::Document), true),
            ("a.CSV", Some(Form::Csv), true),
            ("a.Prompts.txt", Some(Form::Prompts), true),
            ("prompts.txt", None, false),
            ("a.txt", None, false),
            ("spring/defaults.json", Some(Form::Document), false),
            ("Defaults.JSON", Some(Form::Document), false),
            ("", None, false),
        ];
        for (name, form, job) in cases {
            assert_eq!(Form::of_name(name), form, "{name}");
            assert_eq!(is_job_file_name(name), job, "{name}");
        }
    }

    #[test]
    fn default_names_are_the_stem_with_a_number() {
        assert_eq!(stem("a.b.jsonl"), "a.b");
        assert_eq!(stem("a.b.prompts.txt"), "a.b");
        assert_eq!(stem("plain"), "plain");
        assert_eq!(stem("v1.0/shot"), "shot");
        assert_eq!(split_path("a/b/c.json"), ("a/b", "c.json"));
        assert_eq!(default_name("sakura", 1), "sakura");
        assert_eq!(default_name("sakura", 2), "sakura-2");
        assert_eq!(default_name("a\nb\u{1b}[2J", 1), "a_b_[2J");
        assert_eq!(default_name(" ", 3), "job-3");
        assert_eq!(default_name(&"春".repeat(300), 9), format!("{}-9", "春".repeat(180)));
    }
}
