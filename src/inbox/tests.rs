use std::os::unix::fs::PermissionsExt;

use rustix::fs::Mode;

use super::*;
use crate::sha256::sha256_hex;

fn archive(
    inbox: &Inbox,
    name: &str,
    version: &FileVersion,
    content: &str,
    to: &Path,
) -> Result<PathBuf, FsError> {
    Destination::create(&inbox.open()?, to)?.archive(name, version, &sha256_hex(content.as_bytes()))
}

fn test_inbox() -> (tempfile::TempDir, Inbox) {
    let folder = tempfile::tempdir().unwrap();
    let inbox = Inbox::new(folder.path().join("inbox"));
    inbox.create_if_missing().unwrap();
    (folder, inbox)
}

fn write(inbox: &Inbox, name: &str, content: &str) -> PathBuf {
    let path = inbox.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn read(inbox: &Inbox, name: &str) -> (FileVersion, File) {
    let (_, version, file) = inbox.open().unwrap().read_file(name, 10).unwrap();
    (version, file)
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn archive_never_replaces_a_file() {
    let (folder, inbox) = test_inbox();
    let day = folder.path().join("accepted/2026-04-04");
    for content in ["one", "two", "three"] {
        write(&inbox, "a.json", content);
        archive(&inbox, "a.json", &read(&inbox, "a.json").0, content, &day).unwrap();
    }
    let read = |name: &str| std::fs::read_to_string(day.join(name)).unwrap();
    assert_eq!([read("a.json"), read("a-1.json"), read("a-2.json")], ["one", "two", "three"]);
    assert!(inbox.scan(true).unwrap().files.is_empty());
}

#[test]
fn saved_copy_never_replaces_a_file() {
    let (folder, inbox) = test_inbox();
    let day = folder.path().join("accepted");
    let opened = inbox.open().unwrap();
    for content in ["one", "two"] {
        Destination::create(&opened, &day).unwrap().save_copy("a.json", content.as_bytes()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(day.join("a.json")).unwrap(), "one");
    assert_eq!(std::fs::read_to_string(day.join("a-1.json")).unwrap(), "two");
}

#[test]
fn file_is_made_private_before_its_move_unless_it_has_links() {
    let (folder, inbox) = test_inbox();
    for name in ["one.json", "two.json"] {
        set_mode(&write(&inbox, name, "{}"), 0o644);
    }
    std::fs::hard_link(inbox.path().join("two.json"), folder.path().join("other")).unwrap();
    let opened = inbox.open().unwrap();
    for (name, mode_before_move) in [("one.json", 0o600), ("two.json", 0o644)] {
        let version = opened.make_private(name, &read(&inbox, name).0).unwrap();
        assert_eq!(mode(&inbox.path().join(name)), mode_before_move, "{name}");
        let destination = Destination::create(&opened, folder.path()).unwrap();
        let moved = destination.move_to_free_name(name, &version, None).unwrap();
        assert_eq!(mode(&moved), 0o600, "{name}");
    }
}

#[test]
fn file_edited_after_the_read_stays_in_the_inbox() {
    let (folder, inbox) = test_inbox();
    let path = write(&inbox, "a.json", "one");
    let (version, _) = read(&inbox, "a.json");
    std::fs::write(&path, "edited").unwrap();
    let moved = archive(&inbox, "a.json", &version, "one", &folder.path().join("accepted"));
    assert!(matches!(moved, Err(FsError::Changed(_))), "{moved:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "edited");
}

#[test]
fn edit_through_a_hard_link_does_not_change_the_archive() {
    let (folder, inbox) = test_inbox();
    let other = folder.path().join("other");
    std::fs::write(&other, "one").unwrap();
    std::fs::hard_link(&other, inbox.path().join("a.json")).unwrap();
    let (version, _) = read(&inbox, "a.json");
    let archived = archive(&inbox, "a.json", &version, "one", &folder.path().join("accepted")).unwrap();
    std::fs::write(&other, "edited").unwrap();
    assert_eq!(std::fs::read_to_string(archived).unwrap(), "one");
}

#[test]
fn links_pipes_and_folders_are_listed_but_not_opened() {
    let (folder, inbox) = test_inbox();
    std::fs::write(folder.path().join("secret"), "x").unwrap();
    std::os::unix::fs::symlink(folder.path().join("secret"), inbox.path().join("link.json")).unwrap();
    std::fs::create_dir(inbox.path().join("folder.json")).unwrap();
    let pipe = inbox.path().join("pipe.json");
    let (kind, mode) = (rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600));
    rustix::fs::mknodat(rustix::fs::CWD, pipe, kind, mode, 0).unwrap();
    let kinds: Vec<_> =
        inbox.scan(true).unwrap().files.into_iter().map(|entry| (entry.name, entry.irregular_kind)).collect();
    let expected = [("link.json", "symbolic link"), ("pipe.json", "pipe")];
    assert_eq!(kinds, expected.map(|(name, kind)| (name.to_owned(), Some(kind))));
    for name in ["folder.json", "link.json", "pipe.json"] {
        let read = inbox.open().unwrap().read_file(name, 10);
        assert!(matches!(read, Err(FsError::NotRegular { .. })), "{name}");
    }
}

#[test]
fn private_file_is_not_touched_again() {
    let (_folder, inbox) = test_inbox();
    set_mode(&write(&inbox, "a.json", "one"), 0o644);
    let opened = inbox.open().unwrap();
    let (before, _) = read(&inbox, "a.json");
    let private = opened.make_private("a.json", &before).unwrap();
    assert_ne!(private, before);
    assert_eq!(opened.make_private("a.json", &private).unwrap(), private, "no change, no event");
}

#[test]
fn edit_before_the_change_of_mode_is_noticed() {
    let (folder, inbox) = test_inbox();
    let path = write(&inbox, "a.json", "one");
    set_mode(&path, 0o644);
    let (version, file) = read(&inbox, "a.json");
    std::fs::write(&path, "edited").unwrap();
    let version = version.make_private(&file);
    let moved = archive(&inbox, "a.json", &version, "one", &folder.path().join("accepted"));
    assert!(matches!(moved, Err(FsError::Changed(_))), "{moved:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "edited");
}

#[test]
fn failed_copy_leaves_the_file_in_the_inbox() {
    let (folder, inbox) = test_inbox();
    let name = format!("{}.json", "n".repeat(240));
    let path = write(&inbox, &name, "one");
    std::fs::hard_link(&path, folder.path().join("other")).unwrap();
    let (version, _) = read(&inbox, &name);
    let accepted = folder.path().join("accepted");
    let temporary = accepted.join(crate::fs::temporary_name(&name));
    // A folder with the temporary name makes the write fail, as a full disk would.
    std::fs::create_dir_all(temporary.join("full")).unwrap();
    archive(&inbox, &name, &version, "one", &accepted).unwrap_err();
    assert!(path.is_file() && !accepted.join(&name).exists());
    std::fs::remove_dir_all(&temporary).unwrap();
    archive(&inbox, &name, &version, "one", &accepted).unwrap();
    let left: Vec<_> =
        std::fs::read_dir(&accepted).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [std::ffi::OsString::from(name)]);
}

#[test]
fn rejected_file_and_its_reason_share_a_free_name() {
    let (folder, inbox) = test_inbox();
    let rejected = folder.path().join("rejected");
    for _ in 0..2 {
        write(&inbox, "bad.json", "{");
        let (version, _) = read(&inbox, "bad.json");
        inbox.reject("bad.json", &version, &rejected, |name| name.as_bytes().to_vec()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(rejected.join("bad.json.reason.json")).unwrap(), "bad.json");
    assert_eq!(std::fs::read_to_string(rejected.join("bad-1.json.reason.json")).unwrap(), "bad-1.json");
    assert!(rejected.join("bad-1.json").is_file());
}

#[test]
fn file_over_the_limit_is_not_read() {
    let (_folder, inbox) = test_inbox();
    write(&inbox, "a.json", "12345");
    let opened = inbox.open().unwrap();
    assert!(matches!(opened.read_file("a.json", 4), Err(FsError::TooLarge { limit: 4, .. })));
    assert_eq!(opened.read_file("a.json", 5).unwrap().0, b"12345");
}

#[test]
fn touched_file_is_archived_whenever_the_touch_comes() {
    let (folder, inbox) = test_inbox();
    let accepted = folder.path().join("accepted");
    let touch = |path: &Path| File::open(path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    let path = write(&inbox, "before.json", "one");
    let (version, _) = read(&inbox, "before.json");
    touch(&path);
    let moved = archive(&inbox, "before.json", &version, "one", &accepted).unwrap();
    assert_eq!(moved, accepted.join("before.json"));

    // Between the check of the version and the rename.
    let path = write(&inbox, "during.json", "one");
    let (version, _) = read(&inbox, "during.json");
    touch(&path);
    let opened = inbox.open().unwrap();
    let destination = Destination::create(&opened, &accepted).unwrap();
    let (one, other) = (sha256_hex(b"one"), sha256_hex(b"other"));
    let put_back = destination.move_to_free_name("during.json", &version, Some(&other));
    assert!(matches!(put_back, Err(FsError::Changed(_))), "{put_back:?}");
    assert!(path.is_file() && !accepted.join("during.json").exists());
    let moved = destination.move_to_free_name("during.json", &version, Some(&one)).unwrap();
    assert_eq!((moved, inbox.scan(true).unwrap().files.len()), (accepted.join("during.json"), 0));
}

#[test]
fn file_put_back_where_its_name_is_taken_gets_the_name_of_a_copy() {
    let (folder, inbox) = test_inbox();
    let accepted = folder.path().join("accepted");
    let opened = inbox.open().unwrap();
    let destination = Destination::create(&opened, &accepted).unwrap();
    std::fs::write(accepted.join("a.json"), "one").unwrap();
    write(&inbox, "a.json", "two");
    destination.move_back("a.json", "a.json").unwrap();
    assert_eq!(std::fs::read_to_string(inbox.path().join("a (1).json")).unwrap(), "one");
    assert_eq!(std::fs::read_to_string(inbox.path().join("a.json")).unwrap(), "two");
}

#[test]
fn file_whose_mode_changes_all_the_time_is_archived_once() {
    let (folder, inbox) = test_inbox();
    let path = write(&inbox, "a.json", "one");
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    let changing = std::thread::spawn(move || {
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            let _ = std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640));
        }
    });
    let accepted = folder.path().join("accepted");
    let opened = inbox.open().unwrap();
    let destination = Destination::create(&opened, &accepted).unwrap();
    let moved = (0..1000).find_map(|_| destination.archive_content("a.json", &sha256_hex(b"one")).ok());
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    changing.join().unwrap();
    assert_eq!(moved, Some(accepted.join("a.json")));
    assert!(inbox.scan(true).unwrap().files.is_empty(), "nothing left for sale");
}

#[test]
fn names_fit_a_file_system_with_short_names() {
    let (folder, inbox) = test_inbox();
    let opened = inbox.open().unwrap();
    let (accepted, rejected) = (folder.path().join("accepted"), folder.path().join("rejected"));
    let destination = |path| Destination::create(&opened, path).unwrap().with_max_name_bytes(143);
    let name = format!("{}.json", "春".repeat(60));
    let longest = |folder: &Path| {
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().len());
        names.max().unwrap()
    };
    for number in 0..3 {
        for content in ["good", "bad"] {
            write(&inbox, &name, content);
            let (version, _) = read(&inbox, &name);
            match content {
                "good" => destination(&accepted).archive(&name, &version, &sha256_hex(b"good")).map(drop),
                _ => destination(&rejected).reject(&name, &version, |_| b"{}".to_vec()).map(drop),
            }
            .unwrap();
        }
        let counts =
            ["accepted", "rejected"].map(|name| std::fs::read_dir(folder.path().join(name)).unwrap().count());
        assert_eq!(counts, [number + 1, 2 * (number + 1)]);
    }
    assert!(longest(&accepted) <= 143 && longest(&rejected) <= 143);
}

#[test]
fn moves_from_many_folders_are_flushed_though_one_is_gone() {
    let root = tempfile::tempdir().unwrap();
    let inbox = Inbox::new(root.path().join("inbox"));
    inbox.create_if_missing().unwrap();
    let moves: Vec<(String, PathBuf)> =
        (0..20).map(|number| (number.to_string(), root.path().join(format!("day/{number}")))).collect();
    for (from, to) in &moves {
        std::fs::create_dir_all(inbox.path().join(from)).unwrap();
        std::fs::create_dir_all(to).unwrap();
    }
    let flush = || inbox.flush_moves(moves.iter().map(|(from, to)| (&**from, &**to)));
    flush().unwrap();
    std::fs::remove_dir(inbox.path().join("7")).unwrap();
    flush().unwrap();
    std::fs::remove_dir(&moves[3].1).unwrap();
    assert!(matches!(flush(), Err(FsError::NotFound(_))));
}
