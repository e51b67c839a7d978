//! The number of an inbox among those of the daemons that share a database: each moves the job files of its own.

use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;

use crate::fs::{FsError, write_durably};
use crate::rng::Rng;

/// In the data folder.
const FILE: &str = "inbox_number";
/// An advisory lock of the server has such a number.
const MAX_NUMBER: u64 = 0x7fff_ffff;

/// The number in the file of the folder, which is drawn at the first start.
///
/// # Errors
/// When the file can be neither read nor written.
pub(crate) fn inbox_number(data_dir: &Path, rng: &Rng) -> Result<i32, FsError> {
    let path = data_dir.join(FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            // With another number, what waits in the inbox could be taken for new.
            let damaged = |_| std::io::Error::new(ErrorKind::InvalidData, "is damaged: it holds no number");
            return text.trim().parse().map_err(|error| FsError::new(&path, damaged(error)));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(FsError::new(&path, error)),
    }
    let number = rng.below(MAX_NUMBER);
    write_durably(&path, format!("{number}\n").as_bytes())?;
    // A command may run as root.
    if let Ok(folder) = data_dir.metadata() {
        let _ = lchown(&path, Some(folder.uid()), Some(folder.gid()));
    }
    Ok(i32::try_from(number).unwrap_or(i32::MAX))
}
