//! The header that names the data folder of a daemon: commands send that of their own configuration, so that the daemon of
//! another folder does not carry them out.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use url::form_urlencoded;

/// The name of the header.
pub const DATA_DIR_HEADER: &str = "dropreel-data-dir";

/// A data folder, as a header names it: `path=%2Fsrv%2Freel&id=2049-131`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDir {
    /// As configured, absolute.
    pub path: PathBuf,
    /// Device and inode. `None` if it is not there or may not be examined.
    id: Option<String>,
}

impl DataDir {
    /// The folder at this path.
    pub fn of(path: &Path) -> Self {
        let found = std::fs::metadata(path).ok();
        Self { path: path.to_owned(), id: found.map(|found| format!("{}-{}", found.dev(), found.ino())) }
    }

    /// Reads a header; `None` if another version wrote it.
    pub fn from_header(value: &[u8]) -> Option<Self> {
        let member = |name: &str| {
            let found = form_urlencoded::parse(value).find(|(found, _)| found == name);
            found.map(|(_, value)| value.into_owned())
        };
        Some(Self { path: member("path")?.into(), id: member("id") })
    }

    /// The value of the header.
    pub fn to_header(&self) -> String {
        let encode = |bytes: &[u8]| form_urlencoded::byte_serialize(bytes).collect::<String>();
        let path = encode(self.path.as_os_str().as_bytes());
        match &self.id {
            Some(id) => format!("path={path}&id={}", encode(id.as_bytes())),
            None => format!("path={path}"),
        }
    }

    /// Whether both are the same folder: by its path, which is all that is known of one on another machine, or by links.
    pub fn is_same(&self, other: &Self) -> bool {
        self.path == other.path || self.id.is_some() && self.id == other.id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_is_recognized_by_its_path_or_through_a_link() {
        let root = tempfile::tempdir().unwrap();
        let (one, other) = (root.path().join("春 & eins"), root.path().join("other"));
        let link = root.path().join("link");
        std::fs::create_dir(&one).unwrap();
        std::fs::create_dir(&other).unwrap();
        std::os::unix::fs::symlink(&one, &link).unwrap();
        let daemon = DataDir::from_header(DataDir::of(&one).to_header().as_bytes()).unwrap();
        assert_eq!(daemon, DataDir::of(&one));
        assert!(daemon.is_same(&DataDir::of(&link)));
        assert!(!daemon.is_same(&DataDir::of(&other)));
        let missing = DataDir::of(&root.path().join("missing"));
        assert!(!daemon.is_same(&missing) && missing.is_same(&missing));
        let unknown = DataDir::from_header(missing.to_header().as_bytes()).unwrap();
        assert!(!unknown.is_same(&DataDir::of(&root.path().join("missing too"))));
        assert_eq!(DataDir::from_header(b"v2"), None);
    }
}
