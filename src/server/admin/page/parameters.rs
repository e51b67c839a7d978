//! The parameters of a request as pairs of texts, to display and to compare.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// Longer values are cut.
const MAX_VALUE: usize = 200;
/// More differences than this, and two requests have little to do with each other.
const MAX_BADGES: usize = 3;
/// The longest value in a badge, in characters.
const MAX_BADGE: usize = 12;

/// A request without its prompt: `extra.audio` and the like by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// Reads the user's own text of a request. Numbers stay as they are written.
    pub(super) fn parse(request: &str) -> Self {
        let mut parameters = Self::default();
        parameters.add("", request);
        parameters.0.remove("prompt");
        parameters
    }

    fn add(&mut self, prefix: &str, object: &str) {
        let Ok(members) = serde_json::from_str::<BTreeMap<String, &RawValue>>(object) else { return };
        for (key, value) in members {
            let name = format!("{prefix}{key}");
            let value = value.get();
            if value.starts_with('{') && prefix.is_empty() {
                self.add(&format!("{name}."), value);
            } else {
                let text = serde_json::from_str(value).unwrap_or_else(|_| value.to_owned());
                self.0.insert(name, cut(&text, MAX_VALUE));
            }
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The names in which the two differ.
    fn differences<'a>(&'a self, other: &'a Self) -> Vec<&'a str> {
        let names = self.0.keys().chain(other.0.keys().filter(|name| !self.0.contains_key(*name)));
        names.map(String::as_str).filter(|name| self.get(name) != other.get(name)).collect()
    }
}

/// A request with its prompt.
pub(super) struct Asked<'a> {
    pub prompt: Option<&'a str>,
    pub parameters: &'a Parameters,
}

/// What differs in the first request from the second, in a word each; nothing if they have little in common. `prompt` is
/// the word for that.
pub(super) fn badges(one: &Asked<'_>, other: &Asked<'_>, prompt: &str) -> Vec<String> {
    let mut badges = Vec::new();
    if one.prompt != other.prompt {
        badges.push(prompt.to_owned());
    }
    let names = one.parameters.differences(other.parameters);
    badges.extend(names.into_iter().map(|name| badge(name, one.parameters.get(name).unwrap_or("–"))));
    if badges.len() > MAX_BADGES { Vec::new() } else { badges }
}

/// A value that says by itself what it is, such as `720p`; else with its name, if it is short.
fn badge(name: &str, value: &str) -> String {
    let says_it = value.chars().any(char::is_alphabetic) && !matches!(value, "true" | "false" | "null");
    match value.chars().count() {
        0..=MAX_BADGE if says_it => value.to_owned(),
        0..=MAX_BADGE => format!("{name} {value}"),
        _ => name.to_owned(),
    }
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_flat_and_keep_their_spelling() {
        let request = r#"{"model":"wan2.5","prompt":"p","seed":1.10,"extra":{"audio":true,"deep":{"a":[1]}},"s":"x\ny"}"#;
        let parameters = Parameters::parse(request);
        let expected = [
            ("extra.audio", "true"),
            ("extra.deep", r#"{"a":[1]}"#),
            ("model", "wan2.5"),
            ("s", "x\ny"),
            ("seed", "1.10"),
        ];
        assert_eq!(parameters.iter().collect::<Vec<_>>(), expected);
        assert_eq!(Parameters::parse("no object"), Parameters::default());
        let long = format!(r#"{{"image":"{}"}}"#, "春".repeat(300));
        assert_eq!(Parameters::parse(&long).get("image").map(|text| text.chars().count()), Some(201));
    }

    #[test]
    fn badges_name_what_differs_between_similar_requests() {
        let base = r#"{"model":"m","seed":1,"resolution":"1080p","duration":5}"#;
        let cases: [(&str, &str, &[&str]); 8] = [
            ("p", base, &[]),
            ("q", base, &["prompt"]),
            ("p", r#"{"model":"m","seed":17,"resolution":"1080p","duration":5}"#, &["seed 17"]),
            ("p", r#"{"model":"m","seed":1,"resolution":"720p","duration":5}"#, &["720p"]),
            ("q", r#"{"model":"m","seed":2,"resolution":"1080p","duration":5}"#, &["prompt", "seed 2"]),
            ("p", r#"{"model":"m","resolution":"1080p","duration":5}"#, &["seed –"]),
            ("p", r#"{"model":"a rather long name","seed":1,"resolution":"1080p","duration":5}"#, &["model"]),
            ("q", r#"{"model":"n","seed":3,"resolution":"480p","duration":9}"#, &[]),
        ];
        let base = Parameters::parse(base);
        for (prompt, request, expected) in cases {
            let parameters = Parameters::parse(request);
            let one = Asked { prompt: Some(prompt), parameters: &parameters };
            let other = Asked { prompt: Some("p"), parameters: &base };
            assert_eq!(badges(&one, &other, "prompt"), expected, "{request}");
        }
    }
}
