//! Why a command was not done, and what to do next.

use std::path::Path;

/// What is told on standard error before the command exits with 2.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) what: String,
    pub(crate) next: Option<String>,
}

impl Failure {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), next: None }
    }

    pub(crate) fn of(error: impl std::error::Error) -> Self {
        Self::new(crate::fleets::chain(&error))
    }

    pub(crate) fn io(path: &Path, error: std::io::Error) -> Self {
        Self::new(format!("{}: {error}", path.display()))
    }
}

/// A failure that says what to do.
pub(crate) fn hint(what: impl Into<String>, next: impl Into<String>) -> Failure {
    Failure { what: what.into(), next: Some(next.into()) }
}
