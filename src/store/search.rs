//! Search by words: each must be in a field of the job, in any case, as a part of a word; one after `-` must be in none.
//!
//! It runs as a function of SQL, so that lists, exports and the grid of videos search alike. No index finds parts of
//! words of one character, as in Chinese; so the fields of each job are read, in the order of the list.

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::{FromSql, FromSqlResult, ValueRef};
use rusqlite::{Connection, Error};

use crate::job::Labels;

/// The words, then the fields; the labels, a JSON object, come last.
const FUNCTION: &str = "has_words";
const ARGUMENTS: usize = 8;

/// The condition that a row of `jobs`, with its row of `requests`, has the words of a parameter.
pub(super) const HAS_WORDS: &str =
    "has_words(?, jobs.name, jobs.model, jobs.id, jobs.task_id, requests.prompt,
    (SELECT file_name FROM batches WHERE batches.nr = jobs.batch), requests.labels)";

/// Adds the function of [`HAS_WORDS`] to a connection.
pub(super) fn add_function(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function(FUNCTION, ARGUMENTS as i32, flags, |context| has_words(context))
}

fn has_words(context: &Context<'_>) -> rusqlite::Result<bool> {
    let words = context.get_or_create_aux(0, Words::column_result)?;
    let mut texts = [""; ARGUMENTS - 2];
    for (at, text) in texts.iter_mut().enumerate() {
        *text = text_of(context.get_raw(at + 1))?;
    }
    let labels = text_of(context.get_raw(ARGUMENTS - 1))?;
    Ok(words.match_fields(&texts, labels))
}

fn text_of(value: ValueRef<'_>) -> rusqlite::Result<&str> {
    let text = value.as_str_or_null().map_err(|error| Error::UserFunctionError(Box::new(error)))?;
    Ok(text.unwrap_or(""))
}

/// The words of a query.
#[derive(Debug)]
struct Words(Vec<Word>);

#[derive(Debug)]
struct Word {
    /// In lower case.
    text: String,
    comparison: Comparison,
    is_excluded: bool,
}

/// How to find a word in any case: as fast as its letters allow.
#[derive(Debug)]
enum Comparison {
    /// It has no letter with a case.
    Exact,
    /// Its letters are those of ASCII.
    Ascii,
    /// It has others.
    Unicode,
}

impl FromSql for Words {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Ok(Self::new(value.as_str()?))
    }
}

impl Words {
    fn new(query: &str) -> Self {
        Self(query.split_whitespace().map(Word::new).collect())
    }

    /// `labels` is a JSON object of texts.
    fn match_fields(&self, texts: &[&str], labels: &str) -> bool {
        let mut pairs: Option<Vec<String>> = None;
        self.0.iter().all(|word| {
            let is_found = texts.iter().any(|text| word.is_in(text)) || {
                let pairs = pairs.get_or_insert_with(|| label_texts(labels));
                pairs.iter().any(|pair| word.is_in(pair))
            };
            is_found != word.is_excluded
        })
    }
}

/// Each label as it is written: `KEY=VALUE`.
fn label_texts(labels: &str) -> Vec<String> {
    // Most jobs have none.
    if labels == "{}" {
        return Vec::new();
    }
    let labels: Labels = serde_json::from_str(labels).unwrap_or_default();
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect()
}

impl Word {
    fn new(word: &str) -> Self {
        // A single `-` is a word like others.
        let excluded = word.strip_prefix('-').filter(|rest| !rest.is_empty());
        let text = excluded.unwrap_or(word).to_lowercase();
        let comparison = if text.chars().all(|c| !c.is_alphabetic() || !has_case(c)) {
            Comparison::Exact
        } else if text.is_ascii() {
            Comparison::Ascii
        } else {
            Comparison::Unicode
        };
        Self { text, comparison, is_excluded: excluded.is_some() }
    }

    fn is_in(&self, text: &str) -> bool {
        match self.comparison {
            Comparison::Exact => text.contains(&self.text),
            Comparison::Ascii => contains_ascii(text.as_bytes(), self.text.as_bytes()),
            Comparison::Unicode => text.to_lowercase().contains(&self.text),
        }
    }
}

fn has_case(c: char) -> bool {
    c.is_lowercase() || c.is_uppercase() || c.to_uppercase().ne([c])
}

/// Whether `text` has this part, in any case. `part` is in lower case and not empty.
fn contains_ascii(text: &[u8], part: &[u8]) -> bool {
    let first = part.first().copied().unwrap_or_default();
    let is_here =
        |window: &[u8]| window[0].to_ascii_lowercase() == first && window.eq_ignore_ascii_case(part);
    text.windows(part.len().max(1)).any(is_here)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: [&str; 3] = ["Sakura-2", "春天的樱花树下, petals in the Évening", "wan2.5-t2v"];
    const LABELS: &str = r#"{"project":"spring \"25\"","folder":"ads/May"}"#;

    fn matches(query: &str) -> bool {
        Words::new(query).match_fields(&FIELDS, LABELS)
    }

    #[test]
    fn every_word_is_found_as_a_part_in_any_case() {
        for query in [
            "",
            "  ",
            "sakura",
            "SAKURA-2",
            "kur",
            "花",
            "樱花 春天",
            "春天\u{3000}petals",
            "évening",
            "ÉVENING",
            "project=spring",
            "\"25\"",
            "folder=ads/may",
            "petals wan2.5 spring",
            "-",
        ] {
            assert!(matches(query), "{query}");
        }
        for query in ["sakuras", "花春", "sakura rain", "evening2", "project=summer", "桜"] {
            assert!(!matches(query), "{query}");
        }
    }

    #[test]
    fn word_after_a_dash_is_in_no_field() {
        for query in ["-rain", "sakura -rain", "-雨 花"] {
            assert!(matches(query), "{query}");
        }
        for query in ["-sakura", "sakura -SPRING", "花 -春", "--2 -kura", "-évening"] {
            assert!(!matches(query), "{query}");
        }
    }

    #[test]
    fn empty_fields_have_no_words() {
        assert!(!Words::new("a").match_fields(&["", ""], "{}"));
        assert!(Words::new("-a").match_fields(&["", ""], "{}"));
    }
}
