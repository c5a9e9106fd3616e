//! A preview as text, for people and the logs of reviews.

use super::{Answer, Preview};
use std::fmt;

/// How many lines are shown; the rest is counted.
const LINES: usize = 20;

/// Thousands apart.
pub(super) fn count(number: u64) -> String {
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

/// `1 device`, `2 devices`.
pub(super) fn are(number: u64, what: &str) -> String {
    format!("{} {what}{}", count(number), if number == 1 { "" } else { "s" })
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.reason)?;
        match &self.serves {
            Some(version) => write!(f, " {}", version.escape_debug()),
            None => Ok(()),
        }
    }
}

/// What changes in a few lines, then who: the largest twenty of the lines.
impl fmt::Display for Preview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} asked at {}; {} told something else",
            are(self.devices, "device"),
            self.now,
            count(self.changed)
        )?;
        let facts = [
            ("newly served", self.newly_served),
            ("no longer served", self.no_longer_served),
            ("down in version", self.downgrades),
            ("newly 401 or 404", self.unreachable),
            ("added", self.added),
            ("removed", self.removed),
            ("of unknown version", self.unknown_version),
        ];
        for (what, number) in facts.iter().filter(|(_, number)| *number > 0) {
            writeln!(f, "{:>12}  {what}", count(*number))?;
        }
        for step in &self.steps {
            writeln!(f, "  first: {step}")?;
        }
        for misfit in &self.misfits {
            let version = misfit.version.escape_debug();
            let (product, group) = (&misfit.product, &misfit.group);
            writeln!(
                f,
                "  fits nobody: {version} in group `{group}` of product `{product}`, {}",
                are(misfit.devices, "device")
            )?;
        }
        for line in self.lines.iter().take(LINES) {
            let group = match (&line.group_before, &line.group_after) {
                (Some(before), Some(after)) if before == after => format!("group `{}`", after.escape_debug()),
                (before, after) => {
                    let name = |group: &Option<String>| {
                        group.as_deref().map_or("nowhere".to_owned(), |group| format!("`{}`", group.escape_debug()))
                    };
                    format!("group {} to {}", name(before), name(after))
                }
            };
            let version = line
                .version
                .as_deref()
                .map_or("an unknown version".to_owned(), |version| version.escape_debug().to_string());
            let flags = [(line.downgrade, ", down in version"), (line.unreachable, ", unreachable")];
            let flags: String = flags.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
            writeln!(
                f,
                "{:>12}  product `{}`, {group}, on {version}: {} -> {}{flags}",
                count(line.devices),
                line.product.escape_debug(),
                line.before,
                line.after
            )?;
            let examples: Vec<String> = line.examples.iter().map(|serial| serial.escape_debug().to_string()).collect();
            let more = if line.devices > examples.len() as u64 { ", ..." } else { "" };
            if !examples.is_empty() {
                writeln!(f, "{:14}{}{more}", "", examples.join(", "))?;
            }
        }
        let (more, devices) =
            (self.lines.len().saturating_sub(LINES), self.lines.iter().skip(LINES).map(|line| line.devices).sum());
        if more > 0 {
            writeln!(f, "{:>12}  in {more} more lines", count(devices))?;
        }
        Ok(())
    }
}
