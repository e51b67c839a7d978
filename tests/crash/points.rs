//! The real binary is killed at each of its failpoints and started again; then every job finishes.

pub mod crash_harness;
pub mod scenario;
pub mod table;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dropreel::failpoints::FailPoint;

use strum::VariantArray;

use crate::support::files_below;
use crash_harness::{CrashHarness, Ended};
use scenario::CrashRun;
use table::POINTS;

/// Concurrent daemons; each waits most of the time.
pub const CONCURRENCY: usize = 14;

/// Runs all cases, many at once, and returns their results in order.
pub fn in_parallel<T, R>(cases: &[T], run: impl AsyncFn(&T) -> R + Sync) -> Vec<R>
where
    T: Sync,
    R: Send,
{
    let next = AtomicUsize::new(0);
    let results = Mutex::new(BTreeMap::new());
    std::thread::scope(|threads| {
        for _ in 0..CONCURRENCY.min(cases.len()) {
            threads.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    let Some(case) = cases.get(number) else { return };
                    let result = runtime.block_on(run(case));
                    results.lock().unwrap().insert(number, result);
                }
            });
        }
    });
    results.into_inner().unwrap().into_values().collect()
}

/// `DROPREEL_POINTS=250` for the long run; `DROPREEL_POINT=part-flushed` for one failpoint only.
#[test]
fn kill_at_any_failpoint_loses_nothing_and_bills_once() {
    let rounds: u64 = std::env::var("DROPREEL_POINTS").map_or(10, |text| text.parse().unwrap());
    let only = std::env::var("DROPREEL_POINT").ok();
    let rows = POINTS.iter().filter(|row| only.as_deref().is_none_or(|only| row.point.into_str() == only));
    let cases: Vec<(FailPoint, CrashRun)> =
        rows.flat_map(|row| (0..rounds).map(|round| (row.point, row.run(round)))).collect();
    let start = Instant::now();
    let results = in_parallel(&cases, async |(_, run)| run.run().await);
    let mut fired: BTreeMap<FailPoint, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for ((point, run), result) in cases.iter().zip(results) {
        match result {
            Ok(died) => *fired.entry(*point).or_default() += usize::from(died.contains(point)),
            Err(why) => wrong.push(format!("{run:?}\n{why}")),
        }
    }
    let total: usize = fired.values().sum();
    eprintln!(
        "{total} deaths in {} runs, at {} failpoints, in {:?}",
        cases.len(),
        fired.len(),
        start.elapsed()
    );
    for (point, times) in &fired {
        eprintln!("  {:24}{times}", point.into_str());
        if (*times as u64) < rounds.div_ceil(2) {
            wrong.push(format!("{} was reached in {times} of {rounds} runs only", point.into_str()));
        }
    }
    assert!(wrong.is_empty(), "{} of {} went wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n\n"));
}

#[test]
fn every_failpoint_has_one_scenario() {
    let listed: Vec<FailPoint> = POINTS.iter().map(|row| row.point).collect();
    for point in FailPoint::VARIANTS {
        let count = listed.iter().filter(|known| *known == point).count();
        assert_eq!(count, 1, "{} has {count} scenarios", point.into_str());
    }
}

/// How long every job may take to settle: far longer than it takes, for a busy machine.
pub const TIMEOUT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn sidecar_lost_in_a_power_cut_is_written_again() {
    let mut harness = CrashHarness::set_up("", 1).await;
    harness.rig.set_variable("DROPREEL_FAIL_KILL_AT", &format!("{}:1", FailPoint::PublishRenamed.into_str()));
    harness.rig.start_daemon().await;
    harness.drop_job("half", "", &[], &["succeeded"]);
    assert!(matches!(harness.until_ended_or_settled().await, Ok(Ended::Died)));
    // A file system may write names to the disk in any order, so the sidecar's may be the only one lost.
    let sidecars =
        files_below(&harness.rig.path("videos")).into_iter().filter(|path| path.ends_with("half.mp4.json"));
    let removed = sidecars.map(|path| std::fs::remove_file(path).unwrap()).count();
    assert_eq!(removed, 1);
    harness.rig.unset_variable("DROPREEL_FAIL_KILL_AT");
    harness.rig.start_daemon().await;
    harness.finish(true).await.unwrap();
}
