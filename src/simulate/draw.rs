//! Chance, as a function: the same seed, device, purpose and count draw the same number, on every machine and in whatever order it is asked for.
//!
//! No crate does this: a generator has a state that others move, and a crate's stream may change with its version, where a published course must not. The mixer is
//! splitmix64 (Steele, Lea, Flood 2014, figure 17), written down with its vectors below.

use serde::{Deserialize, Serialize};

/// What a draw is for, so that one purpose takes nothing from another: plans that offer more often still meet the same luck elsewhere.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// When it asks for the first time.
    First = 1,
    /// How long until it asks again.
    Interval,
    /// Whether it takes part at all.
    Away,
    /// Whether a check-in gets through.
    Offline,
    /// How fast it downloads.
    Download,
    /// How long it installs.
    Install,
    /// What becomes of that; each rule draws by itself.
    Failure,
}

/// One device's luck.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Luck(pub(super) u64);

impl Luck {
    /// That of a device, by a hash of its identity.
    pub(super) fn of(seed: u64, identity: u64) -> Self {
        Self(mix(mix(seed) ^ identity))
    }

    /// A number from 0 to 2^64 - 1.
    pub(super) fn draw(self, purpose: Purpose, count: u64) -> u64 {
        mix(self.0 ^ mix(((purpose as u64) << 56) ^ count))
    }

    /// A number below `below`, or 0.
    pub(super) fn below(self, purpose: Purpose, count: u64, below: u64) -> u64 {
        // The high half of a product: uniform to within `below` of 2^64.
        ((u128::from(self.draw(purpose, count)) * u128::from(below)) >> 64) as u64
    }

    /// Whether something befalls it that befalls such a share.
    pub(super) fn befalls(self, purpose: Purpose, count: u64, share_bps: u16) -> bool {
        share_bps > 0 && self.below(purpose, count, 10_000) < share_bps.into()
    }
}

fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A number that differs from device to device: always the same one, or between quantiles, straight from each to the next. Integers alone, so that no machine's
/// rounding is in it. In a file: `30`, or `{ min = 10, p50 = 30, p95 = 300, max = 3600 }`.
///
/// ```
/// use otagate::simulate::Spread;
/// let install: Spread = serde_json::from_str(r#"{ "min": 10, "p50": 30, "p95": 300, "max": 3600 }"#).unwrap();
/// assert_eq!(install.at_bps(5_000), 30);
/// assert_eq!(install.at_bps(7_250), 165); // half of the way from the median to the 95th percentile
/// assert_eq!(Spread::from(30).at_bps(9_999), 30);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Spread {
    /// The same for all.
    Fixed(u64),
    /// Between quantiles.
    Quantiles(Quantiles),
}

/// The quantiles of a [`Spread`]; none may be below the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantiles {
    /// The least.
    pub min: u64,
    /// The median.
    pub p50: u64,
    /// What 95 of 100 do not exceed.
    pub p95: u64,
    /// The most.
    pub max: u64,
}

impl From<u64> for Spread {
    fn from(fixed: u64) -> Self {
        Self::Fixed(fixed)
    }
}

impl Spread {
    /// The number that so many basis points of all do not exceed.
    pub fn at_bps(&self, bps: u16) -> u64 {
        let draw = (u128::from(bps) << 64).div_ceil(10_000);
        self.at(u64::try_from(draw).unwrap_or(u64::MAX))
    }

    /// The same by a number from 0 to 2^64 - 1.
    pub(super) fn at(&self, draw: u64) -> u64 {
        const WHOLE: u128 = 1 << 64;
        let Self::Quantiles(Quantiles { min, p50, p95, max }) = *self else {
            let Self::Fixed(fixed) = *self else { return 0 };
            return fixed;
        };
        let draw = u128::from(draw);
        let (half, most) = (WHOLE / 2, (WHOLE * 19).div_ceil(20));
        let (from, to, low, high) = match draw {
            draw if draw < half => (0, half, min, p50),
            draw if draw < most => (half, most, p50, p95),
            _ => (most, WHOLE, p95, max),
        };
        // Each is below 2^64, so the product fits.
        let part = (draw - from) * u128::from(high.saturating_sub(low)) / (to - from);
        low.saturating_add(u64::try_from(part).unwrap_or(u64::MAX))
    }

    /// What is wrong with it.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let Self::Quantiles(Quantiles { min, p50, p95, max }) = self else { return None };
        (min > p50 || p50 > p95 || p95 > max).then_some("its quantiles shrink: min <= p50 <= p95 <= max")
    }

    /// The least.
    pub(super) fn least(&self) -> u64 {
        match self {
            Self::Fixed(fixed) => *fixed,
            Self::Quantiles(quantiles) => quantiles.min,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mixer_is_splitmix64() {
        // The first outputs of the published generator from the seed 1234567: its state is raised before it is mixed.
        assert_eq!(mix(1_234_567), 6_457_827_717_110_365_317);
        assert_eq!(mix(1_234_567_u64.wrapping_add(0x9E37_79B9_7F4A_7C15)), 3_203_168_211_198_807_973);
    }

    #[test]
    fn draws_are_even_and_apart() {
        let luck = Luck::of(1, 2);
        let mut tenths = [0_u32; 10];
        for count in 0..100_000 {
            tenths[luck.below(Purpose::Install, count, 10) as usize] += 1;
        }
        // Each is binomial (100 000, 0.1): a standard deviation of 95, and here five of them.
        assert!(tenths.iter().all(|tenth| (9_525..10_475).contains(tenth)), "{tenths:?}");
        assert_ne!(luck.draw(Purpose::Install, 0), luck.draw(Purpose::Download, 0));
        assert_ne!(luck.draw(Purpose::Install, 0), Luck::of(2, 2).draw(Purpose::Install, 0));
        assert!(!luck.befalls(Purpose::Away, 0, 0) && luck.befalls(Purpose::Away, 0, 10_000));
    }

    #[test]
    fn a_spread_meets_its_quantiles() {
        let spread = Spread::Quantiles(Quantiles { min: 10, p50: 30, p95: 300, max: u64::MAX });
        assert_eq!([0, 5_000, 9_500].map(|bps| spread.at_bps(bps)).map(|at| at / 10), [1, 3, 30]);
        assert!(spread.at(u64::MAX) > u64::MAX / 2);
        assert!((0..10_000).map(|bps| spread.at_bps(bps)).is_sorted());
        assert!(Spread::Quantiles(Quantiles { min: 2, p50: 1, p95: 3, max: 4 }).fault().is_some());
    }
}
