//! Every patch of `tests/mutants` still applies, as `ci/mutants` applies them: in the order of their names, each to the
//! result of the ones before, with a changed line number but no changed context.

use std::collections::BTreeMap;

use crate::source::{files_below, root};

/// The lines of the files that patches have touched so far, by path.
type Tree = BTreeMap<String, Vec<String>>;

/// Where `before` begins in `lines`, as near to `expected` as possible.
fn position(lines: &[String], before: &[&str], expected: usize) -> Option<usize> {
    let last = lines.len().checked_sub(before.len())?;
    let fits = |start: &usize| lines[*start..].iter().zip(before).all(|(line, wanted)| line == wanted);
    (0..=last).filter(fits).min_by_key(|start| start.abs_diff(expected))
}

/// Applies one hunk. `head` is its line `@@ -158,4 +158,7 @@`.
fn apply_hunk(lines: &mut Vec<String>, head: &str, hunk: &[&str]) -> Option<()> {
    let number = head.strip_prefix("@@ -")?.split(',').next()?.parse::<usize>().ok()?;
    let side = |other: char| -> Vec<&str> {
        hunk.iter().filter(|line| !line.starts_with(other)).map(|line| line.get(1..).unwrap_or("")).collect()
    };
    let (before, after) = (side('+'), side('-'));
    let start = position(lines, &before, number.saturating_sub(1))?;
    let _ = lines.splice(start..start + before.len(), after.into_iter().map(str::to_owned));
    Some(())
}

/// Applies a patch, or names the file and the hunk that no longer fit.
fn apply(patch: &str, tree: &mut Tree) -> Result<(), String> {
    let lines: Vec<&str> = patch.lines().collect();
    let (mut file, mut hunks) = (String::new(), 0);
    for (number, line) in lines.iter().enumerate() {
        if let Some(path) = line.strip_prefix("+++ b/") {
            path.clone_into(&mut file);
            let on_disk = || std::fs::read_to_string(root().join(path)).unwrap_or_default();
            let text = || on_disk().lines().map(str::to_owned).collect();
            let _ = tree.entry(file.clone()).or_insert_with(text);
        } else if line.starts_with("@@ ") {
            let hunk = lines[number + 1..]
                .iter()
                .take_while(|line| !line.starts_with("@@ ") && !line.starts_with("---"));
            let hunk: Vec<&str> = hunk.copied().collect();
            let target = tree.get_mut(&file).ok_or("a hunk without a file")?;
            apply_hunk(target, line, &hunk).ok_or_else(|| format!("{file}: {line}"))?;
            hunks += 1;
        }
    }
    if hunks == 0 { Err("no hunk".to_owned()) } else { Ok(()) }
}

#[test]
fn every_mutant_still_applies() {
    let mut tree = Tree::new();
    let patches = files_below("tests/mutants", &[".patch"]);
    let faults: Vec<String> = patches
        .iter()
        .filter_map(|path| {
            let patch = std::fs::read_to_string(path).expect("a patch");
            let fault = apply(&patch, &mut tree).err()?;
            Some(format!("{} no longer applies: {fault}", path.display()))
        })
        .collect();
    assert!(faults.is_empty(), "update these patches:\n{}", faults.join("\n"));
    assert!(patches.len() > 20 && tree.len() > 10, "only {} patches were found", patches.len());
}

#[test]
fn changed_context_and_missing_files_do_not_apply() {
    let file = "src/x.rs".to_owned();
    let tree = || Tree::from([(file.clone(), ["new", "a", "b", "c"].map(str::to_owned).to_vec())]);
    let hunk =
        |context: &str| format!("--- a/src/x.rs\n+++ b/src/x.rs\n@@ -1,2 +1,3 @@\n {context}\n+x\n b\n");
    let mut moved = tree();
    assert_eq!(apply(&hunk("a"), &mut moved), Ok(()));
    assert_eq!(moved[&file], ["new", "a", "x", "b", "c"]);
    assert!(apply(&hunk("other"), &mut tree()).is_err_and(|fault| fault.contains("src/x.rs")));
    assert!(apply(&hunk("a").replace("src/x.rs", "src/nowhere.rs"), &mut tree()).is_err());
    assert!(apply("Only a description.\n", &mut tree()).is_err());
}
