//! The number of an inbox among those of the daemons that share a database: each moves the job files of its own.

use std::io::ErrorKind;
use std::path::Path;

use crate::fs::{FsError, write_durably};
use crate::rng::Rng;

/// In the data folder.
const FILE: &str = "inbox_number";
/// JSON and SQL have these numbers exactly.
const MAX_NUMBER: u64 = 1 << 53;

/// The number in the file of the folder, which is drawn at the first start.
///
/// # Errors
/// When the file can be neither read nor written.
pub(super) fn inbox_number(data_dir: &Path, rng: &Rng) -> Result<i64, FsError> {
    let path = data_dir.join(FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            if let Ok(number) = text.trim().parse() {
                return Ok(number);
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(FsError::new(&path, error)),
    }
    // Files that were left in the inbox under another number are read again, and found in the database by their content.
    let number = rng.below(MAX_NUMBER) + 1;
    write_durably(&path, format!("{number}\n").as_bytes())?;
    Ok(i64::try_from(number).unwrap_or(i64::MAX))
}
