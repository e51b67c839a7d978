//! Rows of a CSV file (RFC 4180) as objects: a column is a root key, `dropreel.KEY`, `dropreel.labels.KEY` or
//! `dropreel.matrix.KEY`, and an empty cell an absent key.

use std::collections::BTreeSet;

use csv::{ReaderBuilder, StringRecord};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::jobfile::dropreel_member::{self, DROPREEL_KEY};
use crate::jobfile::field::{FIELDS, FieldType};
use crate::jobfile::findings::{below, quoted};

const SEPARATORS: [u8; 3] = [b',', b';', b'\t'];

/// Where the reading of a record is: a line break inside quotes does not end it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QuoteState {
    #[default]
    FieldStart,
    Unquoted,
    Quoted,
    /// A quote inside quotes: the end of them, or the first of two.
    AfterQuote,
}

impl QuoteState {
    fn after(self, byte: u8, separators: &[u8]) -> Self {
        let ends_field = separators.contains(&byte) || matches!(byte, b'\r' | b'\n');
        match (self, byte) {
            (Self::Quoted, b'"') => Self::AfterQuote,
            (Self::Quoted, _) => Self::Quoted,
            (Self::FieldStart | Self::AfterQuote, b'"') => Self::Quoted,
            _ if ends_field => Self::FieldStart,
            _ => Self::Unquoted,
        }
    }
}

/// A problem of a row: the pointer of its column, and the message.
pub type RowProblem = (String, String);

/// The header of a file.
#[derive(Debug)]
pub struct Header {
    separator: u8,
    columns: Vec<Column>,
}

#[derive(Debug)]
struct Column {
    place: Place,
    cell: CellType,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Unnamed,
    Root(String),
    Dropreel(String),
    /// In an object of `dropreel`: `labels` or `matrix`.
    Inner(&'static str, String),
}

/// How the text of a cell becomes JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CellType {
    Text,
    /// Text without the blanks around it.
    Word,
    Number,
    Flag,
    /// An array, or words between white space.
    List,
    Object,
    Array,
    /// A JSON number, boolean, array or object is that; anything else is text.
    Any,
}

impl Header {
    /// Whether the line break after these bytes belongs to a quoted cell; `None`: of the header itself.
    pub fn continues(header: Option<&Self>, state: QuoteState, bytes: &[u8]) -> (bool, QuoteState) {
        let separators = header.map_or(&SEPARATORS[..], |header| std::slice::from_ref(&header.separator));
        let state = bytes.iter().fold(state, |state, byte| state.after(*byte, separators));
        (state == QuoteState::Quoted, state.after(b'\n', separators))
    }

    /// Reads the header row, with the separator that a line above it has declared.
    ///
    /// # Errors
    /// Its problems, one for each column.
    pub fn read(text: &str, declared: Option<u8>) -> Result<Self, Vec<RowProblem>> {
        let separator = declared.unwrap_or_else(|| find_separator(text));
        let names = parse(text, separator).map_err(|message| vec![(String::new(), message)])?;
        let mut problems = Vec::new();
        let mut columns = Vec::new();
        let mut seen = BTreeSet::new();
        for name in &names {
            match Column::named(name.trim()) {
                Ok(column) => {
                    if column.place != Place::Unnamed && !seen.insert(column.place.clone()) {
                        problems
                            .push((column.pointer(), format!("the column {} is there twice", quoted(name))));
                    }
                    columns.push(column);
                }
                Err(problem) => problems.push(problem),
            }
        }
        for column in &columns {
            // The object in one column, its keys in others.
            if let Some(whole) = column.place.outer().filter(|whole| seen.contains(whole)) {
                let message = format!("there is a column for `{}` too: keep one of both", whole.name());
                problems.push((column.pointer(), message));
            }
        }
        if problems.is_empty() { Ok(Self { separator, columns }) } else { Err(problems) }
    }

    /// The object of a row as JSON text; `None` for a row of empty cells.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn object(&self, text: &str) -> Result<Option<String>, RowProblem> {
        let row = parse(text, self.separator).map_err(|message| (String::new(), message))?;
        if row.iter().all(|cell| cell.trim().is_empty()) {
            return Ok(None);
        }
        if row.len() != self.columns.len() {
            let message = format!(
                "the row has {} cells and the header {}: a text with a separator, a quote or a line break must be in quotes",
                row.len(),
                self.columns.len()
            );
            return Err((String::new(), message));
        }
        let (mut root, mut dropreel) = (Members::default(), Members::default());
        let (mut labels, mut matrix) = (Members::default(), Members::default());
        for (number, (column, cell)) in self.columns.iter().zip(&row).enumerate() {
            if cell.trim().is_empty() {
                continue;
            }
            let value = column.cell.json(cell);
            match &column.place {
                Place::Unnamed => {
                    return Err((
                        String::new(),
                        format!("column {} has a value and no name in the header", number + 1),
                    ));
                }
                Place::Root(key) => root.push(key, &value),
                Place::Dropreel(key) => dropreel.push(key, &value),
                Place::Inner("labels", key) => labels.push(key, &value),
                Place::Inner(_, key) => matrix.push(key, &value),
            }
        }
        for (key, inner) in [("labels", labels), ("matrix", matrix)] {
            inner.into_object().into_iter().for_each(|object| dropreel.push(key, &object));
        }
        dropreel.into_object().into_iter().for_each(|object| root.push(DROPREEL_KEY, &object));
        Ok(Some(root.into_object().unwrap_or_else(|| "{}".to_owned())))
    }
}

impl Column {
    fn named(name: &str) -> Result<Self, RowProblem> {
        if name.is_empty() {
            return Ok(Self { place: Place::Unnamed, cell: CellType::Text });
        }
        let Some(own) = name.strip_prefix("dropreel.") else {
            return Ok(Self { place: Place::Root(name.to_owned()), cell: CellType::of_root_key(name) });
        };
        let (place, cell) = match own.split_once('.') {
            Some(("labels", key)) if !key.is_empty() => {
                (Place::Inner("labels", key.to_owned()), CellType::Text)
            }
            Some(("matrix", key)) if !key.is_empty() => {
                (Place::Inner("matrix", key.to_owned()), CellType::Array)
            }
            _ => {
                if let Some(message) = dropreel_member::unknown_key(own) {
                    return Err((below("/dropreel", own), message));
                }
                let cell = match own {
                    "priority" | "max_cost_usd" | "repeat" => CellType::Number,
                    "again" => CellType::Flag,
                    "labels" | "matrix" => CellType::Object,
                    _ => CellType::Word,
                };
                (Place::Dropreel(own.to_owned()), cell)
            }
        };
        Ok(Self { place, cell })
    }

    fn pointer(&self) -> String {
        match &self.place {
            Place::Unnamed => String::new(),
            Place::Root(key) => below("", key),
            Place::Dropreel(key) => below("/dropreel", key),
            Place::Inner(outer, key) => below(&format!("/dropreel/{outer}"), key),
        }
    }
}

impl Place {
    /// The place of the object that this one is in.
    fn outer(&self) -> Option<Self> {
        match self {
            Self::Unnamed | Self::Root(_) => None,
            Self::Dropreel(_) => Some(Self::Root(DROPREEL_KEY.to_owned())),
            Self::Inner(outer, _) => Some(Self::Dropreel((*outer).to_owned())),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Unnamed => String::new(),
            Self::Root(key) => key.clone(),
            Self::Dropreel(key) => format!("dropreel.{key}"),
            Self::Inner(outer, key) => format!("dropreel.{outer}.{key}"),
        }
    }
}

impl CellType {
    fn of_root_key(key: &str) -> Self {
        match key {
            "prompt" => return Self::Text,
            "model" | "callback_url" => return Self::Word,
            DROPREEL_KEY => return Self::Object,
            _ => {}
        }
        match FIELDS.iter().find(|field| field.key == key).map(|field| &field.field_type) {
            None => Self::Any,
            Some(FieldType::Text { .. }) => Self::Text,
            Some(FieldType::Word(_) | FieldType::Media) => Self::Word,
            Some(FieldType::Whole { .. }) => Self::Number,
            Some(FieldType::Flag) => Self::Flag,
            Some(FieldType::Texts | FieldType::Medias) => Self::List,
            Some(FieldType::Fields(_)) => Self::Object,
        }
    }

    /// A cell that is not of its type stays text, which the checks then refuse.
    fn json(self, cell: &str) -> String {
        let trimmed = cell.trim();
        let first = trimmed.bytes().next().unwrap_or(b' ');
        let is_json = || serde_json::from_str::<&RawValue>(trimmed).is_ok();
        let is_number = (first == b'-' || first.is_ascii_digit()) && is_json();
        let is_literal = match self {
            Self::Text | Self::Word => false,
            Self::Number => is_number,
            Self::Flag => {
                let lower = trimmed.to_ascii_lowercase();
                if ["true", "false"].contains(&lower.as_str()) {
                    return lower;
                }
                false
            }
            Self::List | Self::Array => first == b'[' && is_json(),
            Self::Object => first == b'{' && is_json(),
            Self::Any => {
                is_number || ["true", "false"].contains(&trimmed) || matches!(first, b'[' | b'{') && is_json()
            }
        };
        if is_literal {
            return trimmed.to_owned();
        }
        match self {
            Self::List if first != b'[' => Value::from(addresses_and_paths(trimmed)).to_string(),
            Self::Text | Self::Any => Value::from(cell).to_string(),
            _ => Value::from(trimmed).to_string(),
        }
    }
}

/// The addresses and paths between white space. File names may have blanks inside: a word that is no address and has no
/// ending goes together with the next one.
fn addresses_and_paths(cell: &str) -> Vec<&str> {
    let (mut found, mut rest) = (Vec::new(), cell.trim());
    while !rest.is_empty() {
        let blanks = rest.char_indices().filter(|(_, c)| c.is_whitespace()).map(|(at, _)| at);
        let is_whole = |text: &str| {
            let last = text.split_whitespace().last().unwrap_or(text);
            let ending = last.rsplit_once('.').map(|(_, ending)| ending);
            text.contains("://") || ending.is_some_and(|ending| (3..=4).contains(&ending.len()))
        };
        let end = blanks.into_iter().find(|end| is_whole(&rest[..*end])).unwrap_or(rest.len());
        found.push(rest[..end].trim_end());
        rest = rest[end..].trim_start();
    }
    found
}

/// Members of an object as JSON text.
#[derive(Default)]
struct Members(String);

impl Members {
    fn push(&mut self, key: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0 += &Value::from(key).to_string();
        self.0.push(':');
        self.0 += value;
    }

    fn into_object(self) -> Option<String> {
        (!self.0.is_empty()).then(|| format!("{{{}}}", self.0))
    }
}

/// The separator that a line `sep=;` declares, as spreadsheet programs write and read it above the header.
pub fn declared_separator(line: &str) -> Option<u8> {
    let (word, separator) = line.trim_end_matches(['\r', '\n']).split_once('=')?;
    let [separator] = separator.as_bytes() else { return None };
    (word.eq_ignore_ascii_case("sep") && SEPARATORS.contains(separator)).then_some(*separator)
}

/// The separator that the header has most of outside quotes.
fn find_separator(header: &str) -> u8 {
    let mut counts = [0_usize; SEPARATORS.len()];
    let mut state = QuoteState::default();
    for byte in header.bytes() {
        state = state.after(byte, &SEPARATORS);
        if state == QuoteState::FieldStart
            && let Some(found) = SEPARATORS.iter().position(|separator| *separator == byte)
        {
            counts[found] += 1;
        }
    }
    // The first of equals.
    let most = (0..SEPARATORS.len()).rev().max_by_key(|index| counts[*index]).unwrap_or(0);
    SEPARATORS[most]
}

/// The cells of one record.
fn parse(text: &str, separator: u8) -> Result<StringRecord, String> {
    let mut reader = ReaderBuilder::new()
        .delimiter(separator)
        .has_headers(false)
        .flexible(true)
        .buffer_capacity(text.len().max(1))
        .from_reader(text.as_bytes());
    let (mut record, mut next) = (StringRecord::new(), StringRecord::new());
    let mut read = |record: &mut StringRecord| reader.read_record(record).map_err(|error| error.to_string());
    read(&mut record)?;
    if read(&mut next)? {
        return Err("a line ends in a carriage return alone: save the file with other line ends".to_owned());
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_take_the_type_of_their_column() {
        let cases = [
            ("prompt", " 007, \"a\"", r#"{"prompt":" 007, \"a\""}"#),
            ("model", " m ", r#"{"model":"m"}"#),
            ("duration", " 5 ", r#"{"duration":5}"#),
            ("duration", "five", r#"{"duration":"five"}"#),
            ("watermark", "TRUE", r#"{"watermark":true}"#),
            ("watermark", "yes", r#"{"watermark":"yes"}"#),
            ("image_urls", "https://a/1\n https://a/2", r#"{"image_urls":["https://a/1","https://a/2"]}"#),
            (
                "image_urls",
                "my 1.0 shot.png\nb.JPG https://a/1 ./c",
                r#"{"image_urls":["my 1.0 shot.png","b.JPG","https://a/1","./c"]}"#,
            ),
            ("image_urls", r#"["https://a/1"]"#, r#"{"image_urls":["https://a/1"]}"#),
            ("image_urls", "[oops", r#"{"image_urls":"[oops"}"#),
            ("extra", r#"{"audio":true}"#, r#"{"extra":{"audio":true}}"#),
            ("seed", "1.10", r#"{"seed":1.10}"#),
            ("other", "1.10", r#"{"other":1.10}"#),
            ("other", "007", r#"{"other":"007"}"#),
            ("other", "true", r#"{"other":true}"#),
            ("other", "TRUE", r#"{"other":"TRUE"}"#),
            ("other", "null", r#"{"other":"null"}"#),
            ("other", r#"[1, {"a": 2}]"#, r#"{"other":[1, {"a": 2}]}"#),
            ("other", "[1", r#"{"other":"[1"}"#),
            ("春", "天", r#"{"春":"天"}"#),
            ("dropreel.name", "a", r#"{"dropreel":{"name":"a"}}"#),
            ("dropreel.priority", "5", r#"{"dropreel":{"priority":5}}"#),
            ("dropreel.again", "True", r#"{"dropreel":{"again":true}}"#),
            ("dropreel.labels.project", "5", r#"{"dropreel":{"labels":{"project":"5"}}}"#),
            ("dropreel.matrix.seed", "[1,2]", r#"{"dropreel":{"matrix":{"seed":[1,2]}}}"#),
            ("dropreel", r#"{"name":"a"}"#, r#"{"dropreel":{"name":"a"}}"#),
        ];
        for (name, cell, expected) in cases {
            let cell = format!("\"{}\"", cell.replace('"', "\"\""));
            let object = Header::read(name, None).unwrap().object(&cell).unwrap().unwrap();
            assert_eq!(object, expected, "{name} {cell}");
        }
    }

    #[test]
    fn separator_is_the_most_frequent_one_outside_quotes() {
        let cases = [("a,b;c,d", b','), ("a;b;\"c,d,e,f\"", b';'), ("a\tb", b'\t'), ("a", b',')];
        for (header, separator) in cases {
            assert_eq!(find_separator(header), separator, "{header}");
        }
    }

    #[test]
    fn header_problems_name_the_column() {
        let problems = |header: &str| -> Vec<String> {
            Header::read(header, None).unwrap_err().into_iter().map(|(pointer, _)| pointer).collect()
        };
        assert_eq!(problems("model,prompt,model"), ["/model"]);
        assert_eq!(
            problems("dropreel.nmae,dropreel.labels.a.b,dropreel.labels.a.b"),
            ["/dropreel/nmae", "/dropreel/labels/a.b"]
        );
        assert_eq!(problems("dropreel,dropreel.name"), ["/dropreel/name"]);
        assert_eq!(problems("dropreel.labels,dropreel.labels.a"), ["/dropreel/labels/a"]);
        let (_, message) = Header::read("dropreel.nmae", None).unwrap_err().remove(0);
        assert!(message.contains("`name`"), "{message}");
    }

    #[test]
    fn rows_of_another_length_are_refused_and_empty_ones_skipped() {
        let header = Header::read("model,prompt,", None).unwrap();
        assert_eq!(header.object(", ,").unwrap(), None);
        assert_eq!(header.object("m,a,").unwrap().unwrap(), r#"{"model":"m","prompt":"a"}"#);
        for row in ["m,a", "m,a,,", "m,a,b"] {
            assert!(header.object(row).is_err(), "{row}");
        }
    }
}
