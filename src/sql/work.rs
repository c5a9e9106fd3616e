//! A batch of changes on as much of the fleet as it touches.

use super::Held;
use crate::fleet::whole::{Few, ProductEntryOf};
use crate::fleet::{
    Change, Fleet, GroupId, KeyHash, Problems, ProductEntry, ProductId, Revision, Row, RowKey, RowKind,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Which devices of a product a batch needs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    /// All: they are read under other rules from now on.
    All,
    /// These, by canonical serial, and the pinned ones of these groups, whose cap may change; and whether their `new` ones have to be counted.
    Named { serials: BTreeSet<Box<str>>, pinned_in: BTreeSet<Box<str>>, count_new: bool },
}

/// As much of a fleet as a batch touches.
#[derive(Debug)]
pub(crate) struct Work {
    fleet: Fleet,
    kept_out: Vec<(Row, String)>,
}

impl Work {
    /// The products that the batch names.
    pub(crate) fn products(changes: &[Change]) -> BTreeSet<&str> {
        changes.iter().map(Change::product).collect()
    }

    /// The keys that the batch gives to products: whose they are has to be known.
    pub(crate) fn keys(changes: &[Change]) -> Vec<KeyHash> {
        let put = |change: &Change| match change {
            Change::PutProduct { product } => product.keys.iter().map(|key| key.hash).collect(),
            _ => Vec::new(),
        };
        changes.iter().flat_map(put).collect()
    }

    /// The named products as they are at that revision, without devices, and the owners of the keys that the batch gives away.
    pub(crate) fn new(revision: Revision, products: Vec<Arc<Held>>, owners: Vec<(KeyHash, Box<str>)>) -> Self {
        let mut fleet = Fleet { revision, ..Fleet::default() };
        let mut kept_out = Vec::new();
        let keys = Arc::make_mut(&mut fleet.keys);
        for (hash, owner) in owners {
            keys.extend(ProductId::new(&owner).ok().map(|owner| (hash, owner)));
        }
        for held in products {
            kept_out.extend(held.kept_out.iter().cloned());
            if let Some(few) = &held.few {
                keys.extend(few.product.keys().iter().map(|key| (key.hash, few.product.id().clone())));
                let entry = ProductEntryOf { few: few.clone(), devices: Default::default(), new_devices: 0 };
                fleet.products.insert(few.product.id().clone(), Arc::new(entry));
            }
        }
        Self { fleet, kept_out }
    }

    /// The devices that the batch needs, by product; none of products that are not there.
    pub(crate) fn devices(&self, changes: &[Change]) -> BTreeMap<ProductId, Whom> {
        let mut all = BTreeMap::new();
        for change in changes {
            let Some(entry) = self.fleet.product(change.product()) else { continue };
            let product = entry.product();
            let nobody = || Whom::Named { serials: BTreeSet::new(), pinned_in: BTreeSet::new(), count_new: false };
            let whom = all.entry(product.id().clone()).or_insert_with(nobody);
            if let Change::PutProduct { product: spec } = change
                && spec.build().is_ok_and(|put| !product.same_rules(&put))
            {
                *whom = Whom::All;
            }
            let Whom::Named { serials, pinned_in, count_new } = whom else { continue };
            match change {
                Change::PutGroup { group, .. } => drop(pinned_in.insert(group.id.as_str().into())),
                Change::CapGroup { group, .. } => drop(pinned_in.insert(group.as_str().into())),
                Change::Register { .. } => *count_new = true,
                _ => {}
            }
            let serial = match change {
                Change::PutDevice { device, .. } => &device.serial,
                Change::RemoveDevice { serial, .. }
                | Change::MoveDevice { serial, .. }
                | Change::SetDeviceState { serial, .. }
                | Change::PinDevice { serial, .. }
                | Change::CapDevice { serial, .. }
                | Change::SeeDevice { serial, .. }
                | Change::Register { serial, .. } => serial,
                _ => continue,
            };
            // One that cannot be read is refused when it is applied.
            serials.extend(product.read_serial(serial.as_bytes()).ok().map(|serial| Box::from(serial.as_str())));
        }
        all
    }

    /// Takes in rows of devices.
    pub(crate) fn add_devices(&mut self, rows: Vec<Row>) {
        // No row of a product is among them, so no rules change.
        if let Ok(taken) = self.fleet.take(rows) {
            let revision = self.fleet.revision();
            self.fleet = taken.fleet.at_revision(revision);
            self.kept_out.extend(taken.kept_out);
        }
    }

    /// How many `new` devices a product has in all.
    pub(crate) fn set_new_devices(&mut self, product: &ProductId, count: usize) {
        if let Some(entry) = self.fleet.products.get_mut(product) {
            Arc::make_mut(entry).new_devices = count;
        }
    }

    /// Applies the batch, and gives the rows to be written, in the order to write them: none, where nothing changes.
    pub(crate) fn apply(self, changes: &[Change]) -> Result<Vec<Row>, Problems> {
        let Self { fleet: before, kept_out } = self;
        let mut after = before.clone();
        if let Err(mut problems) = after.apply(changes) {
            let products = Self::products(changes);
            let about = |(row, _): &&(Row, String)| products.contains(&*row.key.product);
            for (row, why) in kept_out.iter().filter(about) {
                problems.add("", format!("{} is kept out, and has to be mended first: {why}", row.key));
            }
            return Err(problems);
        }
        let removed = |change: &Change| match change {
            Change::RemoveProduct { product } => Some(product.clone()),
            _ => None,
        };
        let removed: BTreeSet<ProductId> = changes.iter().filter_map(removed).collect();
        let names: BTreeSet<&ProductId> = before.products.keys().chain(after.products.keys()).collect();
        let mut rows = Vec::new();
        // What goes first may make room for keys that another takes.
        let puts = names.into_iter().flat_map(|name| {
            let (old, new) = (before.products.get(name), after.products.get(name));
            let mut puts = Vec::new();
            match (old, new) {
                (Some(_), None) => rows.push(Row::gone(RowKey::new(RowKind::Product, name.as_str(), name.as_str()))),
                (Some(_), Some(new)) if removed.contains(name) => {
                    rows.push(Row::gone(RowKey::new(RowKind::Product, name.as_str(), name.as_str())));
                    differ(None, new, &mut puts);
                }
                (old, Some(new)) => differ(old.map(|old| &**old), new, &mut puts),
                (None, None) => {}
            }
            puts
        });
        let puts: Vec<Row> = puts.collect();
        rows.extend(puts);
        Ok(rows)
    }

    /// The rows that lead from what is held, and what of it was kept out, to another fleet.
    pub(crate) fn between(held: &Fleet, kept_out: Vec<RowKey>, to: &Fleet) -> Vec<Row> {
        let mut rows: Vec<Row> = kept_out.into_iter().map(Row::gone).collect();
        let gone = held.products.keys().filter(|name| !to.products.contains_key(*name));
        rows.extend(gone.map(|name| Row::gone(RowKey::new(RowKind::Product, name.as_str(), name.as_str()))));
        for (name, entry) in &to.products {
            differ(held.products.get(name).map(|held| &**held), entry, &mut rows);
        }
        rows
    }
}

/// The rows that lead from one state of a product to another.
fn differ(old: Option<&ProductEntry>, new: &ProductEntry, rows: &mut Vec<Row>) {
    let name = new.product().id().as_str();
    let key = |kind, row: &str| RowKey::new(kind, name, row);
    let few = old.map(|old| &*old.few);
    let Few { product, catalogue, groups } = &*new.few;
    if few.is_none_or(|few| few.product != *product) {
        rows.push(Row::product(product.spec()));
    }
    if few.is_none_or(|few| !Arc::ptr_eq(&few.catalogue, catalogue)) {
        let by_text = |firmware: &crate::fleet::Firmware| (firmware.version().text().to_owned(), firmware.clone());
        let before: BTreeMap<_, _> = few.iter().flat_map(|few| few.catalogue.iter()).map(by_text).collect();
        let after: BTreeMap<_, _> = catalogue.iter().map(by_text).collect();
        rows.extend(
            before.keys().filter(|text| !after.contains_key(*text)).map(|text| Row::gone(key(RowKind::Firmware, text))),
        );
        let changed = after.iter().filter(|(text, firmware)| before.get(*text) != Some(firmware));
        rows.extend(changed.map(|(_, firmware)| Row::firmware(name, firmware.spec())));
    }
    let none = BTreeMap::<GroupId, _>::new();
    let before = few.map_or(&none, |few| &few.groups);
    rows.extend(
        before.keys().filter(|id| !groups.contains_key(*id)).map(|id| Row::gone(key(RowKind::Group, id.as_str()))),
    );
    let changed = groups.iter().filter(|(id, group)| before.get(*id) != Some(group));
    rows.extend(changed.map(|(_, group)| Row::group(name, group.spec())));

    let none = Default::default();
    let before = old.map_or(&none, |old| &old.devices);
    rows.extend(
        before
            .keys()
            .filter(|serial| !new.devices.contains_key(*serial))
            .map(|serial| Row::gone(key(RowKind::Device, serial))),
    );
    let changed = new.devices.iter().filter(|(serial, device)| before.get(*serial) != Some(device));
    rows.extend(changed.map(|(_, device)| Row::device(name, device.spec())));
}
