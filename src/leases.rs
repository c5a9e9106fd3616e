//! The leases of one process: where a host keeps the offers that are being taken, if it has no better place.

use crate::fleet::ProductId;
use crate::lease::Lease;
use crate::time::Timestamp;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// The leases of one process: a bounded table, one lease per device.
///
/// Only verified devices are made offers, so strangers cannot fill it. When it is full, leases that have expired are dropped, at most once a second; where there is no room all the same, the new offer
/// gets none, and its device is decided anew on each request. A host with several processes keeps its leases where all of them see them.
#[derive(Debug)]
pub struct Leases {
    leases_max: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    products: HashMap<ProductId, HashMap<Box<str>, Arc<Lease>>>,
    len: usize,
    /// When it was swept last. A sweep looks at every lease, so a full table is swept once a second at most.
    swept_at: Option<Timestamp>,
}

impl Table {
    /// A clock that was set back does not put the next sweep off.
    fn swept_within_a_second_of(&self, now: Timestamp) -> bool {
        self.swept_at.is_some_and(|at| (at..at.plus_secs(1)).contains(&now))
    }

    /// Drops what has expired. `O(leases)`.
    fn sweep(&mut self, now: Timestamp) {
        self.products.values_mut().for_each(|devices| devices.retain(|_, lease| now < lease.expires_at));
        self.products.retain(|_, devices| !devices.is_empty());
        self.len = self.products.values().map(HashMap::len).sum();
        self.swept_at = Some(now);
    }
}

impl Leases {
    /// An empty table for at most `leases_max` devices.
    pub fn new(leases_max: usize) -> Self {
        Self { leases_max, table: Mutex::default() }
    }

    /// The lease of a device, if it has one that is live. Waits for nobody but another call of this type.
    pub fn of(&self, product: &ProductId, serial: &str, now: Timestamp) -> Option<Arc<Lease>> {
        let table = self.table.lock();
        let lease = table.products.get(product).and_then(|devices| devices.get(serial));
        lease.filter(|lease| now < lease.expires_at).cloned()
    }

    /// Drops what has expired, without waiting for the table to be full. `O(leases)`.
    #[cfg(feature = "simulate")]
    pub(crate) fn drop_expired(&self, now: Timestamp) {
        self.table.lock().sweep(now);
    }

    /// Keeps a lease, in place of the one that the device had. Gives `false` where the table is full.
    pub fn keep(&self, product: &ProductId, serial: &str, lease: Lease, now: Timestamp) -> bool {
        let mut table = self.table.lock();
        let renews = table.products.get(product).is_some_and(|devices| devices.contains_key(serial));
        if !renews && table.len >= self.leases_max && !table.swept_within_a_second_of(now) {
            table.sweep(now);
        }
        let room = renews || table.len < self.leases_max;
        if room {
            table.len += usize::from(!renews);
            table.products.entry(product.clone()).or_default().insert(serial.into(), Arc::new(lease));
        }
        room
    }

    /// Shortens a device's lease to `expires_at`: the last byte was sent. A little time is best left, for a device whose connection broke
    /// just then.
    pub fn finish(&self, product: &ProductId, serial: &str, expires_at: Timestamp) {
        let table = &mut *self.table.lock();
        if let Some(lease) = table.products.get_mut(product).and_then(|devices| devices.get_mut(serial)) {
            let earlier = lease.expires_at.min(expires_at);
            Arc::make_mut(lease).expires_at = earlier;
        }
    }

    /// How many leases are kept, expired ones included.
    pub fn len(&self) -> usize {
        self.table.lock().len
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{GroupId, Hex};

    fn lease(expires_at: i64) -> Lease {
        let (group, expires_at) = (GroupId::new("g").unwrap(), Timestamp::from_millis(expires_at));
        let (version, firmware, artifact) = (b"1".to_vec(), "2".into(), Hex([0; 32]));
        Lease { group, version, firmware, artifact, rollout: None, attempt: None, expires_at }
    }

    #[test]
    fn the_table_is_bounded_and_makes_room_by_what_has_expired() {
        let (leases, product) = (Leases::new(2), ProductId::new("p").unwrap());
        let now = Timestamp::from_millis(10);
        assert!(leases.keep(&product, "a", lease(2_000), now));
        assert!(leases.keep(&product, "b", lease(3_000), now));
        assert!(!leases.keep(&product, "c", lease(3_000), now));
        assert!(leases.keep(&product, "b", lease(4_000), now), "a device may renew its own");
        assert_eq!(leases.of(&product, "c", now), None);
        let later = Timestamp::from_millis(2_000);
        assert_eq!(leases.of(&product, "a", later), None, "it ends at its end");
        assert!(leases.keep(&product, "c", lease(3_000), later));
        assert!(
            !leases.keep(&product, "d", lease(5_000), Timestamp::from_millis(2_500)),
            "swept just now, and nothing has expired"
        );
        leases.finish(&product, "b", later);
        assert_eq!(leases.of(&product, "b", later), None);
        leases.finish(&product, "c", Timestamp::from_millis(9_000));
        assert_eq!(leases.of(&product, "c", later).unwrap().expires_at.millis(), 3_000, "finishing never prolongs");
        leases.finish(&product, "b", Timestamp::from_millis(1_000));
        assert!(
            leases.keep(&product, "d", lease(5_000), Timestamp::from_millis(1_500)),
            "the clock was set back, and a lease has expired"
        );
    }
}
