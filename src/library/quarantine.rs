//! Quarantine: downloads that are not what they should be, kept as evidence.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::failpoints::{self, FailPoint};
use crate::fs::{
    FsError, create_durably, create_private_folder, is_cross_device, numbered, open_folder,
    rename_no_replace, write_durably,
};
use crate::library::Library;
use crate::library::part::Part;

/// How much of a download is copied to a quarantine on another file system. The beginning is enough as evidence.
const COPY_BYTES: u64 = 16 << 20;

impl Library {
    /// Moves a part to the quarantine folder under `name` or the next free one, and writes `evidence` beside it.
    ///
    /// # Errors
    /// When it cannot be moved or the evidence cannot be written.
    pub fn quarantine(
        &self,
        part: Part,
        quarantine: &Path,
        name: &str,
        evidence: &[u8],
    ) -> Result<PathBuf, FsError> {
        create_private_folder(quarantine)?;
        let (incoming, folder) = (open_folder(&self.incoming())?, open_folder(quarantine)?);
        for number in 0.. {
            let free_name = numbered(name, number);
            let path = quarantine.join(&free_name);
            let from = (&incoming, part.file_name()?);
            let moved = match rename_no_replace(from, (&folder, Path::new(&free_name)), &path) {
                Err(error) if is_cross_device(&error) => copy_beginning(&part, &path),
                moved => moved,
            };
            match moved {
                Err(FsError::AlreadyExists(_)) => continue,
                moved => moved?,
            }
            failpoints::hit(FailPoint::QuarantineMoved);
            write_durably(&quarantine.join(format!("{free_name}.evidence.json")), evidence)?;
            failpoints::hit(FailPoint::QuarantineFlushed);
            return Ok(path);
        }
        Err(FsError::AlreadyExists(quarantine.join(name)))
    }
}

fn copy_beginning(part: &Part, path: &Path) -> Result<(), FsError> {
    let io = |error| FsError::new(part.path(), error);
    let mut bytes = Vec::new();
    part.open()?.take(COPY_BYTES).read_to_end(&mut bytes).map_err(io)?;
    create_durably(path, &bytes)?;
    std::fs::remove_file(part.path()).map_err(io)
}
