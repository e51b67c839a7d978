//! JSON (RFC 8259) as a tree whose every part knows its own text and place.
//!
//! `serde_json` keeps the last of two equal keys, rounds numbers, and knows no places inside a tree; here nothing is
//! converted, equal keys are found, and what is wrong is said in words that help. What this reader accepts,
//! `serde_json` accepts too (a property test holds the two together).

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::jobfile::findings::{Findings, push_below, quoted};
use crate::jobfile::strings::{self, Fault};
use crate::jobfile::syntax_hints::{self, is_number, misfit, run, shown};
use crate::jobfile::{Form, MAX_DEPTH};

/// A value with the text it was written as.
pub struct Node<'a> {
    /// Byte of the text at which it begins.
    pub at: usize,
    /// Its own text, without blanks around it.
    pub text: &'a str,
    /// What it is.
    pub value: Value<'a>,
}

/// What a value is. Numbers stay text: none is too long or too exact.
pub enum Value<'a> {
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
    /// Deeper than [`MAX_DEPTH`]: not looked into, and already reported.
    TooDeep,
}

/// A member of an object.
pub struct Member<'a> {
    /// The key, decoded.
    pub key: Cow<'a, str>,
    /// Byte of the text at which the key's first quote stands.
    pub key_at: usize,
    /// Its value.
    pub value: Node<'a>,
}

impl Value<'_> {
    /// For messages: "must be a string, not ...".
    pub fn what(&self) -> &'static str {
        match self {
            Value::Object(_) => "an object",
            Value::Array(_) => "an array",
            Value::Text(_) => "a string",
            Value::Number => "a number",
            Value::Flag(true) => "true",
            Value::Flag(false) => "false",
            Value::Null => "null",
            Value::TooDeep => "something nested",
        }
    }
}

/// The text does not parse; the reason is among the findings.
pub struct Broken;

type Read<T> = Result<T, Broken>;

/// Reads `text`, which must be one value and nothing else. Equal keys, halves of surrogate pairs and too deep nesting
/// are findings too, but do not stop the reading.
///
/// # Errors
/// When the text is not JSON, or not yet.
pub fn read<'a>(text: &'a str, form: Form, findings: &mut Findings<'a>) -> Result<Node<'a>, Broken> {
    let mut reader = Reader { text, form, at: 0, depth: 0, pointer: String::new(), findings };
    reader.blanks();
    let node = reader.value()?;
    reader.blanks();
    match reader.rest().chars().next() {
        None => Ok(node),
        Some('{' | '[') => Err(reader.broken(match form {
            Form::Document => {
                "a second value begins here: put several jobs into an array, or one per line into a `.jsonl` file"
            }
            Form::Lines => "a second value begins here: each line must hold one object",
        })),
        Some(c) => Err(reader.broken(format!("{} is left over after the end of the value", shown(c)))),
    }
}

struct Reader<'a, 'f> {
    text: &'a str,
    form: Form,
    at: usize,
    depth: usize,
    pointer: String,
    findings: &'f mut Findings<'a>,
}

impl<'a> Reader<'a, '_> {
    fn value(&mut self) -> Read<Node<'a>> {
        let at = self.at;
        let value = match self.peek() {
            Some(b'{') => self.nested(Self::object)?,
            Some(b'[') => self.nested(Self::array)?,
            Some(b'"') => Value::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => self.word()?,
        };
        Ok(Node { at, text: &self.text[at..self.at], value })
    }

    fn nested(&mut self, inside: fn(&mut Self) -> Read<Value<'a>>) -> Read<Value<'a>> {
        if self.depth == MAX_DEPTH {
            self.finding(self.at, format!("nested more than {MAX_DEPTH} levels deep"));
            return self.skip_nested();
        }
        self.depth += 1;
        let value = inside(self);
        self.depth -= 1;
        value
    }

    /// Passes over a nested value without recursion, so that no file can exhaust the stack.
    fn skip_nested(&mut self) -> Read<Value<'a>> {
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
                return Ok(Value::TooDeep);
            }
        }
    }

    fn object(&mut self) -> Read<Value<'a>> {
        let begun = self.at;
        self.at += 1;
        let mut members: Vec<Member<'a>> = Vec::new();
        self.blanks();
        if !self.eat(b'}') {
            loop {
                let key_at = self.at;
                let key = self.key(begun)?;
                let outer = self.pointer.len();
                push_below(&mut self.pointer, &key);
                let value = self.value()?;
                self.pointer.truncate(outer);
                members.push(Member { key, key_at, value });
                if self.last(b'}', "the object", begun)? {
                    break;
                }
            }
        }
        self.find_equal_keys(&members);
        Ok(Value::Object(members))
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
        self.blanks();
        if self.eat(b':') {
            self.blanks();
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

    fn array(&mut self) -> Read<Value<'a>> {
        let begun = self.at;
        self.at += 1;
        let mut items = Vec::new();
        self.blanks();
        if !self.eat(b']') {
            loop {
                if self.peek().is_none() {
                    return Err(self.ended("the array", begun));
                }
                let outer = self.pointer.len();
                push_below(&mut self.pointer, &items.len().to_string());
                items.push(self.value()?);
                self.pointer.truncate(outer);
                if self.last(b']', "the array", begun)? {
                    break;
                }
            }
        }
        Ok(Value::Array(items))
    }

    /// After an item: `true` at the closing bracket, `false` after a comma with something behind it.
    fn last(&mut self, closing: u8, whole: &str, begun: usize) -> Read<bool> {
        self.blanks();
        if self.eat(closing) {
            return Ok(true);
        }
        let here = self.at;
        if self.eat(b',') {
            self.blanks();
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

    fn find_equal_keys(&mut self, members: &[Member<'a>]) {
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
            self.finding(
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
                    self.finding(
                        half,
                        format!("{written} is half of a surrogate pair and means no character"),
                    );
                }
                Ok(scanned.text)
            }
            Err(Fault::Wrong { at, message }) => {
                self.at = at;
                Err(self.broken(message))
            }
            Err(Fault::Ended) => Err(self.ended("a string", self.at)),
        }
    }

    fn number(&mut self) -> Read<Value<'a>> {
        let written = run(self.rest());
        if is_number(written) {
            self.at += written.len();
            return Ok(Value::Number);
        }
        if self.at + written.len() == self.text.len() && is_number(&format!("{written}0")) {
            return Err(self.ended("a number", self.at));
        }
        Err(self.broken(syntax_hints::of_number(written)))
    }

    fn word(&mut self) -> Read<Value<'a>> {
        let written = run(self.rest());
        let value = match written {
            "true" => Value::Flag(true),
            "false" => Value::Flag(false),
            "null" => Value::Null,
            _ => return Err(self.no_value(written)),
        };
        self.at += written.len();
        Ok(value)
    }

    fn no_value(&mut self, written: &str) -> Broken {
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

    fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn finding(&mut self, at: usize, message: impl Into<String>) {
        self.findings.add(&self.pointer, at, message);
    }

    fn broken(&mut self, message: impl Into<String>) -> Broken {
        self.finding(self.at, message);
        Broken
    }

    fn ended(&mut self, inside: &str, begun: usize) -> Broken {
        let (line, column) = self.findings.place(begun);
        self.at = self.text.len();
        self.cut_short(&match self.form {
            Form::Document => format!("inside {inside} (begun on line {line}, column {column})"),
            Form::Lines => format!("inside {inside} (begun at column {column})"),
        })
    }

    fn cut_short(&mut self, place: &str) -> Broken {
        self.broken(match self.form {
            Form::Document => format!("the file ends {place}: cut short, or still being written"),
            Form::Lines => format!(
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

    /// Pieces of JSON in any order: nearly JSON more often than chance would have it.
    fn nearly_json() -> impl Strategy<Value = String> {
        const PIECES: &str =
            r#"{ } [ ] , : " "a" "b": 1 - 0 .5 e+3 true null \ \u00e9 \ud800 \udc00 \n é 春 / {"a":1} [1,2]"#;
        let mut pieces: Vec<&str> = PIECES.split(' ').collect();
        pieces.extend([" ", "\n", "\t", "\u{1}"]);
        prop::collection::vec(prop::sample::select(pieces), 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn what_is_accepted_here_is_accepted_by_serde_json_and_no_more(text in nearly_json()) {
            prop_assert_eq!(accepts(&text), serde_json::from_str::<&RawValue>(&text).is_ok(), "{}", text);
        }

        #[test]
        fn a_json_text_damaged_at_one_place_is_judged_as_serde_json_does(at in 0_usize..80, with in "[ -~]") {
            let mut text = r#"{"a": [1, -2.5e+3, "x\u00e9\n"], "b": {"c": true, "d": null}, "e": "a\"b", "f": 0}"#.to_owned();
            text.replace_range(at..=at, &with);
            prop_assert_eq!(accepts(&text), serde_json::from_str::<&RawValue>(&text).is_ok(), "{}", text);
        }
    }

    #[test]
    fn every_part_knows_its_own_text_and_place() {
        let text = "\n {\"a\" : [ 1.10 ,{ } ] }";
        let Ok(node) = read(text, Form::Document, &mut Findings::new(text, 1)) else { panic!("it is JSON") };
        let Value::Object(members) = &node.value else { panic!("it is an object") };
        let Value::Array(items) = &members[0].value.value else { panic!("it holds an array") };
        let spans = [&node, &members[0].value, &items[0], &items[1]].map(|node| (node.at, node.text));
        assert_eq!(spans, [(2, text.trim()), (9, "[ 1.10 ,{ } ]"), (11, "1.10"), (17, "{ }")]);
        assert_eq!(members[0].key_at, 3);
    }
}
