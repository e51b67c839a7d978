//! How many calls for quotes may be made. They have a budget of their own: whatever they get, no other call waits.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::provider::quote::QuoteAnswer;

/// Most calls at once, such as for a job file that is checked.
const BURST: u32 = 40;
/// Time for one more.
const REFILL: Duration = Duration::from_millis(500);
/// How long a provider that does not quote is not asked.
const NO_QUOTES: Duration = Duration::from_secs(3600);
/// How long one that does not answer is not asked.
const UNANSWERED: Duration = Duration::from_secs(60);

/// Permission for one call. Only the gate makes one, and the client consumes it.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct QuotePermit(());

/// See the module.
#[derive(Debug)]
pub(super) struct QuoteBudget {
    calls: u32,
    refilled_at: Timestamp,
    closed_until: Option<Timestamp>,
}

impl QuoteBudget {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { calls: BURST, refilled_at: now, closed_until: None }
    }

    /// Until when no call is made, if the last ones got nothing.
    pub(super) fn closed_until(&self, now: Timestamp) -> Option<Timestamp> {
        // Further away than the longest wait: the clock was set back.
        self.closed_until.filter(|until| *until > now && until.since(now) <= NO_QUOTES)
    }

    /// Permits one call, or answers when to try again.
    pub(super) fn admit(&mut self, now: Timestamp) -> Result<QuotePermit, Timestamp> {
        if let Some(until) = self.closed_until(now) {
            return Err(until);
        }
        if now < self.refilled_at {
            self.refilled_at = now;
        }
        let refills = now.since(self.refilled_at).as_millis() / REFILL.as_millis();
        let refills = u32::try_from(refills).unwrap_or(u32::MAX).min(BURST);
        if refills > 0 {
            self.calls = self.calls.saturating_add(refills).min(BURST);
            self.refilled_at = now;
        }
        match self.calls.checked_sub(1) {
            Some(left) => {
                self.calls = left;
                Ok(QuotePermit(()))
            }
            None => Err(self.refilled_at.plus(REFILL)),
        }
    }

    /// Records what a call got.
    pub(super) fn answered(&mut self, answer: QuoteAnswer, now: Timestamp) {
        match answer {
            QuoteAnswer::Price(_) | QuoteAnswer::Refused => {}
            QuoteAnswer::Unanswered => self.closed_until = Some(now.plus(UNANSWERED)),
            QuoteAnswer::NoQuotes => self.closed_until = Some(now.plus(NO_QUOTES)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Quota;

    const NOW: Timestamp = Timestamp::from_millis(1_775_285_160_000);

    fn after(millis: u64) -> Timestamp {
        NOW.plus(Duration::from_millis(millis))
    }

    #[test]
    fn calls_are_limited_to_a_burst_and_a_rate() {
        let mut budget = QuoteBudget::new(NOW);
        let burst = (0..100).filter(|_| budget.admit(NOW).is_ok()).count();
        assert_eq!(burst, 40);
        assert_eq!(budget.admit(NOW), Err(after(500)));
        assert!(budget.admit(after(499)).is_err() && budget.admit(after(500)).is_ok());
        assert_eq!(budget.admit(after(600)), Err(after(1000)));
    }

    #[test]
    fn provider_without_quotes_is_left_alone_for_an_hour() {
        let mut budget = QuoteBudget::new(NOW);
        budget.answered(QuoteAnswer::NoQuotes, NOW);
        assert_eq!(budget.admit(after(3_599_999)), Err(after(3_600_000)));
        assert!(budget.admit(after(3_600_000)).is_ok());
        budget.answered(QuoteAnswer::Unanswered, after(3_600_000));
        assert_eq!(budget.admit(after(3_600_001)), Err(after(3_660_000)));
        budget.answered(QuoteAnswer::Price(Quota::new(1)), after(3_660_000));
        budget.answered(QuoteAnswer::Refused, after(3_660_000));
        assert!(budget.admit(after(3_660_000)).is_ok());
    }

    #[test]
    fn clock_set_back_closes_nothing() {
        let mut budget = QuoteBudget::new(after(100_000_000));
        budget.answered(QuoteAnswer::NoQuotes, after(100_000_000));
        assert!(budget.admit(NOW).is_ok());
    }
}
