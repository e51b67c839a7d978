//! Words that must not come back: metaphors that only their authors understood, and idioms that are not English.
//! docs/glossary.md has the words to use instead.

use crate::source;

/// Rejected words, matched as whole words in any case. What follows `->` is the word to use.
const REJECTED: &[&str] = &[
    "house -> layers, modules",
    "river -> pipeline",
    "doorman -> connection limits",
    "door -> listener, server",
    "doors -> listeners, servers",
    "fence -> request check",
    "fences -> isolates",
    "lane -> transfer permit",
    "lanes -> transfer permits",
    "bell -> topic",
    "bells -> topics",
    "rung -> notified",
    "aloft -> in flight",
    "flights -> in flight",
    "knock -> callback, connectivity check",
    "knocks -> callback, connectivity check",
    "knocked -> callback received",
    "unfolded -> unprocessed",
    "refold -> process",
    "call_off -> cancel",
    "calloff -> cancel",
    "called_off -> cancelled",
    "strike -> scheduled fault",
    "struck -> scheduled fault",
    "spoilt -> fault",
    "film -> clip, video",
    "films -> clips, videos",
    "reellab -> DROPREEL_FAIL",
    "planted -> mutant",
    "dice -> rng",
    "tally -> metrics",
    "befall -> happen to",
    "befalls -> happens to",
    "patience -> timeout",
    "mend -> fix",
    "mends -> fixes",
    "mended -> fixed",
    "doomed -> kill_after",
    "buried -> exited",
    "told -> reported, logged, notified",
    "untold -> unreported",
    "thaw -> resend",
    "slips -> syntax hints",
    "judgement -> validation",
    "manner -> priority",
    "unheard -> no answer",
    "so many -> the number itself",
    "gone on with -> resumed",
    "is none any more -> no longer is",
    "what is to be -> what must be",
    "stands still -> is paused",
    "neighbours never speak -> modules of one layer do not import each other",
    "lab -> crash tests",
    "taken in -> ingested",
    "anew -> again",
    "in vain -> without effect",
    "at rest -> idle, settled",
    "come to rest -> settle",
    "comes to rest -> settles",
    "goes on -> continues",
    "asked about -> polled",
    "held against -> counted against",
    "pulled out -> detached",
    "put off -> delayed, refused",
    "impostor -> file of another type",
    "weather -> network faults",
    "happening -> incident",
    "happenings -> incidents",
    "knobs -> settings",
    "lawful -> valid",
    "unlawful -> invalid",
    "doom -> kill_after",
    "unstruck -> time to the fault",
    "until_said -> until_output",
    "set_plain -> set_variable",
    "looked through -> scanned",
];

/// Where a rejected word is right: the file (or the end of its path), the word, why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("tests/architecture/words.rs", "", "the list itself"),
    ("docs/glossary.md", "", "may say what a word replaces"),
    ("tests/browser/page.test.mjs", "house", "the job is called tea-house"),
    ("tests/browser/pictures.mjs", "house", "the job is called tea-house"),
];

const ENDINGS: &[&str] =
    &[".rs", ".md", ".toml", ".sql", ".txt", ".html", ".js", ".mjs", ".css", ".yml", ".json", ".service"];

fn is_word_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether `line` holds `word` with no letter, digit or underscore beside it. `snake_case` parts count as words.
fn holds(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let inside = |c: Option<char>| c.is_some_and(|c| is_word_part(c) && c != '_');
        !inside(before) && !inside(after)
    })
}

#[test]
fn rejected_words_do_not_come_back() {
    let mut files = Vec::new();
    for folder in ["src", "tests", "docs", "benches", "systemd", "ci"] {
        files.extend(source::files_below(folder, ENDINGS));
    }
    for file in
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "config.toml", "schema.sql"]
    {
        files.push(source::root().join(file));
    }
    let mut found = Vec::new();
    for file in files {
        let name = file.strip_prefix(source::root()).expect("below the root").to_string_lossy().into_owned();
        if name.ends_with("idiomorph.js")
            || name.starts_with("tests/fixtures")
            || name.contains("package-lock")
        {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        for (number, line) in text.lines().enumerate() {
            let lower = line.to_lowercase();
            for entry in REJECTED {
                let (word, instead) = entry.split_once(" -> ").expect("a word and its replacement");
                let allowed = EXCEPTIONS.iter().any(|(file, excepted, _)| {
                    name.ends_with(file) && (excepted.is_empty() || *excepted == word)
                });
                if !allowed && holds(&lower, word) {
                    found.push(format!("{name}:{}: `{word}` -> {instead}: {}", number + 1, line.trim()));
                }
            }
        }
    }
    assert!(found.is_empty(), "{} places:\n{}", found.len(), found.join("\n"));
}
