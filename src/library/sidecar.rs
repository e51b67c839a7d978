//! Changes one value in a sidecar, and keeps every other byte of it.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use serde_json::value::RawValue;
use thiserror::Error;

use crate::fs::{FsError, flush_folder, write_atomically};
use crate::jobfile::rewrite::{SetError, with_value};
use crate::library::Library;

/// Why a sidecar was not changed. It is as it was.
#[derive(Debug, Error)]
pub enum SidecarError {
    /// It cannot be read or written.
    #[error(transparent)]
    File(#[from] FsError),
    /// Somebody has written something else into it.
    #[error("the sidecar {path} is not as dropreel wrote it: {why}")]
    NotASidecar {
        /// Its path below the library.
        path: String,
        /// Why.
        why: String,
    },
}

impl Library {
    /// Sets the value of `key` in the sidecar of the file at `relative`, durably: after a crash the sidecar is the old one or
    /// the new one. `null` is not added where there is no such key. Returns false if there is no sidecar: a user may have moved it away with its file.
    ///
    /// # Errors
    /// See [`SidecarError`]. A sidecar of another owner than `owner` is never changed.
    pub fn set_in_sidecar(
        &self,
        relative: &str,
        owner: &str,
        key: &str,
        value: &RawValue,
    ) -> Result<bool, SidecarError> {
        let _changing = self.sidecar_change.lock();
        let path = self.sidecar_path(relative);
        match path.symlink_metadata() {
            Ok(found) if found.is_file() => {}
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(FsError::new(&path, error).into()),
        }
        let wrong = |why: String| SidecarError::NotASidecar { path: format!("{relative}.json"), why };
        let old = std::fs::read_to_string(&path).map_err(|error| FsError::new(&path, error))?;
        if !old.contains(owner) {
            return Err(wrong(format!("it does not name job {owner}")));
        }
        let known: BTreeMap<String, &RawValue> =
            serde_json::from_str(&old).map_err(|error| wrong(error.to_string()))?;
        if value.get() == "null" && !known.contains_key(key) {
            return Ok(true);
        }
        // The same labels may be written with other white space.
        if known.get(key).is_some_and(|old| is_same(old, value)) {
            return Ok(true);
        }
        let new = with_value(&old, key, value).map_err(|error: SetError| wrong(error.to_string()))?;
        if new != old {
            write_atomically(&path, new.as_bytes(), self.file_mode)?;
            flush_folder(path.parent().unwrap_or(&self.root))?;
        }
        Ok(true)
    }
}

fn is_same(one: &RawValue, other: &RawValue) -> bool {
    let parse = |value: &RawValue| serde_json::from_str::<serde_json::Value>(value.get()).ok();
    parse(one).is_some_and(|value| Some(value) == parse(other))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::rng::Rng;
    use crate::settings::LibraryMode;

    #[test]
    fn value_is_set_in_an_own_sidecar_only_and_the_rest_is_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("videos");
        let library = Library::open(&root, LibraryMode::Private, folder.path(), &Rng::seeded(1)).unwrap();
        let set = |value: &str| {
            library.set_in_sidecar(
                "a.mp4",
                "job-1",
                "rating",
                &RawValue::from_string(value.to_owned()).unwrap(),
            )
        };
        assert!(!set("4").unwrap(), "nothing is made");
        let sidecar = root.join("a.mp4.json");
        std::fs::write(&sidecar, "{\n  \"job\": \"job-1\",\n  \"x\": 1.10\n}\n").unwrap();
        assert!(set("null").unwrap());
        assert!(!std::fs::read_to_string(&sidecar).unwrap().contains("rating"));
        assert!(set("4").unwrap());
        let read = || std::fs::read_to_string(&sidecar).unwrap();
        assert_eq!(read(), "{\n  \"job\": \"job-1\",\n  \"x\": 1.10,\"rating\":4\n}\n");
        assert_eq!(sidecar.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(set("null").unwrap());
        assert_eq!(read(), "{\n  \"job\": \"job-1\",\n  \"x\": 1.10,\"rating\":null\n}\n");
        for foreign in ["{\"job\": \"job-2\"}", "job-1, once"] {
            std::fs::write(&sidecar, foreign).unwrap();
            assert!(matches!(set("4"), Err(SidecarError::NotASidecar { .. })), "{foreign}");
            assert_eq!(read(), foreign);
        }
        std::fs::remove_file(&sidecar).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", &sidecar).unwrap();
        assert!(!set("4").unwrap(), "a link is not followed");
    }
}
