//! The census of a wave by a scan of the index (R3), on all processors.
//!
//! What devices share is judged once per profile: whether the target fits, and whether they are on it. What is left for a device is its state, the lists of the
//! rollout, and its rank.

use super::leaf::Leaf;
use super::slot;
use super::snapshot::{Resolved, Snapshot};
use crate::fleet::{Census, CensusFault, CensusTaker, GroupId};
use parking_lot::Mutex;

/// So many leaves are one thread's at a time: about as many thousand devices.
const LEAVES_AT_ONCE: usize = 64;

/// What is known of a profile's devices.
#[derive(Clone, Copy)]
enum Kind {
    /// Of another group, or the target does not fit.
    Apart,
    /// Whether they are on the target.
    Member { on_target: bool },
}

impl Snapshot {
    /// Takes the census of a wave, counted from 0: who could be given the target by it, and the threshold that admits exactly its size (R3). On all processors;
    /// about the time of a hash for each device of the group, and of a look for each other one. A wave that counts n needs memory for 2 n ranks on each
    /// thread, a share for all of its group, eight bytes each.
    ///
    /// # Errors
    /// There is no such wave, or the first-list is longer than the first wave (R6).
    pub fn census(&self, product: &str, group: &str, wave: usize) -> Result<Census, CensusFault> {
        self.count(product, group, wave, None)?.finish()
    }

    /// The place, from 1, that a device has among those whom the census of a wave counts now (V6); `None` where it is not counted. About the time of a census.
    ///
    /// # Errors
    /// There is no such wave.
    pub fn place(&self, product: &str, group: &str, wave: usize, serial: &str) -> Result<Option<u64>, CensusFault> {
        Ok(self.count(product, group, wave, Some(serial))?.place())
    }

    fn count(
        &self,
        product: &str,
        group: &str,
        wave: usize,
        asked: Option<&str>,
    ) -> Result<CensusTaker<'_>, CensusFault> {
        let no_wave = || CensusFault::NoWave { group: group.to_owned(), wave };
        let resolved = self.resolved(product).ok_or_else(no_wave)?;
        let few = resolved.few();
        let found = few.groups.get(group).ok_or_else(no_wave)?;
        let mut taker = CensusTaker::new(&few.product, found, &few.catalogue, wave)?;
        if let Some(serial) = asked {
            taker = taker.asking_for(serial);
        }
        let profiles = resolved.table().profiles();
        let number = GroupId::new(group).ok().and_then(|group| profiles.groups.find(&group));
        // A group that no device was ever in has no number.
        let Some(number) = number else { return Ok(taker) };
        let kinds = (0..profiles.len()).map(|at| match profiles.get(at) {
            Some(profile) if profile.group == number => taker
                .kind(profile.version.as_deref(), profile.hardware.as_deref())
                .map_or(Kind::Apart, |on_target| Kind::Member { on_target }),
            _ => Kind::Apart,
        });
        let kinds: Vec<Kind> = kinds.collect();
        let leaves: Vec<&Leaf> = resolved.table().leaves().collect();
        let threads = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(leaves.len().div_ceil(LEAVES_AT_ONCE))
            .max(1);
        let shares = Mutex::new(leaves.chunks(LEAVES_AT_ONCE));
        let empty = taker.clone();
        let work = || {
            let mut taker = empty.clone();
            loop {
                let share = shares.lock().next();
                let Some(share) = share else { return taker };
                share.iter().for_each(|leaf| count(leaf, resolved, number, &kinds, &mut taker));
            }
        };
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            taker.join(work());
            for other in others {
                match other.join() {
                    Ok(counted) => taker.join(counted),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
        Ok(taker)
    }
}

fn count(leaf: &Leaf, product: &Resolved, group: u32, kinds: &[Kind], taker: &mut CensusTaker<'_>) {
    for slot in leaf.slots() {
        let meta = slot::Meta::unpack(slot.meta);
        let short = (meta.profile != slot::PROFILE_APART).then(|| kinds.get(usize::from(meta.profile)).copied());
        let known = match short.flatten() {
            Some(Kind::Apart) => continue,
            Some(Kind::Member { on_target }) => Some(on_target),
            None => None,
        };
        let (on_target, entered_at) = match (known, meta.entered_at) {
            // Nothing about it stands apart: no pin, no cap.
            (Some(on_target), Some(entered_at)) if !meta.apart => {
                if !taker.may_take(meta.state, false, None) {
                    continue;
                }
                (on_target, entered_at)
            }
            _ => {
                let found = product.table().found(leaf, slot);
                let rare = found.rare();
                let pinned = rare.is_some_and(|rare| rare.pin.is_some());
                let kind = if found.group == group { taker.kind(found.version(), found.hardware()) } else { None };
                match kind.filter(|_| taker.may_take(found.state, pinned, rare.and_then(|rare| rare.cap.as_ref()))) {
                    Some(on_target) => (on_target, found.entered_at),
                    None => continue,
                }
            }
        };
        let mut buffer = [0; slot::DIGITS_MAX];
        let serial = slot::unpack(slot.key, &mut buffer).or_else(|| leaf.text(slot.key)).unwrap_or_default();
        taker.count(std::str::from_utf8(serial).unwrap_or_default(), entered_at, on_target);
    }
}
