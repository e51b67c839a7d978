//! Edits the user's text of an object: cuts out the `dropreel` member, appends the callback URL, and keeps every other
//! byte.

use serde_json::Value;

use crate::jobfile::json::{Member, Node};

/// The object's text without its member number `cut` and the comma after it or, for the last member, before it. White
/// space before a member is removed only with the last one.
pub fn without_member(object: &Node<'_>, members: &[Member<'_>], cut: Option<usize>) -> String {
    let end_of = |member: &Member<'_>| member.value.at + member.value.text.len();
    let Some((index, member)) = cut.and_then(|index| Some((index, members.get(index)?))) else {
        return object.text.to_owned();
    };
    let before = index.checked_sub(1).and_then(|before| members.get(before));
    let (from, to) = match (before, members.get(index + 1)) {
        (_, Some(next)) => (member.key_at, next.key_at),
        (Some(before), None) => (end_of(before), end_of(member)),
        (None, None) => (member.key_at, end_of(member)),
    };
    let (head, tail) = (&object.text[..from - object.at], &object.text[to - object.at..]);
    [head, tail].concat()
}

/// Appends `callback_url` as the last member. `body` is a draft's: one JSON object without that key; any other text is
/// returned unchanged.
pub fn with_callback(body: &str, callback_url: &str) -> String {
    let Some((members, closing)) = body.rfind('}').map(|at| body.split_at(at)) else {
        return body.to_owned();
    };
    let kept = members.trim_end_matches([' ', '\t', '\n', '\r']);
    let blanks = &members[kept.len()..];
    let comma = if kept.ends_with('{') { "" } else { "," };
    let url = Value::from(callback_url);
    format!("{kept}{comma}\"callback_url\":{url}{blanks}{closing}")
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
