//! From the inbox to committed jobs: the intake stage on a real folder and a real database, with a paused clock.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dropreel::api::list::JobFilter;
use dropreel::clock::{Clock, Timestamp};
use dropreel::fs::lock::InboxLock;
use dropreel::job::policy::PollingPolicy;
use dropreel::jobfile::{JobFileLimits, LocalPictures};
use dropreel::pictures::PictureFolder;
use dropreel::rng::Rng;
use dropreel::stages::Stage;
use dropreel::stages::intake::{IntakeFolders, IntakeStage};
use dropreel::store::Store;

use crate::support::png;

const NOW: Timestamp = Timestamp::from_millis(1_775_285_160_000);
const JOB: &str = r#"{"model":"wan2.5-t2v","prompt":"春天的樱花树下,花瓣随风飘落","duration":5}"#;

struct Inbox {
    folder: tempfile::TempDir,
    clock: Clock,
    store: Store,
    stage: IntakeStage,
}

impl Inbox {
    fn new() -> Self {
        Self::in_folder(tempfile::tempdir().unwrap())
    }

    fn in_folder(folder: tempfile::TempDir) -> Self {
        let clock = Clock::paused(NOW);
        let (store, _) = Store::open(
            &folder.path().join("dropreel.db"),
            PollingPolicy::DEFAULT,
            Rng::from_system(),
            clock.clone(),
        )
        .unwrap();
        let stage = stage(folder.path(), &store, &clock);
        std::fs::create_dir_all(folder.path().join("inbox")).unwrap();
        Self { folder, clock, store, stage }
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    fn drop(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path("inbox").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Advances the clock by `wait`, then runs a pass of the stage.
    async fn pass_after(&self, wait: Duration) {
        self.clock.advance(wait);
        self.stage.pass().await.unwrap();
    }

    async fn settle(&self) {
        self.pass_after(Duration::from_secs(20)).await;
        self.pass_after(Duration::from_secs(20)).await;
    }

    async fn jobs(&self) -> Vec<String> {
        let page = self.store.list(JobFilter::default(), None, 500).await.unwrap();
        page.jobs.into_iter().rev().map(|details| details.job.identity().name.clone()).collect()
    }

    fn names(&self, relative: &str) -> Vec<String> {
        names(&self.path(relative))
    }

    fn reason(&self, name: &str) -> String {
        std::fs::read_to_string(self.path("rejected").join(format!("{name}.reason.json"))).unwrap()
    }
}

fn stage(folder: &Path, store: &Store, clock: &Clock) -> IntakeStage {
    let folders = IntakeFolders {
        pictures: PictureFolder::new(folder.join("pictures")),
        picture_wait: Duration::from_secs(60),
        inbox: folder.join("inbox"),
        accepted: folder.join("accepted"),
        rejected: folder.join("rejected"),
        recursive: true,
        settle: Duration::from_secs(2),
        rescan: Duration::from_secs(10),
    };
    let limits = JobFileLimits { pictures: LocalPictures::BesideJobFile, ..JobFileLimits::default() };
    IntakeStage::new(store.clone(), clock.clone(), folders, limits, Rng::seeded(1))
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn accepted_file_becomes_jobs_and_is_kept_byte_for_byte() {
    let inbox = Inbox::new();
    let text = format!("[{JOB},\n  {JOB}]\n");
    inbox.drop("sakura.json", &text);
    inbox.pass_after(Duration::ZERO).await;
    assert_eq!(inbox.jobs().await, ["sakura", "sakura-2"]);
    assert_eq!(inbox.names("inbox"), [""; 0]);
    let kept = std::fs::read_to_string(inbox.path("accepted/2026-04-04/sakura.json")).unwrap();
    assert_eq!(kept, text);
    assert!(inbox.store.unmoved().await.unwrap().is_empty());
}

#[tokio::test]
async fn expanded_object_is_ingested_once_with_its_seeds() {
    let inbox = Inbox::new();
    let object = |own: &str| format!(r#"{{"model":"m", "n":1.10, "dropreel":{{{own}}}}}"#);
    let expanded = object(r#""key":"k","repeat":2,"matrix":{"size":["a","b"]}"#);
    inbox.drop("a.json", format!("[{}, {expanded}]", object("")));
    inbox.pass_after(Duration::ZERO).await;
    assert_eq!(inbox.jobs().await, ["a", "a-2-1", "a-2-2", "a-2-3", "a-2-4"]);
    let mut bodies = Vec::new();
    for details in inbox.store.list(JobFilter::default(), None, 4).await.unwrap().jobs {
        bodies.push(inbox.store.request(details.job.id()).await.unwrap());
    }
    bodies.reverse();
    let seed = |body: &str| body.rsplit(':').next().unwrap().trim_end_matches('}').parse::<u32>().unwrap();
    let (one, other) = (seed(&bodies[0]), seed(&bodies[1]));
    assert_ne!(one, other);
    let body = |size: &str, seed: u32| format!(r#"{{"model":"m", "n":1.10,"size":"{size}","seed":{seed}}}"#);
    assert_eq!(bodies, [body("a", one), body("a", other), body("b", one), body("b", other)]);

    let last = inbox.store.list(JobFilter::default(), None, 1).await.unwrap().jobs.remove(0);
    let history = inbox.store.history(last.job.id()).await.unwrap();
    assert_eq!(history[0].detail, format!("4 of 4: `size` `b`, `seed` `{other}`"));

    // In the form with a number, as a whole, and as the key of a further expansion.
    let second = r#""key":"k-4""#;
    for (name, own) in [("b", second), ("c", r#""key":"k""#), ("d", r#""key":"k","repeat":9"#)] {
        inbox.drop(&format!("{name}.jsonl"), format!("{}\n{}", object(""), object(own)));
        inbox.settle().await;
        let reason: serde_json::Value =
            serde_json::from_str(&inbox.reason(&format!("{name}.jsonl"))).unwrap();
        assert_eq!(
            (&reason["errors"][0]["pointer"], &reason["errors"][0]["line"]),
            (&"/dropreel/key".into(), &2.into()),
            "{reason}"
        );
    }
    assert_eq!(inbox.jobs().await.len(), 5);
}

#[tokio::test]
async fn files_with_more_requests_than_are_kept_are_read_again() {
    let inbox = Inbox::new();
    let padding = "x".repeat(30 << 10);
    let object =
        |key: &str| format!(r#"{{"model":"m","pad":"{padding}","dropreel":{{"repeat":50,"key":"{key}"}}}}"#);
    for name in ["a", "b", "c", "d"] {
        inbox.drop(&format!("{name}.json"), object(name));
    }
    inbox.drop("e.jsonl", format!("{}\n{}", object("e"), object("f")));
    inbox.drop("g.json", object("a"));
    inbox.settle().await;
    let jobs = inbox.jobs().await;
    let expected: Vec<String> = ["a", "b", "c", "d", "e", "e-2"]
        .iter()
        .flat_map(|name| (1..=50).map(move |number| format!("{name}-{number}")))
        .collect();
    assert_eq!(jobs, expected);
    assert_eq!(inbox.names("rejected"), ["g.json", "g.json.reason.json"]);
    assert_eq!(inbox.names("inbox"), [""; 0]);
}

#[tokio::test]
async fn files_are_ingested_by_name_and_a_bad_one_delays_none() {
    let inbox = Inbox::new();
    let name = |number: usize| format!("{number:03}");
    for number in 0..600 {
        inbox.drop(&format!("{}.json", name(number)), if number == 300 { "7" } else { JOB });
    }
    inbox.pass_after(Duration::ZERO).await;
    let newest: Vec<_> = (99..600).filter(|number| *number != 300).map(name).collect();
    assert_eq!(inbox.jobs().await, newest);
    assert_eq!(inbox.names("accepted/2026-04-04").len(), 599);
    assert_eq!(inbox.names("rejected"), ["300.json", "300.json.reason.json"]);
    assert!(inbox.store.unmoved().await.unwrap().is_empty());
}

#[tokio::test]
async fn half_written_file_waits_until_unchanged() {
    let inbox = Inbox::new();
    inbox.drop("a.json", &JOB.as_bytes()[..20]);
    inbox.pass_after(Duration::ZERO).await;
    inbox.pass_after(Duration::from_millis(1900)).await;
    inbox.drop("a.json", &JOB.as_bytes()[..40]);
    inbox.pass_after(Duration::from_secs(11)).await;
    assert_eq!((inbox.names("inbox"), inbox.names("rejected")), (vec!["a.json".to_owned()], vec![]));
    inbox.drop("a.json", JOB);
    inbox.pass_after(Duration::from_secs(11)).await;
    assert!(inbox.jobs().await.is_empty(), "it has grown since it was seen");
    inbox.pass_after(Duration::from_secs(2)).await;
    assert_eq!(inbox.jobs().await, ["a"]);
}

#[tokio::test]
async fn file_open_for_writing_is_left_alone_until_it_is_closed() {
    let bad = JOB.replace("\"model\"", "\"dropreel\"");
    // The name, what has been written so far, and what becomes of the file: its jobs, or none if it is rejected.
    let cases = [
        ("a.json", JOB.to_owned(), 1),
        ("bad.json", bad.clone(), 0),
        ("lines.jsonl", format!("{JOB}\n{JOB}\n"), 2),
        ("bad-lines.ndjson", format!("{JOB}\n{bad}\n"), 0),
        ("long-lines.ndjson", format!("{JOB}\n").repeat(1000), 500),
        ("c (conflicted copy 2026-11-28).json", JOB.to_owned(), 0),
    ];
    for (name, text, jobs) in cases {
        let inbox = Inbox::new();
        let path = inbox.path("inbox").join(name);
        std::fs::write(&path, &text).unwrap();
        let writer = std::fs::File::options().append(true).open(&path).unwrap();
        for wait in [0, 1, 30, 200, 10_000] {
            inbox.pass_after(Duration::from_secs(wait)).await;
            assert_eq!(
                (inbox.jobs().await.len(), inbox.names("inbox").len()),
                (0, 1),
                "{name} after {wait} s"
            );
        }
        drop(writer);
        inbox.settle().await;
        let outcome = (inbox.jobs().await.len(), inbox.names("rejected").len());
        assert_eq!(outcome, if jobs > 0 { (jobs, 0) } else { (0, 2) }, "{name}");
    }
}

#[tokio::test]
async fn broken_unchanged_file_is_rejected_with_its_reason() {
    let inbox = Inbox::new();
    inbox.drop("a.json", &JOB.as_bytes()[..40]);
    inbox.settle().await;
    assert_eq!(inbox.names("rejected"), ["a.json", "a.json.reason.json"]);
    assert_eq!(std::fs::read(inbox.path("rejected/a.json")).unwrap(), &JOB.as_bytes()[..40]);
    let reason: serde_json::Value = serde_json::from_str(&inbox.reason("a.json")).unwrap();
    assert_eq!(reason["file"], "a.json");
    assert_eq!(reason["errors"][0]["line"], 1);
    assert!(inbox.jobs().await.is_empty());
}

#[tokio::test]
async fn parsable_invalid_file_is_rejected_with_every_problem() {
    let inbox = Inbox::new();
    inbox.drop("a.json", "{\n \"model\": \"wan2.5-t2v\",\n \"prompt\": 7,\n \"duration\": \"5\"\n}");
    inbox.pass_after(Duration::ZERO).await;
    let reason: serde_json::Value = serde_json::from_str(&inbox.reason("a.json")).unwrap();
    let places: Vec<_> = reason["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| format!("{} {}:{}", error["pointer"].as_str().unwrap(), error["line"], error["column"]))
        .collect();
    assert_eq!(places, ["/prompt 3:12", "/duration 4:14"]);
}

#[tokio::test]
async fn line_file_waits_until_unchanged_even_if_it_parses() {
    let inbox = Inbox::new();
    inbox.drop("a.jsonl", format!("{JOB}\n{JOB}"));
    inbox.pass_after(Duration::ZERO).await;
    inbox.pass_after(Duration::from_millis(1500)).await;
    assert!(inbox.jobs().await.is_empty());
    inbox.drop("a.jsonl", format!("{JOB}\n{JOB}\n\n{JOB}\n"));
    inbox.settle().await;
    assert_eq!(inbox.jobs().await, ["a", "a-2", "a-3"]);
    assert_eq!(inbox.names("accepted/2026-04-04"), ["a.jsonl"]);
}

#[tokio::test]
async fn empty_file_is_given_a_minute() {
    let inbox = Inbox::new();
    inbox.drop("a.json", "");
    inbox.pass_after(Duration::ZERO).await;
    inbox.pass_after(Duration::from_secs(55)).await;
    assert_eq!(inbox.names("inbox"), ["a.json"]);
    inbox.pass_after(Duration::from_secs(6)).await;
    assert_eq!(inbox.names("rejected"), ["a.json", "a.json.reason.json"]);
}

#[tokio::test]
async fn unfinished_names_and_other_files_are_ignored() {
    let inbox = Inbox::new();
    let names = [".a.json", "a.json.tmp", "a.json.part", "a.json~", "notes.txt", "a.json.swp"];
    for name in names {
        inbox.drop(name, JOB);
    }
    inbox.settle().await;
    assert_eq!(inbox.names("inbox").len(), names.len());
    assert!(inbox.jobs().await.is_empty());
}

#[tokio::test]
async fn links_pipes_and_folders_are_never_opened() {
    let inbox = Inbox::new();
    std::fs::write(inbox.path("elsewhere.json"), JOB).unwrap();
    std::os::unix::fs::symlink(inbox.path("elsewhere.json"), inbox.path("inbox/link.json")).unwrap();
    std::fs::create_dir(inbox.path("inbox/folder.json")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(inbox.path("inbox/pipe.json")).status().unwrap();
    assert!(made.success());
    inbox.settle().await;
    assert_eq!(inbox.names("inbox"), ["folder.json", "link.json", "pipe.json"]);
    assert!(inbox.jobs().await.is_empty());
}

#[tokio::test]
async fn replaced_inbox_is_read_only_once_it_is_locked_again() {
    let mut inbox = Inbox::new();
    let lock = InboxLock::acquire(&inbox.path("inbox")).unwrap();
    inbox.stage = stage(inbox.folder.path(), &inbox.store, &inbox.clock).locking(Some(Arc::new(lock)));
    inbox.drop("a.json", JOB);
    inbox.pass_after(Duration::ZERO).await;
    std::fs::rename(inbox.path("inbox"), inbox.path("former")).unwrap();
    std::fs::create_dir(inbox.path("inbox")).unwrap();
    let other_daemon = InboxLock::acquire(&inbox.path("inbox")).unwrap();
    inbox.drop("b.json", JOB);
    inbox.settle().await;
    assert_eq!((inbox.names("inbox"), inbox.jobs().await), (vec!["b.json".to_owned()], vec!["a".to_owned()]));
    drop(other_daemon);
    inbox.settle().await;
    assert_eq!(inbox.jobs().await, ["a", "b"]);
    assert!(InboxLock::acquire(&inbox.path("inbox")).is_err(), "the new folder is locked");
}

#[tokio::test]
async fn files_of_folders_keep_their_folders_and_label_their_jobs() {
    let inbox = Inbox::new();
    let own = JOB.replace('}', r#","dropreel":{"labels":{"folder":"mine"}}}"#);
    inbox.drop("a.json", JOB);
    inbox.drop("spring/a.json", JOB);
    inbox.drop("spring/day 1/a.jsonl", format!("{JOB}\n{own}\n"));
    inbox.drop("spring/bad.json", "7");
    inbox.drop("1/2/3/4/5/6/7/8/deep.json", JOB);
    inbox.drop("1/2/3/4/5/6/7/8/9/too-deep.json", JOB);
    inbox.drop(".hidden/a.json", JOB);
    inbox.drop("spring/up.part/a.json", JOB);
    inbox.settle().await;
    inbox.settle().await;
    let page = inbox.store.list(JobFilter::default(), None, 500).await.unwrap();
    let mut folders: Vec<_> =
        page.jobs.iter().map(|job| job.labels.get("folder").cloned().unwrap_or_default()).collect();
    folders.sort();
    assert_eq!(folders, ["", "1/2/3/4/5/6/7/8", "mine", "spring", "spring/day 1"]);
    let day = "accepted/2026-04-04";
    assert_eq!(inbox.names(day), ["1", "a.json", "spring"]);
    assert_eq!(inbox.names(&format!("{day}/spring")), ["a.json", "day 1"]);
    assert_eq!(inbox.names(&format!("{day}/spring/day 1")), ["a.jsonl"]);
    assert_eq!(inbox.names("rejected/spring"), ["bad.json", "bad.json.reason.json"]);
    assert_eq!(inbox.names("inbox/spring"), ["day 1", "up.part"], "empty folders stay");
    assert_eq!(inbox.names("inbox/1/2/3/4/5/6/7/8/9"), ["too-deep.json"]);
    assert!(inbox.store.unmoved().await.unwrap().is_empty());
}

#[tokio::test]
async fn files_of_many_folders_are_accepted_into_folders_of_the_same_names() {
    let inbox = Inbox::new();
    let paths: Vec<String> = (10..40).map(|number| format!("trip/scene {number}/shots/a.json")).collect();
    paths.iter().for_each(|path| inbox.drop(path, JOB));
    // A file has the name that the folder of others is to have.
    std::fs::create_dir_all(inbox.path("accepted/2026-04-04/trip")).unwrap();
    std::fs::write(inbox.path("accepted/2026-04-04/trip/scene 20"), "").unwrap();
    inbox.settle().await;
    assert_eq!(inbox.jobs().await.len(), paths.len());
    assert!(inbox.store.unmoved().await.unwrap().is_empty());
    for path in paths {
        let path = path.replace("scene 20", "scene 20-1");
        assert!(inbox.path("accepted/2026-04-04").join(&path).is_file(), "{path}");
    }
}

#[tokio::test]
async fn repeated_copy_is_one_of_the_same_path() {
    let inbox = Inbox::new();
    for path in ["spring/a.json", "summer/a.json", "a.json", "spring/a (1).json", "summer/a.json"] {
        inbox.drop(path, JOB);
        inbox.settle().await;
    }
    assert_eq!(inbox.jobs().await, ["a", "a", "a"]);
    assert_eq!(inbox.names("rejected"), ["spring", "summer"]);
}

#[tokio::test]
async fn folder_removed_after_a_crash_does_not_stop_the_move() {
    let inbox = Inbox::new();
    inbox.drop("spring/a.json", JOB);
    inbox.settle().await;
    // As if the move had not been recorded.
    let database = rusqlite::Connection::open(inbox.path("dropreel.db")).unwrap();
    database.execute("UPDATE batches SET moved_at = NULL", []).unwrap();
    std::fs::remove_dir(inbox.path("inbox/spring")).unwrap();
    inbox.drop("a.json", JOB);
    inbox.settle().await;
    assert!(inbox.store.unmoved().await.unwrap().is_empty());
    assert_eq!(inbox.jobs().await, ["a", "a"], "the file beside it is another one");
}

#[tokio::test]
async fn conflict_copies_of_sync_tools_are_rejected() {
    let inbox = Inbox::new();
    inbox.drop("a.sync-conflict-20260404-101010-ABCDEFG.json", JOB);
    inbox.drop("a (conflicted copy 2026-04-04).json", JOB);
    inbox.pass_after(Duration::ZERO).await;
    assert!(inbox.jobs().await.is_empty());
    assert_eq!(inbox.names("rejected").len(), 4);
}

#[tokio::test]
async fn repeated_copy_is_rejected_and_names_the_first_job() {
    let inbox = Inbox::new();
    inbox.drop("a.json", JOB);
    inbox.pass_after(Duration::ZERO).await;
    inbox.drop("a.json", JOB);
    inbox.pass_after(Duration::from_secs(3600)).await;
    assert_eq!(inbox.jobs().await, ["a"]);
    let first = inbox.store.list(JobFilter::default(), None, 1).await.unwrap().jobs[0].job.id();
    assert!(inbox.reason("a.json").contains(&first.to_string()));
    inbox.drop("a.json", JOB.replace('{', "{ "));
    inbox.pass_after(Duration::from_secs(11)).await;
    assert_eq!(inbox.jobs().await, ["a", "a"], "other bytes are another job");
    assert_eq!(inbox.names("accepted/2026-04-04"), ["a-1.json", "a.json"]);
}

#[tokio::test]
async fn job_file_with_a_retouched_picture_is_no_repeated_copy() {
    let job = r#"{"model":"wan2.5-i2v","prompt":"p","image_urls":["a.png"]}"#;
    let defaults = r#"{"model":"wan2.5-i2v","image_urls":["a.png"]}"#;
    // Of a long file, the jobs are read again while they are written; so are those of few words with long defaults.
    let long = format!("{job}{}\n", " ".repeat(200)).repeat(400);
    let words = "p\n".repeat(300);
    let long_defaults = format!(r#"{{"model":"m","note":"{}","image_urls":["a.png"]}}"#, "x".repeat(10_000));
    let cases = [
        ("a.json", job, "", 1),
        ("a.jsonl", &*long, "", 400),
        ("a.csv", "model,prompt,image_urls\nwan2.5-i2v,p,a.png\n", "", 1),
        ("a.prompts.txt", "p\n", defaults, 1),
        ("a.prompts.txt", &*words, &*long_defaults, 300),
    ];
    for (name, text, defaults, jobs) in cases {
        let inbox = Inbox::new();
        if !defaults.is_empty() {
            inbox.drop("defaults.json", defaults);
        }
        // What is dropped, and how often that was accepted by then.
        for (step, (picture, accepted)) in
            [("first", 1), ("first", 1), ("retouched", 2), ("first", 2), ("again", 3)].into_iter().enumerate()
        {
            inbox.drop("a.png", png(picture.as_bytes()));
            inbox.drop(name, text);
            inbox.settle().await;
            let database = rusqlite::Connection::open(inbox.path("dropreel.db")).unwrap();
            let count: i64 = database.query_row("SELECT count(*) FROM jobs", [], |row| row.get(0)).unwrap();
            assert_eq!(count, accepted * jobs, "{name}, drop {step}");
        }
        let newest = inbox.store.list(JobFilter::default(), None, 1).await.unwrap().jobs.remove(0);
        let pictures = inbox.store.pictures(newest.job.id()).await.unwrap();
        assert_eq!(pictures.len(), 1, "{name}");
    }
}

/// What was dropped first, what came next with the same bytes, and whether it is rejected as a copy of the first.
const COPIES: &[(&str, &str, bool)] = &[
    ("order.json", "order (1).json", true),
    ("order (1).json", "order.json", true),
    ("order.json", "order - Kopie.json", true),
    ("order.json", "order 2.json", true),
    ("order.json", "order-1.json", false),
    ("shot 2.json", "shot 3.json", false),
    ("m\u{fc}ller.json", "mu\u{308}ller.json", true),
    ("mu\u{308}ller.json", "m\u{fc}ller.json", true),
    ("mu\u{308}ller.json", "m\u{fc}ller (1).json", true),
];

#[tokio::test]
async fn copy_under_the_name_of_a_copy_is_rejected_and_names_the_first_job() {
    for (first, copy, rejected) in COPIES {
        let inbox = Inbox::new();
        inbox.drop(first, JOB);
        inbox.pass_after(Duration::ZERO).await;
        inbox.drop(copy, JOB);
        inbox.pass_after(Duration::from_secs(3600)).await;
        assert_eq!(inbox.jobs().await.len(), if *rejected { 1 } else { 2 }, "{first}, {copy}");
        if *rejected {
            let id = inbox.store.list(JobFilter::default(), None, 1).await.unwrap().jobs[0].job.id();
            assert!(inbox.reason(copy).contains(&id.to_string()), "{copy}");
            inbox.drop(copy, JOB.replace('}', r#","dropreel":{"again":true}}"#));
            inbox.pass_after(Duration::from_secs(11)).await;
            assert_eq!(inbox.jobs().await.len(), 2, "{copy}: again");
        }
    }
}

#[tokio::test]
async fn used_key_is_rejected_with_its_position() {
    let inbox = Inbox::new();
    let keyed = JOB.replace('}', r#","dropreel":{"key":"order-1"}}"#);
    inbox.drop("a.json", &keyed);
    inbox.pass_after(Duration::ZERO).await;
    inbox.drop("b.json", format!("[{JOB},{keyed}]"));
    inbox.pass_after(Duration::from_secs(11)).await;
    assert_eq!(inbox.jobs().await, ["a"]);
    assert!(inbox.reason("b.json").contains("/1/dropreel/key"));
}

#[tokio::test]
async fn move_interrupted_by_a_crash_is_finished_without_new_jobs() {
    let inbox = Inbox::new();
    inbox.drop("a.json", JOB);
    // The folder for accepted files cannot be created: jobs are committed, the file stays.
    std::fs::write(inbox.path("accepted"), "in the way").unwrap();
    inbox.pass_after(Duration::ZERO).await;
    assert_eq!((inbox.jobs().await.len(), inbox.names("inbox").len()), (1, 1));
    inbox.pass_after(Duration::from_secs(11)).await;
    assert_eq!((inbox.jobs().await.len(), inbox.names("rejected").len()), (1, 0));
    // The process is restarted, and the folder can be created.
    std::fs::remove_file(inbox.path("accepted")).unwrap();
    let restarted = Inbox::in_folder(inbox.folder);
    restarted.pass_after(Duration::ZERO).await;
    assert_eq!(restarted.jobs().await, ["a"]);
    assert_eq!(restarted.names("inbox"), [""; 0]);
    assert_eq!(restarted.names("accepted/2026-04-04"), ["a.json"]);
}

/// As a crash leaves it between the move of a file and the look at what was moved: `moved` is in `accepted/`.
async fn crash_in_a_move(name: &str, moved: impl FnOnce(&Path)) -> Inbox {
    let inbox = Inbox::new();
    inbox.drop(name, JOB);
    // The jobs are committed, and the file stays.
    std::fs::write(inbox.path("accepted"), "in the way").unwrap();
    inbox.pass_after(Duration::ZERO).await;
    std::fs::remove_file(inbox.path("accepted")).unwrap();
    std::fs::remove_file(inbox.path("inbox").join(name)).unwrap();
    let folder = inbox.path("accepted/2026-04-04");
    std::fs::create_dir_all(&folder).unwrap();
    moved(&folder);
    let restarted = Inbox::in_folder(inbox.folder);
    restarted.pass_after(Duration::ZERO).await;
    restarted.pass_after(Duration::from_secs(11)).await;
    assert!(restarted.store.unmoved().await.unwrap().is_empty());
    restarted
}

#[tokio::test]
async fn file_moved_in_place_of_an_accepted_one_is_put_back_and_ingested() {
    let other = JOB.replace('5', "10");
    let inbox =
        crash_in_a_move("a.json", |folder| std::fs::write(folder.join("a.json"), &other).unwrap()).await;
    assert_eq!(inbox.jobs().await, ["a", "a"]);
    assert_eq!(inbox.names("inbox"), [""; 0]);
    assert_eq!(std::fs::read_to_string(inbox.path("accepted/2026-04-04/a.json")).unwrap(), other);

    let link = |folder: &Path| std::os::unix::fs::symlink("/etc/hostname", folder.join("b.json")).unwrap();
    let inbox = crash_in_a_move("b.json", link).await;
    assert_eq!((inbox.names("inbox"), inbox.jobs().await), (vec!["b.json".to_owned()], vec!["b".to_owned()]));
}

#[tokio::test]
async fn accepted_file_stays_where_it_is_after_a_crash_in_a_move() {
    // Moved as it should be, beside one that only a newer database knows.
    let moved = |folder: &Path| {
        std::fs::write(folder.join("a.json"), JOB).unwrap();
        std::fs::write(folder.join("a-1.json"), JOB.replace('5', "10")).unwrap();
    };
    let inbox = crash_in_a_move("a.json", moved).await;
    assert_eq!((inbox.jobs().await.len(), inbox.names("inbox").len()), (1, 0));
    assert_eq!(inbox.names("accepted/2026-04-04"), ["a-1.json", "a.json"]);

    // Gone, and another drop of the name was accepted before.
    let inbox = Inbox::new();
    inbox.drop("a.json", JOB.replace('5', "10"));
    inbox.pass_after(Duration::ZERO).await;
    inbox.drop("a.json", JOB);
    std::fs::rename(inbox.path("accepted"), inbox.path("kept")).unwrap();
    std::fs::write(inbox.path("accepted"), "in the way").unwrap();
    inbox.pass_after(Duration::from_secs(11)).await;
    std::fs::remove_file(inbox.path("accepted")).unwrap();
    std::fs::rename(inbox.path("kept"), inbox.path("accepted")).unwrap();
    std::fs::remove_file(inbox.path("inbox/a.json")).unwrap();
    let restarted = Inbox::in_folder(inbox.folder);
    restarted.settle().await;
    assert_eq!((restarted.jobs().await.len(), restarted.names("inbox").len()), (2, 0));
    assert_eq!(restarted.names("accepted/2026-04-04"), ["a.json"]);
}

#[tokio::test]
async fn accepted_file_that_keeps_changing_its_mode_is_bought_once() {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicBool, Ordering};

    let inbox = Inbox::new();
    inbox.drop("a.json", JOB);
    // As a crash leaves it: the jobs are committed, the file is still there.
    std::fs::write(inbox.path("accepted"), "in the way").unwrap();
    inbox.pass_after(Duration::ZERO).await;
    std::fs::remove_file(inbox.path("accepted")).unwrap();
    let (path, stop) = (inbox.path("inbox/a.json"), std::sync::Arc::new(AtomicBool::new(false)));
    let stopped = stop.clone();
    let changing = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            for mode in [0o640, 0o600, 0o644] {
                let _ = std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode));
            }
        }
    });
    let restarted = Inbox::in_folder(inbox.folder);
    for _ in 0..200 {
        restarted.pass_after(Duration::from_secs(11)).await;
    }
    stop.store(true, Ordering::Relaxed);
    changing.join().unwrap();
    restarted.settle().await;
    assert_eq!((restarted.jobs().await.len(), restarted.names("inbox").len()), (1, 0));
    assert_eq!(restarted.names("rejected"), [""; 0], "nor is it a copy");
}

#[tokio::test]
async fn removed_inbox_is_created_again() {
    let inbox = Inbox::new();
    std::fs::remove_dir_all(inbox.path("inbox")).unwrap();
    inbox.pass_after(Duration::ZERO).await;
    inbox.drop("a.json", JOB);
    inbox.pass_after(Duration::from_secs(11)).await;
    assert_eq!(inbox.jobs().await, ["a"]);
}

#[tokio::test]
async fn ten_thousand_lines_and_a_thousand_files_keep_their_order() {
    let inbox = Inbox::new();
    inbox.drop("lines.jsonl", format!("{JOB}\n").repeat(10_000));
    for number in 0..1000 {
        inbox.drop(&format!("f{number:04}.json"), format!("{JOB}{}", " ".repeat(number % 7)));
    }
    inbox.settle().await;
    let counts = inbox.store.counts().await.unwrap();
    assert_eq!(counts.values().sum::<u64>(), 11_000);
    assert_eq!(inbox.names("inbox"), [""; 0]);
    let mut page = inbox
        .store
        .list(JobFilter { text: Some("f0 -lines".into()), ..JobFilter::default() }, None, 500)
        .await
        .unwrap();
    page.jobs.sort_by_key(|details| details.job.id());
    let names: Vec<_> = page.jobs.iter().map(|details| details.job.identity().name.clone()).collect();
    assert!(names.is_sorted(), "ids follow the names");
}
