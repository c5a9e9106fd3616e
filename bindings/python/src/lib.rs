//! The Python face: the package `otagate`, whose native part this is.
//!
//! ```text
//!   Python ── guard ──▶ input: str | bytes, datetime ──▶ CheckIn, Timestamp ──▶ the crate ──▶ Given ──▶ Decision
//!             a panic       copies nothing                                       decides      owned     shared, where nothing
//!             becomes                                                                                   of it is the device's own
//!             InternalError
//! ```
//!
//! Nothing is decided here. Values that carry nothing but data are dataclasses of the package (`otagate/_values.py`); what is asked often, or
//! holds a fleet, is a class of this module. Every class may be used by any thread, several at once, with a GIL or without.

mod arrow;
#[cfg(feature = "bench")]
mod bench;
mod books;
mod decision;
mod explain;
mod failure;
mod fleet;
mod fleet_words;
mod given;
mod host;
mod input;
mod many;
mod otadrive;
mod readers;
mod steps;
mod time;
mod words;

use pyo3::prelude::*;

/// The native part of `otagate`. Import `otagate` itself: names here may move.
#[pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use crate::arrow::Columns;
    #[cfg(feature = "bench")]
    #[pymodule_export]
    use crate::bench::{bench_decide, bench_many};
    #[pymodule_export]
    use crate::books::{Attended, Ledger};
    #[pymodule_export]
    use crate::decision::Decision;
    #[pymodule_export]
    use crate::explain::Explanation;
    #[pymodule_export]
    use crate::fleet::Fleet;
    #[pymodule_export]
    use crate::host::{Group, Product};
    #[pymodule_export]
    use crate::otadrive::{OtadriveReply, otadrive_answer};
    #[pymodule_export]
    use crate::steps::Asked;
    #[pymodule_export]
    use crate::words::{
        compare_versions, key_hash, parse_range, rank, read_serial, reasons, rollout_step, share_threshold, version,
    };
}
