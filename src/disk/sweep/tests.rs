use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::*;

/// 2026-04-04
const BEFORE: Timestamp = Timestamp::from_millis(1_775_285_160_000);

fn put(root: &Path, name: &str, days_old: u64) -> PathBuf {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "0123456789").unwrap();
    let at = BEFORE.minus(Duration::from_secs(days_old * 86_400)).millis().unsigned_abs();
    let at = std::time::UNIX_EPOCH + Duration::from_millis(at);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
    path
}

/// All that is below, links as such.
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
fn days_that_were_over_go_but_for_what_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for name in ["2026-04-02/a.json", "2026-04-02/pictures/a.png", "2026-04-03/a.json", "2026-04-03/b.json"] {
        put(root, name, 0);
    }
    for name in ["2026-04-04/a.json", "2026-13-xx/a.json", "mine/a.json"] {
        put(root, name, 400);
    }
    put(root, "old.json", 1);
    let before = below(root);
    let needed = |day: &str, name: &str| (day, name) == ("2026-04-03", "b.json");
    let run = |dry_run| {
        let mut sweep = Sweep::new(BEFORE, dry_run, &[], &never);
        sweep.days(root, &needed);
        sweep.done()
    };
    let counted = run(true);
    assert_eq!(below(root), before, "a dry run changes nothing");
    let swept = run(false);
    assert_eq!(swept, counted);
    assert_eq!((swept.files, swept.bytes, swept.failed, swept.more), (4, 40, 0, false));
    let left = ["2026-04-03/", "2026-04-03/b.json", "2026-04-04/", "2026-04-04/a.json", "2026-13-xx/"];
    let left = [&left[..], &["2026-13-xx/a.json", "mine/", "mine/a.json"]].concat();
    assert_eq!(below(root), set(&left));
    assert_eq!(run(false), Swept::default());
}

#[test]
fn a_file_goes_with_what_is_beside_it_once_both_are_old() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (name, days_old) in [
        ("old.json", 9),
        ("old.json.reason.json", 1),
        // Written long ago, rejected today.
        ("new.json", 900),
        ("new.json.reason.json", 0),
        ("film.html", 1),
        ("film.html.evidence.json", 1),
        ("alone.json", 1),
        ("folder/old.json", 9),
    ] {
        put(root, name, days_old);
    }
    let mut sweep = Sweep::new(BEFORE, false, &[], &never);
    sweep.pairs(root);
    assert_eq!(sweep.done().files, 5);
    assert_eq!(below(root), set(&["folder/", "folder/old.json", "new.json", "new.json.reason.json"]));
}

#[test]
fn no_link_is_followed_and_no_folder_left_alone_is_entered() {
    let folder = tempfile::tempdir().unwrap();
    let [root, library, elsewhere] = ["accepted", "accepted/2026-01-01/videos", "elsewhere"].map(|name| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    });
    let film = put(&library, "film.mp4", 400);
    let theirs = put(&elsewhere, "2026-01-01.json", 400);
    std::os::unix::fs::symlink(&elsewhere, root.join("2026-01-02")).unwrap();
    std::os::unix::fs::symlink(&theirs, root.join("link.json")).unwrap();
    std::os::unix::fs::symlink(&elsewhere, root.join("2026-01-01/link")).unwrap();
    let old = put(&root, "2026-01-01/a.json", 400);
    let mut sweep = Sweep::new(BEFORE, false, &[&library], &never);
    sweep.days(&root, &|_, _| false);
    sweep.pairs(&library);
    sweep.pairs(&folder.path().join("never made"));
    assert_eq!(sweep.done().files, 1);
    assert!(!old.exists() && film.exists() && theirs.exists());
    assert!(root.join("2026-01-02").is_symlink() && root.join("link.json").is_symlink());
}

#[test]
fn it_stops_when_told_to_but_not_before_it_has_begun() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..3 {
        put(folder.path(), &format!("{number}.json"), 9);
    }
    let always = || true;
    for left in [2, 1, 0] {
        let mut sweep = Sweep::new(BEFORE, false, &[], &always);
        sweep.pairs(folder.path());
        assert!(sweep.done().more);
        assert_eq!(below(folder.path()).len(), left);
    }
}

#[test]
fn what_cannot_be_removed_is_told_and_the_others_go() {
    if rustix::process::geteuid().is_root() {
        // Nothing is closed to root.
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "2026-01-01/a.json", 9);
    put(folder.path(), "2026-01-02/a.json", 9);
    let closed = folder.path().join("2026-01-01");
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o500)).unwrap();
    let mut sweep = Sweep::new(BEFORE, false, &[], &never);
    sweep.days(folder.path(), &|_, _| false);
    let swept = sweep.done();
    assert_eq!((swept.files, swept.failed), (1, 1));
    assert!(swept.failure.unwrap().contains("2026-01-01/a.json"));
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
}
