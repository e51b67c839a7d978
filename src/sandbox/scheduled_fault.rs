//! Faults that strike: which, how often, and whether the work is done all the same.

use crate::sandbox::faults::{Fault, MediaFault};
use crate::sandbox::value::{Choice, Value};

/// How often a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// So many times.
    Times(u32),
    /// For ever.
    Always,
}

/// A fault and how often it strikes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduledFault<F> {
    /// What happens.
    pub fault: F,
    /// As written; `None`: what is usual for the fault.
    pub often: Option<Repeat>,
}

/// What a fault needs to be planned.
pub trait Planned: Value {
    /// Whether it holds for ever unless a count is given.
    fn lasts(&self) -> bool;
}

/// A fault of an API call, and whether the work is done all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiFault {
    /// How the answer is spoilt.
    pub fault: Fault,
    /// Whether the provider does what was asked before it spoils the answer.
    pub done: bool,
}

impl Value for ApiFault {
    fn choices() -> Vec<Choice> {
        Fault::choices()
    }

    fn read(text: &str) -> Option<Self> {
        match text.strip_suffix("-done") {
            Some(text) => Some(Self { fault: Fault::read(text)?, done: true }),
            None => Some(Self { fault: Fault::read(text)?, done: false }),
        }
    }

    fn show(&self) -> String {
        format!("{}{}", self.fault.show(), if self.done { "-done" } else { "" })
    }
}

impl ApiFault {
    /// Whether the provider does what was asked, whatever it answers.
    pub fn works(&self) -> bool {
        use Fault::{Cut, Drip, Lost, SameId, Slow};
        self.done || matches!(self.fault, Lost | Slow(_) | Drip(_) | Cut | SameId)
    }
}

impl Planned for ApiFault {
    fn lasts(&self) -> bool {
        use Fault::{BadKey, BadRequest, Capability, Forbidden, NoMoney, Price, Redirect, Stored500};
        matches!(
            self.fault,
            BadRequest | BadKey | NoMoney | Forbidden | Capability | Price | Stored500 | Redirect
        )
    }
}

impl Planned for MediaFault {
    fn lasts(&self) -> bool {
        use MediaFault::{Drip, Gone, Gzip, Half, Html, Long, Magic, NoMoov, Redirect, Zero};
        matches!(self, Gone | Long | Html | Magic | NoMoov | Half | Zero | Gzip | Drip(_) | Redirect(_))
    }
}

impl<F: Planned> ScheduledFault<F> {
    /// How often, said or usual.
    fn often(&self) -> Repeat {
        self.often.unwrap_or(if self.fault.lasts() { Repeat::Always } else { Repeat::Times(1) })
    }
}

impl<F: Planned> Value for ScheduledFault<F> {
    fn choices() -> Vec<Choice> {
        F::choices()
    }

    fn read(text: &str) -> Option<Self> {
        if let Some(fault) = F::read(text) {
            return Some(Self { fault, often: None });
        }
        let (fault, often) = text.rsplit_once('x')?;
        let often = if often == "all" { Repeat::Always } else { Repeat::Times(often.parse().ok()?) };
        Some(Self { fault: F::read(fault)?, often: Some(often) })
    }

    fn show(&self) -> String {
        match self.often {
            None => self.fault.show(),
            Some(Repeat::Always) => format!("{}xall", self.fault.show()),
            Some(Repeat::Times(times)) => format!("{}x{times}", self.fault.show()),
        }
    }
}

/// The fault that strikes the try after `tries` earlier ones; `None`: all is well.
pub fn struck<F: Planned>(strikes: &[ScheduledFault<F>], tries: u32) -> Option<&F> {
    let mut left = tries;
    for strike in strikes {
        match strike.often() {
            Repeat::Always => return Some(&strike.fault),
            Repeat::Times(times) if left < times => return Some(&strike.fault),
            Repeat::Times(times) => left -= times,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::plan::Plan;

    #[test]
    fn faults_strike_in_the_order_written_and_as_often_as_said() {
        let cases = [
            ("submit=503x2 submit=lost", "503 503 lost - -"),
            ("submit=401", "401 401 401 401 401"),
            ("submit=401x1", "401 - - - -"),
            ("submit=reset", "reset - - - -"),
            ("submit=429x0 submit=504-donexall", "504-done 504-done 504-done 504-done 504-done"),
        ];
        for (text, expected) in cases {
            let plan = Plan::parse(text).expect(text);
            let seen: Vec<_> =
                (0..5).map(|tries| struck(&plan.submit, tries).map_or("-".to_owned(), Value::show)).collect();
            assert_eq!(seen.join(" "), expected, "{text}");
        }
    }
}
