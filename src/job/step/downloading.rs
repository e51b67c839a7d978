//! From completed to stored: links, refusals, files.

use crate::clock::Timestamp;
use crate::job::event::{DownloadFailure, Phase, ReportedOutput, StatusVerdict, TaskFacts};
use crate::job::history::HistoryEvent;
use crate::job::hold::HoldReason;
use crate::job::id::TaskId;
use crate::job::output::{Output, OutputKey, OutputState, Refusals, Stored};
use crate::job::retry::{
    Backoff, LINK_GRACE, LINK_LIFETIME, MAX_INVALID_DOWNLOADS, MAX_LINK_LIFETIME, NO_OUTPUT_TIMEOUT,
};
use crate::job::state::{Downloading, HeldFrom, Schedule, State};
use crate::job::step::Change;

/// The status message of a completed task without an output.
const NO_OUTPUT: &str = "the task is completed, but the provider's answer names no output that can be read";

impl Change<'_> {
    pub(super) fn completed(&mut self, task: TaskId, facts: &TaskFacts) {
        let now = self.now();
        let count = facts.outputs.len();
        let outputs = format!("{count} output{}", if count == 1 { "" } else { "s" });
        self.record(HistoryEvent::Completed, outputs);
        self.job.cancel_requested = false;
        self.job.callback_at = None;
        self.job.facts.status_message = (count == 0).then(|| NO_OUTPUT.to_owned());
        self.update_links(&facts.outputs, facts.completed_at);
        // The provider may report the completion before the outputs: then poll for them.
        let refresh_links = count == 0;
        let due = if refresh_links { now.plus(self.backoff(Backoff::FRESH_LINK, 0)) } else { now };
        let schedule = Schedule::starting(now, due);
        self.job.state =
            State::Downloading(Downloading { task, schedule, refresh_links, polled_at: Some(now) });
    }

    pub(super) fn polled_downloading(&mut self, downloading: Downloading, verdict: &StatusVerdict) {
        let now = self.now();
        let mut downloading = Downloading { polled_at: Some(now), ..downloading };
        match verdict {
            StatusVerdict::Answered(facts) => match facts.phase {
                Phase::Completed => {
                    self.job.facts.cost = facts.cost.or(self.job.facts.cost);
                    let fresh = self.update_links(&facts.outputs, facts.completed_at);
                    downloading.refresh_links = self.job.outputs.is_empty();
                    if downloading.refresh_links {
                        self.job.facts.status_message = Some(NO_OUTPUT.to_owned());
                    } else if fresh {
                        self.job.facts.status_message = None;
                    }
                    downloading.schedule.due = if fresh { now } else { self.next_download(&downloading) };
                }
                Phase::Failed | Phase::Cancelled => return self.task_ended(downloading.task, facts),
                Phase::Queued | Phase::Processing | Phase::Unclear(_) => {
                    downloading.schedule = self.retry_later(downloading.schedule, Backoff::FRESH_LINK, None);
                }
            },
            StatusVerdict::Missing => {
                self.confirm_refusals();
                downloading.refresh_links = self.job.outputs.is_empty();
                downloading.schedule.due = self.next_download(&downloading);
            }
            StatusVerdict::Unanswered { why, not_before } | StatusVerdict::Unreadable { why, not_before } => {
                self.job.facts.status_message = Some(why.clone());
                downloading.schedule =
                    self.retry_later(downloading.schedule, Backoff::FRESH_LINK, *not_before);
            }
        }
        if self.job.outputs.is_empty() {
            downloading.schedule.tries = downloading.schedule.tries.saturating_add(1);
            if now.since(downloading.schedule.since) >= NO_OUTPUT_TIMEOUT {
                let detail = format!("task {}", downloading.task);
                return self.hold(HoldReason::NoOutput, detail, HeldFrom::Downloading(downloading));
            }
        }
        self.job.state = State::Downloading(downloading);
    }

    /// A refused link that was not replaced is given time; after other failures the backoff has already passed.
    fn next_download(&self, downloading: &Downloading) -> Timestamp {
        let refused = |output: &Output| match &output.state {
            OutputState::Waiting { refusals, .. } => refusals.count > 0,
            OutputState::Stored(_) | OutputState::Lost => false,
        };
        if !self.job.outputs.is_empty() && !self.job.outputs.iter().any(refused) {
            return self.now();
        }
        self.now().plus(self.backoff(Backoff::FRESH_LINK, downloading.schedule.tries))
    }

    /// Adopts the links of a status answer. True if any output has a new link.
    fn update_links(&mut self, reported: &[ReportedOutput], completed_at: Option<Timestamp>) -> bool {
        self.confirm_refusals();
        let completed = completed_at.or(self.job.facts.completed_at).unwrap_or(self.now());
        let mut fresh = false;
        for output in reported {
            let key = OutputKey { kind: output.kind, index: output.index };
            let expires_at = output.expires_at.unwrap_or(completed.plus(LINK_LIFETIME));
            let expires_at = expires_at.min(completed.plus(MAX_LINK_LIFETIME));
            match self.job.outputs.iter_mut().find(|known| known.key == key) {
                None => {
                    let (link, refusals) = (output.link.clone(), Refusals::default());
                    let state = OutputState::Waiting { link, refusals, invalid_downloads: 0 };
                    self.job.outputs.push(Output { key, expires_at, state });
                    fresh = true;
                }
                Some(known) => {
                    if let OutputState::Waiting { link, refusals, .. } = &mut known.state {
                        if *link != output.link {
                            *link = output.link.clone();
                            *refusals = Refusals::default();
                            fresh = true;
                        }
                        known.expires_at = expires_at;
                    }
                }
            }
        }
        let waiting = self.job.outputs.iter().filter(|output| output.is_waiting());
        let first_to_expire = waiting.map(|output| output.expires_at).min();
        self.job.facts.expires_at = first_to_expire.or(self.job.facts.expires_at);
        fresh
    }

    /// A status answer arrived: a link refused before it counts as refused for good unless the answer replaces it.
    fn confirm_refusals(&mut self) {
        for output in &mut self.job.outputs {
            if let OutputState::Waiting { refusals, .. } = &mut output.state {
                refusals.confirmed |= refusals.count > 0;
            }
        }
    }

    pub(super) fn download_failed(&mut self, key: OutputKey, failure: &DownloadFailure) {
        let State::Downloading(mut downloading) = self.job.state.clone() else {
            return;
        };
        match failure {
            DownloadFailure::LinkRefused { status, host } => {
                let why = format!("{host} refused the link of {key} with HTTP {status}");
                self.link_refused(key, *status, &why, &downloading);
                if self.finish_if_settled(&downloading.task) {
                    return;
                }
                self.job.facts.status_message = Some(format!("{why}; polling for a fresh one"));
                downloading.refresh_links = true;
                downloading.schedule = self.retry_later(downloading.schedule, Backoff::FRESH_LINK, None);
            }
            DownloadFailure::Transient { why, not_before } => {
                self.job.facts.status_message = Some(why.clone());
                downloading.schedule = self.retry_later(downloading.schedule, Backoff::DOWNLOAD, *not_before);
            }
            DownloadFailure::Invalid { why } => {
                self.record(HistoryEvent::Quarantined, format!("{key}: {why}"));
                if self.count_invalid_download(key) >= MAX_INVALID_DOWNLOADS {
                    let detail = format!("{key}: {why}");
                    return self.hold(HoldReason::InvalidOutput, detail, HeldFrom::Downloading(downloading));
                }
                self.job.facts.status_message = Some(format!("download of {key} was invalid: {why}"));
                downloading.refresh_links = true;
                downloading.schedule = self.retry_later(downloading.schedule, Backoff::DOWNLOAD, None);
            }
            DownloadFailure::Forbidden { kind, why } => {
                let held_from = HeldFrom::Downloading(downloading);
                return self.hold(kind.hold_reason(), why.clone(), held_from);
            }
        }
        self.job.state = State::Downloading(downloading);
    }

    fn link_refused(&mut self, key: OutputKey, status: u16, why: &str, downloading: &Downloading) {
        let now = self.now();
        let Some(output) = self.job.outputs.iter_mut().find(|output| output.key == key) else {
            return;
        };
        let OutputState::Waiting { refusals, .. } = &mut output.state else {
            return;
        };
        refusals.count = refusals.count.saturating_add(1);
        refusals.gone |= status == 410;
        // Never by our clock alone: it takes a refusal, a status answer without another link, and a refusal again.
        let overdue = now >= output.expires_at && now.since(downloading.schedule.since) >= LINK_GRACE;
        let expired = refusals.confirmed && (refusals.gone || overdue);
        let first = refusals.count == 1;
        if expired {
            output.state = OutputState::Lost;
            self.record(HistoryEvent::LinkExpired, why);
        } else if first {
            self.record(HistoryEvent::LinkRefused, why);
        }
    }

    fn count_invalid_download(&mut self, key: OutputKey) -> u32 {
        let output = self.job.outputs.iter_mut().find(|output| output.key == key);
        match output.map(|output| &mut output.state) {
            Some(OutputState::Waiting { invalid_downloads, .. }) => {
                *invalid_downloads = invalid_downloads.saturating_add(1);
                *invalid_downloads
            }
            Some(OutputState::Stored(_) | OutputState::Lost) | None => 0,
        }
    }

    pub(super) fn stored(&mut self, stored: &Stored) {
        let file = stored.file().clone();
        if let Some(output) = self.job.outputs.iter_mut().find(|output| output.key == stored.key()) {
            output.state = OutputState::Stored(file.clone());
            self.record(HistoryEvent::Stored, file.path);
        } else {
            self.record(HistoryEvent::Ignored, format!("file of an unknown output: {}", file.path));
        }
        let downloading = match &self.job.state {
            State::Downloading(downloading) => Some(downloading.clone()),
            State::Held(hold) => match &hold.held_from {
                HeldFrom::Downloading(downloading) => Some(downloading.clone()),
                HeldFrom::Pending(_) | HeldFrom::Submitting(..) | HeldFrom::Running(_) => None,
            },
            State::Pending { .. }
            | State::Submitting { .. }
            | State::Queued(_)
            | State::Processing(_)
            | State::Succeeded { .. }
            | State::Failed { .. }
            | State::Cancelled { .. }
            | State::Expired { .. } => None,
        };
        let Some(mut downloading) = downloading else {
            return;
        };
        let finished = self.finish_if_settled(&downloading.task);
        if !finished && matches!(self.job.state, State::Downloading(_)) {
            self.job.facts.status_message = None;
            downloading.schedule.tries = 0;
            self.job.state = State::Downloading(downloading);
        }
    }

    /// Ends the job once no output is waiting. True if it did.
    fn finish_if_settled(&mut self, task: &TaskId) -> bool {
        let outputs = &self.job.outputs;
        if outputs.is_empty() || outputs.iter().any(Output::is_waiting) {
            return false;
        }
        let lost = outputs.iter().filter(|output| matches!(output.state, OutputState::Lost)).count();
        let task = task.clone();
        if lost == 0 {
            self.end(HistoryEvent::Succeeded, "", State::Succeeded { task });
        } else {
            let detail = format!("{lost} of {} outputs lost", outputs.len());
            self.end(HistoryEvent::Expired, detail, State::Expired { task });
        }
        true
    }
}
