//! The census that opens a wave, plainly: look at every device, sort the ranks, take the n-th (R3).

use super::name::RolloutId;
use super::rollout::{Opened, Rollout, SHARE_BPS_MAX, Target, WaveSize};
use super::whole::ProductEntry;
use super::{Device, DeviceState, Group};
use crate::time::Timestamp;

/// Who was found when a wave was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    /// How many devices of the group could be given the target by this wave.
    pub eligible: u64,
    /// How many of them the threshold admits.
    pub counted: u64,
    /// The highest rank that is in; none: nobody was ever counted. `all` has none.
    pub threshold: Option<u64>,
}

impl Census {
    /// What is frozen when the wave opens.
    pub fn opened(&self, at: Timestamp) -> Opened {
        Opened { at, threshold: self.threshold, counted: Some(self.counted), eligible: Some(self.eligible) }
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
    /// R6: more devices are always first than the first wave counts.
    #[error(
        "rollout `{rollout}` lists {first} devices as always first, but its first wave counts {counts}: raise the wave or shorten the list"
    )]
    FirstListTooLong {
        /// The rollout.
        rollout: RolloutId,
        /// Counted devices on the first-list.
        first: u64,
        /// What the wave counts.
        counts: u64,
    },
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

impl ProductEntry {
    /// Takes the census of a wave, counted from 0: who could be given the target by it, and the threshold that admits exactly its size
    /// (R3). Changes nothing. `O(devices of the product · log)`.
    ///
    /// # Errors
    /// There is no such wave, or the first-list is longer than the first wave (R6).
    pub fn census(&self, group: &str, wave: usize) -> Result<Census, CensusFault> {
        let no_wave = || CensusFault::NoWave { group: group.to_owned(), wave };
        let group = self.group(group).ok_or_else(no_wave)?;
        let rollout = group.rollout.as_ref().ok_or_else(no_wave)?;
        let size = rollout.waves.get(wave).ok_or_else(no_wave)?.size;
        let before = rollout.waves[..wave].iter().filter_map(|wave| wave.opened?.threshold).max();

        let product = self.product().id().as_str();
        let mut ranks: Vec<u64> = (self.devices())
            .filter(|device| self.could_be_given(device, group, rollout, wave))
            .map(|device| (rollout.rank_of(product, device.serial()), device))
            .filter(|(rank, device)| {
                before.is_some_and(|threshold| *rank <= threshold) || !self.is_on_target(device, rollout)
            })
            .map(|(rank, _)| rank)
            .collect();
        ranks.sort_unstable();

        let eligible = ranks.len() as u64;
        let wanted = match size {
            WaveSize::First(n) => u64::from(n),
            WaveSize::ShareBps(bps) => (eligible * u64::from(bps)).div_ceil(u64::from(SHARE_BPS_MAX)),
            WaveSize::All => return Ok(Census { eligible, counted: eligible, threshold: None }),
        };
        let first = ranks.iter().take_while(|rank| **rank == 0).count() as u64;
        if wave == 0 && first > wanted {
            return Err(CensusFault::FirstListTooLong { rollout: rollout.id.clone(), first, counts: wanted });
        }
        // `ranks` holds at most what fits in memory, so the minimum fits too.
        let nth = ranks.get((wanted.min(eligible) as usize).wrapping_sub(1)).copied();
        let threshold = nth.max(before);
        let counted = threshold.map_or(0, |threshold| ranks.partition_point(|rank| *rank <= threshold)) as u64;
        Ok(Census { eligible, counted, threshold })
    }

    /// Member, verified, not excluded, not kept to a later wave; for firmware not pinned, not capped below it, of fitting hardware where known.
    fn could_be_given(&self, device: &Device, group: &Group, rollout: &Rollout, wave: usize) -> bool {
        let last = wave + 1 == rollout.waves.len();
        let takes_part = device.group == group.id
            && device.state == DeviceState::Verified
            && !rollout.is_excluded(device.serial())
            && (last || !rollout.keeps_for_last_wave(device.serial(), device.entered_at));
        let Target::Firmware(target) = &rollout.target else { return takes_part };
        let rules = self.product().versions();
        let capped =
            [device.cap(), group.cap.as_ref()].into_iter().flatten().any(|cap| rules.above(target.reading(), cap));
        let firmware = self.catalogue().find(target, rules);
        let fits =
            device.hardware().is_none_or(|hardware| firmware.is_none_or(|firmware| firmware.fits(hardware.as_bytes())));
        takes_part && device.pin().is_none() && !capped && fits
    }

    fn is_on_target(&self, device: &Device, rollout: &Rollout) -> bool {
        let rules = self.product().versions();
        let reported = device.version().map(|version| rules.read(version.as_bytes()));
        rollout.target_version().zip(reported).is_some_and(|(target, reported)| rules.equal(reported, target.reading()))
    }
}
