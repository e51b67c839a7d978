//! Power cuts: the data folder lies on ext4 in a file, the file on xfs, where it is copied in an instant while the
//! daemon works. The copy is what a disk that keeps order and has no memory of its own would hold after a cut.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dropreel::sandbox::ledger::Ledger;
use rustix::process::Signal;

use crate::bench::{Bench, Load, Mount, must, place_data, rng, text, wish};
use crate::points::stage::Stage;
use crate::support::checker::{Evidence, HarnessLog, When, check};
use crate::support::mutants;

const LOAD: &[&str] = &[
    "",
    "callback=copies:3",
    "submit=lost",
    "media=drip:200KiB size=64KiB",
    "outputs=2",
    "callback=copies:25",
    "submit=503",
];
/// Cuts in one round on one disk, which must not fill up.
const ROUND: u64 = 100;

/// Cuts on one folder, some of which the daemon does not survive.
#[derive(Clone, Copy, Debug)]
struct Round {
    seed: u64,
    cuts: u64,
    /// One cut in this many is real: the copy becomes the disk.
    real_every: u64,
    /// The library has a disk of its own, which is flushed by nothing but what happens in it.
    two_disks: bool,
    mutant: Option<&'static str>,
}

/// How much happened: without it, that nothing went wrong means nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Hits {
    cuts: u64,
    real: u64,
    jobs: u64,
    /// Submits, acknowledged callbacks and stored files that had to be kept at a cut, summed over all cuts.
    submits: u64,
    callbacks: u64,
    files: u64,
    /// Cuts with a task at the provider.
    restless: u64,
}

/// The disks, what they lie on, and where they are mounted.
struct Disks {
    mounted: Vec<Mount>,
    images: Vec<(PathBuf, PathBuf)>,
    look: PathBuf,
    _backing: Mount,
    _bench: Bench,
}

impl Disks {
    fn set_up(two: bool) -> Self {
        let bench = Bench::in_memory();
        let backing = Mount::image(&bench.xfs("xfs.img", 2048), &bench.path("backing"), "noatime");
        let (data, look) = (bench.path("disk"), bench.folder("look"));
        let mut disks =
            Self { mounted: Vec::new(), images: Vec::new(), look, _backing: backing, _bench: bench };
        disks.add("data.img", &data);
        if two {
            std::fs::create_dir(data.join("data")).unwrap();
            disks.add("videos.img", &data.join("data/videos"));
        }
        disks
    }

    fn add(&mut self, name: &str, at: &Path) {
        let image = self._bench.ext4(&format!("backing/{name}"), 512);
        self.mounted.push(Mount::image(&image, at, "noatime"));
        std::fs::set_permissions(at, std::fs::Permissions::from_mode(0o700)).unwrap();
        std::fs::File::open(at).unwrap().sync_all().unwrap();
        self.images.push((image, at.to_owned()));
    }

    fn data(&self) -> PathBuf {
        self.images[0].1.join("data")
    }

    /// As the disks are at this moment.
    fn copy(&self) {
        for (image, _) in &self.images {
            must("cp", &["--reflink=always", text(image), text(&image.with_extension("cut"))]);
        }
    }

    /// Mounts the copies beside the originals, and has them looked at.
    fn look_at_copy<T>(&self, look: impl FnOnce(&Path) -> T) -> T {
        let mut mounted = Vec::new();
        for (image, at) in &self.images {
            let below = at.strip_prefix(&self.images[0].1).unwrap();
            mounted.push(Mount::image(&image.with_extension("cut"), &self.look.join(below), "noatime"));
        }
        let seen = look(&self.look.join("data"));
        for mount in mounted.into_iter().rev() {
            mount.unmount();
        }
        for (image, _) in &self.images {
            std::fs::remove_file(image.with_extension("cut")).unwrap();
        }
        seen
    }

    /// The copies take the place of the originals.
    fn fall_back(&mut self) {
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

/// The book as it was before, as far as it binds the daemon; as it is now, as far as it tells what there is.
fn promised(before: Ledger, now: Ledger) -> Ledger {
    Ledger { requests: before.requests, keys: before.keys, callbacks: before.callbacks, ..now }
}

impl Round {
    /// Plays it. How much happened, or what was wrong.
    async fn run(self) -> Result<Hits, String> {
        let mut stage = Stage::set_up("", self.seed).await;
        let mut disks = Disks::set_up(self.two_disks);
        place_data(&stage, &disks.data());
        if let Some(mutant) = self.mutant {
            stage.rig.set_variable(mutants::VARIABLE, mutant);
        }
        stage.rig.start_daemon().await;
        let mut load = Load::new("power", LOAD);
        let mut hits = Hits::default();
        let played = self.play(&mut stage, &mut disks, &mut load, &mut hits).await;
        let played = match played {
            Ok(()) => stage.finish(true).await,
            // First the daemon, then its disk.
            Err(why) => {
                drop(stage);
                Err(why)
            }
        };
        played.map(|()| hits)
    }

    async fn play(
        self,
        stage: &mut Stage,
        disks: &mut Disks,
        load: &mut Load,
        hits: &mut Hits,
    ) -> Result<(), String> {
        for cut in 1..=self.cuts {
            for _ in 0..=stage.rng.below(3) {
                load.drop_one(stage).map_err(|error| format!("no room for a drop: {error}"))?;
            }
            tokio::time::sleep(Duration::from_millis(stage.rng.below(160))).await;
            if let Some(status) = stage.rig.exit_status() {
                return Err(format!("the daemon ended with {status}:\n{}", stage.rig.output()));
            }
            let at = format!("after cut {cut} of {self:?}");
            if cut % self.real_every == 0 {
                self.cut_for_real(stage, disks, hits, &at).await?;
                hits.real += 1;
            } else if self.two_disks {
                // Two disks cannot be copied in one instant: the daemon is paused meanwhile.
                stage.rig.signal(Signal::STOP);
                disks.copy();
                let ledger = stage.rig.sandbox.ledger();
                stage.rig.signal(Signal::CONT);
                self.look(stage, disks, ledger, hits, &at)?;
            } else {
                let before = stage.rig.sandbox.ledger();
                disks.copy();
                let ledger = promised(before, stage.rig.sandbox.ledger());
                self.look(stage, disks, ledger, hits, &at)?;
            }
            hits.cuts += 1;
        }
        Ok(())
    }

    fn look(
        self,
        stage: &mut Stage,
        disks: &Disks,
        ledger: Ledger,
        hits: &mut Hits,
        at: &str,
    ) -> Result<(), String> {
        let output = stage.rig.output();
        let log = &mut stage.log;
        disks.look_at_copy(|data| verdict(data, &ledger, log, &output, hits, at))
    }

    /// Nothing the daemon does after the copy was made may be seen by anybody: it is paused until it is dead.
    async fn cut_for_real(
        self,
        stage: &mut Stage,
        disks: &mut Disks,
        hits: &mut Hits,
        at: &str,
    ) -> Result<(), String> {
        stage.rig.signal(Signal::STOP);
        disks.copy();
        stage.rig.kill();
        disks.fall_back();
        let ledger = stage.rig.sandbox.ledger();
        let output = stage.rig.output();
        verdict(&disks.data(), &ledger, &mut stage.log, &output, hits, at)?;
        stage.rig.start_daemon().await;
        Ok(())
    }
}

/// What the checker says of a data folder as a cut has left it.
fn verdict(
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
    hits.restless += u64::from(ledger.tasks.iter().any(|task| task.ended.is_none()));
    if found.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    Err(format!("{at}:\n{}\n{output}", lines.join("\n")))
}

/// `DROPREEL_CUTS=5000` for the long run.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_power_cut_takes_back_what_was_promised() {
    let wanted = wish("DROPREEL_CUTS", 100);
    let start = Instant::now();
    let mut all = Hits::default();
    let mut left = wanted;
    while left > 0 {
        // A third of the cuts with the library on a disk of its own.
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
            all.restless += hits.restless;
        }
    }
    eprintln!("power: {all:?} in {:?}", start.elapsed());
    assert_eq!(all.cuts, wanted);
    assert!(all.real >= wanted / 10 && all.restless >= wanted / 6, "too little happened: {all:?}");
    assert!(all.jobs >= wanted / 2 && all.callbacks > wanted && all.files > wanted, "{all:?}");
}

/// Each mutant, and whether the library needs a disk of its own to show it.
pub const MUTANTS: &[(&str, bool)] =
    &[("commit-without-flush", false), ("no-file-flush", false), ("no-folder-flush", true)];

/// `DROPREEL_MUTANT` picks one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "ci/mutants runs this, on a copy of the repository that has the mutants"]
async fn mutants_lose_what_was_promised_in_a_power_cut() {
    let only = std::env::var("DROPREEL_MUTANT").ok();
    for (mutant, two_disks) in MUTANTS {
        if only.as_deref().is_some_and(|only| only != *mutant) {
            continue;
        }
        let round =
            Round { seed: 3, cuts: 60, real_every: u64::MAX, two_disks: *two_disks, mutant: Some(mutant) };
        let seen = round.run().await;
        let why = seen.err().unwrap_or_else(|| panic!("power cuts do not catch {mutant}"));
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
