//! Serials: one name per unit, whatever way a device spells it (S1).
//!
//! A scheme is declared by the product and never guessed. Reading a serial allocates nothing: the canonical form has at most 64
//! bytes and lives on the stack, so that a look-up can be made for any bytes that a stranger sends.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest canonical serial, in bytes (S1).
pub const SERIAL_BYTES_MAX: usize = 64;

/// How the serials of a product are spelled (S1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SerialScheme {
    /// Any UTF-8 text without control bytes; case counts.
    #[default]
    Opaque,
    /// The same, ASCII case folded to lower.
    OpaqueNocase,
    /// Six pairs of hex digits joined by one of `:` and `-`, three fours joined by `.`, or twelve digits; lower case, no joints.
    Mac,
    /// Hex digits, lower case; zeros kept.
    Hex,
    /// Decimal digits; zeros kept.
    Decimal,
}

/// Why a device's serial names nobody (question 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SerialFault {
    /// Not spelled as the product's scheme says.
    #[error("is malformed under the product's serial scheme")]
    Malformed,
    /// Empty, all `0`, all `F`, or listed by the product.
    #[error("is a placeholder, not a serial")]
    Placeholder,
}

/// A serial in canonical form, on the stack.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CanonicalSerial {
    // Zero after `len`, so that the derived comparisons see the text alone; the bytes come first, so that order is text order.
    bytes: [u8; SERIAL_BYTES_MAX],
    len: u8,
}

impl CanonicalSerial {
    pub(crate) const EMPTY: Self = Self { bytes: [0; SERIAL_BYTES_MAX], len: 0 };

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        // Only whole, valid UTF-8 is ever taken in, so the empty text stands for nothing that can be.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// Its first sixteen bytes in two words, zeros after its end, and its length.
    #[inline]
    pub(crate) fn words(&self) -> ([u64; 2], usize) {
        let word =
            |at: usize| self.bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |word| u64::from_le_bytes(*word));
        ([word(0), word(8)], usize::from(self.len))
    }

    /// The canonical text as bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// A serial that is canonical already, as that of a device is. What is too long, which none is, names nobody.
    pub(crate) fn of_canonical(serial: &str) -> Self {
        let mut canonical = Self::EMPTY;
        canonical.take(serial.as_bytes());
        canonical
    }

    /// Takes in bytes, if they are not too many.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> bool {
        let Some(room) = self.bytes.get_mut(..bytes.len()) else { return false };
        room.copy_from_slice(bytes);
        self.len = bytes.len() as u8;
        true
    }

    fn lower(&mut self) -> bool {
        // What follows `len` is zero, and stays so.
        self.bytes[..usize::from(self.len)].make_ascii_lowercase();
        true
    }

    /// Empty, all `0` or all `F` in either case.
    fn is_placeholder(&self) -> bool {
        let bytes = self.as_bytes();
        bytes.iter().all(|byte| *byte == b'0') || bytes.iter().all(|byte| matches!(byte, b'f' | b'F'))
    }
}

impl fmt::Display for CanonicalSerial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for CanonicalSerial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Serialize for CanonicalSerial {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl SerialScheme {
    /// The canonical form of what a device sent. `O(length)`, stops at the first byte that cannot be; allocates nothing.
    ///
    /// ```
    /// use otagate::{SerialFault, SerialScheme};
    /// let serial = SerialScheme::Mac.read(b"A4:CF:12:34:56:78").unwrap();
    /// assert_eq!(serial.as_str(), "a4cf12345678");
    /// assert_eq!(SerialScheme::Mac.read(b"A4:CF-12:34:56:78"), Err(SerialFault::Malformed));
    /// assert_eq!(SerialScheme::Mac.read(b"FF:FF:FF:FF:FF:FF"), Err(SerialFault::Placeholder));
    /// ```
    ///
    /// # Errors
    /// [`SerialFault::Malformed`]: another spelling, a control byte, invalid UTF-8, or more than 64 bytes.
    /// [`SerialFault::Placeholder`]: empty, all `0` or all `F`. What a product lists besides is asked of the product.
    pub fn read(self, bytes: &[u8]) -> Result<CanonicalSerial, SerialFault> {
        let mut serial = CanonicalSerial::EMPTY;
        self.read_into(bytes, &mut serial).map(|()| serial)
    }

    /// The same, put where it is to stand; what stands there after a fault is of no account.
    #[inline]
    pub(crate) fn read_into(self, bytes: &[u8], serial: &mut CanonicalSerial) -> Result<(), SerialFault> {
        if bytes.is_empty() {
            return Err(SerialFault::Placeholder);
        }
        *serial = CanonicalSerial::EMPTY;
        let well_formed = match self {
            Self::Opaque => opaque(bytes, serial),
            Self::OpaqueNocase => opaque(bytes, serial) && serial.lower(),
            Self::Mac => mac(bytes, serial),
            Self::Hex => digits(bytes, u8::is_ascii_hexdigit, serial),
            Self::Decimal => digits(bytes, u8::is_ascii_digit, serial),
        };
        if !well_formed {
            Err(SerialFault::Malformed)
        } else if serial.is_placeholder() {
            Err(SerialFault::Placeholder)
        } else {
            Ok(())
        }
    }
}

// Each says whether the bytes are well formed, and leaves their canonical form. Each copies first, which asks for the length: a megabyte must not be read
// to be refused.

fn opaque(bytes: &[u8], serial: &mut CanonicalSerial) -> bool {
    serial.take(bytes) && !bytes.iter().any(u8::is_ascii_control) && std::str::from_utf8(bytes).is_ok()
}

fn digits(bytes: &[u8], is_digit: impl Fn(&u8) -> bool, serial: &mut CanonicalSerial) -> bool {
    serial.take(bytes) && bytes.iter().all(is_digit) && serial.lower()
}

/// Twelve digits, taken into registers from wherever they stand between joints: this is what most devices send, and the check-in waits for it.
fn mac(bytes: &[u8], serial: &mut CanonicalSerial) -> bool {
    let digits = match bytes {
        [a, b, c, d, e, f, g, h, i, j, k, l] => [*a, *b, *c, *d, *e, *f, *g, *h, *i, *j, *k, *l],
        [a, b, c, d, p, e, f, g, h, q, i, j, k, l] if [*p, *q] == *b".." => {
            [*a, *b, *c, *d, *e, *f, *g, *h, *i, *j, *k, *l]
        }
        [a, b, p, c, d, q, e, f, r, g, h, s, i, j, t, k, l]
            if matches!(p, b':' | b'-') && [*q, *r, *s, *t] == [*p; 4] =>
        {
            [*a, *b, *c, *d, *e, *f, *g, *h, *i, *j, *k, *l]
        }
        _ => return false,
    };
    let [a, b, c, d, e, f, g, h, rest @ ..] = digits;
    let [i, j, k, l] = rest;
    let first = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    let last = u64::from_le_bytes([i, j, k, l, b'0', b'0', b'0', b'0']);
    let (first, last) = (lower_hex(first), lower_hex(last));
    let (Some(first), Some(last)) = (first, last) else { return false };
    serial.bytes[..8].copy_from_slice(&first.to_le_bytes());
    // Zeros follow, as they stand there already: whoever reads eight bytes finds them written at once.
    serial.bytes[8..16].copy_from_slice(&(last & 0xFFFF_FFFF).to_le_bytes());
    serial.len = 12;
    true
}

/// Eight hex digits at once, lower case; none where one of the bytes is no hex digit.
#[inline]
pub(crate) fn lower_hex(digits: u64) -> Option<u64> {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let each = |byte: u8| u64::from_le_bytes([byte; 8]);
    // Where all bytes are below 0x80, no sum carries into its neighbour.
    let within = |bytes: u64, low: u8, high: u8| (bytes + each(0x80 - low)) & !(bytes + each(0x7F - high));
    if digits & HIGH != 0 {
        return None;
    }
    // The bit that tells `a` from `A` is set in every decimal digit.
    let lower = digits | each(0x20);
    let all = within(digits, b'0', b'9') | within(lower, b'a', b'f');
    (all & HIGH == HIGH).then_some(lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_sixty_four_bytes_of_canonical_form() {
        assert!(SerialScheme::Opaque.read(&[b'x'; 64]).is_ok());
        assert_eq!(SerialScheme::Opaque.read(&[b'x'; 65]), Err(SerialFault::Malformed));
        assert_eq!(SerialScheme::Decimal.read(&[b'1'; 1 << 20]), Err(SerialFault::Malformed));
    }

    #[test]
    fn eight_hex_digits_at_once_are_eight_hex_digits() {
        for byte in 0..=u8::MAX {
            for at in 0..8 {
                let mut digits = *b"0aF9Af00";
                digits[at] = byte;
                let lower =
                    byte.is_ascii_hexdigit().then(|| u64::from_le_bytes(digits.map(|byte| byte.to_ascii_lowercase())));
                assert_eq!(lower_hex(u64::from_le_bytes(digits)), lower, "{byte:#x} at {at}");
            }
        }
    }

    #[test]
    fn order_is_text_order() {
        let read = |text: &str| SerialScheme::Opaque.read(text.as_bytes()).unwrap();
        for (low, high) in [("a", "ab"), ("ab", "b"), ("1", "10"), ("10", "2")] {
            assert!(read(low) < read(high));
        }
    }
}
