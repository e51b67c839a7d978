//! How long tasks take, and places at the provider, in words.

use std::time::Duration;

use crate::api::job::JobView;
use crate::api::slots::SlotsView;
use crate::clock::{Clock, Timestamp};
use crate::job::state::StateName;
use crate::job::usual_time::{UsualTime, stopwatch};

/// How long the task has been at the provider, if it is there.
fn elapsed(job: &JobView, now: Timestamp) -> Option<Duration> {
    let is_at_provider = matches!(job.state, StateName::Queued | StateName::Processing);
    Some(now.since(job.submitted_at.filter(|_| is_at_provider)?))
}

/// "usually 40-70 s", or "unusually long". `None` unless the task is at the provider, and it is learned.
pub(crate) fn usual_note(job: &JobView, now: Timestamp) -> Option<String> {
    let (elapsed, usual) = elapsed(job, now).zip(job.usual_seconds.map(UsualTime::from_seconds))?;
    Some(if elapsed > usual.long { "unusually long".to_owned() } else { usual.to_string() })
}

/// "0:31, usually 40-70 s"; "12:31, unusually long (usually 40-70 s)". `None` unless the task is at the provider.
pub(crate) fn time_note(job: &JobView, now: Timestamp) -> Option<String> {
    let elapsed = elapsed(job, now)?;
    let shown = stopwatch(elapsed);
    Some(match job.usual_seconds.map(UsualTime::from_seconds) {
        None => shown,
        Some(usual) if elapsed > usual.long => format!("{shown}, unusually long ({usual})"),
        Some(usual) => format!("{shown}, {usual}"),
    })
}

/// "queued · 0:31 · usually 40-70 s": short enough for a line with a bar.
pub(crate) fn state_and_time(job: &JobView, now: Timestamp) -> String {
    let time = elapsed(job, now).map(stopwatch);
    let parts = [Some(job.state.to_string()), time, usual_note(job, now)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

/// What the provider reports; else an estimate, if it is learned how long such tasks take. With whether it is one.
pub(crate) fn progress_of(job: &JobView, now: Timestamp) -> (u8, bool) {
    let is_at_provider = matches!(job.state, StateName::Queued | StateName::Processing);
    let usual = job.usual_seconds.filter(|_| is_at_provider && job.progress == 0);
    match usual.zip(job.submitted_at) {
        Some((usual, submitted_at)) => {
            (UsualTime::from_seconds(usual).progress(now.since(submitted_at)), true)
        }
        None => (job.progress, false),
    }
}

/// "20 of 20 slots · 18 waiting · 1 on 2026-12-24". `None` if nothing runs or waits.
pub(crate) fn slots_line(slots: &SlotsView, clock: &Clock) -> Option<String> {
    let SlotsView { running, max, waiting, scheduled, next_scheduled_at } = *slots;
    if u64::from(running) + waiting + scheduled == 0 {
        return None;
    }
    let mut line = format!("{running} of {max} slots");
    if waiting > 0 {
        line += &format!(" · {waiting} waiting");
    }
    if scheduled > 0 {
        let date = next_scheduled_at.map(|at| format!(" on {}", clock.local_date(at))).unwrap_or_default();
        line += &match scheduled {
            1 => format!(" · 1{date}"),
            _ => format!(" · {scheduled} later, the next{date}"),
        };
    }
    Some(line)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cli::fixtures::{NOW, job};

    #[test]
    fn note_says_how_long_the_task_takes() {
        let running = |state, usual_seconds| JobView { submitted_at: Some(NOW), usual_seconds, ..job(state) };
        let usual = Some([40, 70, 105]);
        let cases = [
            (StateName::Queued, usual, 31, Some("0:31, usually 40-70 s")),
            (StateName::Processing, usual, 751, Some("12:31, unusually long (usually 40-70 s)")),
            (StateName::Processing, None, 31, Some("0:31")),
            (StateName::Downloading, usual, 31, None),
            (StateName::Pending, None, 31, None),
        ];
        for (state, usual, seconds, expected) in cases {
            let note = time_note(&running(state, usual), NOW.plus(Duration::from_secs(seconds)));
            assert_eq!(note.as_deref(), expected, "{state}");
        }
        let later = NOW.plus(Duration::from_secs(751));
        let texts = [(StateName::Queued, usual), (StateName::Queued, None), (StateName::Held, usual)]
            .map(|(state, usual)| state_and_time(&running(state, usual), later));
        assert_eq!(texts, ["queued · 12:31 · unusually long", "queued · 12:31", "held"]);
    }

    #[test]
    fn progress_is_estimated_only_where_the_provider_reports_none() {
        let later = NOW.plus(Duration::from_secs(35));
        let running = |progress, usual_seconds| JobView {
            submitted_at: Some(NOW),
            usual_seconds,
            progress,
            ..job(StateName::Queued)
        };
        let usual = Some([40, 70, 105]);
        assert_eq!(progress_of(&running(0, usual), later), (47, true));
        assert_eq!(progress_of(&running(7, usual), later), (7, false));
        assert_eq!(progress_of(&running(0, None), later), (0, false));
        let ended = JobView { state: StateName::Failed, ..running(0, usual) };
        assert_eq!(progress_of(&ended, later), (0, false));
    }

    #[test]
    fn line_counts_waiting_and_scheduled_jobs_apart() {
        let clock = Clock::paused(NOW);
        let line = |running, waiting, scheduled| {
            let next_scheduled_at = (scheduled > 0).then(|| NOW.plus(Duration::from_secs(86_400)));
            slots_line(&SlotsView { running, max: 20, waiting, scheduled, next_scheduled_at }, &clock)
        };
        let date = clock.local_date(NOW.plus(Duration::from_secs(86_400)));
        assert_eq!(line(0, 0, 0), None);
        assert_eq!(line(3, 0, 0).unwrap(), "3 of 20 slots");
        assert_eq!(line(20, 18, 1).unwrap(), format!("20 of 20 slots · 18 waiting · 1 on {date}"));
        assert_eq!(line(0, 0, 4).unwrap(), format!("0 of 20 slots · 4 later, the next on {date}"));
    }
}
