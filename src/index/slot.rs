//! One device in 16 bytes: two words.
//!
//! | word | bits | what |
//! |---|---|---|
//! | key | 60..64 | 1 to 15: so many hex digits follow; 0: the serial stands beside |
//! | key | 0..60 | the digits, four bits each, the last one lowest |
//! | key, beside | 32..60 | 28 bits of the hash, so that hardly another text is compared |
//! | key, beside | 0..32 | where in the leaf's text the serial stands, plus 1 |
//! | meta | 63 | something about it stands apart |
//! | meta | 60..63 | state |
//! | meta | 44..60 | group, last known version and hardware: the number of its profile; all ones: the number stands apart |
//! | meta | 0..44 | when it entered its group, in milliseconds since 1970 (to the year 2527); all ones: apart |
//!
//! A MAC address has 12 digits, an IMEI 15, most counters fewer: the serial is in the slot, exactly, and a look-up touches nothing else. A slot of zeros is
//! empty.

use crate::fleet::{CanonicalSerial, DeviceState, lower_hex};
use crate::time::Timestamp;

/// One device. 16 bytes, asserted below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) key: u64,
    pub(super) meta: u64,
}

const _: () = assert!(size_of::<Slot>() == 16);

/// The number that says that the profile's number stands apart.
pub(super) const PROFILE_APART: u16 = u16::MAX;

const TAG_SHIFT: u32 = 60;
const FINGERPRINT_SHIFT: u32 = 32;
const APART: u64 = 1 << 63;
const STATE_SHIFT: u32 = 60;
const PROFILE_SHIFT: u32 = 44;
const ENTERED_APART: u64 = (1 << PROFILE_SHIFT) - 1;
/// The longest serial in a slot.
pub(super) const DIGITS_MAX: usize = 15;

impl Slot {
    pub(super) fn is_empty(self) -> bool {
        self.key == 0
    }
}

/// The key of a serial that fits into a slot: 1 to 15 lower-case hex digits. In two words of eight digits, without a loop: every check-in waits for it.
#[inline]
pub(super) fn pack(serial: &CanonicalSerial) -> Option<u64> {
    let ([first, last], len) = serial.words();
    if len == 0 || len > DIGITS_MAX {
        return None;
    }
    let shift = 4 * len as u32;
    let digits = match len {
        ..8 => nibbles(first, len)? >> (32 - shift),
        8 => nibbles(first, 8)?,
        _ => nibbles(first, 8)? << (shift - 32) | nibbles(last, len - 8)? >> (64 - shift),
    };
    Some((len as u64) << TAG_SHIFT | digits)
}

/// The first so many digits of a word as nibbles, the first one highest of 32 bits; none where one of them is no lower-case hex digit.
#[inline]
fn nibbles(word: u64, len: usize) -> Option<u64> {
    let missing = if len < 8 { u64::from_le_bytes([b'0'; 8]) << (8 * len) } else { 0 };
    let text = word | missing;
    if lower_hex(text) != Some(text) {
        return None;
    }
    // `a` to `f` have the bit of 64 and begin at 1 in the low nibble.
    let each = (text & 0x0F0F_0F0F_0F0F_0F0F) + (text >> 6 & 0x0101_0101_0101_0101) * 9;
    let bytes = each.swap_bytes();
    let pairs = (bytes | bytes >> 4) & 0x00FF_00FF_00FF_00FF;
    let fours = (pairs | pairs >> 8) & 0x0000_FFFF_0000_FFFF;
    Some((fours | fours >> 16) & 0xFFFF_FFFF)
}

/// The serial of a packed key, in its buffer; `None` where it stands beside.
pub(super) fn unpack(key: u64, buffer: &mut [u8; DIGITS_MAX]) -> Option<&[u8]> {
    let len = (key >> TAG_SHIFT) as usize;
    let digits = buffer.get_mut(..len).filter(|digits| !digits.is_empty())?;
    for (at, digit) in digits.iter_mut().rev().enumerate() {
        *digit = b"0123456789abcdef"[(key >> (4 * at)) as usize & 15];
    }
    Some(digits)
}

/// The key of a serial that stands beside.
pub(super) fn beside(hash: u64, at: u32) -> u64 {
    fingerprint(hash) << FINGERPRINT_SHIFT | (u64::from(at) + 1)
}

/// Where a serial stands beside; `None` where it is in the slot.
pub(super) fn beside_at(key: u64) -> Option<u32> {
    (key >> TAG_SHIFT == 0).then(|| (key as u32).wrapping_sub(1))
}

/// Whether a key may be that of a serial beside that has this hash.
pub(super) fn may_be_beside(key: u64, hash: u64) -> bool {
    key >> FINGERPRINT_SHIFT == fingerprint(hash) && key != 0
}

fn fingerprint(hash: u64) -> u64 {
    hash >> (64 - 28)
}

/// A profile's number as a slot has it, and as it stands apart where it does not fit.
pub(super) fn profile_of(number: u32) -> (u16, Option<u32>) {
    match u16::try_from(number) {
        Ok(fits) if fits != PROFILE_APART => (fits, None),
        _ => (PROFILE_APART, Some(number)),
    }
}

/// What the second word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) state: DeviceState,
    /// [`PROFILE_APART`]: it stands apart.
    pub(super) profile: u16,
    /// `None`: it stands apart.
    pub(super) entered_at: Option<Timestamp>,
    pub(super) apart: bool,
}

impl Meta {
    /// Whether the time can be written into the slot.
    pub(super) fn fits(entered_at: Timestamp) -> bool {
        entered_code(entered_at).is_some()
    }

    pub(super) fn pack(self) -> u64 {
        let entered = self.entered_at.and_then(entered_code).unwrap_or(ENTERED_APART);
        let profile = u64::from(self.profile) << PROFILE_SHIFT;
        (if self.apart { APART } else { 0 }) | state_code(self.state) << STATE_SHIFT | profile | entered
    }

    pub(super) fn unpack(meta: u64) -> Self {
        let state = match meta >> STATE_SHIFT & 7 {
            0 => DeviceState::New,
            1 => DeviceState::Verified,
            2 => DeviceState::Blocked,
            3 => DeviceState::Disabled,
            _ => DeviceState::Quota,
        };
        let entered_at = match meta & ENTERED_APART {
            ENTERED_APART => None,
            // 44 bits: no sign to lose.
            millis => Some(Timestamp::from_millis(millis as i64)),
        };
        Self { state, profile: (meta >> PROFILE_SHIFT) as u16, entered_at, apart: meta & APART != 0 }
    }
}

fn state_code(state: DeviceState) -> u64 {
    match state {
        DeviceState::New => 0,
        DeviceState::Verified => 1,
        DeviceState::Blocked => 2,
        DeviceState::Disabled => 3,
        DeviceState::Quota => 4,
    }
}

fn entered_code(entered_at: Timestamp) -> Option<u64> {
    u64::try_from(entered_at.millis()).ok().filter(|millis| *millis < ENTERED_APART)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_of_up_to_fifteen_hex_digits_is_in_the_key_and_keeps_its_zeros() {
        let mut buffer = [0; DIGITS_MAX];
        for serial in ["0", "a4cf12345678", "00", "000000000000001", "fffffffffffffff", "7"] {
            let key = pack(&CanonicalSerial::of_canonical(serial)).unwrap();
            assert_eq!(unpack(key, &mut buffer), Some(serial.as_bytes()));
            assert_eq!(beside_at(key), None);
        }
        let packed = |serial| pack(&CanonicalSerial::of_canonical(serial));
        assert_ne!(packed("1"), packed("01"));
        for other in ["", "A4", "g", "1234567890abcdef", "sn-1", "4:cf", "12345678g", "1234567\u{e9}"] {
            assert_eq!(packed(other), None, "{other}");
        }
        for len in 1..=DIGITS_MAX {
            let serial = &"fedcba987654321"[..len];
            assert_eq!(unpack(packed(serial).unwrap(), &mut buffer), Some(serial.as_bytes()));
        }
    }

    #[test]
    fn the_second_word_survives() {
        let times = [0, 1, -1, 1_795_392_000_123, (1 << 44) - 2, (1 << 44) - 1, i64::MAX, i64::MIN];
        let states =
            [DeviceState::New, DeviceState::Verified, DeviceState::Blocked, DeviceState::Disabled, DeviceState::Quota];
        for (state, millis) in states.into_iter().flat_map(|state| times.map(|millis| (state, millis))) {
            for (profile, apart) in [(0, false), (PROFILE_APART, true), (PROFILE_APART - 1, false)] {
                let at = Timestamp::from_millis(millis);
                let meta = Meta { state, profile, entered_at: Some(at).filter(|at| Meta::fits(*at)), apart };
                assert_eq!(Meta::unpack(meta.pack()), meta);
            }
        }
        let fits = |millis| Meta::fits(Timestamp::from_millis(millis));
        assert_eq!([-1, 0, (1 << 44) - 2, (1 << 44) - 1].map(fits), [false, true, true, false]);
    }

    #[test]
    fn a_key_beside_carries_its_hash_and_its_place_and_is_no_empty_slot() {
        let hash = 0xDEAD_BEEF_0123_4567;
        let key = beside(hash, 41);
        assert_eq!((beside_at(key), may_be_beside(key, hash)), (Some(41), true));
        assert!(!may_be_beside(key, !hash) && !may_be_beside(0, 0) && may_be_beside(beside(0, 0), 0));
        assert_eq!(unpack(key, &mut [0; DIGITS_MAX]), None);
    }
}
