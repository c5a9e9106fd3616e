//! A fleet on its way from its rows into an index, filled by as many threads as its source has connections.

use super::KeptOut;
use crate::fleet::devices::PlainDevices;
use crate::fleet::take::{RulesChanged, device_of_row, no_product, unreadable};
use crate::fleet::{Device, FleetOf, ProductId, Revision, Row, RowKey, RowKind, RowValue};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};

/// Everything that a source has, as of one revision: products, firmware and groups first, then devices, in any order and from any thread.
///
/// ```
/// use otagate::feed::{Follower, Loading};
/// use otagate::{DeviceSpec, Fleet, Index, ProductSpec, Revision, Row};
/// let lamp = Row::product(ProductSpec { id: "lamp".into(), ..Default::default() });
/// let loading = Loading::new(Revision(7), vec![lamp]);
/// loading.add(vec![Row::device("lamp", DeviceSpec { serial: "1".into(), group: "stable".into(), ..Default::default() })]);
/// let index = Index::new(&Fleet::default());
/// Follower::new(index.clone()).load(loading);
/// assert_eq!((index.revision(), index.snapshot().devices_len()), (Revision(7), 1));
/// ```
#[derive(Debug)]
pub struct Loading {
    pub(crate) fleet: FleetOf<PlainDevices>,
    pub(crate) devices: Mutex<BTreeMap<ProductId, Vec<Device>>>,
    pub(crate) kept: Mutex<Kept>,
}

/// What was kept out of a load.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) rows: Vec<(Row, KeptOut)>,
    /// Products that are not there, whose devices were passed over: should they come, everything has to be loaded anew.
    pub(crate) products: BTreeSet<Box<str>>,
}

impl Loading {
    /// A load of that revision, with all rows of products, firmware and groups; rows of devices may be among them.
    pub fn new(revision: Revision, rows: Vec<Row>) -> Self {
        let (devices, few): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| row.key.kind == RowKind::Device);
        let few: BTreeMap<RowKey, Row> = few.into_iter().map(|row| (row.key.clone(), row)).collect();
        let empty = FleetOf::default();
        // In an empty fleet no rules can change.
        let (fleet, kept_out) = match empty.take(few.into_values().collect()) {
            Ok(taken) => (taken.fleet, taken.kept_out),
            Err(RulesChanged) => (empty, Vec::new()),
        };
        let kept = kept_out.into_iter().map(|(row, why)| {
            let kept = KeptOut { key: row.key.clone(), revision: row.revision, why };
            (row, kept)
        });
        let kept = Kept { rows: kept.collect(), products: BTreeSet::new() };
        let loading = Self { fleet: fleet.at_revision(revision), devices: Mutex::default(), kept: Mutex::new(kept) };
        loading.add(devices);
        loading
    }

    /// Which revision it is of.
    pub fn revision(&self) -> Revision {
        self.fleet.revision()
    }

    /// Adds devices. Rows of anything else are not looked at.
    pub fn add(&self, rows: Vec<Row>) {
        let mut devices = BTreeMap::<ProductId, Vec<Device>>::new();
        let mut kept = Kept::default();
        for row in rows.into_iter().filter(|row| row.key.kind == RowKind::Device) {
            let Some(value) = &row.value else { continue };
            let Some(entry) = self.fleet.product(&row.key.product) else {
                // Of a product that is not there all would be kept: the product is told, and one of them.
                if kept.products.insert(row.key.product.clone()) {
                    let why = format!("{}: all of its devices are kept out", no_product(&row));
                    let key = row.key.clone();
                    kept.rows.push((row, KeptOut { key, revision: Revision(0), why }));
                }
                continue;
            };
            let device = match value {
                RowValue::Device(spec) => device_of_row(entry, &row.key, spec),
                other => Err(unreadable(&row, other)),
            };
            match device {
                Ok(device) => match devices.get_mut(entry.product().id()) {
                    Some(list) => list.push(device),
                    None => drop(devices.insert(entry.product().id().clone(), vec![device])),
                },
                Err(why) => {
                    let out = KeptOut { key: row.key.clone(), revision: row.revision, why };
                    kept.rows.push((row, out));
                }
            }
        }
        let mut all = self.devices.lock();
        for (product, list) in devices {
            all.entry(product).or_default().extend(list);
        }
        drop(all);
        let mut held = self.kept.lock();
        for (row, out) in kept.rows {
            let known = row.key.kind == RowKind::Device
                && kept.products.contains(&row.key.product)
                && held.products.contains(&row.key.product);
            if !known {
                held.rows.push((row, out));
            }
        }
        held.products.extend(kept.products);
    }
}
