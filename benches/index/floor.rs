//! The floor: a bare look-up of a packed MAC, which knows of no key, product, state, group or version.

use hashbrown::HashTable;
use std::hash::BuildHasher;

/// MAC and payload, side by side in the table.
pub(crate) struct Floor {
    entries: HashTable<(u64, u64)>,
    hasher: foldhash::fast::RandomState,
}

impl Floor {
    pub(crate) fn new(macs: &[u64]) -> Self {
        let hasher = foldhash::fast::RandomState::default();
        let mut entries = HashTable::with_capacity(macs.len());
        for mac in macs {
            entries.insert_unique(hasher.hash_one(mac), (*mac, payload(*mac)), |(mac, _)| hasher.hash_one(mac));
        }
        Self { entries, hasher }
    }

    pub(crate) fn find(&self, mac: u64) -> Option<u64> {
        let entry = self.entries.find(self.hasher.hash_one(mac), |(held, _)| *held == mac);
        entry.map(|(_, payload)| *payload)
    }
}

/// What stands beside a MAC, so that an answer can be asserted.
pub(crate) fn payload(mac: u64) -> u64 {
    !mac
}

/// Twelve hex digits as a number; whether they are such is not asked.
pub(crate) fn pack(serial: &[u8; 12]) -> u64 {
    let mut halves = [[b'0'; 8]; 2];
    halves[0].copy_from_slice(&serial[..8]);
    halves[1][4..].copy_from_slice(&serial[8..]);
    let [high, low] = halves.map(|text| {
        let text = u64::from_be_bytes(text);
        let digits = (text & 0x0F0F_0F0F_0F0F_0F0F) + 9 * (text >> 6 & 0x0101_0101_0101_0101);
        let pairs = (digits | digits >> 4) & 0x00FF_00FF_00FF_00FF;
        let fours = (pairs | pairs >> 8) & 0x0000_FFFF_0000_FFFF;
        (fours | fours >> 16) & 0xFFFF_FFFF
    });
    high << 16 | low
}
