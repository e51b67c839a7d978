//! Changes one value in a sidecar, and keeps every other byte of it.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use serde_json::value::RawValue;
use thiserror::Error;

use crate::fs::{FsError, flush_folder, write_atomically};
use crate::jobfile::rewrite::{SetError, with_value};
use crate::library::Library;
use crate::library::bucket::BucketError;

/// Why a sidecar was not changed. It is as it was.
#[derive(Debug, Error)]
pub enum SidecarError {
    /// It cannot be read or written.
    #[error(transparent)]
    File(#[from] FsError),
    /// The bucket failed.
    #[error(transparent)]
    Bucket(#[from] BucketError),
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
    /// Sets the values of these keys in the sidecar of the file at `relative`, durably and at once: whoever reads it, and who
    /// comes after a crash, finds the old sidecar or the new one. `null` is not added where there is no such key. Returns
    /// false if there is no sidecar: a user may have moved it away with its file.
    ///
    /// # Errors
    /// See [`SidecarError`]. A sidecar of another owner than `owner` is never changed.
    pub fn set_in_sidecar(
        &self,
        relative: &str,
        owner: &str,
        values: &[(&str, Box<RawValue>)],
    ) -> Result<bool, SidecarError> {
        let _changing = self.sidecar_change.lock();
        let path = self.sidecar_path(relative);
        match path.symlink_metadata() {
            Ok(found) if found.is_file() => {}
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(FsError::new(&path, error).into()),
        }
        let old = std::fs::read_to_string(&path).map_err(|error| FsError::new(&path, error))?;
        let new = with_values(&old, relative, owner, values)?;
        if new != old {
            write_atomically(&path, new.as_bytes(), self.file_mode)?;
            flush_folder(path.parent().unwrap_or(&self.root))?;
        }
        Ok(true)
    }

    /// [`set_in_sidecar`](Self::set_in_sidecar) of an object in the bucket of this address. Returns false too if that is not
    /// the bucket in use.
    ///
    /// # Errors
    /// See [`SidecarError`].
    pub async fn set_in_uploaded_sidecar(
        &self,
        bucket: &str,
        relative: &str,
        owner: &str,
        values: &[(&str, Box<RawValue>)],
    ) -> Result<bool, SidecarError> {
        let Some(bucket) = self.bucket_at(bucket) else { return Ok(false) };
        let Some(old) = bucket.sidecar(relative).await? else { return Ok(false) };
        let old = String::from_utf8_lossy(&old);
        let new = with_values(&old, relative, owner, values)?;
        if new != old {
            bucket.put_sidecar(relative, new.into_bytes()).await?;
        }
        Ok(true)
    }
}

/// The sidecar's text with these values.
fn with_values(
    old: &str,
    relative: &str,
    owner: &str,
    values: &[(&str, Box<RawValue>)],
) -> Result<String, SidecarError> {
    let wrong = |why: String| SidecarError::NotASidecar { path: format!("{relative}.json"), why };
    if !old.contains(owner) {
        return Err(wrong(format!("it does not name job {owner}")));
    }
    let known: BTreeMap<String, &RawValue> =
        serde_json::from_str(old).map_err(|error| wrong(error.to_string()))?;
    let mut new = old.to_owned();
    for (key, value) in values {
        let is_known = match known.get(*key) {
            // The same labels may be written with other white space.
            Some(old) => is_same(old, value),
            None => value.get() == "null",
        };
        if !is_known {
            new = with_value(&new, key, value).map_err(|error: SetError| wrong(error.to_string()))?;
        }
    }
    Ok(new)
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
            let value = RawValue::from_string(value.to_owned()).unwrap();
            library.set_in_sidecar("a.mp4", "job-1", &[("rating", value)])
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
