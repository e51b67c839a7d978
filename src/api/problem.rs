//! Errors as problem details (RFC 9457).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::job::JobId;
use crate::job::state::StateName;

/// Problem details (RFC 9457). Further members depend on the type: `errors` of an invalid job file,
/// `first_job` of a duplicate, `candidates` for an ambiguous reference, `reasons` of a daemon that is not
/// ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDetails {
    /// `about:blank`, or a URN.
    pub r#type: String,
    /// The type, for people.
    pub title: String,
    pub status: u16,
    /// What happened and what to do, for people.
    pub detail: String,
    /// Every problem found in the job file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub errors: Option<Vec<JobFileProblem>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid", nullable = false)]
    pub first_job: Option<JobId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub candidates: Option<Vec<Candidate>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub ready: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reasons: Option<Vec<String>>,
}

/// A problem in a job file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobFileProblem {
    /// JSON pointer (RFC 6901).
    pub pointer: String,
    pub message: String,
    pub line: u64,
    pub column: u64,
}

impl JobFileProblem {
    /// What follows `FILE:` in a line for people and editors: `3:15: /duration: ...`. A problem of the file as a whole has no
    /// place in it. `kind` is what is said before the pointer.
    pub fn describe(&self, kind: &str) -> String {
        let Self { pointer, message, line, column } = self;
        match (pointer.as_str(), line, column) {
            ("", 0 | 1, 0 | 1) => format!(" {kind}{message}"),
            ("", ..) => format!("{line}:{column}: {kind}{message}"),
            _ => format!("{line}:{column}: {kind}{pointer}: {message}"),
        }
    }
}

/// A job that matches the reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Candidate {
    #[schema(value_type = String, format = "uuid")]
    pub id: JobId,
    pub name: String,
    pub state: StateName,
}
