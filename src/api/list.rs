//! Lists of jobs, and the filters that select them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};
use thiserror::Error;
use utoipa::ToSchema;

use crate::api::batch::batch_id;
use crate::api::job::JobView;
use crate::api::rating::MAX_RATING;
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
    /// Only jobs with all of these words in name, prompt, model, id, task, file or labels, and none of those after a `-`.
    pub text: Option<String>,
    /// Only jobs with this rating.
    pub rating: Option<RatingFilter>,
    /// Only jobs of the job files with this name, with or without their folder.
    pub file: Option<String>,
    /// Only jobs of this folder, or of one below it, by their label `folder`.
    pub folder: Option<String>,
    /// Only jobs of the batch with this number.
    pub batch: Option<i64>,
    /// Only jobs that need a person.
    pub needs: bool,
    /// Only jobs that need a person for this cause: the reason why they are held, or the code of their error.
    pub cause: Option<String>,
    /// Only jobs of this model.
    pub model: Option<String>,
}

/// The order of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, EnumString, IntoStaticStr, VariantArray, ToSchema)]
#[strum(serialize_all = "snake_case", const_into_str)]
#[schema(rename_all = "snake_case")]
pub enum JobOrder {
    /// The newest first.
    #[default]
    Created,
    /// The most expensive first; those without a cost come last.
    Cost,
    /// The best first; then those that nobody has rated, then rejected ones.
    Rating,
    /// By name.
    Name,
}

impl JobOrder {
    /// The words of the orders, for people.
    pub fn words() -> String {
        Self::VARIANTS.iter().map(Self::into_str).collect::<Vec<_>>().join(", ")
    }
}

/// A rating to select: `4`, `4+` or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RatingFilter {
    /// Not rated.
    Unrated,
    /// Exactly this.
    Exactly(u8),
    /// This or more.
    AtLeast(u8),
}

/// Text that is no rating to select.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a rating is a number from 0 to 5, or such a number and `+` for it and above, or `none`")]
pub struct RatingError;

impl FromStr for RatingFilter {
    type Err = RatingError;

    fn from_str(text: &str) -> Result<Self, RatingError> {
        let number = |digits: &str| digits.parse().ok().filter(|rating| *rating <= MAX_RATING);
        match text.strip_suffix('+') {
            Some(digits) => number(digits).map(Self::AtLeast),
            None if text == "none" => Some(Self::Unrated),
            None => number(text).map(Self::Exactly),
        }
        .ok_or(RatingError)
    }
}

impl fmt::Display for RatingFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unrated => f.write_str("none"),
            Self::Exactly(rating) => write!(f, "{rating}"),
            Self::AtLeast(rating) => write!(f, "{rating}+"),
        }
    }
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
        let rating = self.rating.map(|rating| ("rating", rating.to_string()));
        let file = self.file.clone().map(|file| ("file", file));
        let folder = self.folder.clone().map(|folder| ("folder", folder));
        let batch = self.batch.map(|batch| ("batch", batch_id(batch)));
        let needs = self.needs.then(|| ("needs", "true".to_owned()));
        let cause = self.cause.clone().map(|cause| ("cause", cause));
        let model = self.model.clone().map(|model| ("model", model));
        let others = text.into_iter().chain(rating).chain(file).chain(folder).chain(batch);
        state.into_iter().chain(labels).chain(others).chain(needs).chain(cause).chain(model).collect()
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
            rating: Some(RatingFilter::AtLeast(4)),
            file: Some("ads/shots.csv".into()),
            folder: Some("ads".into()),
            batch: Some(17),
            needs: true,
            cause: Some("task_failed".into()),
            model: Some("wan2.5-t2v".into()),
        };
        let pairs = [
            ("state", "held"),
            ("label", "a=b"),
            ("label", "c=d"),
            ("q", "樱花"),
            ("rating", "4+"),
            ("file", "ads/shots.csv"),
            ("folder", "ads"),
            ("batch", "b17"),
            ("needs", "true"),
            ("cause", "task_failed"),
            ("model", "wan2.5-t2v"),
        ];
        assert_eq!(filter.query_pairs(), pairs.map(|(key, value)| (key, value.to_owned())));
        assert!(JobFilter::default().query_pairs().is_empty());
    }

    #[test]
    fn rating_to_select_reads_back() {
        for text in ["0", "5", "0+", "4+", "none"] {
            assert_eq!(text.parse::<RatingFilter>().unwrap().to_string(), text);
        }
        for wrong in ["6", "", "+", "-1", "4-", "four", "None"] {
            assert_eq!(wrong.parse::<RatingFilter>(), Err(RatingError), "{wrong}");
        }
    }
}
