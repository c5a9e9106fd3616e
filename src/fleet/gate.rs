//! Whether a gate is good, and whether failures halt a rollout (R8): arithmetic on counts, for the step that moves a rollout on and for the trace that
//! explains it. No floating point.

use super::rollout::{Admission, Gate, Halt, Opened, Progress, Rollout, SHARE_BPS_MAX, WaveSize};
use crate::time::Timestamp;

impl Gate {
    /// Whether it has no condition: then it opens by hand alone.
    pub fn is_by_hand(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it asks how the last wave fares.
    pub fn asks_for_health(&self) -> bool {
        self.finished_needed().is_some()
    }

    /// How many devices of the last wave must have finished, where health is asked for: at least one, since 0 of 0 is no data.
    pub fn finished_needed(&self) -> Option<u32> {
        let asks = self.min_finished.is_some() || self.success_share_bps.is_some() || self.soak_secs.is_some();
        asks.then(|| self.min_finished.unwrap_or(1).max(1))
    }

    /// Whether the wave is good by its counts: enough have finished, and enough of them succeeded.
    pub fn is_good(&self, progress: &Progress) -> bool {
        let share = u64::from(self.success_share_bps.unwrap_or(0));
        let succeeds = u64::from(progress.succeeded) * u64::from(SHARE_BPS_MAX) >= share * u64::from(progress.finished);
        self.finished_needed().is_none_or(|needed| progress.finished >= needed) && succeeds
    }

    /// For how many seconds the wave has been good; none where it is not, or only from a later time on.
    pub fn soaked_secs(progress: &Progress, now: Timestamp) -> Option<i64> {
        let millis = now.millis().checked_sub(progress.good_since?.millis())?;
        (millis >= 0).then_some(millis / 1_000)
    }

    /// Whether all its conditions hold, given how the judged wave fares. A gate without conditions does not open by itself.
    pub fn opens(&self, progress: Option<&Progress>, now: Timestamp) -> bool {
        let in_time = self.opens_at.is_none_or(|at| now >= at);
        let soaked = |progress: &Progress| {
            Self::soaked_secs(progress, now).is_some_and(|secs| secs >= self.soak_secs.unwrap_or(0).into())
        };
        let healthy = |progress: &Progress| self.is_good(progress) && soaked(progress);
        !self.is_by_hand() && in_time && (!self.asks_for_health() || progress.is_some_and(healthy))
    }
}

impl Halt {
    /// Whether so many failures among so many finished halt the rollout.
    pub fn is_reached(&self, failed: u64, finished: u64) -> bool {
        let enough = finished >= u64::from(self.min_finished.unwrap_or(1).max(1));
        let exceeds =
            |bps: u16| u128::from(failed) * u128::from(SHARE_BPS_MAX) > u128::from(bps) * u128::from(finished);
        self.failures.is_some_and(|failures| failed >= failures.into())
            || enough && self.failure_share_bps.is_some_and(exceeds)
    }
}

impl Rollout {
    /// The next wave to open, counted from 0.
    pub fn next_wave(&self) -> Option<usize> {
        self.waves.iter().position(|wave| wave.opened.is_none())
    }

    /// The gate that is asked now: that of the next wave, or once all are open the one that completes the rollout.
    pub fn next_gate(&self) -> &Gate {
        self.next_wave().and_then(|next| self.waves.get(next)).map_or(&self.complete, |wave| &wave.gate)
    }

    /// Whether an open wave admitted somebody who was not in before, as far as its census knows.
    pub(crate) fn admitted_somebody(&self, wave: usize) -> bool {
        let opened = |wave: usize| self.waves.get(wave).and_then(|wave| wave.opened);
        let Some(Opened { threshold, newcomers, .. }) = opened(wave) else { return false };
        let before = wave.checked_sub(1);
        match (newcomers, self.waves[wave].size, self.admission) {
            (Some(newcomers), ..) => newcomers > 0,
            (None, WaveSize::All, _) => true,
            (None, _, Admission::Rank) => threshold > before.and_then(opened).and_then(|before| before.threshold),
            (None, size, Admission::FirstCome) => before.is_none_or(|before| self.waves[before].size != size),
        }
    }

    /// How many devices an open wave admitted beyond the waves before it, where that was counted.
    pub fn admitted(&self, wave: usize) -> Option<u64> {
        let first = |wave: &super::rollout::Wave| match wave.size {
            WaveSize::First(n) => Some(u64::from(n)),
            _ => None,
        };
        match self.admission {
            Admission::Rank => self.waves.get(wave)?.opened?.newcomers,
            Admission::FirstCome => {
                let before = wave.checked_sub(1).map_or(Some(0), |before| first(self.waves.get(before)?))?;
                Some(first(self.waves.get(wave)?)?.saturating_sub(before))
            }
        }
    }
}
