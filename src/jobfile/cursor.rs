//! Reading one value of a job file: its text and pointer for messages, and checks against a [`FieldType`].

use crate::jobfile::field::FieldType;
use crate::jobfile::findings::{Findings, below, list_words, quoted};
use crate::jobfile::json::{JsonValue, Member, Node};
use crate::jobfile::pictures::{self, PictureRules};
use crate::money::Quota;

/// What is wrong with a text that PostgreSQL refuses.
pub const HOLDS_NUL: &str = "must not hold the character U+0000";

/// The value under examination, and where it is: its name and pointer are written only for a message, which few values
/// need.
pub struct Cursor<'n, 'a> {
    node: &'n Node<'a>,
    place: Place<'n, 'a>,
}

enum Place<'n, 'a> {
    /// The member `key` of the object at `pointer`, which messages do not name.
    Top {
        pointer: &'n str,
        key: &'n str,
    },
    Member {
        outer: &'n Cursor<'n, 'a>,
        key: &'n str,
    },
    Item {
        outer: &'n Cursor<'n, 'a>,
        index: usize,
    },
}

impl<'n, 'a> Cursor<'n, 'a> {
    /// The value of a member of the object at `pointer`.
    pub fn of(member: &'n Member<'a>, pointer: &'n str) -> Self {
        Self { node: &member.value, place: Place::Top { pointer, key: &member.key } }
    }

    /// The value itself.
    pub fn node(&self) -> &'n Node<'a> {
        self.node
    }

    fn member(&'n self, member: &'n Member<'a>) -> Self {
        Self { node: &member.value, place: Place::Member { outer: self, key: &member.key } }
    }

    fn item(&'n self, index: usize, item: &'n Node<'a>) -> Self {
        Self { node: item, place: Place::Item { outer: self, index } }
    }

    fn name(&self) -> String {
        match self.place {
            Place::Top { key, .. } => quoted(key),
            Place::Member { outer, key } => format!("{} in {}", quoted(key), outer.name()),
            Place::Item { outer, index } => format!("item {} of {}", index + 1, outer.name()),
        }
    }

    fn pointer(&self) -> String {
        match self.place {
            Place::Top { pointer, key } => below(pointer, key),
            Place::Member { outer, key } => below(&outer.pointer(), key),
            Place::Item { outer, index } => below(&outer.pointer(), &index.to_string()),
        }
    }

    /// Adds a problem about this value; the message begins with its name.
    pub fn wrong(&self, findings: &mut Findings<'_>, what: &str) {
        findings.add(&self.pointer(), self.node.at, format!("{} {what}", self.name()));
    }

    fn wrong_type(&self, findings: &mut Findings<'_>, wanted: &str) {
        let is = self.node.value.what();
        let fix = if matches!(self.node.value, JsonValue::Null) {
            " (leave it out where it is not needed)"
        } else {
            ""
        };
        self.wrong(findings, &format!("must be {wanted}, not {is}{fix}"));
    }

    /// The text of a string.
    pub fn text(&self, findings: &mut Findings<'_>) -> Option<&'n str> {
        if let JsonValue::Text(text) = &self.node.value {
            return Some(text);
        }
        self.wrong_type(findings, "a string");
        None
    }

    /// A string with something in it, of at most `max_chars` characters, that every database can store.
    pub fn filled_text(&self, max_chars: usize, findings: &mut Findings<'_>) -> Option<&'n str> {
        let text = self.text(findings)?;
        if text.trim().is_empty() {
            self.wrong(findings, "must not be empty");
            return None;
        }
        if text.contains('\0') {
            self.wrong(findings, HOLDS_NUL);
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
            JsonValue::Number if written.contains(['.', 'e', 'E']) => {
                self.wrong(
                    findings,
                    "must be a whole number, written without a decimal point or an exponent",
                );
                None
            }
            JsonValue::Number => {
                let number = written.parse::<i64>().ok().filter(|number| (least..=greatest).contains(number));
                if number.is_none() {
                    self.wrong(findings, &format!("must be a whole number from {least} to {greatest}"));
                }
                number
            }
            JsonValue::Text(text) if text.parse::<i64>().is_ok() => {
                self.wrong(findings, "must be a whole number, not a string: leave out the quotes");
                None
            }
            _ => {
                self.wrong_type(findings, "a whole number");
                None
            }
        }
    }

    /// An amount in US dollars, from 0 on, written with up to six decimal places.
    pub fn usd(&self, findings: &mut Findings<'_>) -> Option<Quota> {
        match &self.node.value {
            JsonValue::Number => {
                let amount = Quota::parse_usd(self.node.text);
                if amount.is_none() {
                    self.wrong(findings, "must be US dollars from 0 on, with at most six decimal places");
                }
                return amount;
            }
            JsonValue::Text(text) if Quota::parse_usd(text).is_some() => {
                self.wrong(findings, "must be a number, not a string: leave out the quotes");
            }
            _ => self.wrong_type(findings, "a number of US dollars"),
        }
        None
    }

    /// true or false.
    pub fn flag(&self, findings: &mut Findings<'_>) -> Option<bool> {
        match &self.node.value {
            JsonValue::Flag(flag) => return Some(*flag),
            JsonValue::Text(text) if ["true", "false"].contains(&text.to_ascii_lowercase().as_str()) => {
                self.wrong(findings, "must be true or false, not a string: leave out the quotes");
            }
            _ => self.wrong_type(findings, "true or false"),
        }
        None
    }

    /// The members of an object, each with a cursor.
    pub fn members<'c>(
        &'c self,
        findings: &mut Findings<'_>,
    ) -> Option<Vec<(&'c Member<'a>, Cursor<'c, 'a>)>> {
        if let JsonValue::Object(members) = &self.node.value {
            return Some(members.iter().map(|member| (member, self.member(member))).collect());
        }
        self.wrong_type(findings, "an object");
        None
    }

    /// The items of an array, each with a cursor.
    pub fn items<'c>(&'c self, wanted: &str, findings: &mut Findings<'_>) -> Option<Vec<Cursor<'c, 'a>>> {
        if let JsonValue::Array(items) = &self.node.value {
            return Some(items.iter().enumerate().map(|(index, item)| self.item(index, item)).collect());
        }
        self.wrong_type(findings, wanted);
        None
    }

    /// Checks the value against a type; problems are added to the findings.
    pub fn check(&self, field_type: &FieldType, pictures: PictureRules<'_>, findings: &mut Findings<'_>) {
        match field_type {
            FieldType::Text { max_chars } => {
                if let (Some(text), Some(max_chars)) = (self.text(findings), max_chars) {
                    self.short(text, *max_chars, findings);
                }
            }
            FieldType::Word(words) => {
                if let Some(text) = self.text(findings)
                    && !words.contains(&text)
                {
                    let words = list_words(words, "or");
                    self.wrong(findings, &format!("is {}: it must be {words}", quoted(text)));
                }
            }
            FieldType::Whole { least, greatest } => {
                self.whole(*least, *greatest, findings);
            }
            FieldType::Flag => {
                self.flag(findings);
            }
            FieldType::Texts => {
                for item in self.items("an array of strings", findings).unwrap_or_default() {
                    item.text(findings);
                }
            }
            FieldType::Media => {
                if let Some(text) = self.text(findings)
                    && let Some(fault) = pictures::fault(text, pictures)
                {
                    self.wrong(findings, fault);
                }
            }
            FieldType::Medias => {
                let items = self.items("an array of URLs", findings);
                if items.as_ref().is_some_and(Vec::is_empty) {
                    self.wrong(findings, "must not be empty");
                }
                for item in items.unwrap_or_default() {
                    item.check(&FieldType::Media, pictures, findings);
                }
            }
            FieldType::Fields(fields) => {
                for (member, cursor) in self.members(findings).unwrap_or_default() {
                    if let Some(field) = fields.iter().find(|field| field.key == member.key) {
                        cursor.check(&field.field_type, pictures, findings);
                    }
                }
            }
        }
    }

    /// Checks a media input of a model that is not in the table: only strings, and strings in arrays, that no provider
    /// can fetch are problems; the provider decides about everything else.
    pub fn check_fetchable(&self, pictures: PictureRules<'_>, findings: &mut Findings<'_>) {
        match &self.node.value {
            JsonValue::Text(text) => {
                if let Some(fault) = pictures::fault_for_any_model(text, pictures) {
                    self.wrong(findings, fault);
                }
            }
            JsonValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    if matches!(item.value, JsonValue::Text(_)) {
                        self.item(index, item).check_fetchable(pictures, findings);
                    }
                }
            }
            _ => {}
        }
    }
}
