//! Objects in the inbox: ingested whole, rejected with a reason, or left alone and reported once. And the next
//! ordinary file is taken as ever.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::evidence::{conclude, log_of, note};
use crate::support::checker::{HarnessLog, When};
use crate::support::{Rig, files_below};

/// An ordinary file must be taken so soon, whatever else lies about.
const SOON: Duration = Duration::from_secs(30);
const BAD: &str = "{\"model\": \"wan2.5-t2v\", \"prompt\": 7}";

/// What must become of it.
#[derive(Clone, Copy, Debug)]
enum End {
    /// This many jobs, and nothing left in the inbox under its name.
    Taken(usize),
    /// In `rejected/` beside a reason with this in its first message.
    Rejected(&'static str),
    /// Left alone and reported in the log once, with this word.
    Reported(&'static str),
    /// Neither touched nor reported: not a job file, or possibly unfinished.
    Left,
}
use End::{Left, Rejected, Reported, Taken};

/// Where a case lays what.
struct Place {
    inbox: PathBuf,
    /// Outside the data folder.
    beside: PathBuf,
    rejected: PathBuf,
    /// A good job file of this case.
    good: String,
}

impl Place {
    fn lay(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.put(name, &self.good)
    }

    fn put(&self, name: impl AsRef<OsStr>, content: impl AsRef<[u8]>) -> PathBuf {
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
fn long(bytes: usize, of: &str) -> String {
    let mut name = of.repeat((bytes - 5) / of.len());
    name.push_str(&"_".repeat(bytes - 5 - name.len()));
    name + ".json"
}

type Lay = fn(&Place);

#[rustfmt::skip]
const CASES: &[(&str, Lay, End)] = &[
    ("plain", |at| { at.lay("plain.json"); }, Taken(1)),
    ("two-objects", |at| { at.put("two.json", format!("[{},{}]", at.good, at.good)); }, Taken(2)),
    // -- what is no file
    ("link-to-good", |at| symlink(at.outside("target.json"), at.inbox.join("link-to-good.json")).unwrap(), Reported("symbolic link")),
    ("link-inside", |at| symlink("../inbox/.hidden.json", at.inbox.join("link-inside.json")).unwrap(), Reported("symbolic link")),
    ("link-dangling", |at| symlink("/nowhere/x.json", at.inbox.join("link-dangling.json")).unwrap(), Reported("symbolic link")),
    ("link-loop", |at| symlink("link-loop.json", at.inbox.join("link-loop.json")).unwrap(), Reported("symbolic link")),
    ("link-to-zeros", |at| symlink("/dev/zero", at.inbox.join("link-to-zeros.json")).unwrap(), Reported("symbolic link")),
    ("link-to-folder", |at| symlink("/etc", at.inbox.join("link-to-folder.jsonl")).unwrap(), Reported("symbolic link")),
    ("pipe", |at| at.node("pipe.json", &["p"]), Reported("pipe")),
    ("pipe-of-lines", |at| at.node("pipe-of-lines.ndjson", &["p"]), Reported("pipe")),
    ("socket", |at| drop(std::os::unix::net::UnixListener::bind(at.inbox.join("socket.json")).unwrap()), Reported("socket")),
    ("folder", |at| fs::create_dir(at.inbox.join("folder.json")).unwrap(), Reported("folder")),
    ("folder-moved-in", |at| {
        let folder = at.beside.join("batch");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("inner.json"), &at.good).unwrap();
        fs::rename(folder, at.inbox.join("batch")).unwrap();
    }, Left),
    // -- modes
    ("mode-0400", |at| at.with_mode("mode-0400.json", 0o400), Taken(1)),
    ("mode-0666", |at| at.with_mode("mode-0666.json", 0o666), Taken(1)),
    ("mode-setuid", |at| at.with_mode("mode-setuid.json", 0o6755), Taken(1)),
    // -- several names of one file
    ("hard-links-inside", |at| { let one = at.lay("hard-1.json"); fs::hard_link(one, at.inbox.join("hard-2.json")).unwrap(); }, Taken(2)),
    // The first that is moved changes the state of all the others.
    ("hard-links-many", |at| { let one = at.lay("many-0.json"); for number in 1..12 { fs::hard_link(&one, at.inbox.join(format!("many-{number}.json"))).unwrap(); } }, Taken(12)),
    ("hard-link-outside", |at| fs::hard_link(at.outside("kept.json"), at.inbox.join("hard-out.json")).unwrap(), Taken(1)),
    // -- names
    ("name-option", |at| { at.lay("-rf.json"); }, Taken(1)),
    ("name-shell", |at| { at.lay("$(touch owned);`id`|&.json"); }, Taken(1)),
    ("name-climbing", |at| { at.lay("..%2f..%2fx.json"); at.put("..\\..\\x.json", at.good.replace('{', "{ ")); }, Left),
    ("name-backslash", |at| { at.lay("a\\..\\b.json"); }, Taken(1)),
    ("name-250", |at| { at.lay(long(250, "long-")); }, Taken(1)),
    ("name-250-bad", |at| { at.put(long(250, "bad-"), BAD); }, Rejected("text")),
    ("name-255", |at| { at.lay(long(255, "full-")); }, Taken(1)),
    ("name-255-bad", |at| { at.put(long(255, "evil"), BAD); }, Rejected("text")),
    ("name-255-characters", |at| { at.put(long(255, "樱"), BAD); }, Rejected("text")),
    ("name-right-to-left", |at| { at.lay("cod\u{202e}nosj.json"); }, Taken(1)),
    ("name-newline", |at| { at.lay("a\n2026-01-01T00:00:00Z ERROR forged line.json"); }, Taken(1)),
    ("name-escape", |at| { at.lay("\u{1b}[2J\u{1b}]0;owned\u{7}.json"); }, Taken(1)),
    ("name-newline-bad", |at| { at.put("b\n2026-01-01T00:00:00Z ERROR forged line.json", BAD); }, Rejected("text")),
    ("name-invalid", |at| { at.lay(OsStr::from_bytes(b"inv\xff.json")); }, Reported("not valid UTF-8")),
    ("name-invalid-too", |at| { at.lay(OsStr::from_bytes(b"inv\xfe.json")); }, Reported("not valid UTF-8")),
    ("name-replacement", |at| { at.lay("inv\u{fffd}.jsonl"); at.lay(OsStr::from_bytes(b"inv\xff.jsonl")); }, Taken(1)),
    ("name-space", |at| { at.lay(" .json"); }, Taken(1)),
    ("name-device", |at| { at.lay("CON.json"); at.put("nul.JSONL", at.good.replace('{', "{ ")); }, Taken(2)),
    ("name-upper", |at| { at.lay("UPPER.JSON"); }, Taken(1)),
    ("name-twice-json", |at| { at.lay("x.json.json"); }, Taken(1)),
    ("name-trailing-dot", |at| { at.lay("dot.json."); }, Left),
    ("name-no-ending", |at| { at.lay("json"); }, Left),
    ("name-leading-dot", |at| { at.lay(".hidden.json"); }, Left),
    ("name-dots", |at| { at.lay("...json"); }, Left),
    ("name-tmp", |at| { at.lay("a.json.tmp"); }, Left),
    ("name-part", |at| { at.lay("a.json.part"); }, Left),
    ("name-tilde", |at| { at.lay("a.json~"); }, Left),
    ("name-syncthing", |at| { at.lay("s.sync-conflict-20260404-101010-ABCDEFG.json"); }, Rejected("sync tool")),
    ("name-dropbox", |at| { at.lay("d (conflicted copy 2026-04-04).json"); }, Rejected("sync tool")),
    ("name-reason", |at| { at.put("r.json.reason.json", BAD); at.put("r.json", BAD); }, Rejected("text")),
    ("name-taken-by-link", |at| {
        symlink(at.beside.join("victim"), at.rejected.join("taken.json")).unwrap();
        symlink(at.beside.join("victim"), at.rejected.join("taken-1.json.reason.json")).unwrap();
        at.put("taken.json", BAD);
    }, Rejected("text")),
    // -- contents
    ("empty", |at| { at.put("empty.json", ""); }, Left),
    ("empty-lines", |at| { at.put("empty.jsonl", ""); }, Left),
    ("sparse", |at| { let path = at.put("sparse.json", ""); fs::File::options().write(true).open(path).unwrap().set_len(1 << 40).unwrap(); }, Rejected("allows")),
    ("sparse-lines", |at| { let path = at.put("sparse.ndjson", ""); fs::File::options().write(true).open(path).unwrap().set_len(1 << 40).unwrap(); }, Rejected("allows")),
    ("no-json", |at| { at.put("words.json", "春天"); }, Rejected("")),
    // -- writers
    ("byte-by-byte", |at| {
        let (mut file, good) = (fs::File::create(at.inbox.join("slowly.json")).unwrap(), at.good.clone());
        std::thread::spawn(move || {
            for byte in good.as_bytes() {
                file.write_all(&[*byte]).unwrap();
                std::thread::sleep(Duration::from_millis(15));
            }
        });
    }, Taken(1)),
    ("lines-byte-by-byte", |at| {
        let (mut file, good) = (fs::File::create(at.inbox.join("slowly.jsonl")).unwrap(), format!("{}\n{}\n{}", at.good, at.good, at.good));
        std::thread::spawn(move || {
            for byte in good.as_bytes() {
                file.write_all(&[*byte]).unwrap();
                std::thread::sleep(Duration::from_millis(6));
            }
        });
    }, Taken(3)),
    ("renamed-in", |at| fs::rename(at.outside("in.json"), at.inbox.join("renamed-in.json")).unwrap(), Taken(1)),
    ("renamed-in-place", |at| { let path = at.lay(".place.json"); fs::rename(path, at.inbox.join("renamed-in-place.json")).unwrap(); }, Taken(1)),
];

/// Only where the tests may do everything.
#[rustfmt::skip]
const AS_ROOT: &[(&str, Lay, End)] = &[
    ("device", |at| at.node("device.json", &["c", "1", "5"]), Reported("device")),
    ("block-device", |at| at.node("block.json", &["b", "7", "250"]), Reported("device")),
    ("mode-000", |at| at.with_mode("mode-000.json", 0o000), Taken(1)),
    ("owned-by-another", |at| { let path = at.outside("anothers.json"); std::os::unix::fs::chown(&path, Some(65534), Some(65534)).unwrap(); fs::rename(path, at.inbox.join("anothers.json")).unwrap(); }, Taken(1)),
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

async fn until_taken(rig: &Rig, case: &str, count: usize) {
    let start = Instant::now();
    while jobs_of(rig, case).await.len() != count {
        let elapsed = start.elapsed();
        let found = jobs_of(rig, case).await.len();
        assert!(elapsed < SOON, "{case}: {found} jobs, not {count}, after {elapsed:?}\n{}", rig.output());
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// The proof that the daemon is none the worse.
async fn an_ordinary_file_is_taken(rig: &Rig, log: &mut HarnessLog, case: &str) {
    let content = good(case);
    note(log, &format!("{case}.json"), &content, Some(1));
    rig.drop(&format!("{case}.json"), content);
    until_taken(rig, case, 1).await;
}

async fn start() -> Rig {
    let mut rig = Rig::set_up("").await;
    // Jobs are only taken in here.
    rig.set("PROVIDER__MAX_RUNNING", "1");
    rig.start_daemon().await;
    fs::create_dir_all(rig.path("rejected")).unwrap();
    fs::create_dir_all(rig.beside("elsewhere")).unwrap();
    rig
}

/// What lies in a folder, with what it is and when it was changed, by name.
fn lying(folder: &Path) -> Vec<(PathBuf, u64, i64)> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let mut lying: Vec<_> = entries
        .filter_map(|entry| {
            // It may be taken in this very moment.
            let metadata = entry.metadata().ok()?;
            Some((entry.path(), metadata.ino(), metadata.mtime_nsec()))
        })
        .collect();
    lying.sort();
    lying
}

#[tokio::test]
async fn every_object_has_its_one_right_end() {
    let rig = start().await;
    let mut log = log_of(&rig);
    let root = rustix::process::geteuid().is_root();
    let cases: Vec<_> = CASES.iter().chain(if root { AS_ROOT } else { &[] }).collect();
    assert!(cases.len() >= 30);
    let mut left = Vec::new();
    for (case, lay, end) in &cases {
        let place = Place {
            inbox: rig.path("inbox"),
            beside: rig.beside("elsewhere"),
            rejected: rig.path("rejected"),
            good: good(case),
        };
        let before = lying(&place.inbox);
        lay(&place);
        if matches!(end, Left | Reported(_)) {
            left.extend(
                lying(&place.inbox).into_iter().filter(|found| before.iter().all(|known| known.0 != found.0)),
            );
        }
    }
    an_ordinary_file_is_taken(&rig, &mut log, "ordinary").await;
    for (case, _, end) in &cases {
        match end {
            Taken(count) => until_taken(&rig, case, *count).await,
            Rejected(_) | Reported(_) | Left => {}
        }
    }
    let start = Instant::now();
    let rejections = cases.iter().filter(|(_, _, end)| matches!(end, Rejected(_))).count();
    // `name-reason` has two.
    while files_below(&rig.path("rejected")).len() < 2 * (rejections + 1) + 2 {
        let rejected = files_below(&rig.path("rejected"));
        assert!(start.elapsed() < SOON, "{rejected:#?}\n{}", rig.output());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Enough rescans for an object to be reported twice, or to be ingested after all.
    tokio::time::sleep(Duration::from_secs(4)).await;
    check_ends(&rig, &cases, &left).await;
    // Nobody wants to hash a terabyte of nothing, or to read the links that were laid there.
    for path in files_below(&rig.path("rejected")) {
        if path.is_symlink() || path.to_string_lossy().contains("/sparse.") {
            fs::remove_file(path).unwrap();
        }
    }
    an_ordinary_file_is_taken(&rig, &mut log, "ordinary-still").await;
    conclude(rig, &log, When::Always).await;
}

async fn check_ends(rig: &Rig, cases: &[&(&str, Lay, End)], left: &[(PathBuf, u64, i64)]) {
    let output = rig.output();
    for (case, _, end) in cases {
        let jobs = jobs_of(rig, case).await;
        let expected = if let Taken(count) = end { *count } else { 0 };
        assert_eq!(jobs.len(), expected, "{case}: {jobs:#?}\n{output}");
    }
    let there = lying(&rig.path("inbox"));
    for found in left {
        assert!(there.contains(found), "{found:?} was touched: {there:#?}");
    }
    // A good one under a replacement character has a neighbour that is not readable.
    let strangers: Vec<_> = there.iter().filter(|found| !left.contains(found)).collect();
    let neighbour = |path: &Path| path.as_os_str().as_bytes().ends_with(b"inv\xff.jsonl");
    assert!(strangers.iter().all(|found| neighbour(&found.0)), "left in the inbox: {strangers:#?}\n{output}");
    // Reported once each: one line for each object.
    for word in ["symbolic link", "pipe", "socket", "folder", "device", "not valid UTF-8"] {
        let expected_line =
            if word.starts_with("not") { word.to_owned() } else { format!("inbox: a {word} is") };
        let reported =
            output.lines().filter(|line| line.contains("stays in") && line.contains(&expected_line)).count();
        let mut things =
            cases.iter().filter(|(_, _, end)| matches!(end, Reported(reported) if *reported == word)).count();
        if word == "not valid UTF-8" {
            things += 1;
        }
        assert_eq!(reported, things, "{word}\n{output}");
    }
    check_reasons(rig, cases);
    // Nobody writes into the log through a name.
    assert!(!output.contains('\u{1b}') && !output.contains('\u{202e}'), "{output:?}");
    assert!(!output.lines().any(|line| line.starts_with("2026-01-01T00:00:00Z ERROR forged")), "{output}");
    // Nothing outside was touched, and nothing of what was kept can be run or changed by others.
    assert!(!rig.beside("elsewhere/victim").exists(), "written through a link");
    assert_eq!(fs::read_to_string(rig.beside("elsewhere/kept.json")).unwrap(), good("hard-link-outside"));
    let outside = fs::metadata(rig.beside("elsewhere/kept.json")).unwrap();
    assert!(!rig.path("owned").exists() && !rig.beside("owned").exists(), "a name was run");
    for path in files_below(&rig.path("accepted")) {
        let metadata = fs::symlink_metadata(&path).unwrap();
        assert!(metadata.is_file() && metadata.mode() & 0o7777 == 0o600, "{path:?} {:o}", metadata.mode());
        assert_ne!(metadata.ino(), outside.ino(), "{path:?} can be changed through another name");
    }
}

fn check_reasons(rig: &Rig, cases: &[&(&str, Lay, End)]) {
    let reasons: Vec<Value> = files_below(&rig.path("rejected"))
        .iter()
        .filter(|path| path.to_string_lossy().ends_with(".reason.json") && !path.is_symlink())
        .filter_map(|path| serde_json::from_slice(&fs::read(path).unwrap()).ok())
        .filter(|reason: &Value| reason["errors"].is_array())
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
async fn an_inbox_that_is_taken_away_and_put_back_is_found_again() {
    let rig = start().await;
    let mut log = log_of(&rig);
    let inbox = rig.path("inbox");
    fs::remove_dir_all(&inbox).unwrap();
    fs::create_dir(&inbox).unwrap();
    an_ordinary_file_is_taken(&rig, &mut log, "recreated").await;
    fs::remove_dir_all(&inbox).unwrap();
    let start = Instant::now();
    while !inbox.is_dir() {
        assert!(start.elapsed() < SOON, "the inbox was not made again");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    an_ordinary_file_is_taken(&rig, &mut log, "made-again").await;
    // Another folder comes in its place, with files in it.
    let other = rig.beside("elsewhere/other");
    fs::create_dir(&other).unwrap();
    note(&mut log, "moved.json", good("moved-in-place"), Some(1));
    fs::write(other.join("moved.json"), good("moved-in-place")).unwrap();
    fs::rename(&inbox, rig.beside("elsewhere/old")).unwrap();
    fs::rename(&other, &inbox).unwrap();
    until_taken(&rig, "moved-in-place", 1).await;
    an_ordinary_file_is_taken(&rig, &mut log, "replaced").await;
    conclude(rig, &log, When::Always).await;
}

#[tokio::test]
async fn a_link_in_the_inbox_s_place_is_not_followed() {
    let rig = start().await;
    let mut log = log_of(&rig);
    an_ordinary_file_is_taken(&rig, &mut log, "before").await;
    let (inbox, away) = (rig.path("inbox"), rig.beside("elsewhere/away"));
    let target = rig.beside("elsewhere/target");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("private.json"), good("private")).unwrap();
    fs::rename(&inbox, &away).unwrap();
    while symlink(&target, &inbox).is_err() {
        // The daemon was quicker and has made another.
        fs::remove_dir(&inbox).unwrap();
    }
    let start = Instant::now();
    while !rig.output().contains("symbolic link") {
        assert!(start.elapsed() < SOON, "{}", rig.output());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(jobs_of(&rig, "private").await.is_empty(), "read through a link");
    assert!(target.join("private.json").is_file());
    fs::remove_file(&inbox).unwrap();
    fs::rename(&away, &inbox).unwrap();
    an_ordinary_file_is_taken(&rig, &mut log, "after").await;
    conclude(rig, &log, When::Always).await;
}

#[tokio::test]
async fn files_that_come_and_go_while_they_are_read_are_whole_or_not_at_all() {
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
                // Taken out again, if it is still there.
                0 => drop(fs::rename(&name, outside.join(format!("back-{number}.json")))),
                // A link in its place.
                1 => {
                    symlink(&secret, &staged).unwrap();
                    fs::rename(&staged, &name).unwrap();
                    std::thread::sleep(Duration::from_millis(1));
                    let _ = fs::remove_file(&name);
                }
                // Another job in its place.
                _ => {
                    fs::write(&staged, good("other")).unwrap();
                    fs::rename(&staged, &name).unwrap();
                }
            }
        }
        outside
    });
    let outside = tokio::task::spawn_blocking(move || churn.join().unwrap()).await.unwrap();
    an_ordinary_file_is_taken(&rig, &mut log, "ordinary").await;
    // Every third file was replaced by one that stayed.
    until_taken(&rig, "other", 100).await;
    assert!(jobs_of(&rig, "secret").await.is_empty(), "read through a link");
    let back = files_below(&outside).iter().filter(|path| path.to_string_lossy().contains("back-")).count();
    let taken = jobs_of(&rig, "churn").await.len();
    // Whoever was not taken is back; of those in whose place a link came, either may be true.
    assert!(taken + back >= 100, "{taken} taken, {back} back");
    let accepted = files_below(&rig.path("accepted")).len();
    assert_eq!(accepted, taken + 100 + 1, "a job for each file kept, and a file kept for each job");
    assert!(files_below(&rig.path("rejected")).is_empty(), "{:?}", files_below(&rig.path("rejected")));
    conclude(rig, &log, When::Always).await;
}

#[tokio::test]
async fn a_heap_of_files_at_once_is_taken_to_the_last() {
    let long = std::env::var_os("DROPREEL_LONG").is_some();
    let (count, patience) = if long { (20_000, 600) } else { (600, 30) };
    let rig = start().await;
    let mut log = log_of(&rig);
    let (heap, inbox) = (rig.beside("elsewhere/heap"), rig.path("inbox"));
    fs::create_dir(&heap).unwrap();
    for number in 0..count {
        let content = format!("{}{}", good("heap"), " ".repeat(number % 50));
        note(&mut log, &format!("heap-{number}.json"), &content, Some(1));
        fs::write(heap.join(format!("heap-{number}.json")), content).unwrap();
    }
    for entry in fs::read_dir(&heap).unwrap().map(Result::unwrap) {
        fs::rename(entry.path(), inbox.join(entry.file_name())).unwrap();
    }
    let start = Instant::now();
    while fs::read_dir(&inbox).unwrap().count() > 0 {
        assert!(start.elapsed() < Duration::from_secs(patience), "{}", rig.output());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(files_below(&rig.path("accepted")).len(), count);
    let (_, status) = rig.get("/api/v1/status").await;
    let jobs: u64 =
        status["counts"].as_object().map_or(0, |counts| counts.values().filter_map(Value::as_u64).sum());
    assert_eq!(jobs, count as u64, "{status:#}");
    an_ordinary_file_is_taken(&rig, &mut log, "ordinary").await;
    conclude(rig, &log, When::Always).await;
}
