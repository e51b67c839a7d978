//! The buttons that open the sheet on the request of a job: to run it again, or to edit it before it is submitted.

use crate::job::state::State;
use crate::job::{Job, JobError};
use crate::server::admin::page::messages::Messages;

/// Words of providers and relays for a text or a picture that they do not accept. There is no list of their codes.
const REFUSED_CONTENT: &[&str] = &[
    "content policy",
    "content_policy",
    "content violation",
    "content_violation",
    "data_inspection",
    "datainspection",
    "inappropriate",
    "moderation",
    "nsfw",
    "prohibited content",
    "risk control",
    "risk_control",
    "safety",
    "sensitive",
    "审核",
    "敏感",
    "违规",
];

/// A button that opens the sheet.
pub(super) struct ReworkButton {
    /// `again` or `edit`.
    pub kind: &'static str,
    pub label: &'static str,
}

/// The buttons that a job has, the most likely first. An adopted task has no request.
pub(super) fn buttons(job: &Job, m: &'static Messages) -> Vec<ReworkButton> {
    let again = |label| ReworkButton { kind: "again", label };
    if job.identity().adopted {
        Vec::new()
    } else if job.edit_refusal().is_none() {
        vec![ReworkButton { kind: "edit", label: m.edit }, again(m.run_again)]
    } else if is_refused_content(job) {
        vec![again(m.edit_prompt)]
    } else {
        vec![again(m.run_again)]
    }
}

/// Whether the job failed or is held because its text or picture was refused.
pub(super) fn is_refused_content(job: &Job) -> bool {
    let detail = match job.state() {
        State::Held(hold) => hold.detail.clone(),
        State::Failed { .. } => String::new(),
        _ => return false,
    };
    let error = job.facts().error.as_ref();
    let text =
        error.map_or(detail.clone(), |JobError { code, message, .. }| format!("{code} {message} {detail}"));
    let text = text.to_lowercase();
    REFUSED_CONTENT.iter().any(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::job::record::Record;
    use crate::job::state::StateName;
    use crate::server::admin::page::messages::english::ENGLISH;

    fn job(state: StateName, code: &str, message: &str) -> Job {
        let now = Some(Timestamp::from_millis(0));
        let [error_code, error_message] = [code, message].map(|text| Some(text.to_owned()));
        let record = Record {
            state,
            due_at: now,
            state_since: now,
            tries: Some(0),
            error_code,
            error_message,
            ..Record::default()
        };
        Job::restore(record).unwrap()
    }

    #[test]
    fn refused_content_is_recognized_by_the_words_of_providers() {
        let cases = [
            ("content_policy_violation", "the task failed", true),
            ("task_failed", "Risk Control", true),
            ("DataInspectionFailed", "Input data may contain inappropriate content.", true),
            ("InvalidParameter", "提示词包含敏感内容", true),
            ("task_failed", "the task failed", false),
            ("invalid_request", "duration must be 5 or 10", false),
        ];
        for (code, message, is_refused) in cases {
            let failed = job(StateName::Failed, code, message);
            assert_eq!(is_refused_content(&failed), is_refused, "{code} {message}");
            let label = if is_refused { ENGLISH.edit_prompt } else { ENGLISH.run_again };
            assert_eq!(
                buttons(&failed, &ENGLISH).iter().map(|one| (one.kind, one.label)).collect::<Vec<_>>(),
                [("again", label)]
            );
        }
    }

    #[test]
    fn job_that_was_not_submitted_can_be_edited() {
        let kinds =
            |state| buttons(&job(state, "", ""), &ENGLISH).iter().map(|one| one.kind).collect::<Vec<_>>();
        assert_eq!(kinds(StateName::Pending), ["edit", "again"]);
        assert_eq!(kinds(StateName::Cancelled), ["again"]);
    }
}
