//! The architecture, held: names point down, some words are nobody's, and rooms stay small.
#![allow(clippy::expect_used, reason = "a test")]

use std::path::{Path, PathBuf};

/// Each room with its floor.
const FLOORS: &[(&str, u8)] = &[
    ("clock", 0),
    ("rng", 0),
    ("failpoints", 0),
    ("money", 0),
    ("secret", 0),
    ("job", 1),
    ("settings", 2),
    ("jobfile", 2),
    ("store", 3),
    ("provider", 3),
    ("media", 3),
    ("disk", 3),
    ("stages", 4),
    ("server", 4),
    ("sandbox", 4),
    ("daemon", 5),
    ("cli", 6),
    ("main", 7),
];
/// Folders whose files and folders are rooms that never speak to each other.
const APART: &[&str] = &["stages", "server"];
/// What the rooms of a folder share.
const SHARED: &[&str] = &["stages::provider_session", "server::body", "server::connection_limits"];
const BANNED: &[&str] = &["utils", "helpers", "manager", "common"];
/// A file longer than this holds two rooms. Tests inside it do not count.
const LONGEST: usize = 450;

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("tests.rs") {
                let text = std::fs::read_to_string(&path).expect("a source");
                files.push((path.strip_prefix(&root).expect("below src").to_owned(), text));
            }
        }
    }
    files.sort();
    files
}

fn floor_of(room: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

fn room_of(path: &Path) -> String {
    let first = path.iter().next().expect("a part").to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// The code of a file without its tests and comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .take_while(|line| *line != "#[cfg(test)]")
        .filter(|line| !line.trim_start().starts_with("//"))
}

/// `crate::a::b` → `["a", "b"]`, for each such path in a line.
fn named(line: &str) -> impl Iterator<Item = Vec<&str>> {
    line.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
        rest[..end].split("::").filter(|part| !part.is_empty()).collect()
    })
}

#[test]
fn every_room_has_a_floor() {
    for (path, _) in sources() {
        let room = room_of(&path);
        assert!(room == "lib" || floor_of(&room).is_some(), "{room} is on no floor");
    }
}

#[test]
fn names_point_down() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let room = room_of(&path);
        let Some(floor) = floor_of(&room) else { continue };
        for line in code(&text) {
            for names in named(line) {
                let Some(named_floor) = names.first().and_then(|first| floor_of(first)) else { continue };
                let own = names[0] == room;
                let apart = room == "sandbox" && named_floor > 0;
                let hidden = names[0] == "sandbox" && floor < 6;
                if !own && (named_floor >= floor || apart || hidden) {
                    wrong.push(format!("{}: {}", path.display(), line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "these names point up or sideways:\n{}", wrong.join("\n"));
}

#[test]
fn neighbours_never_speak() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let parts: Vec<String> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let [folder, own, ..] = parts.as_slice() else { continue };
        let own = own.trim_end_matches(".rs");
        if !APART.contains(&folder.as_str()) || own == "mod" {
            continue;
        }
        for line in code(&text) {
            for names in named(line).filter(|names| names.len() > 2 && names[0] == folder) {
                let shared = SHARED.contains(&format!("{folder}::{}", names[1]).as_str());
                let is_room = names[1].chars().all(|c| c.is_lowercase() || c == '_');
                let view = folder == "server" && own != "public";
                if is_room && names[1] != own && !shared && !view {
                    wrong.push(format!("{}: {}", path.display(), line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "these rooms speak to their neighbours:\n{}", wrong.join("\n"));
}

#[test]
fn the_job_machine_stays_pure() {
    for (path, text) in sources().into_iter().filter(|(path, _)| room_of(path) == "job") {
        for line in code(&text) {
            for word in
                ["async ", "tokio", "std::fs", "rusqlite", "reqwest", "serde_json::Value", "Instant::now"]
            {
                assert!(!line.contains(word), "{}: `{word}` in: {line}", path.display());
            }
        }
    }
}

#[test]
fn sql_is_the_stores_alone() {
    for (path, text) in sources().into_iter().filter(|(path, _)| room_of(path) != "store") {
        for line in code(&text) {
            assert!(!line.contains("rusqlite"), "{}: {line}", path.display());
        }
    }
}

#[test]
fn only_their_homes_make_what_proves_something() {
    let homes = [
        ("Job::restore(", "store/rows.rs"),
        ("Attempt::restore(", "store/apply.rs"),
        ("Stored::new(", "stages/download/publish.rs"),
    ];
    for (path, text) in sources().into_iter().filter(|(path, _)| room_of(path) != "job") {
        for line in code(&text) {
            for (maker, home) in homes {
                assert!(!line.contains(maker) || path == Path::new(home), "{}: {line}", path.display());
            }
        }
    }
}

#[test]
fn no_room_is_a_drawer_for_everything_and_none_is_too_long() {
    for (path, text) in sources() {
        let name = path.to_string_lossy();
        assert!(
            !BANNED.iter().any(|banned| name.contains(banned)),
            "{name} says nothing about what is in it"
        );
        let lines = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
        assert!(
            lines <= LONGEST || name.ends_with("tests.rs"),
            "{name} has {lines} lines: are these two rooms?"
        );
        assert!(
            !code(&text).any(|line| line.contains("super::super")),
            "{name} climbs: name it from `crate`"
        );
    }
}

#[test]
fn the_lock_file_stays_below_320_packages() {
    let lock =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock")).expect("Cargo.lock");
    let packages = lock.lines().filter(|line| *line == "[[package]]").count();
    assert!((200..320).contains(&packages), "{packages}: see docs/dependencies.md");
    let told = include_str!("../docs/dependencies.md");
    assert!(
        told.contains(&format!("names {packages} packages")),
        "docs/dependencies.md is to say {packages}"
    );
}
