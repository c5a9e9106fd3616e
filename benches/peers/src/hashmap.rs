//! `std::collections::HashMap`, the yardstick: keys in one, devices in another, nothing decided that the question does not ask.
//!
//! Compared: two look-ups, a comparison of texts, and one of a rank that is stored beside the device. Unfair to us: no lock or other way to change the fleet, the
//! key is compared in clear, no grammar is read, no group and no artifact is looked up, and a new rollout would mean to rewrite every device's rank.
//!
//! The same maps answer for the engines that evaluate a flag and know no devices; this row is what they pay before they start.

use crate::question::{Ask, KEY, TARGET, World};
use crate::{Quarter, Subject};
use std::collections::{HashMap, HashSet};

/// Keys and devices, for engines that have no place for them.
pub(crate) struct Register {
    keys: HashSet<String>,
    devices: HashMap<String, Standing>,
}

struct Standing {
    verified: bool,
    rank: u64,
}

impl Register {
    pub(crate) fn new(world: &World) -> Self {
        let standing = |device: &crate::question::Device| Standing { verified: device.verified, rank: device.rank };
        let devices = world.devices.iter().map(|device| (device.serial.clone(), standing(device))).collect();
        Self { keys: HashSet::from([KEY.into()]), devices }
    }

    /// Is the key known, and the device known and verified?
    pub(crate) fn admits(&self, ask: &Ask) -> bool {
        self.find(ask).is_some()
    }

    fn find(&self, ask: &Ask) -> Option<&Standing> {
        if !self.keys.contains(ask.key) {
            return None;
        }
        self.devices.get(&ask.serial).filter(|standing| standing.verified)
    }
}

pub(crate) struct HashMaps {
    register: Register,
    threshold: u64,
}

impl HashMaps {
    pub(crate) fn new(world: &World) -> Self {
        Self { register: Register::new(world), threshold: world.threshold }
    }
}

impl Subject for HashMaps {
    fn name(&self) -> &'static str {
        "hashmap"
    }

    fn package(&self) -> Option<&'static str> {
        None
    }

    fn quarter(&self) -> Quarter {
        Quarter::Ours
    }

    fn decide(&mut self, ask: &Ask) -> bool {
        self.register.find(ask).is_some_and(|device| ask.version != TARGET && device.rank <= self.threshold)
    }
}
