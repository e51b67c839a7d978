//! Budgets and what has been spent of them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::job::budget::{Budget, Scope, Spent};

/// A budget of the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Budget)]
pub struct BudgetView {
    /// `day`, `month`, or a label as `KEY=VALUE`.
    pub budget: String,
    pub limit_usd: f64,
    /// For submitted jobs whose cost is not final.
    pub reserved_usd: f64,
    /// What the provider has charged.
    pub spent_usd: f64,
    /// When it is renewed; `null` for a label, whose budget is for all time.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub renewed_at: Option<Timestamp>,
}

/// What new jobs need of a budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = BudgetNeed)]
pub struct BudgetNeedView {
    /// `day`, `month`, or a label as `KEY=VALUE`.
    pub budget: String,
    pub limit_usd: f64,
    /// What is left of it, besides what jobs that wait already need.
    pub left_usd: f64,
    /// What the jobs that count in it would cost.
    pub need_usd: f64,
    /// How many of them would wait until it has room.
    pub waiting_jobs: u64,
    /// How many cost more than all of it: they would be held.
    pub held_jobs: u64,
    /// When it is renewed; `null` for a label, whose budget is for all time.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub renewed_at: Option<Timestamp>,
}

impl BudgetView {
    /// A budget, with what has been spent of it.
    pub fn new(budget: &Budget, spent: Spent) -> Self {
        Self {
            budget: budget.scope.name(),
            limit_usd: budget.limit.usd(),
            reserved_usd: spent.reserved.usd(),
            spent_usd: spent.settled.usd(),
            renewed_at: renewed_at(&budget.scope),
        }
    }
}

/// When a budget of this scope is renewed.
pub fn renewed_at(scope: &Scope) -> Option<Timestamp> {
    match scope {
        Scope::Day(period) | Scope::Month(period) => Some(period.end),
        Scope::Label(_) => None,
    }
}
