//! Two processes on one database, as two stores. With the server that `ci/postgres` starts.

use std::time::Duration;

use super::*;
use crate::clock::{Clock, Timestamp};
use crate::job::event::{Event, OperatorAction, Phase, ReportedOutput, StatusVerdict, TaskFacts};
use crate::job::output::{OutputKey, OutputKind};
use crate::job::policy::PollingPolicy;
use crate::job::state::StateName;
use crate::job::suspension::{Suspension, SuspensionCause};
use crate::job::{JobId, TaskId};
use crate::jobfile::Draft;
use crate::rng::Rng;
use crate::secret::Secret;
use crate::stages::Stage;
use crate::stages::gone_processes::GoneProcessStage;
use crate::store::db::postgres::PostgresServer;
use crate::store::downloads::Plan;
use crate::store::error::StoreError;
use crate::store::job_files::staging::MAX_JOBS_PER_COMMIT;
use crate::store::job_files::{FileToIngest, IngestError, Source};
use crate::store::migrate::migrate;
use crate::store::notify::Topic;
use crate::store::tests::{NOW, accepted, draft, parts, url};
use crate::store::writer::Writing;

/// A database of its own, which is a schema.
fn database(schema: &str) -> Database {
    let address = std::env::var("DROPREEL_TEST_DATABASE").expect("DROPREEL_TEST_DATABASE: run ci/postgres");
    let address = format!("{address}?options=-csearch_path%3D{schema}");
    let server = PostgresServer::new(&address, None).unwrap();
    server.create_schema(schema);
    Database::Postgres(server)
}

/// Numbers of processes are those of the whole server.
fn of_process(schema: &str, seed: u64) -> Database {
    let number = schema.bytes().fold(0, |sum, byte| (sum * 31 + i32::from(byte)) % 1_000_000);
    database(schema).of_process(number * 10 + i32::try_from(seed).unwrap())
}

/// One with a server of its own, as in another process.
fn open(role: Role, schema: &str, seed: u64) -> Store {
    let (policy, rng) = (PollingPolicy::DEFAULT, Rng::seeded(seed));
    Store::open_as(role, of_process(schema, seed), policy, rng, Clock::machine()).unwrap().0
}

async fn ingest(store: &Store, name: &str, drafts: Vec<Draft>) -> Result<Vec<JobId>, IngestError> {
    let file = FileToIngest {
        source: Source::Inbox,
        file_name: Some(name.into()),
        sha256: name.into(),
        bytes: 10,
        idempotency_key: None,
        inputs_sha256: None,
    };
    let drafts = Box::new(drafts.into_iter().map(Ok));
    store.ingest(file, drafts, NOW).await.map(|ingested| ingested.jobs)
}

async fn change_of(store: &Store, job: JobId) -> i64 {
    store
        .read(move |connection| {
            let select = "SELECT last_change FROM jobs WHERE id = ?1";
            Ok(connection.query_row(select, [job], |row| row.get(0))?)
        })
        .await
        .unwrap()
}

#[tokio::test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
async fn changes_of_two_processes_are_numbered_one_after_the_other() {
    let (leader, follower) = (open(Role::Leader, "numbers", 1), open(Role::Follower, "numbers", 2));
    assert!(!leader.follows() && follower.follows());
    let mut numbers = Vec::new();
    for round in 0..10 {
        for (store, of) in [(&leader, "leader"), (&follower, "follower")] {
            let jobs = ingest(store, &format!("{of}-{round}.json"), vec![draft(of)]).await.unwrap();
            numbers.push(change_of(store, jobs[0]).await);
        }
    }
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    let news = leader.listen(Topic::Changes);
    ingest(&follower, "last.json", vec![draft("last")]).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), news.next()).await.expect("the leader hears of it");
}

#[tokio::test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
async fn actions_and_resumptions_of_a_follower_reach_the_leader() {
    let (leader, follower) = (open(Role::Leader, "actions", 1), open(Role::Follower, "actions", 2));
    let job = ingest(&leader, "a.json", vec![draft("a")]).await.unwrap()[0];
    follower.apply(job, Event::Operator(OperatorAction::Cancel), NOW).await.unwrap();
    assert_eq!(leader.details(job).await.unwrap().job.state_name().to_string(), "cancelled");
    let resumed = leader.listen(Topic::Resume);
    ingest(&follower, "b.json", vec![draft("b")]).await.unwrap();
    let soon = Duration::from_secs(3);
    tokio::time::timeout(soon, resumed.next()).await.expect_err("any other commit is no wish to resume");
    follower.resume_calls(NOW).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), resumed.next()).await.expect("the leader resumes");
}

#[tokio::test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
async fn follower_may_lead_once_the_leader_is_gone_and_then_is_the_only_one() {
    let (leader, follower) = (open(Role::Leader, "may_lead", 1), open(Role::Follower, "may_lead", 2));
    let other = open(Role::Follower, "may_lead", 3);
    let wait = Duration::from_secs(3);
    tokio::time::timeout(wait, follower.may_lead()).await.expect_err("another leads");
    drop(leader);
    let one = tokio::time::timeout(Duration::from_secs(10), async {
        tokio::select! {
            () = follower.may_lead() => true,
            () = other.may_lead() => false,
        }
    });
    let (may, stays) =
        if one.await.expect("one of them may") { (follower, other) } else { (other, follower) };
    tokio::time::timeout(wait, stays.may_lead()).await.expect_err("the lock is the other's");
    drop(may);
}

#[tokio::test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
async fn long_file_of_a_process_that_is_there_is_left_alone_by_a_new_leader() {
    let (accepted, again, _follower) = ingest_while_another_begins_to_lead("staged_here", "").await;
    assert_eq!(accepted.ok(), Some(2 * MAX_JOBS_PER_COMMIT));
    finish_all(&again).await;
    assert_eq!(count_jobs(&again).await, 2 * MAX_JOBS_PER_COMMIT);
}

#[tokio::test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
async fn long_file_of_a_process_that_was_taken_for_gone_is_not_accepted_in_part() {
    let gone = "UPDATE batches SET inbox = 2147483646 WHERE staged = 1";
    let (accepted, again, follower) = ingest_while_another_begins_to_lead("staged_gone", gone).await;
    assert!(matches!(accepted, Err(IngestError::Store(StoreError::Busy))), "{accepted:?}");
    finish_all(&again).await;
    assert_eq!(count_jobs(&again).await, 0);
    let jobs = ingest(&follower, "long.jsonl", vec![draft("long")]).await.unwrap();
    assert_eq!(jobs.len(), 1, "it is accepted when it is read again");
}

async fn count_jobs(store: &Store) -> usize {
    let count = |connection: &Connection| {
        Ok(connection.query_row("SELECT count(*) FROM jobs", [], |row| row.get::<_, i64>(0))?)
    };
    usize::try_from(store.read(count).await.unwrap()).unwrap()
}

/// Finishes the unfinished files of this process, and of those that are gone.
async fn finish_all(store: &Store) {
    store.finish_unfinished().await.unwrap();
    for process in store.gone_processes().await.unwrap() {
        assert!(!store.finish_files_of(process, Duration::MAX).await.unwrap());
    }
}

/// A follower ingests a long file; in the middle of it another process begins to lead, after `statement`, and deletes what it
/// finds unfinished. Returns how many jobs were accepted for the follower.
async fn ingest_while_another_begins_to_lead(
    schema: &'static str,
    statement: &'static str,
) -> (Result<usize, IngestError>, Store, Store) {
    let leader = open(Role::Leader, schema, 1);
    let follower = open(Role::Follower, schema, 2);
    let (go_on, ingestion) = ingest_half_of_a_long_file(&follower).await;
    if !statement.is_empty() {
        leader.writer.write(move |writing| Ok(writing.connection.execute_batch(statement)?)).await.unwrap();
    }
    drop(leader);
    let again = loop {
        let (policy, rng) = (PollingPolicy::DEFAULT, Rng::seeded(3));
        let opened = Store::open_as(Role::Leader, of_process(schema, 3), policy, rng, Clock::machine());
        if let Ok((store, _)) = opened {
            break store;
        }
        // The follower may have taken the lock; it gives it back with its connection only.
        follower.read(|connection| Ok(connection.execute_batch(TERMINATE_OTHERS)?)).await.unwrap();
    };
    again.finish_unfinished().await.unwrap();
    if !statement.is_empty() {
        finish_all(&again).await;
    }
    go_on.send(()).unwrap();
    (ingestion.await.unwrap(), again, follower)
}

/// Begins to ingest a long file, whose second half waits for a message. Returns how many jobs it was in the end.
async fn ingest_half_of_a_long_file(
    store: &Store,
) -> (std::sync::mpsc::Sender<()>, tokio::task::JoinHandle<Result<usize, IngestError>>) {
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let drafts = (0..2 * MAX_JOBS_PER_COMMIT).map(move |number| {
        if number == MAX_JOBS_PER_COMMIT {
            let _ = wait.recv_timeout(Duration::from_secs(60));
        }
        Ok(draft(&format!("job-{number}")))
    });
    let file = FileToIngest {
        source: Source::Inbox,
        file_name: Some("long.jsonl".into()),
        sha256: "long".into(),
        bytes: 10,
        idempotency_key: None,
        inputs_sha256: None,
    };
    let ingestion = tokio::spawn({
        let store = store.clone();
        async move { store.ingest(file, Box::new(drafts), NOW).await.map(|ingested| ingested.jobs.len()) }
    });
    let is_staged = async || {
        let count = "SELECT count(*) FROM batches WHERE staged = 1 AND jobs > 0";
        let read =
            move |connection: &Connection| Ok(connection.query_row(count, [], |row| row.get::<_, i64>(0))?);
        store.read(read).await.unwrap() > 0
    };
    while !is_staged().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (go_on, ingestion)
}

/// Ends the connections that hold the lock of the leader.
const TERMINATE_OTHERS: &str = "SELECT pg_terminate_backend(pid) FROM pg_locks
    WHERE locktype = 'advisory' AND classid = 1685221484 AND granted AND pid <> pg_backend_pid()
      AND objid::bigint = hashtext(current_schema())::bigint & 4294967295";

#[tokio::test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
async fn job_claimed_by_one_process_is_free_for_others_once_that_is_gone() {
    let (leader, follower) = (open(Role::Leader, "claims", 1), open(Role::Follower, "claims", 2));
    let job = ingest(&leader, "a.json", vec![draft("a")]).await.unwrap()[0];
    assert!(follower.claim_downloads(job).await.unwrap());
    assert!(follower.claim_downloads(job).await.unwrap(), "its own");
    assert!(!leader.claim_downloads(job).await.unwrap());
    let claimed = async |store: &Store| {
        let read = |connection: &Connection| {
            let condition = connection.unclaimed().unwrap();
            let select = format!("SELECT count(*) FROM jobs WHERE {condition}");
            Ok(connection.query_row(&select, [], |row| row.get::<_, i64>(0))?)
        };
        store.read(read).await.unwrap() == 0
    };
    assert!(claimed(&leader).await && !claimed(&follower).await);
    follower.release_downloads(job).await.unwrap();
    assert!(!claimed(&leader).await);
    assert!(follower.claim_downloads(job).await.unwrap());
    drop(follower);
    for _ in 0..100 {
        if leader.claim_downloads(job).await.unwrap() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the claim of a process that is gone lasts");
}

#[tokio::test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
async fn process_gives_up_its_own_claims_and_of_its_spool_those_whose_links_live() {
    let (leader, follower) = (open(Role::Leader, "own_claims", 1), open(Role::Follower, "own_claims", 2));
    let drafts = ["downloaded", "spooled", "spooled, expired"].map(draft).into();
    let jobs = ingest(&leader, "a.json", drafts).await.unwrap();
    let (spooled, expired) = (jobs[1], jobs[2]);
    let spool = move |writing: &mut Writing<'_>| {
        for (job, expires_at) in [(spooled, NOW.plus(Duration::from_secs(3600))), (expired, NOW)] {
            let spool = "UPDATE jobs SET upload_at = 1, expires_at = ?2 WHERE id = ?1";
            writing.connection.execute(spool, (job, expires_at))?;
        }
        Ok(())
    };
    leader.writer.write(spool).await.unwrap();
    for job in &jobs {
        assert!(follower.claim_downloads(*job).await.unwrap());
    }
    let claimed = async || {
        let mut claimed = Vec::new();
        for job in &jobs {
            claimed.push(!leader.claim_downloads(*job).await.unwrap());
        }
        claimed
    };
    leader.release_own_claims(true, NOW).await.unwrap();
    leader.release_downloads(jobs[0]).await.unwrap();
    assert_eq!(claimed().await, [true, true, true], "those of another process stay");
    follower.release_own_claims(false, NOW).await.unwrap();
    assert_eq!(claimed().await, [false, true, true]);
    follower.release_own_claims(true, NOW).await.unwrap();
    assert_eq!(claimed().await, [false, false, true]);
}

#[tokio::test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
async fn takeover_is_asked_only_of_a_database_that_is_superseded() {
    let store = open(Role::Leader, "takeover", 1);
    store.ask_to_take_over(NOW).await.unwrap();
    assert!(!store.is_takeover_asked().await.unwrap());
    let (cause, message) = (SuspensionCause::Superseded, String::new());
    store.suspend(Suspension { cause, until: None, message, since: NOW }).await.unwrap();
    store.ask_to_take_over(NOW).await.unwrap();
    assert!(store.is_takeover_asked().await.unwrap());
    store.forget_takeover().await.unwrap();
    assert!(!store.is_takeover_asked().await.unwrap());
}

/// Waits until processes are known to be gone, and returns their numbers.
async fn until_gone(store: &Store) -> Vec<i32> {
    for _ in 0..100 {
        let gone = store.gone_processes().await.unwrap();
        if !gone.is_empty() {
            return gone;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no process is gone");
}

#[tokio::test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
async fn long_file_of_a_process_that_is_gone_can_be_ingested_by_another() {
    let (leader, follower) = (open(Role::Leader, "gone_files", 1), open(Role::Follower, "gone_files", 2));
    let (go_on, ingestion) = ingest_half_of_a_long_file(&follower).await;
    let number: i32 = leader
        .read(|connection| {
            let select = "SELECT inbox FROM batches WHERE staged = 1";
            Ok(connection.query_row(select, [], |row| row.get(0))?)
        })
        .await
        .unwrap();
    assert!(leader.gone_processes().await.unwrap().is_empty());
    leader.finish_files_of(number, Duration::MAX).await.unwrap();
    assert_ne!(count_jobs(&leader).await, 0, "it is there");
    ingestion.abort();
    drop((go_on, follower));
    assert_eq!(until_gone(&leader).await, [number]);
    leader.finish_files_of(number, Duration::MAX).await.unwrap();
    assert_eq!(count_jobs(&leader).await, 0);
    assert!(leader.gone_processes().await.unwrap().is_empty());
    assert_eq!(ingest(&leader, "long.jsonl", vec![draft("job-1")]).await.unwrap().len(), 1);
}

const VIDEO: OutputKey = OutputKey { kind: OutputKind::Video, index: 0 };

/// Completes the task of a job, whose link ends these minutes after [`NOW`]. Returns the task.
async fn complete(store: &Store, job: JobId, minutes: i64) -> TaskId {
    let text = format!("task-{job}");
    store.start_attempt(job, parts(url("https://a.example")), NOW).await.unwrap();
    store.apply(job, accepted(&text), NOW).await.unwrap();
    let link = Secret::new("https://cdn.example/video.mp4");
    let expires_at = Some(Timestamp::from_millis(NOW.millis() + minutes * 60_000));
    let outputs = vec![ReportedOutput { kind: VIDEO.kind, index: VIDEO.index, link, expires_at }];
    let verdict = StatusVerdict::Answered(TaskFacts { outputs, ..TaskFacts::of(Phase::Completed) });
    let task = TaskId::parse(&text).unwrap();
    let polled = Event::StatusPolled { task: task.clone(), sent_at: NOW, verdict };
    store.apply(job, polled, NOW).await.unwrap();
    task
}

/// Jobs with a video in the spool of a process that is gone. Their links end these minutes after [`NOW`].
async fn spool_of_a_gone_process(schema: &'static str, ends: &[i64]) -> (Store, Vec<JobId>) {
    let (leader, follower) = (open(Role::Leader, schema, 1), open(Role::Follower, schema, 2));
    let drafts = ends.iter().map(|minutes| draft(&format!("{minutes} minutes"))).collect();
    let jobs = ingest(&leader, "a.json", drafts).await.unwrap();
    for (job, minutes) in jobs.iter().copied().zip(ends) {
        let task = complete(&leader, job, *minutes).await;
        assert!(follower.claim_downloads(job).await.unwrap());
        follower.apply(job, Event::Spooled { task, key: VIDEO }, NOW).await.unwrap();
    }
    let claimed = leader.read(|connection| {
        Ok(connection.query_row("SELECT min(process) FROM claims", [], |row| row.get::<_, i32>(0))?)
    });
    let number = claimed.await.unwrap();
    let end = NOW.plus(Duration::MAX);
    assert_eq!(leader.release_claims_of(number, NOW, end).await.unwrap(), 0, "it is there");
    assert!(leader.only_copies_of(number, end, 9).await.unwrap().is_empty(), "it is there");
    drop(follower);
    assert_eq!(until_gone(&leader).await, [number]);
    (leader, jobs)
}

#[tokio::test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
async fn outputs_in_the_spool_of_a_process_that_is_gone_are_left_to_it_for_an_hour() {
    let (leader, jobs) = spool_of_a_gone_process("gone_spool", &[24 * 60, 5 * 60, 10]).await;
    let clock = Clock::paused(NOW);
    let stage = GoneProcessStage::new(leader.clone(), clock.clone());
    for (after, expected) in [
        (0, [false, false, false]),
        (59, [false, false, false]),
        (60, [false, true, false]),
        (3599, [false, true, false]),
        (3600, [true, true, false]),
        (30 * 3600, [true, true, false]),
    ] {
        clock.advance(Duration::from_secs(after).saturating_sub(clock.now().since(NOW)));
        stage.pass().await.unwrap();
        let mut is_free = Vec::new();
        for job in &jobs {
            is_free.push(leader.claim_downloads(*job).await.unwrap());
        }
        assert_eq!(is_free, expected, "after {after} s");
    }
}

#[tokio::test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
async fn job_whose_only_copy_is_with_a_process_that_is_gone_is_held_in_the_end() {
    let (leader, jobs) = spool_of_a_gone_process("only_copy", &[-60]).await;
    let clock = Clock::paused(NOW);
    let stage = GoneProcessStage::new(leader.clone(), clock.clone());
    for (after, state) in [(0, StateName::Downloading), (60, StateName::Downloading), (7200, StateName::Held)]
    {
        clock.advance(Duration::from_secs(after));
        stage.pass().await.unwrap();
        let job = leader.details(jobs[0]).await.unwrap().job;
        let why = format!("{:?} {:?}", job.facts().status_message, job.state());
        assert_eq!((job.state_name(), why.contains(", is gone")), (state, after > 0), "{after}: {why}");
    }
    let back = open(Role::Follower, "only_copy", 2);
    let later = clock.now().plus(Duration::from_secs(3600));
    assert_eq!(back.upload_queue(later, NOW, 9).await.unwrap().due, jobs, "it is still tried");
    assert!(back.claim_downloads(jobs[0]).await.unwrap());
}

#[tokio::test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
async fn spool_stays_with_its_machine_when_the_state_moves() {
    let folder = tempfile::tempdir().unwrap();
    let file = Database::Sqlite(folder.path().join("dropreel.db"));
    let (policy, rng) = (PollingPolicy::DEFAULT, Rng::seeded(1));
    let store = Store::open_as(Role::Leader, file.clone(), policy, rng, Clock::machine()).unwrap().0;
    let job = ingest(&store, "a.json", vec![draft("a")]).await.unwrap()[0];
    let task = complete(&store, job, 24 * 60).await;
    store.apply(job, Event::Spooled { task, key: VIDEO }, NOW).await.unwrap();
    drop(store);
    let (to, on) = (of_process("moved_spool", 1), database("moved_on"));
    migrate(&file, &to, NOW).unwrap();
    assert!(!open(Role::Leader, "moved_spool", 2).claim_downloads(job).await.unwrap());
    assert!(open(Role::Leader, "moved_spool", 1).claim_downloads(job).await.unwrap());
    migrate(&database("moved_spool"), &on, NOW).unwrap();
    assert!(!open(Role::Leader, "moved_on", 2).claim_downloads(job).await.unwrap());
}

#[tokio::test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
async fn whoever_has_the_whole_file_has_the_claim() {
    let (leader, follower) = (open(Role::Leader, "whole_file", 1), open(Role::Follower, "whole_file", 2));
    let job = ingest(&leader, "a.json", vec![draft("a")]).await.unwrap()[0];
    // The follower, which has lost its connection for a moment, has downloaded it too.
    assert!(leader.claim_downloads(job).await.unwrap());
    let task = complete(&leader, job, 24 * 60).await;
    let (path, sha256, host) = ("a.mp4".to_owned(), "a".repeat(64), "host".to_owned());
    let plan = Plan { path, bytes: 1, sha256, host };
    assert!(follower.plan_output(job, task, VIDEO, plan.clone(), None).await.unwrap());
    assert!(follower.claim_downloads(job).await.unwrap());
    assert!(!leader.claim_downloads(job).await.unwrap());
    let earlier = TaskId::parse("task-of-an-earlier-attempt").unwrap();
    leader.plan_output(job, earlier, VIDEO, Plan { path: "b.mp4".into(), ..plan }, None).await.unwrap();
    assert!(follower.claim_downloads(job).await.unwrap(), "not by a file of an earlier task");
}

/// How long it takes, ten times, until the follower hears what the leader has committed.
async fn time_to_hear(leader: &Store, follower: &Store) -> Duration {
    let mut all = Duration::ZERO;
    for number in 0..10 {
        let news = follower.listen(Topic::Changes);
        tokio::time::sleep(Duration::from_millis(300)).await;
        let _ = tokio::time::timeout(Duration::ZERO, news.next()).await;
        ingest(leader, &format!("{number}.json"), vec![draft("news")]).await.unwrap();
        let committed = std::time::Instant::now();
        tokio::time::timeout(Duration::from_secs(10), news.next()).await.expect("it hears of it");
        all += committed.elapsed();
    }
    all
}

#[tokio::test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
async fn commits_of_another_process_are_heard_at_once() {
    let (leader, follower) = (open(Role::Leader, "news", 1), open(Role::Follower, "news", 2));
    let heard = time_to_hear(&leader, &follower).await;
    // Ten times half a second, on average, if it only looked.
    assert!(heard < Duration::from_millis(3500), "{heard:?}");
}

#[tokio::test]
#[ignore = "needs the PostgreSQL server that ci/postgres starts"]
async fn commits_of_another_process_are_seen_where_no_news_come() {
    let (leader, follower) = (open(Role::Leader, "no_news", 1), open(Role::Follower, "no_news", 2));
    let deafen = |writing: &mut crate::store::writer::Writing<'_>| {
        Ok(writing.connection.execute_batch("UNLISTEN *")?)
    };
    follower.writer.write(deafen).await.unwrap();
    time_to_hear(&leader, &follower).await;
}
