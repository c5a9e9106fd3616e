//! The fleet, and the check-ins that are asked of it.

use crate::common::Random;
use crate::plain::{KEY, PRODUCT, Plain};
use otagate::*;

/// The length of a serial.
const DIGITS: usize = 12;
/// How many check-ins a round asks.
pub(crate) const WINDOW: usize = 65_536;
/// How many rounds ask others before the first ones come again.
const WINDOWS: usize = 16;

/// A serial as it is asked.
pub(crate) type Serial = [u8; DIGITS];

pub(crate) struct World {
    pub(crate) macs: Vec<u64>,
    /// The serials, one behind the other.
    text: String,
}

impl World {
    /// Devices of random MACs, no two alike.
    pub(crate) fn random(devices: usize) -> Self {
        Self::of((0..devices).map(random_mac).collect())
    }

    pub(crate) fn of(macs: Vec<u64>) -> Self {
        let mut text = String::with_capacity(macs.len() * DIGITS);
        for mac in &macs {
            push_serial(&mut text, *mac);
        }
        Self { macs, text }
    }

    pub(crate) fn len(&self) -> usize {
        self.macs.len()
    }

    pub(crate) fn serial(&self, device: usize) -> &str {
        &self.text[device * DIGITS..][..DIGITS]
    }

    pub(crate) fn group(device: usize) -> &'static str {
        if device.is_multiple_of(16) { "empty" } else { "stable" }
    }

    fn version(device: usize) -> &'static str {
        if device.is_multiple_of(3) { "1.3.0" } else { "1.4.0" }
    }

    pub(crate) fn rows(&self) -> Vec<DeviceRow<'_>> {
        let row = |device| DeviceRow {
            serial: self.serial(device),
            state: DeviceState::Verified,
            group: Self::group(device),
            version: Some(Self::version(device)),
            ..Default::default()
        };
        (0..self.len()).map(row).collect()
    }

    pub(crate) fn plain(&self) -> Plain {
        let row = |device| (self.serial(device), Self::group(device), Self::version(device));
        Plain::new((0..self.len()).map(row))
    }

    /// A device of that group, at random.
    pub(crate) fn draw(&self, random: &mut Random, group: &str) -> usize {
        loop {
            let device = random.next() as usize % self.len();
            if Self::group(device) == group {
                return device;
            }
        }
    }

    /// Check-ins of devices of that group.
    pub(crate) fn asked(&self, random: &mut Random, group: &str) -> Asked {
        Asked::of((0..WINDOW * WINDOWS).map(|_| self.macs[self.draw(random, group)]).collect())
    }

    /// Check-ins of devices that are not there.
    pub(crate) fn strangers(&self) -> Asked {
        Asked::of((self.len()..).take(WINDOW * WINDOWS).map(random_mac).collect())
    }
}

/// Serials as they are asked, copied side by side, so that reading a question is no walk through memory.
pub(crate) struct Asked {
    pub(crate) macs: Vec<u64>,
    text: String,
}

impl Asked {
    fn of(macs: Vec<u64>) -> Self {
        let World { macs, text } = World::of(macs);
        Self { macs, text }
    }

    pub(crate) fn serials(&self) -> &[Serial] {
        self.text.as_bytes().as_chunks().0
    }

    pub(crate) fn windows(&self, subject: usize, subjects: usize) -> impl Iterator<Item = &[Serial]> {
        windows(self.serials(), subject, subjects)
    }
}

/// The devices of one round after another, for one of several subjects: all go round the same list, as far from each
/// other as can be, so that none finds what another has just brought near.
pub(crate) fn windows<T>(all: &[T], subject: usize, subjects: usize) -> impl Iterator<Item = &[T]> {
    all.chunks_exact(WINDOW).cycle().skip(subject * WINDOWS / subjects)
}

/// The right key, and the version that is meant for most.
pub(crate) fn current(serial: &Serial) -> CheckIn<'_> {
    CheckIn { version: b"1.4.0", ..CheckIn::new(KEY, serial) }
}

/// A wrong key for each check-in, as long as the right one.
pub(crate) fn wrong_keys(random: &mut Random) -> Vec<[u8; 36]> {
    let key = |_| {
        let mut key = [0; 36];
        key.fill_with(|| b'a' + (random.next() % 26) as u8);
        key
    };
    (0..WINDOW * WINDOWS).map(key).collect()
}

pub(crate) fn product() -> ProductId {
    ProductId::new(PRODUCT).unwrap()
}

/// The index of that many rows, and how long [`Index::add_devices`] took, in seconds.
pub(crate) fn load(rows: &[DeviceRow<'_>]) -> (Index, f64) {
    let index = Index::new(&crate::plain::fleet(vec![]));
    let product = product();
    let start = std::time::Instant::now();
    index.add_devices(&product, rows).unwrap();
    let secs = start.elapsed().as_secs_f64();
    assert_eq!(index.snapshot().devices_len(), rows.len());
    (index, secs)
}

/// One to one on 48 bits, so that no two numbers have the same MAC.
pub(crate) fn random_mac(number: usize) -> u64 {
    const MASK: u64 = (1 << 48) - 1;
    // Only zero becomes zero.
    let mut mac = number as u64 + 1;
    for (shift, factor) in [(23, 0x9E37_79B9_7F4B), (25, 0xBF58_476D_1CE5), (21, 0x94D0_49BB_1331)] {
        mac = (mac ^ (mac >> shift)).wrapping_mul(factor) & MASK;
    }
    mac ^ (mac >> 24)
}

fn push_serial(text: &mut String, mac: u64) {
    assert!(mac != 0 && mac < (1 << 48) - 1, "{mac:x} is no serial");
    text.extend(
        (0..DIGITS as u64).rev().map(|digit| char::from(b"0123456789abcdef"[(mac >> (4 * digit) & 15) as usize])),
    );
}
