//! Faults that replace the usual answer to a call: which, how often, and whether the call is executed nevertheless.

use crate::sandbox::faults::{Fault, MediaFault};
use crate::sandbox::plan_value::{Choice, PlanValue};

/// How often a fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// This many times.
    Times(u32),
    /// Every time.
    Always,
}

/// A fault and how often it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduledFault<F> {
    pub fault: F,
    /// As written; `None`: once, or always for a permanent fault.
    pub repeat: Option<Repeat>,
}

/// A fault that can be part of a schedule.
pub trait Schedulable: PlanValue {
    /// Whether it happens every time unless a count is given.
    fn is_permanent(&self) -> bool;
}

/// A fault of an API call, and whether the call is executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiFault {
    /// What the caller sees.
    pub fault: Fault,
    /// Whether `-done` asks to execute the call all the same.
    pub done: bool,
}

impl PlanValue for ApiFault {
    fn choices() -> Vec<Choice> {
        Fault::choices()
    }

    fn parse(text: &str) -> Option<Self> {
        match text.strip_suffix("-done") {
            Some(text) => Some(Self { fault: Fault::parse(text)?, done: true }),
            None => Some(Self { fault: Fault::parse(text)?, done: false }),
        }
    }

    fn to_text(&self) -> String {
        format!("{}{}", self.fault.to_text(), if self.done { "-done" } else { "" })
    }
}

impl ApiFault {
    /// Whether the provider executes the call, whatever the caller sees.
    pub fn executes(&self) -> bool {
        use Fault::{Cut, Drip, Lost, SameId, Slow};
        self.done || matches!(self.fault, Lost | Slow(_) | Drip(_) | Cut | SameId)
    }
}

impl Schedulable for ApiFault {
    fn is_permanent(&self) -> bool {
        use Fault::{
            BadRequest, Capability, Detail, Forbidden, Html403, NoModel, PaymentRequired, Price, Redirect,
            Stored500, Unauthorized,
        };
        matches!(
            self.fault,
            BadRequest
                | Unauthorized
                | PaymentRequired
                | Forbidden
                | Capability
                | Detail
                | Html403
                | NoModel
                | Price
                | Stored500
                | Redirect
        )
    }
}

impl Schedulable for MediaFault {
    fn is_permanent(&self) -> bool {
        use MediaFault::{Drip, Gone, Gzip, Half, Html, Long, Magic, NoMoov, Redirect, Zero};
        matches!(self, Gone | Long | Html | Magic | NoMoov | Half | Zero | Gzip | Drip(_) | Redirect(_))
    }
}

impl<F: Schedulable> ScheduledFault<F> {
    fn repeat(&self) -> Repeat {
        self.repeat.unwrap_or(if self.fault.is_permanent() { Repeat::Always } else { Repeat::Times(1) })
    }
}

impl<F: Schedulable> PlanValue for ScheduledFault<F> {
    fn choices() -> Vec<Choice> {
        F::choices()
    }

    fn parse(text: &str) -> Option<Self> {
        if let Some(fault) = F::parse(text) {
            return Some(Self { fault, repeat: None });
        }
        let (fault, count) = text.rsplit_once('x')?;
        let repeat = if count == "all" { Repeat::Always } else { Repeat::Times(count.parse().ok()?) };
        Some(Self { fault: F::parse(fault)?, repeat: Some(repeat) })
    }

    fn to_text(&self) -> String {
        match self.repeat {
            None => self.fault.to_text(),
            Some(Repeat::Always) => format!("{}xall", self.fault.to_text()),
            Some(Repeat::Times(times)) => format!("{}x{times}", self.fault.to_text()),
        }
    }
}

/// The fault of the call that follows `earlier_calls` others; `None`: the usual answer.
pub fn fault_of_call<F: Schedulable>(schedule: &[ScheduledFault<F>], earlier_calls: u32) -> Option<&F> {
    let mut left = earlier_calls;
    for scheduled in schedule {
        match scheduled.repeat() {
            Repeat::Always => return Some(&scheduled.fault),
            Repeat::Times(times) if left < times => return Some(&scheduled.fault),
            Repeat::Times(times) => left -= times,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::fault_plan::FaultPlan;

    #[test]
    fn faults_happen_in_the_order_and_number_written() {
        let cases = [
            ("submit=503x2 submit=lost", "503 503 lost - -"),
            ("submit=401", "401 401 401 401 401"),
            ("submit=401x1", "401 - - - -"),
            ("submit=reset", "reset - - - -"),
            ("submit=429x0 submit=504-donexall", "504-done 504-done 504-done 504-done 504-done"),
        ];
        for (text, expected) in cases {
            let plan = FaultPlan::parse(text).expect(text);
            let fault = |call| fault_of_call(&plan.submit, call).map_or("-".to_owned(), PlanValue::to_text);
            assert_eq!((0..5).map(fault).collect::<Vec<_>>().join(" "), expected, "{text}");
        }
    }
}
