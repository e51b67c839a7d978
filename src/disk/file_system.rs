//! What a folder lies on: whether a database can be trusted to it, and how much room there is.

use std::path::Path;

use rustix::fs::StatVfsMountFlags;

use crate::disk::DiskError;

/// The file system under a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// Mounted read-only.
    pub read_only: bool,
    /// Lies on another machine: its name. Locks and flushes cannot be relied on there.
    pub network: Option<&'static str>,
    /// Free to this user, in bytes.
    pub free: u64,
}

/// Magic numbers of statfs(2) of file systems that lie on another machine.
const NETWORK: &[(u64, &str)] = &[
    (0x6969, "NFS"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB"),
    (0x517B, "SMB"),
    (0x0102_1997, "9P"),
    (0x564C, "NCP"),
    (0x5346_414F, "AFS"),
    (0x7375_7245, "Coda"),
    (0x00C3_6400, "Ceph"),
    (0x0BD0_0BD0, "Lustre"),
    (0x0116_1970, "GFS2"),
    (0x7461_636F, "OCFS2"),
];

/// Looks at what `folder` lies on.
///
/// # Errors
/// When the folder is not there or cannot be looked at.
pub fn examine(folder: &Path) -> Result<FileSystem, DiskError> {
    let kind = rustix::fs::statfs(folder).map_err(|error| DiskError::new(folder, error))?;
    let room = rustix::fs::statvfs(folder).map_err(|error| DiskError::new(folder, error))?;
    #[expect(clippy::cast_sign_loss, reason = "a bit pattern")]
    let magic = kind.f_type as u64 & 0xFFFF_FFFF;
    Ok(FileSystem {
        read_only: room.f_flag.contains(StatVfsMountFlags::RDONLY),
        network: NETWORK.iter().find(|(number, _)| *number == magic).map(|(_, name)| *name),
        free: room.f_bavail.saturating_mul(room.f_frsize),
    })
}

/// Which start of this machine it is: what was written since is in the kernel's memory even if a process died. `None`
/// where the kernel does not tell.
pub fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_this_machine_is_no_network() {
        let folder = tempfile::tempdir().unwrap();
        let found = examine(folder.path()).unwrap();
        assert_eq!((found.read_only, found.network), (false, None));
        assert!(found.free > 0);
        assert!(examine(&folder.path().join("nowhere")).is_err());
    }
}
