//! A file imports only modules of lower layers; modules of one layer do not import each other.

use crate::source::{self, SourceFile};

/// Each top-level module with its layer.
const LAYERS: &[(&str, u8)] = &[
    ("clock", 0),
    ("rng", 0),
    ("failpoints", 0),
    ("money", 0),
    ("secret", 0),
    ("sha256", 0),
    ("fs", 0),
    ("job", 1),
    ("heartbeats", 1),
    ("watchers", 1),
    ("pricing", 1),
    ("settings", 2),
    ("jobfile", 2),
    ("api", 2),
    ("store", 3),
    ("provider", 3),
    ("media", 3),
    ("inbox", 3),
    ("pictures", 3),
    ("library", 3),
    ("stages", 4),
    ("server", 4),
    ("sandbox", 4),
    ("daemon", 5),
    ("cli", 6),
    ("main", 7),
];
/// Modules with a layer of their own: proofs, which lie with their only maker and which lower layers demand.
const PROOFS: &[(&str, u8)] = &[("library::published", 0), ("store::attempt", 2)];
/// Folders whose files and folders do not import each other.
const SEPARATED: &[&str] = &["stages", "server"];
/// What the members of a separated folder share.
const SHARED: &[&str] =
    &["stages::provider_session", "server::answer_limit", "server::body", "server::connection_limits"];

fn layer_of(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer)
}

/// The proof module that a path is in.
fn proof(path: &[String]) -> Option<(&'static str, u8)> {
    let module = path.iter().take(2).cloned().collect::<Vec<_>>().join("::");
    PROOFS.iter().find(|(name, _)| *name == module).copied()
}

fn wrong_imports(is_wrong: impl Fn(&SourceFile, &[String]) -> bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in source::files() {
        for path in file.crate_paths().into_iter().filter(|path| is_wrong(&file, path)) {
            wrong.push(format!("{} imports {}", file.path.display(), path.join("::")));
        }
    }
    wrong
}

#[test]
fn every_module_has_a_layer() {
    for file in source::files() {
        let module = file.module();
        assert!(module == "lib" || layer_of(&module).is_some(), "{module} has no layer");
    }
}

#[test]
fn imports_point_to_lower_layers() {
    let wrong = wrong_imports(|file, path| {
        let module = file.module();
        let own_proof = proof(&file.module_path());
        let own = own_proof.map(|(_, layer)| layer).or_else(|| layer_of(&module));
        let imported = proof(path).map(|(_, layer)| layer).or_else(|| layer_of(&path[0]));
        let (Some(own), Some(imported)) = (own, imported) else { return false };
        let outside_sandbox = module == "sandbox" && imported > 0;
        let into_sandbox = path[0] == "sandbox" && own < 6;
        // Crash points are instrumentation: each module may import them, as it may import `tracing`.
        let instrumentation = path[0] == "failpoints";
        let inside = path[0] == module && own_proof.is_none();
        !inside && !instrumentation && (imported >= own || outside_sandbox || into_sandbox)
    });
    assert!(wrong.is_empty(), "imports of the same or a higher layer:\n{}", wrong.join("\n"));
}

#[test]
fn stages_and_listeners_do_not_import_each_other() {
    let modules: Vec<Vec<String>> = source::files().iter().map(SourceFile::module_path).collect();
    let wrong = wrong_imports(|file, path| {
        let own = file.module_path();
        let [folder, name, ..] = own.as_slice() else { return false };
        let sibling = path.len() > 1
            && path[0] == *folder
            && path[1] != *name
            && modules.iter().any(|module| module.len() > 1 && module[..2] == path[..2]);
        let shared = SHARED.contains(&path[..path.len().min(2)].join("::").as_str());
        SEPARATED.contains(&folder.as_str()) && sibling && !shared
    });
    assert!(wrong.is_empty(), "imports between siblings:\n{}", wrong.join("\n"));
}
