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
    const EMPTY: Self = Self { bytes: [0; SERIAL_BYTES_MAX], len: 0 };

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        // Only whole, valid UTF-8 is ever taken in, so the empty text stands for nothing that can be.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The canonical text as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// A serial that is canonical already, as that of a device is. What is too long, which none is, names nobody.
    pub(crate) fn of_canonical(serial: &str) -> Self {
        Self::take(serial.as_bytes()).unwrap_or(Self::EMPTY)
    }

    /// Takes in bytes that a scheme accepted; none, where they are too many.
    fn take(bytes: &[u8]) -> Option<Self> {
        let mut serial = Self::EMPTY;
        serial.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        serial.len = bytes.len() as u8;
        Some(serial)
    }

    fn lower(mut self) -> Self {
        // What follows `len` is zero, and stays so.
        self.bytes[..usize::from(self.len)].make_ascii_lowercase();
        self
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
        if bytes.is_empty() {
            return Err(SerialFault::Placeholder);
        }
        let serial = match self {
            Self::Opaque => opaque(bytes),
            Self::OpaqueNocase => opaque(bytes).map(CanonicalSerial::lower),
            Self::Mac => mac(bytes),
            Self::Hex => digits(bytes, u8::is_ascii_hexdigit),
            Self::Decimal => digits(bytes, u8::is_ascii_digit),
        };
        let serial = serial.ok_or(SerialFault::Malformed)?;
        if serial.is_placeholder() { Err(SerialFault::Placeholder) } else { Ok(serial) }
    }
}

// Each copies first, which asks for the length: a megabyte must not be read to be refused.

fn opaque(bytes: &[u8]) -> Option<CanonicalSerial> {
    let serial = CanonicalSerial::take(bytes)?;
    (!bytes.iter().any(u8::is_ascii_control) && std::str::from_utf8(bytes).is_ok()).then_some(serial)
}

fn digits(bytes: &[u8], is_digit: impl Fn(&u8) -> bool) -> Option<CanonicalSerial> {
    let serial = CanonicalSerial::take(bytes)?;
    bytes.iter().all(is_digit).then(|| serial.lower())
}

fn mac(bytes: &[u8]) -> Option<CanonicalSerial> {
    let mut digits = [0; 12];
    match bytes.len() {
        12 => digits.copy_from_slice(bytes),
        14 => unjoin(bytes, 4, b'.', &mut digits)?,
        17 if matches!(bytes[2], b':' | b'-') => unjoin(bytes, 2, bytes[2], &mut digits)?,
        _ => return None,
    }
    // Without an early end, so that twelve digits are read at once.
    let all_hex = digits.iter().fold(true, |all, byte| all & byte.is_ascii_hexdigit());
    digits.make_ascii_lowercase();
    all_hex.then(|| CanonicalSerial::take(&digits))?
}

/// Takes runs of digits out from between their joints.
fn unjoin(bytes: &[u8], run: usize, joint: u8, digits: &mut [u8; 12]) -> Option<()> {
    for (part, out) in bytes.chunks(run + 1).zip(digits.chunks_exact_mut(run)) {
        out.copy_from_slice(part.get(..run)?);
        if part.get(run).is_some_and(|byte| *byte != joint) {
            return None;
        }
    }
    Some(())
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
    fn order_is_text_order() {
        let read = |text: &str| SerialScheme::Opaque.read(text.as_bytes()).unwrap();
        for (low, high) in [("a", "ab"), ("ab", "b"), ("1", "10"), ("10", "2")] {
            assert!(read(low) < read(high));
        }
    }
}
