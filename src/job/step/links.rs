//! The links of outputs: adopted from status answers, confirmed as refused, and when to ask for fresh ones.

use crate::clock::Timestamp;
use crate::job::event::ReportedOutput;
use crate::job::output::{Output, OutputKey, OutputState, Refusals, Waiting};
use crate::job::retry::{
    Backoff, LINK_LIFETIME, MAX_LINK_LIFETIME, OUTPUT_GRACE, OUTPUT_TIMEOUT, SLOW_POLL_INTERVAL,
};
use crate::job::state::{Schedule, State};
use crate::job::step::Change;

impl Change<'_> {
    /// Adopts the links of a status answer to a query sent at `sent_at`.
    pub(super) fn update_links(
        &mut self,
        reported: &[ReportedOutput],
        completed_at: Option<Timestamp>,
        sent_at: Timestamp,
    ) {
        let now = self.now();
        let completed = completed_at.or(self.job.facts.completed_at).unwrap_or(now);
        let latest_end = completed.plus(MAX_LINK_LIFETIME);
        for output in reported {
            let key = OutputKey { kind: output.kind, index: output.index };
            let stated = output.expires_at.map(|time| time.min(latest_end));
            let expires_at = stated.unwrap_or(completed.plus(LINK_LIFETIME));
            let Some(known) = self.job.outputs.iter_mut().find(|known| known.key == key) else {
                let timeout = stated.map_or(completed.plus(OUTPUT_TIMEOUT), |time| time.plus(OUTPUT_GRACE));
                let state = OutputState::Waiting(Waiting {
                    link: output.link.clone(),
                    due: now,
                    tries: 0,
                    refusals: Refusals::default(),
                    invalid_downloads: 0,
                    give_up_at: timeout.max(now.plus(OUTPUT_GRACE)),
                    blocked: None,
                    spooled: false,
                });
                self.job.outputs.push(Output { key, expires_at, state });
                continue;
            };
            if let Some(waiting) = known.waiting_mut() {
                if waiting.spooled {
                    // Its upload needs none; but where the daemon that has it is gone, another one downloads it again.
                    waiting.link = output.link.clone();
                    known.expires_at = expires_at;
                    continue;
                }
                let another_file = file_of(waiting.link.expose()) != file_of(output.link.expose());
                if waiting.link != output.link {
                    // Its tries stay: where each answer has another link, the waits must grow all the same.
                    waiting.due = now;
                    waiting.link = output.link.clone();
                }
                if another_file {
                    waiting.refusals = Refusals::default();
                    // The new link may work. But a job that is held stays held until its file is stored: a new link in
                    // each answer would hold it again and again.
                    if matches!(self.job.state, State::Downloading(_)) {
                        waiting.blocked = None;
                    }
                }
                known.expires_at = expires_at;
            }
        }
        self.confirm_refusals(sent_at);
        let waiting = self.job.outputs.iter().filter(|output| output.waiting().is_some());
        let first_to_expire = waiting.map(|output| output.expires_at).min();
        self.job.facts.expires_at = first_to_expire.or(self.job.facts.expires_at);
    }

    /// The provider has answered a query sent at `sent_at`. A link that was refused before that and that the answer did
    /// not replace counts as refused for good.
    pub(super) fn confirm_refusals(&mut self, sent_at: Timestamp) {
        for waiting in self.job.outputs.iter_mut().filter_map(Output::waiting_mut) {
            waiting.refusals.confirmed |= waiting.refusals.last.is_some_and(|last| last < sent_at);
        }
    }

    /// When to poll for links next: with a backoff while a download fails or none is known, else once the first link
    /// has expired.
    pub(super) fn next_link_poll(&self, schedule: Schedule, not_before: Option<Timestamp>) -> Schedule {
        let now = self.now();
        if matches!(self.job.state, State::Held(_)) {
            return Schedule { due: now.plus(SLOW_POLL_INTERVAL), ..schedule };
        }
        // One that is downloaded needs no link.
        let waiting = || self.job.outputs.iter().filter_map(Output::waiting).filter(|output| !output.spooled);
        if self.job.outputs.is_empty() || waiting().any(Waiting::is_failing) {
            return self.retry_later(schedule, Backoff::FRESH_LINK, not_before);
        }
        let first = self.job.facts.expires_at.unwrap_or(now);
        Schedule { due: first.max(now.plus(SLOW_POLL_INTERVAL)), tries: 0, ..schedule }
    }

    /// Whether some output may still be downloaded from the link that is known.
    pub(super) fn has_working_link(&self) -> bool {
        let waiting = self.job.outputs.iter().filter_map(Output::waiting);
        waiting.into_iter().any(|waiting| waiting.refusals.count == 0)
    }
}

/// A link without its signature: a gateway may sign the link to one file again in each answer.
fn file_of(link: &str) -> &str {
    link.split(['?', '#']).next().unwrap_or(link)
}
