//! Secrets of a rig, and files that only their owner may read.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use dropreel::secret::{CallbackSecrets, Secret};

use super::Rig;

impl Rig {
    /// Writes a file outside the data folder with mode 0600, and returns its path.
    pub fn write_private(&self, name: &str, text: &str) -> PathBuf {
        let path = self.beside(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// The secrets behind callback addresses; `None` before the daemon has generated one.
    pub fn callback_secrets(&self) -> Option<CallbackSecrets> {
        let secret = std::fs::read_to_string(self.path("callback.secret")).ok()?;
        Some(CallbackSecrets::new(Secret::new(secret.trim()), Vec::new()))
    }
}
