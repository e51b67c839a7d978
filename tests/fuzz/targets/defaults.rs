//! A job and defaults of any bytes: the job's own text never changes, and nothing is added but what it lacks.
//!
//! The first two bytes say where the defaults end.
#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;

use dropreel::jobfile::{Defaults, DefaultsFile, JobFileLimits, JobFileReader};
use dropreel::rng::Rng;
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

type Keys = BTreeMap<String, Box<RawValue>>;

fuzz_target!(|bytes: &[u8]| {
    let [high, low, bytes @ ..] = bytes else { return };
    let split = usize::from(u16::from_be_bytes([*high, *low])).min(bytes.len());
    let (defaults, object) = bytes.split_at(split);
    let Ok(file) = DefaultsFile::read("defaults.json", defaults) else { return };
    let reader = JobFileReader::new(JobFileLimits::default(), Rng::seeded(1));
    let alone = reader.read_document(object, "a-file");
    let reader = reader.with_defaults(Arc::new(Defaults::new("a/folder", [&file])));
    let Ok(drafts) = reader.read_document(object, "a-file") else { return };
    let (Ok(own), Ok(added)) =
        (serde_json::from_slice::<Keys>(object), serde_json::from_slice::<Keys>(defaults))
    else {
        return;
    };
    for draft in &drafts {
        let Ok(sent) = serde_json::from_str::<Keys>(&draft.body) else { panic!("a body is JSON") };
        // `repeat` and `matrix`, the job's own or of defaults, set keys of each copy.
        if draft.variation.is_some() {
            continue;
        }
        for (key, value) in &sent {
            let expected = own.get(key).or(added.get(key)).expect("a key of the job or of its defaults");
            assert_eq!(value.get(), expected.get(), "{key}");
        }
        assert!(own.keys().chain(added.keys()).all(|key| key == "dropreel" || sent.contains_key(key)));
        assert!(!sent.contains_key("callback_url") && !sent.contains_key("dropreel"));
        assert!(draft.labels.contains_key("folder"));
        if let Ok(alone) = &alone
            && let [alone] = &alone[..]
            && let Some(text) = alone.body.trim_end().strip_suffix('}')
        {
            assert!(
                draft.body.starts_with(text.trim_end_matches([' ', '\t', '\n', '\r'])),
                "{:?}",
                draft.body
            );
        }
    }
});
