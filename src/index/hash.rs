//! The hash of serials: under a secret of each table, so that nobody can choose serials that collide.

use super::leaf::Sought;
use super::slot;
use crate::fleet::CanonicalSerial;
use std::hash::{BuildHasher, RandomState};

/// The secret of a table's hash.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Secret(u64, u64);

impl Secret {
    pub(super) fn random() -> Self {
        // The standard library's own random keys, by way of SipHash.
        let random = RandomState::new();
        Self(random.hash_one(0u8), random.hash_one(1u8) | 1)
    }

    /// Under which all hashes are equal: what chosen serials would come to.
    #[cfg(test)]
    pub(super) fn broken() -> Self {
        Self(0, 0)
    }

    #[inline]
    pub(super) fn seek(self, serial: &CanonicalSerial) -> Sought<'_> {
        let packed = slot::pack(serial);
        let serial = serial.as_bytes();
        let hash = packed.map_or_else(|| self.of_text(serial), |key| self.of_key(key));
        Sought { serial, packed, hash }
    }

    /// Of a serial that fits into a slot.
    #[inline]
    pub(super) fn of_key(self, key: u64) -> u64 {
        fold(fold(key ^ self.0, self.1), self.0 | self.1)
    }

    /// Of a serial that stands beside.
    pub(super) fn of_text(self, serial: &[u8]) -> u64 {
        let words = serial.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(word)
        });
        let all = words.fold(self.0 ^ serial.len() as u64, |hash, word| fold(hash ^ word, self.1));
        fold(all ^ self.1, self.0 | self.1)
    }
}

/// A product of 128 bits, folded: every bit of both moves every bit of the result.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}
