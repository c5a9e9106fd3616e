//! What is wrong with a fleet file, all of it at once, each with file, line and column (L1).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The most problems, and the most lint warnings, that one load reports; the others are counted.
pub const PROBLEMS_MAX: usize = 1_000;
/// The longest message, in characters: what a file says may be quoted in it, and a file may be hostile.
pub(super) const MESSAGE_CHARS_MAX: usize = 600;

/// One thing wrong in one of the files.
///
/// Displayed as `fleet.toml:12:5: message`, which editors and terminals turn into a link.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileProblem {
    /// The file, by the path that it was read from.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: u32,
    /// The column in that line, from 1, in characters.
    pub column: u32,
    /// What is wrong and what to do, user input in backticks.
    pub message: String,
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", shown_path(&self.file), self.line, self.column, self.message)
    }
}

/// What there is to say of the files, problems or lint warnings, in the order of file, line and column; as an error it is never empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct FileProblems {
    list: Vec<FileProblem>,
    /// How many there are besides those in the list.
    more: usize,
}

impl FileProblems {
    /// At most [`PROBLEMS_MAX`] of them.
    pub fn list(&self) -> &[FileProblem] {
        &self.list
    }

    /// How many there are besides those in the list.
    pub fn more(&self) -> usize {
        self.more
    }

    /// Those in the list, one by one.
    pub fn iter(&self) -> std::slice::Iter<'_, FileProblem> {
        self.list.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty() && self.more == 0
    }

    /// Whether any more of them are only counted.
    pub(super) fn is_full(&self) -> bool {
        self.list.len() >= PROBLEMS_MAX
    }

    /// Counts one that nobody will read.
    pub(super) fn count(&mut self) {
        self.count_more(1);
    }

    /// Counts several of them.
    pub(super) fn count_more(&mut self, more: usize) {
        self.more = self.more.saturating_add(more);
    }

    /// Notes one at a byte of the file; beyond the limit, not even its line is looked for.
    pub(super) fn add_at(&mut self, file: &Path, at: &mut Positions<'_>, offset: usize, message: impl Into<String>) {
        if self.is_full() { self.count() } else { self.add(file, at.at(offset), message) }
    }

    /// Notes one. Beyond the limit it is only counted, so that a file of mistakes costs no memory.
    pub(super) fn add(&mut self, file: &Path, (line, column): (u32, u32), message: impl Into<String>) {
        if !self.is_full() {
            let message = shortened(message.into(), MESSAGE_CHARS_MAX);
            self.list.push(FileProblem { file: file.to_owned(), line, column, message });
        } else {
            self.count();
        }
    }

    pub(super) fn extend(&mut self, others: Self) {
        self.more += others.more;
        self.list.extend(others.list);
        if self.list.len() > 2 * PROBLEMS_MAX {
            *self = std::mem::take(self).sorted();
        }
    }

    /// Sorted, each once, no more than the limit.
    pub(super) fn sorted(mut self) -> Self {
        self.list.sort();
        self.list.dedup();
        self.more += self.list.len().saturating_sub(PROBLEMS_MAX);
        self.list.truncate(PROBLEMS_MAX);
        self
    }
}

impl<'p> IntoIterator for &'p FileProblems {
    type Item = &'p FileProblem;
    type IntoIter = std::slice::Iter<'p, FileProblem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for FileProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        if self.more > 0 { write!(f, "\n... and {} more", self.more) } else { Ok(()) }
    }
}

/// Why a fleet file was not taken; nothing of it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The fleet file itself cannot be read. That of the files it names, one that cannot be read is a problem with a place.
    #[error("cannot read the fleet file `{}`: {source}", shown_path(.path))]
    Io {
        /// The fleet file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What the files say is wrong.
    #[error(transparent)]
    Problems(#[from] FileProblems),
}

/// A path for people: one line, whatever is in it.
pub(super) fn shown_path(path: &Path) -> String {
    path.to_string_lossy().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// User input for a message: escaped, and short enough to find what is said about it.
pub(super) fn shown(text: &str) -> String {
    shortened(text.escape_debug().to_string(), 80)
}

fn shortened(text: String, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((cut, _)) => format!("{}...", &text[..cut]),
        None => text,
    }
}

/// Line and column of byte offsets in a text, both from 1; the column counts characters. A byte order mark is none.
///
/// Offsets that only grow cost one pass over the text in all.
pub(super) struct Positions<'t> {
    bytes: &'t [u8],
    /// Everything before it has been walked over.
    walked: usize,
    line: u32,
    line_start: usize,
    /// How many characters of the line are before `walked`.
    chars: u32,
}

impl<'t> Positions<'t> {
    pub(super) fn of(bytes: &'t [u8]) -> Self {
        Self { bytes, walked: 0, line: 1, line_start: 0, chars: 0 }
    }

    pub(super) fn at(&mut self, offset: usize) -> (u32, u32) {
        let offset = offset.min(self.bytes.len());
        if offset < self.line_start {
            *self = Self::of(self.bytes);
        }
        if offset < self.walked {
            (self.walked, self.chars) = (self.line_start, 0);
        }
        for at in self.walked..offset {
            match self.bytes[at] {
                b'\n' => (self.line, self.line_start, self.chars) = (self.line.saturating_add(1), at + 1, 0),
                // A byte that continues a character is none of its own; in what is no UTF-8 every other byte counts.
                byte if byte & 0xc0 == 0x80 => {}
                _ => self.chars = self.chars.saturating_add(1),
            }
        }
        self.walked = offset;
        (self.line, self.chars.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_offsets_may_go_back() {
        let mut at = Positions::of("äö = 1\nb = ü2\n".as_bytes());
        assert_eq!(at.at(0), (1, 1));
        assert_eq!(at.at(4), (1, 3));
        assert_eq!(at.at(9), (2, 1));
        assert_eq!(at.at(15), (2, 6));
        assert_eq!(at.at(4), (1, 3));
        assert_eq!(at.at(usize::MAX), (3, 1));
    }

    #[test]
    fn beyond_the_limit_problems_are_counted() {
        let mut problems = FileProblems::default();
        (0..1_003).for_each(|line| problems.add(Path::new("fleet.toml"), (line, 1), "is wrong"));
        let problems = problems.sorted();
        assert_eq!((problems.list().len(), problems.more()), (1_000, 3));
        assert!(problems.to_string().ends_with("\nfleet.toml:999:1: is wrong\n... and 3 more"));
    }
}
