//! Numbers, times and texts as a page says them.

/// For HTML and SVG alike; control characters and those that turn the direction of a line are shown, not obeyed.
pub(super) fn escape(text: &str) -> String {
    let mut told = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '&' => told.push_str("&amp;"),
            '<' => told.push_str("&lt;"),
            '>' => told.push_str("&gt;"),
            '"' => told.push_str("&quot;"),
            '\'' => told.push_str("&#39;"),
            _ if one.is_control() || is_directional(one) => told.extend(one.escape_unicode()),
            _ => told.push(one),
        }
    }
    told
}

fn is_directional(one: char) -> bool {
    matches!(one, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The same text without what escaping is for: what draws a label escapes it itself.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|one| if one.is_control() || is_directional(one) { '\u{fffd}' } else { one }).collect()
}

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

/// Three digits and a unit's prefix: `1.25 M`.
pub(super) fn short(number: f64) -> String {
    let (mut number, mut prefix) = (number, 0);
    while number >= 999.5 && prefix < 6 {
        number /= 1_000.0;
        prefix += 1;
    }
    let prefix = ["", "k", "M", "G", "T", "P", "E"].get(prefix).copied().unwrap_or_default();
    let digits = if number >= 99.95 || number.fract() == 0.0 {
        0
    } else if number >= 9.995 {
        1
    } else {
        2
    };
    let told = format!("{number:.digits$}");
    let told = if told.contains('.') { told.trim_end_matches('0').trim_end_matches('.') } else { &told };
    if prefix.is_empty() { told.to_owned() } else { format!("{told} {prefix}") }
}

/// The two largest parts of a time.
pub(super) fn duration(secs: u64) -> String {
    let parts = [(secs / 86_400, "d"), (secs / 3_600 % 24, "h"), (secs / 60 % 60, "min"), (secs % 60, "s")];
    let first = parts.iter().position(|(number, _)| *number > 0).unwrap_or(3);
    let told = parts.iter().skip(first).take(2).filter(|(number, unit)| *number > 0 || (*unit == "s" && secs == 0));
    told.map(|(number, unit)| format!("{number} {unit}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_users_are_shown_and_not_obeyed() {
        assert_eq!(escape("<script>\"'&"), "&lt;script&gt;&quot;&#39;&amp;");
        assert_eq!(escape("a\u{202e}b\n"), "a\\u{202e}b\\u{a}");
        assert_eq!(plain("a\u{202e}b<"), "a\u{fffd}b<");
    }

    #[test]
    fn numbers_have_three_digits_and_a_prefix() {
        let told = [0.0, 0.25, 7.0, 12.5, 999.0, 1_000.0, 1_250_000.0, 2.5e12].map(short);
        assert_eq!(told, ["0", "0.25", "7", "12.5", "999", "1 k", "1.25 M", "2.5 T"]);
        assert_eq!([0, 61, 90_000].map(duration), ["0 s", "1 min 1 s", "1 d 1 h"]);
    }
}
