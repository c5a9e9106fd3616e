//! The `Range` header, as download clients write it.

/// Which bytes of a file are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// All of them: no range was asked for, or one that this server does not know, which it may ignore (RFC 9110, section 14.2).
    Whole,
    /// `first..=last`, inside the file.
    Part {
        /// The first byte.
        first: u64,
        /// The last byte.
        last: u64,
    },
    /// Nothing of the file is in the range: 416.
    Unsatisfiable,
}

/// Reads a `Range` header for a file of `size_bytes`. One range of bytes is known: `bytes=0-15`, `bytes=512-`, `bytes=-500`. The end is clamped to the file,
/// since clients built on ESP-IDF may ask one byte past it.
pub fn parse_range(header: Option<&[u8]>, size_bytes: u64) -> Range {
    let Some(header) = header else { return Range::Whole };
    let Some((first, last)) = std::str::from_utf8(header).ok().and_then(parts) else { return Range::Whole };
    let end = size_bytes.saturating_sub(1);
    match (first, last) {
        (Some(first), Some(last)) if last < first => Range::Whole,
        (Some(first), _) if first >= size_bytes => Range::Unsatisfiable,
        (Some(first), last) => Range::Part { first, last: last.unwrap_or(end).min(end) },
        (None, Some(0)) => Range::Unsatisfiable,
        (None, Some(_)) if size_bytes == 0 => Range::Unsatisfiable,
        (None, Some(suffix)) => Range::Part { first: size_bytes.saturating_sub(suffix), last: end },
        (None, None) => Range::Whole,
    }
}

fn parts(header: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (unit, range) = header.trim().split_once('=')?;
    let (first, last) = range.trim().split_once('-')?;
    // A number too large to be one is past the end of every file.
    let number = |text: &str| match text.trim() {
        "" => Some(None),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(Some(digits.parse().unwrap_or(u64::MAX))),
        _ => None,
    };
    unit.trim().eq_ignore_ascii_case("bytes").then_some((number(first)?, number(last)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_clients_write_it() {
        let part = |first, last| Range::Part { first, last };
        for (header, range) in [
            ("bytes=0-15", part(0, 15)),
            ("bytes=0-0", part(0, 0)),
            ("bytes=96-127", part(96, 99)),
            ("bytes=64-100", part(64, 99)),
            ("bytes=64-", part(64, 99)),
            ("bytes=-10", part(90, 99)),
            ("bytes=-1000", part(0, 99)),
            ("bytes=0-99999999999999999999999", part(0, 99)),
            ("Bytes = 1 - 2", part(1, 2)),
            ("bytes=100-", Range::Unsatisfiable),
            ("bytes=100-110", Range::Unsatisfiable),
            ("bytes=99999999999999999999999-", Range::Unsatisfiable),
            ("bytes=-0", Range::Unsatisfiable),
            ("bytes=9-3", Range::Whole),
            ("bytes=0-1,4-5", Range::Whole),
            ("bytes=-", Range::Whole),
            ("bytes=a-b", Range::Whole),
            ("lines=0-1", Range::Whole),
            ("", Range::Whole),
        ] {
            assert_eq!(parse_range(Some(header.as_bytes()), 100), range, "{header}");
        }
        assert_eq!(parse_range(None, 100), Range::Whole);
        assert_eq!(parse_range(Some(b"bytes=0-0"), 0), Range::Unsatisfiable);
    }
}
