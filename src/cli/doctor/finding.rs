//! A finding: what was checked, what is wrong, how to fix it.

use serde::Serialize;
use strum::IntoStaticStr;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub(super) enum Level {
    Ok,
    /// It works, but not as well or as safely as it could.
    Warning,
    /// It will not work.
    Error,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub level: Level,
    /// What was checked: one word.
    pub about: &'static str,
    /// What was found.
    pub what: String,
    /// What to do; empty if there is nothing to do.
    pub fix: String,
}

impl Finding {
    pub fn ok(about: &'static str, what: impl Into<String>) -> Self {
        Self { level: Level::Ok, about, what: what.into(), fix: String::new() }
    }

    pub fn warning(about: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Warning, about, what: what.into(), fix: fix.into() }
    }

    pub fn error(about: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Error, about, what: what.into(), fix: fix.into() }
    }
}
