//! The rules that keep the code base readable, as tests: layers, unique names, no cycles between files, plain words.
//! ARCHITECTURE.md explains them.
#![allow(clippy::expect_used, clippy::panic, reason = "a test")]

mod cycles;
mod layers;
mod mutants;
mod source;
mod states;
mod types;
mod words;

/// Names that say nothing about what is in a file.
const MEANINGLESS_NAMES: &[&str] = &["utils", "helpers", "manager", "common", "misc"];
/// A longer file serves two purposes. Tests inside the file do not count.
const LONGEST_FILE: usize = 450;

#[test]
fn files_are_short_and_their_names_say_something() {
    for file in source::files() {
        let name = file.path.to_string_lossy();
        assert!(!MEANINGLESS_NAMES.iter().any(|word| name.contains(word)), "{name}: the name says nothing");
        let lines = file.text.lines().take_while(|line| *line != "#[cfg(test)]").count();
        assert!(
            lines <= LONGEST_FILE || name.ends_with("tests.rs"),
            "{name} has {lines} lines: split it by purpose"
        );
    }
}

#[test]
fn every_file_says_its_purpose_first() {
    for file in source::files() {
        let first = file.text.lines().next().unwrap_or_default();
        let path = file.path.display();
        assert!(
            first.starts_with("//! ") || path.to_string() == "main.rs",
            "{path}: begin with `//! what it is for`"
        );
    }
}

#[test]
fn job_machine_has_no_io_and_no_async() {
    let forbidden = [
        "async ",
        "tokio",
        "std::fs",
        "std::net",
        "rusqlite",
        "reqwest",
        "serde_json::Value",
        "Instant::now",
    ];
    for file in source::files().into_iter().filter(|file| file.module() == "job") {
        for line in file.code_lines() {
            for word in forbidden {
                assert!(!line.contains(word), "{}: `{word}` in: {line}", file.path.display());
            }
        }
    }
}

#[test]
fn only_the_connections_of_the_store_name_the_database_library() {
    // `costs` counts what SQLite does, for tests alone.
    let may = |file: &source::SourceFile| {
        file.path.starts_with("store/db") || file.path.ends_with("store/costs.rs")
    };
    for file in source::files().into_iter().filter(|file| !may(file)) {
        for line in file.code_lines() {
            assert!(!line.contains("rusqlite"), "{}: {line}", file.path.display());
        }
    }
}

#[test]
fn lock_file_names_as_many_packages_as_documented() {
    let root = source::root();
    let lock = std::fs::read_to_string(root.join("Cargo.lock")).expect("Cargo.lock");
    let packages = lock.lines().filter(|line| *line == "[[package]]").count();
    assert!((200..350).contains(&packages), "{packages} packages: see docs/dependencies.md");
    let documented =
        std::fs::read_to_string(root.join("docs/dependencies.md")).expect("docs/dependencies.md");
    assert!(
        documented.contains(&format!("names {packages} packages")),
        "docs/dependencies.md should say: names {packages} packages"
    );
}
