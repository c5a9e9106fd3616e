//! Where a cell of CSV stands, for messages.
//!
//! The reader says where a row starts and what its cells mean, and not where in the row they stand. That is found here, by the same rules, and only for
//! cells with a fault.

use super::problem::{FileProblems, Positions};
use std::path::Path;

/// Where faults of cells are noted, with line and column.
pub(super) struct Faults<'f> {
    pub(super) path: &'f Path,
    pub(super) bytes: &'f [u8],
    pub(super) at: Positions<'f>,
    pub(super) problems: &'f mut FileProblems,
}

impl Faults<'_> {
    /// Notes a fault of the cell `index` of the row that starts at `row`; beyond the limit it is only counted.
    pub(super) fn add(&mut self, row: usize, index: usize, message: String) {
        if self.problems.is_full() {
            self.problems.count();
            return;
        }
        let (start, closed) = cell_start(self.bytes, row, index);
        let message = if closed { message } else { "the quote that opens here is never closed".to_owned() };
        self.problems.add_at(self.path, &mut self.at, start, message);
    }
}

/// Where a cell of the row starts, and whether its quote, if it has one, is closed.
pub(super) fn cell_start(bytes: &[u8], row: usize, index: usize) -> (usize, bool) {
    // What the reader calls the start of a row may be the end of the line before.
    let blank = bytes.iter().skip(row).take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let mut start = row + blank;
    for _ in 0..index {
        let (end, _) = cell_end(bytes, start);
        if bytes.get(end) != Some(&b',') {
            return (start, true);
        }
        start = end + 1;
    }
    (start, cell_end(bytes, start).1)
}

/// Where the cell that starts there ends, and whether its quote, if it has one, is closed.
pub(super) fn cell_end(bytes: &[u8], start: usize) -> (usize, bool) {
    let mut quoted = bytes.get(start) == Some(&b'"');
    let mut at = start + usize::from(quoted);
    while let Some(byte) = bytes.get(at) {
        match byte {
            // A doubled quote closes the cell and opens it again.
            b'"' if quoted => quoted = false,
            b'"' if at > start && bytes[at - 1] == b'"' && bytes.get(start) == Some(&b'"') => quoted = true,
            b',' | b'\r' | b'\n' if !quoted => break,
            _ => {}
        }
        at += 1;
    }
    (at, !quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_found_behind_quotes_and_blank_lines() {
        let bytes = b"a,b\r\n\r\n\"x,\"\"\ny\",z\n\"open";
        assert_eq!(cell_start(bytes, 4, 0), (7, true));
        assert_eq!(cell_start(bytes, 4, 1), (16, true));
        assert_eq!(cell_start(bytes, 17, 0), (18, false));
        // Fewer cells than asked for: the last one.
        assert_eq!(cell_start(bytes, 0, 9), (2, true));
    }
}
