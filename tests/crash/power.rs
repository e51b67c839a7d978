//! Power cuts: the data folder is on an ext4 image, and the image on xfs, where a reflink copies it at one moment while
//! the daemon works. The copy is what a disk without a write cache would hold after a power cut.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dropreel::failpoints::FailPoint;
use dropreel::sandbox::ledger::Ledger;
use rustix::process::Signal;

use crate::file_systems::{Load, Mount, ScratchFolder, env_number, place_data, rng, run_or_panic, text};
use crate::points::crash_harness::CrashHarness;
use crate::support::checker::{Evidence, HarnessLog, When, check};
use crate::support::files_below;
use crate::support::mutants;

const LOAD: &[&str] = &[
    "",
    "callback=copies:3",
    "submit=lost",
    "media=drip:200KiB size=64KiB",
    "outputs=2",
    "callback=copies:25",
    "submit=503",
    // Where copies of the disks take seconds, the others end in between.
    "run=4s",
];
/// Cuts in one round; with more, the disk would fill up.
const ROUND: u64 = 100;

/// Power cuts on one data folder. At some of them the daemon is killed and restarted on the copy.
#[derive(Clone, Copy, Debug)]
struct Round {
    seed: u64,
    cuts: u64,
    /// One cut in this many is real: the daemon continues on the copy.
    real_every: u64,
    /// The library has a disk of its own, which a flush of the database does not flush.
    two_disks: bool,
    mutant: Option<&'static str>,
}

/// Counts of what happened: a run in which little happened proves nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Hits {
    cuts: u64,
    real: u64,
    jobs: u64,
    /// Submits, acknowledged callbacks and stored files that had to survive a cut, summed over all cuts.
    submits: u64,
    callbacks: u64,
    files: u64,
    /// Cuts while a task was running at the provider.
    with_tasks: u64,
}

/// The disks, the file system of their images, and their mount points.
struct Disks {
    mounted: Vec<Mount>,
    images: Vec<(PathBuf, PathBuf)>,
    copies: PathBuf,
    _backing: Mount,
    _scratch: ScratchFolder,
}

impl Disks {
    /// With the second disk mounted there, in the first.
    fn set_up(second: Option<&str>) -> Self {
        let scratch = ScratchFolder::in_memory();
        let backing = Mount::image(&scratch.xfs("xfs.img", 2048), &scratch.path("backing"), "noatime");
        let (data, copies) = (scratch.path("disk"), scratch.folder("copies"));
        let mut disks =
            Self { mounted: Vec::new(), images: Vec::new(), copies, _backing: backing, _scratch: scratch };
        disks.add("data.img", &data);
        if let Some(at) = second {
            let at = data.join(at);
            std::fs::create_dir_all(at.parent().unwrap()).unwrap();
            disks.add("second.img", &at);
        }
        disks
    }

    fn add(&mut self, name: &str, at: &Path) {
        let image = self._scratch.ext4(&format!("backing/{name}"), 512);
        // Only what is flushed must be on the disk: the file system commits nothing by itself meanwhile.
        self.mounted.push(Mount::image(&image, at, "noatime,commit=300"));
        std::fs::set_permissions(at, std::fs::Permissions::from_mode(0o700)).unwrap();
        std::fs::File::open(at).unwrap().sync_all().unwrap();
        self.images.push((image, at.to_owned()));
    }

    fn data(&self) -> PathBuf {
        self.images[0].1.join("data")
    }

    /// Copies the disks as they are now.
    fn copy(&self) {
        for (image, _) in &self.images {
            run_or_panic("cp", &["--reflink=always", text(image), text(&image.with_extension("cut"))]);
        }
    }

    /// Mounts the copies, calls `inspect` with the copied data folder, and removes them.
    fn with_copy<T>(&self, inspect: impl FnOnce(&Path) -> T) -> T {
        let mut mounted = Vec::new();
        for (image, at) in &self.images {
            let below = at.strip_prefix(&self.images[0].1).unwrap();
            mounted.push(Mount::image(&image.with_extension("cut"), &self.copies.join(below), "noatime"));
        }
        let result = inspect(&self.copies.join("data"));
        for mount in mounted.into_iter().rev() {
            mount.unmount();
        }
        for (image, _) in &self.images {
            std::fs::remove_file(image.with_extension("cut")).unwrap();
        }
        result
    }

    /// Replaces the disks by their copies.
    fn restore_copies(&mut self) {
        for mount in self.mounted.drain(..).rev() {
            mount.unmount();
        }
        for (image, at) in &self.images {
            std::fs::rename(image.with_extension("cut"), image).unwrap();
            self.mounted.push(Mount::image(image, at, "noatime"));
        }
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        while self.mounted.pop().is_some() {}
    }
}

/// The ledger for a copy that was made between `before` and `now`: promises that the daemon made before the copy, and the
/// tasks and files of now.
fn ledger_at_copy(before: Ledger, now: Ledger) -> Ledger {
    Ledger { requests: before.requests, keys: before.keys, callbacks: before.callbacks, ..now }
}

impl Round {
    /// Runs the round. Returns the counts, or what went wrong.
    async fn run(self) -> Result<Hits, String> {
        let mut harness = CrashHarness::set_up("", self.seed).await;
        let mut disks = Disks::set_up(self.two_disks.then_some("data/videos"));
        place_data(&harness, &disks.data());
        if let Some(mutant) = self.mutant {
            harness.rig.set_variable(mutants::VARIABLE, mutant);
        }
        harness.rig.start_daemon().await;
        let mut load = Load::new("power", LOAD);
        let mut hits = Hits::default();
        let result = self.cut_all(&mut harness, &mut disks, &mut load, &mut hits).await;
        let result = match result {
            Ok(()) => harness.finish(true).await,
            // Kill the daemon before its disk is unmounted.
            Err(why) => {
                drop(harness);
                Err(why)
            }
        };
        result.map(|()| hits)
    }

    async fn cut_all(
        self,
        harness: &mut CrashHarness,
        disks: &mut Disks,
        load: &mut Load,
        hits: &mut Hits,
    ) -> Result<(), String> {
        for cut in 1..=self.cuts {
            for _ in 0..=harness.rng.below(3) {
                load.drop_one(harness).map_err(|error| format!("a file cannot be dropped: {error}"))?;
            }
            tokio::time::sleep(Duration::from_millis(harness.rng.below(160))).await;
            if let Some(status) = harness.rig.exit_status() {
                return Err(format!("the daemon ended with {status}:\n{}", harness.rig.output()));
            }
            let at = format!("after cut {cut} of {self:?}");
            if cut % self.real_every == 0 {
                self.cut_for_real(harness, disks, hits, &at).await?;
                hits.real += 1;
            } else if self.two_disks {
                // Two disks cannot be copied at the same moment, so the daemon is paused.
                harness.rig.signal(Signal::STOP);
                disks.copy();
                let ledger = harness.rig.sandbox.ledger();
                harness.rig.signal(Signal::CONT);
                self.check_copy(harness, disks, ledger, hits, &at)?;
            } else {
                let before = harness.rig.sandbox.ledger();
                disks.copy();
                let ledger = ledger_at_copy(before, harness.rig.sandbox.ledger());
                self.check_copy(harness, disks, ledger, hits, &at)?;
            }
            hits.cuts += 1;
        }
        Ok(())
    }

    fn check_copy(
        self,
        harness: &mut CrashHarness,
        disks: &Disks,
        ledger: Ledger,
        hits: &mut Hits,
        at: &str,
    ) -> Result<(), String> {
        let output = harness.rig.output();
        let log = &mut harness.log;
        disks.with_copy(|data| check_data_dir(data, &ledger, log, &output, hits, at))
    }

    /// Pauses the daemon from the copy until its death: nobody may see what it would do in between.
    async fn cut_for_real(
        self,
        harness: &mut CrashHarness,
        disks: &mut Disks,
        hits: &mut Hits,
        at: &str,
    ) -> Result<(), String> {
        harness.rig.signal(Signal::STOP);
        disks.copy();
        harness.rig.kill();
        disks.restore_copies();
        let ledger = harness.rig.sandbox.ledger();
        let output = harness.rig.output();
        check_data_dir(&disks.data(), &ledger, &mut harness.log, &output, hits, at)?;
        harness.rig.start_daemon().await;
        Ok(())
    }
}

/// Runs the checker on a data folder as a cut has left it.
fn check_data_dir(
    data_dir: &Path,
    ledger: &Ledger,
    log: &mut HarnessLog,
    output: &str,
    hits: &mut Hits,
    at: &str,
) -> Result<(), String> {
    let mut found = check(&Evidence { data_dir, ledger, log, output, when: When::Always });
    found.retain(|violation| !violation.what.contains("/rejected/."));
    log.record_library(data_dir);
    hits.submits += ledger.keys.len() as u64;
    hits.callbacks += ledger.callbacks.iter().filter(|sent| sent.status == Some(204)).count() as u64;
    hits.files += log.published.len() as u64;
    hits.jobs = ledger.tasks.len() as u64;
    hits.with_tasks += u64::from(ledger.tasks.iter().any(|task| task.ended.is_none()));
    if found.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    Err(format!("{at}:\n{}\n{output}", lines.join("\n")))
}

/// `DROPREEL_CUTS=5000` for the long run.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn power_cut_breaks_no_promise() {
    let total = env_number("DROPREEL_CUTS", 100);
    let start = Instant::now();
    let mut all = Hits::default();
    let mut left = total;
    while left > 0 {
        // In a third of the cuts the library has a disk of its own.
        for (two_disks, share) in [(false, ROUND * 2 / 3), (true, ROUND / 3 + 1)] {
            let cuts = share.min(left);
            left -= cuts;
            if cuts == 0 {
                continue;
            }
            let seed = rng(left).below(u64::MAX);
            let round = Round { seed, cuts, real_every: 8, two_disks, mutant: None };
            let hits = round.run().await.unwrap_or_else(|why| panic!("{round:?}: {why}"));
            all.cuts += hits.cuts;
            all.real += hits.real;
            all.jobs += hits.jobs;
            all.submits += hits.submits;
            all.callbacks += hits.callbacks;
            all.files += hits.files;
            all.with_tasks += hits.with_tasks;
        }
    }
    eprintln!("power: {all:?} in {:?}", start.elapsed());
    assert_eq!(all.cuts, total);
    assert!(all.real >= total / 10 && all.with_tasks >= total / 6, "too little happened: {all:?}");
    assert!(all.jobs >= total / 2 && all.callbacks > total && all.files > total, "{all:?}");
}

/// Points of the move of accepted files, from the creation of their folders to its record.
const MOVE: &[FailPoint] = &[
    FailPoint::ArchiveFoldersCreated,
    FailPoint::ArchiveRenamed,
    FailPoint::ArchiveTargetFlushed,
    FailPoint::ArchiveFlushed,
    FailPoint::MoveRecorded,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn files_of_many_folders_survive_a_power_cut_during_their_move() {
    for point in MOVE {
        cut_during_move(*point, None).await.unwrap_or_else(|why| panic!("{}: {why}", point.into_str()));
    }
}

/// Stops the daemon at a point of the move of twelve files, each in a folder of its own, and continues on a copy of its disks.
async fn cut_during_move(point: FailPoint, mutant: Option<&'static str>) -> Result<(), String> {
    const FILES: usize = 12;
    let mut harness = CrashHarness::set_up("", 1).await;
    // The database is on another disk: its commits flush no move.
    let mut disks = Disks::set_up(Some("drops"));
    place_data(&harness, &disks.data());
    for name in ["inbox", "accepted"] {
        std::fs::DirBuilder::new().mode(0o700).create(disks.data().join("../drops").join(name)).unwrap();
        std::os::unix::fs::symlink(Path::new("../drops").join(name), disks.data().join(name)).unwrap();
    }
    if let Some(mutant) = mutant {
        harness.rig.set_variable(mutants::VARIABLE, mutant);
    }
    harness.rig.set_variable("DROPREEL_FAIL_STOP_AT", &format!("{}:1", point.into_str()));
    harness.rig.start_daemon().await;
    harness.drop_folders(FILES);
    harness.rig.until_output(&format!("at {}", point.into_str())).await;
    let mut hits = Hits::default();
    let cut = Round { seed: 1, cuts: 1, real_every: 1, two_disks: true, mutant: None };
    harness.rig.unset_variable("DROPREEL_FAIL_STOP_AT");
    let at = format!("after cut at {}", point.into_str());
    if let Err(why) = cut.cut_for_real(&mut harness, &mut disks, &mut hits, &at).await {
        drop(harness);
        return Err(why);
    }
    let result = harness.finish(true).await;
    let kept = files_below(&disks.data().join("accepted")).len();
    result.and(if kept == FILES { Ok(()) } else { Err(format!("{kept} of {FILES} files are in accepted/")) })
}

/// Where a mutant shows.
#[derive(Clone, Copy, Debug)]
pub enum Shows {
    /// Under load, or only if the library has a disk of its own.
    UnderLoad { two_disks: bool },
    /// When the moves of accepted files are recorded.
    InMoves,
}

pub const MUTANTS: &[(&str, Shows)] = &[
    ("commit-without-flush", Shows::UnderLoad { two_disks: false }),
    ("no-file-flush", Shows::UnderLoad { two_disks: false }),
    ("no-folder-flush", Shows::UnderLoad { two_disks: true }),
    ("moves-unflushed", Shows::InMoves),
];

/// `DROPREEL_MUTANT` picks one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "ci/mutants runs this, on a copy of the repository that has the mutants"]
async fn mutants_break_promises_in_a_power_cut() {
    let only = std::env::var("DROPREEL_MUTANT").ok();
    for (mutant, shows) in MUTANTS {
        if only.as_deref().is_some_and(|only| only != *mutant) {
            continue;
        }
        let result = match *shows {
            Shows::UnderLoad { two_disks } => {
                let mutant = Some(*mutant);
                let round = Round { seed: 3, cuts: 60, real_every: u64::MAX, two_disks, mutant };
                round.run().await.map(drop)
            }
            Shows::InMoves => cut_during_move(FailPoint::MoveRecorded, Some(mutant)).await,
        };
        let why = result.err().unwrap_or_else(|| panic!("power cuts do not catch {mutant}"));
        let first = why.lines().nth(1).unwrap_or(&why).to_owned();
        let kinds: &[&str] = match *mutant {
            "commit-without-flush" => &["I1:", "I3:", "I6:", "I8:"],
            _ => &["I1:", "I9:"],
        };
        let expected = kinds.iter().any(|kind| first.starts_with(kind));
        assert!(why.starts_with("after cut ") && expected, "{why}");
        eprintln!("power: {mutant} is caught {}: {first}", why.lines().next().unwrap_or_default());
    }
}
