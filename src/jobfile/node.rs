//! Values of a parsed job file: their members, and moves to another place.

use crate::jobfile::json::{JsonValue, Member, Node};

impl<'a> Node<'a> {
    /// The members of an object; none of any other value.
    pub fn members(&self) -> &[Member<'a>] {
        if let JsonValue::Object(members) = &self.value { members } else { &[] }
    }

    /// The members of an object.
    pub fn members_mut(&mut self) -> Option<&mut Vec<Member<'a>>> {
        if let JsonValue::Object(members) = &mut self.value { Some(members) } else { None }
    }

    /// The value with byte `at` as its position and that of all its parts, for a value that is from another text.
    pub fn moved_to(self, at: usize) -> Self {
        let value = match self.value {
            JsonValue::Object(members) => JsonValue::Object(
                members
                    .into_iter()
                    .map(|member| Member { key_at: at, value: member.value.moved_to(at), ..member })
                    .collect(),
            ),
            JsonValue::Array(items) => {
                JsonValue::Array(items.into_iter().map(|item| item.moved_to(at)).collect())
            }
            other => other,
        };
        Self { at, value, ..self }
    }
}
