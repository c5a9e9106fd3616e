//! What a store found, borrowed: all that a decision may look at.
//!
//! A store fills it from three look-ups and stops at the first gap; so do an asynchronous store, one SQL query and an index. A test writes it as
//! a literal. What was looked up is an `Option`; what does not apply is the default.

use crate::fleet::{
    ApiKey, CanonicalSerial, Catalogue, DeviceState, Firmware, Group, Product, Revision, SerialFault, Version,
};
use crate::lease::Lease;
use crate::time::Timestamp;

/// All facts for one decision, of one revision (V5).
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The revision that all of it is from.
    pub revision: Revision,
    /// The product that has the key; `None`: nobody has it.
    pub key: Option<KeyFacts<'a>>,
    /// The device of (product, canonical serial); `None`: there is none.
    pub device: Option<DeviceFacts<'a>>,
    /// The device's group; `None`: there is none.
    pub group: Option<GroupFacts<'a>>,
}

/// The key of the check-in, its product, and the serial as the product reads it.
#[derive(Clone, Copy, Debug)]
pub struct KeyFacts<'a> {
    /// The product.
    pub product: &'a Product,
    /// The key, one of the product's.
    pub key: &'a ApiKey,
    /// The serial of the check-in as the product reads it (question 2), by [`Product::read_serial`]. The store needs it for its look-up, so it is read
    /// once.
    pub serial: Result<&'a CanonicalSerial, SerialFault>,
}

/// The device of the check-in: that of the product and the serial of [`KeyFacts`].
#[derive(Clone, Copy, Debug)]
pub struct DeviceFacts<'a> {
    /// Where it stands.
    pub state: DeviceState,
    /// When it entered its group for the first time (R4).
    pub entered_at: Timestamp,
    /// The version that it is pinned to.
    pub pin: Option<&'a Version>,
    /// The highest version that it is given.
    pub cap: Option<&'a Version>,
    /// What the ledger holds about it.
    pub standing: Standing<'a>,
    /// The offer that it was made and has not finished taking.
    pub lease: Option<&'a Lease>,
}

/// What the ledger holds about a device, in its group and that group's rollout; the default where there is no ledger.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing<'a> {
    /// Its claim on the target of the group's rollout, live or lapsed (R5, R7).
    pub claim_expires_at: Option<Timestamp>,
    /// Its place among the group's concurrent downloads, live or lapsed; whatever it downloads (question 11).
    pub download_expires_at: Option<Timestamp>,
    /// How often it was offered this target or a hop to it.
    pub attempts: u32,
    /// The hop that it failed at, and until when it waits.
    pub penalty: Option<(&'a str, Timestamp)>,
    /// Its place by the census of the rollout, from 1, where that was recorded (V6).
    pub place: Option<u64>,
}

/// The device's group with all that hangs on it.
#[derive(Clone, Copy, Debug)]
pub struct GroupFacts<'a> {
    /// The group.
    pub group: &'a Group,
    /// The product's firmware, at least what is named below and the stones.
    pub catalogue: &'a Catalogue,
    /// The firmware of the group's baseline; `None`: none is assigned, or it does not exist.
    pub baseline: Option<&'a Firmware>,
    /// The firmware of the target of the group's rollout; `None`: there is no such target, or it does not exist.
    pub target: Option<&'a Firmware>,
    /// The firmware that the device is pinned to; `None`: it has no pin, or that does not exist.
    pub pinned: Option<&'a Firmware>,
    /// How many downloads of the group run now.
    pub downloads_now: u32,
    /// How many slots of a first-come rollout are taken, lapsed ones included (R5).
    pub slots_taken: u32,
}

impl<'a> GroupFacts<'a> {
    /// Looks up what the group and the device name in the catalogue: at most three searches of `O(log n)`.
    pub fn of(group: &'a Group, catalogue: &'a Catalogue, product: &Product, pin: Option<&Version>) -> Self {
        let find = |version: Option<&Version>| version.and_then(|version| catalogue.find(version, product.versions()));
        let (baseline, target) = Self::names(group);
        Self {
            group,
            catalogue,
            baseline: find(baseline),
            target: find(target),
            pinned: find(pin),
            downloads_now: 0,
            slots_taken: 0,
        }
    }

    /// The versions that a group names: its baseline, and the target of its rollout while that is under way.
    pub(crate) fn names(group: &Group) -> (Option<&Version>, Option<&Version>) {
        let rollout = group.rollout.as_ref().filter(|rollout| rollout.is_active());
        (group.firmware.as_ref(), rollout.and_then(|rollout| rollout.target_version()))
    }
}
