//! The machine's clocks. Only this module reads them or sleeps.
//!
//! Two types keep two kinds of time apart: a [`Timestamp`] is wall-clock time, which may jump; a [`Tick`] is
//! monotonic and means nothing outside this process. Everything takes a [`Clock`] from outside. Tests pass a
//! paused one, under which days of waiting take no time. [`Clock::run_blocking`] is here too: under a paused clock
//! it runs the work in place, so that no other thread can change the order of events.
#![expect(clippy::disallowed_methods, reason = "the one home of the wall clock and of sleeping")]

pub mod calendar;

use std::any::Any;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use calendar::Zone;
use jiff::tz::TimeZone;
use parking_lot::Mutex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::Notify;

/// Wall-clock time: Unix time in milliseconds, UTC. Printed and serialised as RFC 3339.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From Unix milliseconds.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Unix milliseconds.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Later by `duration`; saturates.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(whole_millis(duration)))
    }

    /// Earlier by `duration`; saturates.
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(whole_millis(duration)))
    }

    /// The duration from `earlier` to this time; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0).max(0).unsigned_abs())
    }

    /// Parses an RFC 3339 time with an offset, such as `2026-11-23T08:00:00Z` or `2026-11-23T16:00:00+08:00`.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let parsed: jiff::Timestamp = text.parse().ok()?;
        Some(Self(parsed.as_millisecond()))
    }

    /// The date in UTC, `YYYY-MM-DD`.
    pub fn date(self) -> String {
        self.date_in(TimeZone::UTC)
    }

    fn date_in(self, zone: TimeZone) -> String {
        self.format(zone, "%Y-%m-%d")
    }

    fn format(self, zone: TimeZone, format: &str) -> String {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(moment) => moment.to_zoned(zone).strftime(format).to_string(),
            // Outside the years -9999 to 9999, which have a date.
            Err(_) => format!("@{}ms", self.0),
        }
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_millis(time.0.max(0).unsigned_abs())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.format(TimeZone::UTC, "%Y-%m-%dT%H:%M:%S.%3fZ"))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse_rfc3339(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not an RFC 3339 time")))
    }
}

/// Monotonic time since the clock was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(Duration);

impl Tick {
    /// The duration from `earlier` to this time; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Later by `duration`; saturates.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

fn whole_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The source of time: the machine's clocks, or a paused clock that a test moves. Clones share one clock.
#[derive(Clone)]
pub struct Clock(Arc<Source>);

enum Source {
    Machine {
        origin: Instant,
        zone: OnceLock<TimeZone>,
    },
    /// Sleepers are woken in the order in which they began to wait. A `watch` channel wakes them in random order.
    Paused {
        state: Mutex<PausedState>,
        changed: Notify,
    },
}

struct PausedState {
    wall: Timestamp,
    ticked: Duration,
    /// The number of sleepers that wake at each time.
    wakes: BTreeMap<Duration, usize>,
    /// The number of times that work was run in place or a sleep began. While it grows, something still runs.
    steps: u64,
}

/// A sleep under a paused clock. Listed in `wakes` until it is dropped.
struct Sleep<'a> {
    state: &'a Mutex<PausedState>,
    end: Duration,
}

impl<'a> Sleep<'a> {
    fn begin(state: &'a Mutex<PausedState>, duration: Duration) -> Self {
        let mut inside = state.lock();
        let end = inside.ticked.saturating_add(duration);
        *inside.wakes.entry(end).or_default() += 1;
        inside.steps += 1;
        Self { state, end }
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        let mut inside = self.state.lock();
        if let Some(count) = inside.wakes.get_mut(&self.end) {
            *count -= 1;
            if *count == 0 {
                inside.wakes.remove(&self.end);
            }
        }
    }
}

impl Clock {
    /// The machine's clocks.
    pub fn machine() -> Self {
        Self(Arc::new(Source::Machine { origin: Instant::now(), zone: OnceLock::new() }))
    }

    /// A clock paused at `wall` until [`Clock::advance`] or [`Clock::jump_to`] moves it.
    pub fn paused(wall: Timestamp) -> Self {
        let state = PausedState { wall, ticked: Duration::ZERO, wakes: BTreeMap::new(), steps: 0 };
        let state = Mutex::new(state);
        Self(Arc::new(Source::Paused { state, changed: Notify::new() }))
    }

    /// The current wall-clock time.
    pub fn now(&self) -> Timestamp {
        match &*self.0 {
            Source::Machine { .. } => {
                let millis = match SystemTime::now().duration_since(UNIX_EPOCH) {
                    Ok(after) => whole_millis(after),
                    Err(before) => -whole_millis(before.duration()),
                };
                Timestamp(millis)
            }
            Source::Paused { state, .. } => state.lock().wall,
        }
    }

    /// The date of a moment in the time zone of this machine (`TZ`, else the system's), `YYYY-MM-DD`. A paused clock is in
    /// UTC.
    pub fn local_date(&self, moment: Timestamp) -> String {
        match &*self.0 {
            Source::Machine { zone, .. } => moment.date_in(zone.get_or_init(local_zone).clone()),
            Source::Paused { .. } => moment.date(),
        }
    }

    /// The time zone of this machine. A paused clock is in UTC.
    pub fn zone(&self) -> Zone {
        match &*self.0 {
            Source::Machine { zone, .. } => Zone::of(zone.get_or_init(local_zone).clone()),
            Source::Paused { .. } => Zone::of(TimeZone::UTC),
        }
    }

    /// The current monotonic time.
    pub fn tick(&self) -> Tick {
        match &*self.0 {
            Source::Machine { origin, .. } => Tick(origin.elapsed()),
            Source::Paused { state, .. } => Tick(state.lock().ticked),
        }
    }

    /// Waits for `duration` of monotonic time.
    pub async fn sleep(&self, duration: Duration) {
        match &*self.0 {
            Source::Machine { .. } => tokio::time::sleep(duration).await,
            Source::Paused { state, changed } => {
                let sleep = Sleep::begin(state, duration);
                loop {
                    // Registered before the time is read: otherwise a change in between would be missed.
                    let mut change = std::pin::pin!(changed.notified());
                    change.as_mut().enable();
                    if state.lock().ticked >= sleep.end {
                        return;
                    }
                    change.await;
                }
            }
        }
    }

    /// The output of `future`, or `None` after `limit` of monotonic time.
    pub async fn within<F: Future>(&self, limit: Duration, future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            output = future => Some(output),
            () = self.sleep(limit) => None,
        }
    }

    /// Runs blocking work: on another thread; or in place, if this thread [may block](allow_blocking) or the clock is
    /// paused. Under a paused clock other tasks can run before and after it.
    ///
    /// # Errors
    /// The panic of `work`.
    pub async fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Box<dyn Any + Send>> {
        // One type for the work of all callers: otherwise each would have its own copy of tokio's code for a task, which
        // is a megabyte of the binary.
        let done = self.run_untyped(Box::new(move || Box::new(work()) as Box<dyn Any + Send>)).await?;
        done.downcast().map(|done| *done)
    }

    async fn run_untyped(&self, work: Untyped) -> Result<Box<dyn Any + Send>, Box<dyn Any + Send>> {
        let Source::Paused { state, .. } = &*self.0 else {
            if MAY_BLOCK.get() {
                return std::panic::catch_unwind(AssertUnwindSafe(work));
            }
            return match tokio::task::spawn_blocking(work).await {
                Ok(done) => Ok(done),
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => Err(panic),
                    // Cancelled: only at the end of the runtime, which drops this future too.
                    Err(_) => std::future::pending().await,
                },
            };
        };
        state.lock().steps += 1;
        tokio::task::yield_now().await;
        let done = std::panic::catch_unwind(AssertUnwindSafe(work));
        tokio::task::yield_now().await;
        done
    }

    /// Whether this is a paused clock.
    pub fn is_paused(&self) -> bool {
        matches!(&*self.0, Source::Paused { .. })
    }

    /// How long until the first sleeper of a paused clock wakes; `None`: there is no sleeper.
    pub fn next_wake(&self) -> Option<Duration> {
        let Source::Paused { state, .. } = &*self.0 else { return None };
        let inside = state.lock();
        inside.wakes.first_key_value().map(|(end, _)| end.saturating_sub(inside.ticked))
    }

    /// Counts work and sleeps under a paused clock: if it stays the same, everything waits.
    pub fn steps(&self) -> u64 {
        match &*self.0 {
            Source::Machine { .. } => 0,
            Source::Paused { state, .. } => state.lock().steps,
        }
    }

    /// Moves a paused clock forward, wall-clock and monotonic time alike, and wakes the sleepers whose time has come.
    /// Does nothing to the machine's clocks.
    pub fn advance(&self, by: Duration) {
        self.change(|state| {
            state.wall = state.wall.plus(by);
            state.ticked = state.ticked.saturating_add(by);
        });
    }

    /// Sets the wall-clock time of a paused clock and leaves the monotonic time, as an operator or NTP does.
    pub fn jump_to(&self, wall: Timestamp) {
        self.change(|state| state.wall = wall);
    }

    fn change(&self, change: impl FnOnce(&mut PausedState)) {
        if let Source::Paused { state, changed } = &*self.0 {
            change(&mut state.lock());
            changed.notify_waiters();
        }
    }
}

fn local_zone() -> TimeZone {
    TimeZone::try_system().unwrap_or_else(|error| {
        tracing::warn!("the time zone cannot be read, so dates are in UTC: {error}");
        TimeZone::UTC
    })
}

/// Work whose output has no type.
type Untyped = Box<dyn FnOnce() -> Box<dyn Any + Send> + Send>;

thread_local! {
    static MAY_BLOCK: Cell<bool> = const { Cell::new(false) };
}

/// Makes [`Clock::run_blocking`] run its work on this thread from now on. For threads that serve one job at a time:
/// there a second thread gains nothing.
pub fn allow_blocking() {
    MAY_BLOCK.set(true);
}

#[cfg(test)]
mod tests;
