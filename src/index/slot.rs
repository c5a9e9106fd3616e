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
//! | meta | 44..60 | group, last known version and hardware: the number of its profile; all ones: apart |
//! | meta | 0..44 | when it entered its group, in milliseconds since 1970 (to the year 2527); all ones: apart |
//!
//! A MAC address has 12 digits, an IMEI 15, most counters fewer: the serial is in the slot, exactly, and a look-up touches nothing else. A slot of zeros is
//! empty.

use crate::fleet::DeviceState;
use crate::time::Timestamp;

/// One device. 16 bytes, asserted below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) key: u64,
    pub(super) meta: u64,
}

const _: () = assert!(size_of::<Slot>() == 16);

/// The number that says that the profile stands apart.
pub(super) const PROFILE_APART: u16 = u16::MAX;

const TAG_SHIFT: u32 = 60;
const FINGERPRINT_SHIFT: u32 = 32;
const APART: u64 = 1 << 63;
const STATE_SHIFT: u32 = 60;
const PROFILE_SHIFT: u32 = 44;
const ENTERED_APART: u64 = (1 << PROFILE_SHIFT) - 1;
const DIGITS_MAX: usize = 15;

impl Slot {
    pub(super) fn is_empty(self) -> bool {
        self.key == 0
    }
}

/// The value of a hex digit, lower case; above 15: it is none.
const NIBBLES: [u8; 256] = {
    let mut nibbles = [16; 256];
    let mut digit = 0;
    while digit < 16 {
        nibbles[b"0123456789abcdef"[digit] as usize] = digit as u8;
        digit += 1;
    }
    nibbles
};

/// The key of a serial that fits into a slot: 1 to 15 lower-case hex digits.
pub(super) fn pack(serial: &[u8]) -> Option<u64> {
    if serial.is_empty() || serial.len() > DIGITS_MAX {
        return None;
    }
    let (mut key, mut seen) = (serial.len() as u64, 0);
    // Not left early: twelve digits are twelve steps without a branch.
    for byte in serial {
        let nibble = NIBBLES[usize::from(*byte)];
        seen |= nibble;
        key = key << 4 | u64::from(nibble & 15);
    }
    // The length was shifted up by four bits a digit: on to the top.
    let digits = key & ((1 << (4 * serial.len())) - 1);
    (seen < 16).then_some((serial.len() as u64) << TAG_SHIFT | digits)
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
            let key = pack(serial.as_bytes()).unwrap();
            assert_eq!(unpack(key, &mut buffer), Some(serial.as_bytes()));
            assert_eq!(beside_at(key), None);
        }
        assert_ne!(pack(b"1"), pack(b"01"));
        for other in ["", "A4", "g", "1234567890abcdef", "sn-1", "4:cf"] {
            assert_eq!(pack(other.as_bytes()), None, "{other}");
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
