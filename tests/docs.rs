//! Links and names in documents, code and configuration: each leads to something that exists.
#![allow(clippy::expect_used, reason = "a test")]

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use strum::VariantArray;

use dropreel::job::history::HistoryEvent;
use dropreel::job::hold::HoldReason;
use dropreel::job::notification::JobNotification;
use dropreel::job::state::StateName;
use dropreel::job::suspension::SuspensionCause;

/// Files and folders that are searched for links, from the root of the repository.
const SEARCHED: &[&str] = &[
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
    "benches",
    "ci",
    "config.toml",
    "docs",
    "schema",
    "schema.sql",
    "src",
    "systemd",
    "tests",
];
/// Generated or foreign files, and this one, which has broken links for its tests.
const SKIPPED: &[&str] = &["node_modules", "corpus", "found", "jobfiles", "docs.rs"];
/// Documents outside the repository that old comments cited.
const LOST: [&str; 2] = [concat!("contract", ", section"), concat!("provider", "-api")];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file that may hold a link, by its path from the root.
fn texts() -> BTreeMap<PathBuf, String> {
    let mut open: Vec<PathBuf> = SEARCHED.iter().map(PathBuf::from).collect();
    let mut found = BTreeMap::new();
    while let Some(path) = open.pop() {
        let full = root().join(&path);
        let skipped = path.file_name().is_some_and(|name| SKIPPED.iter().any(|skipped| name == *skipped));
        if skipped {
            continue;
        }
        if full.is_dir() {
            let entries = std::fs::read_dir(full).expect("a folder");
            open.extend(entries.map(|entry| path.join(entry.expect("an entry").file_name())));
        } else if let Ok(text) = std::fs::read_to_string(full) {
            found.insert(path, text);
        }
    }
    found
}

/// The lines of a document outside its code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    text.lines().filter(move |line| {
        let is_marker = line.trim_start().starts_with("```");
        in_code ^= is_marker;
        !in_code && !is_marker
    })
}

/// The anchors that GitHub gives to the headings of a document.
fn anchors(text: &str) -> Vec<String> {
    let headings = prose(text).filter(|line| line.starts_with('#'));
    let slug = |heading: &str| -> String {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(slug).collect()
}

/// `docs/a/../b.md` → `docs/b.md`.
fn normalised(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut whole, part| {
        match part {
            Component::ParentDir => drop(whole.pop()),
            Component::CurDir => {}
            part => whole.push(part),
        }
        whole
    })
}

/// The relative targets of the Markdown links of a document, from the root.
fn markdown_links(path: &Path, text: &str) -> Vec<String> {
    let folder = path.parent().expect("a file's folder");
    let targets = prose(text).flat_map(|line| line.split("](").skip(1));
    let targets = targets.filter_map(|rest| rest.split([')', ' ']).next());
    let relative = targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:"));
    let from_root = relative.map(|target| match target.split_once('#') {
        Some(("", anchor)) => format!("{}#{anchor}", path.display()),
        Some((file, anchor)) => format!("{}#{anchor}", normalised(&folder.join(file)).display()),
        None => normalised(&folder.join(target)).display().to_string(),
    });
    from_root.collect()
}

/// Paths of documents as comments write them: `docs/reference.md#http`.
fn plain_paths(text: &str) -> Vec<String> {
    let is_path_part = |c: char| c.is_ascii_alphanumeric() || "-_./#".contains(c);
    let words = text.split(|c: char| !is_path_part(c)).map(|word| word.trim_end_matches(['.', '/']));
    let documents = words.filter(|word| {
        let file = word.split('#').next().unwrap_or_default();
        let in_docs = file.strip_prefix("docs/").is_some_and(|rest| !rest.is_empty());
        in_docs || SEARCHED.contains(&file) && file.ends_with(".md")
    });
    documents.map(str::to_owned).collect()
}

/// Files and folders of the repository that a document names: `src/lib.rs`.
fn named_files(text: &str) -> impl Iterator<Item = &str> {
    let is_path_part = |c: char| c.is_ascii_alphanumeric() || "-_./*".contains(c);
    let words = text.split(move |c: char| !is_path_part(c)).map(|word| word.trim_end_matches(['.', '/']));
    words.filter(|word| {
        let folder = word.split_once('/').map(|(folder, _)| folder);
        folder.is_some_and(|folder| SEARCHED.contains(&folder)) && !word.contains('*')
    })
}

/// Why a link is broken, if it is.
fn fault(link: &str, texts: &BTreeMap<PathBuf, String>) -> Option<&'static str> {
    let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
    if !root().join(file).exists() {
        return Some("no such file");
    }
    let anchor = anchor?;
    let known = texts.get(Path::new(file)).map(|text| anchors(text)).unwrap_or_default();
    (!known.iter().any(|known| known == anchor)).then_some("no such heading")
}

#[test]
fn links_resolve() {
    let texts = texts();
    let mut faults = Vec::new();
    let mut count = 0;
    for (path, text) in &texts {
        let mut links = plain_paths(text);
        if path.extension().is_some_and(|ending| ending == "md") {
            links = markdown_links(path, text);
        }
        count += links.len();
        faults.extend(links.iter().filter_map(|link| {
            let fault = fault(link, &texts)?;
            Some(format!("{}: {link}: {fault}", path.display()))
        }));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(count > 60, "only {count} links were found: is the search broken?");
}

#[test]
fn files_named_in_documents_exist() {
    let mut missing = Vec::new();
    for (path, text) in texts() {
        if path.extension().is_some_and(|ending| ending == "md") {
            // A document may name files by paths from its own folder.
            let folder = root().join(path.parent().expect("a file's folder"));
            let exists = |file: &&str| root().join(file).exists() || folder.join(file).exists();
            let named = named_files(&text).filter(|file| !exists(file));
            missing.extend(named.map(|file| format!("{}: {file}", path.display())));
        }
    }
    assert!(missing.is_empty(), "these files do not exist:\n{}", missing.join("\n"));
}

#[test]
fn reference_lists_what_the_code_knows() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).expect("a file");
    let (reference, hooks, help) =
        (read("docs/reference.md"), read("docs/hooks.md"), read("tests/golden/help.txt"));
    let api: serde_json::Value = serde_json::from_str(&read("schema/openapi.json")).expect("JSON");
    let paths = api["paths"].as_object().expect("paths").keys().map(String::as_str);
    let commands = help.lines().filter_map(|line| line.strip_prefix("---- "));
    let words: Vec<_> = (StateName::VARIANTS.iter().map(StateName::into_str))
        .chain(HoldReason::VARIANTS.iter().map(HoldReason::into_str))
        .chain(SuspensionCause::VARIANTS.iter().map(SuspensionCause::into_str))
        .chain(HistoryEvent::VARIANTS.iter().map(|event| event.into_str()))
        .collect();
    let words = words.into_iter().chain(commands).chain(paths);
    let words = words.map(|word| (word, &reference, "docs/reference.md"));
    let events = JobNotification::VARIANTS.iter().map(|event| (event.into_str(), &hooks, "docs/hooks.md"));
    let mut count = 0;
    for (word, text, name) in words.chain(events) {
        // As code, alone or as a word of it: `serve`, `GET /api/v1/jobs`, `check FILE...`.
        let listed = text.split('`').skip(1).step_by(2).any(|code| code.split(' ').any(|part| part == word));
        assert!(listed, "{name} does not list {word}");
        count += 1;
    }
    assert!(count > 50, "only {count} words were compared");
}

#[test]
fn lost_documents_are_not_cited() {
    for (path, text) in texts() {
        // A citation may continue on the next line of a comment.
        let words: Vec<&str> = text.split_whitespace().filter(|word| !word.starts_with("//")).collect();
        let text = words.join(" ").to_lowercase();
        for lost in LOST {
            assert!(
                !text.contains(lost),
                "{} cites `{lost}`: cite docs/reference.md#... instead",
                path.display()
            );
        }
    }
}

#[test]
fn broken_links_are_found() {
    let text = "[a](b.md#c) [d](#e) ```f``` [web](https://h/x)\n```\n[g](h.md)\n```\n[i](../j.md \"title\")";
    let links = markdown_links(Path::new("docs/x.md"), text);
    assert_eq!(links, ["docs/b.md#c", "docs/x.md#e", "j.md"]);
    assert_eq!(
        plain_paths("// see docs/a.md#b-c, (docs/d.yml). README.md docs/"),
        ["docs/a.md#b-c", "docs/d.yml", "README.md"]
    );
    let files: Vec<&str> = named_files("`src/a.rs`, tests/b/. /usr/src/c ci/*, http://x/docs/d").collect();
    assert_eq!(files, ["src/a.rs", "tests/b"]);
    assert_eq!(anchors("# One `two`, three\n```\n# no\n```\n## Fo-ur"), ["one-two-three", "fo-ur"]);
    let texts = BTreeMap::from([(PathBuf::from("README.md"), "# Here".to_owned())]);
    assert_eq!(fault("README.md#here", &texts), None);
    assert_eq!(fault("README.md#there", &texts), Some("no such heading"));
    assert_eq!(fault("docs/nothing.md", &texts), Some("no such file"));
}

/// The workflow for n8n calls what the API has, and its nodes are connected.
#[test]
fn n8n_workflow_fits_the_api() {
    let read = |path: &str| -> serde_json::Value {
        let text = std::fs::read_to_string(root().join(path)).expect("a file");
        serde_json::from_str(&text).expect("JSON")
    };
    let (workflow, api) = (read("docs/n8n-workflow.json"), read("schema/openapi.json"));
    let nodes = workflow["nodes"].as_array().expect("nodes");
    let names: Vec<&str> = nodes.iter().filter_map(|node| node["name"].as_str()).collect();
    let mut requests = 0;
    for node in nodes.iter().filter(|node| node["type"] == "n8n-nodes-base.httpRequest") {
        let parameters = &node["parameters"];
        let url = parameters["url"].as_str().expect("an address").trim_start_matches('=');
        let path = url.strip_prefix("http://127.0.0.1:8788").expect("the default address");
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        // An expression stands for a job's id.
        let path = path.find("{{").map_or(path.to_owned(), |at| format!("{}{{job}}", &path[..at]));
        let method = parameters["method"].as_str().expect("a method").to_lowercase();
        let described = &api["paths"][&path][&method];
        assert!(described.is_object(), "{method} {path} is not in the API");
        let known = |kind: &str, name: &str| {
            let known = described["parameters"].as_array().expect("parameters");
            let is_it = |known: &serde_json::Value| {
                known["in"] == kind
                    && known["name"].as_str().is_some_and(|known| known.eq_ignore_ascii_case(name))
            };
            assert!(known.iter().any(is_it), "{method} {path} has no {kind} {name}");
        };
        query.split('&').filter_map(|pair| pair.split_once('=')).for_each(|(name, _)| known("query", name));
        for header in parameters["headerParameters"]["parameters"].as_array().into_iter().flatten() {
            known("header", header["name"].as_str().expect("a name"));
        }
        assert_eq!(method == "post", parameters["sendBody"] == true, "{method} {path}");
        requests += 1;
    }
    assert_eq!(requests, 2);
    let connections = workflow["connections"].as_object().expect("connections");
    let targets = connections.values().flat_map(|outputs| outputs["main"].as_array().into_iter().flatten());
    let targets: Vec<&str> = targets
        .flat_map(|output| output.as_array().into_iter().flatten())
        .filter_map(|to| to["node"].as_str())
        .collect();
    for name in connections.keys().map(String::as_str).chain(targets.iter().copied()) {
        assert!(names.contains(&name), "there is no node `{name}`");
    }
    for name in names.iter().filter(|name| **name != "Start") {
        assert!(targets.contains(name), "no node leads to `{name}`");
    }
}
