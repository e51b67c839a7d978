//! Disks that fill up, turn read-only, go away and come back: each time everything comes to its right end without
//! anybody's help but with the disk.
//!
//! Folders closed by chmod are left out: this runs as root, whom no mode stops.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dropreel::clock::{Clock, Timestamp};
use dropreel::secret::{CallbackSecrets, Secret};
use dropreel::sha256::sha256_hex;
use rustix::process::Signal;

use crate::bench::{Bench, Load, Mount, must, place_data, rng, tell, text, wish};
use crate::points::stage::Stage;
use crate::support::checker::{SentCallback, When};
use crate::support::files_below;

const LOAD: &[&str] = &["callback=copies:3", "outputs=2", "submit=lost", "media=drip:200KiB size=64KiB", ""];

/// A case: the daemon goes before its disks, whatever happens.
struct ReplyContext {
    stage: Stage,
    load: Load,
    /// The last mounted first.
    mounts: Vec<Mount>,
    data: PathBuf,
    bench: Bench,
}

impl Drop for ReplyContext {
    fn drop(&mut self) {
        if self.stage.rig.is_running() {
            self.stage.rig.kill();
        }
        while self.mounts.pop().is_some() {}
    }
}

impl ReplyContext {
    /// With its data in the folder `disk` of the bench, where something may be mounted before.
    async fn set_up(prefix: &'static str, mount: impl FnOnce(&Bench) -> Vec<Mount>) -> Self {
        let mut stage = Stage::set_up("", rng(prefix.len() as u64).below(u64::MAX)).await;
        stage.patience = Duration::from_secs(150);
        let bench = Bench::new();
        let mounts = mount(&bench);
        let data = bench.folder("disk").join("data");
        place_data(&stage, &data);
        Self { stage, load: Load::new(prefix, LOAD), mounts, data, bench }
    }

    fn drop_some(&mut self, count: u64) {
        for _ in 0..count {
            self.load.drop_one(&mut self.stage).expect("room for a drop");
        }
    }

    async fn pause(&self, from: u64, to: u64) {
        let time = from + self.stage.rng.below(to - from);
        tokio::time::sleep(Duration::from_millis(time)).await;
    }

    /// Looks while the daemon is paused.
    fn check(&mut self, at: &str) {
        let lives = self.stage.rig.is_running();
        if lives {
            self.stage.rig.signal(Signal::STOP);
        }
        let checked = self.stage.check(When::Always, at);
        if lives {
            self.stage.rig.signal(Signal::CONT);
        }
        checked.unwrap_or_else(|why| panic!("{why}"));
    }

    /// The jobs that were promised something since the fault. A flush that is under way when ext4 gives up its journal
    /// may be answered with success although nothing of it is kept: no program can see through that.
    fn flushed_in_vain(&self, fault: Timestamp) -> Vec<String> {
        let ledger = self.stage.rig.sandbox.ledger();
        let job = |task: &str| {
            let made = ledger.tasks.iter().find(|made| made.task_id == task)?;
            Some(made.key.as_deref()?.split('.').next()?.to_owned())
        };
        let answered = ledger.callbacks.iter().filter(|sent| sent.answered_at.is_some_and(|at| at >= fault));
        let submitted = ledger.keys.iter().filter(|(_, used)| used.last >= fault);
        let submitted = submitted.filter_map(|(key, _)| Some(key.split('.').next()?.to_owned()));
        answered.filter_map(|sent| job(&sent.task_id)).chain(submitted).collect()
    }

    /// A check that forgives what was promised to these jobs, but nothing about money.
    fn check_but(&mut self, when: When, doubtful: &[String], at: &str) {
        let mut found = self.stage.rig.violations(&self.stage.log, when);
        let forgiven = |what: &str| doubtful.iter().any(|job| what.contains(job.as_str()));
        found.retain(|violation| !([3, 6].contains(&violation.invariant) && forgiven(&violation.what)));
        found.retain(|violation| when == When::Finally || !violation.what.contains("/rejected/."));
        let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(lines.is_empty(), "{at}:\n{}\n{}", lines.join("\n"), self.stage.rig.output());
    }

    /// As a service manager would: a daemon that ended with 1 is started again.
    async fn revive(&mut self) -> bool {
        match self.stage.rig.exit_status() {
            None if self.stage.rig.is_running() => true,
            status => {
                let code = status.and_then(|status| status.code());
                assert!(
                    matches!(code, None | Some(1)),
                    "ended with {status:?}:\n{}",
                    self.stage.rig.output()
                );
                match self.stage.rig.try_start_daemon().await {
                    Ok(()) => true,
                    Err(status) => {
                        let output = self.stage.rig.output();
                        assert_eq!(
                            status.code(),
                            Some(1),
                            "a full disk is no matter of configuration:\n{output}"
                        );
                        false
                    }
                }
            }
        }
    }

    /// The end: everything settled, everything checked.
    async fn finish(mut self) {
        let other = Stage::set_up("", 0).await;
        let stage = std::mem::replace(&mut self.stage, other);
        stage.finish(true).await.unwrap_or_else(|why| panic!("{why}"));
    }

    async fn send_callback(&mut self, number: usize) -> Option<u16> {
        let tasks = self.stage.rig.sandbox.ledger().tasks;
        // Each at another job, for only the first bodies of one are kept.
        let task = tasks.get(number % tasks.len().max(1))?;
        let job = task.key.as_ref()?.split('.').next()?.to_owned();
        let secret = std::fs::read_to_string(self.data.join("callback.secret")).ok()?;
        let token = CallbackSecrets::new(Secret::new(secret.trim()), Vec::new()).token(&job);
        let body = format!(r#"{{"callback":{number},"padding":"{}"}}"#, "x".repeat(2000));
        let sha256 = sha256_hex(body.as_bytes());
        let status = self.stage.rig.try_send_callback(&job, token.expose(), body).await;
        self.stage.log.sent_callbacks.push(SentCallback { job, sha256, valid: true, status });
        status
    }

    /// Callbacks until one is put off, or for a while: a full disk may still have room for some in what the database
    /// holds already. Whether one was put off.
    async fn send_callback_until_refused(&mut self) -> bool {
        let since = Instant::now();
        while self.stage.rig.is_running() && since.elapsed() < Duration::from_millis(300) {
            if self.send_callback(self.stage.log.sent_callbacks.len()).await == Some(503) {
                return true;
            }
        }
        false
    }

    fn times_in_output(&self, words: &str) -> usize {
        self.stage.rig.output().matches(words).count()
    }
}

/// Takes all the room there is, to the last byte.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    for size in [1 << 20, 1 << 14, 1 << 10, 1] {
        let piece = vec![b'x'; size];
        while file.write_all(&piece).is_ok() {}
    }
}

/// `DROPREEL_FULL=1000` for the long run.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_disk_holds_everything_up_and_loses_nothing() {
    let cycles = wish("DROPREEL_FULL", 20);
    let start = Instant::now();
    let mut scene = ReplyContext::set_up("full", |bench| {
        let disk = Mount::memory(&bench.path("disk"), 12 * 1024 + cycles * 32);
        // Drops and clips have room: it is the database's disk that fills up.
        let beside = ["inbox", "videos"].map(|name| {
            let (folder, at) =
                (bench.folder(&format!("roomy-{name}")), bench.path("disk").join("data").join(name));
            must("chmod", &["700", text(&folder)]);
            Mount::bind(&folder, &at)
        });
        must("chmod", &["700", text(&bench.path("disk/data"))]);
        [disk].into_iter().chain(beside).collect()
    })
    .await;
    scene.stage.rig.start_daemon().await;
    let filler = scene.bench.path("disk").join("filler");
    let (mut starts_refused, mut deaths, mut put_off) = (0, 0, 0);
    for cycle in 0..cycles {
        scene.drop_some(2);
        scene.pause(20, 250).await;
        fill(&filler);
        scene.drop_some(1);
        scene.pause(50, 350).await;
        put_off += u64::from(scene.send_callback_until_refused().await);
        if cycle % 4 == 3 && scene.stage.rig.is_running() {
            scene.stage.rig.kill();
        }
        deaths += u64::from(!scene.stage.rig.is_running());
        starts_refused += u64::from(!scene.revive().await);
        // What was removed may be taken again before anybody notices.
        fill(&filler);
        scene.pause(20, 200).await;
        std::fs::remove_file(&filler).unwrap();
        scene.pause(20, 250).await;
        if scene.revive().await && cycle % 5 == 4 {
            scene.check(&format!("after cycle {cycle}"));
        }
    }
    assert!(scene.revive().await, "no start though there is room:\n{}", scene.stage.rig.output());
    let reported = scene.times_in_output("full");
    scene.finish().await;
    eprintln!(
        "disks: full {cycles} times, reported {reported} times, callbacks put off {put_off} times, {deaths} deaths, {starts_refused} \
         starts refused, in {:?}",
        start.elapsed()
    );
    assert!(reported as u64 >= cycles && put_off > 0, "the full disk was hardly felt");
}

/// `DROPREEL_LIBRARY_FULL=20` for the long run.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_library_that_fills_up_in_a_download_is_filled_once_there_is_room() {
    let start = Instant::now();
    let mut scene = ReplyContext::set_up("library", |bench| {
        vec![Mount::memory(&bench.path("disk").join("data/videos"), 90 * 1024)]
    })
    .await;
    must("chmod", &["700", text(&scene.data)]);
    scene.stage.rig.start_daemon().await;
    let filler = scene.data.join("videos/.incoming/filler");
    let mut felt = 0;
    for cycle in 0..wish("DROPREEL_LIBRARY_FULL", 1) {
        let before = scene.times_in_output("is full");
        for number in 0..3 {
            let words = "size=2MiB media=drip:1MiB";
            scene.stage.drop_job(&format!("large-{cycle}-{number}"), words, &[], &["succeeded"]);
        }
        let growing = || {
            let parts = files_below(&scene.data.join("videos/.incoming"));
            parts.iter().any(|part| {
                text(part).ends_with(".part") && part.metadata().is_ok_and(|found| found.len() > 0)
            })
        };
        let asked = Instant::now();
        while !growing() {
            assert!(asked.elapsed() < Duration::from_secs(60), "no download:\n{}", scene.stage.rig.output());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        fill(&filler);
        scene.drop_some(2);
        while scene.times_in_output("is full") == before {
            assert!(asked.elapsed() < Duration::from_secs(60), "never full:\n{}", scene.stage.rig.output());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        felt += 1;
        scene.check("with a full library");
        std::fs::remove_file(&filler).unwrap();
        scene.stage.settle().await.unwrap_or_else(|why| panic!("{why}"));
    }
    scene.finish().await;
    eprintln!("disks: the library full in {felt} downloads, in {:?}", start.elapsed());
}

fn loop_device(at: &Path) -> String {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = table.lines().rev().find(|line| line.split(' ').nth(4) == Some(text(at))).expect("mounted");
    let source = line.split(" - ").nth(1).and_then(|rest| rest.split(' ').nth(1)).unwrap();
    source.trim_start_matches("/dev/").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_disk_that_turns_read_only_ends_the_daemon_and_keeps_every_promise() {
    let options = "errors=remount-ro";
    let mut scene = ReplyContext::set_up("readonly", |bench| {
        let image = bench.ext4("data.img", 256);
        vec![Mount::image(&image, &bench.path("disk"), options)]
    })
    .await;
    let (image, at) = (scene.bench.path("data.img"), scene.bench.path("disk"));
    let mut put_off = 0;
    let mut doubtful = Vec::new();
    for round in 0..wish("DROPREEL_READ_ONLY", 3) {
        scene.stage.rig.start_daemon().await;
        scene.drop_some(4);
        scene.pause(150, 600).await;
        let trigger = format!("/sys/fs/ext4/{}/trigger_fs_error", loop_device(&at));
        let fault = Clock::machine().now();
        std::fs::write(&trigger, "1").unwrap_or_else(|error| {
            panic!("this machine cannot hold the crash lab: {trigger}: {error}; it needs root and ext4 of Linux 4.13 or newer")
        });
        let since = Instant::now();
        let status = loop {
            if let Some(status) = scene.stage.rig.exit_status() {
                break status;
            }
            match scene.send_callback(put_off + 1000 * usize::try_from(round).unwrap()).await {
                Some(204) => {
                    panic!("a callback is acknowledged on a read-only disk:\n{}", scene.stage.rig.output())
                }
                Some(503) => put_off += 1,
                _ => {}
            }
            assert!(since.elapsed() < Duration::from_secs(60), "it goes on:\n{}", scene.stage.rig.output());
        };
        let output = scene.stage.rig.output();
        assert_eq!(status.code(), Some(1), "a new start shows what was kept:\n{output}");
        // Started on it, it says what is the matter, and touches nothing.
        let refused = scene.stage.rig.try_start_daemon().await.expect_err("a start on a read-only disk");
        let output = scene.stage.rig.output();
        let last = output.lines().last().unwrap_or_default();
        assert_eq!(refused.code(), Some(2), "{output}");
        assert!(
            last.contains(text(&scene.data))
                || last.contains(text(&scene.stage.rig.path("")).trim_end_matches('/')),
            "{last}"
        );
        assert!(last.contains("read-only file system"), "{last}");
        scene.mounts.pop().unwrap().unmount();
        // It exits with 1 if it fixed something.
        let _ = tell("e2fsck", &["-fy", text(&image)]);
        scene.mounts.push(Mount::image(&image, &at, options));
        doubtful.extend(scene.flushed_in_vain(fault));
        scene.check_but(When::Always, &doubtful, "as the disk was left");
    }
    scene.stage.rig.start_daemon().await;
    scene.stage.settle().await.unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(scene.stage.rig.stop().await, Some(0), "{}", scene.stage.rig.output());
    scene.check_but(When::Finally, &doubtful, "in the end");
    eprintln!("disks: read-only, {} jobs had promises in the moment of the fault", doubtful.len());
    eprintln!("disks: read-only, {put_off} callbacks put off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_library_that_is_pulled_out_is_waited_for_and_its_mount_point_stays_empty() {
    let start = Instant::now();
    let mut scene = ReplyContext::set_up("pulled", |bench| {
        let image = bench.ext4("videos.img", 256);
        let mount = Mount::image(&image, &bench.path("disk").join("data/videos"), "noatime");
        must("chmod", &["700", text(mount.at()), text(&bench.path("disk/data"))]);
        vec![mount]
    })
    .await;
    let (image, at) = (scene.bench.path("videos.img"), scene.data.join("videos"));
    let decoy = scene.bench.ext4("decoy.img", 64);
    let mut decoys = Vec::new();
    scene.stage.rig.start_daemon().await;
    for round in 0..wish("DROPREEL_PULLS", 3) {
        scene.drop_some(6);
        scene.pause(100, 500).await;
        let before = loop_device(&at);
        scene.mounts.pop().unwrap().pull();
        scene.drop_some(3);
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(2) {
            let left: Vec<_> = std::fs::read_dir(&at).unwrap().flatten().map(|entry| entry.path()).collect();
            assert!(left.is_empty(), "the bare mount point holds {left:?}:\n{}", scene.stage.rig.output());
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        if round % 2 == 1 {
            // Nor does a start make a new library in the mount point.
            scene.stage.rig.kill();
            scene.stage.rig.start_daemon().await;
            scene.pause(100, 500).await;
            assert_eq!(std::fs::read_dir(&at).unwrap().count(), 0, "{}", scene.stage.rig.output());
        }
        let (status, ready) = scene.stage.rig.try_get("/readyz").await.expect("an answer");
        assert_eq!(status, 503, "{ready}");
        // A disk rarely comes back under the number it had.
        let copy = scene.bench.path(&format!("decoy-{round}.img"));
        std::fs::copy(&decoy, &copy).unwrap();
        decoys.push(Mount::image(&copy, &scene.bench.path(&format!("decoy-{round}")), "noatime"));
        scene.mounts.push(Mount::image(&image, &at, "noatime"));
        eprintln!("disks: pulled out as {before}, back as {}", loop_device(&at));
        scene.stage.settle().await.unwrap_or_else(|why| panic!("{why}"));
        scene.check("with the library back");
    }
    drop(decoys);
    scene.finish().await;
    eprintln!("disks: pulled out, in {:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_inbox_that_is_removed_and_made_again_is_watched_again() {
    let mut scene = ReplyContext::set_up("inbox", |_| Vec::new()).await;
    scene.stage.rig.start_daemon().await;
    let inbox = scene.data.join("inbox");
    for round in 0..10 {
        scene.drop_some(2);
        // Only an empty folder can be removed without taking somebody's file along.
        let since = Instant::now();
        while std::fs::remove_dir(&inbox).is_err() {
            assert!(since.elapsed() < Duration::from_secs(30), "never empty:\n{}", scene.stage.rig.output());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        if round % 2 == 0 {
            scene.pause(0, 500).await;
        }
        // The daemon may have been faster.
        std::fs::create_dir_all(&inbox).unwrap();
        must("chmod", &["700", text(&inbox)]);
    }
    scene.drop_some(2);
    scene.stage.settle().await.unwrap_or_else(|why| panic!("{why}"));
    scene.finish().await;
}
