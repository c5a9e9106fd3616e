//! What serials, versions, ranks and shares mean (S1, W1 to W5, R2, R3), and the pure step of a rollout (R7,
//! R8): for hosts that sort, show or simulate by the same rules.

use crate::codes::*;
use crate::failure::{Failure, guard};
use crate::string::otagate_string;
use crate::types::{bytes, json, name, number, out};
use otagate::rollout::{Statistics, Step, step};
use otagate::wire::{Range, parse_range};
use otagate::{
    FleetSpec, GroupSpec, KeyHash, ProductFleetSpec, ProductSpec, RolloutSpec, SerialFault, SerialScheme,
    VersionRulesSpec,
};
use serde_json::json as make;
use std::cmp::Ordering;
use std::ffi::c_char;

/// The rank of a device in a rollout (R2): where its place is fixed by chance. `serial` is the canonical one.
///
/// NULL: `rank` must not be; a text may be, with length 0.
/// Threads: any.
/// Errors: `NULL`, `LENGTH`, `TEXT`; the rank is the last of all then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_rank(
    salt: *const c_char,
    salt_len: usize,
    product: *const c_char,
    product_len: usize,
    serial: *const c_char,
    serial_len: usize,
    rank: *mut u64,
) -> i32 {
    guard(|| {
        // SAFETY: the texts and the number are the caller's, as the header says.
        let (rank, salt, product, serial) = unsafe {
            let rank = number(rank, u64::MAX, "rank")?;
            (
                rank,
                name(salt, salt_len, "salt")?,
                name(product, product_len, "product")?,
                name(serial, serial_len, "serial")?,
            )
        };
        *rank = otagate::rank(salt, product, serial);
        Ok(())
    })
}

/// The BLAKE3 of an API key, 32 bytes: all that a fleet and a host's store hold of it (`hash` of a product's
/// `keys`, in hex).
///
/// NULL: `hash` must not be; `key` may be, with length 0.
/// Threads: any.
/// Errors: `NULL`, `LENGTH` for a key that is longer than any product's may be (1 024 bytes); the hash is all 0
/// then, which no key has.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_key_hash(key: *const c_char, key_len: usize, hash: *mut u8) -> i32 {
    guard(|| {
        // SAFETY: room for 32 bytes of the caller's, as the header says.
        let hash = unsafe { number(hash.cast::<[u8; 32]>(), [0; 32], "hash")? };
        // SAFETY: the text is the caller's, as the header says.
        let key = unsafe { bytes(key, key_len, otagate::KEY_BYTES_MAX, "key")? };
        *hash = KeyHash::of(key).map(|hash| hash.0.0).ok_or_else(|| Failure::argument("that is no key"))?;
        Ok(())
    })
}

/// Reads a serial under a scheme (S1), with the placeholders that every product has: `fault` says
/// `OTAGATE_SERIAL_IS_...`, and where it is fine, its canonical form is written to `canonical`, which has room
/// for `OTAGATE_SERIAL_BYTES_MAX` bytes, and its length to `canonical_len`. No NUL is written.
///
/// NULL: `canonical`, `canonical_len` and `fault` must not be.
/// Threads: any.
/// Errors: `NULL`, `LENGTH`, `ARGUMENT` for a scheme that is none; the serial is malformed then. A serial that
/// is malformed is no error.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_read_serial(
    scheme: i32,
    serial: *const c_char,
    serial_len: usize,
    canonical: *mut c_char,
    canonical_len: *mut usize,
    fault: *mut i32,
) -> i32 {
    guard(|| {
        // SAFETY: the numbers and the text are the caller's, as the header says.
        let (fault, canonical_len) = unsafe {
            // Both are written before either is missed.
            let fault = number(fault, OTAGATE_SERIAL_IS_MALFORMED, "fault");
            let canonical_len = number(canonical_len, 0, "canonical_len");
            (fault?, canonical_len?)
        };
        if canonical.is_null() {
            return Err(Failure::null("canonical"));
        }
        let scheme = match scheme {
            OTAGATE_SERIAL_OPAQUE => SerialScheme::Opaque,
            OTAGATE_SERIAL_OPAQUE_NOCASE => SerialScheme::OpaqueNocase,
            OTAGATE_SERIAL_MAC => SerialScheme::Mac,
            OTAGATE_SERIAL_HEX => SerialScheme::Hex,
            OTAGATE_SERIAL_DECIMAL => SerialScheme::Decimal,
            other => return Err(Failure::argument(format!("serial scheme {other} is none"))),
        };
        // SAFETY: the caller's.
        let serial = unsafe { bytes(serial, serial_len, OTAGATE_FIELD_BYTES_MAX, "serial")? };
        match scheme.read(serial) {
            Ok(serial) => {
                let text = serial.as_str();
                // SAFETY: no canonical serial is longer than the room that there is.
                unsafe { std::ptr::copy_nonoverlapping(text.as_ptr().cast(), canonical, text.len()) };
                (*canonical_len, *fault) = (text.len(), OTAGATE_SERIAL_IS_FINE);
            }
            Err(SerialFault::Malformed) => {}
            Err(SerialFault::Placeholder) => *fault = OTAGATE_SERIAL_IS_PLACEHOLDER,
        }
        Ok(())
    })
}

/// Compares two versions under a product's rules (W1, W2): `equal` is 1 or 0; `order` is that of `a` against
/// `b`, -1, 0 or 1, or `OTAGATE_UNORDERED`. `rules` is the JSON of a product's `versions`, such as
/// `{"scheme":"semver"}`; empty is `exact`. Equality is not order: versions of order 0 may be unequal, and the
/// other way about.
///
/// NULL: `equal` and `order` must not be.
/// Threads: any.
/// Errors: `NULL`, `LENGTH`, `JSON`, `REFUSED` for rules that are none; the versions are unequal and unordered
/// then. A version that does not parse is no error.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_compare_versions(
    rules: *const c_char,
    rules_len: usize,
    a: *const c_char,
    a_len: usize,
    b: *const c_char,
    b_len: usize,
    equal: *mut i32,
    order: *mut i32,
) -> i32 {
    guard(|| {
        // SAFETY: the numbers and texts are the caller's, as the header says.
        let (equal, order, rules, a, b) = unsafe {
            // Both are written before either is missed.
            let equal = number(equal, 0, "equal");
            let order = number(order, OTAGATE_UNORDERED, "order");
            let (equal, order) = (equal?, order?);
            let a = bytes(a, a_len, OTAGATE_FIELD_BYTES_MAX, "a")?;
            (equal, order, json(rules, rules_len, "rules")?, a, bytes(b, b_len, OTAGATE_FIELD_BYTES_MAX, "b")?)
        };
        let spec = match rules {
            [] => VersionRulesSpec::default(),
            rules => serde_json::from_slice(rules).map_err(Failure::json)?,
        };
        let rules = spec.build()?;
        let (a, b) = (rules.read(a), rules.read(b));
        *equal = rules.equal(a, b).into();
        *order = rules.order(a, b).map_or(OTAGATE_UNORDERED, |order| match order {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        });
        Ok(())
    })
}

/// The threshold of a share in basis points, for a host that cannot count (R3): whose rank is not above it is
/// in.
///
/// NULL: `threshold` must not be.
/// Threads: any.
/// Errors: `NULL`, `ARGUMENT` for a share outside of 1 to 10 000; the threshold is 0 then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_share_threshold(share_bps: u32, threshold: *mut u64) -> i32 {
    guard(|| {
        // SAFETY: the number is the caller's, as the header says.
        let threshold = unsafe { number(threshold, 0, "threshold")? };
        let bps = u16::try_from(share_bps).ok().filter(|bps| *bps <= otagate::SHARE_BPS_MAX);
        let share = bps.and_then(otagate::share_threshold);
        *threshold = share.ok_or_else(|| Failure::argument(format!("a share of {share_bps} basis points is none")))?;
        Ok(())
    })
}

/// Which bytes of a file of `size_bytes` a `Range` header asks for, as download clients write it: one range of
/// bytes, clamped to the file. `kind` gets `OTAGATE_RANGE_WHOLE` (200: none was asked for, or one that may be
/// ignored), `OTAGATE_RANGE_PART` (206: `first` to `last`, both included) or `OTAGATE_RANGE_UNSATISFIABLE`
/// (416). A server that ignores ranges corrupts the image on devices that ask for them.
///
/// NULL: `kind`, `first` and `last` must not be; `header` may be, with length 0: there is none.
/// Threads: any.
/// Errors: `NULL`, `LENGTH`; nothing can be sent of it then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_parse_range(
    header: *const c_char,
    header_len: usize,
    size_bytes: u64,
    kind: *mut i32,
    first: *mut u64,
    last: *mut u64,
) -> i32 {
    guard(|| {
        // SAFETY: the numbers and the text are the caller's, as the header says.
        let (kind, first, last, header) = unsafe {
            // All are written before one is missed.
            let kind = number(kind, OTAGATE_RANGE_UNSATISFIABLE, "kind");
            let (first, last) = (number(first, 0, "first"), number(last, 0, "last"));
            let header = bytes(header, header_len, OTAGATE_FIELD_BYTES_MAX, "header");
            (kind?, first?, last?, header?)
        };
        let asked = Some(header).filter(|header| !header.is_empty());
        (*kind, *first, *last) = match parse_range(asked, size_bytes) {
            Range::Whole => (OTAGATE_RANGE_WHOLE, 0, size_bytes.saturating_sub(1)),
            Range::Part { first, last } => (OTAGATE_RANGE_PART, first, last),
            Range::Unsatisfiable => (OTAGATE_RANGE_UNSATISFIABLE, 0, 0),
        };
        Ok(())
    })
}

/// What is to be done about a rollout, given its account and the time (R7, R8): a pure function. `rollout` is
/// the JSON of a rollout, `statistics` that of `otagate_ledger_statistics`, `product` that of its product, or
/// empty for one that compares versions byte for byte. The answer is a JSON object of `transition` and
/// `progress`, each null where there is none; a transition has a `kind`: `open-wave` with `wave` (from 0) and
/// `progress`, `halt` with `failed` and `finished`, `complete` with `progress`.
///
/// Owns: the caller frees `*answer` by `otagate_string_free`.
/// NULL: `answer` must not be.
/// Threads: any.
/// Errors: `NULL`, `LENGTH`, `JSON`, `REFUSED` for a rollout that cannot be; `*answer` is NULL then.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn otagate_rollout_step(
    product: *const c_char,
    product_len: usize,
    rollout: *const c_char,
    rollout_len: usize,
    statistics: *const c_char,
    statistics_len: usize,
    now_millis: i64,
    answer: *mut *mut otagate_string,
) -> i32 {
    guard(|| {
        // SAFETY: the texts and the pointer are the caller's, as the header says.
        let (answer, product, rollout, statistics) = unsafe {
            let answer = out(answer, "answer")?;
            let product = json(product, product_len, "product")?;
            (answer, product, json(rollout, rollout_len, "rollout")?, json(statistics, statistics_len, "statistics")?)
        };
        let product: ProductSpec = match product {
            [] => ProductSpec { id: "product".into(), ..ProductSpec::default() },
            product => serde_json::from_slice(product).map_err(Failure::json)?,
        };
        let rollout: RolloutSpec = serde_json::from_slice(rollout).map_err(Failure::json)?;
        let statistics: Statistics = serde_json::from_slice(statistics).map_err(Failure::json)?;
        let group = GroupSpec { id: "group".into(), rollout: Some(rollout), ..GroupSpec::default() };
        let part = ProductFleetSpec { product, groups: vec![group], ..ProductFleetSpec::default() };
        let fleet = FleetSpec { products: vec![part], ..FleetSpec::default() }.build()?;
        let rollout = fleet.products().next().and_then(|entry| entry.group("group")?.rollout());
        let rollout = rollout.ok_or_else(|| Failure::nothing("there is no rollout"))?;
        let Step { progress, transition } = step(rollout, &statistics, otagate::Timestamp::from_millis(now_millis));
        *answer = otagate_string::give(make!({ "transition": transition, "progress": progress }).to_string());
        Ok(())
    })
}
