//! Search by words: each must be in a field of the job, in any case, as a part of a word; one after `-` must be in none.
//!
//! It runs as a function of SQL, so that lists, exports and the grid of videos search alike. No index finds parts of
//! words of one character, as in Chinese; so the fields of each job are read, in the order of the list.

use std::cell::OnceCell;

use crate::job::Labels;

/// The function of SQL. Its arguments are the words, the texts, and the labels, a JSON object.
pub(super) const FUNCTION: &str = "has_words";
pub(super) const TEXTS: usize = 6;

/// The condition that a row of `jobs`, with its row of `requests`, has the words of a parameter.
pub(super) const HAS_WORDS: &str =
    "has_words(?, jobs.name, jobs.model, jobs.id, jobs.task_id, requests.prompt,
    (SELECT file_name FROM batches WHERE batches.nr = jobs.batch), requests.labels)";

/// The words of a query.
#[derive(Debug)]
pub(super) struct Words(Vec<Word>);

#[derive(Debug)]
struct Word {
    /// In lower case.
    text: String,
    /// Whether it has letters with a case beyond ASCII.
    is_unicode: bool,
    is_excluded: bool,
}

impl Words {
    pub fn new(query: &str) -> Self {
        Self(query.split_whitespace().map(Word::new).collect())
    }

    /// `labels` is a JSON object of texts.
    pub fn match_fields(&self, texts: &[&str], labels: &str) -> bool {
        let fields = Fields::new(texts);
        self.0.iter().all(|word| (fields.have(word) || have_labels(labels, word)) != word.is_excluded)
    }
}

/// The fields in one text, so that most words are found by one fast search. No word spans two of them: it has no line break.
struct Fields {
    /// Letters of ASCII are in lower case.
    text: String,
    /// All letters are; made when a word needs it.
    lower: OnceCell<String>,
}

impl Fields {
    fn new(texts: &[&str]) -> Self {
        let mut text = String::with_capacity(texts.iter().map(|text| text.len() + 1).sum());
        for one in texts {
            text.push_str(one);
            text.push('\n');
        }
        text.make_ascii_lowercase();
        Self { text, lower: OnceCell::new() }
    }

    fn have(&self, word: &Word) -> bool {
        if !word.is_unicode {
            return self.text.contains(&word.text);
        }
        !self.text.is_ascii() && self.lower.get_or_init(|| self.text.to_lowercase()).contains(&word.text)
    }
}

/// Whether a label has the word, as it is written: `KEY=VALUE`.
fn have_labels(labels: &str, word: &Word) -> bool {
    // Most jobs have none with it. The JSON has whatever the labels have, but for escapes.
    let piece = word.text.split('=').max_by_key(|piece| piece.len()).unwrap_or("");
    let may_be_escaped = word.text.contains(['"', '\\']) || word.text.contains(char::is_control);
    if labels == "{}" || !(may_be_escaped || labels.to_lowercase().contains(piece)) {
        return false;
    }
    let labels: Labels = serde_json::from_str(labels).unwrap_or_default();
    labels.iter().any(|(key, value)| format!("{key}={value}").to_lowercase().contains(&word.text))
}

impl Word {
    fn new(word: &str) -> Self {
        // A single `-` is a word like others.
        let excluded = word.strip_prefix('-').filter(|rest| !rest.is_empty());
        let text = excluded.unwrap_or(word).to_lowercase();
        Self {
            is_unicode: text.chars().any(|c| !c.is_ascii() && has_case(c)),
            is_excluded: excluded.is_some(),
            text,
        }
    }
}

fn has_case(c: char) -> bool {
    c.is_lowercase() || c.is_uppercase() || c.to_uppercase().ne([c])
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
            "=spring",
            "project=SPRING",
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
