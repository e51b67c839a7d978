//! The loop and the flights: a failure or a panic stops nobody else.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::rng::Rng;

const START: Timestamp = Timestamp::from_millis(1_775_285_160_000);

/// Panics, fails, then does its work; counts its passes.
#[derive(Default)]
struct Clumsy {
    passes: AtomicU32,
    bell: Notify,
}

impl Stage for Clumsy {
    const NAME: &'static str = "clumsy";

    async fn pass(&self) -> Result<Wake, StoreError> {
        match self.passes.fetch_add(1, Ordering::SeqCst) {
            0 => panic!("a bug in a pass"),
            1 => Err(StoreError::DiskFull),
            _ => Ok(Wake::OnNotify),
        }
    }

    async fn rung(&self) {
        self.bell.notified().await;
    }

    async fn land(&self) {}
}

async fn let_others_run() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_stage_outlives_its_panics_and_failures() {
    let (clock, stage) = (Clock::paused(START), Arc::new(Clumsy::default()));
    let (stop, stopped) = watch::channel(false);
    let pulse = Heartbeats::new(clock.clone());
    let running = tokio::spawn(run(stage.clone(), clock.clone(), pulse.clone(), stopped));
    let passes = || stage.passes.load(Ordering::SeqCst);
    let_others_run().await;
    assert_eq!(passes(), 1);
    stage.bell.notify_one();
    let_others_run().await;
    assert_eq!(passes(), 1, "after a failure the bell does not hurry it");
    // The ring is not lost either: after the first success it is answered.
    for expected in [2, 4] {
        clock.advance(Duration::from_secs(5));
        let_others_run().await;
        assert_eq!(passes(), expected);
    }
    stage.bell.notify_one();
    let_others_run().await;
    assert_eq!(passes(), 5, "after a success the bell does");
    assert!(pulse.silent(NET).is_empty());
    clock.advance(NET);
    let_others_run().await;
    assert_eq!(passes(), 6, "a missed bell costs one interval");
    stop.send_replace(true);
    running.await.unwrap();
    clock.advance(NET * 10);
    assert_eq!(pulse.silent(NET), ["clumsy"]);
}

#[tokio::test]
async fn one_jobs_panic_ends_its_own_work_alone() {
    let clock = Clock::paused(START);
    let flights = InFlight::new(2, clock.clone());
    let [one, two] = [0, 1].map(|order| JobId::new(START, order, &Rng::seeded(1)));
    let (finish, finished) = tokio::sync::oneshot::channel::<()>();
    flights.launch(one, async { panic!("a bug in one job") });
    flights.launch(two, async move { finished.await.is_ok() });
    let_others_run().await;
    assert!(flights.bars(one), "it cools down");
    assert!(flights.bars(two), "it is under way");
    assert_eq!((flights.count(), flights.full()), (1, false));
    finish.send(()).unwrap();
    flights.landed().await;
    let_others_run().await;
    assert!(!flights.bars(two), "what was kept may be followed at once");
    clock.advance(COOLING);
    assert!(!flights.bars(one));
}

#[tokio::test]
async fn nothing_is_launched_twice_for_one_job() {
    let clock = Clock::paused(START);
    let flights = InFlight::new(8, clock);
    let job = JobId::new(START, 0, &Rng::seeded(1));
    let launched = Arc::new(AtomicU32::new(0));
    for _ in 0..3 {
        let launched = launched.clone();
        flights.launch(job, async move {
            launched.fetch_add(1, Ordering::SeqCst);
            std::future::pending().await
        });
    }
    let_others_run().await;
    assert_eq!(launched.load(Ordering::SeqCst), 1);
    flights.abandon().await;
    assert_eq!(flights.count(), 0);
}

#[test]
fn the_earlier_wake_wins() {
    let later = START.plus(Duration::from_secs(1));
    assert_eq!(Wake::At(later).or(Wake::At(START)), Wake::At(START));
    assert_eq!(Wake::OnNotify.or(Wake::At(START)), Wake::At(START));
    assert_eq!(Wake::At(START).or(Wake::AtOnce), Wake::AtOnce);
    assert_eq!(Wake::at(None), Wake::OnNotify);
}
