//! Who goes first when there is room at the provider.

use std::collections::BTreeMap;

use crate::job::{JobId, Priority};

/// How many tasks may be at the provider at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In all.
    pub max_running: u32,
    /// Per model, where set.
    pub max_running_per_model: BTreeMap<String, u32>,
}

impl Limits {
    /// How many more tasks of `model` there is room for.
    pub fn room_for(&self, model: &str, running: &Running) -> u32 {
        let all = self.max_running.saturating_sub(running.total());
        match self.max_running_per_model.get(model) {
            Some(limit) => all.min(limit.saturating_sub(running.of(model))),
            None => all,
        }
    }
}

/// How many tasks are at the provider, by model; a submit whose outcome is unknown counts as one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Running(pub BTreeMap<String, u32>);

impl Running {
    /// In all.
    pub fn total(&self) -> u32 {
        self.0.values().sum()
    }

    /// Of one model.
    pub fn of(&self, model: &str) -> u32 {
        self.0.get(model).copied().unwrap_or(0)
    }
}

/// A job that waits for its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Which.
    pub id: JobId,
    /// Its model.
    pub model: String,
    /// Its priority.
    pub priority: Priority,
}

/// The job whose turn it is: of those whose model has room, the highest priority, then the oldest. `heads` holds the
/// first of each model's line.
pub fn next_turn<'a>(heads: &'a [Waiting], running: &Running, limits: &Limits) -> Option<&'a Waiting> {
    heads
        .iter()
        .filter(|job| limits.room_for(&job.model, running) > 0)
        .min_by_key(|job| (std::cmp::Reverse(job.priority), job.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::rng::Rng;

    fn waiting(model: &str, priority: i64, age: i64) -> Waiting {
        Waiting {
            id: JobId::new(Timestamp::from_millis(1_000_000 - age), 0, &Rng::seeded(1)),
            model: model.into(),
            priority: Priority::new(priority).expect("in range"),
        }
    }

    fn running(of: &[(&str, u32)]) -> Running {
        Running(of.iter().map(|(model, count)| ((*model).to_owned(), *count)).collect())
    }

    #[test]
    fn priority_goes_before_age_and_a_full_model_lets_others_pass() {
        let heads = [waiting("a", 0, 500), waiting("b", 10, 1), waiting("c", 10, 2)];
        let mut limits = Limits { max_running: 5, max_running_per_model: BTreeMap::new() };
        let turn = |limits: &Limits, running: &Running| {
            next_turn(&heads, running, limits).map(|job| job.model.clone())
        };
        assert_eq!(turn(&limits, &running(&[])), Some("c".into()));
        limits.max_running_per_model.insert("c".into(), 2);
        assert_eq!(turn(&limits, &running(&[("c", 1)])), Some("c".into()));
        assert_eq!(turn(&limits, &running(&[("c", 2)])), Some("b".into()));
        limits.max_running_per_model.insert("b".into(), 0);
        assert_eq!(turn(&limits, &running(&[("c", 2)])), Some("a".into()));
        assert_eq!(turn(&limits, &running(&[("c", 2), ("x", 3)])), None);
    }
}
