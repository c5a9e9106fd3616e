//! The index as a store: for hosts that put something of their own beside it, such as leases or a ledger. A [`Reader`](super::Reader) is the fast way.

use super::snapshot::Snapshot;
use super::{Index, Table};
use crate::fleet::devices::Devices;
use crate::fleet::{CanonicalSerial, Device, KeyHash, Product, ProductEntryOf, ProductId, Revision};
use crate::lease::Lease;
use crate::store::{GroupRecord, Lent, Registered, Store, View};
use crate::time::Timestamp;
use std::convert::Infallible;
use std::sync::Arc;

/// One revision of the index, as a view. Writers do not wait for it.
#[derive(Clone, Debug)]
pub struct IndexView {
    snapshot: Arc<Snapshot>,
}

impl Store for Index {
    type Error = Infallible;
    type View<'s> = IndexView;

    fn view(&self) -> Result<IndexView, Infallible> {
        Ok(IndexView { snapshot: self.snapshot() })
    }

    fn register(&self, product: &ProductId, serial: &CanonicalSerial, at: Timestamp) -> Result<Registered, Infallible> {
        Ok(Index::register(self, product, serial, at))
    }
}

impl IndexView {
    fn entry(&self, product: &ProductId) -> Option<&ProductEntryOf<Table>> {
        self.snapshot.fleet.product(product.as_str())
    }
}

impl View for IndexView {
    type Error = Infallible;

    fn revision(&self) -> Result<Revision, Infallible> {
        Ok(self.snapshot.revision())
    }

    fn product_of_key(&self, key: &KeyHash) -> Result<Option<Lent<'_, Product>>, Infallible> {
        Ok(self.snapshot.fleet.product_of_key(key).map(|entry| entry.product().into()))
    }

    fn device(&self, product: &ProductId, serial: &str) -> Result<Option<Lent<'_, Device>>, Infallible> {
        let entry = self.entry(product);
        let device = entry.and_then(|entry| entry.devices.find(serial));
        if device.is_none() {
            // A product that does not exist is asked for when the key is unknown: somebody's devices are searched all the same.
            self.snapshot.search(serial, entry.map_or(0, |entry| entry.devices.count()));
        }
        Ok(device.map(|device| device.into_owned().into()))
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
