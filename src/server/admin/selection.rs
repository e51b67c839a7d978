//! Which jobs a request means: one by reference, or all that match a filter.

use strum::VariantArray;

use crate::api::list::{JobFilter, RatingError};
use crate::api::problem::Candidate;
use crate::job::JobId;
use crate::job::label::LabelError;
use crate::job::state::StateName;
use crate::server::admin::problem::Problem;
use crate::server::admin::query::Query;
use crate::store::Store;
use crate::store::details::Found;

/// The filter in the parameters `state`, `label`, `q` and `rating`.
pub(super) fn parse_filter(query: &Query) -> Result<JobFilter, Problem> {
    let state = query.single("state")?.map(parse_state).transpose()?;
    let labels = query.values("label").map(str::parse).collect::<Result<_, LabelError>>();
    let labels = labels.map_err(|error| Problem::bad_request(error.to_string()))?;
    let text = query.single("q")?.filter(|text| !text.is_empty()).map(str::to_owned);
    let rating = query.single("rating")?.map(str::parse).transpose();
    let rating = rating.map_err(|error: RatingError| Problem::bad_request(error.to_string()))?;
    Ok(JobFilter { state, labels, text, rating })
}

fn parse_state(word: &str) -> Result<StateName, Problem> {
    word.parse().map_err(|_| {
        let words = StateName::VARIANTS.iter().map(StateName::into_str).collect::<Vec<_>>().join(", ");
        Problem::bad_request(format!("unknown state `{word}`; use one of {words}"))
    })
}

/// Finds the job with this id, this name, or this part of its id.
pub(super) async fn resolve_job(store: &Store, reference: String) -> Result<JobId, Problem> {
    let ids = match store.find(reference.clone()).await? {
        Found::One(id) => return Ok(id),
        Found::None => return Err(Problem::unknown_job(&reference)),
        Found::Many(ids) => ids,
    };
    let mut candidates = Vec::new();
    for id in ids {
        let details = store.details(id).await?;
        let (name, state) = (details.job.identity().name.clone(), details.job.state_name());
        candidates.push(Candidate { id, name, state });
    }
    Err(Problem::ambiguous_job(&reference, candidates))
}
