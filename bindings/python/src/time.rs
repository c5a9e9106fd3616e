//! Times: Python's aware datetimes outside, milliseconds inside. The crate reads no clock; where a caller gives no `now`, this face reads it, here.

use crate::failure::{Imported, Wrong};
use otagate::Timestamp;
use pyo3::prelude::*;

static DATETIME: Imported = Imported::new("datetime", "datetime");
static TIMEZONE: Imported = Imported::new("datetime", "timezone");
static ZONE_INFO: Imported = Imported::new("zoneinfo", "ZoneInfo");
static EPOCH: Imported = Imported::new("otagate._values", "EPOCH");
static MILLISECOND: Imported = Imported::new("otagate._values", "MILLISECOND");

/// What a caller gave as `now`, or the clock.
#[inline]
pub(crate) fn now(given: Option<&Bound<'_, PyAny>>) -> PyResult<Timestamp> {
    match given {
        Some(given) => timestamp(given, "now"),
        None => Ok(clock()),
    }
}

/// The system's clock, read once per decision: by the shortest way, since the way by `SystemTime` takes as long again.
#[cfg(unix)]
#[inline]
fn clock() -> Timestamp {
    let mut read = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: there is room for what it writes.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut read) };
    #[allow(clippy::useless_conversion, reason = "on some machines they have 32 bits")]
    let (secs, nanos) = (i64::from(read.tv_sec), i64::from(read.tv_nsec));
    Timestamp::from_millis(secs * 1_000 + nanos / 1_000_000)
}

#[cfg(not(unix))]
fn clock() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// An aware datetime, rounded down to the millisecond. A naive one is refused: it would mean another time on another machine.
pub(crate) fn timestamp(given: &Bound<'_, PyAny>, what: &str) -> PyResult<Timestamp> {
    read(given, what).map_err(Wrong::of_argument)
}

/// The same, for whoever knows better whose fault it is.
pub(crate) fn read(given: &Bound<'_, PyAny>, what: &str) -> Result<Timestamp, Wrong> {
    let py = given.py();
    if !given.is_instance(DATETIME.get(py)?)? {
        let kind = given.get_type().name()?;
        return Err(Wrong::Kind(format!("`{what}` must be a datetime with a time zone, not {kind}")));
    }
    if given.call_method0("utcoffset")?.is_none() {
        let message = "is a naive datetime: give it a time zone, such as datetime.now(timezone.utc)";
        return Err(Wrong::Value(format!("`{what}` {message}")));
    }
    let since = given.sub(EPOCH.get(py)?)?;
    Ok(Timestamp::from_millis(since.floor_div(MILLISECOND.get(py)?)?.extract()?))
}

/// Whether it means the same time whenever it is asked: a datetime as the library makes them, in a zone as the library has them. Another's may be asked twice
/// and answer otherwise, and may hold whatever it likes.
pub(crate) fn is_fixed(given: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = given.py();
    if !given.get_type().is(DATETIME.get(py)?) {
        return Ok(false);
    }
    let zone = given.getattr("tzinfo")?.get_type();
    Ok(zone.is(TIMEZONE.get(py)?) || zone.is(ZONE_INFO.get(py)?))
}

/// As a datetime in UTC. Beyond the years 1 to 9999 Python has none: `OverflowError`.
pub(crate) fn datetime<'py>(py: Python<'py>, at: Timestamp) -> PyResult<Bound<'py, PyAny>> {
    EPOCH.get(py)?.add(MILLISECOND.get(py)?.mul(at.millis())?)
}
