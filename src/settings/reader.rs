//! Reads single values. A problem is recorded and reading continues, so that all problems of a
//! configuration are reported at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use config::Value;
use serde::de::DeserializeOwned;
use strum::VariantArray;

use crate::settings::Purpose;
use crate::settings::environment::Environment;
use crate::settings::keys::{Keys, Setting};
use crate::settings::parse::optional_path;
use crate::settings::problem::{Origin, SettingsProblem};
use crate::settings::secret_file::SecretFileError;
use crate::settings::units::duration;

/// An enum whose variants have words.
pub(super) trait Word: Copy + Into<&'static str> + FromStr + VariantArray {}
impl<T: Copy + Into<&'static str> + FromStr + VariantArray> Word for T {}

/// The words to choose from.
pub(super) fn words<T: Word>() -> String {
    T::VARIANTS.iter().map(|word| (*word).into()).collect::<Vec<&str>>().join(", ")
}

/// Not even the default of a key can be used. The problem is recorded.
#[derive(Debug)]
pub(super) struct Unusable;

/// What is set, over the defaults; and the problems found so far.
pub(super) struct Reader<'a> {
    pub(super) keys: &'a Keys,
    pub(super) set: BTreeMap<String, Setting>,
    pub(super) environment: &'a Environment,
    pub(super) purpose: Purpose,
    pub(super) problems: Vec<SettingsProblem>,
}

impl Reader<'_> {
    /// The value of `key`. A bad one is recorded, and its default returned.
    pub(super) fn read<V: DeserializeOwned, T>(
        &mut self,
        key: &str,
        parse: impl Fn(V) -> Result<T, String>,
    ) -> Result<T, Unusable> {
        let parse_value = |value: Option<&Value>| {
            // Keys and types are valid.
            let value = value.and_then(|value| value.clone().try_deserialize().ok());
            value.ok_or_else(|| "cannot be read; this is a bug".to_owned()).and_then(&parse)
        };
        let default = self.keys.default(key);
        parse_value(self.set.get(key).map(|setting| &setting.value).or(default)).or_else(|why| {
            self.reject(key, why);
            parse_value(default).map_err(|_| Unusable)
        })
    }

    /// A text value.
    pub(super) fn text<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, Unusable> {
        self.read(key, |text: String| parse(&text))
    }

    /// A text value that is the word of a variant.
    pub(super) fn word<T: Word>(&mut self, key: &str) -> Result<T, Unusable> {
        self.text(key, |text| text.parse().map_err(|_| format!("`{text}` is not one of {}", words::<T>())))
    }

    /// The same, or empty.
    pub(super) fn optional_word<T: Word>(&mut self, key: &str) -> Result<Option<T>, Unusable> {
        self.text(key, |text| match text.parse() {
            Ok(word) => Ok(Some(word)),
            Err(_) if text.is_empty() => Ok(None),
            Err(_) => Err(format!("`{text}` is not one of {}, or empty", words::<T>())),
        })
    }

    pub(super) fn duration(&mut self, key: &str) -> Result<Duration, Unusable> {
        self.text(key, duration)
    }

    /// A path; if it is empty, `default` in the data folder.
    pub(super) fn path_or(&mut self, key: &str, data_dir: &Path, default: &str) -> Result<PathBuf, Unusable> {
        Ok(self.text(key, optional_path)?.unwrap_or_else(|| data_dir.join(default)))
    }

    /// What was read from a secret file, or `None` with the error recorded.
    pub(super) fn secret<T>(&mut self, key: &str, read: Result<T, SecretFileError>) -> Option<T> {
        read.map_err(|source| self.problems.push(SettingsProblem::Secret { key: key.to_owned(), source }))
            .ok()
    }

    /// The systemd credential of that name, if the service has it (systemd.exec(5), `LoadCredential=`).
    pub(super) fn credential(&self, name: &str) -> Option<PathBuf> {
        let path = Path::new(self.environment.get("CREDENTIALS_DIRECTORY")?).join(name);
        // If its existence cannot be determined, reading it gives the error to report.
        (!matches!(path.try_exists(), Ok(false))).then_some(path)
    }

    pub(super) fn origin(&self, key: &str) -> Origin {
        self.set.get(key).map_or(Origin::Defaults, |setting| setting.origin.clone())
    }

    /// Records a problem with the value of `key`.
    pub(super) fn reject(&mut self, key: &str, why: impl Into<String>) {
        let (key, origin, why) = (key.to_owned(), self.origin(key), why.into());
        self.problems.push(SettingsProblem::BadValue { key, origin, why });
    }

    /// Records a contradiction of two keys under the one that was set, unless one of them has a problem of its own.
    pub(super) fn reject_pair(&mut self, [first, second]: [&str; 2], why: impl Into<String>) {
        if self.problems.iter().any(|problem| [Some(first), Some(second)].contains(&problem.key())) {
            return;
        }
        self.reject(if self.origin(first) == Origin::Defaults { second } else { first }, why);
    }
}
