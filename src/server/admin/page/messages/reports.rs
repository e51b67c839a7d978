//! What the daemon reports about jobs, in the language of the page: history events, hook events, hold reasons, and the
//! results of actions. In English these are the daemon's own words.

use crate::job::event::OperatorAction;
use crate::job::state::{Hold, StateName};
use crate::server::admin::page::messages::{Messages, chinese};

impl Messages {
    pub(super) fn is_chinese(&self) -> bool {
        self.lang == chinese::CHINESE.lang
    }

    /// A history event by its stored word. A word that this version does not know stays as it is.
    pub(in crate::server::admin) fn history_event(&self, word: &str) -> String {
        match word.parse() {
            Ok(event) if self.is_chinese() => chinese::history_event(event).to_owned(),
            _ => word.replace('_', " "),
        }
    }

    /// The event of a hook call by its stored word.
    pub(in crate::server::admin) fn notification(&self, word: &str) -> String {
        match word.parse() {
            Ok(event) if self.is_chinese() => chinese::notification(event).to_owned(),
            _ => word.replace('_', " "),
        }
    }

    /// Why a job is held.
    pub(in crate::server::admin) fn hold(&self, hold: &Hold) -> String {
        if !self.is_chinese() {
            return hold.description();
        }
        let reason = chinese::hold_reason(hold.reason);
        if hold.detail.is_empty() { reason.to_owned() } else { format!("{reason}（{}）", hold.detail) }
    }

    /// What an action did, from the answer of the state machine.
    pub(in crate::server::admin) fn action_done(&self, message: &'static str) -> &'static str {
        if self.is_chinese() { chinese::action_done(message).unwrap_or(message) } else { message }
    }

    /// Why the request of a job in this state cannot be changed; `reason` is the answer of the state machine.
    pub(in crate::server::admin) fn edit_rejected(&self, state: StateName, reason: String) -> String {
        match self.is_chinese() && !matches!(state, StateName::Pending | StateName::Held) {
            true => {
                format!("太晚了，任务已经提交，现在的状态是“{}”：不能再修改，可以再次运行", self.state(state))
            }
            false => reason,
        }
    }

    /// Why a job in this state rejected an action; `reason` is the answer of the state machine.
    pub(in crate::server::admin) fn action_rejected(
        &self,
        action: OperatorAction,
        state: StateName,
        reason: String,
    ) -> String {
        if self.is_chinese() { chinese::action_rejected(action, state) } else { reason }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use strum::VariantArray;

    use super::*;
    use crate::clock::Timestamp;
    use crate::job::event::Event;
    use crate::job::history::HistoryEvent;
    use crate::job::hold::HoldReason;
    use crate::job::notification::JobNotification;
    use crate::job::policy::PollingPolicy;
    use crate::job::record::Record;
    use crate::job::step::{ActionReply, Moment, step};
    use crate::job::{Job, TaskId};
    use crate::server::admin::page::messages::chinese::CHINESE;
    use crate::server::admin::page::messages::english::ENGLISH;

    /// A job in every state, held for every reason and from every state.
    fn jobs() -> Vec<Job> {
        let now = Some(Timestamp::from_millis(0));
        let record = |state, reason, held_from| Record {
            state,
            reason,
            reason_detail: Some(String::new()),
            held_from,
            pending_attempt_number: Some(1),
            pending_attempt_created_at: now,
            pending_attempt_outcome_unknown: Some(false),
            task_id: TaskId::parse("task-1"),
            due_at: now,
            tries: Some(0),
            state_since: now,
            ..Record::default()
        };
        let mut records: Vec<_> =
            StateName::VARIANTS.iter().map(|state| record(*state, None, None)).collect();
        let failing = |state: &StateName| Record {
            tries: Some(1),
            failing_since: now,
            cancel_requested: true,
            ..record(*state, None, None)
        };
        records.extend(StateName::VARIANTS.iter().map(failing));
        for reason in HoldReason::VARIANTS {
            let held = |from: &StateName| record(StateName::Held, Some(*reason), Some(*from));
            records.extend(StateName::VARIANTS.iter().map(held));
        }
        records.into_iter().filter_map(|record| Job::restore(record).ok()).collect()
    }

    #[test]
    fn every_result_of_an_action_is_in_chinese_too() {
        let moment = Moment { now: Timestamp::from_millis(0), jitter: 0.5, policy: &PollingPolicy::DEFAULT };
        let (mut done, mut rejected) = (BTreeSet::new(), 0);
        for job in jobs() {
            for action in OperatorAction::VARIANTS {
                match step(&job, &Event::Operator(*action), moment).reply {
                    Some(ActionReply::Done(message)) => drop(done.insert(message)),
                    Some(ActionReply::Rejected(reason)) => {
                        let chinese = CHINESE.action_rejected(*action, job.state_name(), reason.clone());
                        assert!(!chinese.is_ascii(), "{chinese}");
                        assert_eq!(
                            ENGLISH.action_rejected(*action, job.state_name(), reason.clone()),
                            reason
                        );
                        rejected += 1;
                    }
                    None => panic!("no reply to {action}"),
                }
            }
        }
        let missing: Vec<_> = done.iter().filter(|message| chinese::action_done(message).is_none()).collect();
        assert!(missing.is_empty(), "add to `ACTIONS_DONE` in chinese.rs: {missing:#?}");
        let unused: Vec<_> = chinese::ACTIONS_DONE.iter().filter(|(text, _)| !done.contains(text)).collect();
        assert!(unused.is_empty(), "no action answers with these: {unused:#?}");
        assert!(done.len() >= 5 && rejected >= 5, "{done:#?} {rejected}");
    }

    #[test]
    fn every_event_and_reason_is_in_chinese_too() {
        for event in HistoryEvent::VARIANTS {
            assert_eq!(ENGLISH.history_event(event.into_str()), event.into_str().replace('_', " "));
            assert!(!CHINESE.history_event(event.into_str()).is_ascii(), "{event:?}");
        }
        for event in JobNotification::VARIANTS {
            assert!(!CHINESE.notification(event.into_str()).is_ascii(), "{event:?}");
        }
        for reason in HoldReason::VARIANTS {
            assert!(!chinese::hold_reason(*reason).is_ascii(), "{reason:?}");
        }
        assert_eq!(CHINESE.history_event("of_another_version"), "of another version");
    }
}
