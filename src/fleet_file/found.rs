//! What was found wrong in the TOML file, and where in it each part of the specification stands.
//!
//! The fleet's own checks (`ProductFleetSpec::build`) name places such as `firmware[2].artifacts[0].from`. Here those paths lead back to bytes
//! of the file. One mistake is reported once: what such a check says of a value that could not even be read is a consequence, and is
//! dropped; and where the file is no TOML, nothing is said to be missing, since it may only be unreadable.

use super::problem::{FileProblems, Positions};
use crate::{Problem, Problems};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

#[derive(Default)]
pub(super) struct Found {
    /// Where in the file, and what.
    problems: Vec<(Range<usize>, String)>,
    /// The places of `problems`, to ask whether one lies within a value.
    starts: BTreeSet<usize>,
    /// Paths of what is missing or stands for something unreadable.
    faulted: BTreeSet<String>,
    /// From the paths of the specification to the file, and the word for it in the file.
    places: BTreeMap<String, (Range<usize>, String)>,
    /// From the places of the lint warnings to the file.
    lint_places: BTreeMap<String, Range<usize>>,
    /// Where the file is no TOML.
    syntax: Vec<(Range<usize>, String)>,
}

impl Found {
    /// What stands in the file is no TOML.
    pub(super) fn syntax(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.syntax.push((span, message.into()));
    }

    /// What stands there is wrong.
    pub(super) fn add(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.starts.insert(span.start);
        self.problems.push((span, message.into()));
    }

    /// Something does not stand in the table of `span`; `places` are the paths that therefore mean nothing.
    pub(super) fn missing(&mut self, span: &Range<usize>, places: &[String], message: impl Into<String>) {
        self.fault(places);
        if self.syntax.is_empty() {
            self.problems.push((span.clone(), message.into()));
        }
    }

    /// What the specification has at these paths means nothing.
    pub(super) fn fault(&mut self, places: &[String]) {
        self.faulted.extend(places.iter().cloned());
    }

    /// The part of the specification at `place` stands there.
    pub(super) fn place(&mut self, place: impl Into<String>, span: Range<usize>, word: impl Into<String>) {
        self.places.insert(place.into(), (span, word.into()));
    }

    /// What the lint warns of under `place` stands there.
    pub(super) fn lint_place(&mut self, place: impl Into<String>, span: Range<usize>) {
        self.lint_places.entry(place.into()).or_insert(span);
    }

    /// Takes over what a check of the specification found; `within` is the path of what was checked.
    pub(super) fn take_over(&mut self, within: &str, problems: &Problems) {
        for Problem { place, message } in problems.list() {
            let dot = if place.is_empty() || place.starts_with('[') || within.is_empty() { "" } else { "." };
            // A product's own parts stand beside its firmware and groups in the file, and a level deeper in the specification.
            let place = place.strip_prefix("product.").unwrap_or(place);
            let place = format!("{within}{dot}{place}");
            if self.faulted.contains(&place) {
                continue;
            }
            let (span, subject, exact) = self.look_up(&place);
            let consequence = exact && self.starts.range(span.clone()).next().is_some();
            let unsure = !exact && !self.syntax.is_empty();
            if !consequence && !unsure {
                self.problems.push((span, said_of(&subject, message)));
            }
        }
    }

    /// Where the part of the specification at `place` stands, or the nearest known one around it.
    pub(super) fn span_at(&self, place: &str) -> Range<usize> {
        self.look_up(place).0
    }

    /// The place itself, or the nearest known one around it with what is left of the path as its word.
    fn look_up(&self, place: &str) -> (Range<usize>, String, bool) {
        if let Some((span, word)) = self.places.get(place) {
            return (span.clone(), word.clone(), true);
        }
        let mut around = place;
        while let Some(cut) = around.rfind(['.', '[']) {
            around = &around[..cut];
            if let Some((span, word)) = self.places.get(around) {
                let rest = place[cut..].trim_start_matches('.');
                // `document` and the like are no words of the file: the value itself is meant.
                let is_key = word.is_empty() || word.starts_with("wave");
                return (span.clone(), if is_key { format!("`{rest}`") } else { word.clone() }, false);
            }
        }
        (0..0, String::new(), false)
    }

    /// Where in the file a lint warning belongs: as named, or the nearest part around it.
    pub(super) fn of_lint(&self, place: &str) -> Range<usize> {
        let mut around = place;
        loop {
            if let Some(span) = self.lint_places.get(around) {
                return span.clone();
            }
            match around.rfind(' ') {
                Some(cut) => around = around[..cut].trim_end_matches(','),
                None => return 0..0,
            }
        }
    }

    /// How many problems there are so far.
    pub(super) fn count(&self) -> usize {
        self.problems.len() + self.syntax.len()
    }

    /// Whether nothing was found.
    pub(super) fn is_empty(&self) -> bool {
        self.problems.is_empty() && self.syntax.is_empty()
    }

    /// Everything with its line and column. What was found on a line that is no TOML is a consequence of that.
    pub(super) fn finish(mut self, file: &Path, bytes: &[u8]) -> FileProblems {
        let mut found = FileProblems::default();
        let mut at = Positions::of(bytes);
        let mut broken = BTreeSet::new();
        self.syntax.sort_by_key(|(span, _)| span.start);
        for (span, message) in self.syntax {
            let position = at.at(span.start);
            // One slip confuses a parser more than once: the first word on it is the useful one.
            if broken.insert(position.0) {
                found.add(file, position, message);
            }
        }
        self.problems.sort_by_key(|(span, _)| span.start);
        for (span, message) in self.problems {
            let position = at.at(span.start);
            if !broken.contains(&position.0) {
                found.add(file, position, message);
            }
        }
        found
    }
}

/// Joins a subject to what a check said of it: some of that continues a sentence (`is empty`), some is one of its own.
fn said_of(subject: &str, message: &str) -> String {
    const CONTINUES: [&str; 11] =
        ["is", "are", "has", "admits", "counts", "lists", "names", "stands", "needs", "opens", "lasts"];
    let verb = message.split([' ', ':']).next().unwrap_or_default();
    match subject {
        "" => message.to_owned(),
        _ if CONTINUES.contains(&verb) => format!("{subject} {message}"),
        _ => format!("{subject}: {message}"),
    }
}
