//! Library paths: any layout with any values gives a safe relative path with as many components as the layout.
//!
//! An input is a layout, a name, a model, the value of a label, an extension and a number, separated by `¦`.
#![no_main]

use std::collections::BTreeMap;
use std::path::{Component, Path};

use dropreel::library::layout::{Layout, LayoutValues};
use dropreel::library::safe_name;
use libfuzzer_sys::fuzz_target;

/// Longest component in bytes, number included.
const MAX_BYTES: usize = 120;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let mut fields = text.split('¦');
    let mut next = || fields.next().unwrap_or_default();
    let (template, name, model, label, extension) = (next(), next(), next(), next(), next());
    let number = next().parse::<usize>().unwrap_or(1).clamp(1, 1000);
    for text in [template, name, model, label, extension] {
        check_component(&safe_name(text), MAX_BYTES);
    }
    let Ok(layout) = Layout::parse(template) else { return };
    let labels = BTreeMap::from([("project".to_owned(), label.to_owned())]);
    let values = LayoutValues {
        date: "2026-04-04",
        name,
        id: "019d5000-0000-7000-8000-000000000001",
        model,
        number,
        extension,
        labels: &labels,
    };
    let path = layout.path(&values);
    let components: Vec<&str> = path.split('/').collect();
    assert_eq!(components.len(), template.split('/').count(), "{path:?}");
    let extension = format!(".{}", safe_name(extension));
    for (place, part) in components.iter().enumerate() {
        if place + 1 == components.len() {
            let stem = part.strip_suffix(&extension);
            check_component(stem.unwrap_or_else(|| panic!("{part:?} does not end in {extension:?}")), MAX_BYTES);
        } else {
            check_component(part, MAX_BYTES);
        }
    }
    assert!(Path::new(&path).is_relative());
    assert!(Path::new(&path).components().all(|part| matches!(part, Component::Normal(_))), "{path:?}");
    let other = layout.path(&LayoutValues { number: number + 1, ..values });
    assert_ne!(path, other, "outputs of a job must have distinct paths");
});

fn check_component(part: &str, longest: usize) {
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
