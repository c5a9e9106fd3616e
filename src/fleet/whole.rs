//! The whole fleet at one revision: plain maps, no clock, no lock.
//!
//! ```text
//!   Fleet ─ revision
//!     ├─ keys       KeyHash ─▶ ProductId          one key, one product (L3)
//!     └─ products   ProductId ─▶ ProductEntry
//!           ├─ product, catalogue, groups         few and large; shared between an old and a new revision
//!           └─ devices   canonical serial ─▶ Device
//! ```
//!
//! It changes only through [`apply`](Fleet::apply), in `apply.rs`.

use super::devices::{Devices, PlainDevices};
use super::name::{GroupId, ProductId};
use super::problem::Problems;
use super::{
    Catalogue, Device, DeviceSpec, DeviceState, Firmware, FirmwareSpec, GROUPS_MAX, Group, GroupSpec, KeyHash, Product,
    ProductSpec,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which state of the fleet: a number that only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "r{}", self.0)
    }
}

/// A whole fleet as text: what a file, a snapshot in JSON or a test says. [`build`](FleetSpec::build) checks it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FleetSpec {
    /// Which state this is.
    #[serde(default)]
    pub revision: Revision,
    /// Its products with all that is theirs.
    pub products: Vec<ProductFleetSpec>,
}

/// A product with all that is its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProductFleetSpec {
    /// The product itself.
    pub product: ProductSpec,
    /// Its firmware.
    #[serde(default)]
    pub firmware: Vec<FirmwareSpec>,
    /// Its groups.
    #[serde(default)]
    pub groups: Vec<GroupSpec>,
    /// Its devices.
    #[serde(default)]
    pub devices: Vec<DeviceSpec>,
}

/// A checked fleet at one revision, its devices in plain maps.
pub type Fleet = FleetOf<PlainDevices>;
/// A product with all that is its own, checked, its devices in a plain map.
pub type ProductEntry = ProductEntryOf<PlainDevices>;

/// A checked fleet at one revision. What holds its devices is a parameter: a plain [`Fleet`] and the index are changed by the same code.
#[derive(Debug, PartialEq)]
pub struct FleetOf<D> {
    pub(crate) revision: Revision,
    pub(crate) keys: Arc<BTreeMap<KeyHash, ProductId>>,
    pub(crate) products: BTreeMap<ProductId, Arc<ProductEntryOf<D>>>,
}

/// A product with all that is its own, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct ProductEntryOf<D> {
    pub(crate) few: Arc<Few>,
    pub(crate) devices: D,
    /// How many of them are `new`: the limit of question 3 is asked on every first contact.
    pub(crate) new_devices: usize,
}

/// What a product has few of. Behind pointers, so that an undone change, and a revision that shares most of it with the one before, cost no copy.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Few {
    pub(crate) product: Arc<Product>,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) groups: BTreeMap<GroupId, Arc<Group>>,
}

/// Of a plain fleet, a copy of every device, made at once: a change under a lock must not have to make it.
impl<D: Devices> Clone for FleetOf<D> {
    fn clone(&self) -> Self {
        let own = |(id, entry): (&ProductId, &Arc<ProductEntryOf<D>>)| (id.clone(), Arc::new((**entry).clone()));
        let products = if D::SHARED { self.products.clone() } else { self.products.iter().map(own).collect() };
        Self { revision: self.revision, keys: self.keys.clone(), products }
    }
}

impl<D> Default for FleetOf<D> {
    fn default() -> Self {
        Self { revision: Revision::default(), keys: Arc::default(), products: BTreeMap::new() }
    }
}

impl FleetSpec {
    /// Checks the fleet.
    ///
    /// # Errors
    /// Everything that L3 refuses, all at once, each with its place, such as `products[0].devices[17].pin`.
    pub fn build(&self) -> Result<Fleet, Problems> {
        let mut problems = Problems::default();
        let mut fleet = Fleet { revision: self.revision, ..Fleet::default() };
        for (index, part) in self.products.iter().enumerate() {
            let place = format!("products[{index}]");
            if let Some(entry) = problems.check(&place, part.build())
                && let Err(fault) = fleet.add(entry)
            {
                problems.add_within(&place, fault);
            }
        }
        problems.finish(Some(fleet))
    }
}

impl ProductFleetSpec {
    /// Checks the product with all that is its own.
    ///
    /// # Errors
    /// As [`FleetSpec::build`], but for what lies between products. Where the product itself is wrong, what hangs on its rules is not looked at.
    pub fn build(&self) -> Result<ProductEntry, Problems> {
        self.build_as()
    }

    /// The same, whatever holds the devices.
    pub(crate) fn build_as<D: Devices>(&self) -> Result<ProductEntryOf<D>, Problems> {
        let mut problems = Problems::default();
        let Some(product) = problems.check("product", self.product.build()) else {
            return problems.finish(None);
        };
        let rules = product.versions();
        let firmware: Vec<Firmware> = (self.firmware.iter().enumerate())
            .filter_map(|(index, one)| problems.check(&format!("firmware[{index}]"), one.build(rules)))
            .collect();
        let catalogue = problems.check("firmware", Catalogue::new(firmware, rules)).unwrap_or_default();
        let mut groups = BTreeMap::new();
        if self.groups.len() > GROUPS_MAX {
            problems.add("groups", format!("are more than {GROUPS_MAX}"));
        }
        for (index, spec) in self.groups.iter().enumerate() {
            let place = format!("groups[{index}]");
            if let Some(group) = problems.check(&place, spec.build(&product))
                && let Some(twin) = groups.insert(group.id.clone(), Arc::new(group))
            {
                problems.add(place, format!("group `{}` stands twice", twin.id));
            }
        }
        let mut entry = ProductEntryOf::new(Few { product: Arc::new(product), catalogue: Arc::new(catalogue), groups });
        for (index, spec) in self.devices.iter().enumerate() {
            let place = format!("devices[{index}]");
            if let Some(device) = problems.check(&place, spec.build(entry.product())) {
                problems.check_one(&place, entry.add_device(device, Some(&spec.serial)));
            }
        }
        problems.finish(Some(entry))
    }
}

impl<D: Devices> ProductEntryOf<D> {
    /// The product.
    pub fn product(&self) -> &Product {
        &self.few.product
    }

    /// Its firmware.
    pub fn catalogue(&self) -> &Catalogue {
        &self.few.catalogue
    }

    /// The group of that name.
    pub fn group(&self, id: &str) -> Option<&Group> {
        self.few.groups.get(id).map(|group| &**group)
    }

    /// Its groups, by name.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = &Group> {
        self.few.groups.values().map(|group| &**group)
    }

    pub(super) fn new(few: Few) -> Self {
        Self { few: Arc::new(few), devices: D::default(), new_devices: 0 }
    }

    /// The specification that builds this value again.
    pub fn spec(&self) -> ProductFleetSpec {
        let mut devices = Vec::with_capacity(self.devices.count());
        self.devices.each(&mut |device| devices.push(device.spec()));
        devices.sort_unstable_by(|a, b| a.serial.cmp(&b.serial));
        ProductFleetSpec {
            product: self.product().spec(),
            firmware: self.catalogue().iter().map(Firmware::spec).collect(),
            groups: self.groups().map(Group::spec).collect(),
            devices,
        }
    }

    /// Takes in a device that is not there yet. `written` is its serial as the operator spelled it.
    pub(crate) fn add_device(&mut self, device: Device, written: Option<&str>) -> Result<(), String> {
        self.check_pin(&device)?;
        if self.devices.find(&device.serial).is_some() {
            let written = written.unwrap_or(&device.serial).escape_debug();
            return Err(format!(
                "serial `{written}` stands twice: it folds to `{}` like one before (S2)",
                device.serial
            ));
        }
        self.set_device(device.serial.clone(), Some(device));
        Ok(())
    }

    /// How many of its devices are `new`.
    pub fn new_devices(&self) -> usize {
        self.new_devices
    }

    /// Question 3: whether one more device may be registered on first contact.
    pub fn may_register(&self) -> bool {
        let product = self.product();
        product.register_on_first_contact && self.new_devices < product.new_devices_max as usize
    }

    /// Puts or removes a device and returns what was there.
    pub(crate) fn set_device(&mut self, serial: Box<str>, device: Option<Device>) -> Option<Device> {
        let is_new = |device: &Option<Device>| {
            usize::from(device.as_ref().is_some_and(|device| device.state == DeviceState::New))
        };
        let added = is_new(&device);
        let before = self.devices.put(&serial, device);
        self.new_devices = self.new_devices + added - is_new(&before);
        before
    }

    /// L3: a pin above the cap of the group. That of the device is checked when the device is built.
    pub(crate) fn check_pin(&self, device: &Device) -> Result<(), String> {
        let cap = self.group(device.group.as_str()).and_then(|group| group.cap.as_ref());
        match (device.pin(), cap) {
            (Some(pin), Some(cap)) if self.product().versions().above(pin.reading(), cap) => Err(format!(
                "device `{}` is pinned to `{pin}`, above the cap `{cap}` of its group `{}`",
                device.serial, device.group
            )),
            _ => Ok(()),
        }
    }
}

impl ProductEntry {
    /// The device of that canonical serial.
    pub fn device(&self, serial: &str) -> Option<&Device> {
        self.devices.get(serial)
    }

    /// Its devices, by canonical serial.
    pub fn devices(&self) -> impl ExactSizeIterator<Item = &Device> {
        self.devices.values()
    }

    /// Takes in all its devices at once, in the order of their serials, no two equal: a map filled from sorted rows jumps about in no tree.
    /// Pins are the caller's to check, by [`check_pin`](Self::check_pin).
    #[cfg(feature = "fleet-file")]
    pub(crate) fn fill_devices(&mut self, sorted: Vec<Device>) {
        self.new_devices = sorted.iter().filter(|device| device.state == DeviceState::New).count();
        self.devices = sorted.into_iter().map(|device| (device.serial.clone(), device)).collect();
    }

    /// Gives each rollout the edition after the one that it had before, if anything about it changed.
    #[cfg(feature = "fleet-file")]
    pub(crate) fn number_rollouts(&mut self, before: &ProductEntry) {
        for group in Arc::make_mut(&mut self.few).groups.values_mut() {
            let old = before.group(group.id.as_str()).and_then(|old| old.rollout.as_ref());
            if old.is_some() && group.rollout.is_some() {
                super::rollout::number(old, Arc::make_mut(group).rollout.as_mut());
                let edited = |rollout: &&mut super::Rollout| old.is_some_and(|old| old.edition != rollout.edition);
                // After an edit, what has to soak soaks anew: the gate may be another.
                let progress =
                    Arc::make_mut(group).rollout.as_mut().filter(edited).and_then(|new| new.progress.as_mut());
                progress.into_iter().for_each(|progress| progress.good_since = None);
            }
        }
    }

    /// Notes what was frozen when a wave of the group's rollout was opened.
    #[cfg(feature = "fleet-file")]
    pub(crate) fn set_opened(&mut self, group: &str, wave: usize, opened: super::Opened) {
        let group = Arc::make_mut(&mut self.few).groups.get_mut(group);
        let rollout = group.and_then(|group| Arc::make_mut(group).rollout.as_mut());
        if let Some(wave) = rollout.and_then(|rollout| rollout.waves.get_mut(wave)) {
            wave.opened = Some(opened);
        }
    }
}

impl<D: Devices> FleetOf<D> {
    /// Which state this is.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The same fleet under another revision.
    pub fn at_revision(self, revision: Revision) -> Self {
        Self { revision, ..self }
    }

    /// The product that has a key of that hash.
    pub fn product_of_key(&self, hash: &KeyHash) -> Option<&ProductEntryOf<D>> {
        self.keys.get(hash).and_then(|id| self.products.get(id)).map(|entry| &**entry)
    }

    /// The product of that name.
    pub fn product(&self, id: &str) -> Option<&ProductEntryOf<D>> {
        self.products.get(id).map(|entry| &**entry)
    }

    /// Its products, by name.
    pub fn products(&self) -> impl ExactSizeIterator<Item = &ProductEntryOf<D>> {
        self.products.values().map(|entry| &**entry)
    }

    /// Every group with a rollout that runs or is paused, by product and name. `O(groups)`.
    pub(crate) fn under_way<'f>(&'f self) -> Vec<(&'f ProductEntryOf<D>, Arc<Group>)> {
        let groups = |entry: &'f Arc<ProductEntryOf<D>>| entry.few.groups.values().map(move |group| (&**entry, group));
        let all = self.products.values().flat_map(groups).filter(|(_, group)| group.is_under_way());
        all.map(|(entry, group)| (entry, group.clone())).collect()
    }

    /// The group of that name, if its rollout runs or is paused.
    pub(crate) fn under_way_in(&self, product: &ProductId, group: &GroupId) -> Option<Arc<Group>> {
        self.products.get(product)?.few.groups.get(group).filter(|group| group.is_under_way()).cloned()
    }

    /// The specification that builds this value again, in one order whatever way it came about.
    pub fn spec(&self) -> FleetSpec {
        FleetSpec { revision: self.revision, products: self.products().map(ProductEntryOf::spec).collect() }
    }

    /// Takes in a product that is not there yet.
    pub(crate) fn add(&mut self, entry: ProductEntryOf<D>) -> Result<(), Problems> {
        let mut problems = Problems::default();
        let id = entry.product().id.clone();
        if self.products.contains_key(&id) {
            problems.add("product.id", format!("product `{id}` stands twice"));
        } else {
            self.add_keys(entry.product(), "product.", &mut problems);
            self.products.insert(id, Arc::new(entry));
        }
        problems.finish(Some(()))
    }

    /// L3: one key hash in two products is refused.
    pub(super) fn add_keys(&mut self, product: &Product, place: &str, problems: &mut Problems) {
        let keys = Arc::make_mut(&mut self.keys);
        for (index, key) in product.keys.iter().enumerate() {
            if let Some(other) = keys.insert(key.hash, product.id.clone()).filter(|other| *other != product.id) {
                problems.add(
                    format!("{place}keys[{index}]"),
                    format!("is a key of product `{other}` too: a key proves one product"),
                );
                keys.insert(key.hash, other);
            }
        }
    }
}
