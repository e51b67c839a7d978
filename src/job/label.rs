//! A label of a job.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A label, written `KEY=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label {
    /// Before the first `=`.
    pub key: String,
    /// After it.
    pub value: String,
}

/// The text is not `KEY=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a label is KEY=VALUE, not `{0}`")]
pub struct LabelError(String);

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

impl FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        let (key, value) = text.split_once('=').ok_or_else(|| LabelError(text.to_owned()))?;
        Ok(Self { key: key.to_owned(), value: value.to_owned() })
    }
}

impl TryFrom<String> for Label {
    type Error = LabelError;

    fn try_from(text: String) -> Result<Self, LabelError> {
        text.parse()
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_is_split_at_its_first_equals_sign() {
        let label: Label = "project=spring=2".parse().unwrap();
        assert_eq!((label.key.as_str(), label.value.as_str()), ("project", "spring=2"));
        assert_eq!(label.to_string(), "project=spring=2");
        assert_eq!("spring".parse::<Label>().unwrap_err().to_string(), "a label is KEY=VALUE, not `spring`");
    }
}
