//! I13, at the moment of sending: the rate is kept, stops are obeyed, and no task is asked about too often.

use std::collections::BTreeMap;
use std::time::Duration;

use dropreel::clock::Timestamp;
use dropreel::sandbox::http_types::{Request, Response};
use dropreel::settings::Settings;

const CAREFUL: Duration = Duration::from_secs(300);
const SPACING: Duration = Duration::from_secs(1);

/// What has been sent and heard, as far as the next call depends on it.
pub struct Restraint {
    submit_spacing: Duration,
    last_submit: Option<Timestamp>,
    asked: BTreeMap<String, Timestamp>,
    /// No call before.
    limited: Option<(Timestamp, Timestamp)>,
    /// Only one careful try in a while: the last refusal heard, and whether only submits are meant.
    refused: Option<(Timestamp, bool)>,
    /// While the wall clock is not the world's, the gate's times are its own.
    skewed: bool,
}

impl Restraint {
    pub fn new(settings: &Settings) -> Self {
        Self {
            submit_spacing: Duration::from_secs_f64(1.0 / settings.provider.submit_per_second),
            last_submit: None,
            asked: BTreeMap::new(),
            limited: None,
            refused: None,
            skewed: false,
        }
    }

    /// The stops written down are those of an older state.
    pub fn forget(&mut self) {
        (self.limited, self.refused) = (None, None);
    }

    pub fn clock_moved(&mut self) {
        self.skewed = true;
        *self = Self { limited: None, refused: None, last_submit: None, asked: BTreeMap::new(), ..*self };
    }

    /// What was heard in the last moments may have died with the process before it was written down.
    pub fn died(&mut self, at: Timestamp) {
        let fresh = |heard: Timestamp| at.since(heard) < Duration::from_millis(1);
        self.limited = self.limited.filter(|(heard, _)| !fresh(*heard));
        self.refused = self.refused.filter(|(heard, _)| !fresh(*heard));
        // A question under way is forgotten with the process, which takes longer to come back than in here.
        self.asked.clear();
    }

    pub fn heard(&mut self, answer: &Response, at: Timestamp) {
        // An answer that does not come whole says nothing that could be relied on.
        if !answer.is_complete() {
            return;
        }
        match answer.status {
            429 => {
                let seconds = |text: &str| text.parse().ok().map(Duration::from_secs);
                if let Some(wait) = answer.header("Retry-After").and_then(seconds) {
                    let until = at.plus(wait).minus(Duration::from_secs(1));
                    self.limited = Some((at, until.max(self.limited.map_or(until, |(_, until)| until))));
                }
            }
            401 if answer.value()["error"]["code"] == "invalid_api_key" => self.refused = Some((at, false)),
            402 => self.refused = Some((at, true)),
            200..=299 => self.refused = None,
            _ => {}
        }
    }

    pub fn sent(&mut self, request: &Request, at: Timestamp, skewed: bool, violations: &mut Vec<String>) {
        if request.path.starts_with("/output/") {
            return;
        }
        if skewed || self.skewed {
            self.skewed = skewed;
            return;
        }
        let submit = request.idempotency_key.is_some();
        if let Some((heard, until)) = self.limited.filter(|(_, until)| at < *until) {
            violations.push(format!(
                "I13: {} at {at}, though a limit until {until} was heard at {heard}",
                request.path
            ));
        }
        if let Some((heard, submits)) = self.refused
            && (submit || !submits)
            && at < heard.plus(CAREFUL).minus(Duration::from_secs(1))
        {
            violations.push(format!("I13: {} at {at}, though the line was refused at {heard}", request.path));
        }
        if submit {
            if let Some(last) = self
                .last_submit
                .filter(|last| at.since(*last) + Duration::from_millis(1) < self.submit_spacing)
            {
                violations.push(format!("I13: a submit at {at}, {:?} after the last", at.since(last)));
            }
            self.last_submit = Some(at);
        } else if request.method == "GET"
            && let Some(last) = self.asked.insert(request.path.clone(), at)
        {
            let apart = at.since(last);
            if apart < SPACING {
                violations.push(format!("I13: {} was asked about again after {apart:?}", request.path));
            }
        }
    }
}
