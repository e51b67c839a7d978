//! Edits the user's text of an object: cuts out the `dropreel` member, sets varied keys, appends the callback URL, and
//! keeps every other byte.

use serde_json::Value;

use crate::jobfile::json::{Member, Node};

/// The object's text without its member number `cut`, and with each key of `set` at its value: in place where the object
/// has the key, else appended. With a member, the comma after it is cut or, for the last member, the one before it; white
/// space before a member only with the last one.
pub fn edited(object: &Node<'_>, members: &[Member<'_>], cut: Option<usize>, set: &[(&str, &str)]) -> String {
    let mut edits: Vec<(usize, usize, &str)> = Vec::new();
    if let Some((from, to)) = cut.and_then(|index| range_with_comma(members, index)) {
        edits.push((from, to, ""));
    }
    let mut new = Vec::new();
    for (key, value) in set {
        match members.iter().find(|member| member.key == *key) {
            Some(member) => edits.push((member.value.at, end_of(member), value)),
            None => new.push((key, value)),
        }
    }
    edits.sort_unstable();
    let (mut body, mut at) = (String::with_capacity(object.text.len()), object.at);
    for (from, to, text) in edits {
        body.push_str(&object.text[at - object.at..from - object.at]);
        body.push_str(text);
        at = to;
    }
    body.push_str(&object.text[at - object.at..]);
    for (key, value) in new {
        body = with_member(&body, key, value);
    }
    body
}

fn end_of(member: &Member<'_>) -> usize {
    member.value.at + member.value.text.len()
}

fn range_with_comma(members: &[Member<'_>], index: usize) -> Option<(usize, usize)> {
    let member = members.get(index)?;
    let before = index.checked_sub(1).and_then(|before| members.get(before));
    Some(match (before, members.get(index + 1)) {
        (_, Some(next)) => (member.key_at, next.key_at),
        (Some(before), None) => (end_of(before), end_of(member)),
        (None, None) => (member.key_at, end_of(member)),
    })
}

/// Appends `callback_url` as the last member. `body` is a draft's: one JSON object without that key; any other text is
/// returned unchanged.
pub fn with_callback(body: &str, callback_url: &str) -> String {
    with_member(body, "callback_url", &Value::from(callback_url).to_string())
}

/// Appends a member whose value is the JSON text `value`.
pub fn with_member(body: &str, key: &str, value: &str) -> String {
    let Some((members, closing)) = body.rfind('}').map(|at| body.split_at(at)) else {
        return body.to_owned();
    };
    let kept = members.trim_end_matches([' ', '\t', '\n', '\r']);
    let blanks = &members[kept.len()..];
    let comma = if kept.ends_with('{') { "" } else { "," };
    let key = Value::from(key);
    format!("{kept}{comma}{key}:{value}{blanks}{closing}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callback_url_is_appended_and_the_rest_is_unchanged() {
        let cases = [
            ("{}", r#"{"callback_url":"https://h/\"x"}"#),
            ("{\n}", "{\"callback_url\":\"https://h/\\\"x\"\n}"),
            (r#"{"n": 1.10}"#, r#"{"n": 1.10,"callback_url":"https://h/\"x"}"#),
            ("{\"a\": {} \r\n }", "{\"a\": {},\"callback_url\":\"https://h/\\\"x\" \r\n }"),
            (r#"{"a":"{"}"#, r#"{"a":"{","callback_url":"https://h/\"x"}"#),
            ("no object", "no object"),
        ];
        for (body, expected) in cases {
            assert_eq!(with_callback(body, "https://h/\"x"), expected);
        }
    }
}
