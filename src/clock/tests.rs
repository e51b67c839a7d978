use super::*;

#[test]
fn timestamp_is_printed_and_parsed_as_rfc_3339() {
    let moment = Timestamp::from_millis(1_775_285_160_040);
    assert_eq!(moment.to_string(), "2026-04-04T06:46:00.040Z");
    assert_eq!(Timestamp::parse_rfc3339("2026-04-04T06:46:00.040Z"), Some(moment));
    assert_eq!(Timestamp::parse_rfc3339("2026-04-04T14:46:00.040+08:00"), Some(moment));
    assert_eq!(Timestamp::parse_rfc3339("2026-04-04 06:46"), None);
    assert_eq!(moment.date(), "2026-04-04");
}

#[test]
fn date_is_that_of_the_time_zone() {
    let moment = Timestamp::from_millis(1_775_285_160_040);
    let in_zone = |hours| moment.date_in(TimeZone::fixed(jiff::tz::offset(hours)));
    assert_eq!((in_zone(0), in_zone(17)), ("2026-04-04".into(), "2026-04-04".into()));
    assert_eq!((in_zone(18), in_zone(-7)), ("2026-04-05".into(), "2026-04-03".into()));
    assert_eq!(Clock::paused(moment).local_date(moment), "2026-04-04");
}

#[test]
fn timestamp_arithmetic_saturates() {
    let end = Timestamp::from_millis(i64::MAX);
    assert_eq!(end.plus(Duration::MAX), end);
    assert_eq!(Timestamp::from_millis(0).since(end), Duration::ZERO);
    assert!(end.to_string().starts_with('@'));
}

#[tokio::test]
async fn advanced_clock_wakes_its_sleepers() {
    let clock = Clock::paused(Timestamp::from_millis(1000));
    let sleeper = tokio::spawn({
        let clock = clock.clone();
        async move { clock.sleep(Duration::from_secs(86_400)).await }
    });
    tokio::task::yield_now().await;
    clock.advance(Duration::from_secs(86_399));
    tokio::task::yield_now().await;
    assert!(!sleeper.is_finished());
    clock.advance(Duration::from_secs(1));
    sleeper.await.expect("the sleeper ends");
    assert_eq!(clock.now(), Timestamp::from_millis(86_401_000));
}

#[tokio::test]
async fn paused_clock_knows_its_next_wake_and_runs_work_in_place() {
    let clock = Clock::paused(Timestamp::from_millis(0));
    assert_eq!(clock.next_wake(), None);
    for seconds in [3, 9] {
        let clock = clock.clone();
        tokio::spawn(async move { clock.sleep(Duration::from_secs(seconds)).await });
    }
    tokio::task::yield_now().await;
    assert_eq!(clock.next_wake(), Some(Duration::from_secs(3)));
    clock.advance(Duration::from_secs(5));
    tokio::task::yield_now().await;
    assert_eq!(clock.next_wake(), Some(Duration::from_secs(4)));
    let here = std::thread::current().id();
    let done = clock.run_blocking(move || std::thread::current().id() == here).await;
    assert!(done.is_ok_and(|same| same), "on the same thread");
    assert!(clock.run_blocking(|| panic!("work")).await.is_err());
}

#[tokio::test]
async fn jump_of_the_wall_clock_wakes_no_sleeper() {
    let clock = Clock::paused(Timestamp::from_millis(0));
    let before = clock.tick();
    clock.jump_to(Timestamp::from_millis(5_000_000));
    assert_eq!(clock.tick().since(before), Duration::ZERO);
    assert_eq!(clock.now(), Timestamp::from_millis(5_000_000));
}

#[tokio::test]
async fn thread_that_may_block_runs_blocking_work_itself() {
    let clock = Clock::machine();
    let elsewhere = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let here = || std::thread::current().id();
        let before = runtime.block_on(clock.run_blocking(here)).is_ok_and(|there| there == here());
        allow_blocking();
        let after = runtime.block_on(clock.run_blocking(here)).is_ok_and(|there| there == here());
        (before, after, runtime.block_on(clock.run_blocking(|| panic!("work"))).is_err())
    });
    assert_eq!(elsewhere.join().unwrap(), (false, true, true));
}
