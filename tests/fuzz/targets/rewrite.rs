//! Stored requests as job files again: the first line of the input is a path, the second a value, the rest a job file. What is
//! not set keeps its bytes, and what is exported reads back as the same job.
#![no_main]

use std::collections::BTreeMap;

use dropreel::jobfile::rewrite::{OwnValues, job_file, on_one_line, with_value};
use dropreel::jobfile::{Draft, JobFileLimits, read_document};
use dropreel::rng::Rng;
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut parts = text.splitn(3, '\n');
    let (path, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let file = parts.next().unwrap_or_default();
    let Ok(drafts) = read_document(file.as_bytes(), "a-file", &JobFileLimits::default(), &Rng::seeded(1)) else {
        return;
    };
    let value = RawValue::from_string(value.to_owned());
    for draft in &drafts {
        check_export(draft);
        if let Ok(value) = &value {
            check_set(&draft.body, path, value);
        }
    }
});

/// The job file of an export, on lines or on one, makes the same job.
fn check_export(draft: &Draft) {
    let own = OwnValues {
        name: draft.name.clone(),
        priority: draft.priority,
        labels: draft.labels.clone(),
        // With the number of a copy, a key may be longer than one that is written by hand.
        key: draft.key.clone().filter(|key| key.chars().count() <= 200),
        not_before: draft.not_before,
        max_cost: draft.max_cost,
    };
    let text = job_file(&draft.body, &own);
    let line = on_one_line(&text);
    assert!(!line.contains(['\n', '\r']));
    for (text, is_line) in [(&text, false), (&line, true)] {
        let again = read_document(text.as_bytes(), "other", &JobFileLimits::default(), &Rng::seeded(2));
        let again = again.unwrap_or_else(|refusal| panic!("does not read back: {refusal}\n{text}"));
        assert_eq!(again.len(), 1);
        let again = &again[0];
        if is_line {
            assert_eq!(without_space(&again.body), without_space(&draft.body));
        } else {
            assert_eq!(again.body, draft.body, "the request has its bytes");
        }
        assert_eq!((&again.name, again.priority, &again.labels), (&own.name, own.priority, &own.labels));
        assert_eq!((&again.key, again.not_before, again.max_cost), (&own.key, own.not_before, own.max_cost));
        assert_eq!((&again.model, &again.prompt), (&draft.model, &draft.prompt));
    }
}

/// Setting a value changes one part of one member and nothing else, and setting it again changes nothing.
fn check_set(body: &str, path: &str, value: &RawValue) {
    let Ok(text) = with_value(body, path, value) else { return };
    let (before, after) = (members(body), members(&text));
    assert!(before.keys().all(|key| after.contains_key(key)), "no member is lost");
    let changed: Vec<&String> = after.iter().filter(|(key, text)| before.get(*key) != Some(text)).map(|(key, _)| key).collect();
    assert!(changed.len() <= 1, "one member is changed");
    let start = common(body.bytes(), text.bytes());
    let end = common(body[start..].bytes().rev(), text[start..].bytes().rev());
    let removed = body.len() - start - end;
    let replaced = changed.first().and_then(|key| before.get(*key)).map_or(0, |old| old.len());
    assert!(removed <= replaced, "what is removed is the value that was replaced, or a part of it");
    assert_eq!(with_value(&text, path, value).as_deref(), Ok(text.as_str()));
}

fn common(one: impl Iterator<Item = u8>, other: impl Iterator<Item = u8>) -> usize {
    one.zip(other).take_while(|(one, other)| one == other).count()
}

/// The text without white space outside of strings.
fn without_space(text: &str) -> String {
    let (mut inside, mut escaped) = (false, false);
    let keep = |c: &char| {
        let is_space = !inside && matches!(c, ' ' | '\t' | '\n' | '\r');
        match c {
            _ if escaped => escaped = false,
            '\\' if inside => escaped = true,
            '"' => inside = !inside,
            _ => {}
        }
        !is_space
    };
    text.chars().filter(keep).collect()
}

/// The members of an object with their text, as another parser reads them.
fn members(object: &str) -> BTreeMap<String, &str> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(object).expect("an object");
    members.into_iter().map(|(key, value)| (key, value.get())).collect()
}
