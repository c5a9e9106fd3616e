//! The census that opens a wave (R3): whom it counts, and the n-th smallest of their ranks.
//!
//! ```text
//!   devices, from wherever they stand ──▶ CensusTaker::look ──▶ finish ──▶ Census: eligible, counted, threshold
//!                          several takers, one per thread ──▶ join ──┘
//! ```
//!
//! No ranks are sorted: of a wave that counts n, the n smallest are kept and now and then halved again; of a share all ranks are kept, eight bytes each, and
//! the n-th is selected.

use super::name::RolloutId;
use super::rollout::{Opened, Rollout, SHARE_BPS_MAX, WaveSize};
use super::whole::ProductEntry;
use super::{Catalogue, Device, DeviceState, Firmware, Group, Product, Version};
use crate::time::Timestamp;

/// Who was found when a wave was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    /// How many devices of the group could be given the target by this wave.
    pub eligible: u64,
    /// How many of them the threshold admits.
    pub counted: u64,
    /// How many of those no wave before has admitted.
    pub newcomers: u64,
    /// The highest rank that is in; none: nobody was ever counted. `all` has none.
    pub threshold: Option<u64>,
}

impl Census {
    /// What is frozen when the wave opens.
    pub fn opened(&self, at: Timestamp) -> Opened {
        let Self { eligible, counted, newcomers, threshold } = *self;
        Opened { at, threshold, counted: Some(counted), newcomers: Some(newcomers), eligible: Some(eligible) }
    }
}

/// Why a wave cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CensusFault {
    /// The group has no rollout, or that has no such wave.
    #[error("group `{group}` has no rollout with a wave {wave}")]
    NoWave {
        /// The group.
        group: String,
        /// The wave, counted from 0.
        wave: usize,
    },
    /// R6: more devices are always first than the first wave that admits anybody counts.
    #[error(
        "rollout `{rollout}` lists {first} devices as always first, but the first wave that admits anybody counts {counts}: raise the wave or shorten the list"
    )]
    FirstListTooLong {
        /// The rollout.
        rollout: RolloutId,
        /// Counted devices on the first-list.
        first: u64,
        /// What the wave counts.
        counts: u64,
    },
    /// The store cannot count its devices.
    #[error(
        "the store cannot count its devices, so no wave of a count opens by rank: give a share, or admit first come"
    )]
    CannotCount,
}

/// The threshold that admits a share of all ranks, for a host that cannot count (R3): `ceil(bps * 2^64 / 10 000) - 1`. The count of who is in is expected,
/// not exact. 0 basis points admit nobody and have none; more than 10 000 are everybody.
///
/// ```
/// assert_eq!(otagate::share_threshold(10_000), Some(u64::MAX));
/// assert_eq!(otagate::share_threshold(5_000), Some(u64::MAX / 2));
/// assert_eq!(otagate::share_threshold(0), None);
/// ```
pub fn share_threshold(bps: u16) -> Option<u64> {
    let whole = u128::from(SHARE_BPS_MAX);
    let ranks = (u128::from(bps).min(whole) << 64).div_ceil(whole);
    ranks.checked_sub(1).map(|highest| u64::try_from(highest).unwrap_or(u64::MAX))
}

/// One device, as far as a census looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its canonical serial.
    pub serial: &'a str,
    /// Where it stands.
    pub state: DeviceState,
    /// When it entered the group for the first time (R4).
    pub entered_at: Timestamp,
    /// The version that it reported last, as far as known.
    pub version: Option<&'a str>,
    /// Its hardware, as far as known.
    pub hardware: Option<&'a str>,
    /// Whether it has a pin.
    pub pinned: bool,
    /// The highest version that it is given.
    pub cap: Option<&'a Version>,
}

/// Takes the census of one wave: looks at the group's devices in any order. For stores that hold their devices elsewhere: a row is looked at and forgotten.
#[derive(Clone, Debug)]
pub struct CensusTaker<'a> {
    product: &'a Product,
    rollout: &'a Rollout,
    firmware: Option<&'a Firmware>,
    /// Which wave, counted from 0.
    wave: usize,
    size: WaveSize,
    /// The threshold so far.
    before: Option<u64>,
    /// Nobody can be given the target: it is above the group's cap.
    capped: bool,
    eligible: u64,
    /// Those whose rank is within it.
    within_before: u64,
    /// Those of them whom an earlier wave admitted: not who was kept to the last one (R4).
    in_already: u64,
    first: u64,
    ranks: Smallest,
    asked: Option<Asked>,
}

/// Whose place is asked for.
#[derive(Clone, Debug)]
struct Asked {
    serial: Box<str>,
    rank: u64,
    /// How many are counted before it.
    before: u64,
    counted: bool,
}

impl<'a> CensusTaker<'a> {
    /// A taker for a wave of the group's rollout, counted from 0.
    ///
    /// # Errors
    /// There is no such wave.
    pub fn new(
        product: &'a Product,
        group: &'a Group,
        catalogue: &'a Catalogue,
        wave: usize,
    ) -> Result<Self, CensusFault> {
        let no_wave = || CensusFault::NoWave { group: group.id.as_str().to_owned(), wave };
        let rollout = group.rollout.as_ref().ok_or_else(no_wave)?;
        let size = rollout.waves.get(wave).ok_or_else(no_wave)?.size;
        let rules = product.versions();
        let target = rollout.target_version();
        let above = |target: &Version| group.cap.as_ref().is_some_and(|cap| rules.above(target.reading(), cap));
        let keep = match size {
            WaveSize::First(n) => Some(n as usize),
            WaveSize::ShareBps(_) => None,
            WaveSize::All => Some(0),
        };
        Ok(Self {
            product,
            rollout,
            firmware: target.and_then(|target| catalogue.find(target, rules)),
            wave,
            size,
            before: rollout.waves[..wave].iter().filter_map(|wave| wave.opened?.threshold).max(),
            capped: target.is_some_and(above),
            eligible: 0,
            within_before: 0,
            in_already: 0,
            first: 0,
            ranks: Smallest { keep, bound: u64::MAX, ranks: Vec::new() },
            asked: None,
        })
    }

    /// The same taker, which also finds out the place of a device among those counted (V6).
    pub fn asking_for(self, serial: &str) -> Self {
        let rank = self.rollout.rank_of(self.product.id().as_str(), serial);
        Self { asked: Some(Asked { serial: serial.into(), rank, before: 0, counted: false }), ..self }
    }

    /// The place of the device that was asked for, from 1, by what was looked at so far; `None`: it is not counted, or nobody asked.
    pub fn place(&self) -> Option<u64> {
        self.asked.as_ref().filter(|asked| asked.counted).map(|asked| asked.before + 1)
    }

    /// Looks at a member of the group; others must not be shown. Costs a hash.
    pub fn look(&mut self, device: &Candidate<'_>) {
        if let Some(on_target) = self.kind(device.version, device.hardware)
            && self.may_take(device.state, device.pinned, device.cap)
        {
            self.count(device.serial, device.entered_at, on_target);
        }
    }

    /// What many devices share: `None` where the target does not fit their hardware, or nobody may have it; else whether they are on it.
    pub(crate) fn kind(&self, version: Option<&str>, hardware: Option<&str>) -> Option<bool> {
        let fits = |firmware: &Firmware| hardware.is_none_or(|hardware| firmware.fits(hardware.as_bytes()));
        if self.capped || !self.firmware.is_none_or(fits) {
            return None;
        }
        let rules = self.product.versions();
        let on_target = self.rollout.target_version().zip(version);
        Some(on_target.is_some_and(|(target, version)| rules.equal(rules.read(version.as_bytes()), target.reading())))
    }

    /// Verified; and for firmware, not pinned, and not capped below it.
    pub(crate) fn may_take(&self, state: DeviceState, pinned: bool, cap: Option<&Version>) -> bool {
        let free =
            |target: &Version| !pinned && !cap.is_some_and(|cap| self.product.versions().above(target.reading(), cap));
        state == DeviceState::Verified && self.rollout.target_version().is_none_or(free)
    }

    /// Counts a device that may take the target: not excluded, not kept to a later wave, and in already or not yet on the target.
    pub(crate) fn count(&mut self, serial: &str, entered_at: Timestamp, on_target: bool) {
        let kept = || self.wave + 1 < self.rollout.waves.len() && self.rollout.keeps_for_last_wave(serial, entered_at);
        if on_target && self.before.is_none() || self.rollout.is_excluded(serial) || kept() {
            return;
        }
        if self.size == WaveSize::All && self.before.is_none() && self.asked.is_none() {
            // It is in, whatever its rank.
            self.eligible += 1;
            return;
        }
        let rank = self.rollout.rank_of(self.product.id().as_str(), serial);
        let within_before = self.before.is_some_and(|threshold| rank <= threshold);
        let in_already = within_before && !self.rollout.keeps_for_last_wave(serial, entered_at);
        if on_target && !in_already {
            return;
        }
        if let Some(asked) = &mut self.asked {
            asked.before += u64::from(rank < asked.rank);
            asked.counted |= *asked.serial == *serial;
        }
        self.eligible += 1;
        self.within_before += u64::from(within_before);
        self.in_already += u64::from(in_already);
        self.first += u64::from(rank == 0);
        self.ranks.push(rank);
    }

    /// Takes over what another taker of the same wave counted, of other devices.
    pub fn join(&mut self, other: Self) {
        self.eligible += other.eligible;
        self.within_before += other.within_before;
        self.in_already += other.in_already;
        self.first += other.first;
        if let (Some(asked), Some(other)) = (&mut self.asked, other.asked) {
            asked.before += other.before;
            asked.counted |= other.counted;
        }
        self.ranks.join(other.ranks);
    }

    /// The census.
    ///
    /// # Errors
    /// The first-list is longer than the first wave (R6).
    pub fn finish(self) -> Result<Census, CensusFault> {
        let Self { eligible, first, before, .. } = self;
        let wanted = match self.size {
            WaveSize::First(n) => u64::from(n),
            // In 128 bits nothing overflows.
            WaveSize::ShareBps(bps) => {
                let share = (u128::from(eligible) * u128::from(bps)).div_ceil(u128::from(SHARE_BPS_MAX));
                u64::try_from(share).unwrap_or(u64::MAX)
            }
            WaveSize::All => {
                let newcomers = eligible - self.in_already;
                return Ok(Census { eligible, counted: eligible, newcomers, threshold: None });
            }
        };
        // As long as nobody was ever admitted, this is the first wave for the list.
        if before.is_none() && first > wanted {
            return Err(CensusFault::FirstListTooLong { rollout: self.rollout.id.clone(), first, counts: wanted });
        }
        let nth = self.ranks.nth(wanted.min(eligible));
        let (threshold, counted) = match (nth, before) {
            (Some((rank, counted)), before) if before.is_none_or(|before| rank > before) => (Some(rank), counted),
            (_, before) => (before, self.within_before),
        };
        Ok(Census { eligible, counted, newcomers: counted - self.in_already, threshold })
    }
}

/// The smallest of many ranks.
#[derive(Clone, Debug)]
struct Smallest {
    /// How many are wanted; none: all.
    keep: Option<usize>,
    /// What is above it is not among them.
    bound: u64,
    ranks: Vec<u64>,
}

impl Smallest {
    fn push(&mut self, rank: u64) {
        if rank > self.bound || self.keep == Some(0) {
            return;
        }
        self.ranks.push(rank);
        // Twice as many as wanted: half of them go, so that a rank costs no more than a few looks.
        if let Some(keep) = self.keep.filter(|keep| self.ranks.len() >= keep.saturating_mul(2).max(1_024)) {
            let (.., nth, _) = self.ranks.select_nth_unstable(keep - 1);
            self.bound = *nth;
            self.ranks.retain(|rank| *rank <= self.bound);
        }
    }

    fn join(&mut self, mut other: Self) {
        // The longer list, which has the lower bound, stays where it is.
        if other.ranks.len() > self.ranks.len() {
            std::mem::swap(self, &mut other);
        }
        match self.keep {
            None => self.ranks.append(&mut other.ranks),
            Some(_) => other.ranks.into_iter().for_each(|rank| self.push(rank)),
        }
    }

    /// The n-th smallest, counted from 1, and how many are not above it.
    fn nth(mut self, n: u64) -> Option<(u64, u64)> {
        let at = usize::try_from(n.checked_sub(1)?).ok().filter(|at| *at < self.ranks.len())?;
        let (before, nth, after) = self.ranks.select_nth_unstable(at);
        let nth = *nth;
        // Only ranks of 0, the first-list's, are ever the same.
        let same = after.iter().filter(|rank| **rank == nth).count();
        Some((nth, (before.len() + 1 + same) as u64))
    }
}

impl ProductEntry {
    /// Takes the census of a wave, counted from 0: who could be given the target by it, and the threshold that admits exactly its size
    /// (R3). Changes nothing. `O(devices of the product)`.
    ///
    /// # Errors
    /// There is no such wave, or the first-list is longer than the first wave (R6).
    pub fn census(&self, group: &str, wave: usize) -> Result<Census, CensusFault> {
        let mut taker = self.taker(group, wave)?;
        self.show(group, &mut taker);
        taker.finish()
    }

    /// The place, from 1, that a device has among those whom the census of a wave counts now (V6); `None` where it is not counted. `O(devices of the product)`.
    ///
    /// # Errors
    /// There is no such wave.
    pub fn place(&self, group: &str, wave: usize, serial: &str) -> Result<Option<u64>, CensusFault> {
        let mut taker = self.taker(group, wave)?.asking_for(serial);
        self.show(group, &mut taker);
        Ok(taker.place())
    }

    fn taker(&self, group: &str, wave: usize) -> Result<CensusTaker<'_>, CensusFault> {
        let no_wave = || CensusFault::NoWave { group: group.to_owned(), wave };
        CensusTaker::new(self.product(), self.group(group).ok_or_else(no_wave)?, self.catalogue(), wave)
    }

    fn show(&self, group: &str, taker: &mut CensusTaker<'_>) {
        self.devices()
            .filter(|device| device.group.as_str() == group)
            .for_each(|device| taker.look(&device.candidate()));
    }
}

impl Device {
    /// The device, as far as a census looks at it.
    pub(crate) fn candidate(&self) -> Candidate<'_> {
        Candidate {
            serial: self.serial(),
            state: self.state,
            entered_at: self.entered_at,
            version: self.version(),
            hardware: self.hardware(),
            pinned: self.pin().is_some(),
            cap: self.cap(),
        }
    }
}
