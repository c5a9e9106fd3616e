//! For the bench: the same decisions in Rust, in this process and of this fleet, so that what the boundary costs is the difference.

use crate::failure::guard;
use crate::fleet::Fleet;
use crate::input::Text;
use crate::many;
use crate::time::now;
use otagate::{CheckIn, NoTrace};
use pyo3::prelude::*;
use std::cell::OnceCell;
use std::hint::black_box;
use std::time::Instant;

/// Nanoseconds of one decision in Rust, of so many, at one time.
#[pyfunction]
pub(crate) fn bench_decide(
    fleet: &Fleet,
    key: Text<'_>,
    serial: Text<'_>,
    version: Text<'_>,
    times: u32,
) -> PyResult<f64> {
    guard(|| {
        let ask = CheckIn { version: version.bytes(), ..CheckIn::new(key.bytes(), serial.bytes()) };
        let (at, mut reader) = (now(None)?, fleet.index.reader());
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
        let (held, texts) = (many::Held::of(rows)?, OnceCell::new());
        let (asks, at) = (many::check_ins(&held.spans(&texts)?), now(None)?);
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
