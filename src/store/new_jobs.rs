//! Reviews jobs that are not accepted yet: what they would cost, how many fit into the budgets, and which were accepted
//! before.

use crate::clock::Timestamp;
use crate::job::JobId;
use crate::job::budget::{Budget, BudgetVerdict, Budgets, Scope, Spent, judge};
use crate::jobfile::{Draft, ObjectPlace};
use crate::money::Quota;
use crate::money::estimate::Estimate;
use crate::pricing::total::EstimateTotal;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::estimates::{Estimator, JobEstimate};
use crate::store::job_files::FileToIngest;
use crate::store::job_files::insert::{find_repeated, job_of_key};
use crate::store::spending::spent_of;
use crate::store::waiting::waiting_cost_in;

/// Most used keys that are listed.
const MAX_USED_KEYS: usize = 20;

/// The jobs of a file that is reviewed.
pub type NewDrafts = Box<dyn Iterator<Item = Draft> + Send>;

/// What a review finds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewJobs {
    /// What they would cost.
    pub cost: EstimateTotal,
    /// The budgets that they count in.
    pub budgets: Vec<BudgetNeed>,
    /// What the jobs that wait already will cost.
    pub waiting: Quota,
    /// How many are above their own `max_cost_usd`.
    pub over_max_cost: u64,
    /// The file that they repeat.
    pub repeated: Option<RepeatedFile>,
    /// Keys of theirs that were used before, the first of them.
    pub used_keys: Vec<UsedKey>,
}

/// What new jobs need of a budget.
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetNeed {
    /// The budget.
    pub budget: Budget,
    /// What is left of it, besides what jobs that wait already need.
    pub left: Quota,
    /// What those that count in it would cost.
    pub need: Quota,
    /// How many wait until there is room.
    pub waiting: u64,
    /// How many cost more than all of it.
    pub too_expensive: u64,
}

/// A file that was accepted before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepeatedFile {
    /// Its first job.
    pub first: JobId,
    /// When it was accepted.
    pub at: Timestamp,
}

/// A key that was used before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedKey {
    /// The key.
    pub key: String,
    /// The object that has it.
    pub object: ObjectPlace,
    /// The job that used it.
    pub first: JobId,
}

impl Store {
    /// Reviews the jobs of a file. Nothing is accepted.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn review(
        &self,
        file: FileToIngest,
        drafts: NewDrafts,
        now: Timestamp,
    ) -> Result<NewJobs, StoreError> {
        let (book, budgets) = (self.prices.read().clone(), self.budgets.read().clone());
        self.read(move |connection| {
            let mut estimator = Estimator::new(connection, &book);
            let waiting = waiting_cost_in(connection)?;
            let spent_before = |budget: &Budget| {
                let spent = spent_of(connection, &budget.scope)?;
                // Jobs that wait already are submitted first. How many of them have a label is not added up.
                let ahead = if matches!(budget.scope, Scope::Label(_)) { Quota::ZERO } else { waiting };
                Ok(Spent { reserved: spent.reserved.plus(ahead), ..spent })
            };
            let mut needs = Needs::new(&budgets, now, spent_before)?;
            let (mut is_again, mut lacks_key) = (false, false);
            let mut found = NewJobs { waiting, ..NewJobs::default() };
            for draft in drafts {
                let JobEstimate { estimate, price_class, .. } = estimator.estimate(&draft.body)?;
                found.cost.add(estimate, price_class.as_deref());
                match draft.max_cost.filter(|limit| estimate.quota > *limit) {
                    Some(_) => found.over_max_cost += 1,
                    None => needs.add(&draft, estimate),
                }
                is_again |= draft.again;
                lacks_key |= draft.key.is_none();
                for key in draft.keys() {
                    if found.used_keys.len() < MAX_USED_KEYS
                        && found.used_keys.iter().all(|used| used.key != key)
                        && let Some(first) = job_of_key(connection, key)?
                    {
                        let object = draft.place.clone();
                        found.used_keys.push(UsedKey { key: key.to_owned(), object, first });
                    }
                }
            }
            found.budgets = needs.budgets;
            // As the ingestion decides.
            if !is_again && lacks_key {
                found.repeated =
                    find_repeated(connection, &file, now)?.map(|(first, at)| RepeatedFile { first, at });
            }
            Ok(found)
        })
        .await
    }
}

/// Counts what jobs need of each budget, one after the other.
struct Needs<'b> {
    settings: &'b Budgets,
    now: Timestamp,
    budgets: Vec<BudgetNeed>,
    spent: Vec<(Budget, Spent)>,
}

impl<'b> Needs<'b> {
    fn new(
        settings: &'b Budgets,
        now: Timestamp,
        spent_of: impl Fn(&Budget) -> Result<Spent, StoreError>,
    ) -> Result<Self, StoreError> {
        let (mut budgets, mut spent) = (Vec::new(), Vec::new());
        for budget in settings.all(now) {
            let before = spent_of(&budget)?;
            let left = budget.limit.minus(before.total()).max(Quota::ZERO);
            let none =
                BudgetNeed { budget: budget.clone(), left, need: Quota::ZERO, waiting: 0, too_expensive: 0 };
            budgets.push(none);
            spent.push((budget, before));
        }
        Ok(Self { settings, now, budgets, spent })
    }

    fn add(&mut self, draft: &Draft, estimate: Estimate) {
        let counts = |budget: &Budget| budget.scope.includes(&draft.labels);
        let of_job: Vec<_> = self.spent.iter().filter(|(budget, _)| counts(budget)).cloned().collect();
        if of_job.is_empty() {
            return;
        }
        let need = estimate.quota;
        let verdict = judge(need, &of_job, &self.settings.zone, self.now);
        for (of_budget, (budget, spent)) in self.budgets.iter_mut().zip(&mut self.spent) {
            if !counts(budget) {
                continue;
            }
            of_budget.need = of_budget.need.plus(need);
            match &verdict {
                BudgetVerdict::Fits => spent.reserved = spent.reserved.plus(need),
                BudgetVerdict::Waits { scope, .. } => of_budget.waiting += u64::from(*scope == budget.scope),
                BudgetVerdict::TooExpensive { scope, .. } => {
                    of_budget.too_expensive += u64::from(*scope == budget.scope);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
