//! The texts of the page in English and Chinese. Texts about one occurrence (errors, status messages, details in the
//! history) are not translated: users look for them in logs and in the documentation.
//!
//! `{name}`, `{n}`, `{jobs}`, `{cost}`, `{balance}`, `{label}` and `{time}` are placeholders.

pub(super) mod batches;
pub(super) mod chinese;
pub(super) mod english;
mod findings;
pub(super) mod lists;
mod reports;
mod script_texts;
pub(super) mod timing;
pub(super) mod videos;

use crate::job::state::StateName;
use crate::job::suspension::SuspensionCause;

/// Every text of the page in one language.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::server::admin) struct Messages {
    /// By [`StateName`], in its order.
    states: [&'static str; 10],
    /// The language tag of this language.
    pub lang: &'static str,
    /// The language tag of the other language.
    pub other_lang: &'static str,
    /// The other language, in its own words.
    pub other_language: &'static str,
    /// The texts of the pages of videos and comparisons.
    pub videos: &'static videos::VideoMessages,
    /// The texts of the list of jobs.
    pub list: &'static lists::ListMessages,
    /// The texts about times and places at the provider.
    pub timing: &'static timing::TimingMessages,
    /// The texts about batches and what needs a person.
    pub batches: &'static batches::BatchMessages,
    /// Between a label and its value.
    pub colon: &'static str,
    pub overview: &'static str,
    pub jobs: &'static str,
    pub search: &'static str,
    pub search_hint: &'static str,
    pub skip: &'static str,
    pub new_job: &'static str,
    pub menu: &'static str,
    pub live: &'static str,
    /// This daemon leads.
    pub leads: &'static str,
    /// Before the name of the daemon that leads.
    pub follows: &'static str,
    pub disconnected: &'static str,
    pub submits_paused: &'static str,
    pub submits_suspended: &'static str,
    pub calls_suspended: &'static str,
    pub downloads_paused: &'static str,
    pub both_paused: &'static str,
    pub try_now: &'static str,
    pub ask_try_now: &'static str,
    pub trust_clock: &'static str,
    pub ask_trust_clock: &'static str,
    pub no_try: &'static str,
    pub take_over: &'static str,
    pub ask_take_over: &'static str,
    pub no_take_over: &'static str,
    pub needs_attention: &'static str,
    pub all_well: &'static str,
    pub system: &'static str,
    /// With `{files}`.
    pub leftovers: &'static str,
    pub running: &'static str,
    pub waiting: &'static str,
    pub none_running: &'static str,
    pub newest: &'static str,
    /// Before the path of the inbox.
    pub no_videos: &'static str,
    /// After the path of the inbox.
    pub no_videos_or: &'static str,
    pub spent_day: &'static str,
    pub balance: &'static str,
    pub balance_and_need: &'static str,
    pub waiting_need: &'static str,
    pub budget_day: &'static str,
    pub budget_month: &'static str,
    pub budget_line: &'static str,
    /// Before a time in the future.
    pub link_expires: &'static str,
    /// Before a time in the past.
    pub link_expired: &'static str,
    /// After the time.
    pub link_expires_end: &'static str,
    pub progress: &'static str,
    pub play: &'static str,
    pub state: &'static str,
    pub label: &'static str,
    pub label_hint: &'static str,
    pub filter: &'static str,
    pub clear: &'static str,
    pub none_match: &'static str,
    pub no_jobs: &'static str,
    pub older: &'static str,
    pub back_to_newest: &'static str,
    pub pause_submits: &'static str,
    pub pause_downloads: &'static str,
    pub resume: &'static str,
    pub ask_pause_submits: &'static str,
    pub ask_pause_downloads: &'static str,
    pub ask_resume: &'static str,
    pub pause: &'static str,
    pub no_pause: &'static str,
    pub no_resume: &'static str,
    pub cancel: &'static str,
    pub retry: &'static str,
    pub release: &'static str,
    pub cancel_all: &'static str,
    pub retry_all: &'static str,
    pub release_all: &'static str,
    /// The button that confirms a cancellation.
    pub confirm_cancel: &'static str,
    /// A button with its price.
    pub about_cost: &'static str,
    pub no_cancel: &'static str,
    pub no_retry: &'static str,
    pub no_release: &'static str,
    pub dismiss: &'static str,
    pub no_dismiss: &'static str,
    pub dismissed: &'static str,
    pub undismiss: &'static str,
    pub undismissed: &'static str,
    pub undo: &'static str,
    pub dismiss_all: &'static str,
    pub ask_dismiss_all: &'static str,
    pub ask_retry: &'static str,
    pub ask_retry_cost: &'static str,
    pub ask_release: &'static str,
    pub ask_release_may_pay: &'static str,
    pub ask_cancel_held: &'static str,
    pub ask_cancel_pending: &'static str,
    pub ask_cancel_running: &'static str,
    pub ask_cancel_downloading: &'static str,
    pub ask_retry_all: &'static str,
    /// After `ask_retry_all`, if the cost is known.
    pub last_cost: &'static str,
    pub ask_release_all: &'static str,
    pub ask_cancel_all: &'static str,
    /// `{jobs}` for a single job.
    pub one_job: &'static str,
    /// `{jobs}` for any other number.
    pub n_jobs: &'static str,
    pub retried: &'static str,
    pub released: &'static str,
    pub cancelled: &'static str,
    pub rejected: &'static str,
    pub request_failed: &'static str,
    pub unreachable: &'static str,
    pub drop_here: &'static str,
    pub paste_json: &'static str,
    pub choose_file: &'static str,
    pub form: &'static str,
    pub prompt: &'static str,
    pub model_name: &'static str,
    pub pictures: &'static str,
    pub first_frame: &'static str,
    pub last_frame: &'static str,
    pub choose_picture: &'static str,
    pub seed: &'static str,
    pub start_over: &'static str,
    pub run_again: &'static str,
    pub edit: &'static str,
    pub edit_prompt: &'static str,
    /// Before the request that an edit has changed.
    pub text_before: &'static str,
    pub length: &'static str,
    pub length_seconds: &'static str,
    pub resolution: &'static str,
    pub ratio: &'static str,
    pub variations: &'static str,
    pub name: &'static str,
    pub files: &'static str,
    pub files_hint: &'static str,
    pub no_submit: &'static str,
    pub submit: &'static str,
    pub outputs: &'static str,
    pub no_outputs: &'static str,
    pub request: &'static str,
    pub history: &'static str,
    pub details: &'static str,
    pub model: &'static str,
    pub cost: &'static str,
    /// What the job will probably cost, or was expected to.
    pub estimate: &'static str,
    pub task: &'static str,
    pub id: &'static str,
    pub created: &'static str,
    pub submitted: &'static str,
    pub completed: &'static str,
    pub finished: &'static str,
    pub labels: &'static str,
    pub warnings: &'static str,
    pub same_file: &'static str,
    /// Before the job whose request it runs again.
    pub again_of: &'static str,
    /// Before the jobs that run its request again.
    pub again_as: &'static str,
    pub hooks: &'static str,
    pub next_attempt: &'static str,
    pub from_host: &'static str,
    pub quota: &'static str,
    pub no_such_job: &'static str,
    pub ambiguous_job: &'static str,
    pub invalid_request: &'static str,
    pub failed: &'static str,
    pub back_to_overview: &'static str,
    pub scripts_off: &'static str,
    pub unit_s: &'static str,
    pub unit_min: &'static str,
    pub unit_h: &'static str,
    pub unit_d: &'static str,
    /// A time in the future.
    pub in_before: &'static str,
    pub in_after: &'static str,
    pub ago: &'static str,
    pub just_now: &'static str,
    /// An estimated time left.
    pub left_before: &'static str,
    pub left_after: &'static str,
}

impl Messages {
    pub(super) fn state(&self, state: StateName) -> &'static str {
        self.states[state as usize]
    }

    /// The fields for pictures in the form, and their labels.
    pub(super) fn picture_fields(&self) -> [(&'static str, &'static str); 3] {
        [("first", self.first_frame), ("last", self.last_frame), ("picture", self.pictures)]
    }

    /// What is suspended.
    pub(super) fn suspension(&self, cause: SuspensionCause) -> &'static str {
        match cause {
            SuspensionCause::PausedSubmits => self.submits_paused,
            SuspensionCause::PausedDownloads => self.downloads_paused,
            cause if cause.suspends_queries() => self.calls_suspended,
            _ => self.submits_suspended,
        }
    }
}

#[cfg(test)]
mod tests {
    use strum::VariantArray;

    use super::*;

    #[test]
    fn every_state_has_its_text() {
        for state in StateName::VARIANTS.iter().copied() {
            assert_eq!(english::ENGLISH.state(state), state.into_str());
        }
        assert_eq!(chinese::CHINESE.state(StateName::Held), "需人工处理");
    }

    #[test]
    fn chinese_texts_have_full_width_punctuation() {
        let source = concat!(
            include_str!("chinese.rs"),
            include_str!("lists.rs"),
            include_str!("script_texts.rs"),
            include_str!("timing.rs"),
            include_str!("videos.rs"),
            include_str!("batches.rs")
        );
        let is_chinese = |text: &str| text.chars().any(|c| matches!(c, '\u{4e00}'..='\u{9fff}'));
        let literals = source.lines().flat_map(|line| line.split('"').skip(1).step_by(2));
        let mut count = 0;
        for text in literals.filter(|text| is_chinese(text)) {
            // Names in code, such as `http:`, keep their punctuation.
            let prose: String = text.split('`').step_by(2).collect();
            assert!(!prose.contains([',', ';', '?', '!', ':', '(', ')']), "{text}");
            count += 1;
        }
        assert!(count > 150, "only {count} texts were found");
    }
}
