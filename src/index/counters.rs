//! How often each reason was given, by product, at no cost that a reader would notice.
//!
//! Each reader counts alone, into a block that it alone writes: a load, an addition and a store, no locked instruction. Whoever wants the sums reads all
//! blocks. A reader that is gone leaves its block's sums behind.

use crate::fleet::ProductId;
use crate::verdict::Reason;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The numbers of reasons are below.
const REASONS: usize = 64;

/// How often a reason was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerdictCount {
    /// The product; `None`: the key was nobody's.
    pub product: Option<ProductId>,
    /// The reason.
    pub reason: Reason,
    /// How often, since the index was made.
    pub count: u64,
}

/// One reader's counts for one product; only that reader writes.
#[derive(Debug)]
pub(super) struct Block([AtomicU64; REASONS]);

/// The blocks of all readers.
#[derive(Debug, Default)]
pub(super) struct Counters {
    sums: Mutex<Sums>,
}

#[derive(Debug, Default)]
struct Sums {
    live: Vec<(Option<ProductId>, Arc<Block>)>,
    /// With as many live ones it is time to look who is gone.
    sweep_at: usize,
    /// Of readers that are gone.
    gone: BTreeMap<(Option<ProductId>, u16), u64>,
}

impl Default for Block {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; REASONS])
    }
}

impl Block {
    /// One more. Only the reader whose block it is calls this, so that nothing is lost between the load and the store.
    #[inline]
    pub(super) fn count(&self, reason: Reason) {
        if let Some(count) = self.0.get(usize::from(reason.number())) {
            count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    fn counts(&self) -> impl Iterator<Item = (u16, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        (0..).zip(counts).filter(|(_, count)| *count > 0)
    }
}

impl Counters {
    /// A block for one reader and product.
    pub(super) fn block(&self, product: Option<ProductId>) -> Arc<Block> {
        let block = Arc::<Block>::default();
        let mut sums = self.sums.lock();
        if sums.live.len() >= sums.sweep_at {
            sums.sweep();
            // So that a block costs the same, however many there are.
            sums.sweep_at = 2 * sums.live.len() + 64;
        }
        sums.live.push((product, block.clone()));
        block
    }

    /// The sums, by product and number.
    pub(super) fn read(&self) -> Vec<VerdictCount> {
        let mut sums = self.sums.lock();
        sums.sweep();
        let mut all = sums.gone.clone();
        for (product, block) in &sums.live {
            for (number, count) in block.counts() {
                *all.entry((product.clone(), number)).or_default() += count;
            }
        }
        let one =
            |((product, number), count)| Some(VerdictCount { product, reason: Reason::from_number(number)?, count });
        all.into_iter().filter_map(one).collect()
    }
}

impl Sums {
    /// Takes over the counts of readers that are gone: nobody else holds their blocks.
    fn sweep(&mut self) {
        let Self { live, gone, .. } = self;
        live.retain_mut(|(product, block)| {
            // Nobody else holds it, and what its reader wrote before it let go is seen.
            let Some(block) = Arc::get_mut(block) else { return true };
            for (number, count) in block.counts() {
                *gone.entry((product.clone(), number)).or_default() += count;
            }
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_place() {
        assert!(Reason::ALL.iter().all(|reason| usize::from(reason.number()) < REASONS));
    }
}
