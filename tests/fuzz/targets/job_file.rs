//! Job files of any bytes. An accepted file means the same to another parser and its bodies are unchanged; a rejected one
//! has problems with positions.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use dropreel::jobfile::{
    Cause, Draft, JobFileLimits, MAX_DEPTH, MAX_PROBLEMS, Refusal, read_document, with_callback,
};
use dropreel::rng::Rng;
use libfuzzer_sys::fuzz_target;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

const CALLBACK: &str = "https://hooks.example/callbacks/\"id\"/token";

fuzz_target!(|bytes: &[u8]| {
    match read_document(bytes, "a-file", &JobFileLimits::default(), &Rng::seeded(1)) {
        Ok(drafts) => check_accepted(bytes, &drafts),
        Err(refusal) => check_rejected(bytes, &refusal),
    }
});

fn check_accepted(bytes: &[u8], drafts: &[Draft]) {
    let text = std::str::from_utf8(bytes).expect("only UTF-8 is accepted");
    let whole: &RawValue = serde_json::from_str(text).expect("only JSON is accepted");
    if let Err(error) = serde_json::from_str::<UniqueKeys>(text) {
        // Its depth limit is one lower than dropreel's, and it rejects numbers that do not fit.
        let why = error.to_string();
        assert!(why.contains("recursion limit") || why.contains("number out of range"), "{why}");
    }
    assert!(depth(text) <= MAX_DEPTH);
    let objects: Vec<&RawValue> = match whole.get().as_bytes().first() {
        Some(b'[') => serde_json::from_str(whole.get()).expect("an array"),
        _ => vec![whole],
    };
    assert!(!objects.is_empty());
    let mut places: Vec<_> = drafts.iter().map(|draft| draft.place.pointer.as_str()).collect();
    places.dedup();
    assert_eq!(objects.len(), places.len(), "jobs for each object");
    for draft in drafts {
        let index = draft.place.pointer.strip_prefix('/').map_or(0, |index| index.parse().expect("an index"));
        check_job(objects[index].get(), draft);
    }
}

fn check_job(object: &str, draft: &Draft) {
    let mut given = members(object);
    let member = given.remove("dropreel").map(members).unwrap_or_default();
    let matrix = member.get("matrix").map(|matrix| members(matrix)).unwrap_or_default();
    let body = members(&draft.body);
    for (key, text) in &body {
        match matrix.get(key) {
            Some(values) => {
                let values: Vec<&RawValue> = serde_json::from_str(values).expect("an array");
                assert!(values.iter().any(|value| value.get() == *text), "one of the values with its text");
            }
            None if key == "seed" && member.contains_key("repeat") => {
                assert!(given.get(key) == Some(text) || text.parse::<u32>().is_ok_and(|seed| seed < 1 << 31));
            }
            None => assert_eq!(given.get(key), Some(text), "the same text is sent"),
        }
    }
    assert!(given.keys().all(|key| body.contains_key(key)), "all members are sent");
    assert!(!body.contains_key("callback_url"));
    if !member.contains_key("matrix") && !member.contains_key("repeat") {
        let (start, end) = (common(object.bytes(), draft.body.bytes()), draft.body.bytes().rev());
        let kept = start + common(object.bytes().rev(), end);
        assert!(kept >= draft.body.len(), "the body is the user's text without one part");
    }
    let given = body;

    let body = with_callback(&draft.body, CALLBACK);
    let mut sent = members(&body);
    let address = sent.remove("callback_url").expect("the callback address");
    assert_eq!(serde_json::from_str::<String>(address).expect("a string"), CALLBACK);
    assert_eq!(sent, given);

    let model: String = serde_json::from_str(given["model"]).expect("the model is a string");
    assert_eq!(model, draft.model);
    assert!(!model.trim().is_empty());
    if let (Some(prompt), Some(text)) = (&draft.prompt, given.get("prompt")) {
        assert_eq!(&serde_json::from_str::<String>(text).expect("the prompt is a string"), prompt);
    }
    assert!((1..=200).contains(&draft.name.chars().count()) && !draft.name.chars().any(char::is_control));
    assert!((-100..=100).contains(&draft.priority));
    assert!(draft.labels.len() <= 50);
    assert!(draft.labels.keys().all(|key| (1..=64).contains(&key.chars().count())));
    // With the number that `repeat` and `matrix` append.
    assert!(draft.key.as_ref().is_none_or(|key| (1..=206).contains(&key.chars().count())));
    assert!(!format!("{draft:?}").contains(&draft.body));
}

fn check_rejected(bytes: &[u8], refusal: &Refusal) {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.split('\n').collect();
    assert!((1..=MAX_PROBLEMS + 1).contains(&refusal.problems.len()));
    assert!(refusal.problems.is_sorted_by_key(|problem| (problem.line, problem.column)));
    for problem in &refusal.problems {
        let line = usize::try_from(problem.line).ok().and_then(|line| lines.get(line.checked_sub(1)?));
        let line = line.unwrap_or_else(|| panic!("no line {problem}"));
        assert!((1..=line.chars().count() as u64 + 1).contains(&problem.column), "{problem}");
        assert!(!problem.message.is_empty() && !problem.message.chars().any(char::is_control), "{problem}");
        assert!(problem.message.len() < 2000, "{problem}");
        assert!(problem.pointer.is_empty() || problem.pointer.starts_with('/'));
        assert!(problem.pointer.len() <= 1000);
    }
    let text = text.trim_start_matches('\u{feff}');
    let parses = std::str::from_utf8(bytes).is_ok() && serde_json::from_str::<&RawValue>(text).is_ok();
    match refusal.cause {
        Cause::Empty => assert!(text.trim().is_empty()),
        Cause::Unparsable => assert!(!parses, "rejected as broken, but it parses: {refusal}"),
        Cause::Wrong => {
            assert!(parses || depth(text) > MAX_DEPTH, "rejected as wrong, but it is broken: {refusal}")
        }
    }
}

/// The members of an object with their text, as another parser reads them.
fn members(object: &str) -> BTreeMap<String, &str> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(object).expect("an object");
    members.into_iter().map(|(key, value)| (key, value.get())).collect()
}

fn common(one: impl Iterator<Item = u8>, other: impl Iterator<Item = u8>) -> usize {
    one.zip(other).take_while(|(one, other)| one == other).count()
}

/// How deeply brackets are nested outside of strings.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut inside, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if inside => escaped = true,
            b'"' => inside = !inside,
            b'{' | b'[' if !inside => depth += 1,
            b'}' | b']' if !inside => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Any JSON value without duplicate keys.
struct UniqueKeys;

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(UniqueKeysVisitor)
    }
}

struct UniqueKeysVisitor;

impl<'de> Visitor<'de> for UniqueKeysVisitor {
    type Value = UniqueKeys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueKeys, A::Error> {
        let mut keys = BTreeSet::new();
        while let Some((key, UniqueKeys)) = map.next_entry::<String, UniqueKeys>()? {
            if !keys.insert(key) {
                return Err(A::Error::custom("a key twice"));
            }
        }
        Ok(UniqueKeys)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<UniqueKeys, A::Error> {
        while items.next_element::<UniqueKeys>()?.is_some() {}
        Ok(UniqueKeys)
    }

    fn visit_bool<E>(self, _: bool) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_i64<E>(self, _: i64) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_u64<E>(self, _: u64) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_f64<E>(self, _: f64) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_str<E>(self, _: &str) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_unit<E>(self) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }
}
