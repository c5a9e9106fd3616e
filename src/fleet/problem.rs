//! What is wrong with a value, all of it at once, each with its place (L1).

use serde::Serialize;
use std::fmt;

/// One thing wrong, and where: `place` is a path such as `firmware[2].artifacts[0].from`, empty for the whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The path from the value that was checked to the part that is wrong.
    pub place: String,
    /// What is wrong and what to do, user input in backticks.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.place, self.message) }
    }
}

/// Everything wrong with a value; as an error it is never empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(transparent)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// The problems in the order in which they were found.
    pub fn list(&self) -> &[Problem] {
        &self.0
    }

    pub(crate) fn add(&mut self, place: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem { place: place.into(), message: message.into() });
    }

    /// Takes over what was found inside the part at `place`.
    pub(crate) fn add_within(&mut self, place: &str, inner: Problems) {
        for Problem { place: rest, message } in inner.0 {
            let dot = if rest.is_empty() || rest.starts_with('[') || place.is_empty() { "" } else { "." };
            self.add(format!("{place}{dot}{rest}"), message);
        }
    }

    /// The value of a checked part, or its problems noted under `place`.
    pub(crate) fn check<T>(&mut self, place: &str, part: Result<T, Problems>) -> Option<T> {
        part.map_err(|inner| self.add_within(place, inner)).ok()
    }

    /// The same for a part whose only problem is a sentence.
    pub(crate) fn check_one<T, E: fmt::Display>(&mut self, place: &str, part: Result<T, E>) -> Option<T> {
        part.map_err(|fault| self.add(place, fault.to_string())).ok()
    }

    /// `value` if nothing was found. A caller reaches `None` only where it noted why.
    pub(crate) fn finish<T>(mut self, value: Option<T>) -> Result<T, Problems> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => {
                if self.0.is_empty() {
                    self.add("", "incomplete");
                }
                Err(self)
            }
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}
