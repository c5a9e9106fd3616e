//! How things are printed.

use crate::failure::Failure;
use anstyle::{AnsiColor, Reset, Style};
use otagate::{Decision, Verdict};
use serde::Serialize;
use std::fmt::Write as _;

pub(crate) const RED: Style = AnsiColor::Red.on_default().bold();
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default();
pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const END: Reset = Reset;

/// One document and a line end.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(Failure::of)?;
    // Not by `println!`, which panics where nobody reads on.
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::of(error)),
        _ => Ok(()),
    }
}

/// A decision in one line.
pub(crate) fn decision(decision: &Decision<'_>) -> String {
    let colour = match decision.verdict {
        Verdict::Serve(_) | Verdict::UpToDate => GREEN,
        Verdict::Unauthorized | Verdict::Unavailable => RED,
    };
    let reason = decision.reason;
    let mut line = format!("{colour}{} {reason}{END}: {}", decision.status(), reason.sentence());
    if let Some(offer) = decision.firmware_offer() {
        let version = offer.firmware.version().text().escape_debug();
        let size = bytes(offer.artifact.size_bytes());
        let _ = write!(line, "; firmware {version}, {size}, at {}", offer.artifact.locator().escape_debug());
    }
    if let Some(secs) = decision.retry_after_secs {
        let _ = write!(line, "; ask again in {}", duration(secs.into()));
    }
    line
}

/// Thousands apart.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut told = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            told.push(',');
        }
        told.push(digit);
    }
    told
}

/// In the unit that people would say, with one decimal.
pub(crate) fn bytes(number: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let (mut tenths, mut unit) = (u128::from(number) * 10, 0);
    while tenths >= 10_000 && unit + 1 < units.len() {
        tenths = (tenths + 500) / 1_000;
        unit += 1;
    }
    if unit == 0 { format!("{number} B") } else { format!("{}.{} {}", tenths / 10, tenths % 10, units[unit]) }
}

/// The two largest parts of a time.
pub(crate) fn duration(secs: u64) -> String {
    let parts = [(secs / 86_400, "d"), (secs / 3_600 % 24, "h"), (secs / 60 % 60, "min"), (secs % 60, "s")];
    let first = parts.iter().position(|(number, _)| *number > 0).unwrap_or(3);
    let told: Vec<String> = parts[first..]
        .iter()
        .take(2)
        .filter(|(number, unit)| *number > 0 || *unit == "s" && secs == 0)
        .map(|(number, unit)| format!("{number} {unit}"))
        .collect();
    told.join(" ")
}

/// Lines with their columns under each other; the first column to the left, the others to the right.
pub(crate) fn table(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut told = String::new();
    for line in lines {
        let mut row = String::from(" ");
        for (at, cell) in line.iter().enumerate() {
            let (room, width) = (widths[at], cell.chars().count());
            let space = " ".repeat(room.saturating_sub(width));
            let _ = if at == 0 { write!(row, " {cell}{space}") } else { write!(row, "  {space}{cell}") };
        }
        told.push_str(row.trim_end());
        told.push('\n');
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_as_people_say_them() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0, 999, 1_000, 999_949, 1_000_000_000].map(bytes),
            ["0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 GB"]
        );
        assert_eq!(
            [0, 59, 60, 3_661, 90_000, 86_400].map(duration),
            ["0 s", "59 s", "1 min", "1 h 1 min", "1 d 1 h", "1 d"]
        );
    }
}
