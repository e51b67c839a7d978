use super::*;

fn library() -> (tempfile::TempDir, Library) {
    let folder = tempfile::tempdir().unwrap();
    let library =
        Library::open(&folder.path().join("videos"), LibraryMode::Private, folder.path(), &Rng::seeded(1))
            .unwrap();
    (folder, library)
}

fn part(library: &Library, name: &str, content: &'static [u8]) -> Part {
    let mut writer = library.begin_part(name, 0, None).unwrap();
    for chunk in content.chunks(3) {
        writer.write(chunk).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn another_library_in_its_place_is_not_it_and_its_mount_point_stays_empty() {
    let (folder, library) = library();
    let part = part(&library, "job-video-0", b"content");
    let (root, away) = (library.root().to_owned(), folder.path().join("away"));
    #[expect(clippy::disallowed_methods, reason = "a disk changed under the library")]
    let change = |from: &Path, to: &Path| std::fs::rename(from, to).unwrap();
    change(&root, &away);
    std::fs::create_dir(&root).unwrap();
    assert!(!library.is_present(), "an empty folder");
    let gone = library.publish(part, "2026-04-04/a.mp4", b"{\"job\":\"x\"}", "x");
    assert!(matches!(gone, Err((_, FsError::NotFound(_)))), "{gone:?}");
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0, "nothing is made in an empty mount point");

    Library::open(&root, LibraryMode::Private, folder.path(), &Rng::seeded(2)).unwrap();
    assert!(!library.is_present(), "another library");
    std::fs::remove_dir_all(&root).unwrap();
    change(&away, &root);
    assert!(library.is_present());
    let same = Library::open(&root, LibraryMode::Private, folder.path(), &Rng::seeded(3)).unwrap();
    assert_eq!(same.marker, library.marker, "a library keeps its name");
}

#[test]
fn a_published_file_has_its_sidecar_and_is_private() {
    let (_folder, library) = library();
    let part = part(&library, "job-video-0", b"content");
    let sha256 = part.sha256().to_owned();
    assert_eq!(sha256, crate::secret::sha256_hex(b"content"));
    let published = library.publish(part, "2026-04-04/a.mp4", b"{\"job\":\"x\"}", "x").unwrap();
    let file = library.root().join(published.path());
    assert_eq!(std::fs::read(&file).unwrap(), b"content");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(library.root().join("2026-04-04/a.mp4.json").is_file());
    assert_eq!(library.parts().unwrap(), Vec::<String>::new());
    assert_eq!(library.recognise("2026-04-04/a.mp4", 7, &sha256), Some(published));
    assert_eq!(library.recognise("2026-04-04/a.mp4", 7, "00"), None);
}

#[test]
fn whom_the_mode_names_is_let_in_whatever_the_folders_were_before() {
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
fn publishing_never_replaces_a_file_or_anothers_sidecar() {
    let (_folder, library) = library();
    let first = part(&library, "one", b"first");
    library.publish(first, "a.mp4", b"{\"job\":\"x\"}", "x").unwrap();
    let second = part(&library, "two", b"second");
    let taken = library.publish(second, "a.mp4", b"{\"job\":\"y\"}", "y");
    assert!(matches!(taken, Err((_, FsError::AlreadyExists(_)))), "{taken:?}");
    assert_eq!(std::fs::read(library.root().join("a.mp4")).unwrap(), b"first");

    std::fs::write(library.root().join("b.mp4.json"), "somebody's").unwrap();
    let third = part(&library, "three", b"third");
    assert!(matches!(library.publish(third, "b.mp4", b"{}", "z"), Err((_, FsError::AlreadyExists(_)))));
    assert_eq!(std::fs::read(library.root().join("b.mp4.json")).unwrap(), b"somebody's");
}

#[test]
fn a_sidecar_left_by_a_crash_is_taken_over() {
    let (_folder, library) = library();
    std::fs::write(library.root().join("a.mp4.json"), "{\"job\":\"x\",\"old\":1}").unwrap();
    let part = part(&library, "one", b"content");
    library.publish(part, "a.mp4", b"{\"job\":\"x\"}", "x").unwrap();
    assert_eq!(std::fs::read(library.root().join("a.mp4.json")).unwrap(), b"{\"job\":\"x\"}");
}

#[test]
fn a_published_file_that_lacks_its_sidecar_is_given_it() {
    let (_folder, library) = library();
    let part = part(&library, "one", b"content");
    let published = library.publish(part, "2026-04-04/a.mp4", b"{\"job\":\"x\"}", "x").unwrap();
    assert!(!library.lacks_sidecar(&published));
    let sidecar = library.root().join("2026-04-04/a.mp4.json");
    std::fs::remove_file(&sidecar).unwrap();
    assert!(library.lacks_sidecar(&published));
    library.give_sidecar(&published, b"{\"job\":\"x\"}").unwrap();
    library.flush_published(&published).unwrap();
    assert_eq!(std::fs::read(&sidecar).unwrap(), b"{\"job\":\"x\"}");
    assert_eq!(sidecar.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_resumed_part_is_hashed_from_its_beginning() {
    let (_folder, library) = library();
    let mut writer = library.begin_part("one", 0, Some("\"etag\"")).unwrap();
    writer.write(b"12345garbage").unwrap();
    drop(writer);
    assert_eq!(library.unfinished("one"), Some((12, "\"etag\"".to_owned())));
    let mut writer = library.begin_part("one", 5, Some("\"etag\"")).unwrap();
    writer.write(b"678").unwrap();
    let part = writer.finish().unwrap();
    assert_eq!((part.bytes(), part.sha256()), (8, crate::secret::sha256_hex(b"12345678").as_str()));
    library.begin_part("one", 0, None).unwrap();
    assert_eq!(library.unfinished("one"), None, "without a validator nothing is resumed");
}

#[test]
fn only_a_part_that_broke_off_or_is_long_leaves_a_mark() {
    let (_folder, library) = library();
    let is_marked = || library.validator_path("one").exists();
    let begun = |validator| library.begin_part("one", 0, Some(validator)).unwrap();
    drop(begun("\"v1\""));
    assert!(!is_marked(), "nothing has come");
    let mut writer = begun("\"v1\"");
    writer.write(b"whole").unwrap();
    writer.finish().unwrap();
    assert!(!is_marked(), "it is whole");
    let mut writer = begun("\"v1\"");
    writer.write(b"broken off").unwrap();
    drop(writer);
    assert!(is_marked());
    let writer = begun("\"v2\"");
    assert!(!is_marked(), "the mark of other bytes goes before they do");
    drop(writer);
    let mut writer = begun("\"v2\"");
    for _ in 0..9 {
        writer.write(&[0; 1 << 20]).unwrap();
    }
    assert!(is_marked(), "it is worth going on with if the process is killed");
    writer.finish().unwrap();
}

#[test]
fn no_link_in_the_library_leads_out_of_it() {
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
fn a_library_that_went_away_is_noticed() {
    let (_folder, library) = library();
    assert!(library.is_present());
    std::fs::remove_dir_all(library.root()).unwrap();
    assert!(!library.is_present());
    std::fs::create_dir(library.root()).unwrap();
    assert!(!library.is_present(), "an empty mount point is not the library");
}

#[test]
fn what_is_set_aside_keeps_its_evidence() {
    let (folder, library) = library();
    let quarantine = folder.path().join("quarantine");
    for _ in 0..2 {
        let part = part(&library, "one", b"<html>");
        library.set_aside(part, &quarantine, "sakura.html", b"{}").unwrap();
    }
    assert!(quarantine.join("sakura.html").is_file() && quarantine.join("sakura-1.html").is_file());
    assert!(quarantine.join("sakura-1.html.evidence.json").is_file());
}
