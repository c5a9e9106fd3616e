//! Changes to what is a product's own: firmware, groups, devices.

use super::super::devices::Devices;
use super::super::frozen::{check_frozen, end_leave};
use super::super::rollout::number;
use super::super::whole::{Few, ProductEntryOf};
use super::super::{
    Device, DeviceSpec, FirmwareSpec, GROUPS_MAX, GroupId, GroupSpec, Problems, Product, RolloutSpec, Version,
};
use super::{Note, Notes, one, unknown, within};
use crate::time::Timestamp;
use std::borrow::Cow;
use std::sync::Arc;

/// One product being changed, and the notes that undo it.
pub(super) struct Edit<'f, D> {
    pub(super) entry: &'f mut ProductEntryOf<D>,
    pub(super) notes: &'f mut Notes<D>,
}

impl<D: Devices> Edit<'_, D> {
    pub(super) fn product(&self) -> &Product {
        self.entry.product()
    }

    /// The few of the product, to be overwritten.
    pub(super) fn few(&mut self) -> &mut Few {
        let id = &self.entry.product().id;
        if self.notes.touched.insert(id.clone()) {
            self.notes.list.push(Note::Few(id.clone(), self.entry.few.clone()));
        }
        Arc::make_mut(&mut self.entry.few)
    }

    pub(super) fn set_device(&mut self, serial: Box<str>, device: Option<Device>) {
        let before = self.entry.set_device(serial.clone(), device);
        self.notes.list.push(Note::Device(self.entry.product().id.clone(), serial, before));
    }

    pub(super) fn put_firmware(&mut self, spec: &FirmwareSpec) -> Result<(), Problems> {
        let rules = self.product().versions();
        let firmware = spec.build(rules).map_err(|inner| within("firmware", inner))?;
        if self.entry.catalogue().find(&firmware.version, rules) == Some(&firmware) {
            return Ok(());
        }
        let Few { product, catalogue, .. } = self.few();
        Arc::make_mut(catalogue).put(firmware, product.versions()).map_err(|inner| within("firmware", inner))
    }

    /// The version of the catalogue that an operator means.
    pub(super) fn version(&self, text: &str) -> Result<Version, Problems> {
        let rules = self.product().versions();
        let found = rules.version(text).ok().and_then(|version| self.entry.catalogue().find(&version, rules));
        Ok(found.ok_or_else(|| unknown("firmware", text))?.version.clone())
    }

    pub(super) fn remove_firmware(&mut self, version: &str) -> Result<(), Problems> {
        let version = self.version(version)?;
        let Few { product, catalogue, .. } = self.few();
        Arc::make_mut(catalogue).remove(&version, product.versions());
        Ok(())
    }

    pub(super) fn deny_firmware(&mut self, version: &str, denied: bool) -> Result<(), Problems> {
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
        Arc::make_mut(catalogue).deny(&version, product.versions(), denied);
        Ok(())
    }

    /// Puts a group as an operator wrote it. What moves a rollout on has changes of its own, with rules of their own (R7).
    pub(super) fn write_group(&mut self, spec: &GroupSpec) -> Result<(), Problems> {
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
        let mut spec = Cow::Borrowed(spec);
        if let Some((old, new)) = old.zip(spec.rollout.as_ref())
            && old.id.as_str() == new.id
        {
            // What was counted is no operator's to write. After an edit, what has to soak soaks anew: the gate may be another.
            let mut kept =
                RolloutSpec { resumes: old.resumes, edition: old.edition, progress: old.progress, ..new.clone() };
            if kept != old.spec() {
                kept.progress.iter_mut().for_each(|progress| progress.good_since = None);
            }
            spec.to_mut().rollout = Some(kept);
        }
        self.put_group(&spec)
    }

    pub(super) fn put_group(&mut self, spec: &GroupSpec) -> Result<(), Problems> {
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
            number(old.rollout.as_ref(), group.rollout.as_mut());
        }
        if old == Some(&group) {
            return problems.finish(Some(()));
        }
        let id = group.id.clone();
        self.few().groups.insert(id.clone(), Arc::new(group));
        if self.entry.groups().len() > GROUPS_MAX {
            problems.add("group", format!("the product would have more than {GROUPS_MAX} groups"));
        }
        if lower_cap {
            let mut faults = Vec::new();
            self.entry.devices.each_pinned(&id, &mut |device| {
                if let Err(fault) = self.entry.check_pin(device) {
                    faults.push((device.serial.clone(), fault));
                }
            });
            // In one order, whatever holds the devices.
            faults.sort();
            faults.into_iter().for_each(|(_, fault)| problems.add("group.cap", fault));
        }
        problems.finish(Some(()))
    }

    pub(super) fn remove_group(&mut self, id: &GroupId) -> Result<(), Problems> {
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

    pub(super) fn spec_of(&self, id: &GroupId) -> Result<GroupSpec, Problems> {
        Ok(self.entry.group(id.as_str()).ok_or_else(|| unknown("group", id.as_str()))?.spec())
    }

    pub(super) fn group(&mut self, id: &GroupId, change: impl FnOnce(&mut GroupSpec)) -> Result<(), Problems> {
        let mut spec = self.spec_of(id)?;
        change(&mut spec);
        self.put_group(&spec)
    }

    /// The device that an operator means by `serial`, in any spelling of the scheme.
    pub(super) fn device(&self, serial: &str) -> Result<Device, Problems> {
        let canonical = self.product().read_serial(serial.as_bytes()).ok();
        let device = canonical.and_then(|canonical| self.entry.devices.find(canonical.as_str()));
        device.map(Cow::into_owned).ok_or_else(|| unknown("serial", serial))
    }

    pub(super) fn device_spec(&mut self, serial: &str, change: impl FnOnce(&mut DeviceSpec)) -> Result<(), Problems> {
        let mut spec = self.device(serial)?.spec();
        change(&mut spec);
        let device = spec.build(self.product())?;
        self.put_device(device)
    }

    pub(super) fn put_device(&mut self, device: Device) -> Result<(), Problems> {
        if self.entry.devices.find(&device.serial).as_deref() == Some(&device) {
            return Ok(());
        }
        self.entry.check_pin(&device).map_err(|fault| one("", fault))?;
        self.set_device(device.serial.clone(), Some(device));
        Ok(())
    }

    pub(super) fn register(&mut self, serial: &str, at: Timestamp) -> Result<(), Problems> {
        let product = self.product();
        let canonical = product.read_serial(serial.as_bytes());
        let canonical = canonical.map_err(|fault| one("serial", format!("`{}` {fault}", serial.escape_debug())))?;
        if !self.entry.may_register() || self.entry.devices.find(canonical.as_str()).is_some() {
            return Ok(());
        }
        self.put_device(Device::registered(product, &canonical, at))
    }
}
