//! Disks that fill up, turn read-only, are detached and come back. Once the disk is in order, the daemon finishes every
//! job without help.
//!
//! There is no test with modes that forbid access: the tests run as root, for whom modes do not count.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dropreel::clock::{Clock, Timestamp};
use dropreel::sha256::sha256_hex;
use rustix::process::Signal;

use crate::file_systems::{
    Load, Mount, ScratchFolder, env_number, place_data, rng, run_or_panic, run_program, text,
};
use crate::points::crash_harness::CrashHarness;
use crate::support::checker::{SentCallback, When};
use crate::support::files_below;

const LOAD: &[&str] = &["callback=copies:3", "outputs=2", "submit=lost", "media=drip:200KiB size=64KiB", ""];

/// A daemon on disks of its own. Dropping it kills the daemon before it unmounts the disks.
struct DiskTest {
    harness: CrashHarness,
    load: Load,
    /// In the order in which they were mounted.
    mounts: Vec<Mount>,
    data: PathBuf,
    scratch: ScratchFolder,
}

impl Drop for DiskTest {
    fn drop(&mut self) {
        if self.harness.rig.is_running() {
            self.harness.rig.kill();
        }
        while self.mounts.pop().is_some() {}
    }
}

impl DiskTest {
    /// Puts the data folder below `disk` of the scratch folder, where `mount` may mount file systems first.
    async fn set_up(prefix: &'static str, mount: impl FnOnce(&ScratchFolder) -> Vec<Mount>) -> Self {
        let mut harness = CrashHarness::set_up("", rng(prefix.len() as u64).below(u64::MAX)).await;
        harness.timeout = Duration::from_secs(150);
        let scratch = ScratchFolder::new();
        let mounts = mount(&scratch);
        let data = scratch.folder("disk").join("data");
        place_data(&harness, &data);
        Self { harness, load: Load::new(prefix, LOAD), mounts, data, scratch }
    }

    fn drop_some(&mut self, count: u64) {
        for _ in 0..count {
            self.load.drop_one(&mut self.harness).expect("room for a drop");
        }
    }

    async fn pause(&self, from: u64, to: u64) {
        let time = from + self.harness.rng.below(to - from);
        tokio::time::sleep(Duration::from_millis(time)).await;
    }

    /// Runs the checker while the daemon is paused.
    fn check(&mut self, at: &str) {
        let running = self.harness.rig.is_running();
        if running {
            self.harness.rig.signal(Signal::STOP);
        }
        let checked = self.harness.check(When::Always, at);
        if running {
            self.harness.rig.signal(Signal::CONT);
        }
        checked.unwrap_or_else(|why| panic!("{why}"));
    }

    /// The jobs with a promise since the fault. When ext4 aborts its journal, a flush in progress may report success
    /// although nothing was written, and no program can notice.
    fn jobs_possibly_lost(&self, fault: Timestamp) -> Vec<String> {
        let ledger = self.harness.rig.sandbox.ledger();
        let job = |task: &str| {
            let entry = ledger.tasks.iter().find(|entry| entry.task_id == task)?;
            Some(entry.key.as_deref()?.split('.').next()?.to_owned())
        };
        let answered = ledger.callbacks.iter().filter(|sent| sent.answered_at.is_some_and(|at| at >= fault));
        let submitted = ledger.keys.iter().filter(|(_, used)| used.last >= fault);
        let submitted = submitted.filter_map(|(key, _)| Some(key.split('.').next()?.to_owned()));
        answered.filter_map(|sent| job(&sent.task_id)).chain(submitted).collect()
    }

    /// Runs the checker, but allows lost promises (never charges) for these jobs.
    fn check_except(&mut self, when: When, doubtful: &[String], at: &str) {
        let mut found = self.harness.rig.violations(&self.harness.log, when);
        let is_doubtful = |what: &str| doubtful.iter().any(|job| what.contains(job.as_str()));
        found.retain(|violation| !([3, 6].contains(&violation.invariant) && is_doubtful(&violation.what)));
        found.retain(|violation| when == When::Finally || !violation.what.contains("/rejected/."));
        let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(lines.is_empty(), "{at}:\n{}\n{}", lines.join("\n"), self.harness.rig.output());
    }

    /// Starts a daemon that ended with exit code 1 again, as a service manager does. Returns whether it runs.
    async fn restart_if_ended(&mut self) -> bool {
        match self.harness.rig.exit_status() {
            None if self.harness.rig.is_running() => true,
            status => {
                let code = status.and_then(|status| status.code());
                assert!(
                    matches!(code, None | Some(1)),
                    "ended with {status:?}:\n{}",
                    self.harness.rig.output()
                );
                match self.harness.rig.try_start_daemon().await {
                    Ok(()) => true,
                    Err(status) => {
                        let output = self.harness.rig.output();
                        assert_eq!(
                            status.code(),
                            Some(1),
                            "a full disk is not a configuration error:\n{output}"
                        );
                        false
                    }
                }
            }
        }
    }

    /// Waits until every job has settled, stops the daemon and runs the checker.
    async fn finish(mut self) {
        let other = CrashHarness::set_up("", 0).await;
        let harness = std::mem::replace(&mut self.harness, other);
        harness.finish(true).await.unwrap_or_else(|why| panic!("{why}"));
    }

    async fn send_callback(&mut self, number: usize) -> Option<u16> {
        let tasks = self.harness.rig.sandbox.ledger().tasks;
        // For each callback another job: only the first bodies of a job are stored.
        let task = tasks.get(number % tasks.len().max(1))?;
        let job = task.key.as_ref()?.split('.').next()?.to_owned();
        let token = self.harness.rig.callback_secrets()?.token(&job);
        let body = format!(r#"{{"callback":{number},"padding":"{}"}}"#, "x".repeat(2000));
        let sha256 = sha256_hex(body.as_bytes());
        let status = self.harness.rig.try_send_callback(&job, token.expose(), body).await;
        self.harness.log.sent_callbacks.push(SentCallback { job, sha256, valid: true, status });
        status
    }

    /// Sends callbacks until one is answered with 503, for 300 ms at most: the database may have free pages for some even
    /// if the disk is full. Returns whether one was.
    async fn send_callback_until_refused(&mut self) -> bool {
        let since = Instant::now();
        while self.harness.rig.is_running() && since.elapsed() < Duration::from_millis(300) {
            if self.send_callback(self.harness.log.sent_callbacks.len()).await == Some(503) {
                return true;
            }
        }
        false
    }

    fn times_in_output(&self, text: &str) -> usize {
        self.harness.rig.output().matches(text).count()
    }
}

/// Fills the disk to the last byte.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    for size in [1 << 20, 1 << 14, 1 << 10, 1] {
        let chunk = vec![b'x'; size];
        while file.write_all(&chunk).is_ok() {}
    }
}

/// `DROPREEL_FULL=1000` for the long run.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn full_disk_delays_jobs_and_loses_nothing() {
    let cycles = env_number("DROPREEL_FULL", 20);
    let start = Instant::now();
    let mut test = DiskTest::set_up("full", |scratch| {
        let disk = Mount::memory(&scratch.path("disk"), 12 * 1024 + cycles * 32);
        // The inbox and the library have another disk: only the database's disk fills up.
        let others = ["inbox", "videos"].map(|name| {
            let (folder, at) =
                (scratch.folder(&format!("other-disk-{name}")), scratch.path("disk").join("data").join(name));
            run_or_panic("chmod", &["700", text(&folder)]);
            Mount::bind(&folder, &at)
        });
        run_or_panic("chmod", &["700", text(&scratch.path("disk/data"))]);
        [disk].into_iter().chain(others).collect()
    })
    .await;
    test.harness.rig.start_daemon().await;
    let filler = test.scratch.path("disk").join("filler");
    let (mut failed_starts, mut deaths, mut refused_callbacks) = (0, 0, 0);
    for cycle in 0..cycles {
        test.drop_some(2);
        test.pause(20, 250).await;
        fill(&filler);
        test.drop_some(1);
        test.pause(50, 350).await;
        refused_callbacks += u64::from(test.send_callback_until_refused().await);
        if cycle % 4 == 3 && test.harness.rig.is_running() {
            test.harness.rig.kill();
        }
        deaths += u64::from(!test.harness.rig.is_running());
        failed_starts += u64::from(!test.restart_if_ended().await);
        // Some space may have become free meanwhile.
        fill(&filler);
        test.pause(20, 200).await;
        std::fs::remove_file(&filler).unwrap();
        test.pause(20, 250).await;
        if test.restart_if_ended().await && cycle % 5 == 4 {
            test.check(&format!("after cycle {cycle}"));
        }
    }
    assert!(
        test.restart_if_ended().await,
        "no start although the disk has space:\n{}",
        test.harness.rig.output()
    );
    let reported = test.times_in_output("full");
    test.finish().await;
    eprintln!(
        "disks: full {cycles} times, reported {reported} times, {refused_callbacks} callbacks refused, {deaths} deaths, {failed_starts} \
         failed starts, in {:?}",
        start.elapsed()
    );
    assert!(reported as u64 >= cycles && refused_callbacks > 0, "the full disk had little effect");
}

/// `DROPREEL_LIBRARY_FULL=20` for the long run.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn download_into_a_full_library_succeeds_once_there_is_space() {
    let start = Instant::now();
    let mut test = DiskTest::set_up("library", |scratch| {
        vec![Mount::memory(&scratch.path("disk").join("data/videos"), 90 * 1024)]
    })
    .await;
    run_or_panic("chmod", &["700", text(&test.data)]);
    test.harness.rig.start_daemon().await;
    let filler = test.data.join("videos/.incoming/filler");
    let mut failed = 0;
    for cycle in 0..env_number("DROPREEL_LIBRARY_FULL", 1) {
        let before = test.times_in_output("is full");
        for number in 0..3 {
            let faults = "size=2MiB media=drip:1MiB";
            test.harness.drop_job(&format!("large-{cycle}-{number}"), faults, &[], &["succeeded"]);
        }
        let growing = || {
            let parts = files_below(&test.data.join("videos/.incoming"));
            parts.iter().any(|part| {
                text(part).ends_with(".part") && part.metadata().is_ok_and(|found| found.len() > 0)
            })
        };
        let dropped = Instant::now();
        while !growing() {
            assert!(
                dropped.elapsed() < Duration::from_secs(60),
                "no download:\n{}",
                test.harness.rig.output()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        fill(&filler);
        test.drop_some(2);
        while test.times_in_output("is full") == before {
            assert!(
                dropped.elapsed() < Duration::from_secs(60),
                "the library never fills up:\n{}",
                test.harness.rig.output()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        failed += 1;
        test.check("with a full library");
        std::fs::remove_file(&filler).unwrap();
        test.harness.settle().await.unwrap_or_else(|why| panic!("{why}"));
    }
    test.finish().await;
    eprintln!("disks: the library full in {failed} downloads, in {:?}", start.elapsed());
}

fn loop_device(at: &Path) -> String {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = table.lines().rev().find(|line| line.split(' ').nth(4) == Some(text(at))).expect("mounted");
    let source = line.split(" - ").nth(1).and_then(|rest| rest.split(' ').nth(1)).unwrap();
    source.trim_start_matches("/dev/").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn read_only_disk_ends_the_daemon_without_breaking_a_promise() {
    let options = "errors=remount-ro";
    let mut test = DiskTest::set_up("readonly", |scratch| {
        let image = scratch.ext4("data.img", 256);
        vec![Mount::image(&image, &scratch.path("disk"), options)]
    })
    .await;
    let (image, at) = (test.scratch.path("data.img"), test.scratch.path("disk"));
    let mut refused_callbacks = 0;
    let mut doubtful = Vec::new();
    for round in 0..env_number("DROPREEL_READ_ONLY", 3) {
        test.harness.rig.start_daemon().await;
        test.drop_some(4);
        test.pause(150, 600).await;
        let trigger = format!("/sys/fs/ext4/{}/trigger_fs_error", loop_device(&at));
        let fault = Clock::machine().now();
        std::fs::write(&trigger, "1").unwrap_or_else(|error| {
            panic!("this machine cannot run the crash tests: {trigger}: {error}; it needs root and ext4 of Linux 4.13 or newer")
        });
        let since = Instant::now();
        let status = loop {
            if let Some(status) = test.harness.rig.exit_status() {
                break status;
            }
            match test.send_callback(refused_callbacks + 1000 * usize::try_from(round).unwrap()).await {
                Some(204) => {
                    panic!("a callback is acknowledged on a read-only disk:\n{}", test.harness.rig.output())
                }
                Some(503) => refused_callbacks += 1,
                _ => {}
            }
            assert!(
                since.elapsed() < Duration::from_secs(60),
                "the daemon does not end:\n{}",
                test.harness.rig.output()
            );
        };
        let output = test.harness.rig.output();
        assert_eq!(status.code(), Some(1), "the exit code must ask for a restart:\n{output}");
        // On the read-only disk, a start fails with a message and changes nothing.
        let refused = test.harness.rig.try_start_daemon().await.expect_err("a start on a read-only disk");
        let output = test.harness.rig.output();
        let last = output.lines().last().unwrap_or_default();
        assert_eq!(refused.code(), Some(2), "{output}");
        assert!(
            last.contains(text(&test.data))
                || last.contains(text(&test.harness.rig.path("")).trim_end_matches('/')),
            "{last}"
        );
        assert!(last.contains("read-only file system"), "{last}");
        test.mounts.pop().unwrap().unmount();
        // e2fsck exits with 1 if it fixed something.
        let _ = run_program("e2fsck", &["-fy", text(&image)]);
        test.mounts.push(Mount::image(&image, &at, options));
        doubtful.extend(test.jobs_possibly_lost(fault));
        test.check_except(When::Always, &doubtful, "on the repaired disk");
    }
    test.harness.rig.start_daemon().await;
    test.harness.settle().await.unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(test.harness.rig.stop().await, Some(0), "{}", test.harness.rig.output());
    test.check_except(When::Finally, &doubtful, "at the end");
    eprintln!("disks: read-only, {} jobs had promises at the time of the fault", doubtful.len());
    eprintln!("disks: read-only, {refused_callbacks} callbacks refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn detached_library_is_awaited_and_its_mount_point_stays_empty() {
    let start = Instant::now();
    let mut test = DiskTest::set_up("detached", |scratch| {
        let image = scratch.ext4("videos.img", 256);
        let mount = Mount::image(&image, &scratch.path("disk").join("data/videos"), "noatime");
        run_or_panic("chmod", &["700", text(mount.at()), text(&scratch.path("disk/data"))]);
        vec![mount]
    })
    .await;
    let (image, at) = (test.scratch.path("videos.img"), test.data.join("videos"));
    let decoy = test.scratch.ext4("decoy.img", 64);
    let mut decoys = Vec::new();
    test.harness.rig.start_daemon().await;
    for round in 0..env_number("DROPREEL_DETACHES", 3) {
        test.drop_some(6);
        test.pause(100, 500).await;
        let before = loop_device(&at);
        test.mounts.pop().unwrap().detach();
        test.drop_some(3);
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(2) {
            let left: Vec<_> = std::fs::read_dir(&at).unwrap().flatten().map(|entry| entry.path()).collect();
            assert!(left.is_empty(), "the mount point holds {left:?}:\n{}", test.harness.rig.output());
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        if round % 2 == 1 {
            // A start must not create a new library in the mount point either.
            test.harness.rig.kill();
            test.harness.rig.start_daemon().await;
            test.pause(100, 500).await;
            assert_eq!(std::fs::read_dir(&at).unwrap().count(), 0, "{}", test.harness.rig.output());
        }
        let (status, ready) = test.harness.rig.try_get("/readyz").await.expect("an answer");
        assert_eq!(status, 503, "{ready}");
        // A disk often comes back under another device number; the decoys take the old one.
        let copy = test.scratch.path(&format!("decoy-{round}.img"));
        std::fs::copy(&decoy, &copy).unwrap();
        decoys.push(Mount::image(&copy, &test.scratch.path(&format!("decoy-{round}")), "noatime"));
        test.mounts.push(Mount::image(&image, &at, "noatime"));
        eprintln!("disks: detached as {before}, back as {}", loop_device(&at));
        test.harness.settle().await.unwrap_or_else(|why| panic!("{why}"));
        test.check("with the library back");
    }
    drop(decoys);
    test.finish().await;
    eprintln!("disks: library detached, in {:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn recreated_inbox_is_watched_again() {
    let mut test = DiskTest::set_up("inbox", |_| Vec::new()).await;
    test.harness.rig.start_daemon().await;
    let inbox = test.data.join("inbox");
    for round in 0..10 {
        test.drop_some(2);
        // Remove it only while it is empty: otherwise dropped files would be lost.
        let since = Instant::now();
        while std::fs::remove_dir(&inbox).is_err() {
            assert!(since.elapsed() < Duration::from_secs(30), "never empty:\n{}", test.harness.rig.output());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        if round % 2 == 0 {
            test.pause(0, 500).await;
        }
        // The daemon may have created it already.
        std::fs::create_dir_all(&inbox).unwrap();
        run_or_panic("chmod", &["700", text(&inbox)]);
    }
    test.drop_some(2);
    test.harness.settle().await.unwrap_or_else(|why| panic!("{why}"));
    test.finish().await;
}
