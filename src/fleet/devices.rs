//! What holds the devices of a product: a plain map here, a compact table in the index.

use super::{Device, GroupId};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Devices by canonical serial, as far as changing a fleet needs them. What a decision needs is each holder's own.
pub trait Devices: Clone + Default {
    /// Whether a clone shares what neither changes, and so costs next to nothing.
    const SHARED: bool;
    /// The device of that serial.
    fn find(&self, serial: &str) -> Option<Cow<'_, Device>>;
    /// Puts the device of that serial, or removes it, and gives what was there.
    fn put(&mut self, serial: &str, device: Option<Device>) -> Option<Device>;
    /// How many there are.
    fn count(&self) -> usize;
    /// Looks at every device, in any order.
    fn each(&self, visit: &mut dyn FnMut(&Device));
    /// Looks at those of a group that are pinned.
    fn each_pinned(&self, group: &GroupId, visit: &mut dyn FnMut(&Device));
}

/// The plain one: by canonical serial, in its order.
pub(crate) type PlainDevices = BTreeMap<Box<str>, Device>;

impl Devices for PlainDevices {
    const SHARED: bool = false;

    fn find(&self, serial: &str) -> Option<Cow<'_, Device>> {
        self.get(serial).map(Cow::Borrowed)
    }

    fn put(&mut self, serial: &str, device: Option<Device>) -> Option<Device> {
        match device {
            Some(device) => self.insert(serial.into(), device),
            None => self.remove(serial),
        }
    }

    fn count(&self) -> usize {
        self.len()
    }

    fn each(&self, visit: &mut dyn FnMut(&Device)) {
        self.values().for_each(visit);
    }

    fn each_pinned(&self, group: &GroupId, visit: &mut dyn FnMut(&Device)) {
        self.values().filter(|device| device.pin().is_some() && device.group == *group).for_each(visit);
    }
}
