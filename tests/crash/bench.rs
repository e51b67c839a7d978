//! The bench: file systems of our own that can be cut off, filled, failed and pulled out. All of them lie in one
//! folder, and are gone with it, also after a panic; what a killed run left behind goes at the next start.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use dropreel::rng::Rng;

use crate::points::stage::Stage;

const PREFIX: &str = "dropreel-bench-";
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// Runs a program that is part of the bench itself. Without it nothing can be tested here, and that must be seen.
pub fn must(program: &str, arguments: &[&str]) {
    let reported = tell(program, arguments);
    assert!(
        reported.is_ok(),
        "this machine cannot hold the crash lab: `{program} {}`: {}\nIt needs root, loop devices, ext4, xfs with \
         reflinks and tmpfs (Debian: e2fsprogs, xfsprogs, mount).",
        arguments.join(" "),
        reported.unwrap_err()
    );
}

/// Runs a program; what it had to say if it failed.
pub fn tell(program: &str, arguments: &[&str]) -> Result<(), String> {
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let output = Command::new(program).args(arguments).env("PATH", path).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("a path of the bench is plain")
}

/// A folder for mounts and images.
pub struct Bench(PathBuf);

impl Bench {
    /// On disk: room for large files.
    pub fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    /// In memory if there is enough of it: what is flushed a thousand times need not wear out a disk.
    pub fn in_memory() -> Self {
        let memory = Path::new("/dev/shm");
        let room = rustix::fs::statvfs(memory).map_or(0, |found| found.f_bavail * found.f_frsize);
        if room > 4 << 30 { Self::below(memory) } else { Self::new() }
    }

    fn below(parent: &Path) -> Self {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(sweep);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Makes a folder in it.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// An empty ext4 disk as a file, in MiB.
    pub fn ext4(&self, name: &str, mib: u64) -> PathBuf {
        let image = self.image(name, mib);
        must("mkfs.ext4", &["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", text(&image)]);
        image
    }

    /// An empty xfs disk as a file, in MiB, on which files can be copied in an instant.
    pub fn xfs(&self, name: &str, mib: u64) -> PathBuf {
        let image = self.image(name, mib);
        must("mkfs.xfs", &["-q", "-f", "-m", "reflink=1", text(&image)]);
        image
    }

    fn image(&self, name: &str, mib: u64) -> PathBuf {
        let image = self.path(name);
        File::create(&image).unwrap().set_len(mib << 20).unwrap();
        image
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        release(&self.0);
    }
}

/// A file system that is mounted as long as this lives.
#[derive(Debug)]
pub struct Mount(Option<PathBuf>);

impl Mount {
    /// Mounts an image.
    pub fn image(image: &Path, at: &Path, options: &str) -> Self {
        std::fs::create_dir_all(at).unwrap();
        must("mount", &["-o", &format!("loop,{options}"), text(image), text(at)]);
        Self(Some(at.to_owned()))
    }

    /// Mounts an empty tmpfs, size in KiB.
    pub fn memory(at: &Path, kib: u64) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let options = format!("size={kib}k,mode=0700");
        must("mount", &["-t", "tmpfs", "-o", &options, "dropreel-bench", text(at)]);
        Self(Some(at.to_owned()))
    }

    /// Shows a folder at another place as well.
    pub fn bind(folder: &Path, at: &Path) -> Self {
        std::fs::create_dir_all(at).unwrap();
        must("mount", &["--bind", text(folder), text(at)]);
        Self(Some(at.to_owned()))
    }

    /// Where.
    pub fn at(&self) -> &Path {
        self.0.as_deref().expect("mounted")
    }

    /// Unmounts in order; nobody may be using it.
    pub fn unmount(mut self) {
        let at = self.0.take().expect("mounted");
        must("umount", &[text(&at)]);
    }

    /// Takes it out of the tree at once; who has files open there keeps them.
    pub fn pull(mut self) {
        let at = self.0.take().expect("mounted");
        must("umount", &["-l", text(&at)]);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Some(at) = self.0.take()
            && tell("umount", &[text(&at)]).is_err()
        {
            let _ = tell("umount", &["-l", text(&at)]);
        }
    }
}

/// Unmounts everything below a folder, the last mounted first, and removes it.
fn release(folder: &Path) {
    for at in mounts().iter().rev().filter(|at| at.starts_with(folder)) {
        let _ = tell("umount", &["-l", text(at)]);
    }
    let _ = std::fs::remove_dir_all(folder);
}

fn mounts() -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from).collect()
}

/// What runs that were killed have left behind.
fn sweep() {
    for parent in [std::env::temp_dir(), PathBuf::from("/dev/shm")] {
        for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner =
                name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
            if owner.is_some_and(|owner| !Path::new(&format!("/proc/{owner}")).exists()) {
                release(&entry.path());
            }
        }
    }
}

/// Puts the rig's data folder where the bench wants it. The folder is made and its parent flushed.
pub fn place_data(stage: &Stage, data: &Path) {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data).unwrap();
    File::open(data.parent().unwrap()).unwrap().sync_all().unwrap();
    let link = stage.rig.path("");
    let link = Path::new(text(&link).trim_end_matches('/'));
    std::os::unix::fs::symlink(data, link).unwrap();
}

/// Drops a file as somebody does who wants to be sure of it: flushed before it has its name, and after. An error
/// where there is no room: then nothing was dropped.
pub fn drop_flushed(stage: &mut Stage, name: &str, bytes: &[u8], jobs: Option<u32>) -> std::io::Result<()> {
    let inbox = stage.rig.path("inbox");
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
    // From here on it is the daemon's: flushed or not, it may be taken in.
    stage.log.record_drop(name, bytes, jobs);
    File::open(inbox)?.sync_all()
}

/// Many at once, each a bit different: what most of the cases here live with.
pub struct Load {
    words: &'static [&'static str],
    prefix: String,
    count: usize,
}

impl Load {
    /// Jobs with these words for the simulated provider, in turn.
    pub fn new(prefix: impl Into<String>, words: &'static [&'static str]) -> Self {
        Self { words, prefix: prefix.into(), count: 0 }
    }

    /// One more: a job, two jobs, lines, or a bad file.
    pub fn drop_one(&mut self, stage: &mut Stage) -> std::io::Result<()> {
        let (number, words) = (self.count, self.words[self.count % self.words.len()]);
        let name = format!("{}-{number:05}", self.prefix);
        let job = |name: &str| crate::points::stage::job_file(name, words, &[]);
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
        let wanted = u32::try_from(jobs.len()).ok().filter(|count| *count > 0);
        drop_flushed(stage, &format!("{name}.{ending}"), text.as_bytes(), wanted)?;
        for job in jobs {
            stage.wanted.insert(job, &["succeeded"]);
        }
        Ok(())
    }
}

/// `DROPREEL_CUTS=5000` and the like.
pub fn wish(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

/// Seeds differ from run to run only if asked: `DROPREEL_SEED=7`.
pub fn rng(salt: u64) -> Rng {
    Rng::seeded(wish("DROPREEL_SEED", 1).wrapping_mul(1_000_003).wrapping_add(salt))
}
