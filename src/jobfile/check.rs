//! Checks the request that an object of a job file holds, and finds all of its problems.

use crate::jobfile::cursor::Cursor;
use crate::jobfile::field::{FIELDS, MEDIA_KEYS};
use crate::jobfile::findings::{Findings, below, list_words};
use crate::jobfile::json::{JsonValue, Member, Node};
use crate::jobfile::pictures::PictureRules;
use crate::jobfile::{JobFileLimits, MAX_MODEL_CHARS, records, warnings};
use crate::pricing::models::{self, Mode, Model};

/// A request that is fit to be sent.
pub struct CheckedRequest {
    pub model: String,
    pub prompt: Option<String>,
}

/// The members of the object at `pointer`, if it may be a job.
pub fn members<'n, 'a>(
    node: &'n Node<'a>,
    pointer: &str,
    findings: &mut Findings<'_>,
) -> Option<&'n [Member<'a>]> {
    let JsonValue::Object(members) = &node.value else {
        findings.add(pointer, node.at, format!("a job must be an object, not {}", node.value.what()));
        return None;
    };
    if let Some(what) = records::kind(|key| members.iter().any(|member| member.key == key)) {
        findings.add(pointer, node.at, what);
        return None;
    }
    Some(members)
}

/// Checks a request: the object at `node` with these `members`, but for the `dropreel` member. Problems and
/// warnings are added to `findings`.
pub fn request(
    node: &Node<'_>,
    members: &[Member<'_>],
    pointer: &str,
    limits: &JobFileLimits,
    pictures: PictureRules<'_>,
    findings: &mut Findings<'_>,
) -> Option<CheckedRequest> {
    let object = Object { node, members, pointer, pictures };
    let model = object.model(findings);
    let prompt = object.prompt(findings);
    if let Some(member) = object.find("callback_url") {
        let message =
            "`callback_url` is set by dropreel itself: remove it (to be notified, set up [[hooks]])";
        findings.add(&below(pointer, "callback_url"), member.key_at, message);
    }
    let known = model.and_then(models::model);
    match known {
        Some(known) => object.check_known(known, findings),
        None => object.check_unknown(findings),
    }
    warnings::warn(known, members, pointer, limits.newest_host, findings);
    Some(CheckedRequest { model: model?.to_owned(), prompt: prompt.map(str::to_owned) })
}

struct Object<'n, 'a> {
    node: &'n Node<'a>,
    members: &'n [Member<'a>],
    pointer: &'n str,
    pictures: PictureRules<'n>,
}

impl<'n, 'a> Object<'n, 'a> {
    fn find(&self, key: &str) -> Option<&'n Member<'a>> {
        self.members.iter().find(|member| member.key == key)
    }

    fn cursor(&self, key: &str) -> Option<Cursor<'n, 'a>> {
        self.find(key).map(|member| Cursor::of(member, self.pointer))
    }

    fn model(&self, findings: &mut Findings<'_>) -> Option<&'n str> {
        match self.cursor("model") {
            Some(cursor) => cursor.filled_text(MAX_MODEL_CHARS, findings),
            None => {
                self.missing("model", "`model` is missing: every job names its model", findings);
                None
            }
        }
    }

    fn prompt(&self, findings: &mut Findings<'_>) -> Option<&'n str> {
        self.cursor("prompt")?.text(findings)
    }

    fn missing(&self, key: &str, message: &str, findings: &mut Findings<'_>) {
        findings.add(&below(self.pointer, key), self.node.at, message);
    }

    fn check_known(&self, model: &Model, findings: &mut Findings<'_>) {
        for field in FIELDS {
            if let Some(cursor) = self.cursor(field.key) {
                cursor.check(&field.field_type, self.pictures, findings);
            }
        }
        let mode = self.mode(model);
        for need in mode.map_or(&[][..], |mode| mode.needs) {
            self.check_need(model, mode, need, findings);
        }
    }

    /// The mode that fits the object best: the one with the most of its inputs present. The prompt does not count, since
    /// most modes share it. The first of equals.
    fn mode(&self, model: &Model) -> Option<&'static Mode> {
        let given = |mode: &Mode| {
            mode.needs.iter().filter(|need| !need.contains(&"prompt") && self.given(need).is_some()).count()
        };
        // `max_by_key` takes the last of equals.
        model.modes.iter().rev().max_by_key(|mode| given(mode))
    }

    fn given(&self, need: &[&str]) -> Option<&'n Member<'a>> {
        need.iter().find_map(|key| self.find(key))
    }

    fn check_need(&self, model: &Model, mode: Option<&Mode>, need: &[&str], findings: &mut Findings<'_>) {
        let Some(key) = need.first() else { return };
        match self.given(need) {
            // The fields' own types have been checked.
            Some(member) if need.contains(&"prompt") && is_blank(member) => {
                Cursor::of(member, self.pointer).wrong(findings, "must not be empty");
            }
            Some(_) => {}
            None => {
                let what = mode.map_or("", |mode| mode.what);
                let others: Vec<String> = model
                    .modes
                    .iter()
                    .filter(|other| other.what != what)
                    .map(|other| {
                        let keys: Vec<&str> =
                            other.needs.iter().filter_map(|need| need.first().copied()).collect();
                        format!(" (or, for {}, {})", other.what, list_words(&keys, "and"))
                    })
                    .collect();
                let message =
                    format!("`{key}` is missing: {} needs it for {what}{}", model.name, others.concat());
                self.missing(key, &message, findings);
            }
        }
    }

    fn check_unknown(&self, findings: &mut Findings<'_>) {
        for key in MEDIA_KEYS {
            if let Some(cursor) = self.cursor(key) {
                cursor.check_fetchable(self.pictures, findings);
            }
        }
    }
}

fn is_blank(member: &Member<'_>) -> bool {
    matches!(&member.value.value, JsonValue::Text(text) if text.trim().is_empty())
}
