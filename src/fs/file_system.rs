//! Facts about the file system of a folder: read-only, on the network, free space.

use std::path::Path;

use rustix::fs::StatVfsMountFlags;

use crate::fs::FsError;

/// The file system that holds a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// Mounted read-only.
    pub read_only: bool,
    /// The name of a network file system. Its locks and flushes cannot be relied on.
    pub network: Option<&'static str>,
    /// Bytes available to this user.
    pub free_bytes: u64,
}

/// Network file systems by their statfs(2) magic number.
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

impl FileSystem {
    /// The file system that holds `folder`.
    ///
    /// # Errors
    /// When the folder does not exist or may not be examined.
    pub fn of(folder: &Path) -> Result<Self, FsError> {
        let stat = rustix::fs::statfs(folder).map_err(|error| FsError::new(folder, error))?;
        let mount = rustix::fs::statvfs(folder).map_err(|error| FsError::new(folder, error))?;
        #[expect(clippy::cast_sign_loss, reason = "a bit pattern")]
        let magic = stat.f_type as u64 & 0xFFFF_FFFF;
        Ok(Self {
            read_only: mount.f_flag.contains(StatVfsMountFlags::RDONLY),
            network: NETWORK.iter().find(|(number, _)| *number == magic).map(|(_, name)| *name),
            free_bytes: mount.f_bavail.saturating_mul(mount.f_frsize),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_folder_is_local_and_writable() {
        let folder = tempfile::tempdir().unwrap();
        let found = FileSystem::of(folder.path()).unwrap();
        assert_eq!((found.read_only, found.network), (false, None));
        assert!(found.free_bytes > 0);
        assert!(FileSystem::of(&folder.path().join("nowhere")).is_err());
    }
}
