//! I13, checked when a call is sent: it keeps to the rate, to suspensions, and to the time between polls of one task.

use std::collections::BTreeMap;
use std::time::Duration;

use dropreel::clock::Timestamp;
use dropreel::sandbox::http_types::{Request, Response};
use dropreel::settings::Settings;

/// After a refused key or an empty balance, one probe in this time.
const PROBE_INTERVAL: Duration = Duration::from_secs(300);
/// Least time between two polls of one task.
const POLL_SPACING: Duration = Duration::from_secs(1);

/// What limits the next call: calls sent and answers received.
pub struct CallLimits {
    submit_spacing: Duration,
    last_submit: Option<Timestamp>,
    last_polls: BTreeMap<String, Timestamp>,
    /// A rate limit: when it was received, and until when no call may be sent.
    limited: Option<(Timestamp, Timestamp)>,
    /// When a refusal that allows only probes was received, and whether it concerns submits only.
    refused: Option<(Timestamp, bool)>,
    /// One of them was received while the disk was full: it may not be in the database.
    unsaved: bool,
    /// The daemon's wall clock is wrong, so its suspensions end at other times.
    skewed: bool,
}

impl CallLimits {
    pub fn new(settings: &Settings) -> Self {
        Self {
            submit_spacing: Duration::from_secs_f64(1.0 / settings.provider.submit_per_second),
            last_submit: None,
            last_polls: BTreeMap::new(),
            limited: None,
            refused: None,
            unsaved: false,
            skewed: false,
        }
    }

    /// After an older database is restored, its suspensions count.
    pub fn database_restored(&mut self) {
        (self.limited, self.refused) = (None, None);
    }

    pub fn clock_moved(&mut self) {
        self.skewed = true;
        *self =
            Self { limited: None, refused: None, last_submit: None, last_polls: BTreeMap::new(), ..*self };
    }

    /// An answer received in the last moment may have been lost with the process before it was committed.
    pub fn process_died(&mut self, at: Timestamp) {
        let is_fresh = |received: Timestamp| at.since(received) < Duration::from_millis(1);
        self.limited = self.limited.filter(|(received, _)| !is_fresh(*received));
        self.refused = self.refused.filter(|(received, _)| !is_fresh(*received));
        // What a full disk did not take is forgotten too: it costs a call that bills nothing.
        if std::mem::take(&mut self.unsaved) {
            (self.limited, self.refused) = (None, None);
        }
        // A poll in progress is lost with the process, and a real restart takes longer than one here.
        self.last_polls.clear();
    }

    /// What one job gets concerns that job; what a neutral call gets, all. A limit that names its end does, too.
    pub fn answer_received(&mut self, answer: &Response, is_neutral: bool, disk_full: bool, at: Timestamp) {
        self.unsaved |= disk_full;
        // An incomplete answer does not count.
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
            401 if is_neutral && answer.value()["error"]["code"] == "invalid_api_key" => {
                self.refused = Some((at, false))
            }
            402 if is_neutral => self.refused = Some((at, true)),
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
        if let Some((received, until)) = self.limited.filter(|(_, until)| at < *until) {
            violations.push(format!(
                "I13: {} at {at}, although a limit until {until} was received at {received}",
                request.path
            ));
        }
        if let Some((received, submits)) = self.refused
            && (submit || !submits)
            && at < received.plus(PROBE_INTERVAL).minus(Duration::from_secs(1))
        {
            violations
                .push(format!("I13: {} at {at}, although calls were refused at {received}", request.path));
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
            && let Some(last) = self.last_polls.insert(request.path.clone(), at)
        {
            let apart = at.since(last);
            if apart < POLL_SPACING {
                violations.push(format!("I13: {} was polled again after {apart:?}", request.path));
            }
        }
    }
}
