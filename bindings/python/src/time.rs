//! Times: Python's aware datetimes outside, milliseconds inside. The crate reads no clock; where a caller gives no `now`, this face reads it, here.

use crate::failure::{Imported, invalid};
use otagate::Timestamp;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

static DATETIME: Imported = Imported::new("datetime", "datetime");
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
    Timestamp::from_millis(read.tv_sec * 1_000 + read.tv_nsec / 1_000_000)
}

#[cfg(not(unix))]
fn clock() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// An aware datetime, rounded down to the millisecond. A naive one is refused: it would mean another time on another machine.
pub(crate) fn timestamp(given: &Bound<'_, PyAny>, what: &str) -> PyResult<Timestamp> {
    let py = given.py();
    if !given.is_instance(DATETIME.get(py)?)? {
        return Err(PyTypeError::new_err(format!(
            "`{what}` must be a datetime with a time zone, not {}",
            given.get_type().name()?
        )));
    }
    if given.call_method0("utcoffset")?.is_none() {
        return Err(invalid(format!(
            "`{what}` is a naive datetime: give it a time zone, such as datetime.now(timezone.utc)"
        )));
    }
    let since = given.sub(EPOCH.get(py)?)?;
    Ok(Timestamp::from_millis(since.floor_div(MILLISECOND.get(py)?)?.extract()?))
}

/// As a datetime in UTC. Beyond the years 1 to 9999 there is none: `OverflowError`.
pub(crate) fn datetime<'py>(py: Python<'py>, at: Timestamp) -> PyResult<Bound<'py, PyAny>> {
    EPOCH.get(py)?.add(MILLISECOND.get(py)?.mul(at.millis())?)
}
