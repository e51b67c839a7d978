//! Lists of jobs, and the filters that select them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::job::JobView;
use crate::job::label::Label;
use crate::job::state::StateName;

/// The longest page of a list.
pub const MAX_PAGE: u32 = 500;

/// Which jobs to select: those that match all that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    pub state: Option<StateName>,
    /// Only jobs with each of these labels.
    pub labels: Vec<Label>,
    /// Only jobs with this text in name or prompt, or with this task id.
    pub text: Option<String>,
}

/// A page of a list.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = JobList)]
pub struct JobPage {
    pub jobs: Vec<JobView>,
    /// `cursor` of the next page; `null` on the last.
    pub next_cursor: Option<String>,
}

/// The jobs of an accepted file.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CreatedJobs {
    /// The first 500 jobs.
    pub jobs: Vec<JobView>,
    /// How many jobs were created.
    pub count: usize,
}

impl JobFilter {
    /// The filter as query parameters.
    pub fn query_pairs(&self) -> Vec<(&'static str, String)> {
        let state = self.state.map(|state| ("state", state.into_str().to_owned()));
        let labels = self.labels.iter().map(|label| ("label", label.to_string()));
        let text = self.text.clone().map(|text| ("q", text));
        state.into_iter().chain(labels).chain(text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_becomes_query_parameters() {
        let filter = JobFilter {
            state: Some(StateName::Held),
            labels: vec!["a=b".parse().unwrap(), "c=d".parse().unwrap()],
            text: Some("樱花".into()),
        };
        let pairs = [("state", "held"), ("label", "a=b"), ("label", "c=d"), ("q", "樱花")];
        assert_eq!(filter.query_pairs(), pairs.map(|(key, value)| (key, value.to_owned())));
        assert!(JobFilter::default().query_pairs().is_empty());
    }
}
