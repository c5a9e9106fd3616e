//! When a group may be served: weekly spans in UTC, half-open, which may cross midnight (R12).

use super::problem::Problems;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The most spans of one window; `Mon-Fri` counts as five.
pub const WINDOW_SPANS_MAX: usize = 128;

const MINUTE_MILLIS: u32 = 60_000;
const DAY_MINUTES: u32 = 24 * 60;
const WEEK_MILLIS: u32 = 7 * DAY_MINUTES * MINUTE_MILLIS;
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// Weekly spans, each written as days and times in UTC: `Mon-Fri 22:00-04:00`, `Sat,Sun 00:00-24:00`, `daily 01:30-03:00`.
///
/// A span that ends at or before its start ends on the next day; the weekday is that of the opening.
///
/// ```
/// use otagate::{Timestamp, Window};
/// let window = Window::parse(&["Fri 22:00-04:00"]).unwrap();
/// let at = |text| Timestamp::parse(text).unwrap();
/// assert_eq!(window.opens_in_millis(at("2026-11-28T03:59:59Z")), 0); // Saturday, still Friday's span
/// assert_eq!(window.opens_in_millis(at("2026-12-04T21:59:59Z")), 1_000);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Window {
    /// As written.
    texts: Vec<String>,
    spans: Vec<Span>,
}

/// One opening a week, in milliseconds since Monday 00:00 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    opens: u32,
    lasts: u32,
}

impl Window {
    /// Reads the spans.
    ///
    /// # Errors
    /// No span; one that is not written as above, lasts no time, or names an unknown day; more than [`WINDOW_SPANS_MAX`].
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let mut spans = Vec::new();
        // What is too much is not taken apart: a text is at most a week.
        for (index, text) in texts.iter().enumerate().take(WINDOW_SPANS_MAX + 1) {
            match parse_spans(text.as_ref()) {
                Some(more) => spans.extend(more),
                None => problems.add(
                    format!("[{index}]"),
                    format!(
                        "`{}` is no span: write it like `Mon-Fri 22:00-04:00`, in UTC",
                        text.as_ref().escape_debug()
                    ),
                ),
            }
        }
        if texts.is_empty() {
            problems.add("", "has no span, so it would never open: leave the window out to have none");
        }
        if spans.len() > WINDOW_SPANS_MAX {
            problems.add("", format!("has more than {WINDOW_SPANS_MAX} spans"));
        }
        let texts = texts.iter().map(|text| text.as_ref().to_owned()).collect();
        problems.finish(Some(Self { texts, spans }))
    }

    /// Milliseconds until the window is open: 0 while it is. `O(spans)`.
    pub fn opens_in_millis(&self, now: Timestamp) -> u32 {
        let now = u32::try_from(now.millis_of_week()).unwrap_or_default();
        let since = |span: &Span| (WEEK_MILLIS + now - span.opens) % WEEK_MILLIS;
        self.spans
            .iter()
            .map(|span| if since(span) < span.lasts { 0 } else { WEEK_MILLIS - since(span) })
            .min()
            .unwrap_or(0)
    }
}

impl TryFrom<Vec<String>> for Window {
    type Error = Problems;
    fn try_from(texts: Vec<String>) -> Result<Self, Problems> {
        Self::parse(&texts)
    }
}

impl From<Window> for Vec<String> {
    fn from(window: Window) -> Self {
        window.texts
    }
}

fn parse_spans(text: &str) -> Option<Vec<Span>> {
    let (days, times) = text.trim().split_once(' ')?;
    let (from, to) = times.trim().split_once('-')?;
    let (from, to) = (minutes(from)?, minutes(to)?);
    if from == to || from == DAY_MINUTES {
        return None;
    }
    let lasts = if from < to { to - from } else { to + DAY_MINUTES - from };
    let at_day = |day: u32| Span { opens: (day * DAY_MINUTES + from) * MINUTE_MILLIS, lasts: lasts * MINUTE_MILLIS };
    let mut spans = Vec::new();
    for part in if days == "daily" { "Mon-Sun" } else { days }.split(',').take(WINDOW_SPANS_MAX) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (weekday(first)?, weekday(last)?);
        // `Sat-Mon` goes over the end of the week.
        let days = (last + 7 - first) % 7 + 1;
        spans.extend((first..first + days).map(|day| at_day(day % 7)));
    }
    Some(spans)
}

fn weekday(text: &str) -> Option<u32> {
    (0..).zip(DAYS).find(|(_, name)| name.eq_ignore_ascii_case(text)).map(|(day, _)| day)
}

/// `00:00` to `24:00`.
fn minutes(text: &str) -> Option<u32> {
    let (hours, minutes) = text.split_once(':')?;
    let number =
        |part: &str| (part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit())).then(|| part.parse().ok())?;
    let (hours, minutes): (u32, u32) = (number(hours)?, number(minutes)?);
    (minutes < 60 && hours * 60 + minutes <= DAY_MINUTES).then_some(hours * 60 + minutes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_what_looking_at_every_minute_finds() {
        let week = 7 * DAY_MINUTES;
        for texts in [
            &["Sun 23:00-01:00"][..],
            &["Mon-Fri 22:00-04:00"],
            &["Sat-Mon 00:00-24:00"],
            &["daily 23:59-00:01", "Wed 12:00-13:00"],
        ] {
            let window = Window::parse(texts).unwrap();
            let mut open = vec![false; week as usize];
            for span in &window.spans {
                (span.opens..span.opens + span.lasts)
                    .step_by(60_000)
                    .for_each(|at| open[(at / 60_000 % week) as usize] = true);
            }
            for step in 0..350 {
                let now = Timestamp::from_millis(1_795_000_000_000 + step * 1_741_003);
                let (minute, into) = ((now.millis_of_week() / 60_000) as u32, (now.millis_of_week() % 60_000) as u32);
                let minutes = (0..).find(|wait| open[((minute + wait) % week) as usize]).unwrap();
                let slow = (minutes * 60_000).saturating_sub(into);
                assert_eq!(window.opens_in_millis(now), slow, "{texts:?} {now}");
            }
        }
    }

    #[test]
    fn what_is_no_span_is_refused() {
        for text in [
            "",
            "Mon",
            "Mon 10:00",
            "Mon 10:00-10:00",
            "Mon 24:00-01:00",
            "Mon 9:00-10:00",
            "Mon 10:60-11:00",
            "Mo 10:00-11:00",
            "Mon 10:00-25:00",
            "Mon,, 10:00-11:00",
        ] {
            assert!(Window::parse(&[text]).is_err(), "{text}");
        }
        assert!(Window::parse::<&str>(&[]).is_err());
    }
}
