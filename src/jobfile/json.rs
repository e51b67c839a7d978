//! Parses JSON (RFC 8259) into a tree in which every value has its text and position.
//!
//! `serde_json` keeps the last of two equal keys, rounds numbers and gives no positions inside a tree. This parser
//! converts nothing, reports duplicate keys, and explains errors. It accepts the same texts as `serde_json`; a property
//! test compares the two.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::jobfile::findings::{Findings, push_below, quoted};
use crate::jobfile::strings::{self, StringFault};
use crate::jobfile::syntax_hints::{self, is_number, misfit, run, shown};
use crate::jobfile::{Form, MAX_DEPTH};

/// A value with its text.
#[derive(Clone)]
pub struct Node<'a> {
    /// Byte at which it begins.
    pub at: usize,
    /// Without white space around it.
    pub text: &'a str,
    pub value: JsonValue<'a>,
}

/// A parsed value. Numbers stay text, so that none loses digits.
#[derive(Clone)]
pub enum JsonValue<'a> {
    /// `{...}`, members in the order given.
    Object(Vec<Member<'a>>),
    /// `[...]`
    Array(Vec<Node<'a>>),
    /// `"..."`, decoded.
    Text(Cow<'a, str>),
    /// A number, see [`Node::text`].
    Number,
    /// `true` or `false`.
    Flag(bool),
    /// `null`
    Null,
    /// Deeper than [`MAX_DEPTH`]: not parsed, and already reported.
    TooDeep,
}

/// A member of an object.
#[derive(Clone)]
pub struct Member<'a> {
    /// The key, decoded.
    pub key: Cow<'a, str>,
    /// Byte of the key's opening quote.
    pub key_at: usize,
    pub value: Node<'a>,
}

impl JsonValue<'_> {
    /// The type, for messages: "must be a string, not ...".
    pub fn what(&self) -> &'static str {
        match self {
            JsonValue::Object(_) => "an object",
            JsonValue::Array(_) => "an array",
            JsonValue::Text(_) => "a string",
            JsonValue::Number => "a number",
            JsonValue::Flag(true) => "true",
            JsonValue::Flag(false) => "false",
            JsonValue::Null => "null",
            JsonValue::TooDeep => "something nested",
        }
    }
}

/// The text does not parse; the findings have the reason.
pub struct ParseError;

type Read<T> = Result<T, ParseError>;

/// Parses `text`, which must be one value and nothing else. Duplicate keys, lone surrogates and too deep nesting are
/// findings that do not stop the parser.
///
/// # Errors
/// When the text is not JSON, or is cut short.
pub fn read<'a>(text: &'a str, form: Form, findings: &mut Findings<'a>) -> Result<Node<'a>, ParseError> {
    let mut parser = Parser { text, form, at: 0, depth: 0, pointer: String::new(), findings };
    parser.skip_white_space();
    let node = parser.value()?;
    parser.skip_white_space();
    match parser.rest().chars().next() {
        None => Ok(node),
        Some('{' | '[') => Err(parser.broken(match form {
            Form::Document => {
                "a second value begins here: put several jobs into an array, or one per line into a `.jsonl` file"
            }
            Form::Lines | Form::Csv | Form::Prompts => "a second value begins here: each line must hold one object",
        })),
        Some(c) => Err(parser.broken(format!("{} is left over after the end of the value", shown(c)))),
    }
}

struct Parser<'a, 'f> {
    text: &'a str,
    form: Form,
    at: usize,
    depth: usize,
    pointer: String,
    findings: &'f mut Findings<'a>,
}

impl<'a> Parser<'a, '_> {
    fn value(&mut self) -> Read<Node<'a>> {
        let at = self.at;
        let value = match self.peek() {
            Some(b'{') => self.nested(Self::object)?,
            Some(b'[') => self.nested(Self::array)?,
            Some(b'"') => JsonValue::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => self.word()?,
        };
        Ok(Node { at, text: &self.text[at..self.at], value })
    }

    fn nested(&mut self, inside: fn(&mut Self) -> Read<JsonValue<'a>>) -> Read<JsonValue<'a>> {
        if self.depth == MAX_DEPTH {
            self.add_finding(self.at, format!("nested more than {MAX_DEPTH} levels deep"));
            return self.skip_nested();
        }
        self.depth += 1;
        let value = inside(self);
        self.depth -= 1;
        value
    }

    /// Skips a nested value without recursion, so that no file can exhaust the stack.
    fn skip_nested(&mut self) -> Read<JsonValue<'a>> {
        let (begun, mut open) = (self.at, 0_usize);
        loop {
            match self.peek() {
                None => return Err(self.ended("something nested", begun)),
                Some(b'"') => {
                    self.string()?;
                    continue;
                }
                Some(b'{' | b'[') => open += 1,
                Some(b'}' | b']') => open -= 1,
                Some(_) => {}
            }
            self.at += 1;
            if open == 0 {
                return Ok(JsonValue::TooDeep);
            }
        }
    }

    fn object(&mut self) -> Read<JsonValue<'a>> {
        let begun = self.at;
        self.at += 1;
        let mut members: Vec<Member<'a>> = Vec::new();
        self.skip_white_space();
        if !self.eat(b'}') {
            loop {
                let key_at = self.at;
                let key = self.key(begun)?;
                let outer = self.pointer.len();
                push_below(&mut self.pointer, &key);
                let value = self.value()?;
                self.pointer.truncate(outer);
                members.push(Member { key, key_at, value });
                if self.ends_after_item(b'}', "the object", begun)? {
                    break;
                }
            }
        }
        self.report_duplicate_keys(&members);
        Ok(JsonValue::Object(members))
    }

    fn key(&mut self, begun: usize) -> Read<Cow<'a, str>> {
        let at = self.at;
        match self.rest().chars().next() {
            Some('"') => {}
            None => return Err(self.ended("the object", begun)),
            Some(c) => {
                return Err(match misfit(self.rest()) {
                    Some(why) => self.broken(why),
                    None if c == ',' => self.broken("one comma too many: remove it"),
                    None if c.is_alphanumeric() || c == '_' || c == '$' => {
                        self.broken(format!("the key {} must be in double quotes", quoted(run(self.rest()))))
                    }
                    None => {
                        self.broken(format!("a key in double quotes should stand here, not {}", shown(c)))
                    }
                });
            }
        }
        let key = self.string()?;
        self.skip_white_space();
        if self.eat(b':') {
            self.skip_white_space();
            return Ok(key);
        }
        Err(match self.rest().chars().next() {
            None => self.ended("the object", begun),
            Some(c) => {
                let name =
                    quoted(self.text[at..self.at].trim_matches(|c: char| c == '"' || c.is_whitespace()));
                match misfit(self.rest()) {
                    Some(why) => self.broken(why),
                    None => self.broken(format!("`:` must follow the key {name}, not {}", shown(c))),
                }
            }
        })
    }

    fn array(&mut self) -> Read<JsonValue<'a>> {
        let begun = self.at;
        self.at += 1;
        let mut items = Vec::new();
        self.skip_white_space();
        if !self.eat(b']') {
            loop {
                if self.peek().is_none() {
                    return Err(self.ended("the array", begun));
                }
                let outer = self.pointer.len();
                push_below(&mut self.pointer, &items.len().to_string());
                items.push(self.value()?);
                self.pointer.truncate(outer);
                if self.ends_after_item(b']', "the array", begun)? {
                    break;
                }
            }
        }
        Ok(JsonValue::Array(items))
    }

    /// After an item: `true` at the closing bracket, `false` after a comma that another item follows.
    fn ends_after_item(&mut self, closing: u8, whole: &str, begun: usize) -> Read<bool> {
        self.skip_white_space();
        if self.eat(closing) {
            return Ok(true);
        }
        let here = self.at;
        if self.eat(b',') {
            self.skip_white_space();
            if self.peek() == Some(closing) {
                self.at = here;
                let closing = char::from(closing);
                return Err(self.broken(format!("a comma before `{closing}`: remove it")));
            }
            return Ok(false);
        }
        Err(match self.rest().chars().next() {
            None => self.ended(whole, begun),
            Some('"' | '{' | '[' | '-' | '0'..='9') => self.broken("a comma is missing before this"),
            Some(c) => match misfit(self.rest()) {
                Some(why) => self.broken(why),
                None => {
                    let closing = char::from(closing);
                    self.broken(format!("`,` or `{closing}` should stand here, not {}", shown(c)))
                }
            },
        })
    }

    fn report_duplicate_keys(&mut self, members: &[Member<'a>]) {
        let mut first_at = BTreeMap::new();
        for member in members {
            let first = *first_at.entry(&member.key).or_insert(member.key_at);
            if first == member.key_at {
                continue;
            }
            let (was, is) = (self.findings.place(first), self.findings.place(member.key_at));
            let places = if was.0 == is.0 {
                format!("on line {}, at columns {} and {}", was.0, was.1, is.1)
            } else {
                format!("on lines {} and {}", was.0, is.0)
            };
            let outer = self.pointer.len();
            push_below(&mut self.pointer, &member.key);
            self.add_finding(
                member.key_at,
                format!("{} is given twice, {places}: keep one", quoted(&member.key)),
            );
            self.pointer.truncate(outer);
        }
    }

    fn string(&mut self) -> Read<Cow<'a, str>> {
        match strings::read(self.text, self.at) {
            Ok(scanned) => {
                self.at = scanned.end;
                for half in scanned.halves {
                    let written = quoted(&self.text[half..half + 6]);
                    self.add_finding(half, format!("{written} is a lone surrogate and not a character"));
                }
                Ok(scanned.text)
            }
            Err(StringFault::Wrong { at, message }) => {
                self.at = at;
                Err(self.broken(message))
            }
            Err(StringFault::Ended) => Err(self.ended("a string", self.at)),
        }
    }

    fn number(&mut self) -> Read<JsonValue<'a>> {
        let written = run(self.rest());
        if is_number(written) {
            self.at += written.len();
            return Ok(JsonValue::Number);
        }
        if self.at + written.len() == self.text.len() && is_number(&format!("{written}0")) {
            return Err(self.ended("a number", self.at));
        }
        Err(self.broken(syntax_hints::of_number(written)))
    }

    fn word(&mut self) -> Read<JsonValue<'a>> {
        let written = run(self.rest());
        let value = match written {
            "true" => JsonValue::Flag(true),
            "false" => JsonValue::Flag(false),
            "null" => JsonValue::Null,
            _ => return Err(self.no_value(written)),
        };
        self.at += written.len();
        Ok(value)
    }

    fn no_value(&mut self, written: &str) -> ParseError {
        let Some(c) = self.rest().chars().next() else {
            return self.cut_short("where a value should stand");
        };
        let is_last = self.rest() == written;
        if is_last && ["true", "false", "null"].iter().any(|word| word.starts_with(written)) {
            return self.ended("a value", self.at);
        }
        match misfit(self.rest()) {
            Some(why) => self.broken(why),
            None => self.broken(syntax_hints::of_word(c, written)),
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let eaten = self.peek() == Some(byte);
        if eaten {
            self.at += 1;
        }
        eaten
    }

    fn skip_white_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn add_finding(&mut self, at: usize, message: impl Into<String>) {
        self.findings.add(&self.pointer, at, message);
    }

    fn broken(&mut self, message: impl Into<String>) -> ParseError {
        self.add_finding(self.at, message);
        ParseError
    }

    fn ended(&mut self, inside: &str, begun: usize) -> ParseError {
        let (line, column) = self.findings.place(begun);
        self.at = self.text.len();
        self.cut_short(&match self.form {
            Form::Document => format!("inside {inside} (begun on line {line}, column {column})"),
            Form::Lines | Form::Csv | Form::Prompts => format!("inside {inside} (begun at column {column})"),
        })
    }

    fn cut_short(&mut self, place: &str) -> ParseError {
        self.broken(match self.form {
            Form::Document => format!("the file ends {place}: cut short, or still being written"),
            Form::Lines | Form::Csv | Form::Prompts => format!(
                "the line ends {place}: each line must hold one whole object (one spread over lines belongs into a `.json` file)"
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    fn accepts(text: &str) -> bool {
        read(text, Form::Document, &mut Findings::new(text, 1)).is_ok()
    }

    /// Pieces of JSON in any order: valid JSON more often than random text.
    fn nearly_json() -> impl Strategy<Value = String> {
        const PIECES: &str =
            r#"{ } [ ] , : " "a" "b": 1 - 0 .5 e+3 true null \ \u00e9 \ud800 \udc00 \n é 春 / {"a":1} [1,2]"#;
        let mut pieces: Vec<&str> = PIECES.split(' ').collect();
        pieces.extend([" ", "\n", "\t", "\u{1}"]);
        prop::collection::vec(prop::sample::select(pieces), 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn parser_accepts_what_serde_json_accepts(text in nearly_json()) {
            prop_assert_eq!(accepts(&text), serde_json::from_str::<&RawValue>(&text).is_ok(), "{}", text);
        }

        #[test]
        fn damaged_json_is_accepted_or_not_as_by_serde_json(at in 0_usize..80, with in "[ -~]") {
            let mut text = r#"{"a": [1, -2.5e+3, "x\u00e9\n"], "b": {"c": true, "d": null}, "e": "a\"b", "f": 0}"#.to_owned();
            text.replace_range(at..=at, &with);
            prop_assert_eq!(accepts(&text), serde_json::from_str::<&RawValue>(&text).is_ok(), "{}", text);
        }
    }

    #[test]
    fn every_value_has_its_text_and_position() {
        let text = "\n {\"a\" : [ 1.10 ,{ } ] }";
        let Ok(node) = read(text, Form::Document, &mut Findings::new(text, 1)) else { panic!("it is JSON") };
        let JsonValue::Object(members) = &node.value else { panic!("it is an object") };
        let JsonValue::Array(items) = &members[0].value.value else { panic!("it holds an array") };
        let spans = [&node, &members[0].value, &items[0], &items[1]].map(|node| (node.at, node.text));
        assert_eq!(spans, [(2, text.trim()), (9, "[ 1.10 ,{ } ]"), (11, "1.10"), (17, "{ }")]);
        assert_eq!(members[0].key_at, 3);
    }
}
