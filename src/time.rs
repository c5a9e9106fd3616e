//! Time as a number that is always passed in: milliseconds since 1970-01-01T00:00:00Z.
//!
//! Nothing in the crate reads a clock. A [`Timestamp`] can be written in a test, a file and a snapshot, and means the same on every
//! machine. Leap seconds do not exist here, as they do not in Unix time.

use serde::{Deserialize, Serialize};
use std::fmt;

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const DAY: i64 = 24 * 60 * MINUTE;

/// A moment: milliseconds since 1970-01-01T00:00:00Z, in UTC.
///
/// ```
/// use otagate::Timestamp;
/// let opened = Timestamp::parse("2026-11-23T10:00:00Z").unwrap();
/// assert_eq!(opened.millis(), 1_795_428_000_000);
/// assert_eq!(opened.plus_secs(90).to_string(), "2026-11-23T10:01:30Z");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment `millis` milliseconds after the epoch (before it, where negative).
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// This moment moved by `secs` seconds, held at the ends of what can be represented.
    pub const fn plus_secs(self, secs: i64) -> Self {
        Self(self.0.saturating_add(secs.saturating_mul(SECOND)))
    }

    /// Milliseconds since Monday 00:00 UTC, in `0..604_800_000`.
    pub const fn millis_of_week(self) -> i64 {
        // Day 0, 1970-01-01, was a Thursday: three days after a Monday.
        (self.0.rem_euclid(7 * DAY) + 3 * DAY).rem_euclid(7 * DAY)
    }

    /// Reads RFC 3339 with an offset: `2026-11-23T10:00:00Z`, `2026-11-23 11:00:00.250+01:00`.
    ///
    /// Digits past the millisecond are dropped. `None` is for everything else, a missing offset included: a time that depends
    /// on who reads it is no time.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let digits = |from: usize, len: usize| -> Option<i64> {
            let part = bytes.get(from..from + len)?;
            part.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
        };
        let is = |at: usize, any: &[u8]| bytes.get(at).is_some_and(|byte| any.contains(byte));
        let (year, month, day) = (digits(0, 4)?, digits(5, 2)?, digits(8, 2)?);
        let (hour, minute, second) = (digits(11, 2)?, digits(14, 2)?, digits(17, 2)?);
        let shaped = is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":");
        if !shaped || hour > 23 || minute > 59 || second > 59 || day < 1 || day > days_in(year, month)? {
            return None;
        }
        let mut at = 19;
        let mut millis = 0;
        if is(at, b".") {
            let fraction = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            for place in 0..3 {
                millis = millis * 10 + if place < fraction { digits(at + 1 + place, 1)? } else { 0 };
            }
            at += 1 + fraction;
            if fraction == 0 {
                return None;
            }
        }
        let offset = if is(at, b"Zz") && bytes.len() == at + 1 {
            0
        } else if is(at, b"+-") && is(at + 3, b":") && bytes.len() == at + 6 {
            let (hours, minutes) = (digits(at + 1, 2)?, digits(at + 4, 2)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * if bytes[at] == b'-' { -MINUTE } else { MINUTE }
        } else {
            return None;
        };
        let clock = (hour * 60 + minute) * MINUTE + second * SECOND + millis;
        Some(Self(days_from_civil(year, month, day) * DAY + clock - offset))
    }
}

/// RFC 3339 in UTC; milliseconds only where there are any.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.0.div_euclid(DAY));
        let clock = self.0.rem_euclid(DAY);
        let (hour, minute, second) = (clock / (60 * MINUTE), clock / MINUTE % 60, clock / SECOND % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        match clock % SECOND {
            0 => write!(f, "Z"),
            millis => write!(f, ".{millis:03}Z"),
        }
    }
}

fn days_in(year: i64, month: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        4 | 6 | 9 | 11 => Some(30),
        2 => Some(if leap { 29 } else { 28 }),
        _ => None,
    }
}

// The two conversions count years from March, so that the leap day is the last of its year, and eras of 400 years (146 097
// days), after which the calendar repeats.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_eight_centuries_survives_the_round_trip() {
        for day in days_from_civil(1600, 1, 1)..days_from_civil(2400, 1, 1) {
            let moment = Timestamp(day * DAY + 12_345_678);
            assert_eq!(Timestamp::parse(&moment.to_string()), Some(moment));
        }
    }

    #[test]
    fn known_moments() {
        for (text, millis) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1969-12-31T23:59:59.999Z", -1),
            ("2000-02-29T00:00:00Z", 951_782_400_000),
            ("2026-11-23T11:00:00+01:00", 1_795_428_000_000),
            ("2026-11-23 10:00:00.25Z", 1_795_428_000_250),
        ] {
            assert_eq!(Timestamp::parse(text), Some(Timestamp(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "2026-11-23",
            "2026-11-23T10:00:00",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00Zx",
            "2026-01-01T00:00:00+1:00",
            "２026-01-01T00:00:00Z",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_week_starts_on_monday() {
        assert_eq!(Timestamp::parse("2026-11-23T00:00:00Z").unwrap().millis_of_week(), 0);
        assert_eq!(Timestamp::parse("2026-11-22T23:59:59.999Z").unwrap().millis_of_week(), 7 * DAY - 1);
        assert_eq!(Timestamp::from_millis(0).millis_of_week(), 3 * DAY);
        // The ends of what can be represented wrap nowhere.
        assert!((0..7 * DAY).contains(&Timestamp::from_millis(i64::MIN).millis_of_week()));
        assert!((0..7 * DAY).contains(&Timestamp::from_millis(i64::MAX).millis_of_week()));
        let _ = Timestamp::from_millis(i64::MIN).to_string();
    }
}
