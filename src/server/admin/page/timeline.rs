//! The path that a job has taken, from its history: the states it was in, and for how long.

use std::time::Duration;

use crate::api::job::HistoryView;
use crate::clock::Timestamp;
use crate::job::history::HistoryEvent;
use crate::job::state::StateName;
use crate::job::usual_time::stopwatch;
use crate::server::admin::page::messages::Messages;

/// The width of the whole bar, in its own units.
const WIDTH: u64 = 1000;
/// The narrowest part of it, so that short states can be seen.
const MIN_WIDTH: u64 = 8;

/// Most states shown: the last ones.
const MAX_STEPS: usize = 30;

/// A state of the path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub state: StateName,
    pub text: &'static str,
    pub took: String,
    /// When it began, if it still lasts.
    pub since: Option<String>,
    /// Its part of the bar.
    pub left: u64,
    pub width: u64,
}

/// The states of a job, first to last, without the one it ended in.
pub(super) fn timeline(m: &Messages, history: &[HistoryView], now: Timestamp) -> Vec<Step> {
    let mut stays: Vec<Stay> = Vec::new();
    // What a released job was, which the word alone does not say.
    let mut has_task = false;
    for entry in history {
        let Ok(event) = entry.event.parse::<HistoryEvent>() else { continue };
        has_task = match event {
            HistoryEvent::Submitted | HistoryEvent::Adopted => true,
            HistoryEvent::Retried => false,
            _ => has_task,
        };
        let state = match event {
            HistoryEvent::Accepted | HistoryEvent::SubmitNotExecuted | HistoryEvent::Retried => {
                Some(StateName::Pending)
            }
            HistoryEvent::Submitting => Some(StateName::Submitting),
            HistoryEvent::Submitted | HistoryEvent::Adopted => Some(StateName::Queued),
            HistoryEvent::Processing | HistoryEvent::TaskFound => Some(StateName::Processing),
            HistoryEvent::Completed => Some(StateName::Downloading),
            HistoryEvent::Held => Some(StateName::Held),
            HistoryEvent::Released if has_task => Some(StateName::Processing),
            HistoryEvent::Released => Some(StateName::Pending),
            event if event.is_end() => None,
            _ => continue,
        };
        if let Some(last) = stays.last_mut().filter(|last| last.to.is_none()) {
            if Some(last.state) == state {
                continue;
            }
            last.to = Some(entry.at);
        }
        stays.extend(state.map(|state| Stay { state, from: entry.at, to: None }));
    }
    draw(m, &stays[stays.len().saturating_sub(MAX_STEPS)..], now)
}

/// A time in one state; without an end, it lasts.
struct Stay {
    state: StateName,
    from: Timestamp,
    to: Option<Timestamp>,
}

impl Stay {
    fn length(&self, now: Timestamp) -> Duration {
        self.to.unwrap_or(now).since(self.from)
    }
}

fn draw(m: &Messages, stays: &[Stay], now: Timestamp) -> Vec<Step> {
    let total = stays.iter().map(|stay| stay.length(now).as_millis()).sum::<u128>().max(1);
    let free = WIDTH.saturating_sub(MIN_WIDTH * stays.len() as u64);
    let mut left = 0;
    let step = |stay: &Stay| {
        let length = stay.length(now);
        let share = u128::from(free) * length.as_millis() / total;
        let width = MIN_WIDTH + u64::try_from(share).unwrap_or(free);
        let step = Step {
            state: stay.state,
            text: m.state(stay.state),
            took: stopwatch(length),
            since: stay.to.is_none().then(|| stay.from.to_string()),
            left,
            width,
        };
        left += width;
        step
    };
    stays.iter().map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::admin::page::messages::english::ENGLISH;

    fn path(events: &[(&str, i64)], now: i64) -> String {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let entry = |(event, seconds): &(&str, i64)| HistoryView {
            at: at(*seconds),
            event: (*event).to_owned(),
            detail: String::new(),
        };
        let history: Vec<HistoryView> = events.iter().map(entry).collect();
        let steps = timeline(&ENGLISH, &history, at(now));
        assert!(steps.iter().map(|step| step.width).sum::<u64>() <= WIDTH);
        let text = |step: &Step| {
            let end = if step.since.is_some() { " …" } else { "" };
            format!("{} {}{end}", step.text, step.took)
        };
        steps.iter().map(text).collect::<Vec<_>>().join(" · ")
    }

    #[test]
    fn path_is_the_states_with_their_durations() {
        let cases = [
            (vec![], ""),
            (vec![("accepted", 0)], "pending 5:00 …"),
            (
                vec![
                    ("accepted", 0),
                    ("submitting", 1),
                    ("submitted", 3),
                    ("callback_received", 30),
                    ("processing", 34),
                    ("completed", 104),
                    ("stored", 106),
                    ("succeeded", 107),
                    ("rated", 200),
                ],
                "pending 0:01 · submitting 0:02 · queued 0:31 · processing 1:10 · downloading 0:03",
            ),
            (
                vec![
                    ("accepted", 0),
                    ("submitting", 0),
                    ("submit_not_executed", 5),
                    ("submitting", 10),
                    ("submit_outcome_unknown", 12),
                    ("submitting", 20),
                    ("submitted", 21),
                    ("failed", 60),
                    ("retried", 100),
                    ("submitting", 110),
                    ("held", 130),
                    ("released", 200),
                ],
                "pending 0:00 · submitting 0:05 · pending 0:05 · submitting 0:11 · queued 0:39 · pending 0:10 · \
                 submitting 0:20 · held 1:10 · pending 1:40 …",
            ),
            (
                vec![("adopted", 0), ("task_missing", 9), ("held", 10), ("task_found", 20), ("unknown", 30)],
                "queued 0:10 · held 0:10 · processing 4:40 …",
            ),
        ];
        for (events, expected) in cases {
            assert_eq!(path(&events, 300), expected);
        }
    }
}
