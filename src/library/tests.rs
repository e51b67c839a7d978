use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::library::part::Part;
use crate::library::quarantine::Quarantine;

fn library() -> (tempfile::TempDir, Library) {
    let folder = tempfile::tempdir().unwrap();
    let library =
        Library::open(&folder.path().join("videos"), LibraryMode::Private, folder.path(), &Rng::seeded(1))
            .unwrap();
    (folder, library)
}

fn part(library: &Library, name: &str, content: &'static [u8]) -> Part {
    let mut writer = library.open_part(name, 0, None).unwrap();
    for chunk in content.chunks(3) {
        writer.write(chunk).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn replaced_library_is_absent_and_its_mount_point_stays_empty() {
    let (folder, library) = library();
    let part = part(&library, "job-video-0", b"content");
    let (root, away) = (library.root().to_owned(), folder.path().join("away"));
    #[expect(clippy::disallowed_methods, reason = "simulates a change of disk")]
    let rename = |from: &Path, to: &Path| std::fs::rename(from, to).unwrap();
    rename(&root, &away);
    std::fs::create_dir(&root).unwrap();
    assert!(!library.is_present(), "an empty folder");
    let absent = library.publish(part, "2026-04-04/a.mp4", b"{\"job\":\"x\"}", "x");
    assert!(matches!(absent, Err((_, FsError::NotFound(_)))), "{absent:?}");
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0, "nothing is created in an empty mount point");

    Library::open(&root, LibraryMode::Private, folder.path(), &Rng::seeded(2)).unwrap();
    assert!(!library.is_present(), "another library");
    std::fs::remove_dir_all(&root).unwrap();
    rename(&away, &root);
    assert!(library.is_present());
    let same = Library::open(&root, LibraryMode::Private, folder.path(), &Rng::seeded(3)).unwrap();
    assert_eq!(same.marker, library.marker, "a library keeps its id");
}

#[test]
fn published_file_has_a_sidecar_and_is_private() {
    let (_folder, library) = library();
    let part = part(&library, "job-video-0", b"content");
    let sha256 = part.sha256().to_owned();
    assert_eq!(sha256, crate::sha256::sha256_hex(b"content"));
    let published = library.publish(part, "2026-04-04/a.mp4", b"{\"job\":\"x\"}", "x").unwrap();
    let file = library.root().join(published.path());
    assert_eq!(std::fs::read(&file).unwrap(), b"content");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(library.root().join("2026-04-04/a.mp4.json").is_file());
    assert_eq!(library.list_parts().unwrap(), Vec::<String>::new());
    assert_eq!(library.find_published("2026-04-04/a.mp4", 7, &sha256), Some(published));
    assert_eq!(library.find_published("2026-04-04/a.mp4", 7, "00"), None);
}

#[test]
fn library_mode_applies_to_existing_folders() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("videos");
    create_private_folder(&root.join("2026-04-04")).unwrap();
    let mode = |path: &str| root.join(path).metadata().unwrap().permissions().mode() & 0o777;
    for (wanted, folders, files) in [(LibraryMode::Group, 0o750, 0o640), (LibraryMode::Public, 0o755, 0o644)]
    {
        let library = Library::open(&root, wanted, folder.path(), &Rng::seeded(1)).unwrap();
        let name = format!("2026-04-04/{files:o}.mp4");
        let part = part(&library, "job-video-0", b"content");
        library.publish(part, &name, b"{\"job\":\"x\"}", "x").unwrap();
        assert_eq!([mode(""), mode("2026-04-04")], [folders; 2]);
        assert_eq!([mode(&name), mode(&format!("{name}.json"))], [files; 2]);
        assert_eq!(mode(INCOMING), 0o700);
    }
}

#[test]
fn publish_never_replaces_a_file_or_a_foreign_sidecar() {
    let (_folder, library) = library();
    let first = part(&library, "one", b"first");
    library.publish(first, "a.mp4", b"{\"job\":\"x\"}", "x").unwrap();
    let second = part(&library, "two", b"second");
    let second = library.publish(second, "a.mp4", b"{\"job\":\"y\"}", "y");
    assert!(matches!(second, Err((_, FsError::AlreadyExists(_)))), "{second:?}");
    assert_eq!(std::fs::read(library.root().join("a.mp4")).unwrap(), b"first");

    std::fs::write(library.root().join("b.mp4.json"), "foreign").unwrap();
    let third = part(&library, "three", b"third");
    assert!(matches!(library.publish(third, "b.mp4", b"{}", "z"), Err((_, FsError::AlreadyExists(_)))));
    assert_eq!(std::fs::read(library.root().join("b.mp4.json")).unwrap(), b"foreign");
}

#[test]
fn publish_replaces_the_sidecar_left_by_a_crash() {
    let (_folder, library) = library();
    std::fs::write(library.root().join("a.mp4.json"), "{\"job\":\"x\",\"old\":1}").unwrap();
    let part = part(&library, "one", b"content");
    library.publish(part, "a.mp4", b"{\"job\":\"x\"}", "x").unwrap();
    assert_eq!(std::fs::read(library.root().join("a.mp4.json")).unwrap(), b"{\"job\":\"x\"}");
}

#[test]
fn missing_sidecar_is_restored() {
    let (_folder, library) = library();
    let part = part(&library, "one", b"content");
    let published = library.publish(part, "2026-04-04/a.mp4", b"{\"job\":\"x\"}", "x").unwrap();
    assert!(!library.lacks_sidecar(&published));
    let sidecar = library.root().join("2026-04-04/a.mp4.json");
    std::fs::remove_file(&sidecar).unwrap();
    assert!(library.lacks_sidecar(&published));
    library.restore_sidecar(&published, b"{\"job\":\"x\"}").unwrap();
    library.flush_published(&published).unwrap();
    assert_eq!(std::fs::read(&sidecar).unwrap(), b"{\"job\":\"x\"}");
    assert_eq!(sidecar.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn part_is_inspected_from_memory() {
    let (_folder, library) = library();
    let read = |part: &Part| std::io::read_to_string(part.reader().unwrap()).unwrap();
    let whole = part(&library, "one", b"content");
    std::fs::write(whole.path(), "changed").unwrap();
    assert_eq!(read(&whole), "content");
    let mut writer = library.open_part("one", 3, Some("\"etag\"")).unwrap();
    writer.write(b"678").unwrap();
    assert_eq!(read(&writer.finish().unwrap()), "cha678", "what an earlier download received");
}

#[test]
fn resumed_part_is_hashed_from_its_beginning() {
    let (_folder, library) = library();
    let mut writer = library.open_part("one", 0, Some("\"etag\"")).unwrap();
    writer.write(b"12345garbage").unwrap();
    drop(writer);
    assert_eq!(library.resumable_part("one"), Some((12, "\"etag\"".to_owned())));
    let mut writer = library.open_part("one", 5, Some("\"etag\"")).unwrap();
    writer.write(b"678").unwrap();
    let part = writer.finish().unwrap();
    assert_eq!((part.bytes(), part.sha256()), (8, crate::sha256::sha256_hex(b"12345678").as_str()));
    library.open_part("one", 0, None).unwrap();
    assert_eq!(library.resumable_part("one"), None, "without a validator nothing is resumed");
}

#[test]
fn late_bytes_of_another_writer_are_not_in_a_new_part() {
    let (_folder, library) = library();
    let mut stopped = library.open_part("one", 0, None).unwrap();
    stopped.write(b"1234").unwrap();
    let mut writer = library.open_part("one", 0, None).unwrap();
    writer.write(b"abcdefgh").unwrap();
    let part = writer.finish().unwrap();
    stopped.write(b"56789").unwrap();
    stopped.finish().unwrap();
    assert_eq!(std::io::read_to_string(part.open().unwrap()).unwrap(), "abcdefgh");
}

#[test]
fn validator_is_written_for_interrupted_and_long_parts_only() {
    let (_folder, library) = library();
    let has_validator = || library.validator_path("one").exists();
    let open = |validator| library.open_part("one", 0, Some(validator)).unwrap();
    drop(open("\"v1\""));
    assert!(!has_validator(), "no bytes yet");
    let mut writer = open("\"v1\"");
    writer.write(b"whole").unwrap();
    writer.finish().unwrap();
    assert!(!has_validator(), "complete");
    let mut writer = open("\"v1\"");
    writer.write(b"interrupted").unwrap();
    drop(writer);
    assert!(has_validator());
    let writer = open("\"v2\"");
    assert!(!has_validator(), "the validator of other content is removed first");
    drop(writer);
    let mut writer = open("\"v2\"");
    for _ in 0..9 {
        writer.write(&[0; 1 << 20]).unwrap();
    }
    assert!(has_validator(), "can be resumed even after a kill");
    writer.finish().unwrap();
}

#[test]
fn link_in_the_library_is_not_followed() {
    let (folder, library) = library();
    let outside = folder.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, library.root().join("2026-04-04")).unwrap();
    let part = part(&library, "one", b"content");
    let refused = library.publish(part, "2026-04-04/a.mp4", b"{}", "x");
    assert!(matches!(refused, Err((_, FsError::NotRegular { .. }))), "{refused:?}");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn removed_library_is_not_present() {
    let (_folder, library) = library();
    assert!(library.is_present());
    std::fs::remove_dir_all(library.root()).unwrap();
    assert!(!library.is_present());
    std::fs::create_dir(library.root()).unwrap();
    assert!(!library.is_present(), "an empty mount point is not the library");
}

fn unlimited(folder: &Path) -> Quarantine {
    Quarantine { folder: folder.to_owned(), max_bytes: u64::MAX }
}

#[test]
fn full_quarantine_loses_its_oldest_evidence() {
    let (folder, library) = library();
    // Room for two files of one block with one block of evidence each.
    let quarantine = Quarantine { folder: folder.path().join("quarantine"), max_bytes: 4 * 4096 };
    let names = || {
        let mut names: Vec<_> = std::fs::read_dir(&quarantine.folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let age = |name: &str, hours: u64| {
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs((9 - hours) * 3600);
        let file = std::fs::File::options().write(true).open(quarantine.folder.join(name)).unwrap();
        file.set_modified(time).unwrap();
    };
    for (name, hours) in [("b.bin", 3), ("a.bin", 2), ("c.bin", 1)] {
        library.quarantine(part(&library, "one", b"<html>"), &quarantine, name, b"{}").unwrap();
        age(name, hours);
        age(&format!("{name}.evidence.json"), hours);
    }
    assert_eq!(names(), ["a.bin", "a.bin.evidence.json", "c.bin", "c.bin.evidence.json"]);
    library.quarantine(part(&library, "one", &[b'x'; 5 * 4096]), &quarantine, "d.bin", b"{}").unwrap();
    assert_eq!(names(), ["d.bin", "d.bin.evidence.json"]);
    assert_eq!(quarantine.folder.join("d.bin").metadata().unwrap().len(), 4 * 4096, "its beginning");
}

#[test]
fn quarantined_file_keeps_its_evidence() {
    let (folder, library) = library();
    let quarantine = folder.path().join("quarantine");
    for _ in 0..2 {
        let part = part(&library, "one", b"<html>");
        library.quarantine(part, &unlimited(&quarantine), "sakura.html", b"{}").unwrap();
    }
    assert!(quarantine.join("sakura.html").is_file() && quarantine.join("sakura-1.html").is_file());
    assert!(quarantine.join("sakura-1.html.evidence.json").is_file());
}

#[test]
fn quarantine_on_another_disk_keeps_earlier_evidence() {
    // Where a file system in memory is mounted, as on most machines.
    let Ok(other_disk) = tempfile::tempdir_in("/dev/shm") else { return };
    let (_folder, library) = library();
    for content in [b"<one>", b"<two>"] {
        let quarantine = unlimited(other_disk.path());
        library.quarantine(part(&library, "one", content), &quarantine, "a.html", b"{}").unwrap();
    }
    assert_eq!(std::fs::read(other_disk.path().join("a.html")).unwrap(), b"<one>");
    assert_eq!(std::fs::read(other_disk.path().join("a-1.html")).unwrap(), b"<two>");
    assert_eq!(library.list_parts().unwrap(), Vec::<String>::new());
}

#[test]
fn nothing_is_published_in_an_inbox_inside_the_library() {
    let (folder, library) = library();
    let layout = |template| Layout::parse(template).unwrap();
    let keep_out = |inbox: &str, template| {
        let inbox = folder.path().join("videos").join(inbox);
        std::fs::create_dir_all(&inbox).unwrap();
        library.clone().keeping_out_of(&inbox, &layout(template))
    };
    for (inbox, template) in
        [("in", "in/{name}.{ext}"), ("in", "in/{date}/{name}.{ext}"), ("a/in", "a/In/{name}.{ext}")]
    {
        assert!(
            matches!(keep_out(inbox, template), Err(LayoutError::LeadsToInbox(_))),
            "{inbox}, {template}"
        );
    }
    for (inbox, template) in
        [("in", "{name}.{ext}"), ("in", "in{name}.{ext}"), ("in/deep", "in/{name}.{ext}")]
    {
        assert!(keep_out(inbox, template).is_ok(), "{inbox}, {template}");
    }
    let kept_out = keep_out("in", "{label.p}/{name}.{ext}").unwrap();
    for (path, outside) in [
        ("in/k.mp4", "in_/k.mp4"),
        ("IN/x/k.mp4", "IN_/x/k.mp4"),
        ("inner/k.mp4", "inner/k.mp4"),
        ("in", "in"),
    ] {
        assert_eq!(kept_out.outside_inbox(path.to_owned()), outside);
    }
    // By whatever path: as a mount or a change of settings after the path was chosen would lead there.
    let published = kept_out.publish(part(&kept_out, "k", b"video"), "in/k.mp4", b"{}", "owner");
    assert!(matches!(published, Err((_, FsError::FeedsInbox(_)))));
    assert!(
        !folder.path().join("videos/in/k.mp4").exists()
            && !folder.path().join("videos/in/k.mp4.json").exists()
    );
}
