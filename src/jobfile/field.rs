//! What a value may be, and the reading of it; what it is instead goes to the findings.

use crate::jobfile::findings::{Findings, below, quoted};
use crate::jobfile::json::{Member, Node, Value};
use crate::jobfile::links;

/// A key and what it may hold.
pub struct Field {
    /// The key.
    pub key: &'static str,
    /// What its value may be.
    pub shape: Shape,
}

/// What a value may be.
pub enum Shape {
    /// A string, perhaps with a greatest length in characters.
    Text { max_chars: Option<usize> },
    /// One of these strings.
    Word(&'static [&'static str]),
    /// A whole number within these bounds.
    Whole { least: i64, greatest: i64 },
    /// true or false.
    Flag,
    /// An array of strings.
    Texts,
    /// A public http(s) URL.
    Media,
    /// An array of at least one public http(s) URL.
    Medias,
    /// An object with at least these fields known; others pass.
    Fields(&'static [Field]),
}

/// A value that is being looked at, and how to speak of it.
pub struct Cursor<'n, 'a> {
    node: &'n Node<'a>,
    name: String,
    pointer: String,
}

impl<'n, 'a> Cursor<'n, 'a> {
    /// The value of a member of the object at `outer`, called by its key.
    pub fn of(member: &'n Member<'a>, outer: &str) -> Self {
        Self { node: &member.value, name: quoted(&member.key), pointer: below(outer, &member.key) }
    }

    fn member(&self, member: &'n Member<'a>) -> Self {
        let name = format!("{} in {}", quoted(&member.key), self.name);
        Self { node: &member.value, name, pointer: below(&self.pointer, &member.key) }
    }

    fn item(&self, index: usize, item: &'n Node<'a>) -> Self {
        let name = format!("item {} of {}", index + 1, self.name);
        Self { node: item, name, pointer: below(&self.pointer, &index.to_string()) }
    }

    /// Takes down `what` about this value; the message begins with its name.
    pub fn wrong(&self, findings: &mut Findings<'_>, what: &str) {
        findings.add(&self.pointer, self.node.at, format!("{} {what}", self.name));
    }

    fn unfit(&self, findings: &mut Findings<'_>, wanted: &str) {
        let is = self.node.value.what();
        let mend = if matches!(self.node.value, Value::Null) {
            " (leave it out where it is not needed)"
        } else {
            ""
        };
        self.wrong(findings, &format!("must be {wanted}, not {is}{mend}"));
    }

    /// The text of a string.
    pub fn text(&self, findings: &mut Findings<'_>) -> Option<&'n str> {
        if let Value::Text(text) = &self.node.value {
            return Some(text);
        }
        self.unfit(findings, "a string");
        None
    }

    /// A string with something in it, of at most `max_chars` characters.
    pub fn filled_text(&self, max_chars: usize, findings: &mut Findings<'_>) -> Option<&'n str> {
        let text = self.text(findings)?;
        if text.trim().is_empty() {
            self.wrong(findings, "must not be empty");
            return None;
        }
        self.short(text, max_chars, findings).then_some(text)
    }

    fn short(&self, text: &str, max_chars: usize, findings: &mut Findings<'_>) -> bool {
        let chars = text.chars().count();
        if chars > max_chars {
            self.wrong(findings, &format!("has {chars} characters: at most {max_chars} are allowed"));
        }
        chars <= max_chars
    }

    /// A whole number within bounds, written as digits alone.
    pub fn whole(&self, least: i64, greatest: i64, findings: &mut Findings<'_>) -> Option<i64> {
        let written = self.node.text;
        match &self.node.value {
            Value::Number if written.contains(['.', 'e', 'E']) => {
                self.wrong(
                    findings,
                    "must be a whole number, written without a decimal point or an exponent",
                );
                None
            }
            Value::Number => {
                let number = written.parse::<i64>().ok().filter(|number| (least..=greatest).contains(number));
                if number.is_none() {
                    self.wrong(findings, &format!("must be a whole number from {least} to {greatest}"));
                }
                number
            }
            Value::Text(text) if text.parse::<i64>().is_ok() => {
                self.wrong(findings, "must be a whole number, not a string: leave out the quotes");
                None
            }
            _ => {
                self.unfit(findings, "a whole number");
                None
            }
        }
    }

    /// true or false.
    pub fn flag(&self, findings: &mut Findings<'_>) -> Option<bool> {
        match &self.node.value {
            Value::Flag(flag) => return Some(*flag),
            Value::Text(text) if ["true", "false"].contains(&text.to_ascii_lowercase().as_str()) => {
                self.wrong(findings, "must be true or false, not a string: leave out the quotes");
            }
            _ => self.unfit(findings, "true or false"),
        }
        None
    }

    /// The members of an object, each as a spot of its own.
    pub fn members(&self, findings: &mut Findings<'_>) -> Option<Vec<(&'n Member<'a>, Self)>> {
        if let Value::Object(members) = &self.node.value {
            return Some(members.iter().map(|member| (member, self.member(member))).collect());
        }
        self.unfit(findings, "an object");
        None
    }

    fn items(&self, wanted: &str, findings: &mut Findings<'_>) -> Option<Vec<Self>> {
        if let Value::Array(items) = &self.node.value {
            return Some(items.iter().enumerate().map(|(index, item)| self.item(index, item)).collect());
        }
        self.unfit(findings, wanted);
        None
    }

    /// Whether it is of this shape; if not, the findings say why.
    pub fn check(&self, shape: &Shape, findings: &mut Findings<'_>) {
        match shape {
            Shape::Text { max_chars } => {
                if let (Some(text), Some(max_chars)) = (self.text(findings), max_chars) {
                    self.short(text, *max_chars, findings);
                }
            }
            Shape::Word(words) => {
                if let Some(text) = self.text(findings)
                    && !words.contains(&text)
                {
                    let words = listed(words, "or");
                    self.wrong(findings, &format!("is {}: it must be {words}", quoted(text)));
                }
            }
            Shape::Whole { least, greatest } => {
                self.whole(*least, *greatest, findings);
            }
            Shape::Flag => {
                self.flag(findings);
            }
            Shape::Texts => {
                for item in self.items("an array of strings", findings).unwrap_or_default() {
                    item.text(findings);
                }
            }
            Shape::Media => {
                if let Some(text) = self.text(findings)
                    && let Some(fault) = links::fault(text)
                {
                    self.wrong(findings, fault.message());
                }
            }
            Shape::Medias => {
                let items = self.items("an array of URLs", findings);
                if items.as_ref().is_some_and(Vec::is_empty) {
                    self.wrong(findings, "must not be empty");
                }
                for item in items.unwrap_or_default() {
                    item.check(&Shape::Media, findings);
                }
            }
            Shape::Fields(fields) => {
                for (member, spot) in self.members(findings).unwrap_or_default() {
                    if let Some(field) = fields.iter().find(|field| field.key == member.key) {
                        spot.check(&field.shape, findings);
                    }
                }
            }
        }
    }

    /// Whether it holds, where a model of unknown shape has media, what no provider can fetch: strings and strings in
    /// arrays are looked at, the rest is the provider's to judge.
    pub fn check_fetchable(&self, findings: &mut Findings<'_>) {
        match &self.node.value {
            Value::Text(text) => {
                if let Some(fault) = links::fault(text).filter(|fault| fault.is_ours_to_refuse()) {
                    self.wrong(findings, fault.message());
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    if matches!(item.value, Value::Text(_)) {
                        self.item(index, item).check_fetchable(findings);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Words for a sentence: "`a`, `b` or `c`".
pub fn listed(words: &[&str], and: &str) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((last, before)) => format!("{} {and} {last}", before.join(", ")),
    }
}
