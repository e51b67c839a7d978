//! The host that a measurement ran on, as the tables name it.

use std::fmt;
use std::path::Path;

use crate::harness;

/// What times depend on.
pub struct Host {
    /// Processor, its extensions for SHA-256, and cores: what tells hosts apart.
    pub name: String,
    disk: String,
    kernel: String,
}

impl Host {
    pub fn this() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let info = read("/proc/cpuinfo");
        let field = |name: &str| {
            let line = info.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(": ")).map_or("", |(_, value)| value.trim())
        };
        let sha = field("flags").split(' ').any(|flag| flag == "sha_ni");
        let cores = info.lines().filter(|line| line.starts_with("processor")).count();
        let name = format!(
            "{}, SHA extensions: {}, {cores} cores",
            field("model name"),
            if sha { "yes" } else { "no" }
        );
        let kernel = read("/proc/sys/kernel/osrelease");
        let number = kernel.split('-').next().unwrap_or_default().trim();
        Self { name, disk: disk(Path::new(env!("CARGO_TARGET_TMPDIR"))), kernel: format!("Linux {number}") }
    }
}

/// The line that begins the tables of a host.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "On **{}**, {}, {}:", self.name, self.disk, self.kernel)
    }
}

/// The file system and the device of a folder: `ext4 on vda`.
fn disk(folder: &Path) -> String {
    let mut command = std::process::Command::new("df");
    let text = harness::run(command.arg("--output=fstype,source").arg(folder));
    let mut words = text.lines().nth(1).unwrap_or_default().split_whitespace();
    let (kind, device) = (words.next().unwrap_or("?"), words.next().unwrap_or("?"));
    format!("{kind} on {}", device.trim_start_matches("/dev/"))
}
