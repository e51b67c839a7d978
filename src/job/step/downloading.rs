//! From completed to stored. Each output is tried and given up by itself; the job ends once all are settled.

use crate::clock::Timestamp;
use crate::job::JobError;
use crate::job::event::{DownloadFailure, Phase, StatusVerdict, TaskFacts};
use crate::job::history::HistoryEvent;
use crate::job::hold::HoldReason;
use crate::job::id::TaskId;
use crate::job::output::{Blocked, Output, OutputKey, OutputState, Refusals, Stored, Waiting};
use crate::job::retry::{
    Backoff, LINK_GRACE, MAX_DOWNLOAD_WAIT, MAX_INVALID_DOWNLOADS, NO_OUTPUT_TIMEOUT, SLOW_POLL_INTERVAL,
};
use crate::job::state::{Downloading, HeldFrom, Schedule, State};
use crate::job::step::Change;

/// The status message of a completed task without an output.
const NO_OUTPUT: &str = "the task is completed, but the provider's answer names no output that can be read";

impl Change<'_> {
    /// The provider has completed the task, as it answered to a query sent at `sent_at`.
    pub(super) fn completed(&mut self, task: TaskId, facts: &TaskFacts, sent_at: Timestamp) {
        let now = self.now();
        let count = facts.outputs.len();
        let outputs = format!("{count} output{}", if count == 1 { "" } else { "s" });
        self.record(HistoryEvent::Completed, outputs);
        self.job.cancel_requested = false;
        self.job.callback_at = None;
        self.job.facts.status_message = (count == 0).then(|| NO_OUTPUT.to_owned());
        self.update_links(&facts.outputs, facts.completed_at, sent_at);
        let downloading = Downloading { task, schedule: Schedule::starting(now, now), polled_at: Some(now) };
        self.job.state = State::Downloading(downloading.clone());
        let schedule = self.next_link_poll(downloading.schedule, None);
        self.job.state = State::Downloading(Downloading { schedule, ..downloading });
    }

    /// A status query while the outputs are downloaded, or while the job is held for one of them.
    pub(super) fn polled_downloading(
        &mut self,
        mut downloading: Downloading,
        sent_at: Timestamp,
        verdict: &StatusVerdict,
    ) {
        downloading.polled_at = Some(self.now());
        self.space_settlement();
        let answered = matches!(verdict, StatusVerdict::Answered(_) | StatusVerdict::Missing);
        downloading.schedule.failing_since =
            (!answered).then_some(downloading.schedule.failing_since.unwrap_or(self.now()));
        let mut not_before = None;
        match verdict {
            StatusVerdict::Answered(facts) => match facts.phase {
                Phase::Completed => {
                    self.note_settlement(facts);
                    if self.job.outputs.is_empty() && facts.outputs.is_empty() {
                        self.job.facts.status_message = Some(NO_OUTPUT.to_owned());
                    } else if self.job.outputs.is_empty() {
                        self.record(HistoryEvent::Completed, "with outputs now");
                        self.job.facts.status_message = None;
                    }
                    self.update_links(&facts.outputs, facts.completed_at, sent_at);
                }
                Phase::Failed | Phase::Cancelled => {
                    self.confirm_refusals(sent_at);
                    // What the status says does not matter while the link of a paid video works.
                    if !self.has_working_link() {
                        return self.task_ended(downloading.task, facts, sent_at);
                    }
                }
                // Completed before: its links remain.
                Phase::Queued | Phase::Processing | Phase::Unclear(_) => {}
            },
            StatusVerdict::Missing => self.confirm_refusals(sent_at),
            StatusVerdict::Unreadable { why, not_before: time }
            | StatusVerdict::Unanswered { why, not_before: time } => {
                self.job.facts.status_message = Some(why.clone());
                not_before = *time;
            }
        }
        downloading.schedule = self.next_link_poll(downloading.schedule, not_before);
        self.settle(downloading);
    }

    /// What is left of an output is its upload: it has its own tries, and its link does not matter any more.
    pub(super) fn spooled(&mut self, task: &TaskId, key: OutputKey) {
        let Some(downloading) = self.downloading().cloned().filter(|found| found.task == *task) else {
            return self.ignore(format!("download of {key} of the earlier task {task}"));
        };
        let now = self.now();
        let output = self.job.outputs.iter_mut().find(|output| output.key == key);
        let Some(waiting) = output.and_then(Output::waiting_mut).filter(|waiting| !waiting.spooled) else {
            return;
        };
        waiting.spooled = true;
        (waiting.due, waiting.tries, waiting.blocked) = (now, 0, None);
        waiting.refusals = Refusals::default();
        self.job.facts.status_message = None;
        self.record(HistoryEvent::Spooled, key.to_string());
        self.settle(downloading);
    }

    pub(super) fn download_failed(&mut self, task: &TaskId, key: OutputKey, failure: &DownloadFailure) {
        let Some(mut downloading) = self.downloading().cloned() else { return };
        if downloading.task != *task {
            return self.ignore(format!("download of {key} of the earlier task {task}: {failure}"));
        }
        let Some(position) = self.job.outputs.iter().position(|output| output.key == key) else { return };
        let Output { expires_at, .. } = self.job.outputs[position];
        let Some(mut waiting) = self.job.outputs[position].waiting().cloned() else { return };
        let first_failure = !waiting.is_failing() && !waiting.spooled;
        let lost = self.count_failure(&mut waiting, key, expires_at, &downloading, failure);
        let output = &mut self.job.outputs[position];
        if lost {
            output.state = OutputState::Lost;
        } else {
            output.state = OutputState::Waiting(waiting);
            self.job.facts.status_message = Some(format!("{key}: {failure}"));
        }
        if first_failure {
            let soon = self.now().plus(self.backoff(Backoff::FRESH_LINK, 0));
            let schedule = Schedule { due: downloading.schedule.due.min(soon), ..downloading.schedule };
            downloading.schedule = schedule.spaced_from(downloading.polled_at);
        }
        self.settle(downloading);
    }

    /// Counts a failed download or upload of an output. True if the output is lost.
    fn count_failure(
        &mut self,
        waiting: &mut Waiting,
        key: OutputKey,
        expires_at: Timestamp,
        downloading: &Downloading,
        failure: &DownloadFailure,
    ) -> bool {
        let now = self.now();
        let why = failure.to_string();
        let mut not_before = None;
        let mut blocked = None;
        match failure {
            DownloadFailure::LinkRefused { status, .. } => {
                // Never by our clock alone: it takes a refusal, a status answer without another link, and a refusal again.
                // A host may also refuse a link that is not ready yet, but not as gone.
                let is_overdue = now >= expires_at.min(waiting.give_up_at)
                    && (*status == 410 || now.since(downloading.schedule.since) >= LINK_GRACE);
                if waiting.refusals.confirmed && is_overdue {
                    self.record(HistoryEvent::LinkExpired, format!("{key}: {why}"));
                    let message = format!("{key}: {why}, and the provider has no fresh link");
                    self.job.facts.error = Some(JobError { code: "link_expired".into(), message });
                    return true;
                }
                if waiting.refusals.count == 0 {
                    self.record(HistoryEvent::LinkRefused, format!("{key}: {why}"));
                }
                waiting.refusals.count = waiting.refusals.count.saturating_add(1);
                waiting.refusals.last = Some(now);
            }
            DownloadFailure::Transient { not_before: time, .. } => not_before = *time,
            DownloadFailure::Invalid { .. } => {
                self.record(HistoryEvent::Quarantined, format!("{key}: {why}"));
                waiting.invalid_downloads = waiting.invalid_downloads.saturating_add(1);
                if waiting.invalid_downloads >= MAX_INVALID_DOWNLOADS {
                    blocked = Some(HoldReason::InvalidOutput);
                }
            }
            DownloadFailure::Forbidden { kind, .. } => blocked = Some(kind.hold_reason()),
            DownloadFailure::NotUploaded { .. } if now >= waiting.give_up_at => {
                blocked = Some(HoldReason::UploadFailing);
            }
            DownloadFailure::NotUploaded { .. } => {}
            DownloadFailure::NotSpooled { .. } => {
                (waiting.spooled, waiting.due, waiting.tries, waiting.blocked) = (false, now, 0, None);
                return false;
            }
        }
        if now >= waiting.give_up_at {
            blocked = blocked.or(Some(HoldReason::OutputUnreachable));
        }
        if let Some(reason) = blocked {
            waiting.blocked = Some(Blocked { reason, detail: why });
        }
        let wait = match waiting.blocked {
            Some(_) => SLOW_POLL_INTERVAL,
            None => self.backoff(Backoff::DOWNLOAD, waiting.tries),
        };
        let not_before = not_before.map(|time| time.min(now.plus(MAX_DOWNLOAD_WAIT)));
        waiting.due = now.plus(wait).max(not_before.unwrap_or(now));
        waiting.tries = waiting.tries.saturating_add(1);
        false
    }

    pub(super) fn stored(&mut self, stored: &Stored) {
        let file = stored.file().clone();
        let of_this_task = self.job.task() == Some(stored.task());
        let output = self.job.outputs.iter_mut().find(|output| output.key == stored.key());
        let Some(output) = output.filter(|_| of_this_task) else {
            return self.ignore(format!("file of the earlier task {}: {}", stored.task(), file.path));
        };
        output.state = OutputState::Stored(file.clone());
        self.record(HistoryEvent::Stored, file.path);
        if let Some(downloading) = self.downloading().cloned() {
            self.job.facts.status_message = None;
            self.settle(downloading);
        }
    }

    /// The data of a job whose outputs are being downloaded, or that is held for one of them.
    fn downloading(&self) -> Option<&Downloading> {
        match &self.job.state {
            State::Downloading(downloading) => Some(downloading),
            State::Held(hold) => match &hold.held_from {
                HeldFrom::Downloading(downloading) => Some(downloading),
                HeldFrom::Pending(..) | HeldFrom::Submitting(..) | HeldFrom::Running(_) => None,
            },
            State::Pending { .. }
            | State::Submitting { .. }
            | State::Queued(_)
            | State::Processing(_)
            | State::Succeeded { .. }
            | State::Failed { .. }
            | State::Cancelled { .. }
            | State::Expired { .. } => None,
        }
    }

    /// Decides what its outputs mean for the job: it continues, is held for what needs the operator, or ends.
    fn settle(&mut self, downloading: Downloading) {
        let outputs = &self.job.outputs;
        let held = matches!(self.job.state, State::Held(_));
        let is_open = |waiting: &Waiting| waiting.blocked.is_none();
        if outputs.is_empty() {
            if held {
                return self.stay_held(downloading);
            }
            if self.now().since(downloading.schedule.since) >= NO_OUTPUT_TIMEOUT {
                let detail = format!("task {}", downloading.task);
                return self.hold(HoldReason::NoOutput, detail, HeldFrom::Downloading(downloading));
            }
            self.job.state = State::Downloading(downloading);
        } else if outputs.iter().filter_map(Output::waiting).any(is_open) {
            self.job.state = State::Downloading(downloading);
        } else if let Some((reason, missing)) = self.blocked_outputs() {
            if let State::Held(hold) = &mut self.job.state {
                hold.detail = missing;
                return self.stay_held(downloading);
            }
            self.hold(reason, missing, HeldFrom::Downloading(downloading));
        } else {
            self.finish(downloading.task);
        }
    }

    /// The first output that needs the operator: why, and what to say about all that are missing.
    fn blocked_outputs(&self) -> Option<(HoldReason, String)> {
        let blocked = |output: &Output| {
            let blocked = output.waiting()?.blocked.as_ref()?;
            Some((blocked.reason, format!("{}: {}", output.key, blocked.detail)))
        };
        let missing: Vec<_> = self.job.outputs.iter().filter_map(blocked).collect();
        let reason = missing.first()?.0;
        let details: Vec<_> = missing.into_iter().map(|(_, detail)| detail).collect();
        Some((reason, details.join("; ")))
    }

    fn stay_held(&mut self, downloading: Downloading) {
        if let State::Held(hold) = &mut self.job.state {
            hold.held_from = HeldFrom::Downloading(downloading);
        }
    }

    /// Every output is stored or lost.
    fn finish(&mut self, task: TaskId) {
        let outputs = &self.job.outputs;
        let lost = outputs.iter().filter(|output| matches!(output.state, OutputState::Lost)).count();
        if lost == 0 {
            self.job.facts.error = None;
            self.end(HistoryEvent::Succeeded, "", State::Succeeded { task });
        } else {
            let detail = format!("{lost} of {} outputs lost", outputs.len());
            self.end(HistoryEvent::Expired, detail, State::Expired { task });
        }
    }
}
