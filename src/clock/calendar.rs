//! Days and months of a time zone.

use std::fmt;

use jiff::Zoned;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::clock::Timestamp;

/// A time zone. Its midnights begin days and months, which daylight saving makes shorter or longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(TimeZone);

/// A day or a month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// Its first moment.
    pub start: Timestamp,
    /// The first moment after it.
    pub end: Timestamp,
}

impl Zone {
    /// UTC.
    pub const UTC: Self = Self(TimeZone::UTC);

    pub(super) fn of(zone: TimeZone) -> Self {
        Self(zone)
    }

    /// The zone of an IANA name such as `Asia/Shanghai`, if this machine knows it.
    pub fn named(name: &str) -> Option<Self> {
        TimeZone::get(name).ok().map(Self)
    }

    /// The day that `moment` is in.
    pub fn day_of(&self, moment: Timestamp) -> Period {
        self.period(moment, |date| date, Date::tomorrow)
    }

    /// The day with this date, `YYYY-MM-DD`.
    pub fn day(&self, date: &str) -> Option<Period> {
        let noon = date.parse::<Date>().ok()?.at(12, 0, 0, 0).to_zoned(self.0.clone()).ok()?;
        Some(self.day_of(Timestamp::from_millis(noon.timestamp().as_millisecond())))
    }

    /// The month that `moment` is in.
    pub fn month_of(&self, moment: Timestamp) -> Period {
        self.period(moment, Date::first_of_month, |first| first.last_of_month().tomorrow())
    }

    /// The first moment of the day `YYYY-MM-DD`; `None` if there is no such day.
    pub fn start_of(&self, day: &str) -> Option<Timestamp> {
        let date: Date = day.parse().ok().filter(|_| day.len() == 10)?;
        let start = date.to_zoned(self.0.clone()).ok()?;
        Some(Timestamp::from_millis(start.timestamp().as_millisecond()))
    }

    /// The clock time of `moment`, `00:00`.
    pub fn time_of(&self, moment: Timestamp) -> String {
        moment.format(self.0.clone(), "%H:%M")
    }

    /// Date and clock time of `moment`, `YYYY-MM-DD 00:00:00`.
    pub fn date_and_time_of(&self, moment: Timestamp) -> String {
        moment.format(self.0.clone(), "%Y-%m-%d %H:%M:%S")
    }

    /// The date of `moment`, `YYYY-MM-DD`.
    pub fn date_of(&self, moment: Timestamp) -> String {
        moment.date_in(self.0.clone())
    }

    fn period(
        &self,
        moment: Timestamp,
        first: impl Fn(Date) -> Date,
        next: impl Fn(Date) -> Result<Date, jiff::Error>,
    ) -> Period {
        let millis = |zoned: Zoned| Timestamp::from_millis(zoned.timestamp().as_millisecond());
        let bounds = || {
            let date =
                jiff::Timestamp::from_millisecond(moment.millis()).ok()?.to_zoned(self.0.clone()).date();
            let first = first(date);
            let start = first.to_zoned(self.0.clone()).ok()?;
            let end = next(first).ok()?.to_zoned(self.0.clone()).ok()?;
            Some(Period { start: millis(start), end: millis(end) })
        };
        // Only outside the years -9999 to 9999, which have a date.
        bounds().unwrap_or(Period { start: moment, end: moment })
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("local time"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn day_and_month_begin_at_the_midnights_of_the_zone() {
        let moment = |text| Timestamp::parse_rfc3339(text).expect("a time");
        let cases = [
            // (zone, moment, start of day, end of day, start of month, end of month)
            (
                "UTC",
                "2026-11-28T13:00:00Z",
                "2026-11-28T00:00:00Z",
                "2026-11-29T00:00:00Z",
                "2026-11-01T00:00:00Z",
                "2026-12-01T00:00:00Z",
            ),
            (
                "Asia/Shanghai",
                "2026-11-30T16:00:00Z",
                "2026-12-01T00:00:00+08:00",
                "2026-12-02T00:00:00+08:00",
                "2026-12-01T00:00:00+08:00",
                "2027-01-01T00:00:00+08:00",
            ),
            // 23 hours, and a month that begins in winter time and ends in summer time.
            (
                "Europe/Berlin",
                "2026-03-29T12:00:00Z",
                "2026-03-29T00:00:00+01:00",
                "2026-03-30T00:00:00+02:00",
                "2026-03-01T00:00:00+01:00",
                "2026-04-01T00:00:00+02:00",
            ),
            // 25 hours.
            (
                "America/New_York",
                "2026-11-01T04:00:00Z",
                "2026-11-01T00:00:00-04:00",
                "2026-11-02T00:00:00-05:00",
                "2026-11-01T00:00:00-04:00",
                "2026-12-01T00:00:00-05:00",
            ),
            // No midnight: the day begins at 01:00.
            (
                "America/Santiago",
                "2026-09-06T12:00:00Z",
                "2026-09-06T01:00:00-03:00",
                "2026-09-07T00:00:00-03:00",
                "2026-09-01T00:00:00-04:00",
                "2026-10-01T00:00:00-03:00",
            ),
        ];
        for (zone, at, day_start, day_end, month_start, month_end) in cases {
            let zone = Zone::named(zone).expect("a known zone");
            let day = Period { start: moment(day_start), end: moment(day_end) };
            let month = Period { start: moment(month_start), end: moment(month_end) };
            assert_eq!((zone.day_of(moment(at)), zone.month_of(moment(at))), (day, month), "{zone} {at}");
            assert_eq!(zone.start_of(&zone.date_of(moment(at))), Some(day.start), "{zone} {at}");
        }
        for wrong in ["", "2026-02-30", "2026-11-01T00:00:00Z", "20261101", "today"] {
            assert_eq!(Zone::UTC.start_of(wrong), None, "{wrong}");
        }
    }
}
