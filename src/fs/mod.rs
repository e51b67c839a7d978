//! File system primitives: durable writes, renames that never replace, private folders, locks.
//!
//! Only this module renames and flushes. All calls block; async code runs them on a blocking thread. A name appears
//! only after its content is on disk: flush the file, rename it, flush the folder. Renaming before the flush would
//! leave an empty file after a power cut.

pub mod abilities;
pub mod atomic_file;
pub(crate) mod direct_writer;
mod durable;
mod error;
pub mod file_system;
mod flush_names;
mod folder;
mod host_name;
pub mod lock;
mod numbered;
mod open_files;
pub mod prune;
mod rename;

pub use crate::fs::durable::write_durably;
pub(crate) use crate::fs::durable::{create_durably, flush, temporary_name, write_atomically};
pub use crate::fs::error::{FsError, describe_space, is_transient};
pub use crate::fs::flush_names::flush_folder;
pub(crate) use crate::fs::flush_names::{flush_moves, flush_names};
pub(crate) use crate::fs::folder::{
    create_folder, open_file_below, open_folder, open_folder_no_follow, split_path,
};
pub use crate::fs::folder::{create_private_folder, create_private_folders};
pub use crate::fs::host_name::host_name;
pub(crate) use crate::fs::numbered::{
    SHORTEST_NAME_LIMIT, max_name_bytes, numbered_as_copy, numbered_within,
};
pub(crate) use crate::fs::open_files::{FileId, open_for_writing};
pub use crate::fs::rename::RenameMethod;
pub(crate) use crate::fs::rename::{is_cross_device, rename_no_replace};
