//! The messages of the event stream (`GET /api/v1/events`).

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

use crate::api::job::JobView;
use crate::api::status::StatusView;

/// One message: its word is the `event` field, its JSON the `data` field.
#[derive(Clone, Debug, Serialize, IntoStaticStr)]
#[serde(untagged)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum StreamEvent {
    /// The first message of every stream.
    Hello(Hello),
    /// A job changed; the message's id is the number of the change.
    Job(Box<JobView>),
    /// Counts, pauses or suspensions changed.
    Status(StatusView),
}

/// Where a stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Changes with a higher number follow.
    pub change: i64,
}

impl StreamEvent {
    /// Reads a message; `None` if its name is unknown, which a newer daemon may send.
    pub fn parse(name: &str, data: &str) -> Option<serde_json::Result<Self>> {
        match name {
            "hello" => Some(serde_json::from_str(data).map(Self::Hello)),
            "job" => Some(serde_json::from_str(data).map(Self::Job)),
            "status" => Some(serde_json::from_str(data).map(Self::Status)),
            _ => None,
        }
    }
}
