use std::os::unix::fs::PermissionsExt;

use super::*;

fn inbox() -> (tempfile::TempDir, Inbox) {
    let folder = tempfile::tempdir().unwrap();
    let inbox = Inbox::new(folder.path().join("inbox"));
    inbox.ensure().unwrap();
    (folder, inbox)
}

#[test]
fn a_taken_name_in_the_archive_is_never_replaced() {
    let (folder, inbox) = inbox();
    let day = folder.path().join("accepted/2026-04-04");
    for content in ["one", "two", "three"] {
        std::fs::write(inbox.path().join("a.json"), content).unwrap();
        let (_, stamp, _) = inbox.opened().unwrap().read("a.json", 10).unwrap();
        inbox.archive("a.json", &stamp, &day).unwrap();
    }
    let read = |name: &str| std::fs::read_to_string(day.join(name)).unwrap();
    assert_eq!([read("a.json"), read("a-1.json"), read("a-2.json")], ["one", "two", "three"]);
    assert!(inbox.look().unwrap().is_empty());
}

#[test]
fn a_file_is_closed_to_others_before_it_is_moved_and_one_with_two_names_is_left_alone() {
    let (folder, inbox) = inbox();
    let mode = |name: &str| inbox.path().join(name).metadata().unwrap().permissions().mode() & 0o777;
    for name in ["one.json", "two.json"] {
        std::fs::write(inbox.path().join(name), "{}").unwrap();
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(inbox.path().join(name), open).unwrap();
    }
    std::fs::hard_link(inbox.path().join("two.json"), folder.path().join("other")).unwrap();
    for (name, after) in [("one.json", 0o600), ("two.json", 0o644)] {
        let (_, stamp, _) = inbox.opened().unwrap().read(name, 10).unwrap();
        let stamp = inbox.opened().unwrap().close_to_others(name, &stamp).unwrap();
        assert_eq!(mode(name), after, "{name}");
        let to = inbox.opened().unwrap().moves_to(folder.path()).unwrap().move_free(name, &stamp).unwrap();
        assert_eq!(to.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
}

#[test]
fn a_file_edited_since_it_was_read_stays() {
    let (folder, inbox) = inbox();
    let path = inbox.path().join("a.json");
    std::fs::write(&path, "one").unwrap();
    let (_, stamp, _) = inbox.opened().unwrap().read("a.json", 10).unwrap();
    std::fs::write(&path, "edited").unwrap();
    let moved = inbox.archive("a.json", &stamp, &folder.path().join("accepted"));
    assert!(matches!(moved, Err(FsError::Changed(_))), "{moved:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "edited");
}

#[test]
fn an_edit_through_another_name_changes_no_archive() {
    let (folder, inbox) = inbox();
    let other = folder.path().join("other");
    std::fs::write(&other, "one").unwrap();
    std::fs::hard_link(&other, inbox.path().join("a.json")).unwrap();
    let (_, stamp, _) = inbox.opened().unwrap().read("a.json", 10).unwrap();
    let archived = inbox.archive("a.json", &stamp, &folder.path().join("accepted")).unwrap();
    std::fs::write(&other, "edited").unwrap();
    assert_eq!(std::fs::read_to_string(archived).unwrap(), "one");
}

#[test]
fn links_pipes_and_folders_are_told_and_never_opened() {
    let (folder, inbox) = inbox();
    std::fs::write(folder.path().join("secret"), "x").unwrap();
    std::os::unix::fs::symlink(folder.path().join("secret"), inbox.path().join("link.json")).unwrap();
    std::fs::create_dir(inbox.path().join("folder.json")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        inbox.path().join("pipe.json"),
        rustix::fs::FileType::Fifo,
        Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let kinds: Vec<_> =
        inbox.look().unwrap().into_iter().map(|entry| (entry.name, entry.irregular)).collect();
    let expected = [("folder.json", "folder"), ("link.json", "symbolic link"), ("pipe.json", "pipe")];
    assert_eq!(kinds, expected.map(|(name, kind)| (name.to_owned(), Some(kind))));
    for (name, _) in expected {
        assert!(matches!(inbox.opened().unwrap().read(name, 10), Err(FsError::NotRegular { .. })), "{name}");
    }
}

#[test]
fn a_file_is_closed_to_others_once_and_then_left_alone() {
    let (_folder, inbox) = inbox();
    let path = inbox.path().join("a.json");
    std::fs::write(&path, "one").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (_, open, _) = inbox.opened().unwrap().read("a.json", 10).unwrap();
    let closed = inbox.opened().unwrap().close_to_others("a.json", &open).unwrap();
    assert_ne!(closed, open);
    assert_eq!(
        inbox.opened().unwrap().close_to_others("a.json", &closed).unwrap(),
        closed,
        "no news without a change"
    );
}

#[test]
fn an_edit_between_reading_and_closing_is_not_taken_for_what_was_read() {
    let (folder, inbox) = inbox();
    let path = inbox.path().join("a.json");
    std::fs::write(&path, "one").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (_, stamp, file) = inbox.opened().unwrap().read("a.json", 10).unwrap();
    std::fs::write(&path, "edited").unwrap();
    let stamp = stamp.close_to_others(&file);
    let moved = inbox.archive("a.json", &stamp, &folder.path().join("accepted"));
    assert!(matches!(moved, Err(FsError::Changed(_))), "{moved:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "edited");
}

#[test]
fn a_copy_is_named_once_it_is_whole() {
    let (folder, inbox) = inbox();
    let name = format!("{}.json", "n".repeat(240));
    let path = inbox.path().join(&name);
    std::fs::write(&path, "one").unwrap();
    std::fs::hard_link(&path, folder.path().join("other")).unwrap();
    let (_, stamp, _) = inbox.opened().unwrap().read(&name, 10).unwrap();
    let archive = folder.path().join("accepted");
    let unfinished = archive.join(format!(".{name}.tmp"));
    // A folder in the way: it cannot be written, as on a full disk.
    std::fs::create_dir_all(unfinished.join("full")).unwrap();
    inbox.archive(&name, &stamp, &archive).unwrap_err();
    assert!(path.is_file() && !archive.join(&name).exists());
    std::fs::remove_dir_all(&unfinished).unwrap();
    inbox.archive(&name, &stamp, &archive).unwrap();
    let left: Vec<_> = std::fs::read_dir(&archive).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [std::ffi::OsString::from(name)]);
}

#[test]
fn a_rejected_file_lies_beside_its_reason() {
    let (folder, inbox) = inbox();
    let rejected = folder.path().join("rejected");
    for _ in 0..2 {
        std::fs::write(inbox.path().join("bad.json"), "{").unwrap();
        let (_, stamp, _) = inbox.opened().unwrap().read("bad.json", 10).unwrap();
        inbox.reject("bad.json", &stamp, &rejected, |name| name.as_bytes().to_vec()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(rejected.join("bad.json.reason.json")).unwrap(), "bad.json");
    assert_eq!(std::fs::read_to_string(rejected.join("bad-1.json.reason.json")).unwrap(), "bad-1.json");
    assert!(rejected.join("bad-1.json").is_file());
}

#[test]
fn a_file_over_the_limit_is_not_read_whole() {
    let (_folder, inbox) = inbox();
    std::fs::write(inbox.path().join("a.json"), "12345").unwrap();
    assert!(matches!(inbox.opened().unwrap().read("a.json", 4), Err(FsError::TooLarge { limit: 4, .. })));
    assert_eq!(inbox.opened().unwrap().read("a.json", 5).unwrap().0, b"12345");
}
