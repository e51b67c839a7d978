//! From completed to stored: links, refusals, files.

use crate::clock::Timestamp;
use crate::failpoints::{Bug, planted};
use crate::job::TaskId;
use crate::job::event::{FetchFailure, Phase, SeenOutput, StatusVerdict, TaskFacts};
use crate::job::hold::{HeldFrom, HoldReason};
use crate::job::output::{Output, OutputKey, OutputState, Refusals, Stored};
use crate::job::retry::{
    Backoff, LINK_LIFE, LONGEST_LINK_LIFE, NOT_READY_PATIENCE, OUTPUT_PATIENCE, UNFIT_LIMIT,
};
use crate::job::state::{Fetching, Schedule, State};
use crate::job::step::Change;

impl Change<'_> {
    pub(super) fn completed(&mut self, task: TaskId, facts: &TaskFacts) {
        let now = self.now();
        let count = facts.outputs.len();
        self.note("completed", format!("{count} output{}", if count == 1 { "" } else { "s" }));
        self.job.cancel_wanted = false;
        self.job.knocked_at = None;
        self.job.learned.remark = None;
        self.take_links(&facts.outputs, facts.completed_at);
        // A completion may be told before its outputs are: then the next question is for them.
        let refresh = count == 0;
        let due = if refresh { now.plus(self.wait(Backoff::FRESH_LINK, 0)) } else { now };
        let pace = Schedule::starting(now, due);
        self.job.state = State::Downloading(Fetching { task, pace, refresh, asked_at: Some(now) });
    }

    pub(super) fn fetching_asked(&mut self, fetching: Fetching, verdict: &StatusVerdict) {
        let now = self.now();
        let mut fetching = Fetching { asked_at: Some(now), ..fetching };
        match verdict {
            StatusVerdict::Seen(facts) => match facts.phase {
                Phase::Completed => {
                    self.job.learned.cost = facts.cost.or(self.job.learned.cost);
                    let fresh = self.take_links(&facts.outputs, facts.completed_at);
                    fetching.refresh = self.job.outputs.is_empty();
                    fetching.pace.due = if fresh { now } else { self.refetch_due(&fetching) };
                }
                Phase::Failed | Phase::Cancelled => {
                    return self.ended_after_completion(fetching.task, facts);
                }
                Phase::Queued | Phase::Processing | Phase::Unclear(_) => {
                    fetching.pace = self.again(fetching.pace, Backoff::FRESH_LINK, None);
                }
            },
            StatusVerdict::Missing => {
                self.confirm_refusals();
                fetching.refresh = self.job.outputs.is_empty();
                fetching.pace.due = self.refetch_due(&fetching);
            }
            StatusVerdict::Unanswered { why, not_before } => {
                self.job.learned.remark = Some(why.clone());
                fetching.pace = self.again(fetching.pace, Backoff::FRESH_LINK, *not_before);
            }
        }
        if self.job.outputs.is_empty() {
            fetching.pace.tries = fetching.pace.tries.saturating_add(1);
            if now.since(fetching.pace.since) >= OUTPUT_PATIENCE {
                let detail = format!("task {}", fetching.task);
                return self.hold(HoldReason::NoOutput, detail, HeldFrom::Downloading(fetching));
            }
        }
        self.job.state = State::Downloading(fetching);
    }

    /// A link refused before and not replaced is given time; after anything else the time has been given already.
    fn refetch_due(&self, fetching: &Fetching) -> Timestamp {
        let refused = |output: &Output| match &output.state {
            OutputState::Waiting { refusals, .. } => refusals.count > 0,
            OutputState::Stored(_) | OutputState::Lost => false,
        };
        if !self.job.outputs.is_empty() && !self.job.outputs.iter().any(refused) {
            return self.now();
        }
        self.now().plus(self.wait(Backoff::FRESH_LINK, fetching.pace.tries))
    }

    /// Takes over the links of a status answer. True if any output has a link it did not have before.
    fn take_links(&mut self, seen: &[SeenOutput], completed_at: Option<Timestamp>) -> bool {
        self.confirm_refusals();
        let completed = completed_at.or(self.job.learned.completed_at).unwrap_or(self.now());
        let mut fresh = false;
        let seen = if planted(Bug::SecondOutputIgnored) { &seen[..seen.len().min(1)] } else { seen };
        for output in seen {
            let key = OutputKey { kind: output.kind, index: output.index };
            let told = output.expires_at.unwrap_or(completed.plus(LINK_LIFE));
            let expires_at = told.min(completed.plus(LONGEST_LINK_LIFE));
            match self.job.outputs.iter_mut().find(|known| known.key == key) {
                None => {
                    let link = output.link.clone();
                    let state = OutputState::Waiting { link, refusals: Refusals::default(), unfit: 0 };
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
        let first_death = self.job.outputs.iter().filter(|output| output.is_waiting());
        self.job.learned.expires_at =
            first_death.map(|output| output.expires_at).min().or(self.job.learned.expires_at);
        fresh
    }

    /// A status answer has come since: links refused before it are refused for good unless it brings others.
    fn confirm_refusals(&mut self) {
        for output in &mut self.job.outputs {
            if let OutputState::Waiting { refusals, .. } = &mut output.state {
                refusals.confirmed |= refusals.count > 0;
            }
        }
    }

    pub(super) fn fetch_failed(&mut self, key: OutputKey, failure: &FetchFailure) {
        let State::Downloading(mut fetching) = self.job.state.clone() else {
            return;
        };
        match failure {
            FetchFailure::LinkRefused { status, host } => {
                let why = format!("{host} refused the link of {key} with HTTP {status}");
                self.refuse_link(key, *status, &why, &fetching);
                if self.settle(&fetching.task) {
                    return;
                }
                self.job.learned.remark = Some(format!("{why}; asking for a fresh one"));
                fetching.refresh = true;
                fetching.pace = self.again(fetching.pace, Backoff::FRESH_LINK, None);
            }
            FetchFailure::Passing { why, not_before } => {
                self.job.learned.remark = Some(why.clone());
                fetching.pace = self.again(fetching.pace, Backoff::FETCH, *not_before);
            }
            FetchFailure::Unfit { why } => {
                self.note("quarantined", format!("{key}: {why}"));
                if self.count_unfit(key) >= UNFIT_LIMIT {
                    let detail = format!("{key}: {why}");
                    return self.hold(HoldReason::OutputUnfit, detail, HeldFrom::Downloading(fetching));
                }
                self.job.learned.remark = Some(format!("{key} was not what it should be: {why}"));
                fetching.refresh = true;
                fetching.pace = self.again(fetching.pace, Backoff::FETCH, None);
            }
            FetchFailure::Forbidden { why } => {
                return self.hold(HoldReason::MediaForbidden, why.clone(), HeldFrom::Downloading(fetching));
            }
        }
        self.job.state = State::Downloading(fetching);
    }

    fn refuse_link(&mut self, key: OutputKey, status: u16, why: &str, fetching: &Fetching) {
        let now = self.now();
        let Some(output) = self.job.outputs.iter_mut().find(|output| output.key == key) else {
            return;
        };
        let OutputState::Waiting { refusals, .. } = &mut output.state else {
            return;
        };
        refusals.count = refusals.count.saturating_add(1);
        refusals.gone |= status == 410;
        // Never by our clock alone: a refusal, a fresh answer without another link, and the refusal again.
        let overdue = now >= output.expires_at && now.since(fetching.pace.since) >= NOT_READY_PATIENCE;
        let dead = refusals.confirmed && (refusals.gone || overdue);
        let first = refusals.count == 1;
        if dead {
            output.state = OutputState::Lost;
            self.note("link_expired", why.to_owned());
        } else if first {
            self.note("link_refused", why.to_owned());
        }
    }

    fn count_unfit(&mut self, key: OutputKey) -> u32 {
        let output = self.job.outputs.iter_mut().find(|output| output.key == key);
        match output.map(|output| &mut output.state) {
            Some(OutputState::Waiting { unfit, .. }) => {
                *unfit = unfit.saturating_add(1);
                *unfit
            }
            Some(OutputState::Stored(_) | OutputState::Lost) | None => 0,
        }
    }

    pub(super) fn stored(&mut self, stored: &Stored) {
        let file = stored.file().clone();
        if let Some(output) = self.job.outputs.iter_mut().find(|output| output.key == stored.key()) {
            output.state = OutputState::Stored(file.clone());
            self.note("stored", file.path);
        } else {
            self.note("ignored", format!("a file of no known output: {}", file.path));
        }
        let fetching = match &self.job.state {
            State::Downloading(fetching) => Some(fetching.clone()),
            State::Held(hold) => match &hold.back_to {
                HeldFrom::Downloading(fetching) => Some(fetching.clone()),
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
        let Some(mut fetching) = fetching else {
            return;
        };
        if !self.settle(&fetching.task) && matches!(self.job.state, State::Downloading(_)) {
            self.job.learned.remark = None;
            fetching.pace.tries = 0;
            self.job.state = State::Downloading(fetching);
        }
    }

    /// Ends the job once no output waits any more. True if it did.
    fn settle(&mut self, task: &TaskId) -> bool {
        let outputs = &self.job.outputs;
        if outputs.is_empty() || outputs.iter().any(Output::is_waiting) {
            return false;
        }
        let lost = outputs.iter().filter(|output| matches!(output.state, OutputState::Lost)).count();
        let task = task.clone();
        if lost == 0 {
            self.end("succeeded", "", State::Succeeded { task });
        } else {
            self.end("expired", format!("{lost} of {} outputs lost", outputs.len()), State::Expired { task });
        }
        true
    }

    pub(super) fn time_came(&mut self) {
        let fetching = match &self.job.state {
            State::Downloading(_) => true,
            State::Held(hold) => matches!(hold.back_to, HeldFrom::Downloading(_)),
            State::Pending { .. }
            | State::Submitting { .. }
            | State::Queued(_)
            | State::Processing(_)
            | State::Succeeded { .. }
            | State::Failed { .. }
            | State::Cancelled { .. }
            | State::Expired { .. } => false,
        };
        let Some(expires_at) = self.job.learned.expires_at.filter(|_| fetching && !self.job.alerted) else {
            return;
        };
        if self.now() >= expires_at.minus(self.moment.terms.alert_before_expiry) {
            self.job.alerted = true;
            self.note("expiring", format!("the link dies at {expires_at} and the file is not stored yet"));
        }
    }
}
