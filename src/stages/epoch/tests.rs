//! Nodes that use copies of one database, with one library.

use std::path::Path;

use super::*;
use crate::clock::Timestamp;
use crate::job::JobId;
use crate::job::event::{Event, OperatorAction};
use crate::job::policy::PollingPolicy;
use crate::job::state::StateName;
use crate::job::suspension::SuspensionCause;
use crate::jobfile::{Draft, ObjectPlace};
use crate::settings::LibraryMode;
use crate::sha256::sha256_hex;
use crate::store::job_files::{FileToIngest, Source};

const START: Timestamp = Timestamp::from_millis(1_775_285_160_000);

/// A running daemon, as far as this stage concerns it.
struct Node {
    stage: EpochStage,
    clock: Clock,
}

impl Node {
    async fn start(folder: &Path, name: &str) -> Self {
        let database = folder.join(name).join("dropreel.db");
        Self::start_on(folder, name, &database, false).await
    }

    async fn start_on(folder: &Path, name: &str, database: &Path, is_shared: bool) -> Self {
        let (data_dir, clock) = (folder.join(name), Clock::paused(START));
        let rng = Rng::from_system();
        for below in ["inbox", "accepted"] {
            std::fs::create_dir_all(data_dir.join(below)).unwrap();
        }
        let (store, _) = Store::open(database, PollingPolicy::DEFAULT, rng.clone(), clock.clone()).unwrap();
        let library = Library::open(&folder.join("videos"), LibraryMode::Private, &data_dir, &rng).unwrap();
        let stage = EpochStage::open(EpochParts {
            store,
            library,
            clock: clock.clone(),
            rng,
            inbox: data_dir.join("inbox"),
            recursive: true,
            accepted: data_dir.join("accepted"),
            is_shared,
            data_dir,
        })
        .await
        .unwrap();
        let node = Self { stage, clock };
        node.pass().await;
        node
    }

    async fn pass(&self) {
        self.stage.pass().await.unwrap();
    }

    /// Lets as much time pass as is between two rises.
    async fn wait(&self) {
        self.clock.advance(INTERVAL);
        self.pass().await;
    }

    async fn take_over(&self) {
        let store = &self.stage.parts.store;
        assert!(store.lift_suspensions(vec![SuspensionCause::Superseded]).await.unwrap());
        self.wait().await;
    }

    async fn is_superseded(&self) -> bool {
        self.stage.superseded().await.unwrap().is_some()
    }

    /// Accepts a job file, as the intake stage does.
    async fn accept(&self, name: &str) -> JobId {
        self.accept_at(name, START).await
    }

    async fn accept_at(&self, name: &str, now: Timestamp) -> JobId {
        let text = format!("text of {name}");
        let file = FileToIngest {
            source: Source::Inbox,
            file_name: Some(name.to_owned()),
            sha256: sha256_hex(text.as_bytes()),
            inputs_sha256: None,
            bytes: 1,
            idempotency_key: None,
        };
        let draft = Draft {
            name: name.to_owned(),
            model: "m".into(),
            prompt: None,
            body: "{}".into(),
            priority: 0,
            labels: Default::default(),
            key: None,
            object_key: None,
            again: false,
            not_before: None,
            max_cost: None,
            variation: None,
            defaults: Vec::new(),
            warnings: Vec::new(),
            pictures: Vec::new(),
            place: ObjectPlace::default(),
        };
        let store = &self.stage.parts.store;
        let ingested = store.ingest(file, Box::new([Ok(draft)].into_iter()), now).await.unwrap();
        let to = self.stage.parts.accepted.join(START.date()).join(name);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::write(&to, text).unwrap();
        let _ = std::fs::remove_file(self.stage.parts.inbox.join(name));
        store.mark_moved(vec![(ingested.nr, Some(to.display().to_string()))], START).await.unwrap();
        ingested.jobs[0]
    }

    async fn state(&self, job: JobId) -> StateName {
        self.stage.parts.store.details(job).await.unwrap().job.state_name()
    }

    /// The names of the files in the inbox.
    async fn inbox(&self) -> Vec<String> {
        self.stage.files_in_inbox().await.unwrap().into_iter().collect()
    }
}

/// Copies a folder, the database with its log among it, as `cp -r` does.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[tokio::test]
async fn daemon_that_was_taken_over_submits_nothing_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let first = Node::start(folder.path(), "first").await;
    let job = first.accept("a.json").await;
    copy(&folder.path().join("first"), &folder.path().join("second"));
    first.wait().await;
    assert!(!first.is_superseded().await);

    let second = Node::start(folder.path(), "second").await;
    assert!(second.is_superseded().await, "the first may still run");
    assert_eq!(second.state(job).await, StateName::Held);
    second.wait().await;
    first.wait().await;
    assert_eq!((second.is_superseded().await, first.is_superseded().await), (true, false));

    second.take_over().await;
    let late = first.accept("late.json").await;
    first.wait().await;
    assert_eq!((second.is_superseded().await, first.is_superseded().await), (false, true));
    assert_eq!([first.state(job).await, first.state(late).await], [StateName::Held; 2]);
    // Its next start changes nothing, until an operator does.
    drop(first);
    let first = Node::start(folder.path(), "first").await;
    second.wait().await;
    assert_eq!((second.is_superseded().await, first.is_superseded().await), (false, true));
    first.take_over().await;
    second.wait().await;
    assert_eq!((second.is_superseded().await, first.is_superseded().await), (true, false));
}

#[tokio::test]
async fn restarts_and_an_absent_library_stop_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(folder.path(), "first").await;
    let job = node.accept("a.json").await;
    node.wait().await;
    node.stage.drain().await;
    drop(node);
    let node = Node::start(folder.path(), "first").await;
    std::fs::rename(folder.path().join("videos"), folder.path().join("away")).unwrap();
    for _ in 0..3 {
        node.wait().await;
    }
    assert!(node.stage.state.lock().await.is_unreachable);
    std::fs::rename(folder.path().join("away"), folder.path().join("videos")).unwrap();
    node.wait().await;
    assert!(!node.stage.state.lock().await.is_unreachable);
    drop(node);
    let node = Node::start(folder.path(), "first").await;
    assert!(!node.is_superseded().await);
    assert_eq!(node.state(job).await, StateName::Pending);
}

#[tokio::test]
async fn machine_put_back_to_an_older_state_is_recognized() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(folder.path(), "first").await;
    let job = node.accept("a.json").await;
    copy(&folder.path().join("first"), &folder.path().join("snapshot"));
    node.wait().await;
    drop(node);
    let node = Node::start(folder.path(), "snapshot").await;
    assert!(node.is_superseded().await);
    assert_eq!(node.state(job).await, StateName::Held);
}

#[tokio::test]
async fn files_that_a_copy_does_not_know_are_back_in_the_inbox_and_awaited() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("first");
    let node = Node::start(folder.path(), "first").await;
    node.accept("known.json").await;
    std::fs::create_dir(folder.path().join("copy")).unwrap();
    for name in ["dropreel.db", "dropreel.db-wal"] {
        std::fs::copy(data_dir.join(name), folder.path().join("copy").join(name)).unwrap();
    }
    node.wait().await;
    for name in ["spring/later.json", "twice.json", "taken.json"] {
        node.accept(name).await;
    }
    drop(node);
    for name in ["dropreel.db", "dropreel.db-wal"] {
        std::fs::copy(folder.path().join("copy").join(name), data_dir.join(name)).unwrap();
    }
    std::fs::write(data_dir.join("inbox/twice.json"), "text of twice.json").unwrap();
    std::fs::write(data_dir.join("inbox/taken.json"), "another").unwrap();
    std::os::unix::fs::symlink("/dev/null", data_dir.join("inbox/link.json")).unwrap();
    let node = Node::start(folder.path(), "first").await;
    let expected = ["spring/later.json", "taken (1).json", "taken.json", "twice.json"];
    assert_eq!(node.inbox().await, expected);
    assert!(node.is_superseded().await);
    let jobs = [node.accept("spring/later.json").await, node.accept("taken.json").await];
    node.wait().await;
    assert!(node.is_superseded().await, "two are left");
    for name in ["taken (1).json", "twice.json"] {
        std::fs::remove_file(data_dir.join("inbox").join(name)).unwrap();
    }
    node.wait().await;
    assert!(!node.is_superseded().await, "nobody else uses the database");
    for job in jobs {
        assert_eq!(node.state(job).await, StateName::Held);
    }
    let new = node.accept("new.json").await;
    node.wait().await;
    assert_eq!(node.state(new).await, StateName::Pending);
}

#[tokio::test]
async fn crash_at_the_first_start_makes_no_copy_of_its_database() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(folder.path(), "first").await;
    let job = node.accept("a.json").await;
    let path = node.stage.path.clone();
    let LocalEpoch { epoch, node: number } = LocalEpoch::read(&path);
    drop(node);
    // The file as it is between its two writes; the record comes after both.
    LocalEpoch { epoch: epoch - 1, node: number }.write(&path).unwrap();
    std::fs::remove_dir_all(folder.path().join("videos")).unwrap();
    let node = Node::start(folder.path(), "first").await;
    assert!(!node.is_superseded().await);
    assert_eq!(node.state(job).await, StateName::Pending);
}

#[tokio::test]
async fn daemons_that_share_a_database_lead_it_in_turn_unless_it_was_set_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::create_dir_all(path.join("server")).unwrap();
    let (server, saved) = (path.join("server"), path.join("saved"));
    let database = server.join("dropreel.db");
    let lead = async |name: &str| Node::start_on(path, name, &database, true).await;
    let job = lead("one").await.accept("a.json").await;
    for name in ["two", "one", "two"] {
        let node = lead(name).await;
        assert!(!node.is_superseded().await, "{name}");
        assert_eq!(node.state(job).await, StateName::Pending);
        drop(node);
        if name == "one" {
            copy(&server, &saved);
        }
    }
    // Such as a replica that lacks the last commits.
    std::fs::remove_dir_all(&server).unwrap();
    copy(&saved, &server);
    assert_eq!(lead("two").await.state(job).await, StateName::Held, "it may have been submitted since");
}

/// A database that is set back to before the last start of node "one" on it, and a job that was accepted before that.
async fn server_set_back(path: &Path, accepted_at: Timestamp) -> (PathBuf, JobId) {
    let (server, saved) = (path.join("server"), path.join("saved"));
    std::fs::create_dir_all(&server).unwrap();
    let database = server.join("dropreel.db");
    let lead = async || Node::start_on(path, "one", &database, true).await;
    let job = lead().await.accept_at("a.json", accepted_at).await;
    copy(&server, &saved);
    drop(lead().await);
    std::fs::remove_dir_all(&server).unwrap();
    copy(&saved, &server);
    (database, job)
}

#[tokio::test]
async fn what_others_have_ingested_meanwhile_is_held_when_a_person_lets_a_shared_database_be_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (database, job) = server_set_back(path, START.minus(INTERVAL)).await;
    let lead = async || Node::start_on(path, "one", &database, true).await;
    let node = lead().await;
    let store = &node.stage.parts.store;
    let release = Event::Operator(OperatorAction::Release);
    store.apply(job, release, node.clock.now()).await.unwrap();
    node.wait().await;
    assert!(
        node.is_superseded().await,
        "the inbox of this machine is empty, and perhaps not that of another one"
    );
    let late = node.accept_at("late.json", node.clock.now()).await;
    assert_eq!(node.state(late).await, StateName::Pending);
    store.ask_to_take_over(node.clock.now()).await.unwrap();
    node.wait().await;
    assert!(!node.is_superseded().await);
    assert_eq!(node.state(late).await, StateName::Held, "it may have been submitted since");
    assert_eq!(node.state(job).await, StateName::Pending, "a person has released it");
    let next = node.accept_at("next.json", node.clock.now()).await;
    node.wait().await;
    assert_eq!(node.state(next).await, StateName::Pending);
}

#[tokio::test]
async fn takeover_asked_of_an_earlier_state_is_not_asked_of_the_next_copy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (database, job) = server_set_back(path, START).await;
    let lead = async || Node::start_on(path, "one", &database, true).await;
    let node = lead().await;
    assert!(node.is_superseded().await);
    node.stage.parts.store.ask_to_take_over(node.clock.now()).await.unwrap();
    drop(node);
    let node = lead().await;
    node.wait().await;
    assert!(node.is_superseded().await);
    assert_eq!(node.state(job).await, StateName::Held);
}
