//! The plain, obvious store: the fleet behind one lock. The twin of every fast path, and enough for a small gateway.
//!
//! Readers share the lock, a writer waits for them and keeps them out while it applies a batch; a big fleet wants the index instead.
//! It keeps no ledger: a group with a cap on downloads, or a rollout that admits first come, needs a store that does.

use super::{GroupRecord, Lent, Registered, Store, View};
use crate::fleet::{
    CanonicalSerial, Change, Device, Fleet, KeyHash, Problems, Product, ProductEntry, ProductId, Revision,
};
use crate::lease::Lease;
use crate::time::Timestamp;
use parking_lot::{RwLock, RwLockReadGuard};
use std::convert::Infallible;

/// A fleet in memory, behind one lock.
#[derive(Debug, Default)]
pub struct MemoryStore {
    fleet: RwLock<Fleet>,
}

/// The fleet as it is while the view is held; writers wait.
#[derive(Debug)]
pub struct MemoryView<'s> {
    fleet: RwLockReadGuard<'s, Fleet>,
}

/// Why a fleet was not replaced (L2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("revision {offered} is not above {held}, which is held: raise it, or force")]
pub struct ReplaceFault {
    /// What is held.
    pub held: Revision,
    /// What was offered.
    pub offered: Revision,
}

impl MemoryStore {
    /// A store of that fleet.
    pub fn new(fleet: Fleet) -> Self {
        Self { fleet: RwLock::new(fleet) }
    }

    /// Applies a batch whole or not at all; see [`Fleet::apply`].
    ///
    /// # Errors
    /// Everything that is wrong with the batch.
    pub fn apply(&self, changes: &[Change]) -> Result<Revision, Problems> {
        self.fleet.write().apply(changes)
    }

    /// Replaces the fleet by one of a higher revision (L2). The same revision with the same content is no change. The old fleet is dropped after readers
    /// were let in again.
    ///
    /// # Errors
    /// The revision is not above the one held, and `force` is not given.
    pub fn replace(&self, fleet: Fleet, force: bool) -> Result<(), ReplaceFault> {
        let mut held = self.fleet.write();
        let old = Self::swap(&mut held, fleet, force)?;
        drop(held);
        drop(old);
        Ok(())
    }

    /// Gives what is to be dropped once readers were let in again.
    fn swap(held: &mut Fleet, fleet: Fleet, force: bool) -> Result<Fleet, ReplaceFault> {
        let (at, offered) = (held.revision(), fleet.revision());
        match offered > at || force {
            true => Ok(std::mem::replace(held, fleet)),
            false if offered == at && *held == fleet => Ok(fleet),
            false => Err(ReplaceFault { held: at, offered }),
        }
    }

    /// Replaces the fleet as [`replace`](Self::replace) does, if it is still the one of revision `seen`, from which the new one was made; else nothing that
    /// was applied since would be in it, and `false` is given: look again, and make it anew.
    ///
    /// # Errors
    /// As [`replace`](Self::replace) without force.
    pub fn replace_seen(&self, seen: Revision, fleet: Fleet) -> Result<bool, ReplaceFault> {
        let mut held = self.fleet.write();
        if held.revision() != seen {
            return Ok(false);
        }
        let old = Self::swap(&mut held, fleet, false)?;
        drop(held);
        drop(old);
        Ok(true)
    }

    /// Looks at the whole fleet while writers wait.
    pub fn read<R>(&self, look: impl FnOnce(&Fleet) -> R) -> R {
        look(&self.fleet.read())
    }
}

impl Store for MemoryStore {
    type Error = Infallible;
    type View<'s> = MemoryView<'s>;

    fn view(&self) -> Result<MemoryView<'_>, Infallible> {
        Ok(MemoryView { fleet: self.fleet.read() })
    }

    fn register(&self, product: &ProductId, serial: &CanonicalSerial, at: Timestamp) -> Result<Registered, Infallible> {
        // Most strangers ask again and again: they must not keep readers out.
        let known = self
            .fleet
            .read()
            .product(product.as_str())
            .map(|entry| (entry.device(serial.as_str()).is_some(), entry.may_register()));
        match known {
            Some((true, _)) => return Ok(Registered::Known),
            Some((false, true)) => {}
            Some((false, false)) | None => return Ok(Registered::Refused),
        }
        let mut fleet = self.fleet.write();
        let device = |fleet: &Fleet| {
            fleet.product(product.as_str()).is_some_and(|entry| entry.device(serial.as_str()).is_some())
        };
        if device(&fleet) {
            return Ok(Registered::Known);
        }
        let change = Change::Register { product: product.clone(), serial: serial.as_str().to_owned(), at };
        // A product that is gone since the question was asked registers nobody.
        let applied = fleet.apply(&[change]).is_ok() && device(&fleet);
        Ok(if applied { Registered::New } else { Registered::Refused })
    }
}

impl MemoryView<'_> {
    fn entry(&self, product: &ProductId) -> Option<&ProductEntry> {
        self.fleet.product(product.as_str())
    }
}

impl View for MemoryView<'_> {
    type Error = Infallible;

    fn revision(&self) -> Result<Revision, Infallible> {
        Ok(self.fleet.revision())
    }

    fn product_of_key(&self, key: &KeyHash) -> Result<Option<Lent<'_, Product>>, Infallible> {
        Ok(self.fleet.product_of_key(key).map(|entry| entry.product().into()))
    }

    fn device(&self, product: &ProductId, serial: &str) -> Result<Option<Lent<'_, Device>>, Infallible> {
        // A product that does not exist is asked for when the key is unknown: some product's devices are searched all the same.
        let entry = self.entry(product);
        let searched = entry.or_else(|| self.fleet.products().next());
        let device = std::hint::black_box(searched.and_then(|entry| entry.device(serial)));
        Ok(device.filter(|_| entry.is_some()).map(Lent::Borrowed))
    }

    fn group(
        &self,
        product: &Product,
        device: &Device,
        _: Option<&Lease>,
    ) -> Result<Option<GroupRecord<'_>>, Infallible> {
        Ok(self.entry(product.id()).and_then(|entry| GroupRecord::held(entry, device)))
    }
}
