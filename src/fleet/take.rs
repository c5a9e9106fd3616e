//! How rows that somebody else keeps become a fleet: as they stand, without asking how they came about, and none that a load would refuse (L3).
//!
//! ```text
//!   rows ──▶ products, firmware, groups: those of one revision together, or none of them ──▶ devices: each by itself ──▶ fleet
//!                        └────────────── kept out, with why ──────────────┘
//! ```
//!
//! A row that is kept out leaves what stood there before as it was. The one exception is a device whose pin is above the cap that its group has now: it cannot
//! stand beside that, so it is taken away, as it would not be there had the rows been read anew.

use super::devices::Devices;
use super::problem::Problems;
use super::row::{Row, RowKey, RowKind, RowValue};
use super::whole::{Few, FleetOf, ProductEntryOf, Revision};
use super::{DeviceSpec, FIRMWARE_MAX, GROUPS_MAX};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A fleet with rows put in their places, and those that were kept out.
pub(crate) struct Taken<D> {
    pub(crate) fleet: FleetOf<D>,
    pub(crate) kept_out: Vec<(Row, String)>,
}

/// The rules by which serials or versions of a product are read have changed: all of its devices have to be read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RulesChanged;

/// Why some rows cannot be taken: their places in the list, and what is wrong.
type Bad = BTreeMap<usize, String>;

enum Refused {
    Bad(Bad),
    Rules,
}

impl<D: Devices> FleetOf<D> {
    /// Puts rows in their places; each key stands once at most. The revision is the caller's to set.
    pub(crate) fn take(&self, rows: Vec<Row>) -> Result<Taken<D>, RulesChanged> {
        let (mut devices, few): (Vec<Row>, Vec<Row>) =
            rows.into_iter().partition(|row| row.key.kind == RowKind::Device);
        let mut units = BTreeMap::<(Revision, usize), Vec<usize>>::new();
        for (at, row) in few.iter().enumerate() {
            let own = if row.revision == Revision(0) { at + 1 } else { 0 };
            units.entry((row.revision, own)).or_default().push(at);
        }
        let units: Vec<Vec<usize>> = units.into_values().collect();
        let (mut fleet, why) = self.take_units(&few, &units)?;
        let mut kept_out = Vec::new();
        for (at, row) in few.into_iter().enumerate() {
            if let Some(why) = why.get(&at) {
                kept_out.push((row, why.clone()));
            }
        }
        // In one order, whatever order they came in.
        devices.sort_by(|a, b| a.key.cmp(&b.key));
        for row in devices {
            if let Err(why) = fleet.take_device(&row) {
                kept_out.push((row, why));
            }
        }
        kept_out.extend(fleet.displace(self));
        Ok(Taken { fleet, kept_out })
    }

    /// The largest set of units that can be taken, as far as one after the other is tried again; the places of the rows of all others, with why.
    fn take_units(&self, few: &[Row], units: &[Vec<usize>]) -> Result<(Self, Bad), RulesChanged> {
        let mut taken: BTreeSet<usize> = (0..units.len()).collect();
        let mut why = Bad::new();
        let mut fleet = loop {
            match self.attempt(few, units, &taken) {
                Ok(fleet) => break fleet,
                Err(Refused::Rules) => return Err(RulesChanged),
                Err(Refused::Bad(bad)) => {
                    let refused = |unit: &usize| units[*unit].iter().any(|at| bad.contains_key(at));
                    taken.retain(|unit| !refused(unit));
                    why.extend(bad);
                }
            }
        };
        // What was refused only for the sake of something else that is refused itself.
        let mut again = true;
        while again {
            again = false;
            for unit in 0..units.len() {
                if taken.contains(&unit) {
                    continue;
                }
                let more = taken.iter().copied().chain([unit]).collect();
                match self.attempt(few, units, &more) {
                    Ok(with) => (fleet, taken, again) = (with, more, true),
                    Err(Refused::Rules) => return Err(RulesChanged),
                    Err(Refused::Bad(bad)) => why.extend(bad),
                }
            }
        }
        let mut out = Bad::new();
        for unit in (0..units.len()).filter(|unit| !taken.contains(unit)) {
            let cause = units[unit].iter().find_map(|at| Some((&few[*at].key, why.get(at)?)));
            for at in &units[unit] {
                let beside = |(key, _): (&RowKey, &String)| format!("was written along with {key}, which is kept out");
                let text = why.get(at).cloned().or_else(|| cause.map(beside));
                out.insert(*at, text.unwrap_or_default());
            }
        }
        Ok((fleet, out))
    }

    /// The fleet with these units in it, or all that is wrong with them.
    fn attempt(&self, few: &[Row], units: &[Vec<usize>], taken: &BTreeSet<usize>) -> Result<Self, Refused> {
        let mut places: Vec<usize> = taken.iter().flat_map(|unit| units[*unit].iter().copied()).collect();
        places.sort_by(|a, b| (&few[*a].key, a).cmp(&(&few[*b].key, b)));
        let mut fleet = self.clone();
        let mut bad = Bad::new();
        let products = || places.iter().filter(|at| few[**at].key.kind == RowKind::Product);
        // Keys may go from one product to another, so all of them are given up first.
        for at in products() {
            fleet.drop_product_keys(&few[*at].key);
        }
        for at in products() {
            match fleet.take_product(&few[*at]) {
                Ok(()) => {}
                Err(Wrong::Rules) => return Err(Refused::Rules),
                Err(Wrong::Because(why)) => drop(bad.insert(*at, why)),
            }
        }
        // What goes makes room for what comes.
        let (gone, put): (Vec<usize>, Vec<usize>) =
            places.iter().filter(|at| few[**at].key.kind != RowKind::Product).partition(|at| few[**at].value.is_none());
        for at in gone.into_iter().chain(put) {
            if let Err(why) = fleet.take_few(&few[at]) {
                bad.insert(at, why);
            }
        }
        if bad.is_empty() { Ok(fleet) } else { Err(Refused::Bad(bad)) }
    }

    fn drop_product_keys(&mut self, key: &RowKey) {
        let Some(entry) = self.products.get(&*key.product) else { return };
        let product = entry.few.product.clone();
        let keys = Arc::make_mut(&mut self.keys);
        product.keys().iter().for_each(|key| drop(keys.remove(&key.hash)));
    }

    fn take_product(&mut self, row: &Row) -> Result<(), Wrong> {
        let Some(value) = &row.value else {
            self.products.remove(&*row.key.product);
            return Ok(());
        };
        let RowValue::Product(spec) = value else { return Err(unreadable(row, value).into()) };
        named(row, &spec.id)?;
        let product = spec.build().map_err(|problems| problems.to_string())?;
        let mut problems = Problems::default();
        self.add_keys(&product, "", &mut problems);
        problems.finish(Some(())).map_err(|problems| problems.to_string())?;
        match self.products.get_mut(product.id()).map(Arc::make_mut) {
            Some(entry) if entry.product().same_rules(&product) => {
                Arc::make_mut(&mut entry.few).product = Arc::new(product);
            }
            Some(_) => return Err(Wrong::Rules),
            None => {
                let few = Few { product: Arc::new(product), catalogue: Arc::default(), groups: BTreeMap::new() };
                self.products.insert(few.product.id().clone(), Arc::new(ProductEntryOf::new(few)));
            }
        }
        Ok(())
    }

    /// A row of a firmware or a group.
    fn take_few(&mut self, row: &Row) -> Result<(), String> {
        let Some(entry) = self.products.get_mut(&*row.key.product).map(Arc::make_mut) else {
            return if row.value.is_none() { Ok(()) } else { Err(no_product(row)) };
        };
        let Few { product, catalogue, groups } = Arc::make_mut(&mut entry.few);
        let rules = product.versions();
        match &row.value {
            None if row.key.kind == RowKind::Firmware => {
                let version = rules.version(&row.key.name).ok();
                let held = version.as_ref().and_then(|version| catalogue.find(version, rules));
                // One of an equal version that is written otherwise is another row.
                if let Some(version) =
                    held.map(|held| held.version().clone()).filter(|held| held.text() == &*row.key.name)
                {
                    Arc::make_mut(catalogue).remove(&version, rules);
                }
                Ok(())
            }
            None => {
                groups.remove(&*row.key.name);
                Ok(())
            }
            Some(RowValue::Firmware(spec)) if row.key.kind == RowKind::Firmware => {
                named(row, &spec.version)?;
                let firmware = spec.build(rules).map_err(|problems| problems.to_string())?;
                let held = catalogue.find(firmware.version(), rules).map(|held| held.version().text());
                if let Some(other) = held.filter(|held| *held != &*row.key.name) {
                    return Err(format!("is the same version as firmware `{other}` (L3): remove one of them"));
                }
                if held.is_none() && catalogue.iter().len() >= FIRMWARE_MAX {
                    return Err(format!("there are more than {FIRMWARE_MAX} firmware: remove the oldest"));
                }
                Arc::make_mut(catalogue).put(firmware, rules).map_err(|problems| problems.to_string())
            }
            Some(RowValue::Group(spec)) if row.key.kind == RowKind::Group => {
                named(row, &spec.id)?;
                let group = spec.build(product).map_err(|problems| problems.to_string())?;
                if groups.len() >= GROUPS_MAX && !groups.contains_key(group.id()) {
                    return Err(format!("the product would have more than {GROUPS_MAX} groups"));
                }
                groups.insert(group.id().clone(), Arc::new(group));
                Ok(())
            }
            Some(value) => Err(unreadable(row, value)),
        }
    }

    fn take_device(&mut self, row: &Row) -> Result<(), String> {
        let Some(entry) = self.products.get_mut(&*row.key.product) else {
            return if row.value.is_none() { Ok(()) } else { Err(no_product(row)) };
        };
        let device = match &row.value {
            None => None,
            Some(RowValue::Device(spec)) => Some(device_of_row(entry, &row.key, spec)?),
            Some(value) => return Err(unreadable(row, value)),
        };
        Arc::make_mut(entry).set_device(row.key.name.clone(), device);
        Ok(())
    }

    /// Takes away the devices whose pin is above the cap that their group has now.
    fn displace(&mut self, before: &Self) -> Vec<(Row, String)> {
        let mut displaced = Vec::new();
        for (id, entry) in &mut self.products {
            let Some(old) = before.products.get(id).filter(|old| !Arc::ptr_eq(&old.few, &entry.few)) else { continue };
            let mut above = Vec::new();
            for group in entry.few.groups.values().filter(|group| group.cap.is_some()) {
                let old = old.group(group.id().as_str());
                if old.is_some_and(|old| old.cap == group.cap) {
                    continue;
                }
                entry.devices.each_pinned(group.id(), &mut |device| {
                    above.extend(entry.check_pin(device).err().map(|why| (device.spec(), why)));
                });
            }
            above.sort_by(|(a, _), (b, _)| a.serial.cmp(&b.serial));
            for (spec, why) in above {
                Arc::make_mut(entry).set_device(spec.serial.as_str().into(), None);
                displaced.push((Row::device(id.as_str(), spec), why));
            }
        }
        displaced
    }
}

/// The device that a row says, checked.
pub(crate) fn device_of_row<D: Devices>(
    entry: &ProductEntryOf<D>,
    key: &RowKey,
    spec: &DeviceSpec,
) -> Result<super::Device, String> {
    let device = spec.build(entry.product()).map_err(|problems| problems.to_string())?;
    if device.serial() != &*key.name {
        return Err(format!("serials stand there canonical: this one is `{}` (S1)", device.serial()));
    }
    entry.check_pin(&device)?;
    Ok(device)
}

enum Wrong {
    Because(String),
    Rules,
}

impl From<String> for Wrong {
    fn from(why: String) -> Self {
        Self::Because(why)
    }
}

/// The document of a row says the name that the row has.
fn named(row: &Row, name: &str) -> Result<(), String> {
    if *name == *row.key.name && (row.key.kind != RowKind::Product || row.key.name == row.key.product) {
        return Ok(());
    }
    Err(format!("its document is of `{}`", name.escape_debug()))
}

pub(crate) fn unreadable(row: &Row, value: &RowValue) -> String {
    match value {
        RowValue::Unreadable(why) => format!("cannot be read: {why}"),
        _ => format!("is no {}", row.key.kind.name()),
    }
}

pub(crate) fn no_product(row: &Row) -> String {
    format!("there is no product `{}`", row.key.product.escape_debug())
}
