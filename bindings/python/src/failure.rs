//! What can go wrong, as Python's exceptions, and where a panic stops.
//!
//! The classes are Python's own (`otagate/_errors.py`), so that they may be a `ValueError` too where that is what it is.

use otagate::store::{Fault, ReplaceFault};
use otagate::{Problem, Problems};
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A class or function of the package, imported once.
pub(crate) struct Imported {
    module: &'static str,
    name: &'static str,
    held: PyOnceLock<Py<PyAny>>,
}

impl Imported {
    pub(crate) const fn new(module: &'static str, name: &'static str) -> Self {
        Self { module, name, held: PyOnceLock::new() }
    }

    pub(crate) fn get<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        let held =
            self.held.get_or_try_init(py, || Ok::<_, PyErr>(py.import(self.module)?.getattr(self.name)?.unbind()))?;
        Ok(held.bind(py))
    }
}

const ERRORS: &str = "otagate._errors";
static INVALID: Imported = Imported::new(ERRORS, "InvalidArgument");
static REFUSED: Imported = Imported::new(ERRORS, "Refused");
static NOT_FOUND: Imported = Imported::new(ERRORS, "NotFound");
static CHANGED: Imported = Imported::new(ERRORS, "Changed");
static GARBAGE: Imported = Imported::new(ERRORS, "StoreGarbage");
static INTERNAL: Imported = Imported::new(ERRORS, "InternalError");
static PROBLEM: Imported = Imported::new(ERRORS, "Problem");

#[cold]
fn raise(class: &Imported, message: String) -> PyErr {
    Python::attach(|py| match class.get(py).and_then(|class| class.call1((message,))) {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    })
}

/// An argument that cannot be: `InvalidArgument`, which is a `ValueError` too.
#[cold]
pub(crate) fn invalid(message: impl Into<String>) -> PyErr {
    raise(&INVALID, message.into())
}

/// What is named is not there: `NotFound`, which is a `LookupError` too.
#[cold]
pub(crate) fn not_found(message: impl Into<String>) -> PyErr {
    raise(&NOT_FOUND, message.into())
}

/// Somebody was faster, or the revision is not above what is held (L2): `Changed`.
#[cold]
pub(crate) fn changed(message: impl Into<String>) -> PyErr {
    raise(&CHANGED, message.into())
}

/// A host's store gave what cannot be (V4): `StoreGarbage`.
#[cold]
pub(crate) fn garbage(message: impl Into<String>) -> PyErr {
    raise(&GARBAGE, message.into())
}

/// Everything that is wrong: `Refused`, with `.problems`.
#[cold]
pub(crate) fn refused<'p>(problems: impl IntoIterator<Item = (String, &'p str)>) -> PyErr {
    let problems: Vec<_> = problems.into_iter().collect();
    let line = |(place, message): &(String, &str)| match place.is_empty() {
        true => (*message).to_owned(),
        false => format!("{place}: {message}"),
    };
    let message = problems.iter().map(line).collect::<Vec<_>>().join("\n");
    let made = Python::attach(|py| {
        let class = PROBLEM.get(py)?;
        let list = problems.into_iter().map(|problem| class.call1(problem)).collect::<PyResult<Vec<_>>>()?;
        Ok(PyErr::from_value(REFUSED.get(py)?.call1((message, list))?))
    });
    made.unwrap_or_else(|error: PyErr| error)
}

pub(crate) fn of_problems(problems: &Problems) -> PyErr {
    refused(problems.list().iter().map(|Problem { place, message }| (place.clone(), message.as_str())))
}

pub(crate) fn of_replace(fault: ReplaceFault) -> PyErr {
    changed(fault.to_string())
}

/// A store's own exception comes through as it is.
pub(crate) fn of_fault(fault: Fault<Raised>) -> PyErr {
    match fault {
        Fault::Store(Raised(error)) => error,
        other => garbage(other.to_string()),
    }
}

/// An exception on its way through the crate.
#[derive(Debug)]
pub(crate) struct Raised(pub(crate) PyErr);

impl std::fmt::Display for Raised {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the host's store raised an exception")
    }
}

impl std::error::Error for Raised {}

impl From<PyErr> for Raised {
    fn from(error: PyErr) -> Self {
        Self(error)
    }
}

/// What is wrong with a value that is read from an object: what its own code raised, or what was found.
pub(crate) enum Wrong {
    /// Raised by a property, a time zone, a method of somebody's: it comes through as it is.
    Raised(PyErr),
    /// It is of another kind.
    Kind(String),
    /// It is of the right kind, and cannot be.
    Value(String),
}

impl Wrong {
    /// As an argument of the caller's.
    pub(crate) fn of_argument(self) -> PyErr {
        match self {
            Self::Raised(error) => error,
            Self::Kind(message) => PyTypeError::new_err(message),
            Self::Value(message) => invalid(message),
        }
    }

    /// As what a method of a host's store gave (V4).
    pub(crate) fn of_store(self, method: &str) -> PyErr {
        match self {
            Self::Raised(error) => error,
            Self::Kind(message) | Self::Value(message) => garbage(format!("`{method}` gave what cannot be: {message}")),
        }
    }
}

impl From<PyErr> for Wrong {
    fn from(error: PyErr) -> Self {
        Self::Raised(error)
    }
}

/// Carries out a call; a panic becomes `InternalError`, which is an `Exception`: the `PanicException` of PyO3 is not, and ends servers.
#[inline(always)]
pub(crate) fn guard<T>(call: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(outcome) => outcome,
        Err(payload) => Err(panicked(payload)),
    }
}

#[cold]
fn panicked(payload: Box<dyn Any + Send>) -> PyErr {
    let said = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let message = format!("a fault in otagate, please report it: {}", said.unwrap_or("a panic without words"));
    // A payload may panic when it is dropped.
    std::mem::forget(payload);
    catch_unwind(AssertUnwindSafe(|| raise(&INTERNAL, message.clone())))
        .unwrap_or_else(|_| PyRuntimeError::new_err(message))
}

/// A fault inside, for the tests that ask what becomes of one.
#[inline(always)]
pub(crate) fn plant(version: &[u8]) {
    #[cfg(feature = "planted-panic")]
    assert!(version != b"planted panic", "planted");
    let _ = version;
}
