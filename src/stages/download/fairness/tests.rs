use super::*;
use crate::clock::Timestamp;
use crate::rng::Rng;

fn job(number: u64) -> JobId {
    JobId::new(Timestamp::from_millis(1_775_285_160_000), number, &Rng::seeded(number))
}

/// Waiting downloads of these hosts, one each, in this order.
fn waiting(hosts: &str) -> Vec<WaitingDownload> {
    let download = |(number, host): (u64, &str)| WaitingDownload { job: job(number), host: host.to_owned() };
    (0..).zip(hosts.split_whitespace()).map(download).collect()
}

fn silent(seconds: u64) -> Progress {
    Progress { elapsed: Duration::from_secs(seconds), received: 0, speed: 0, resumable: false }
}

#[test]
fn places_are_shared_between_hosts_and_pools() {
    // Concurrency; hosts that have worked; slow ones; who waits; who gets a slot of the fast pool, and of the slow pool.
    let cases = [
        (4, "", "", "a a a a a a", "a a a a", ""),
        (4, "a", "", "a a a a b c", "a a b a", "c"),
        (4, "a b", "", "a a a a b c", "a a b c", ""),
        (4, "a", "", "b b b b c d a a a a", "b a a b", "c d"),
        (4, "a", "b", "b b a a a a a", "a a a a", "b b"),
        (4, "a", "b", "b b b b a", "a b b", "b b"),
        (1, "a", "", "a b c", "a", "b c"),
        (1, "", "a", "a a a a a a", "a", "a a a a"),
        (4, "", "a", "a a a a a a a a a a a", "a a", "a a a a a a a a"),
        (4, "", "", "", "", ""),
    ];
    for (concurrency, proven, troubled, hosts, fast, slow) in cases {
        let mut fairness = Fairness::new(concurrency);
        for (hosts, ending) in [(proven, Ending::Fast), (troubled, Ending::Wasted)] {
            for host in hosts.split_whitespace() {
                fairness.begin(host, Pool::Fast);
                fairness.record(job(99), host, ending);
                fairness.release(host, Pool::Fast);
            }
        }
        let waiting = waiting(hosts);
        let admitted = fairness.admit(&waiting, usize::MAX);
        let of = |pool| {
            let hosts = admitted.iter().filter(|(_, found)| *found == pool);
            hosts.map(|(at, _)| waiting[*at].host.as_str()).collect::<Vec<_>>().join(" ")
        };
        let case = format!("{concurrency} slots, {proven} worked, {troubled} slow, {hosts} wait");
        assert_eq!((of(Pool::Fast).as_str(), of(Pool::Slow).as_str()), (fast, slow), "{case}");
    }
}

#[test]
fn slow_download_moves_aside_only_while_others_wait() {
    let dripping = Progress { received: 2048, speed: 2048, ..silent(1) };
    let fast = Progress { received: 1 << 20, speed: 1 << 20, ..silent(1) };
    for (others, pool, progress, expected) in [
        ("b b b b b", Pool::Fast, silent(1), Review::Moved(Pool::Slow)),
        ("b b b b b", Pool::Fast, dripping, Review::Moved(Pool::Slow)),
        ("b b b b b", Pool::Fast, fast, Review::Continues),
        ("b", Pool::Fast, silent(25), Review::Continues),
        ("b", Pool::Fast, dripping, Review::Continues),
        ("b b b b b", Pool::Slow, dripping, Review::Continues),
        ("b", Pool::Slow, fast, Review::Moved(Pool::Fast)),
    ] {
        let mut fairness = Fairness::new(4);
        fairness.begin("a", pool);
        fairness.admit(&waiting(others), usize::MAX);
        assert_eq!(fairness.review(job(9), "a", pool, &progress), expected, "{others} {pool:?} {progress:?}");
    }
}

#[test]
fn full_slow_pool_is_left_by_who_loses_least() {
    let sends = Progress { received: 9000, speed: 300, ..silent(70) };
    let resumable = Progress { resumable: true, ..sends };
    for (times, progress, gives_way) in [
        (0, silent(1), false),
        (0, silent(2), true),
        (1, silent(3), false),
        (1, silent(4), true),
        (4, silent(29), false),
        (0, sends, false),
        (0, Progress { elapsed: Duration::from_secs(600), ..sends }, true),
        (0, resumable, true),
        (0, Progress { elapsed: Duration::from_secs(9), ..resumable }, false),
    ] {
        let mut fairness = Fairness::new(4);
        for host in 0..fairness.slow_slots {
            fairness.begin(&format!("h{host}"), Pool::Slow);
        }
        for _ in 0..times {
            fairness.record(job(0), "h0", Ending::Wasted);
        }
        assert_eq!(fairness.review(job(0), "h0", Pool::Slow, &progress), Review::Continues, "nobody waits");
        fairness.admit(&waiting("b c d e f g"), usize::MAX);
        let expected = if gives_way { Review::GivesWay } else { Review::Continues };
        let found = fairness.review(job(0), "h0", Pool::Slow, &progress);
        assert_eq!(found, expected, "{times} times, {progress:?}");
    }
}

#[test]
fn full_share_of_the_slow_pool_ends_only_what_has_been_slow_altogether() {
    let drips = Progress { received: 6000, speed: 2048, resumable: true, ..silent(3) };
    for (progress, gives_way) in [
        (silent(1), true),
        (drips, true),
        (Progress { resumable: false, ..drips }, false),
        (Progress { received: 5 << 20, speed: 0, ..drips }, false),
    ] {
        let mut fairness = Fairness::new(4);
        for _ in 0..fairness.slow_share() {
            fairness.begin("a", Pool::Slow);
        }
        fairness.begin("a", Pool::Fast);
        fairness.admit(&waiting("b b b b b"), usize::MAX);
        let expected = if gives_way { Review::GivesWay } else { Review::Continues };
        assert_eq!(fairness.review(job(9), "a", Pool::Fast, &progress), expected, "{progress:?}");
    }
}

#[test]
fn download_that_could_not_show_its_speed_is_the_next_one_tried() {
    let mut fairness = Fairness::new(4);
    fairness.begin("a", Pool::Fast);
    fairness.record(job(7), "a", Ending::Fast);
    let waiting = waiting(&"a ".repeat(30));
    for (at, download) in waiting.iter().enumerate() {
        fairness.record(download.job, "a", if at == 20 { Ending::Tried } else { Ending::Wasted });
    }
    let admitted = fairness.admit(&waiting, usize::MAX);
    assert_eq!((admitted.len(), admitted[0]), (fairness.slow_share(), (20, Pool::Slow)));
}

#[test]
fn sick_links_of_an_unknown_host_make_room_for_its_others() {
    let mut fairness = Fairness::new(4);
    for _ in 0..fairness.slow_share() {
        fairness.begin("a", Pool::Slow);
    }
    assert_eq!(fairness.review(job(9), "a", Pool::Slow, &silent(25)), Review::Continues);
    let fast = |at| (at, Pool::Fast);
    assert_eq!(fairness.admit(&waiting("a a a"), usize::MAX), [fast(0), fast(1)], "they have their try");
    assert_eq!(fairness.review(job(9), "a", Pool::Slow, &silent(2)), Review::GivesWay);
    fairness.record(job(9), "a", Ending::Wasted);
    fairness.release("a", Pool::Slow);
    let sick = WaitingDownload { job: job(9), host: "a".to_owned() };
    let waiting = [&[sick][..], &waiting("a")].concat();
    assert_eq!(fairness.admit(&waiting, usize::MAX), [(1, Pool::Slow)], "the one that wasted nothing yet");
}

#[test]
fn second_output_of_a_job_hides_nobody_who_waits() {
    let mut fairness = Fairness::new(1);
    fairness.begin("a", Pool::Fast);
    fairness.admit(&waiting("b b"), usize::MAX);
    let second = WaitingDownload { job: job(9), host: "c".to_owned() };
    assert_eq!(fairness.admit_one(&second), Some(Pool::Slow));
    assert_eq!(fairness.review(job(8), "a", Pool::Fast, &silent(1)), Review::Moved(Pool::Slow));
}

#[test]
fn host_is_slow_after_its_last_download_was() {
    for (endings, slow) in [
        (vec![], false),
        (vec![Ending::Quick], false),
        (vec![Ending::Wasted], true),
        (vec![Ending::Slow], true),
        (vec![Ending::Wasted, Ending::Fast], false),
        (vec![Ending::Fast, Ending::Wasted], false),
        (vec![Ending::Fast, Ending::Slow], true),
        ([vec![Ending::Fast], vec![Ending::Wasted; 8]].concat(), true),
    ] {
        let mut fairness = Fairness::new(4);
        fairness.begin("a", Pool::Fast);
        for (number, ending) in (100..).zip(&endings) {
            fairness.record(job(number), "a", *ending);
        }
        fairness.release("a", Pool::Fast);
        let pool = if slow { Pool::Slow } else { Pool::Fast };
        let admitted = fairness.admit(&waiting("a a a"), usize::MAX);
        assert_eq!(admitted.last(), Some(&(2, pool)), "{endings:?}: after two tries");
    }
}

#[test]
fn link_that_never_works_says_nothing_of_its_host() {
    let mut fairness = Fairness::new(4);
    fairness.begin("a", Pool::Fast);
    fairness.record(job(50), "a", Ending::Fast);
    for _ in 0..20 {
        fairness.record(job(0), "a", Ending::Wasted);
    }
    assert_eq!(fairness.admit(&waiting("a a"), usize::MAX), [(1, Pool::Fast), (0, Pool::Slow)]);
}

/// Plays downloads of 0.5 s each beside sick hosts, in steps of a review. Returns the steps until all are done.
fn steps_until_healthy_are_done(concurrency: usize, sick: &[&str], healthy: &[WaitingDownload]) -> usize {
    struct Running {
        download: WaitingDownload,
        pool: Pool,
        steps: u32,
    }
    let mut fairness = Fairness::new(concurrency);
    let sick = (1000..)
        .zip(sick)
        .map(|(number, kind)| WaitingDownload { job: job(number), host: format!("{kind}-{number}") });
    let mut waiting: Vec<_> = sick.chain(healthy.iter().cloned()).collect();
    let mut running: Vec<Running> = Vec::new();
    for step in 1..1000 {
        let mut admitted = fairness.admit(&waiting, usize::MAX);
        admitted.sort_unstable_by_key(|(at, _)| std::cmp::Reverse(*at));
        for (at, pool) in admitted {
            running.push(Running { download: waiting.remove(at), pool, steps: 0 });
        }
        for mut one in std::mem::take(&mut running) {
            one.steps += 1;
            let (job, host) = (one.download.job, one.download.host.clone());
            let elapsed = REVIEW * one.steps;
            let (received, speed) = match host.split('-').next() {
                Some("silent") => (0, 0),
                Some("drip") => (u64::from(one.steps) * 1024, 2048),
                _ => {
                    fairness.record(job, &host, Ending::Fast);
                    fairness.release(&host, one.pool);
                    continue;
                }
            };
            let progress = Progress { elapsed, received, speed, resumable: received > 0 };
            match fairness.review(job, &host, one.pool, &progress) {
                Review::GivesWay => {
                    let early = elapsed < Duration::from_secs(1);
                    fairness.record(job, &host, if early { Ending::Tried } else { Ending::Wasted });
                    fairness.release(&host, one.pool);
                    waiting.push(one.download);
                    continue;
                }
                Review::Moved(pool) => one.pool = pool,
                Review::Continues => {}
            }
            running.push(one);
        }
        let is_healthy = |download: &WaitingDownload| healthy.contains(download);
        if !waiting.iter().any(is_healthy) && !running.iter().any(|one| is_healthy(&one.download)) {
            return step;
        }
    }
    panic!("the healthy downloads never end");
}

#[test]
fn healthy_downloads_hardly_wait_for_sick_hosts() {
    let one_host: Vec<_> =
        (0..40).map(|number| WaitingDownload { job: job(number), host: "cdn".to_owned() }).collect();
    let many_hosts: Vec<_> =
        (0..40).map(|number| WaitingDownload { job: job(number), host: format!("cdn{number}") }).collect();
    for (concurrency, sick, healthy, alone, at_most) in [
        (4, &["drip"; 4][..], &one_host, 10, 11),
        (4, &["silent"; 50][..], &one_host, 10, 15),
        (4, &["drip", "silent"].repeat(50)[..], &one_host, 10, 24),
        (4, &["silent"; 50][..], &many_hosts, 10, 9),
        (1, &["drip"; 4][..], &one_host, 40, 40),
        (1, &["silent"; 50][..], &one_host, 40, 56),
        (16, &["silent"; 200][..], &one_host, 3, 11),
    ] {
        let usual = steps_until_healthy_are_done(concurrency, &[], &one_host);
        assert_eq!(usual, alone);
        let steps = steps_until_healthy_are_done(concurrency, sick, healthy);
        assert!(steps <= at_most, "{concurrency} slots, {} sick: {steps} instead of {usual}", sick.len());
    }
}
