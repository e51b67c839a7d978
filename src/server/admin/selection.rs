//! Which jobs a request means: one by reference, or all that match a filter.

use strum::VariantArray;

use crate::api::batch::batch_number;
use crate::api::list::{JobFilter, JobOrder, RatingError};
use crate::api::problem::Candidate;
use crate::job::JobId;
use crate::job::label::LabelError;
use crate::job::state::StateName;
use crate::server::admin::problem::Problem;
use crate::server::admin::query::Query;
use crate::store::Store;
use crate::store::details::Found;

/// The parameters of [`parse_filter`].
pub(super) const FILTER_PARAMETERS: [&str; 10] =
    ["state", "label", "q", "rating", "file", "folder", "batch", "needs", "cause", "model"];

/// The filter in the parameters.
pub(super) fn parse_filter(query: &Query) -> Result<JobFilter, Problem> {
    let state = query.single("state")?.map(parse_state).transpose()?;
    let labels = query.values("label").map(str::parse).collect::<Result<_, LabelError>>();
    let labels = labels.map_err(|error| Problem::bad_request(error.to_string()))?;
    let rating = query.single("rating")?.map(str::parse).transpose();
    let rating = rating.map_err(|error: RatingError| Problem::bad_request(error.to_string()))?;
    let text_of =
        |name| Ok::<_, Problem>(query.single(name)?.filter(|text| !text.is_empty()).map(str::to_owned));
    let batch = query.single("batch")?.map(parse_batch).transpose()?;
    let needs = match query.single("needs")? {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => {
            return Err(Problem::bad_request(format!("`needs` must be true or false, not `{other}`")));
        }
    };
    Ok(JobFilter {
        state,
        labels,
        text: text_of("q")?,
        rating,
        file: text_of("file")?,
        folder: text_of("folder")?,
        batch,
        needs,
        cause: text_of("cause")?,
        model: text_of("model")?,
    })
}

/// The order in the parameter `sort`.
pub(super) fn parse_order(query: &Query) -> Result<JobOrder, Problem> {
    let Some(word) = query.single("sort")? else { return Ok(JobOrder::default()) };
    word.parse()
        .map_err(|_| Problem::bad_request(format!("unknown sort `{word}`; use one of {}", JobOrder::words())))
}

/// A batch's id, `b17`.
pub(super) fn parse_batch(id: &str) -> Result<i64, Problem> {
    batch_number(id)
        .ok_or_else(|| Problem::bad_request(format!("unknown batch `{id}`; use an id such as b17")))
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
