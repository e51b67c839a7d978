//! What every command is given.

use std::path::PathBuf;

use crate::cli::client::ApiClient;
use crate::cli::exit::CliError;
use crate::clock::Clock;
use crate::settings::{Environment, Purpose, Settings, load};

/// The global options, and the clock.
pub(crate) struct Context {
    pub config: Option<PathBuf>,
    pub json: bool,
    pub clock: Clock,
}

impl Context {
    /// Loads the configuration.
    pub fn settings(&self, purpose: Purpose) -> Result<Settings, CliError> {
        Ok(load(self.config.as_deref(), &Environment::of_this_process(), purpose)?)
    }

    /// A client of the configured daemon.
    pub fn client(&self) -> Result<ApiClient, CliError> {
        let settings = self.settings(Purpose::Client)?;
        ApiClient::new(settings.admin.listen, settings.admin.token)
    }
}
