//! Objects in the inbox: each is ingested whole, rejected with a reason, or left alone and reported once. Ordinary files
//! are ingested as always.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::evidence::{conclude, log_of, record_drop};
use crate::support::checker::{HarnessLog, When};
use crate::support::{Rig, files_below};

/// An ordinary file must be ingested within this time, whatever else is in the inbox.
const TIMEOUT: Duration = Duration::from_secs(30);
const BAD: &str = "{\"model\": \"wan2.5-t2v\", \"prompt\": 7}";

/// The outcome of a case.
#[derive(Clone, Copy, Debug)]
enum End {
    /// This many jobs, and nothing left in the inbox under its name.
    Ingested(usize),
    /// In `rejected/` beside a reason with this in its first message.
    Rejected(&'static str),
    /// Left alone and reported in the log once, with this word.
    Reported(&'static str),
    /// Neither touched nor reported: not a job file, or possibly unfinished.
    Left,
}
use End::{Ingested, Left, Rejected, Reported};

/// The folders in which a case creates its files.
struct Folders {
    inbox: PathBuf,
    /// Outside the data folder.
    beside: PathBuf,
    rejected: PathBuf,
    /// A good job file of this case.
    good: String,
}

impl Folders {
    fn write_good(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.write(name, &self.good)
    }

    fn write(&self, name: impl AsRef<OsStr>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.inbox.join(Path::new(name.as_ref()));
        fs::write(&path, content).unwrap();
        path
    }

    fn outside(&self, name: &str) -> PathBuf {
        let path = self.beside.join(name);
        fs::write(&path, &self.good).unwrap();
        path
    }

    fn with_mode(&self, name: &str, mode: u32) {
        let path = self.outside(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        fs::rename(path, self.inbox.join(name)).unwrap();
    }

    fn node(&self, name: &str, kind: &[&str]) {
        let made = std::process::Command::new("mknod").arg(self.inbox.join(name)).args(kind).status();
        assert!(made.unwrap().success());
    }
}

/// A name of exactly this many bytes.
fn name_of_length(bytes: usize, of: &str) -> String {
    let mut name = of.repeat((bytes - 5) / of.len());
    name.push_str(&"_".repeat(bytes - 5 - name.len()));
    name + ".json"
}

type Create = fn(&Folders);

#[rustfmt::skip]
const CASES: &[(&str, Create, End)] = &[
    ("plain", |at| { at.write_good("plain.json"); }, Ingested(1)),
    ("two-objects", |at| { at.write("two.json", format!("[{},{}]", at.good, at.good)); }, Ingested(2)),
    // -- objects that are not files
    ("link-to-good", |at| symlink(at.outside("target.json"), at.inbox.join("link-to-good.json")).unwrap(), Reported("symbolic link")),
    ("link-inside", |at| symlink("../inbox/.hidden.json", at.inbox.join("link-inside.json")).unwrap(), Reported("symbolic link")),
    ("link-dangling", |at| symlink("/nowhere/x.json", at.inbox.join("link-dangling.json")).unwrap(), Reported("symbolic link")),
    ("link-loop", |at| symlink("link-loop.json", at.inbox.join("link-loop.json")).unwrap(), Reported("symbolic link")),
    ("link-to-zeros", |at| symlink("/dev/zero", at.inbox.join("link-to-zeros.json")).unwrap(), Reported("symbolic link")),
    ("link-to-folder", |at| symlink("/etc", at.inbox.join("link-to-folder.jsonl")).unwrap(), Reported("symbolic link")),
    ("pipe", |at| at.node("pipe.json", &["p"]), Reported("pipe")),
    ("pipe-of-lines", |at| at.node("pipe-of-lines.ndjson", &["p"]), Reported("pipe")),
    ("socket", |at| drop(std::os::unix::net::UnixListener::bind(at.inbox.join("socket.json")).unwrap()), Reported("socket")),
    ("folder", |at| fs::create_dir(at.inbox.join("folder.json")).unwrap(), Left),
    ("folder-hidden", |at| { fs::create_dir(at.inbox.join(".git")).unwrap(); at.write_good(".git/x.json"); }, Left),
    ("folder-deep", |at| { fs::create_dir_all(at.inbox.join("1/2/3/4/5/6/7/8/9")).unwrap(); at.write_good("1/2/3/4/5/6/7/8/9/x.json"); }, Left),
    ("folder-not-utf8", |at| { fs::create_dir(at.inbox.join(OsStr::from_bytes(b"dir\xff"))).unwrap(); at.write_good(OsStr::from_bytes(b"dir\xff/x.json")); }, Left),
    ("folder-link-inside", |at| { fs::create_dir(at.inbox.join("with-link")).unwrap(); symlink("/etc", at.inbox.join("with-link/x.json")).unwrap(); }, Reported("symbolic link")),
    ("folder-link-to-itself", |at| { fs::create_dir(at.inbox.join("around")).unwrap(); symlink("..", at.inbox.join("around/again")).unwrap(); }, Left),
    ("folder-moved-in", |at| {
        let folder = at.beside.join("batch");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("inner.json"), &at.good).unwrap();
        fs::rename(folder, at.inbox.join("batch")).unwrap();
    }, Ingested(1)),
    // -- modes
    ("mode-0400", |at| at.with_mode("mode-0400.json", 0o400), Ingested(1)),
    ("mode-0666", |at| at.with_mode("mode-0666.json", 0o666), Ingested(1)),
    ("mode-setuid", |at| at.with_mode("mode-setuid.json", 0o6755), Ingested(1)),
    // -- several names of one file
    ("hard-links-inside", |at| { let one = at.write_good("hard-1.json"); fs::hard_link(one, at.inbox.join("hard-2.json")).unwrap(); }, Ingested(2)),
    // Moving the first changes the link count of the others.
    ("hard-links-many", |at| { let one = at.write_good("many-0.json"); for number in 1..12 { fs::hard_link(&one, at.inbox.join(format!("many-{number}.json"))).unwrap(); } }, Ingested(12)),
    ("hard-link-outside", |at| fs::hard_link(at.outside("kept.json"), at.inbox.join("hard-out.json")).unwrap(), Ingested(1)),
    // -- names
    ("name-option", |at| { at.write_good("-rf.json"); }, Ingested(1)),
    ("name-shell", |at| { at.write_good("$(touch owned);`id`|&.json"); }, Ingested(1)),
    ("name-climbing", |at| { at.write_good("..%2f..%2fx.json"); at.write("..\\..\\x.json", at.good.replace('{', "{ ")); }, Left),
    ("name-backslash", |at| { at.write_good("a\\..\\b.json"); }, Ingested(1)),
    ("name-250", |at| { at.write_good(name_of_length(250, "long-")); }, Ingested(1)),
    ("name-250-bad", |at| { at.write(name_of_length(250, "bad-"), BAD); }, Rejected("text")),
    ("name-255", |at| { at.write_good(name_of_length(255, "full-")); }, Ingested(1)),
    ("name-255-bad", |at| { at.write(name_of_length(255, "evil"), BAD); }, Rejected("text")),
    ("name-255-characters", |at| { at.write(name_of_length(255, "樱"), BAD); }, Rejected("text")),
    ("name-right-to-left", |at| { at.write_good("cod\u{202e}nosj.json"); }, Ingested(1)),
    ("name-newline", |at| { at.write_good("a\n2026-01-01T00:00:00Z ERROR forged line.json"); }, Ingested(1)),
    ("name-escape", |at| { at.write_good("\u{1b}[2J\u{1b}]0;owned\u{7}.json"); }, Ingested(1)),
    ("name-newline-bad", |at| { at.write("b\n2026-01-01T00:00:00Z ERROR forged line.json", BAD); }, Rejected("text")),
    ("name-invalid", |at| { at.write_good(OsStr::from_bytes(b"inv\xff.json")); }, Reported("not valid UTF-8")),
    ("name-invalid-too", |at| { at.write_good(OsStr::from_bytes(b"inv\xfe.json")); }, Reported("not valid UTF-8")),
    ("name-replacement", |at| { at.write_good("inv\u{fffd}.jsonl"); at.write_good(OsStr::from_bytes(b"inv\xff.jsonl")); }, Ingested(1)),
    ("name-space", |at| { at.write_good(" .json"); }, Ingested(1)),
    ("name-device", |at| { at.write_good("CON.json"); at.write("nul.JSONL", at.good.replace('{', "{ ")); }, Ingested(2)),
    ("name-upper", |at| { at.write_good("UPPER.JSON"); }, Ingested(1)),
    ("name-twice-json", |at| { at.write_good("x.json.json"); }, Ingested(1)),
    ("name-trailing-dot", |at| { at.write_good("dot.json."); }, Left),
    ("name-no-ending", |at| { at.write_good("json"); }, Left),
    ("name-leading-dot", |at| { at.write_good(".hidden.json"); }, Left),
    ("name-dots", |at| { at.write_good("...json"); }, Left),
    ("name-tmp", |at| { at.write_good("a.json.tmp"); }, Left),
    ("name-part", |at| { at.write_good("a.json.part"); }, Left),
    ("name-tilde", |at| { at.write_good("a.json~"); }, Left),
    ("name-syncthing", |at| { at.write_good("s.sync-conflict-20260404-101010-ABCDEFG.json"); }, Rejected("sync tool")),
    ("name-dropbox", |at| { at.write_good("d (conflicted copy 2026-04-04).json"); }, Rejected("sync tool")),
    ("name-reason", |at| { at.write("r.json.reason.json", BAD); at.write("r.json", BAD); }, Rejected("text")),
    ("name-in-german", |at| { at.write_good("d (In Konflikt stehende Kopie von A 2026-11-28).json"); }, Rejected("sync tool")),
    ("name-synology", |at| { at.write_good("d_NAS01_Nov-28-100000-2026_Conflict.json"); }, Rejected("sync tool")),
    ("a-sidecar", |at| { at.write("k.mp4.json", r#"{"job":"j","task_id":"t","model":"m","request":{"model":"m","prompt":"p"},"file":"k.mp4","sha256":"0"}"#); }, Rejected("sidecar")),
    ("a-reason", |at| { at.write("k.reason.json", r#"{"file":"k.json","at":"2026-11-28T10:00:00Z","errors":[]}"#); }, Rejected("a file was rejected")),
    ("name-taken-by-link", |at| {
        symlink(at.beside.join("victim"), at.rejected.join("taken.json")).unwrap();
        symlink(at.beside.join("victim"), at.rejected.join("taken-1.json.reason.json")).unwrap();
        at.write("taken.json", BAD);
    }, Rejected("text")),
    // -- contents
    ("empty", |at| { at.write("empty.json", ""); }, Left),
    ("empty-lines", |at| { at.write("empty.jsonl", ""); }, Left),
    ("sparse", |at| { let path = at.write("sparse.json", ""); fs::File::options().write(true).open(path).unwrap().set_len(1 << 40).unwrap(); }, Rejected("allows")),
    ("sparse-lines", |at| { let path = at.write("sparse.ndjson", ""); fs::File::options().write(true).open(path).unwrap().set_len(1 << 40).unwrap(); }, Rejected("allows")),
    ("no-json", |at| { at.write("words.json", "春天"); }, Rejected("")),
    // -- writers
    ("byte-by-byte", |at| {
        let (mut file, good) = (fs::File::create(at.inbox.join("slowly.json")).unwrap(), at.good.clone());
        std::thread::spawn(move || {
            for byte in good.as_bytes() {
                file.write_all(&[*byte]).unwrap();
                std::thread::sleep(Duration::from_millis(15));
            }
        });
    }, Ingested(1)),
    ("lines-byte-by-byte", |at| {
        let (mut file, good) = (fs::File::create(at.inbox.join("slowly.jsonl")).unwrap(), format!("{}\n{}\n{}", at.good, at.good, at.good));
        std::thread::spawn(move || {
            for byte in good.as_bytes() {
                file.write_all(&[*byte]).unwrap();
                std::thread::sleep(Duration::from_millis(6));
            }
        });
    }, Ingested(3)),
    ("renamed-in", |at| fs::rename(at.outside("in.json"), at.inbox.join("renamed-in.json")).unwrap(), Ingested(1)),
    ("renamed-in-place", |at| { let path = at.write_good(".place.json"); fs::rename(path, at.inbox.join("renamed-in-place.json")).unwrap(); }, Ingested(1)),
];

/// Cases that need root.
#[rustfmt::skip]
const AS_ROOT: &[(&str, Create, End)] = &[
    ("device", |at| at.node("device.json", &["c", "1", "5"]), Reported("device")),
    ("block-device", |at| at.node("block.json", &["b", "7", "250"]), Reported("device")),
    ("mode-000", |at| at.with_mode("mode-000.json", 0o000), Ingested(1)),
    ("owned-by-another", |at| { let path = at.outside("anothers.json"); std::os::unix::fs::chown(&path, Some(65534), Some(65534)).unwrap(); fs::rename(path, at.inbox.join("anothers.json")).unwrap(); }, Ingested(1)),
];

fn good(case: &str) -> String {
    json!({
        "model": "wan2.5-t2v", "prompt": "a [sandbox: queue=60s]",
        "dropreel": {"labels": {"case": case}, "again": true},
    })
    .to_string()
}

async fn jobs_of(rig: &Rig, case: &str) -> Vec<Value> {
    let (_, page) = rig.get(&format!("/api/v1/jobs?label=case={case}&limit=500")).await;
    page["jobs"].as_array().cloned().unwrap_or_default()
}

async fn until_ingested(rig: &Rig, case: &str, count: usize) {
    let start = Instant::now();
    while jobs_of(rig, case).await.len() != count {
        let elapsed = start.elapsed();
        let found = jobs_of(rig, case).await.len();
        assert!(elapsed < TIMEOUT, "{case}: {found} jobs, not {count}, after {elapsed:?}\n{}", rig.output());
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// Drops an ordinary file and waits for its job: the daemon still works.
async fn assert_ordinary_file_is_ingested(rig: &Rig, log: &mut HarnessLog, case: &str) {
    let content = good(case);
    record_drop(log, &format!("{case}.json"), &content, Some(1));
    rig.drop(&format!("{case}.json"), content);
    until_ingested(rig, case, 1).await;
}

async fn start() -> Rig {
    let mut rig = Rig::set_up("").await;
    // These tests need no running jobs.
    rig.set("PROVIDER__MAX_RUNNING", "1");
    rig.start_daemon().await;
    fs::create_dir_all(rig.path("rejected")).unwrap();
    fs::create_dir_all(rig.beside("elsewhere")).unwrap();
    rig
}

/// The entries of a folder: path, inode and time of the last change.
fn entries_of(folder: &Path) -> Vec<(PathBuf, u64, i64)> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let mut found: Vec<_> = entries
        .filter_map(|entry| {
            // The daemon may move it at this moment.
            let metadata = entry.metadata().ok()?;
            Some((entry.path(), metadata.ino(), metadata.mtime_nsec()))
        })
        .collect();
    found.sort();
    found
}

#[tokio::test]
async fn every_object_in_the_inbox_has_its_expected_outcome() {
    let rig = start().await;
    let mut log = log_of(&rig);
    let is_root = rustix::process::geteuid().is_root();
    let cases: Vec<_> = CASES.iter().chain(if is_root { AS_ROOT } else { &[] }).collect();
    assert!(cases.len() >= 30);
    let mut left = Vec::new();
    for (case, create, end) in &cases {
        let folders = Folders {
            inbox: rig.path("inbox"),
            beside: rig.beside("elsewhere"),
            rejected: rig.path("rejected"),
            good: good(case),
        };
        let before = entries_of(&folders.inbox);
        create(&folders);
        if matches!(end, Left | Reported(_)) {
            left.extend(
                entries_of(&folders.inbox)
                    .into_iter()
                    .filter(|found| before.iter().all(|known| known.0 != found.0)),
            );
        }
    }
    assert_ordinary_file_is_ingested(&rig, &mut log, "ordinary").await;
    for (case, _, end) in &cases {
        match end {
            Ingested(count) => until_ingested(&rig, case, *count).await,
            Rejected(_) | Reported(_) | Left => {}
        }
    }
    let start = Instant::now();
    let rejections = cases.iter().filter(|(_, _, end)| matches!(end, Rejected(_))).count();
    // `name-reason` has two.
    while files_below(&rig.path("rejected")).len() < 2 * (rejections + 1) + 2 {
        let rejected = files_below(&rig.path("rejected"));
        assert!(start.elapsed() < TIMEOUT, "{rejected:#?}\n{}", rig.output());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Enough rescans for an object to be reported twice, or to be ingested after all.
    tokio::time::sleep(Duration::from_secs(4)).await;
    check_ends(&rig, &cases, &left).await;
    // The checker would hash a terabyte of zeros and read through links.
    for path in files_below(&rig.path("rejected")) {
        if path.is_symlink() || path.to_string_lossy().contains("/sparse.") {
            fs::remove_file(path).unwrap();
        }
    }
    assert_ordinary_file_is_ingested(&rig, &mut log, "ordinary-still").await;
    conclude(rig, &log, When::Always).await;
}

async fn check_ends(rig: &Rig, cases: &[&(&str, Create, End)], left: &[(PathBuf, u64, i64)]) {
    let output = rig.output();
    for (case, _, end) in cases {
        let jobs = jobs_of(rig, case).await;
        let expected = if let Ingested(count) = end { *count } else { 0 };
        assert_eq!(jobs.len(), expected, "{case}: {jobs:#?}\n{output}");
    }
    let there = entries_of(&rig.path("inbox"));
    for found in left {
        assert!(there.contains(found), "{found:?} was touched: {there:#?}");
    }
    // `name-replacement` has a second file, whose name is not UTF-8.
    // Folders stay when their files have left.
    let unexpected: Vec<_> =
        there.iter().filter(|found| !left.contains(found) && !found.0.is_dir()).collect();
    let is_second_file = |path: &Path| path.as_os_str().as_bytes().ends_with(b"inv\xff.jsonl");
    assert!(
        unexpected.iter().all(|found| is_second_file(&found.0)),
        "left in the inbox: {unexpected:#?}\n{output}"
    );
    // Reported once each: one line for each object.
    for word in ["symbolic link", "pipe", "socket", "device", "not valid UTF-8"] {
        let expected_line =
            if word.starts_with("not") { word.to_owned() } else { format!("inbox: a {word} is") };
        let reported =
            output.lines().filter(|line| line.contains("stays in") && line.contains(&expected_line)).count();
        let mut expected =
            cases.iter().filter(|(_, _, end)| matches!(end, Reported(reported) if *reported == word)).count();
        if word == "not valid UTF-8" {
            expected += 1;
        }
        assert_eq!(reported, expected, "{word}\n{output}");
    }
    check_reasons(rig, cases);
    // A file name cannot forge a log line.
    assert!(!output.contains('\u{1b}') && !output.contains('\u{202e}'), "{output:?}");
    assert!(!output.lines().any(|line| line.starts_with("2026-01-01T00:00:00Z ERROR forged")), "{output}");
    // Files outside the inbox are unchanged, and accepted files can be neither run nor changed by others.
    assert!(!rig.beside("elsewhere/victim").exists(), "written through a link");
    assert_eq!(fs::read_to_string(rig.beside("elsewhere/kept.json")).unwrap(), good("hard-link-outside"));
    let outside = fs::metadata(rig.beside("elsewhere/kept.json")).unwrap();
    assert!(!rig.path("owned").exists() && !rig.beside("owned").exists(), "a file name was run as a command");
    for path in files_below(&rig.path("accepted")) {
        let metadata = fs::symlink_metadata(&path).unwrap();
        assert!(metadata.is_file() && metadata.mode() & 0o7777 == 0o600, "{path:?} {:o}", metadata.mode());
        assert_ne!(metadata.ino(), outside.ino(), "{path:?} can be changed through another name");
    }
}

fn check_reasons(rig: &Rig, cases: &[&(&str, Create, End)]) {
    let reasons: Vec<Value> = files_below(&rig.path("rejected"))
        .iter()
        .filter(|path| path.to_string_lossy().ends_with(".reason.json") && !path.is_symlink())
        .filter_map(|path| serde_json::from_slice(&fs::read(path).unwrap()).ok())
        .filter(|reason: &Value| reason["errors"][0].is_object())
        .collect();
    for reason in &reasons {
        let file = rig.path("rejected").join(reason["file"].as_str().unwrap());
        assert!(file.is_file(), "a reason without its file: {reason:#}");
        assert!(reason["errors"][0]["pointer"].is_string(), "{reason:#}");
    }
    for (case, _, end) in cases {
        let Rejected(why) = end else { continue };
        let says = |reason: &Value| reason["errors"][0]["message"].as_str().unwrap().contains(why);
        assert!(reasons.iter().any(says), "{case}: no reason says {why:?}: {reasons:#?}");
    }
}

#[tokio::test]
async fn removed_or_replaced_inbox_is_watched_again() {
    let rig = start().await;
    let mut log = log_of(&rig);
    let inbox = rig.path("inbox");
    fs::remove_dir_all(&inbox).unwrap();
    fs::create_dir(&inbox).unwrap();
    assert_ordinary_file_is_ingested(&rig, &mut log, "recreated").await;
    fs::remove_dir_all(&inbox).unwrap();
    let start = Instant::now();
    while !inbox.is_dir() {
        assert!(start.elapsed() < TIMEOUT, "the inbox was not created again");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    assert_ordinary_file_is_ingested(&rig, &mut log, "created-again").await;
    // Another folder with files replaces it.
    let other = rig.beside("elsewhere/other");
    fs::create_dir(&other).unwrap();
    record_drop(&mut log, "moved.json", good("moved-in-place"), Some(1));
    fs::write(other.join("moved.json"), good("moved-in-place")).unwrap();
    fs::rename(&inbox, rig.beside("elsewhere/old")).unwrap();
    fs::rename(&other, &inbox).unwrap();
    until_ingested(&rig, "moved-in-place", 1).await;
    assert_ordinary_file_is_ingested(&rig, &mut log, "replaced").await;
    conclude(rig, &log, When::Always).await;
}

#[tokio::test]
async fn symbolic_link_in_place_of_the_inbox_is_not_followed() {
    let rig = start().await;
    let mut log = log_of(&rig);
    assert_ordinary_file_is_ingested(&rig, &mut log, "before").await;
    let (inbox, away) = (rig.path("inbox"), rig.beside("elsewhere/away"));
    let target = rig.beside("elsewhere/target");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("private.json"), good("private")).unwrap();
    fs::rename(&inbox, &away).unwrap();
    while symlink(&target, &inbox).is_err() {
        // The daemon has created a new inbox meanwhile.
        fs::remove_dir(&inbox).unwrap();
    }
    let start = Instant::now();
    while !rig.output().contains("symbolic link") {
        assert!(start.elapsed() < TIMEOUT, "{}", rig.output());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(jobs_of(&rig, "private").await.is_empty(), "read through a link");
    assert!(target.join("private.json").is_file());
    fs::remove_file(&inbox).unwrap();
    fs::rename(&away, &inbox).unwrap();
    assert_ordinary_file_is_ingested(&rig, &mut log, "after").await;
    conclude(rig, &log, When::Always).await;
}

#[tokio::test]
async fn files_replaced_during_ingestion_are_ingested_whole_or_not_at_all() {
    let rig = start().await;
    let mut log = log_of(&rig);
    let (inbox, outside) = (rig.path("inbox"), rig.beside("elsewhere"));
    let churn = std::thread::spawn(move || {
        let secret = outside.join("secret.json");
        fs::write(&secret, good("secret")).unwrap();
        for number in 0..300 {
            let (name, staged) = (inbox.join(format!("churn-{number}.json")), outside.join("staged"));
            fs::write(&staged, good("churn")).unwrap();
            fs::rename(&staged, &name).unwrap();
            std::thread::sleep(Duration::from_micros(number * 37 % 3000));
            match number % 3 {
                // Removed again, if it is still there.
                0 => drop(fs::rename(&name, outside.join(format!("back-{number}.json")))),
                // Replaced by a link.
                1 => {
                    symlink(&secret, &staged).unwrap();
                    fs::rename(&staged, &name).unwrap();
                    std::thread::sleep(Duration::from_millis(1));
                    let _ = fs::remove_file(&name);
                }
                // Replaced by another job.
                _ => {
                    fs::write(&staged, good("other")).unwrap();
                    fs::rename(&staged, &name).unwrap();
                }
            }
        }
        outside
    });
    let outside = tokio::task::spawn_blocking(move || churn.join().unwrap()).await.unwrap();
    assert_ordinary_file_is_ingested(&rig, &mut log, "ordinary").await;
    // Every third file was replaced by one that stayed.
    until_ingested(&rig, "other", 100).await;
    assert!(jobs_of(&rig, "secret").await.is_empty(), "read through a link");
    let back = files_below(&outside).iter().filter(|path| path.to_string_lossy().contains("back-")).count();
    let ingested = jobs_of(&rig, "churn").await.len();
    // A removed file that was not ingested is back. A file replaced by a link may have been ingested or not.
    assert!(ingested + back >= 100, "{ingested} ingested, {back} back");
    let accepted = || files_below(&rig.path("accepted")).len();
    let began = Instant::now();
    // Files are moved after the commit of their jobs.
    while accepted() < ingested + 100 + 1 && began.elapsed() < Duration::from_secs(30) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(accepted(), ingested + 100 + 1, "as many accepted files as jobs");
    assert!(files_below(&rig.path("rejected")).is_empty(), "{:?}", files_below(&rig.path("rejected")));
    conclude(rig, &log, When::Always).await;
}

#[tokio::test]
async fn every_file_of_a_large_batch_is_ingested() {
    let long = std::env::var_os("DROPREEL_LONG").is_some();
    let (count, seconds) = if long { (20_000, 600) } else { (600, 30) };
    let rig = start().await;
    let mut log = log_of(&rig);
    let (batch, inbox) = (rig.beside("elsewhere/batch"), rig.path("inbox"));
    fs::create_dir(&batch).unwrap();
    for number in 0..count {
        let content = format!("{}{}", good("batch"), " ".repeat(number % 50));
        record_drop(&mut log, &format!("batch-{number}.json"), &content, Some(1));
        fs::write(batch.join(format!("batch-{number}.json")), content).unwrap();
    }
    for entry in fs::read_dir(&batch).unwrap().map(Result::unwrap) {
        fs::rename(entry.path(), inbox.join(entry.file_name())).unwrap();
    }
    let start = Instant::now();
    while fs::read_dir(&inbox).unwrap().count() > 0 {
        assert!(start.elapsed() < Duration::from_secs(seconds), "{}", rig.output());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(files_below(&rig.path("accepted")).len(), count);
    let (_, status) = rig.get("/api/v1/status").await;
    let jobs: u64 =
        status["counts"].as_object().map_or(0, |counts| counts.values().filter_map(Value::as_u64).sum());
    assert_eq!(jobs, count as u64, "{status:#}");
    assert_ordinary_file_is_ingested(&rig, &mut log, "ordinary").await;
    conclude(rig, &log, When::Always).await;
}

/// Renames the same bytes to one name, touches them, and renames others over it, all while the daemon moves files.
#[tokio::test]
async fn files_renamed_over_each_other_are_bought_once_for_each_content() {
    let rig = start().await;
    let mut log = log_of(&rig);
    let (inbox, outside) = (rig.path("inbox"), rig.beside("elsewhere"));
    let content = |number: usize, kind: &str| {
        format!(
            r#"{{"model": "wan2.5-t2v", "prompt": "{number} {kind} [sandbox: queue=60s]", "dropreel": {{"labels": {{"case": "over"}}}}}}"#
        )
    };
    let rounds = 150;
    let over = std::thread::spawn(move || {
        for number in 0..rounds {
            let (name, staged) = (inbox.join(format!("over-{number}.json")), outside.join("staged"));
            let put = |text: String| {
                fs::write(&staged, text).unwrap();
                fs::rename(&staged, &name).unwrap();
            };
            let pause = || std::thread::sleep(Duration::from_micros(number as u64 * 61 % 1500));
            put(content(number, "one"));
            pause();
            let _ = fs::File::open(&name).map(|file| file.set_modified(std::time::SystemTime::now()));
            match number % 2 {
                0 => (0..2).for_each(|_| put(content(number, "one"))),
                _ => put(content(number, "two")),
            }
        }
    });
    tokio::task::spawn_blocking(move || over.join().unwrap()).await.unwrap();
    assert_ordinary_file_is_ingested(&rig, &mut log, "ordinary").await;
    let start = Instant::now();
    while fs::read_dir(rig.path("inbox")).unwrap().count() > 0 {
        assert!(start.elapsed() < TIMEOUT, "{}", rig.output());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut prompts: Vec<String> =
        jobs_of(&rig, "over").await.iter().map(|job| job["prompt"].to_string()).collect();
    let bought = prompts.len();
    prompts.sort();
    prompts.dedup();
    assert_eq!(prompts.len(), bought, "each content is bought once");
    // What was replaced before it was read is not there to be bought; the last of each name is.
    assert!(bought >= rounds, "{bought}");
    conclude(rig, &log, When::Always).await;
}

#[tokio::test]
async fn file_open_for_writing_is_left_alone_and_then_rejected_whole() {
    let rig = start().await;
    let mut log = log_of(&rig);
    let (inbox, outside) = (rig.path("inbox"), rig.beside("elsewhere/open.json"));
    let script = format!("for i in 1 2 3; do echo '{}'; sleep 1; done > stream.json", good("open"));
    let mut shell =
        std::process::Command::new("sh").args(["-c", &script]).current_dir(&inbox).spawn().unwrap();
    // Renamed in while its writer continues.
    fs::write(&outside, good("open")).unwrap();
    let mut renamed = fs::File::options().append(true).open(&outside).unwrap();
    fs::rename(outside, inbox.join("open.json")).unwrap();
    tokio::task::spawn_blocking(move || shell.wait().unwrap()).await.unwrap();
    assert!(jobs_of(&rig, "open").await.is_empty(), "{}", rig.output());
    renamed.write_all(good("open").as_bytes()).unwrap();
    drop(renamed);
    let start = Instant::now();
    while fs::read_dir(rig.path("rejected")).unwrap().count() < 4 {
        assert!(start.elapsed() < TIMEOUT, "{}", rig.output());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_ordinary_file_is_ingested(&rig, &mut log, "ordinary").await;
    assert!(jobs_of(&rig, "open").await.is_empty(), "nothing of them is bought");
    conclude(rig, &log, When::Always).await;
}
