//! The way straight through: three indexed look-ups of one snapshot.

use super::{Reader, SqliteFault, SqliteStore, rows};
use crate::fleet::devices::PlainDevices;
use crate::fleet::take::device_of_row;
use crate::fleet::whole::ProductEntryOf;
use crate::fleet::{CanonicalSerial, Device, KeyHash, Product, ProductId, Revision, RowValue};
use crate::lease::Lease;
use crate::sql::Held;
use crate::store::{GroupRecord, Lent, Registered, StandingRecord, Store, View};
use crate::time::Timestamp;
use std::cell::RefCell;
use std::sync::Arc;

/// One snapshot of the file, on a connection of its own. Writers do not wait for it.
#[derive(Debug)]
pub struct SqliteView<'s> {
    store: &'s SqliteStore,
    reader: Reader<'s>,
    revision: Revision,
    /// The product that was found last: the device and the group are asked of the same.
    held: RefCell<Option<Arc<Held>>>,
}

impl Store for SqliteStore {
    type Error = SqliteFault;
    type View<'s> = SqliteView<'s>;

    fn view(&self) -> Result<SqliteView<'_>, SqliteFault> {
        let reader = self.reader()?;
        // The snapshot is that of the first look.
        reader.execute_batch("BEGIN")?;
        let revision = rows::revision(&reader)?;
        Ok(SqliteView { store: self, reader, revision, held: RefCell::new(None) })
    }

    fn register(
        &self,
        product: &ProductId,
        serial: &CanonicalSerial,
        at: Timestamp,
    ) -> Result<Registered, SqliteFault> {
        self.register_device(product, serial, at)
    }
}

impl SqliteView<'_> {
    fn held(&self, product: &ProductId) -> Result<Option<Arc<Held>>, SqliteFault> {
        let is_it = |held: &Held| held.product().is_some_and(|held| held.id() == product);
        if let Some(held) = self.held.borrow().as_ref().filter(|held| is_it(held)) {
            return Ok(Some(held.clone()));
        }
        self.store.held_product(&self.reader, product.as_str())
    }
}

impl View for SqliteView<'_> {
    type Error = SqliteFault;

    fn revision(&self) -> Result<Revision, SqliteFault> {
        Ok(self.revision)
    }

    fn product_of_key(&self, key: &KeyHash) -> Result<Option<Lent<'_, Product>>, SqliteFault> {
        let Some((name, edition)) = rows::product_of_key(&self.reader, key)? else { return Ok(None) };
        let held = self.store.held_at(&self.reader, &name, edition)?;
        // A product whose row is kept out is not there.
        let product = held.product().cloned();
        *self.held.borrow_mut() = Some(held);
        Ok(product.map(Lent::Shared))
    }

    fn device(&self, product: &ProductId, serial: &str) -> Result<Option<Lent<'_, Device>>, SqliteFault> {
        let Some(row) = rows::device_named(&self.reader, product.as_str(), serial)? else { return Ok(None) };
        let held = self.held(product)?;
        let (Some(few), Some(RowValue::Device(spec))) = (held.as_ref().and_then(|held| held.few.clone()), &row.value)
        else {
            return Ok(None);
        };
        let entry = ProductEntryOf::<PlainDevices> { few, devices: PlainDevices::new(), new_devices: 0 };
        // One that a load would refuse is kept out.
        Ok(device_of_row(&entry, &row.key, spec).ok().map(Lent::from))
    }

    fn group(
        &self,
        product: &Product,
        device: &Device,
        _: Option<&Lease>,
    ) -> Result<Option<GroupRecord<'_>>, SqliteFault> {
        let held = self.held(product.id())?;
        let found = held.as_ref().and_then(|held| held.group(device.group().as_str()));
        Ok(found.map(|(group, catalogue)| GroupRecord {
            group: Lent::Shared(group.clone()),
            catalogue: Lent::Shared(catalogue.clone()),
            standing: StandingRecord::default(),
        }))
    }
}
