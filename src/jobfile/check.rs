//! One object of a job file: everything wrong with it, or its draft.

use crate::jobfile::Draft;
use crate::jobfile::body::without_member;
use crate::jobfile::dropreel_member::{self, DropreelMember};
use crate::jobfile::field::{Cursor, listed};
use crate::jobfile::findings::{Findings, below};
use crate::jobfile::json::{Member, Node, Value};
use crate::jobfile::models::{FIELDS, MEDIA_KEYS, MODELS, Mode, Model};

/// Our own member of an object.
const OURS: &str = "dropreel";

/// Reads one object at `pointer`; it is called `default_name` if it does not name itself. What is wrong goes to
/// `findings`, and then there is no draft.
pub fn job(
    node: &Node<'_>,
    pointer: &str,
    default_name: String,
    findings: &mut Findings<'_>,
) -> Option<Draft> {
    let before = findings.count();
    let Value::Object(members) = &node.value else {
        findings.add(pointer, node.at, format!("a job must be an object, not {}", node.value.what()));
        return None;
    };
    let object = Object { node, members, pointer };
    let ours = match object.find(OURS) {
        Some((_, member)) => dropreel_member::read(member, pointer, findings),
        None => DropreelMember::default(),
    };
    let model = object.model(findings);
    let prompt = object.prompt(findings);
    if let Some((_, member)) = object.find("callback_url") {
        let message =
            "`callback_url` is set by dropreel itself: remove it (to be told yourself, set up [[hooks]])";
        findings.add(&below(pointer, "callback_url"), member.key_at, message);
    }
    match model.and_then(|name| MODELS.iter().find(|model| model.name == name)) {
        Some(known) => object.check_known(known, findings),
        None => object.check_unknown(findings),
    }
    if findings.count() > before {
        return None;
    }
    Some(Draft {
        name: ours.name.unwrap_or(default_name),
        priority: ours.priority,
        labels: ours.labels,
        key: ours.key,
        again: ours.again,
        not_before: ours.not_before,
        model: model?.to_owned(),
        prompt: prompt.map(str::to_owned),
        body: without_member(node, members, object.find(OURS).map(|(index, _)| index)),
    })
}

struct Object<'n, 'a> {
    node: &'n Node<'a>,
    members: &'n [Member<'a>],
    pointer: &'n str,
}

impl<'n, 'a> Object<'n, 'a> {
    fn find(&self, key: &str) -> Option<(usize, &'n Member<'a>)> {
        self.members.iter().enumerate().find(|(_, member)| member.key == key)
    }

    fn spot(&self, key: &str) -> Option<Cursor<'n, 'a>> {
        self.find(key).map(|(_, member)| Cursor::of(member, self.pointer))
    }

    fn model(&self, findings: &mut Findings<'_>) -> Option<&'n str> {
        match self.spot("model") {
            Some(spot) => spot.filled_text(usize::MAX, findings),
            None => {
                self.missing("model", "`model` is missing: every job names its model", findings);
                None
            }
        }
    }

    fn prompt(&self, findings: &mut Findings<'_>) -> Option<&'n str> {
        self.spot("prompt")?.text(findings)
    }

    fn missing(&self, key: &str, message: &str, findings: &mut Findings<'_>) {
        findings.add(&below(self.pointer, key), self.node.at, message);
    }

    fn check_known(&self, model: &Model, findings: &mut Findings<'_>) {
        for field in FIELDS {
            if let Some(spot) = self.spot(field.key) {
                spot.check(&field.shape, findings);
            }
        }
        let mode = self.mode(model);
        for need in mode.map_or(&[][..], |mode| mode.needs) {
            self.check_need(model, mode, need, findings);
        }
    }

    /// The mode that the object means: the one with the most of its inputs given, the prompt apart, which most modes
    /// share; the first of equals.
    fn mode(&self, model: &Model) -> Option<&'static Mode> {
        let given = |mode: &Mode| {
            mode.needs.iter().filter(|need| !need.contains(&"prompt") && self.given(need).is_some()).count()
        };
        // `max_by_key` takes the last of equals.
        model.modes.iter().rev().max_by_key(|mode| given(mode))
    }

    fn given(&self, need: &[&str]) -> Option<&'n Member<'a>> {
        need.iter().find_map(|key| self.find(key)).map(|(_, member)| member)
    }

    fn check_need(&self, model: &Model, mode: Option<&Mode>, need: &[&str], findings: &mut Findings<'_>) {
        let Some(key) = need.first() else { return };
        match self.given(need) {
            // What media may be is checked with the fields.
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
                        format!(" (or, for {}, {})", other.what, listed(&keys, "and"))
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
            if let Some(spot) = self.spot(key) {
                spot.check_fetchable(findings);
            }
        }
    }
}

fn is_blank(member: &Member<'_>) -> bool {
    matches!(&member.value.value, Value::Text(text) if text.trim().is_empty())
}
