//! No two files import each other, directly or through others: each can be read after those that it imports.
//! A child may use what its parent module defines, and a parent declares its children.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{self, SourceFile};

/// The imports between files, by module path; without those between a module and its ancestors.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let files = source::files();
    let modules: BTreeSet<Vec<String>> = files.iter().map(SourceFile::module_path).collect();
    let mut imports = BTreeMap::new();
    for file in &files {
        let own = file.module_path();
        let mut imported = BTreeSet::new();
        for path in file.crate_paths() {
            let target =
                (1..=path.len()).rev().map(|end| path[..end].to_vec()).find(|path| modules.contains(path));
            if let Some(target) =
                target.filter(|target| !own.starts_with(target) && !target.starts_with(&own))
            {
                imported.insert(target.join("::"));
            }
        }
        imports.insert(own.join("::"), imported);
    }
    imports
}

#[test]
fn files_do_not_import_each_other_in_a_circle() {
    let imports = imports();
    let mut circles = BTreeSet::new();
    for start in imports.keys() {
        let mut open: Vec<Vec<&str>> = imports[start].iter().map(|next| vec![start.as_str(), next]).collect();
        let mut visited = BTreeSet::new();
        while let Some(path) = open.pop() {
            let last = *path.last().expect("not empty");
            if last == start {
                let mut members: Vec<&str> = path[1..].to_vec();
                members.sort_unstable();
                circles.insert(members.join(" <-> "));
                break;
            }
            if visited.insert(last) {
                for next in imports.get(last).into_iter().flatten() {
                    open.push([path.as_slice(), &[next.as_str()]].concat());
                }
            }
        }
    }
    assert!(
        circles.is_empty(),
        "files import each other:\n{}",
        circles.into_iter().collect::<Vec<_>>().join("\n")
    );
}
