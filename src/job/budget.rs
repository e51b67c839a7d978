//! Budgets: how much may be spent per day, per month and per label, and whether a job fits.

use std::collections::BTreeMap;
use std::fmt;

use crate::clock::Timestamp;
use crate::clock::calendar::{Period, Zone};
use crate::job::Labels;
use crate::job::label::Label;
use crate::money::Quota;

/// The limits of the settings. `None`: no limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Budgets {
    /// For the jobs submitted on one day.
    pub per_day: Option<Quota>,
    /// For the jobs submitted in one month.
    pub per_month: Option<Quota>,
    /// For all jobs with a label, for all time.
    pub per_label: BTreeMap<Label, Quota>,
    /// The share of a budget at which to warn, 0 to 1.
    pub warn_at: f64,
    /// Whose midnights begin days and months.
    pub zone: Zone,
}

impl Default for Budgets {
    /// No limits.
    fn default() -> Self {
        Self { per_day: None, per_month: None, per_label: BTreeMap::new(), warn_at: 0.8, zone: Zone::UTC }
    }
}

impl Budgets {
    /// The budgets that a job with these labels needs room in, as of `now`.
    pub fn of<'a>(&'a self, labels: &'a Labels, now: Timestamp) -> impl Iterator<Item = Budget> + 'a {
        self.all(now).filter(move |budget| budget.scope.includes(labels))
    }

    /// Whether there is no limit at all.
    pub fn are_unlimited(&self) -> bool {
        self.per_day.is_none() && self.per_month.is_none() && self.per_label.is_empty()
    }

    /// All budgets as of `now`.
    pub fn all(&self, now: Timestamp) -> impl Iterator<Item = Budget> {
        let day = self.per_day.map(|limit| Budget { scope: Scope::Day(self.zone.day_of(now)), limit });
        let month =
            self.per_month.map(|limit| Budget { scope: Scope::Month(self.zone.month_of(now)), limit });
        let labels = self.per_label.iter();
        let labels =
            labels.map(|(label, limit)| Budget { scope: Scope::Label(label.clone()), limit: *limit });
        day.into_iter().chain(month).chain(labels)
    }
}

/// A limit and what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// What it is for.
    pub scope: Scope,
    /// The most that may be spent.
    pub limit: Quota,
}

/// What a budget is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The jobs submitted on this day.
    Day(Period),
    /// The jobs submitted in this month.
    Month(Period),
    /// The jobs with this label.
    Label(Label),
}

impl Scope {
    /// `day`, `month`, or the label.
    pub fn name(&self) -> String {
        match self {
            Self::Day(_) => "day".to_owned(),
            Self::Month(_) => "month".to_owned(),
            Self::Label(label) => label.to_string(),
        }
    }

    /// Whether a job with these labels counts.
    pub fn includes(&self, labels: &Labels) -> bool {
        match self {
            Self::Day(_) | Self::Month(_) => true,
            Self::Label(Label { key, value }) => labels.get(key) == Some(value),
        }
    }
}

impl fmt::Display for Scope {
    /// "of ... $20.00"
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Day(_) => f.write_str("today's"),
            Self::Month(_) => f.write_str("this month's"),
            Self::Label(label) => write!(f, "{label}'s"),
        }
    }
}

/// What has been spent of a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// For attempts whose cost is not final: what they are expected to cost.
    pub reserved: Quota,
    /// What the provider has charged.
    pub settled: Quota,
}

impl Spent {
    /// Both.
    pub fn total(self) -> Quota {
        self.reserved.plus(self.settled)
    }
}

/// How much of a budget is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BudgetLevel {
    /// Less than the share at which to warn.
    Low,
    /// At least the share at which to warn.
    High,
    /// All of it, or too much for a job that was to be submitted.
    Exhausted,
}

impl Budget {
    /// How much of it is spent.
    pub fn level(&self, spent: Spent, warn_at: f64) -> BudgetLevel {
        if spent.total() >= self.limit {
            BudgetLevel::Exhausted
        } else if spent.total().usd() >= self.limit.usd() * warn_at {
            BudgetLevel::High
        } else {
            BudgetLevel::Low
        }
    }

    /// What the alerts about it are remembered for: a period, or the limit of a label.
    pub fn alerted_for(&self) -> i64 {
        match &self.scope {
            Scope::Day(period) | Scope::Month(period) => period.start.millis(),
            Scope::Label(_) => self.limit.get(),
        }
    }
}

/// Whether a job may be submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BudgetVerdict {
    /// It fits into every budget.
    Fits,
    /// It does not fit now.
    Waits {
        /// The budget that decides.
        scope: Scope,
        /// Which budget, in a sentence.
        why: String,
        /// When to try again.
        until: Timestamp,
    },
    /// It exceeds a whole budget.
    TooExpensive {
        /// The budget that it exceeds.
        scope: Scope,
        /// Which budget, in a sentence.
        why: String,
    },
}

/// Whether a job that probably costs `need` fits into all of `budgets`, of which so much has been spent.
pub fn judge(need: Quota, budgets: &[(Budget, Spent)], zone: &Zone, now: Timestamp) -> BudgetVerdict {
    if let Some((budget, _)) = budgets.iter().find(|(budget, _)| need > budget.limit) {
        let Budget { scope, limit } = budget;
        return BudgetVerdict::TooExpensive {
            scope: scope.clone(),
            why: format!("it costs about {need}, more than {scope} whole budget of {limit}"),
        };
    }
    // All must have room, so the one that is renewed last decides.
    let waits = budgets
        .iter()
        .filter(|(budget, spent)| spent.total().plus(need) > budget.limit)
        .map(|(budget, spent)| (until(&budget.scope, zone, now), budget, spent));
    let Some((until, Budget { scope, limit }, spent)) = waits.max_by_key(|(until, ..)| *until) else {
        return BudgetVerdict::Fits;
    };
    let used = if spent.total() >= *limit {
        format!("{scope} {limit} are used or reserved")
    } else {
        format!("of {scope} {limit}, {} are used or reserved, and it costs about {need}", spent.total())
    };
    let continues = match scope {
        Scope::Day(_) => format!("continues at {} {zone}", zone.time_of(until)),
        Scope::Month(_) => format!("continues on {} at {} {zone}", zone.date_of(until), zone.time_of(until)),
        Scope::Label(_) => "continues when the budget is raised".to_owned(),
    };
    BudgetVerdict::Waits { scope: scope.clone(), why: format!("{used}; {continues}"), until }
}

/// When a job that does not fit is tried again at the latest. A label's budget is never renewed; it is looked at each day.
fn until(scope: &Scope, zone: &Zone, now: Timestamp) -> Timestamp {
    match scope {
        Scope::Day(period) | Scope::Month(period) => period.end,
        Scope::Label(_) => zone.day_of(now).end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_775_285_160_000);

    fn usd(cents: i64) -> Quota {
        Quota::new(cents * 5000)
    }

    fn budgets() -> Budgets {
        let label = Label { key: "project".into(), value: "spring".into() };
        Budgets {
            per_day: Some(usd(2000)),
            per_month: Some(usd(10_000)),
            per_label: [(label, usd(500))].into(),
            ..Budgets::default()
        }
    }

    #[test]
    fn job_fits_only_if_every_budget_has_room() {
        let labels: Labels = [("project".to_owned(), "spring".to_owned())].into();
        // (need, spent of the day, of the month, of the label) in cents, and the outcome.
        let cases = [
            ((15, 0, 0, 0), "fits"),
            ((15, 1985, 0, 0), "fits"),
            (
                (16, 1985, 0, 0),
                "of today's $20.00, $19.85 are used or reserved, and it costs about $0.16; continues at 00:00 UTC",
            ),
            ((15, 2000, 0, 0), "today's $20.00 are used or reserved; continues at 00:00 UTC"),
            (
                (15, 2000, 10_000, 0),
                "this month's $100.00 are used or reserved; continues on 2026-05-01 at 00:00 UTC",
            ),
            (
                (15, 0, 0, 600),
                "project=spring's $5.00 are used or reserved; continues when the budget is raised",
            ),
            ((501, 0, 0, 0), "it costs about $5.01, more than project=spring's whole budget of $5.00"),
            ((2001, 0, 0, 0), "it costs about $20.01, more than today's whole budget of $20.00"),
        ];
        for ((need, day, month, label), expected) in cases {
            let settled = [day, month, label].map(|cents| Spent { settled: usd(cents), ..Spent::default() });
            let budgets = budgets();
            let spent: Vec<_> = budgets.of(&labels, NOW).zip(settled).collect();
            let verdict = match judge(usd(need), &spent, &budgets.zone, NOW) {
                BudgetVerdict::Fits => "fits".to_owned(),
                BudgetVerdict::Waits { why, until, .. } => {
                    assert!(until > NOW);
                    why
                }
                BudgetVerdict::TooExpensive { why, .. } => why,
            };
            assert_eq!(verdict, expected);
        }
    }

    #[test]
    fn label_budget_counts_only_jobs_with_the_label() {
        let budgets = budgets();
        let other: Labels = [("project".to_owned(), "summer".to_owned())].into();
        assert_eq!(budgets.of(&other, NOW).count(), 2);
        assert_eq!(Budgets::default().of(&other, NOW).count(), 0);
    }
}
