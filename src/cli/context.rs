//! What every command is given.

use std::path::{Path, PathBuf};

use crate::cli::client::ApiClient;
use crate::cli::exit::CliError;
use crate::clock::Clock;
use crate::library::layout::Layout;
use crate::settings::{
    Environment, InvalidSettings, Origin, Purpose, Settings, SettingsProblem, load, variable_of,
};

/// The global options, and the clock.
pub(crate) struct Context {
    pub config: Option<PathBuf>,
    pub json: bool,
    pub clock: Clock,
}

impl Context {
    /// Loads the configuration.
    pub fn settings(&self, purpose: Purpose) -> Result<Settings, CliError> {
        Ok(load_settings(self.config.as_deref(), purpose)?)
    }

    /// A client of the configured daemon.
    pub fn client(&self) -> Result<ApiClient, CliError> {
        let settings = self.settings(Purpose::Client)?;
        ApiClient::new(settings.admin.listen, settings.admin.token, &settings.data_dir)
    }
}

/// Loads the configuration, and checks what the settings alone cannot.
pub(crate) fn load_settings(config: Option<&Path>, purpose: Purpose) -> Result<Settings, InvalidSettings> {
    load_settings_from(config, &Environment::of_this_process(), purpose)
}

/// The settings with another value of one of them.
pub(crate) fn load_settings_with(
    config: Option<&Path>,
    purpose: Purpose,
    (key, value): (&str, &str),
) -> Result<Settings, InvalidSettings> {
    let environment = Environment::of_this_process().with(&variable_of(key), value);
    load_settings_from(config, &environment, purpose)
}

fn load_settings_from(
    config: Option<&Path>,
    environment: &Environment,
    purpose: Purpose,
) -> Result<Settings, InvalidSettings> {
    let settings = load(config, environment, purpose)?;
    let Err(error) = Layout::parse(&settings.library.layout) else { return Ok(settings) };
    let key = "library.layout".to_owned();
    let variable = variable_of(&key);
    let origin = match &settings.config_file {
        Some(file) if environment.get(&variable).is_none() => Origin::File(file.clone()),
        _ => Origin::Variable(variable),
    };
    Err(InvalidSettings { problems: vec![SettingsProblem::BadValue { key, origin, why: error.to_string() }] })
}
