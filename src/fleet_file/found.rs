//! What was found wrong in the TOML file, and where in it each part of the specification stands.
//!
//! The fleet's own checks (`ProductFleetSpec::build`) name places such as `firmware[2].artifacts[0].from`. Here those paths lead back to bytes
//! of the file. One mistake is reported once: what such a check says of a value that could not even be read is a consequence, and is
//! dropped; and where the file is no TOML, nothing is said to be missing, since it may only be unreadable.

use super::problem::{FileProblems, PROBLEMS_MAX, Positions};
use crate::Problem;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

#[derive(Default)]
pub(super) struct Found {
    /// Where in the file, and what.
    problems: Kept,
    /// The places of `problems`, to ask whether one lies within a value.
    starts: BTreeSet<usize>,
    /// Paths of what is missing or stands for something unreadable.
    faulted: BTreeSet<String>,
    /// From the paths of the specification to the file.
    places: BTreeMap<String, Place>,
    /// From the places of the lint warnings to the file.
    lint_places: BTreeMap<String, Range<usize>>,
    /// Where the file is no TOML.
    syntax: Kept,
}

/// Problems that somebody may read, and how many there are besides: a file of mistakes costs no memory.
#[derive(Default)]
struct Kept {
    list: Vec<(Range<usize>, String)>,
    more: usize,
}

impl Kept {
    fn push(&mut self, problem: (Range<usize>, String)) {
        if self.list.len() < PROBLEMS_MAX { self.list.push(problem) } else { self.more += 1 }
    }

    fn len(&self) -> usize {
        self.list.len() + self.more
    }

    fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// Where a part of the specification stands in the file.
struct Place {
    span: Range<usize>,
    /// The word for it in the file; empty for one table of several.
    word: String,
    /// It has keys: what it lacks is called by the key that is not there.
    is_table: bool,
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

    /// The value of the specification at `place` stands there, and is called `word` in the file.
    pub(super) fn place(&mut self, place: impl Into<String>, span: Range<usize>, word: impl Into<String>) {
        self.places.insert(place.into(), Place { span, word: word.into(), is_table: false });
    }

    /// The same for a table.
    pub(super) fn table_place(&mut self, place: impl Into<String>, span: Range<usize>, word: impl Into<String>) {
        self.places.insert(place.into(), Place { span, word: word.into(), is_table: true });
    }

    /// What the lint warns of under `place` stands there.
    pub(super) fn lint_place(&mut self, place: impl Into<String>, span: Range<usize>) {
        self.lint_places.entry(place.into()).or_insert(span);
    }

    /// Takes over what a check of the specification found; `within` is the path of what was checked.
    pub(super) fn take_over<'p>(&mut self, within: &str, problems: impl IntoIterator<Item = &'p Problem>) {
        for Problem { place, message } in problems {
            let dot = if place.is_empty() || place.starts_with('[') || within.is_empty() { "" } else { "." };
            // A product's own parts stand beside its firmware and groups in the file, and a level deeper in the specification.
            let place = place.strip_prefix("product.").unwrap_or(place);
            let place = format!("{within}{dot}{place}");
            if self.faulted.contains(&place) {
                continue;
            }
            let (span, subject, exact) = self.look_up(&place, message);
            let consequence = exact && self.starts.range(span.clone()).next().is_some();
            let unsure = !exact && !self.syntax.is_empty();
            if !consequence && !unsure {
                self.problems.push((span, subject));
            }
        }
    }

    /// Where the part of the specification at `place` stands, or the nearest known one around it.
    pub(super) fn span_at(&self, place: &str) -> Range<usize> {
        self.look_up(place, "").0
    }

    /// The place itself, or the nearest known one around it; what to say there; and whether it is the place itself.
    fn look_up(&self, place: &str, message: &str) -> (Range<usize>, String, bool) {
        if let Some(Place { span, word, is_table }) = self.places.get(place) {
            let is_whole = *is_table && !continues(message);
            return (span.clone(), said_of(if is_whole { "" } else { word }, message), true);
        }
        let mut around = place;
        while let Some(cut) = around.rfind(['.', '[']) {
            around = &around[..cut];
            if let Some(Place { span, word, is_table }) = self.places.get(around) {
                let lacking = format!("`{}`", place[cut..].trim_start_matches('.'));
                return (span.clone(), said_of(if *is_table { &lacking } else { word }, message), false);
            }
        }
        (0..0, message.to_owned(), false)
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
        found.count_more(self.syntax.more + self.problems.more);
        self.syntax.list.sort_by_key(|(span, _)| span.start);
        for (span, message) in self.syntax.list {
            let position = at.at(span.start);
            // One slip confuses a parser more than once: the first word on it is the useful one.
            if broken.insert(position.0) {
                found.add(file, position, message);
            }
        }
        self.problems.list.sort_by_key(|(span, _)| span.start);
        for (span, message) in self.problems.list {
            if found.is_full() {
                found.count_more(1);
                continue;
            }
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
    match subject {
        "" => message.to_owned(),
        _ if continues(message) => format!("{subject} {message}"),
        _ => format!("{subject}: {message}"),
    }
}

fn continues(message: &str) -> bool {
    const VERBS: [&str; 9] = ["is", "are", "has", "admits", "counts", "lists", "names", "stands", "needs"];
    VERBS.contains(&message.split([' ', ':']).next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_limit_problems_are_counted_and_not_kept() {
        let mut found = Found::default();
        (0..PROBLEMS_MAX + 7).rev().for_each(|at| found.add(at..at, "is wrong"));
        (0..PROBLEMS_MAX + 3).for_each(|at| found.syntax(at..at, "is no TOML"));
        assert_eq!((found.problems.list.len(), found.syntax.list.len()), (PROBLEMS_MAX, PROBLEMS_MAX));
        assert_eq!(found.count(), 2 * PROBLEMS_MAX + 10);
        let told = found.finish(Path::new("fleet.toml"), "\n".repeat(2 * PROBLEMS_MAX).as_bytes());
        assert_eq!((told.list().len(), told.more()), (PROBLEMS_MAX, PROBLEMS_MAX + 10));
    }
}
