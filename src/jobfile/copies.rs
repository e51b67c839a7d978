//! Names that sync tools and file managers give to copies of a job file. A copy must not be bought like a new file.

use std::borrow::Cow;

use icu_normalizer::ComposingNormalizerBorrowed;

use crate::jobfile::names::{is_defaults_name, split_ending, split_path};

/// What Dropbox, Nextcloud, Seafile and others call the losing copy of a conflict, in lower case.
const CONFLICT_PHRASES: &[&str] = &[
    "conflicted copy",
    "in konflikt stehende kopie",
    "konfliktkopie",
    "copie en conflit",
    "copia en conflicto",
    "copia conflictiva",
    "copia in conflitto",
    "cópia em conflito",
    "copia em conflito",
    "kopie met conflict",
    "conflicterende kopie",
    "conflictkopie",
    "conflictexemplaar",
    "冲突的副本",
    "冲突副本",
    "衝突的複本",
    "衝突複本",
    "衝突副本",
    "競合コピー",
    "競合したコピー",
    "問題のあるコピー",
    "충돌된 사본",
    "충돌 사본",
    "конфликтующая копия",
    "конфликтная копия",
    "конфліктна копія",
    "powodująca konflikt",
    "kopia w konflikcie",
    "konfliktkopia",
    "konfliktkopi",
    "modstridende kopi",
    "kopi i konflikt",
    "kopia i konflikt",
    "çakışan kopya",
    "salinan konflik",
    "salinan bercanggah",
    "สำเนาที่ขัดแย้ง",
    "sfconflict",
    "case conflict",
    "unicode encoding conflict",
    "whitespace conflict",
    "selective sync conflict",
];

/// What file managers add to the name of a copy.
const COPY_WORDS: &[&str] = &[
    "copy",
    "kopie",
    "copie",
    "copia",
    "cópia",
    "kopia",
    "kopi",
    "kopya",
    "kópia",
    "kopio",
    "másolat",
    "копия",
    "копія",
    "salinan",
];
/// The same where words are written without spaces.
const UNSPACED_COPY_WORDS: &[&str] =
    &["的副本", "副本", "拷贝", "拷貝", "的複本", "複本", "のコピー", "コピー", "복사본", "사본"];
/// What others put before the name.
const COPY_PREFIXES: &[&str] = &[
    "copy of ",
    "kopie von ",
    "copie de ",
    "copia de ",
    "copia di ",
    "cópia de ",
    "kopie van ",
    "kopia av ",
    "kopi av ",
    "kopi af ",
    "копия ",
];

/// Whether a sync tool gives this name to the losing copy of a conflict, or one of its folders. Such a file is rejected and
/// never submitted.
pub fn is_conflict_copy(path: &str) -> bool {
    let (folder, name) = split_path(path);
    is_conflict_copy_name(name) || is_conflict_folder(folder)
}

/// Why a file of this name or path is never submitted, whatever is in it.
pub fn refused_name(path: &str) -> Option<&'static str> {
    if is_conflict_copy(path) {
        Some("this looks like a conflict copy of a sync tool and is not submitted; rename it if you want it")
    } else if is_defaults_name(path) {
        Some("`defaults.json` is what the jobs of other files lack, and no job; give a job file another name")
    } else if is_defaults_name(&base_name(path)) {
        Some("this looks like a copy of `defaults.json`, which is no job; rename it if you want it")
    } else {
        None
    }
}

/// Folders are named by people too, after a computer for example: only the phrases count.
fn is_conflict_folder(path: &str) -> bool {
    let lower = nfc(path).to_lowercase();
    CONFLICT_PHRASES.iter().any(|phrase| lower.contains(phrase))
}

fn is_conflict_copy_name(name: &str) -> bool {
    let lower = nfc(name).to_lowercase();
    let stem = split_ending(&lower).0;
    CONFLICT_PHRASES.iter().any(|phrase| lower.contains(phrase))
        // Syncthing, ownCloud
        || [".sync-conflict-", "_conflict-"].iter().any(|mark| is_followed_by_digit(&lower, mark))
        // Resilio Sync, rclone
        || stem.trim_end_matches(|c: char| c.is_ascii_digit()).ends_with(".conflict")
        || is_synology_conflict(stem)
        || brackets(stem).any(is_conflict_note)
        || is_onedrive_conflict(split_ending(name).0)
}

/// `name_HOST_Nov-28-100000-2026_Conflict` of Synology Drive.
fn is_synology_conflict(stem: &str) -> bool {
    let before = ["_conflict", "_caseconflict"].iter().find_map(|mark| stem.strip_suffix(mark));
    let date = before.and_then(|before| before.rsplit('_').next()).unwrap_or_default();
    let parts: Vec<&str> = date.split('-').collect();
    matches!(parts[..], [_, day, time, year] if [day, time, year].into_iter().all(is_number))
}

/// `[conflict]`, `(conflict 2)`, `(conflict on 2026-11-28)`: Google Drive, pCloud, Unison.
fn is_conflict_note(note: (char, &str)) -> bool {
    let (bracket, text) = note;
    let rest = text.strip_prefix("conflicted").or_else(|| text.strip_prefix("conflict"));
    rest.is_some_and(|rest| match rest {
        "" => bracket == '[' || text == "conflicted",
        rest => rest.starts_with([' ', '-', '_', '#']) && rest.contains(|c: char| c.is_ascii_digit()),
    })
}

/// `name-DESKTOP-0A1B2C3` of OneDrive: the name that Windows gives to a computer.
fn is_onedrive_conflict(stem: &str) -> bool {
    let stem = match stem.rsplit_once('-') {
        Some((before, number)) if is_number(number) && number.len() < 4 => before,
        _ => stem,
    };
    [("-DESKTOP-", 7), ("-LAPTOP-", 8)].iter().any(|(mark, length)| {
        stem.rsplit_once(mark).is_some_and(|(before, id)| {
            let is_id = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
            !before.is_empty() && id.len() == *length && id.chars().all(is_id)
        })
    })
}

/// Whether one of these paths is that of a copy of the other in its folder, or both are the same: then the same bytes under
/// both are the same file.
pub fn are_same_or_copy(one: &str, other: &str) -> bool {
    let ((one_folder, one), (other_folder, other)) = (split_path(one), split_path(other));
    let (ones, others) = (origins(one), origins(other));
    if nfc(one_folder) != nfc(other_folder) {
        return false;
    }
    others.first().is_some_and(|other| ones.contains(other))
        || ones.first().is_some_and(|one| others.contains(one))
}

/// The path in Unicode NFC, its name without all that marks a copy. Paths of which [`are_same_or_copy`] is true share it.
pub fn base_name(path: &str) -> Cow<'_, str> {
    let (folder, name) = split_path(path);
    let mut base = nfc(name);
    while let Some(origin) = origin(&base) {
        base = origin.into();
    }
    if folder.is_empty() { base } else { format!("{}/{base}", nfc(folder)).into() }
}

/// The name in NFC, and the names of which it is a copy, of a copy, ...
fn origins(name: &str) -> Vec<String> {
    let mut names = vec![nfc(name).into_owned()];
    while let Some(origin) = names.last().and_then(|name| origin(name)) {
        names.push(origin);
    }
    names
}

/// The name of which this one marks a copy.
fn origin(name: &str) -> Option<String> {
    let (stem, ending) = split_ending(name);
    let of = |origin: &str| (!origin.trim().is_empty()).then(|| format!("{}{ending}", origin.trim_end()));
    let prefix = COPY_PREFIXES.iter().find_map(|prefix| strip_start(stem, prefix));
    prefix.and_then(of).or_else(|| parenthesized(stem).or_else(|| marked(stem)).and_then(of))
}

/// `a (1)`, `a(1)`, `a (copy)`, `a (another copy)`, `a (3rd copy)`.
fn parenthesized(stem: &str) -> Option<&str> {
    let (origin, note) = stem.strip_suffix([')', '\u{ff09}'])?.rsplit_once(['(', '\u{ff08}'])?;
    let is_copy = is_copy_number(note)
        || without_copy_word(without_number(note)).is_some_and(|rest| rest.chars().count() < 12);
    is_copy.then_some(origin)
}

/// `a - Copy`, `a copy 2`, `a - Kopie (2)`, `a 2`, `a 副本`.
fn marked(stem: &str) -> Option<&str> {
    let unnumbered = without_number(stem);
    match without_copy_word(unnumbered) {
        Some(origin) => Some(origin.trim_end_matches([' ', '-', '–', '—', '_'])),
        // iCloud numbers its copies from 2 on.
        None => (unnumbered != stem).then_some(unnumbered),
    }
}

/// The text without a number behind a space at its end.
fn without_number(text: &str) -> &str {
    match text.rsplit_once(' ') {
        Some((before, number)) if is_copy_number(number) => before,
        _ => text,
    }
}

/// The text before a copy word at its end; the word stands alone.
fn without_copy_word(text: &str) -> Option<&str> {
    let unspaced = || UNSPACED_COPY_WORDS.iter().find_map(|word| text.strip_suffix(word));
    let spaced = COPY_WORDS.iter().find_map(|word| strip_end(text, word));
    spaced.filter(|before| before.is_empty() || before.ends_with([' ', '-', '–', '—', '_'])).or_else(unspaced)
}

fn is_copy_number(text: &str) -> bool {
    is_number(text) && text.len() <= 3 && !text.starts_with('0')
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Removes a word at the start in any case.
fn strip_start<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let mut rest = text.chars();
    word.chars().all(|letter| is_letter(rest.next(), letter)).then_some(rest.as_str())
}

/// Removes a word at the end in any case.
fn strip_end<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let mut rest = text.chars();
    word.chars().rev().all(|letter| is_letter(rest.next_back(), letter)).then_some(rest.as_str())
}

/// Whether this is a lower-case letter, in any case.
fn is_letter(found: Option<char>, letter: char) -> bool {
    found.is_some_and(|found| found.to_lowercase().eq([letter]))
}

fn is_followed_by_digit(text: &str, mark: &str) -> bool {
    text.split(mark).skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// The texts in brackets, each with its opening bracket.
fn brackets(text: &str) -> impl Iterator<Item = (char, &str)> {
    text.char_indices().filter(|(_, c)| matches!(c, '(' | '[')).filter_map(|(at, open)| {
        let inside = &text[at + 1..];
        let end = inside.find(if open == '(' { ')' } else { ']' })?;
        Some((open, inside[..end].trim()))
    })
}

/// macOS writes an umlaut as two characters, other systems as one.
pub fn nfc(name: &str) -> Cow<'_, str> {
    if name.is_ascii() { name.into() } else { ComposingNormalizerBorrowed::new_nfc().normalize(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of `conflict NAME`, `copy NAME = ORIGIN` and `job NAME`.
    const CASES: &str = include_str!("../../tests/jobfiles/names.txt");

    #[test]
    fn names_of_conflict_copies_copies_and_jobs_are_distinguished() {
        let mut cases = 0;
        for line in CASES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (kind, rest) = line.split_once(' ').unwrap();
            let (name, copied) = rest.split_once(" = ").map_or((rest, None), |(name, of)| (name, Some(of)));
            assert_eq!(is_conflict_copy(name), kind == "conflict", "{line}");
            match (kind, copied) {
                ("conflict", None) => {}
                ("copy", Some(of)) => {
                    assert_eq!(base_name(name), base_name(of), "{line}");
                    assert!(are_same_or_copy(name, of) && are_same_or_copy(of, name), "{line}");
                }
                ("job", None) => assert_eq!(base_name(name), name, "{line}"),
                _ => panic!("{line}"),
            }
            cases += 1;
        }
        assert!(cases > 100);
    }

    #[test]
    fn files_in_a_conflict_copy_of_a_folder_are_conflict_copies() {
        assert!(is_conflict_copy("spring (Selective Sync Conflict)/day 1/a.json"));
        assert!(!is_conflict_copy("renders-DESKTOP-0A1B2C3/a.json"));
    }

    #[test]
    fn defaults_and_their_copies_are_never_submitted() {
        for name in ["defaults.json", "a/Defaults.json", "defaults (1).json", "a/defaults - Copy.json"] {
            assert!(refused_name(name).is_some(), "{name}");
        }
        for name in ["defaults.jsonl", "my defaults.json", "defaults/a.json", "a.json"] {
            assert_eq!(refused_name(name), None, "{name}");
        }
    }

    #[test]
    fn two_copies_of_a_file_are_not_copies_of_each_other() {
        assert!(!are_same_or_copy("shot 2.json", "shot 3.json"));
        assert!(!are_same_or_copy("a (1).json", "b (1).json"));
        assert!(!are_same_or_copy("a.json", "a.jsonl"));
        assert!(!are_same_or_copy("a/x.json", "b/x.json"));
        assert!(!are_same_or_copy("copy of a/x.json", "a/x.json"));
        assert!(are_same_or_copy("mu\u{308}/x (1).json", "m\u{fc}/x.json"));
        assert_eq!(base_name("mu\u{308}/copy of x 2.json"), "m\u{fc}/x.json");
        assert!(are_same_or_copy("a (1) - Copy.json", "a (1).json"));
        assert!(are_same_or_copy("a (1) - Copy.json", "a.json"));
    }
}
