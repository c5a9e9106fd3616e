//! For the bench: the same decisions in Rust, in this process and of this fleet, so that what the boundary costs is the difference.

use crate::failure::guard;
use crate::fleet::Fleet;
use crate::input::{More, Text};
use crate::many;
use crate::time::now;
use otagate::NoTrace;
use pyo3::prelude::*;
use std::hint::black_box;
use std::time::Instant;

/// Nanoseconds of one decision in Rust, of so many, at one time.
#[pyfunction]
pub(crate) fn bench_decide(
    fleet: &Fleet,
    key: Text<'_>,
    serial: Text<'_>,
    version: Option<Text<'_>>,
    times: u32,
) -> PyResult<f64> {
    guard(|| {
        let more = More { version, hardware: None, digest: None, want: None, resource: None };
        let (ask, at) = (more.check_in(&key, &serial)?, now(None)?);
        let mut reader = fleet.index.reader();
        let since = Instant::now();
        for _ in 0..times {
            black_box(reader.decide(black_box(&ask), at, &mut NoTrace).reason);
        }
        Ok(since.elapsed().as_secs_f64() * 1e9 / f64::from(times))
    })
}

/// Nanoseconds of an item of a batch in Rust, the check-ins being there, the answers being reasons.
#[pyfunction]
pub(crate) fn bench_many(fleet: &Fleet, rows: &Bound<'_, PyAny>, times: u32) -> PyResult<f64> {
    guard(|| {
        let held = many::hold(rows)?;
        let texts = held.texts()?;
        let (asks, at) = (many::check_ins(&texts), now(None)?);
        let mut reader = fleet.index.reader();
        let mut reasons = vec![0; asks.len()];
        let since = Instant::now();
        for _ in 0..times {
            reader.decide_batch(&asks, at, &mut reasons, |decision| decision.reason.number());
            black_box(&reasons);
        }
        Ok(since.elapsed().as_secs_f64() * 1e9 / f64::from(times) / asks.len().max(1) as f64)
    })
}
