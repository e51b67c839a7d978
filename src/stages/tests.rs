use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Notify;

use super::in_flight::{COOLDOWN, MAX_HANGING};
use super::*;
use crate::job::policy::PollingPolicy;
use crate::jobfile::{Draft, ObjectPlace};
use crate::rng::Rng;
use crate::store::job_files::{FileToIngest, Source};

const START: Timestamp = Timestamp::from_millis(1_775_285_160_000);

/// Panics, fails, then succeeds; counts its passes.
#[derive(Default)]
struct Faulty {
    passes: AtomicU32,
    notify: Notify,
}

impl Stage for Faulty {
    const NAME: &'static str = "faulty";

    async fn pass(&self) -> Result<Wake, StoreError> {
        match self.passes.fetch_add(1, Ordering::SeqCst) {
            0 => panic!("a bug in a pass"),
            1 => Err(StoreError::DiskFull(None)),
            _ => Ok(Wake::OnNotify),
        }
    }

    async fn notified(&self) {
        self.notify.notified().await;
    }

    async fn drain(&self) {}
}

async fn let_others_run() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn stage_survives_panics_and_failures() {
    let (clock, stage) = (Clock::paused(START), Arc::new(Faulty::default()));
    let (stop, stopped) = watch::channel(false);
    let heartbeats = Heartbeats::new(clock.clone());
    let running = tokio::spawn(run(stage.clone(), clock.clone(), heartbeats.clone(), stopped));
    let passes = || stage.passes.load(Ordering::SeqCst);
    let_others_run().await;
    assert_eq!(passes(), 1);
    stage.notify.notify_one();
    let_others_run().await;
    assert_eq!(passes(), 1, "after a failure, a notification does not shorten the wait");
    // It is not lost either: after the first success it starts a pass.
    for expected in [2, 4] {
        clock.advance(Duration::from_secs(5));
        let_others_run().await;
        assert_eq!(passes(), expected);
    }
    stage.notify.notify_one();
    let_others_run().await;
    assert_eq!(passes(), 5, "after a success it does");
    assert!(heartbeats.missing(MAX_WAIT).is_empty());
    clock.advance(MAX_WAIT);
    let_others_run().await;
    assert_eq!(passes(), 6, "a missed notification costs one interval");
    stop.send_replace(true);
    running.await.unwrap();
    clock.advance(MAX_WAIT * 10);
    assert_eq!(heartbeats.missing(MAX_WAIT), ["faulty"]);
}

#[tokio::test]
async fn panic_ends_the_work_of_one_job_only() {
    let clock = Clock::paused(START);
    let in_flight = InFlight::new(2, clock.clone());
    let [one, two] = [0, 1].map(|order| JobId::new(START, order, &Rng::seeded(1)));
    let (finish, finished) = tokio::sync::oneshot::channel::<()>();
    in_flight.spawn(one, async { panic!("a bug in one job") });
    in_flight.spawn(two, async move { finished.await.is_ok() });
    let_others_run().await;
    assert!(in_flight.contains(one), "cools down");
    assert!(in_flight.contains(two), "is under way");
    assert_eq!((in_flight.count(), in_flight.is_full()), (1, false));
    finish.send(()).unwrap();
    in_flight.completed().await;
    let_others_run().await;
    assert!(!in_flight.contains(two), "after a saved result there is no cooldown");
    clock.advance(COOLDOWN);
    assert!(!in_flight.contains(one));
}

#[tokio::test]
async fn work_for_one_job_is_spawned_once() {
    let clock = Clock::paused(START);
    let in_flight = InFlight::new(8, clock);
    let job = JobId::new(START, 0, &Rng::seeded(1));
    let spawned = Arc::new(AtomicU32::new(0));
    for _ in 0..3 {
        let spawned = spawned.clone();
        in_flight.spawn(job, async move {
            spawned.fetch_add(1, Ordering::SeqCst);
            std::future::pending().await
        });
    }
    let_others_run().await;
    assert_eq!(spawned.load(Ordering::SeqCst), 1);
    in_flight.abort().await;
    assert_eq!(in_flight.count(), 0);
}

#[test]
fn earlier_of_two_wakes_wins() {
    let later = START.plus(Duration::from_secs(1));
    assert_eq!(Wake::At(later).or(Wake::At(START)), Wake::At(START));
    assert_eq!(Wake::OnNotify.or(Wake::At(START)), Wake::At(START));
    assert_eq!(Wake::At(START).or(Wake::AtOnce), Wake::AtOnce);
    assert_eq!(Wake::at(None), Wake::OnNotify);
}

#[tokio::test]
async fn hanging_work_makes_room_for_others_up_to_a_limit() {
    let clock = Clock::paused(START);
    let slow_after = Duration::from_secs(5);
    let in_flight = InFlight::with_slow_after(2, slow_after, clock.clone());
    let jobs: Vec<JobId> = (0..9).map(|order| JobId::new(START, order, &Rng::seeded(1))).collect();
    let mut begun = jobs.iter();
    for round in 1..=MAX_HANGING {
        for job in begun.by_ref().take(2) {
            assert!(!in_flight.is_full(), "round {round}");
            in_flight.spawn(*job, std::future::pending());
        }
        assert!(in_flight.is_full(), "round {round}");
        let mut waiting = std::pin::pin!(in_flight.completed());
        assert!(waiting.as_mut().now_or_never().is_none());
        clock.advance(slow_after);
        assert!(waiting.as_mut().now_or_never().is_some(), "the stage is woken");
    }
    assert!(in_flight.is_full(), "hanging calls are limited too");
    assert_eq!(in_flight.count(), 2 * MAX_HANGING);
}

fn draft(number: usize) -> Draft {
    Draft {
        name: number.to_string(),
        priority: 0,
        max_cost: None,
        pictures: Vec::new(),
        warnings: Vec::new(),
        labels: [].into(),
        key: None,
        object_key: None,
        again: false,
        not_before: None,
        model: "wan2.5-t2v".into(),
        prompt: None,
        body: format!(r#"{{"model":"wan2.5-t2v","seed":{number}}}"#),
        variation: None,
        defaults: Vec::new(),
        place: ObjectPlace::default(),
    }
}

/// A store with jobs whose rows cannot be read, and behind them one that can.
async fn store_with_corrupt_jobs(count: usize) -> (tempfile::TempDir, Store, Clock, JobId) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dropreel.db");
    let clock = Clock::paused(START);
    let (store, _) = Store::open(&path, PollingPolicy::DEFAULT, Rng::seeded(1), clock.clone()).unwrap();
    let file = FileToIngest {
        source: Source::Api,
        file_name: None,
        sha256: String::new(),
        bytes: 1,
        idempotency_key: None,
        inputs_sha256: None,
    };
    let drafts: Vec<_> = (0..=count).map(|number| Ok(draft(number))).collect();
    let jobs = store.ingest(file, Box::new(drafts.into_iter()), START).await.unwrap().jobs;
    for job in &jobs {
        store.keep_delivery(*job, b"{}".to_vec(), START).await.unwrap();
    }
    let connection = rusqlite::Connection::open(&path).unwrap();
    let healthy = *jobs.last().unwrap();
    let corrupt = "UPDATE jobs SET held_from = 'nowhere' WHERE id <> ?1";
    connection.execute(corrupt, [healthy.to_string()]).unwrap();
    (folder, store, clock, healthy)
}

#[tokio::test]
async fn deliveries_of_corrupt_jobs_do_not_hold_up_those_behind_them() {
    let (_folder, store, clock, healthy) = store_with_corrupt_jobs(70).await;
    let stage = callback::CallbackStage::new(store.clone(), clock);
    for _ in 0..3 {
        stage.pass().await.unwrap();
    }
    let history = store.history(healthy).await.unwrap();
    assert!(history.iter().any(|entry| entry.event == "callback_received"), "{history:?}");
    assert!(store.unprocessed_deliveries(0, 100).await.unwrap().is_empty());
}
