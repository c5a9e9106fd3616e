//! How a batch of changes is applied: whole or not at all (L1), each application a new revision.
//!
//! Every change first takes note of what it is about to overwrite. If anything in the batch is wrong, the notes are put back
//! in reverse, so that a refused batch costs what it touched and not a copy of the fleet. A group is changed by way of its
//! specification, so that no change can make a value that a load would refuse.

use super::change::Change;
use super::frozen::{check_frozen, end_leave};
use super::group::{Fate, Group, GroupSpec};
use super::name::{GroupId, ProductId, RolloutId};
use super::problem::Problems;
use super::rollout::{RolloutSpec, RolloutState, TargetSpec};
use super::whole::{Few, Fleet, ProductEntry, ProductFleetSpec, Revision};
use super::{Catalogue, Device, DeviceState, FirmwareSpec, GROUPS_MAX, KeyHash, Product, ProductSpec, Version};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What was there before, in the order in which it was overwritten.
enum Note {
    Few(ProductId, Arc<Few>),
    Device(ProductId, Box<str>, Option<Device>),
    Entry(ProductId, Option<ProductEntry>),
    Key(KeyHash, Option<ProductId>),
}

/// The notes of one batch.
#[derive(Default)]
struct Notes {
    list: Vec<Note>,
    /// Products whose few were noted: what they were before the batch is known, and later changes in it cost no copy.
    touched: BTreeSet<ProductId>,
}

impl Fleet {
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
        let mut notes = Notes::default();
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

    fn put_back(&mut self, note: Note) {
        match note {
            Note::Key(hash, Some(owner)) => drop(self.keys.insert(hash, owner)),
            Note::Key(hash, None) => drop(self.keys.remove(&hash)),
            Note::Entry(id, Some(entry)) => drop(self.products.insert(id, entry)),
            Note::Entry(id, None) => drop(self.products.remove(&id)),
            Note::Few(id, few) => {
                if let Some(entry) = self.products.get_mut(&id) {
                    entry.few = few;
                }
            }
            Note::Device(id, serial, device) => {
                if let Some(entry) = self.products.get_mut(&id) {
                    entry.set_device(serial, device);
                }
            }
        }
    }

    fn apply_one(&mut self, change: &Change, notes: &mut Notes) -> Result<(), Problems> {
        match change {
            Change::PutProduct { product } => return self.put_product(product, notes),
            Change::RemoveProduct { product } => return self.remove_product(product, notes),
            _ => {}
        }
        let mut edit = Edit {
            entry: self.products.get_mut(change.product()).ok_or_else(|| unknown("product", change.product()))?,
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
                if let Some(before) = edit.entry.device(&device.serial) {
                    device.remember(before);
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

            Change::PutRollout { group, rollout, .. } => {
                let mut spec = edit.spec_of(group)?;
                spec.rollout = Some(rollout.clone());
                edit.write_group(&spec)
            }
            Change::StartRollout { group, rollout, at, .. } => edit.rollout(group, rollout, |spec| {
                require(spec.state == RolloutState::Draft, "is no draft, so it cannot be started")?;
                spec.state = RolloutState::Running;
                spec.started_at = Some(*at);
                Ok(())
            }),
            Change::OpenWave { group, rollout, wave, opened, .. } => edit.rollout(group, rollout, |spec| {
                require(spec.state == RolloutState::Running, "does not run, and waves open only while it runs (R7)")?;
                let next = spec.waves.iter_mut().enumerate().find(|(_, wave)| wave.opened.is_none());
                let (index, next) = next.ok_or("has no wave left to open")?;
                require(index == *wave, format_args!("opens its waves in order: wave {index} is next"))?;
                next.opened = Some(*opened);
                Ok(())
            }),
            Change::AddFirst { group, rollout, serials, .. } => edit.rollout(group, rollout, |spec| {
                spec.first.extend_from_slice(serials);
                Ok(())
            }),
            Change::SetProgress { group, rollout, progress, .. } => edit.rollout(group, rollout, |spec| {
                spec.progress = Some(*progress);
                Ok(())
            }),
            Change::PauseRollout { group, rollout, cut, why, .. } => edit.rollout(group, rollout, |spec| {
                let active = matches!(spec.state, RolloutState::Running | RolloutState::Paused { .. });
                require(active, "does not run, so it cannot be paused")?;
                spec.state = RolloutState::Paused { cut: *cut, why: why.clone() };
                Ok(())
            }),
            Change::ResumeRollout { group, rollout, .. } => edit.rollout(group, rollout, |spec| {
                require(matches!(spec.state, RolloutState::Paused { .. }), "is not paused, so it cannot be resumed")?;
                spec.state = RolloutState::Running;
                Ok(())
            }),
            Change::CompleteRollout { group, rollout, .. } => edit.complete(group, rollout),
            Change::AbortRollout { group, rollout, fate, .. } => edit.abort(group, rollout, *fate),
        }
    }

    fn put_product(&mut self, spec: &ProductSpec, notes: &mut Notes) -> Result<(), Problems> {
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
        match self.products.get_mut(&id) {
            None => {
                let few = Few { product, catalogue: Catalogue::default(), groups: BTreeMap::new() };
                self.products.insert(id.clone(), ProductEntry::new(few));
                notes.list.push(Note::Entry(id, None));
            }
            Some(entry) if entry.product().same_rules(&product) => {
                if notes.touched.insert(id.clone()) {
                    notes.list.push(Note::Few(id, entry.few.clone()));
                }
                Arc::make_mut(&mut entry.few).product = product;
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
                if let Some(again) = problems.check("", again.build()) {
                    let old = self.products.insert(id.clone(), again);
                    notes.list.push(Note::Entry(id, old));
                }
            }
        }
        problems.finish(Some(()))
    }

    fn remove_product(&mut self, id: &ProductId, notes: &mut Notes) -> Result<(), Problems> {
        let entry = self.products.remove(id).ok_or_else(|| unknown("product", id.as_str()))?;
        for key in &entry.product().keys {
            if self.keys.remove(&key.hash).is_some() {
                notes.list.push(Note::Key(key.hash, Some(id.clone())));
            }
        }
        notes.list.push(Note::Entry(id.clone(), Some(entry)));
        Ok(())
    }

    /// Takes the keys of a product away, before it is given others.
    fn drop_keys(&mut self, id: &ProductId, notes: &mut Notes) {
        let Some(entry) = self.products.get(id) else { return };
        for key in &entry.product().keys {
            if self.keys.get(&key.hash) == Some(id) {
                self.keys.remove(&key.hash);
                notes.list.push(Note::Key(key.hash, Some(id.clone())));
            }
        }
    }
}

impl Product {
    /// Whether everything that was read under one reads the same under the other.
    fn same_rules(&self, other: &Product) -> bool {
        self.versions == other.versions
            && self.serial_scheme == other.serial_scheme
            && self.placeholders == other.placeholders
    }
}

/// One product being changed, and the notes that undo it.
struct Edit<'f> {
    entry: &'f mut ProductEntry,
    notes: &'f mut Notes,
}

impl Edit<'_> {
    fn product(&self) -> &Product {
        self.entry.product()
    }

    /// The few of the product, to be overwritten.
    fn few(&mut self) -> &mut Few {
        let id = &self.entry.product().id;
        if self.notes.touched.insert(id.clone()) {
            self.notes.list.push(Note::Few(id.clone(), self.entry.few.clone()));
        }
        Arc::make_mut(&mut self.entry.few)
    }

    fn set_device(&mut self, serial: Box<str>, device: Option<Device>) {
        let before = self.entry.set_device(serial.clone(), device);
        self.notes.list.push(Note::Device(self.entry.product().id.clone(), serial, before));
    }

    fn put_firmware(&mut self, spec: &FirmwareSpec) -> Result<(), Problems> {
        let rules = self.product().versions();
        let firmware = spec.build(rules).map_err(|inner| within("firmware", inner))?;
        if self.entry.catalogue().find(&firmware.version, rules) == Some(&firmware) {
            return Ok(());
        }
        let Few { product, catalogue, .. } = self.few();
        catalogue.put(firmware, product.versions()).map_err(|inner| within("firmware", inner))
    }

    /// The version of the catalogue that an operator means.
    fn version(&self, text: &str) -> Result<Version, Problems> {
        let rules = self.product().versions();
        let found = rules.version(text).ok().and_then(|version| self.entry.catalogue().find(&version, rules));
        Ok(found.ok_or_else(|| unknown("firmware", text))?.version.clone())
    }

    fn remove_firmware(&mut self, version: &str) -> Result<(), Problems> {
        let version = self.version(version)?;
        let Few { product, catalogue, .. } = self.few();
        catalogue.remove(&version, product.versions());
        Ok(())
    }

    fn deny_firmware(&mut self, version: &str, denied: bool) -> Result<(), Problems> {
        let version = self.version(version)?;
        if self
            .entry
            .catalogue()
            .find(&version, self.product().versions())
            .is_some_and(|firmware| firmware.denied == denied)
        {
            return Ok(());
        }
        let Few { product, catalogue, .. } = self.few();
        catalogue.deny(&version, product.versions(), denied);
        Ok(())
    }

    /// Puts a group as an operator wrote it. What moves a rollout on has changes of its own, with rules of their own (R7).
    fn write_group(&mut self, spec: &GroupSpec) -> Result<(), Problems> {
        let old = self.entry.group(&spec.id).and_then(|group| group.rollout.as_ref());
        if let Some((old, new)) = old.zip(spec.rollout.as_ref())
            && !old.may_be_written(new)
        {
            let message = format!(
                "`{}` has left draft: its state and open waves move by start, open, pause, resume, complete and abort alone (R7)",
                old.id
            );
            return Err(one("group.rollout", message));
        }
        self.put_group(spec)
    }

    fn put_group(&mut self, spec: &GroupSpec) -> Result<(), Problems> {
        let group = spec.build(self.product()).map_err(|inner| within("group", inner))?;
        let mut problems = Problems::default();
        let old = self.entry.group(group.id.as_str());
        if let Some(old) = old.and_then(|old| old.rollout.as_ref()) {
            check_frozen(old, group.rollout.as_ref(), &mut problems);
        }
        let lower_cap = group.cap.is_some() && old.is_none_or(|old| old.cap != group.cap);
        let mut group = group;
        if let Some(old) = old {
            end_leave(old, &mut group, self.product());
        }
        if old == Some(&group) {
            return problems.finish(Some(()));
        }
        let id = group.id.clone();
        self.few().groups.insert(id.clone(), group);
        if self.entry.groups().len() > GROUPS_MAX {
            problems.add("group", format!("the product would have more than {GROUPS_MAX} groups"));
        }
        if lower_cap {
            let pinned = self.entry.devices.values().filter(|device| device.pin().is_some() && device.group == id);
            for fault in pinned.filter_map(|device| self.entry.check_pin(device).err()) {
                problems.add("group.cap", fault);
            }
        }
        problems.finish(Some(()))
    }

    fn remove_group(&mut self, id: &GroupId) -> Result<(), Problems> {
        let group = self.entry.group(id.as_str()).ok_or_else(|| unknown("group", id.as_str()))?;
        if let Some(rollout) = group.rollout.as_ref().filter(|rollout| rollout.is_active()) {
            return Err(one(
                "group",
                format!("`{id}` has the rollout `{}` under way: complete or abort it first", rollout.id),
            ));
        }
        self.few().groups.remove(id);
        Ok(())
    }

    fn spec_of(&self, id: &GroupId) -> Result<GroupSpec, Problems> {
        Ok(self.entry.group(id.as_str()).ok_or_else(|| unknown("group", id.as_str()))?.spec())
    }

    fn group(&mut self, id: &GroupId, change: impl FnOnce(&mut GroupSpec)) -> Result<(), Problems> {
        let mut spec = self.spec_of(id)?;
        change(&mut spec);
        self.put_group(&spec)
    }

    fn rollout(
        &mut self,
        id: &GroupId,
        rollout: &RolloutId,
        change: impl FnOnce(&mut RolloutSpec) -> Result<(), String>,
    ) -> Result<(), Problems> {
        let mut spec = self.spec_of(id)?;
        change(named(&mut spec, rollout)?).map_err(|fault| one("rollout", format!("`{rollout}` {fault}")))?;
        self.put_group(&spec)
    }

    fn complete(&mut self, id: &GroupId, rollout: &RolloutId) -> Result<(), Problems> {
        let mut spec = self.spec_of(id)?;
        let staged = named(&mut spec, rollout)?;
        let active = matches!(staged.state, RolloutState::Running | RolloutState::Paused { .. });
        require(active, "is not under way, so it cannot be completed")
            .map_err(|fault| one("rollout", format!("`{rollout}` {fault}")))?;
        staged.state = RolloutState::Completed;
        match staged.target.clone() {
            TargetSpec::Firmware(version) => {
                self.servable(&version)
                    .map_err(|fault| one("rollout", format!("`{rollout}` cannot be completed: its target {fault}")))?;
                spec.firmware = Some(version);
            }
            TargetSpec::Config(config) => spec.config = Some(config),
            TargetSpec::Resources(resources) => spec.resources = Some(resources),
        }
        self.put_group(&spec)
    }

    fn abort(&mut self, id: &GroupId, rollout: &RolloutId, fate: Fate) -> Result<(), Problems> {
        let mut spec = self.spec_of(id)?;
        let staged = named(&mut spec, rollout)?;
        let over = matches!(staged.state, RolloutState::Completed | RolloutState::Aborted);
        require(!over, "is over, so it cannot be aborted")
            .map_err(|fault| one("rollout", format!("`{rollout}` {fault}")))?;
        let was_draft = staged.state == RolloutState::Draft;
        staged.state = RolloutState::Aborted;
        let target = staged.target.clone();
        if let (TargetSpec::Firmware(target), false) = (target, was_draft) {
            if fate == Fate::Downgrade {
                let baseline = spec
                    .firmware
                    .as_deref()
                    .ok_or_else(|| "is not set".to_owned())
                    .and_then(|version| self.servable(version));
                let baseline = baseline.and_then(|()| self.below_cap(&spec));
                baseline.map_err(|fault| one("fate", format!("`downgrade` is refused: the baseline {fault} (R10)")))?;
            }
            spec.aborted = Some(super::AbortedSpec { target, fate });
        }
        self.put_group(&spec)
    }

    fn servable(&self, version: &str) -> Result<(), String> {
        let rules = self.product().versions();
        let found = rules.version(version).ok().and_then(|version| self.entry.catalogue().find(&version, rules));
        match found {
            None => Err(format!("`{version}` is no firmware of the product")),
            Some(firmware) if firmware.denied => Err(format!("`{version}` is denied")),
            Some(_) => Ok(()),
        }
    }

    fn below_cap(&self, spec: &GroupSpec) -> Result<(), String> {
        let rules = self.product().versions();
        let read = |text: &Option<String>| text.as_deref().and_then(|text| rules.version(text).ok());
        match (read(&spec.firmware), read(&spec.cap)) {
            (Some(baseline), Some(cap)) if rules.above(baseline.reading(), &cap) => {
                Err(format!("`{baseline}` is above the group's cap `{cap}`"))
            }
            _ => Ok(()),
        }
    }

    /// The device that an operator means by `serial`, in any spelling of the scheme.
    fn device(&self, serial: &str) -> Result<Device, Problems> {
        let canonical = self.product().read_serial(serial.as_bytes()).ok();
        let device = canonical.and_then(|canonical| self.entry.device(canonical.as_str()));
        device.cloned().ok_or_else(|| unknown("serial", serial))
    }

    fn device_spec(&mut self, serial: &str, change: impl FnOnce(&mut super::DeviceSpec)) -> Result<(), Problems> {
        let mut spec = self.device(serial)?.spec();
        change(&mut spec);
        let device = spec.build(self.product())?;
        self.put_device(device)
    }

    fn put_device(&mut self, device: Device) -> Result<(), Problems> {
        if self.entry.device(&device.serial) == Some(&device) {
            return Ok(());
        }
        self.entry.check_pin(&device).map_err(|fault| one("", fault))?;
        self.set_device(device.serial.clone(), Some(device));
        Ok(())
    }

    fn register(&mut self, serial: &str, at: crate::Timestamp) -> Result<(), Problems> {
        let product = self.product();
        let canonical = product.read_serial(serial.as_bytes());
        let canonical = canonical.map_err(|fault| one("serial", format!("`{}` {fault}", serial.escape_debug())))?;
        if !self.entry.may_register() || self.entry.device(canonical.as_str()).is_some() {
            return Ok(());
        }
        self.put_device(Device::registered(product, &canonical, at))
    }
}

impl ProductEntry {
    /// Puts or removes a device and returns what was there.
    pub(super) fn set_device(&mut self, serial: Box<str>, device: Option<Device>) -> Option<Device> {
        let is_new = |device: &Option<Device>| {
            usize::from(device.as_ref().is_some_and(|device| device.state == DeviceState::New))
        };
        let added = is_new(&device);
        let before = match device {
            Some(device) => self.devices.insert(serial, device),
            None => self.devices.remove(&serial),
        };
        self.new_devices = self.new_devices + added - is_new(&before);
        before
    }
}

fn named<'s>(spec: &'s mut GroupSpec, id: &RolloutId) -> Result<&'s mut RolloutSpec, Problems> {
    spec.rollout.as_mut().filter(|rollout| rollout.id == id.as_str()).ok_or_else(|| unknown("rollout", id.as_str()))
}

fn require(holds: bool, fault: impl std::fmt::Display) -> Result<(), String> {
    if holds { Ok(()) } else { Err(fault.to_string()) }
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
