//! Answers of the daemon, with the text as it was received: `--json` prints that text, because a newer daemon may send
//! fields that this version does not know.

use std::collections::BTreeMap;
use std::ops::Deref;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::api::batch::BatchView;
use crate::api::job::JobView;

/// A part of an answer, as it was sent.
#[derive(Clone, Debug)]
pub(crate) struct Received<T> {
    value: T,
    text: Box<RawValue>,
}

pub(crate) type ReceivedJob = Received<JobView>;

/// A page of a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ReceivedPage {
    pub jobs: Vec<ReceivedJob>,
    pub next_cursor: Option<String>,
    /// What only a newer daemon knows.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// A page of a list of batches.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ReceivedBatches {
    pub batches: Vec<Received<BatchView>>,
    pub next_cursor: Option<String>,
    /// What only a newer daemon knows.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// The jobs of an accepted file: the first ones, and how many there are.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ReceivedCreatedJobs {
    pub jobs: Vec<ReceivedJob>,
    pub count: usize,
}

impl<T> Deref for Received<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Received<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let value = serde_json::from_str(text.get()).map_err(serde::de::Error::custom)?;
        Ok(Self { value, text })
    }
}

impl<T> Serialize for Received<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixtures::job;
    use crate::job::state::StateName;

    #[test]
    fn fields_of_a_newer_daemon_are_printed_as_sent() {
        let job = serde_json::to_string(&job(StateName::Held)).unwrap();
        let newer = job.replacen('{', r#"{"newer":4.50,"nested":{"b":1,"a":12345678901234567890123},"#, 1);
        let text = format!(r#"{{"jobs":[{newer}],"next_cursor":null,"total":7}}"#);
        let page: ReceivedPage = serde_json::from_str(&text).unwrap();
        assert_eq!(page.jobs[0].state, StateName::Held);
        assert_eq!(serde_json::to_string(&page).unwrap(), text);
    }
}
