//! Which job to submit next when there is room at the provider.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::job::Priority;
use crate::job::id::JobId;

/// How many tasks may be at the provider at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskLimits {
    /// In total.
    pub max_running: u32,
    /// Per model, where set.
    pub max_running_per_model: BTreeMap<String, u32>,
}

impl TaskLimits {
    /// Whether the share of failing jobs is a small part of all places.
    pub const fn failing_have_places(&self) -> bool {
        failing_share(self.max_running) > 0
    }

    /// How many more tasks of `model` there is room for.
    pub fn room_for(&self, model: &str, running: &TaskCounts) -> u32 {
        let total = self.max_running.saturating_sub(running.total().places(self.max_running));
        match self.max_running_per_model.get(model) {
            Some(limit) => total.min(limit.saturating_sub(running.of(model).places(*limit))),
            None => total,
        }
    }
}

/// How many of `places` failing jobs may take together: a tenth, and none of fewer than ten.
const fn failing_share(places: u32) -> u32 {
    places / 10
}

/// The tasks at the provider of a model. A submit whose outcome is unknown counts as a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelTasks {
    /// Tasks whose calls work.
    pub working: u32,
    /// Jobs whose calls have failed for a while: together they take no more than their share.
    pub failing: u32,
}

impl ModelTasks {
    /// The places they take of `limit`.
    fn places(self, limit: u32) -> u32 {
        self.working.saturating_add(self.failing.min(failing_share(limit)))
    }
}

/// How many tasks are at the provider, by model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskCounts(pub BTreeMap<String, ModelTasks>);

impl TaskCounts {
    /// Of all models.
    pub fn total(&self) -> ModelTasks {
        self.0.values().fold(ModelTasks::default(), |sum, of| ModelTasks {
            working: sum.working.saturating_add(of.working),
            failing: sum.failing.saturating_add(of.failing),
        })
    }

    /// Of one model.
    pub fn of(&self, model: &str) -> ModelTasks {
        self.0.get(model).copied().unwrap_or_default()
    }
}

/// A job that waits to be submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingJob {
    /// Its id.
    pub id: JobId,
    /// Its model.
    pub model: String,
    /// Its priority.
    pub priority: Priority,
    /// The value with which it takes turns; empty for jobs without one.
    pub turn: String,
}

/// Whose turn it was last, by priority: the values of a label take turns in their order, the first after the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turns(BTreeMap<Priority, String>);

impl Turns {
    /// The value whose turn it was last at this priority.
    pub fn last(&self, priority: Priority) -> Option<&str> {
        self.0.get(&priority).map(String::as_str)
    }

    /// It was the turn of this job's value.
    pub fn take(&mut self, job: &WaitingJob) {
        self.0.insert(job.priority, job.turn.clone());
    }

    /// Whether a value of this priority has to wait until those after the last one have had their turns.
    fn has_passed(&self, job: &WaitingJob) -> bool {
        self.last(job.priority).is_some_and(|last| job.turn.as_str() <= last)
    }
}

/// The job to submit next: among those whose model has room, the highest priority, then the value whose turn it is, then the
/// oldest. `heads` holds the first waiting job of each model after these turns.
pub fn next_to_submit<'a>(
    heads: &'a [WaitingJob],
    running: &TaskCounts,
    limits: &TaskLimits,
    turns: &Turns,
) -> Option<&'a WaitingJob> {
    heads
        .iter()
        .filter(|job| limits.room_for(&job.model, running) > 0)
        .min_by_key(|job| (Reverse(job.priority), turns.has_passed(job), &job.turn, job.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::rng::Rng;

    fn waiting(model: &str, priority: i64, age: i64) -> WaitingJob {
        WaitingJob {
            id: JobId::new(Timestamp::from_millis(1_000_000 - age), 0, &Rng::seeded(1)),
            model: model.into(),
            priority: Priority::new(priority).expect("in range"),
            turn: String::new(),
        }
    }

    fn running(of: &[(&str, u32)]) -> TaskCounts {
        let tasks = |working| ModelTasks { working, failing: 0 };
        TaskCounts(of.iter().map(|(model, count)| ((*model).to_owned(), tasks(*count))).collect())
    }

    #[test]
    fn priority_beats_age_and_a_full_model_is_skipped() {
        let heads = [waiting("a", 0, 500), waiting("b", 10, 1), waiting("c", 10, 2)];
        let mut limits = TaskLimits { max_running: 5, max_running_per_model: BTreeMap::new() };
        let next = |limits: &TaskLimits, running: &TaskCounts| {
            next_to_submit(&heads, running, limits, &Turns::default()).map(|job| job.model.clone())
        };
        assert_eq!(next(&limits, &running(&[])), Some("c".into()));
        limits.max_running_per_model.insert("c".into(), 2);
        assert_eq!(next(&limits, &running(&[("c", 1)])), Some("c".into()));
        assert_eq!(next(&limits, &running(&[("c", 2)])), Some("b".into()));
        limits.max_running_per_model.insert("b".into(), 0);
        assert_eq!(next(&limits, &running(&[("c", 2)])), Some("a".into()));
        assert_eq!(next(&limits, &running(&[("c", 2), ("x", 3)])), None);
    }

    #[test]
    fn values_of_one_priority_take_turns_across_models() {
        let of =
            |model, priority, turn: &str| WaitingJob { turn: turn.into(), ..waiting(model, priority, 1) };
        let heads = [of("x", 0, "b"), of("y", 0, "a"), of("z", 0, "c")];
        let limits = TaskLimits { max_running: 5, max_running_per_model: BTreeMap::new() };
        let mut turns = Turns::default();
        let mut next = || {
            let job = next_to_submit(&heads, &running(&[]), &limits, &turns).unwrap();
            turns.take(job);
            job.turn.clone()
        };
        assert_eq!([next(), next(), next(), next()], ["a", "b", "c", "a"]);
        let urgent = of("x", 5, "a");
        assert_eq!(
            next_to_submit(std::slice::from_ref(&urgent), &running(&[]), &limits, &turns),
            Some(&urgent)
        );
        turns.take(&urgent);
        assert_eq!(turns.last(Priority::default()), Some("a"), "each priority has its own turns");
    }

    #[test]
    fn failing_jobs_leave_nine_tenths_of_the_places_to_others() {
        let limits = TaskLimits { max_running: 20, max_running_per_model: BTreeMap::new() };
        let failing = |failing| TaskCounts([("a".into(), ModelTasks { working: 5, failing })].into());
        assert_eq!(limits.room_for("b", &failing(0)), 15);
        assert_eq!(limits.room_for("b", &failing(1)), 14);
        assert_eq!(limits.room_for("b", &failing(50)), 13);
        let one = TaskLimits { max_running: 1, ..limits };
        let sick = TaskCounts([("a".into(), ModelTasks { working: 0, failing: 3 })].into());
        assert_eq!(one.room_for("b", &sick), 1, "one sick job does not hold the only place");
    }
}
