//! How a batch of changes is applied: whole or not at all (L1), each application a new revision.
//!
//! Every change first takes note of what it is about to overwrite. If anything in the batch is wrong, the notes are put back
//! in reverse, so that a refused batch costs what it touched and not a copy of the fleet. A group is changed by way of its
//! specification, so that no change can make a value that a load would refuse.
//!
//! Here are the batch, the notes and the products; `edit` changes what is a product's own, `rollout` what its rollouts are.

mod edit;
mod rollout;

use super::change::Change;
use super::devices::Devices;
use super::group::Group;
use super::name::ProductId;
use super::problem::Problems;
use super::whole::{Few, FleetOf, ProductEntryOf, ProductFleetSpec, Revision};
use super::{Device, KeyHash, Product, ProductSpec};
use edit::Edit;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What was there before, in the order in which it was overwritten.
enum Note<D> {
    Few(ProductId, Arc<Few>),
    Device(ProductId, Box<str>, Option<Device>),
    Entry(ProductId, Option<Arc<ProductEntryOf<D>>>),
    Key(KeyHash, Option<ProductId>),
}

/// The notes of one batch.
struct Notes<D> {
    list: Vec<Note<D>>,
    /// Products whose few were noted: what they were before the batch is known, and later changes in it cost no copy.
    touched: BTreeSet<ProductId>,
}

impl<D: Devices> FleetOf<D> {
    /// Applies a batch whole or not at all. Where it changes something, the revision grows by one.
    ///
    /// Costs what it touches: `O(log n)` for a device, the few of a product for the rest; replacing a product whose rules change checks all
    /// its devices again.
    ///
    /// ```
    /// use otagate::{Change, Fleet, GroupId, GroupSpec, ProductId, ProductSpec, Revision};
    /// let mut fleet = Fleet::default();
    /// let product = ProductSpec { id: "lamp".into(), ..Default::default() };
    /// let group = GroupSpec { id: "stable".into(), ..Default::default() };
    /// let lamp = ProductId::new("lamp").unwrap();
    /// let batch = [Change::PutProduct { product }, Change::PutGroup { product: lamp.clone(), group }];
    /// assert_eq!(fleet.apply(&batch), Ok(Revision(1)));
    ///
    /// let typo = Change::AssignFirmware { product: lamp, group: GroupId::new("stabel").unwrap(), firmware: None };
    /// let problems = fleet.apply(&[typo]).unwrap_err();
    /// assert_eq!(problems.to_string(), "changes[0].group: there is no group `stabel`");
    /// ```
    ///
    /// # Errors
    /// Everything that is wrong with the batch, each with its place, such as `changes[3].firmware.version`; the fleet is as it was. What
    /// depends on a product that was refused is not looked at.
    pub fn apply(&mut self, changes: &[Change]) -> Result<Revision, Problems> {
        let mut problems = Problems::default();
        let mut notes = Notes { list: Vec::new(), touched: BTreeSet::new() };
        let mut refused = BTreeSet::new();
        for (index, change) in changes.iter().enumerate() {
            if refused.contains(change.product()) {
                continue;
            }
            if let Err(inner) = self.apply_one(change, &mut notes) {
                problems.add_within(&format!("changes[{index}]"), inner);
                if matches!(change, Change::PutProduct { .. }) {
                    refused.insert(change.product());
                }
            }
        }
        let changed = !notes.list.is_empty();
        let outcome = problems.finish(Some(()));
        if outcome.is_err() {
            notes.list.into_iter().rev().for_each(|note| self.put_back(note));
        } else if changed {
            self.revision = Revision(self.revision.0.saturating_add(1));
        }
        outcome.map(|()| self.revision)
    }

    /// A product, to be changed: whoever shares the fleet keeps it as it was.
    fn entry_mut(&mut self, id: &str) -> Option<&mut ProductEntryOf<D>> {
        self.products.get_mut(id).map(Arc::make_mut)
    }

    fn put_back(&mut self, note: Note<D>) {
        match note {
            Note::Key(hash, Some(owner)) => drop(Arc::make_mut(&mut self.keys).insert(hash, owner)),
            Note::Key(hash, None) => drop(Arc::make_mut(&mut self.keys).remove(&hash)),
            Note::Entry(id, Some(entry)) => drop(self.products.insert(id, entry)),
            Note::Entry(id, None) => drop(self.products.remove(&id)),
            Note::Few(id, few) => {
                if let Some(entry) = self.entry_mut(id.as_str()) {
                    entry.few = few;
                }
            }
            Note::Device(id, serial, device) => {
                if let Some(entry) = self.entry_mut(id.as_str()) {
                    entry.set_device(serial, device);
                }
            }
        }
    }

    fn apply_one(&mut self, change: &Change, notes: &mut Notes<D>) -> Result<(), Problems> {
        match change {
            Change::PutProduct { product } => return self.put_product(product, notes),
            Change::RemoveProduct { product } => return self.remove_product(product, notes),
            _ => {}
        }
        let mut edit = Edit {
            entry: self.entry_mut(change.product()).ok_or_else(|| unknown("product", change.product()))?,
            notes,
        };
        match change {
            Change::PutProduct { .. } | Change::RemoveProduct { .. } => Ok(()),

            Change::PutFirmware { firmware, .. } => edit.put_firmware(firmware),
            Change::RemoveFirmware { firmware, .. } => edit.remove_firmware(firmware),
            Change::DenyFirmware { firmware, denied, .. } => edit.deny_firmware(firmware, *denied),

            Change::PutGroup { group, .. } => edit.write_group(group),
            Change::RemoveGroup { group, .. } => edit.remove_group(group),
            Change::AssignFirmware { group, firmware, .. } => {
                edit.group(group, |spec| spec.firmware.clone_from(firmware))
            }
            Change::SetPolicy { group, policy, .. } => edit.group(group, |spec| spec.policy = *policy),
            Change::AssignConfig { group, config, .. } => edit.group(group, |spec| spec.config.clone_from(config)),
            Change::AssignResources { group, resources, .. } => {
                edit.group(group, |spec| spec.resources.clone_from(resources))
            }
            Change::CapGroup { group, cap, .. } => edit.group(group, |spec| spec.cap.clone_from(cap)),
            Change::SetWindow { group, window, .. } => edit.group(group, |spec| spec.window.clone_from(window)),
            Change::CapDownloads { group, downloads_max, .. } => {
                edit.group(group, |spec| spec.downloads_max = *downloads_max)
            }

            Change::PutDevice { device, .. } => {
                let mut device = device.build(edit.product()).map_err(|inner| within("device", inner))?;
                if let Some(before) = edit.entry.devices.find(&device.serial) {
                    device.remember(&before);
                }
                edit.put_device(device)
            }
            Change::RemoveDevice { serial, .. } => {
                let device = edit.device(serial)?;
                edit.set_device(device.serial, None);
                Ok(())
            }
            Change::MoveDevice { serial, group, at, .. } => {
                let mut device = edit.device(serial)?;
                device.enter(group.clone(), *at);
                edit.put_device(device)
            }
            Change::SetDeviceState { serial, state, .. } => {
                let mut device = edit.device(serial)?;
                device.state = *state;
                edit.put_device(device)
            }
            Change::PinDevice { serial, firmware, .. } => {
                edit.device_spec(serial, |spec| spec.pin.clone_from(firmware))
            }
            Change::CapDevice { serial, cap, .. } => edit.device_spec(serial, |spec| spec.cap.clone_from(cap)),
            Change::SeeDevice { serial, version, hardware, .. } => edit.device_spec(serial, |spec| {
                spec.version.clone_from(version);
                spec.hardware.clone_from(hardware);
            }),
            Change::Register { serial, at, .. } => edit.register(serial, *at),

            Change::ExpectRollout { .. }
            | Change::PutRollout { .. }
            | Change::StartRollout { .. }
            | Change::OpenWave { .. }
            | Change::AddFirst { .. }
            | Change::SetProgress { .. }
            | Change::PauseRollout { .. }
            | Change::ResumeRollout { .. }
            | Change::CompleteRollout { .. }
            | Change::AbortRollout { .. } => edit.rollout(change),
        }
    }

    fn put_product(&mut self, spec: &ProductSpec, notes: &mut Notes<D>) -> Result<(), Problems> {
        let product = spec.build().map_err(|inner| within("product", inner))?;
        let id = product.id.clone();
        if self.products.get(&id).is_some_and(|entry| *entry.product() == product) {
            return Ok(());
        }
        let mut problems = Problems::default();
        self.drop_keys(&id, notes);
        for key in &product.keys {
            let before = self.keys.get(&key.hash).cloned();
            notes.list.push(Note::Key(key.hash, before));
        }
        self.add_keys(&product, "product.", &mut problems);
        match self.entry_mut(id.as_str()) {
            None => {
                let few = Few { product: Arc::new(product), catalogue: Arc::default(), groups: BTreeMap::new() };
                self.products.insert(id.clone(), Arc::new(ProductEntryOf::new(few)));
                notes.list.push(Note::Entry(id, None));
            }
            Some(entry) if entry.product().same_rules(&product) => {
                if notes.touched.insert(id.clone()) {
                    notes.list.push(Note::Few(id, entry.few.clone()));
                }
                Arc::make_mut(&mut entry.few).product = Arc::new(product);
            }
            // Everything that was read under the old rules is read again under the new ones.
            Some(entry) => {
                let open = |group: &&Group| {
                    group.rollout.as_ref().is_some_and(|rollout| rollout.is_active() && rollout.last_open().is_some())
                };
                if entry.product().serial_scheme != product.serial_scheme
                    && let Some(group) = entry.groups().find(open)
                {
                    let message = format!(
                        "would move every rank, and group `{}` has an open wave (R3): end its rollout first",
                        group.id
                    );
                    problems.add("product.serial_scheme", message);
                }
                let again = ProductFleetSpec { product: spec.clone(), ..entry.spec() };
                if let Some(again) = problems.check("", again.build_as()) {
                    let old = self.products.insert(id.clone(), Arc::new(again));
                    notes.list.push(Note::Entry(id, old));
                }
            }
        }
        problems.finish(Some(()))
    }

    fn remove_product(&mut self, id: &ProductId, notes: &mut Notes<D>) -> Result<(), Problems> {
        let entry = self.products.remove(id).ok_or_else(|| unknown("product", id.as_str()))?;
        for key in &entry.product().keys {
            if Arc::make_mut(&mut self.keys).remove(&key.hash).is_some() {
                notes.list.push(Note::Key(key.hash, Some(id.clone())));
            }
        }
        notes.list.push(Note::Entry(id.clone(), Some(entry)));
        Ok(())
    }

    /// Takes the keys of a product away, before it is given others.
    fn drop_keys(&mut self, id: &ProductId, notes: &mut Notes<D>) {
        let Some(entry) = self.products.get(id) else { return };
        for key in &entry.product().keys {
            if self.keys.get(&key.hash) == Some(id) {
                Arc::make_mut(&mut self.keys).remove(&key.hash);
                notes.list.push(Note::Key(key.hash, Some(id.clone())));
            }
        }
    }
}

impl Product {
    /// Whether everything that was read under one reads the same under the other.
    pub(crate) fn same_rules(&self, other: &Product) -> bool {
        self.versions == other.versions
            && self.serial_scheme == other.serial_scheme
            && self.placeholders == other.placeholders
    }
}

fn one(place: &str, message: String) -> Problems {
    let mut problems = Problems::default();
    problems.add(place, message);
    problems
}

fn unknown(what: &str, name: &str) -> Problems {
    one(what, format!("there is no {what} `{}`", name.escape_debug()))
}

fn within(place: &str, inner: Problems) -> Problems {
    let mut problems = Problems::default();
    problems.add_within(place, inner);
    problems
}
