//! Jobs as job files, and their move to another machine.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::list::JobFilter;
use crate::job::JobId;
use crate::job::label::Label;
use crate::job::state::StateName;

/// Jobs as job files.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = Export)]
pub struct ExportPage {
    /// Oldest first.
    pub jobs: Vec<ExportLine>,
    /// `cursor` of the next page; `null` on the last.
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// Jobs for another machine.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = Moved)]
pub struct MovedPage {
    /// Cancelled here. Acknowledge them once their lines are where they were to go: until then the next call answers the same.
    pub jobs: Vec<ExportLine>,
    /// An earlier call has answered these jobs, and nobody has acknowledged them.
    #[serde(default)]
    pub interrupted: bool,
    /// On the last page: how many jobs stay because they name local pictures and `pictures` was not set.
    #[serde(default)]
    pub left_with_pictures: usize,
}

/// A job as a job file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExportLine {
    #[schema(value_type = String, format = "uuid")]
    pub id: JobId,
    /// The job file, on one line. It has a `key`: the job's own, else its id.
    pub line: String,
    /// The local pictures that it names, by their content, for `GET /api/v1/pictures/{name}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pictures: Vec<String>,
}

/// Which jobs to hand out to another machine.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Move)]
pub struct MoveRequest {
    #[serde(default)]
    pub state: Option<StateName>,
    /// `KEY=VALUE`; a job must have all of them.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub label: Vec<Label>,
    /// Also jobs that name local pictures. Their lines call them by their content: fetch each before you acknowledge its job.
    #[serde(default)]
    pub pictures: bool,
}

/// The jobs whose lines are where they were to go.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MovedJobs {
    #[schema(value_type = Vec<String>)]
    pub jobs: Vec<JobId>,
}

impl MoveRequest {
    /// The jobs it is meant for.
    pub fn filter(&self) -> JobFilter {
        JobFilter { state: self.state, labels: self.label.clone(), ..JobFilter::default() }
    }
}
