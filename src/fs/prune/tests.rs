use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::*;

const TODAY: &str = "2026-04-04";

/// A time on [`TODAY`].
fn before() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_775_285_160_000)
}

fn create_file(root: &Path, name: &str, days_old: u64) -> PathBuf {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "0123456789").unwrap();
    let at = before() - Duration::from_secs(days_old * 86_400);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
    path
}

/// All files and folders below `root`, links not followed.
fn below(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let name = entry.path().strip_prefix(root).unwrap().display().to_string();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
                found.insert(format!("{name}/"));
            } else {
                found.insert(name);
            }
        }
    }
    found
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn never() -> bool {
    false
}

#[test]
fn old_days_are_removed_except_needed_files() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for name in ["2026-04-02/a.json", "2026-04-02/pictures/a.png", "2026-04-03/a.json", "2026-04-03/b.json"] {
        create_file(root, name, 0);
    }
    for name in ["2026-04-04/a.json", "2026-13-xx/a.json", "mine/a.json"] {
        create_file(root, name, 400);
    }
    create_file(root, "old.json", 1);
    let files_before = below(root);
    let needed = |day: &str, name: &str| (day, name) == ("2026-04-03", "b.json");
    let run = |dry_run| {
        let mut pruner = FilePruner::new(before(), dry_run, &[], &never);
        pruner.prune_day_folders(root, TODAY, &needed);
        pruner.finish()
    };
    let counted = run(true);
    assert_eq!(below(root), files_before, "a dry run changes nothing");
    let pruned = run(false);
    assert_eq!(pruned, counted);
    assert_eq!((pruned.files, pruned.bytes, pruned.failed, pruned.more), (4, 40, 0, false));
    let left = ["2026-04-03/", "2026-04-03/b.json", "2026-04-04/", "2026-04-04/a.json", "2026-13-xx/"];
    let left = [&left[..], &["2026-13-xx/a.json", "mine/", "mine/a.json"]].concat();
    assert_eq!(below(root), set(&left));
    assert_eq!(run(false), PrunedFiles::default());
}

#[test]
fn file_and_companion_are_removed_once_both_are_old() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (name, days_old) in [
        ("old.json", 9),
        ("old.json.reason.json", 1),
        // Written long ago, rejected today.
        ("new.json", 900),
        ("new.json.reason.json", 0),
        ("clip.html", 1),
        ("clip.html.evidence.json", 1),
        ("alone.json", 1),
        ("folder/old.json", 9),
        ("folder/old.json.reason.json", 9),
        ("other/old.json", 9),
        ("other/old.json.reason.json", 0),
    ] {
        create_file(root, name, days_old);
    }
    let mut pruner = FilePruner::new(before(), false, &[], &never);
    pruner.prune_with_companions(root);
    assert_eq!(pruner.finish().files, 7);
    let kept = ["new.json", "new.json.reason.json", "other/", "other/old.json", "other/old.json.reason.json"];
    assert_eq!(below(root), set(&kept));
}

#[test]
fn links_and_excluded_folders_are_not_entered() {
    let folder = tempfile::tempdir().unwrap();
    let [root, library, elsewhere] = ["accepted", "accepted/2026-01-01/videos", "elsewhere"].map(|name| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    });
    let clip = create_file(&library, "clip.mp4", 400);
    let theirs = create_file(&elsewhere, "2026-01-01.json", 400);
    std::os::unix::fs::symlink(&elsewhere, root.join("2026-01-02")).unwrap();
    std::os::unix::fs::symlink(&theirs, root.join("link.json")).unwrap();
    std::os::unix::fs::symlink(&elsewhere, root.join("2026-01-01/link")).unwrap();
    let old = create_file(&root, "2026-01-01/a.json", 400);
    let mut pruner = FilePruner::new(before(), false, &[&library], &never);
    pruner.prune_day_folders(&root, TODAY, &|_, _| false);
    pruner.prune_with_companions(&library);
    pruner.prune_with_companions(&folder.path().join("never made"));
    assert_eq!(pruner.finish().files, 1);
    assert!(!old.exists() && clip.exists() && theirs.exists());
    assert!(root.join("2026-01-02").is_symlink() && root.join("link.json").is_symlink());
}

#[test]
fn pruning_stops_early_but_removes_at_least_one_file() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..3 {
        create_file(folder.path(), &format!("{number}.json"), 9);
    }
    let always = || true;
    for left in [2, 1, 0] {
        let mut pruner = FilePruner::new(before(), false, &[], &always);
        pruner.prune_with_companions(folder.path());
        assert!(pruner.finish().more);
        assert_eq!(below(folder.path()).len(), left);
    }
}

#[test]
fn failure_is_reported_and_other_files_are_removed() {
    if rustix::process::geteuid().is_root() {
        // Root may remove everything.
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    create_file(folder.path(), "2026-01-01/a.json", 9);
    create_file(folder.path(), "2026-01-02/a.json", 9);
    let closed = folder.path().join("2026-01-01");
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o500)).unwrap();
    let mut pruner = FilePruner::new(before(), false, &[], &never);
    pruner.prune_day_folders(folder.path(), TODAY, &|_, _| false);
    let pruned = pruner.finish();
    assert_eq!((pruned.files, pruned.failed), (1, 1));
    assert!(pruned.failure.unwrap().contains("2026-01-01/a.json"));
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
}
