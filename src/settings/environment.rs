//! The process's environment, as a value that is handed in.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

/// Environment variables. The process's own are read once, by [`Environment::of_this_process`]; tests make theirs
/// from a list. Not printable: it holds the API key.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// What this process was started with: the one place where it is read.
    pub fn of_this_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// A variable's value; a variable set to nothing counts as not set.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// All variables by name, those set to nothing included.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }
}

impl<N: Into<OsString>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}
