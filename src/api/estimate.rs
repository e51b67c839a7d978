//! What jobs will probably cost, and where that is known from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::budget::BudgetNeedView;
use crate::api::problem::JobFileProblem;
use crate::clock::Timestamp;
use crate::job::{JobId, UsedDefault};
use crate::money::Quota;
use crate::money::estimate::EstimateSource;
use crate::pricing::total::EstimateTotal;

/// What job files will probably cost, with what the inbox's checks find in them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Estimate)]
pub struct EstimateView {
    pub files: Vec<FileEstimate>,
    /// How many jobs all files make.
    pub jobs: u64,
    #[serde(flatten)]
    pub cost: CostEstimate,
    /// What the jobs that wait already will probably cost. Without a daemon: 0.
    #[serde(default)]
    pub waiting_usd: f64,
    /// The balance of the account as last read; `null`: not known.
    #[serde(default)]
    pub balance_usd: Option<f64>,
}

/// What a job file will probably cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FileEstimate {
    pub file: String,
    /// Whether it would be accepted.
    pub ok: bool,
    /// How many jobs it makes; 0 if it would be rejected.
    pub jobs: u64,
    /// Fewer than the jobs where `repeat` or `matrix` is used.
    pub objects: u64,
    #[serde(flatten)]
    pub cost: CostEstimate,
    /// What its jobs have from defaults, each once.
    #[serde(default)]
    pub defaults: Vec<UsedDefault>,
    pub errors: Vec<JobFileProblem>,
    pub warnings: Vec<JobFileProblem>,
    /// How many jobs each model has, of the first 50 models.
    #[serde(default)]
    pub models: BTreeMap<String, u64>,
    /// The first five jobs.
    #[serde(default)]
    pub first_jobs: Vec<JobPreview>,
    /// What they need of each budget that they count in. Without a daemon: empty.
    #[serde(default)]
    pub budgets: Vec<BudgetNeedView>,
    /// Models of theirs that the provider does not list: their jobs would be held.
    #[serde(default)]
    pub unlisted_models: Vec<String>,
    /// How many are above their own `max_cost_usd`: they would be held.
    #[serde(default)]
    pub over_max_cost_jobs: u64,
    /// The same file as it was accepted within the last 24 hours: it is refused without `again`.
    #[serde(default)]
    pub accepted_before: Option<AcceptedBefore>,
}

/// A job before it is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobPreview {
    pub name: String,
    pub model: String,
    /// Its beginning, at most 300 characters.
    pub prompt: Option<String>,
}

/// A file that was accepted before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AcceptedBefore {
    #[schema(value_type = String, format = "uuid")]
    pub first_job: JobId,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// What jobs will probably cost in all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CostEstimate {
    /// The most likely sum.
    pub estimate_usd: f64,
    /// The least and the most that is likely.
    #[schema(value_type = Vec<f64>, min_items = 2, max_items = 2)]
    pub range_usd: [f64; 2],
    /// How many jobs each source knows (docs/money.md).
    pub sources: BTreeMap<String, u64>,
    /// How many own jobs the estimates of the source `own` are known from.
    pub own_jobs: u64,
}

impl From<&EstimateTotal> for CostEstimate {
    fn from(total: &EstimateTotal) -> Self {
        let sources = total.sources.iter().map(|(source, jobs)| (source.to_string(), *jobs));
        Self {
            estimate_usd: total.quota.usd(),
            range_usd: [total.low.usd(), total.high.usd()],
            sources: sources.collect(),
            own_jobs: total.own_jobs,
        }
    }
}

impl CostEstimate {
    /// Adds that of further jobs.
    pub fn add(&mut self, other: &Self) {
        self.estimate_usd += other.estimate_usd;
        for (sum, usd) in self.range_usd.iter_mut().zip(other.range_usd) {
            *sum += usd;
        }
        for (source, jobs) in &other.sources {
            *self.sources.entry(source.clone()).or_default() += jobs;
        }
        self.own_jobs += other.own_jobs;
    }

    /// For people: "about $5.20 (31 quoted, 9 from 212 of your jobs)".
    pub fn describe(&self) -> String {
        let [low, high] = self.range_usd;
        let mut notes = Vec::new();
        // A few per cent are no news.
        if high - low > self.estimate_usd * 0.05 {
            notes.push(format!("{} to {}", dollars(low), dollars(high)));
        }
        let mut known: Vec<(&str, u64)> = self.sources.iter().map(|(word, jobs)| (&**word, *jobs)).collect();
        // The most trusted source first; those of a newer daemon last.
        known.sort_by_key(|(word, _)| {
            word.parse::<EstimateSource>().map_or((1, EstimateSource::Guess), |source| (0, source))
        });
        notes.extend(known.into_iter().map(|(word, jobs)| match word.parse() {
            Ok(EstimateSource::Prices) => format!("{jobs} by your price file"),
            Ok(EstimateSource::Quote) => format!("{jobs} quoted"),
            Ok(EstimateSource::Own) => format!("{jobs} from {} of your jobs", self.own_jobs),
            Ok(EstimateSource::PriceConfig) => format!("{jobs} by the provider's list of models"),
            Ok(EstimateSource::List) => format!("{jobs} by list price"),
            Ok(EstimateSource::Guess) => format!("{jobs} guessed: no price is known"),
            Err(_) => format!("{jobs} by {word}"),
        }));
        let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(", ")) };
        format!("about {}{notes}", dollars(self.estimate_usd))
    }
}

fn dollars(usd: f64) -> String {
    Quota::from_usd(usd).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(usd: f64, range_usd: [f64; 2], sources: &[(&str, u64)], own_jobs: u64) -> CostEstimate {
        let sources = sources.iter().map(|(word, jobs)| ((*word).to_owned(), *jobs)).collect();
        CostEstimate { estimate_usd: usd, range_usd, sources, own_jobs }
    }

    #[test]
    fn cost_is_described_with_its_sources_and_a_wide_range() {
        let cases = [
            (
                cost(5.2, [5.1, 5.3], &[("own", 9), ("quote", 31)], 212),
                "about $5.20 (31 quoted, 9 from 212 of your jobs)",
            ),
            (
                cost(0.9, [0.0225, 0.9], &[("guess", 1)], 0),
                "about $0.90 ($0.02 to $0.90, 1 guessed: no price is known)",
            ),
            (
                cost(1.0, [1.0, 1.0], &[("oracle", 1), ("list", 2)], 0),
                "about $1.00 (2 by list price, 1 by oracle)",
            ),
            (CostEstimate::default(), "about $0.00"),
        ];
        for (cost, text) in cases {
            assert_eq!(cost.describe(), text);
        }
    }

    #[test]
    fn costs_add_up() {
        let mut sum = cost(1.0, [0.5, 2.0], &[("own", 1)], 3);
        sum.add(&cost(2.0, [2.0, 2.0], &[("own", 1), ("list", 4)], 2));
        assert_eq!(sum, cost(3.0, [2.5, 4.0], &[("list", 4), ("own", 2)], 5));
    }
}
