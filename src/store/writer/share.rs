//! Who is in the next commit: what somebody waits for at once, and a share of what has patience.

use std::collections::VecDeque;
use std::sync::mpsc;
use std::time::Duration;

use crate::clock::Tick;

/// How much is committed at once, at most; what comes later waits for the next commit. With more, all who ask would be
/// answered at once, and the web server have nothing to do meanwhile; with less, each waits for more flushes.
pub(super) const BATCH: usize = 128;
/// So much time is saved up for patient work, at most: a commit must not become long by it.
const MOST_SAVED: Duration = Duration::from_millis(2);
/// After so long without other work, patient work does not wait for it any more.
const QUIET: Duration = Duration::from_millis(10);

/// What is committed next. No lingering: the batch after it gathers while this one is flushed. Patient work is put aside;
/// if there is some, other work is waited for no longer than `patience`. `None` when nobody can send work any more.
pub(super) fn next_batch<W>(
    work: &mpsc::Receiver<W>,
    patient: &mut VecDeque<W>,
    patience: Duration,
    is_patient: impl Fn(&W) -> bool,
) -> Option<Vec<W>> {
    let mut batch = Vec::new();
    let mut next =
        if patient.is_empty() { Some(work.recv().ok()?) } else { work.recv_timeout(patience).ok() };
    while let Some(piece) = next {
        if is_patient(&piece) {
            patient.push_back(piece);
        } else {
            batch.push(piece);
        }
        next = if batch.len() < BATCH { work.try_recv().ok() } else { None };
    }
    Some(batch)
}

/// How much patient work is let in among other work: as long as it takes no more than a twentieth of the time that the
/// other work takes and a tenth of the time that nothing is done in. Without other work for a while it has all the time.
#[derive(Debug, Default)]
pub(super) struct Share {
    /// Nanoseconds; below zero after a piece that took longer than was saved.
    saved: i64,
    others_ended: Option<Tick>,
}

impl Share {
    fn save(&mut self, time: Duration) {
        self.saved = self.saved.saturating_add(nanos(time)).min(nanos(MOST_SAVED));
    }

    pub(super) fn others_took(&mut self, time: Duration, now: Tick) {
        self.save(time / 20);
        self.others_ended = Some(now);
    }

    pub(super) fn idle_for(&mut self, time: Duration) {
        self.save(time / 10);
    }

    pub(super) fn patient_took(&mut self, time: Duration) {
        self.saved = self.saved.saturating_sub(nanos(time));
    }

    pub(super) fn is_left(&self) -> bool {
        self.saved > 0
    }

    /// How long until no more other work is expected.
    pub(super) fn until_quiet(&self, now: Tick) -> Duration {
        self.others_ended.map_or(Duration::ZERO, |ended| QUIET.saturating_sub(now.since(ended)))
    }
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn patient_work_is_put_aside_and_waited_for_by_nobody() {
        let (sender, work) = mpsc::channel();
        let mut patient = VecDeque::new();
        for number in 1..=4 {
            sender.send(-number).unwrap();
            sender.send(number).unwrap();
        }
        let next = |patient: &mut _| next_batch(&work, patient, Duration::ZERO, |piece| *piece < 0);
        assert_eq!(next(&mut patient).unwrap(), [1, 2, 3, 4]);
        assert_eq!(patient, [-1, -2, -3, -4]);
        assert!(next(&mut patient).unwrap().is_empty(), "there is patient work to do");
        patient.clear();
        drop(sender);
        assert_eq!(next(&mut patient), None);
    }

    #[test]
    fn patient_work_has_a_twentieth_of_the_time_that_others_take_and_a_tenth_of_idle_time() {
        let clock = Clock::paused(crate::clock::Timestamp::from_millis(0));
        let (now, micros) = (clock.tick(), Duration::from_micros);
        let mut share = Share::default();
        assert!(!share.is_left());
        share.others_took(micros(1000), now);
        share.patient_took(micros(80));
        assert!(!share.is_left(), "what took too long is owed");
        share.idle_for(micros(299));
        assert!(!share.is_left());
        share.idle_for(micros(11));
        assert!(share.is_left(), "nothing waits for ever");
        share.idle_for(Duration::from_secs(60));
        share.patient_took(MOST_SAVED);
        assert!(!share.is_left(), "it is not hoarded");
    }

    #[test]
    fn patient_work_has_all_the_time_once_there_was_no_other_for_a_while() {
        let clock = Clock::paused(crate::clock::Timestamp::from_millis(0));
        let mut share = Share::default();
        assert_eq!(share.until_quiet(clock.tick()), Duration::ZERO);
        share.others_took(Duration::from_millis(1), clock.tick());
        clock.advance(QUIET / 4);
        assert_eq!(share.until_quiet(clock.tick()), QUIET * 3 / 4);
        clock.advance(QUIET);
        assert_eq!(share.until_quiet(clock.tick()), Duration::ZERO);
    }
}
