//! File systems for the crash tests, which can be filled, made to fail and unmounted in use. All are below one folder and
//! are removed with it, also after a panic. The next run removes what a killed run left behind.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use dropreel::rng::Rng;

use crate::points::crash_harness::CrashHarness;

const PREFIX: &str = "dropreel-scratch-";
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// Runs a program that the tests need, and panics if it fails.
pub fn run_or_panic(program: &str, arguments: &[&str]) {
    let reported = run_program(program, arguments);
    assert!(
        reported.is_ok(),
        "this machine cannot run the crash tests: `{program} {}`: {}\nIt needs root, loop devices, ext4, xfs with \
         reflinks and tmpfs (Debian: e2fsprogs, xfsprogs, mount).",
        arguments.join(" "),
        reported.unwrap_err()
    );
}

/// Runs a program. The error is its standard error.
pub fn run_program(program: &str, arguments: &[&str]) -> Result<(), String> {
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let output = Command::new(program).args(arguments).env("PATH", path).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("the paths of the tests are UTF-8")
}

/// A folder for mounts and images.
pub struct ScratchFolder(PathBuf);

impl ScratchFolder {
    /// On disk, for large files.
    pub fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    /// In memory if there is enough of it: thousands of flushes are faster there and do not wear out a disk.
    pub fn in_memory() -> Self {
        let memory = Path::new("/dev/shm");
        let room = rustix::fs::statvfs(memory).map_or(0, |found| found.f_bavail * found.f_frsize);
        if room > 4 << 30 { Self::below(memory) } else { Self::new() }
    }

    fn below(parent: &Path) -> Self {
        static CLEANED: Once = Once::new();
        CLEANED.call_once(remove_leftovers);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Creates a folder in it.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// Creates an empty ext4 image of this many MiB.
    pub fn ext4(&self, name: &str, mib: u64) -> PathBuf {
        let image = self.image(name, mib);
        run_or_panic(
            "mkfs.ext4",
            &["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", text(&image)],
        );
        image
    }

    /// Creates an empty xfs image of this many MiB. Files on it can be copied by reflink.
    pub fn xfs(&self, name: &str, mib: u64) -> PathBuf {
        let image = self.image(name, mib);
        run_or_panic("mkfs.xfs", &["-q", "-f", "-m", "reflink=1", text(&image)]);
        image
    }

    fn image(&self, name: &str, mib: u64) -> PathBuf {
        let image = self.path(name);
        File::create(&image).unwrap().set_len(mib << 20).unwrap();
        image
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        unmount_and_remove(&self.0);
    }
}

/// A mounted file system. Dropping it unmounts it.
#[derive(Debug)]
pub struct Mount(Option<PathBuf>);

impl Mount {
    /// Mounts an image.
    pub fn image(image: &Path, at: &Path, options: &str) -> Self {
        std::fs::create_dir_all(at).unwrap();
        run_or_panic("mount", &["-o", &format!("loop,{options}"), text(image), text(at)]);
        Self(Some(at.to_owned()))
    }

    /// Mounts an empty tmpfs, size in KiB.
    pub fn memory(at: &Path, kib: u64) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let options = format!("size={kib}k,mode=0700");
        run_or_panic("mount", &["-t", "tmpfs", "-o", &options, "dropreel-scratch", text(at)]);
        Self(Some(at.to_owned()))
    }

    /// Mounts a folder at a second place.
    pub fn bind(folder: &Path, at: &Path) -> Self {
        std::fs::create_dir_all(at).unwrap();
        run_or_panic("mount", &["--bind", text(folder), text(at)]);
        Self(Some(at.to_owned()))
    }

    /// The mount point.
    pub fn at(&self) -> &Path {
        self.0.as_deref().expect("mounted")
    }

    /// Unmounts it. No process may be using it.
    pub fn unmount(mut self) {
        let at = self.0.take().expect("mounted");
        run_or_panic("umount", &[text(&at)]);
    }

    /// Detaches it at once. Processes keep the files that they have open there.
    pub fn detach(mut self) {
        let at = self.0.take().expect("mounted");
        run_or_panic("umount", &["-l", text(&at)]);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Some(at) = self.0.take()
            && run_program("umount", &[text(&at)]).is_err()
        {
            let _ = run_program("umount", &["-l", text(&at)]);
        }
    }
}

/// Unmounts everything below a folder, the last mounted first, and removes it.
fn unmount_and_remove(folder: &Path) {
    for at in mounts().iter().rev().filter(|at| at.starts_with(folder)) {
        let _ = run_program("umount", &["-l", text(at)]);
    }
    let _ = std::fs::remove_dir_all(folder);
}

fn mounts() -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from).collect()
}

/// Removes what killed runs left behind.
fn remove_leftovers() {
    for parent in [std::env::temp_dir(), PathBuf::from("/dev/shm")] {
        for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner =
                name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
            if owner.is_some_and(|owner| !Path::new(&format!("/proc/{owner}")).exists()) {
                unmount_and_remove(&entry.path());
            }
        }
    }
}

/// Creates the rig's data folder at `data`, flushes its parent, and links the rig to it.
pub fn place_data(harness: &CrashHarness, data: &Path) {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data).unwrap();
    File::open(data.parent().unwrap()).unwrap().sync_all().unwrap();
    let link = harness.rig.path("");
    let link = Path::new(text(&link).trim_end_matches('/'));
    std::os::unix::fs::symlink(data, link).unwrap();
}

/// Drops a file that must survive a power cut: flushes it before the rename, and the folder after it. After an error
/// nothing was dropped.
pub fn drop_flushed(
    harness: &mut CrashHarness,
    name: &str,
    bytes: &[u8],
    jobs: Option<u32>,
) -> std::io::Result<()> {
    let inbox = harness.rig.path("inbox");
    let unfinished = inbox.join(format!(".{name}"));
    let written = File::create(&unfinished).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(error) = written {
        let _ = std::fs::remove_file(&unfinished);
        return Err(error);
    }
    std::fs::rename(unfinished, inbox.join(name))?;
    // The daemon may ingest it from now on, so it counts as dropped even if the flush fails.
    harness.log.record_drop(name, bytes, jobs);
    File::open(inbox)?.sync_all()
}

/// A stream of job files of several kinds.
pub struct Load {
    faults: &'static [&'static str],
    prefix: String,
    count: usize,
}

impl Load {
    /// Files whose jobs have these faults in turn.
    pub fn new(prefix: impl Into<String>, faults: &'static [&'static str]) -> Self {
        Self { faults, prefix: prefix.into(), count: 0 }
    }

    /// Drops the next file: one job, two jobs, lines, or an invalid file.
    pub fn drop_one(&mut self, harness: &mut CrashHarness) -> std::io::Result<()> {
        let (number, faults) = (self.count, self.faults[self.count % self.faults.len()]);
        let name = format!("{}-{number:05}", self.prefix);
        let job = |name: &str| crate::points::crash_harness::job_file(name, faults, &[]);
        let (ending, text, jobs) = match number % 6 {
            3 => {
                let text = format!("[{},{}]", job(&format!("{name}-a")), job(&format!("{name}-b")));
                ("json", text, vec![format!("{name}-a"), format!("{name}-b")])
            }
            4 => ("json", format!(r#"{{"model": {number}}}"#), vec![]),
            5 => ("jsonl", format!("{}\n", job(&name)), vec![name.clone()]),
            _ => ("json", job(&name), vec![name.clone()]),
        };
        self.count += 1;
        let expected = u32::try_from(jobs.len()).ok().filter(|count| *count > 0);
        drop_flushed(harness, &format!("{name}.{ending}"), text.as_bytes(), expected)?;
        for job in jobs {
            harness.expected.insert(job, &["succeeded"]);
        }
        Ok(())
    }
}

/// A number from the environment, such as `DROPREEL_CUTS=5000`.
pub fn env_number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Random numbers for this test. Every run has the same ones unless `DROPREEL_SEED` is set.
pub fn rng(salt: u64) -> Rng {
    Rng::seeded(env_number("DROPREEL_SEED", 1).wrapping_mul(1_000_003).wrapping_add(salt))
}
