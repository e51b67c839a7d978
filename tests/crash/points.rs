//! The real binary dies at each of its named places, starts again, and everything comes to its right end.

pub mod stage;
pub mod story;
pub mod table;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dropreel::failpoints::FailPoint;

use strum::VariantArray;

use crate::support::files_below;
use stage::{Ended, Stage};
use story::Play;
use table::POINTS;

/// Concurrent daemons; each waits most of the time.
pub const AT_ONCE: usize = 14;

/// Plays all `cases`, many at once, and returns what came of each, in order.
pub fn in_parallel<T, R>(cases: &[T], play: impl AsyncFn(&T) -> R + Sync) -> Vec<R>
where
    T: Sync,
    R: Send,
{
    let next = AtomicUsize::new(0);
    let results = Mutex::new(BTreeMap::new());
    std::thread::scope(|threads| {
        for _ in 0..AT_ONCE.min(cases.len()) {
            threads.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    let Some(case) = cases.get(number) else { return };
                    let result = runtime.block_on(play(case));
                    results.lock().unwrap().insert(number, result);
                }
            });
        }
    });
    results.into_inner().unwrap().into_values().collect()
}

/// `DROPREEL_POINTS=250` for the long run; `DROPREEL_SITE=part-flushed` for one place only.
#[test]
fn wherever_the_daemon_dies_nothing_is_lost_or_paid_twice() {
    let rounds: u64 = std::env::var("DROPREEL_POINTS").map_or(10, |text| text.parse().unwrap());
    let only = std::env::var("DROPREEL_SITE").ok();
    let points =
        POINTS.iter().filter(|point| only.as_deref().is_none_or(|only| point.site.into_str() == only));
    let cases: Vec<(FailPoint, Play)> =
        points.flat_map(|point| (0..rounds).map(|round| (point.site, point.play(round)))).collect();
    let start = Instant::now();
    let results = in_parallel(&cases, async |(_, play)| play.run().await);
    let mut fired: BTreeMap<FailPoint, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for ((site, play), result) in cases.iter().zip(results) {
        match result {
            Ok(died) => *fired.entry(*site).or_default() += usize::from(died.contains(site)),
            Err(why) => wrong.push(format!("{play:?}\n{why}")),
        }
    }
    let total: usize = fired.values().sum();
    eprintln!("{total} deaths of {} at {} places in {:?}", cases.len(), fired.len(), start.elapsed());
    for (site, times) in &fired {
        eprintln!("  {:24}{times}", site.into_str());
        if (*times as u64) < rounds.div_ceil(2) {
            wrong.push(format!("{} was reached in {times} of {rounds} runs only", site.into_str()));
        }
    }
    assert!(wrong.is_empty(), "{} of {} went wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n\n"));
}

#[test]
fn every_place_has_its_story() {
    let listed: Vec<FailPoint> = POINTS.iter().map(|point| point.site).collect();
    for site in FailPoint::VARIANTS {
        let count = listed.iter().filter(|known| *known == site).count();
        assert_eq!(count, 1, "{} has {count} stories", site.into_str());
    }
}

/// For everything to come to rest: far longer than it takes, for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_file_whose_sidecar_alone_was_taken_by_a_power_cut_is_given_it_again() {
    let mut stage = Stage::set_up("", 1).await;
    stage.rig.set_variable("DROPREEL_FAIL_KILL_AT", &format!("{}:1", FailPoint::PublishRenamed.into_str()));
    stage.rig.start_daemon().await;
    stage.drop_job("half", "", &[], &["succeeded"]);
    assert!(matches!(stage.until_ended_or_at_rest().await, Ok(Ended::Died)));
    // Where a file system brings names to the disk in an order of its own.
    let sidecars =
        files_below(&stage.rig.path("videos")).into_iter().filter(|path| path.ends_with("half.mp4.json"));
    let removed = sidecars.map(|path| std::fs::remove_file(path).unwrap()).count();
    assert_eq!(removed, 1);
    stage.rig.unset_variable("DROPREEL_FAIL_KILL_AT");
    stage.rig.start_daemon().await;
    stage.finish(true).await.unwrap();
}
