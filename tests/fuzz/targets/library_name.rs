//! Names of files in the library: whatever the layout and the facts, one safe relative path of as many parts as the
//! layout has.
//!
//! An input is a layout, a name, a model, a label's value, an ending and a number, with `¦` between them.
#![no_main]

use std::collections::BTreeMap;
use std::path::{Component, Path};

use dropreel::library::layout::{Layout, NameFacts, safe_part};
use libfuzzer_sys::fuzz_target;

/// What the longest text becomes; a name may have a number, too.
const PART: usize = 180;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let mut fields = text.split('¦');
    let mut next = || fields.next().unwrap_or_default();
    let (template, name, model, label, extension) = (next(), next(), next(), next(), next());
    let number = next().parse::<usize>().unwrap_or(1).clamp(1, 1000);
    for text in [template, name, model, label, extension] {
        check_part(&safe_part(text), PART);
    }
    let Ok(layout) = Layout::parse(template) else { return };
    let labels = BTreeMap::from([("project".to_owned(), label.to_owned())]);
    let facts = NameFacts {
        date: "2026-04-04",
        name,
        id: "019d5000-0000-7000-8000-000000000001",
        model,
        number,
        extension,
        labels: &labels,
    };
    let path = layout.path(&facts);
    let parts: Vec<&str> = path.split('/').collect();
    assert_eq!(parts.len(), template.split('/').count(), "{path:?}");
    let ending = format!(".{}", safe_part(extension));
    for (place, part) in parts.iter().enumerate() {
        if place + 1 == parts.len() {
            let stem = part.strip_suffix(&ending);
            check_part(stem.unwrap_or_else(|| panic!("{part:?} does not end in {ending:?}")), PART);
        } else {
            check_part(part, PART);
        }
    }
    assert!(Path::new(&path).is_relative());
    assert!(Path::new(&path).components().all(|part| matches!(part, Component::Normal(_))), "{path:?}");
    let other = layout.path(&NameFacts { number: number + 1, ..facts });
    assert_ne!(path, other, "each output of a job has a name of its own");
});

fn check_part(part: &str, longest: usize) {
    assert!((1..=longest).contains(&part.len()), "{} bytes: {part:?}", part.len());
    assert!(!part.starts_with(['.', '-', ' ']) && !part.ends_with(['.', ' ']), "{part:?}");
    assert!(!part.contains(['/', '\\', ':', '*', '?', '"', '<', '>', '|']), "{part:?}");
    assert!(!part.chars().any(char::is_control), "{part:?}");
    let hidden = |c| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    assert!(!part.contains(hidden), "{part:?}");
    let stem = part.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let devices = ["CON", "PRN", "AUX", "NUL", "COM1", "COM9", "LPT1", "LPT9"];
    assert!(!devices.contains(&stem.as_str()), "{part:?}");
}
