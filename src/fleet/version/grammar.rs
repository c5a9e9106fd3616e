//! The two grammars that have an order, over borrowed bytes. Numbers have any length and are compared as text: without leading
//! zeros, the longer one is the larger. The orders expect what their grammar accepted, and are harmless on anything else.

use std::cmp::Ordering;

pub(super) fn is_dotted(bytes: &[u8]) -> bool {
    bytes.split(|byte| *byte == b'.').all(is_number)
}

pub(super) fn dotted_order(a: &[u8], b: &[u8]) -> Ordering {
    let (mut a, mut b) = (a.split(|byte| *byte == b'.'), b.split(|byte| *byte == b'.'));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (a, b) => match number_order(a.unwrap_or_default(), b.unwrap_or_default()) {
                Ordering::Equal => {}
                unequal => return unequal,
            },
        }
    }
}

pub(super) fn is_semver(bytes: &[u8]) -> bool {
    let (core, rest) = bytes.split_at(core_len(bytes));
    let (pre_release, build) = match rest {
        [] => (None, None),
        [b'+', build @ ..] => (None, Some(build)),
        [b'-', rest @ ..] => {
            let (pre_release, build) = cut(rest, b'+');
            (Some(pre_release), build)
        }
        _ => return false,
    };
    let is_identifier =
        |part: &[u8]| !part.is_empty() && part.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
    let dots = |part: &[u8], fits: &dyn Fn(&[u8]) -> bool| part.split(|byte| *byte == b'.').all(fits);
    is_core(core)
        && pre_release
            .is_none_or(|part| dots(part, &|part| is_identifier(part) && (!is_number(part) || is_tight_number(part))))
        && build.is_none_or(|part| dots(part, &is_identifier))
}

fn core_len(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'.').unwrap_or(bytes.len())
}

/// Three numbers without leading zeros, of nothing but digits and dots.
fn is_core(core: &[u8]) -> bool {
    let mut numbers = core.split(|byte| *byte == b'.');
    let three =
        [numbers.next(), numbers.next(), numbers.next()].into_iter().all(|part| part.is_some_and(is_tight_number));
    three && numbers.next().is_none()
}

fn is_tight_number(part: &[u8]) -> bool {
    is_number(part) && (part.len() == 1 || part[0] != b'0')
}

/// Precedence by semver.org, item 11; build metadata does not count.
pub(super) fn semver_order(a: &[u8], b: &[u8]) -> Ordering {
    let (a, b) = (Semver::split(a), Semver::split(b));
    dotted_order(a.core, b.core).then_with(|| match (a.pre_release, b.pre_release) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(a), Some(b)) => pre_release_order(a, b),
    })
}

/// What follows the first `+`; empty where there is none, which no valid metadata is.
pub(super) fn build_metadata(bytes: &[u8]) -> &[u8] {
    Semver::split(bytes).build.unwrap_or_default()
}

struct Semver<'a> {
    core: &'a [u8],
    pre_release: Option<&'a [u8]>,
    build: Option<&'a [u8]>,
}

impl<'a> Semver<'a> {
    fn split(bytes: &'a [u8]) -> Self {
        let (rest, build) = cut(bytes, b'+');
        let (core, pre_release) = cut(rest, b'-');
        Self { core, pre_release, build }
    }
}

fn cut(bytes: &[u8], at: u8) -> (&[u8], Option<&[u8]>) {
    match bytes.iter().position(|byte| *byte == at) {
        Some(index) => (&bytes[..index], Some(&bytes[index + 1..])),
        None => (bytes, None),
    }
}

fn pre_release_order(a: &[u8], b: &[u8]) -> Ordering {
    let (mut a, mut b) = (a.split(|byte| *byte == b'.'), b.split(|byte| *byte == b'.'));
    loop {
        let unequal = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(a), Some(b)) => match (is_number(a), is_number(b)) {
                (true, true) => number_order(a, b),
                (true, false) => Ordering::Less,
                (false, true) => Ordering::Greater,
                (false, false) => a.iter().map(u8::to_ascii_lowercase).cmp(b.iter().map(u8::to_ascii_lowercase)),
            },
        };
        if unequal != Ordering::Equal {
            return unequal;
        }
    }
}

fn is_number(part: &[u8]) -> bool {
    !part.is_empty() && part.iter().all(u8::is_ascii_digit)
}

fn number_order(a: &[u8], b: &[u8]) -> Ordering {
    let strip = |part: &[u8]| part.iter().take_while(|byte| **byte == b'0').count();
    let (a, b) = (&a[strip(a)..], &b[strip(b)..]);
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}
