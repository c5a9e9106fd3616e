//! All devices of a revision: counted, weighed, looked at one after the other.

use super::leaf::Leaf;
use super::profiles::Profiles;
use super::slot;
use super::snapshot::Snapshot;
use super::table::Found;
use crate::fleet::{CanonicalSerial, DeviceState, GroupId, ProductId, Version};
use crate::time::Timestamp;
use std::collections::BTreeMap;

const STATES: usize = DeviceState::ALL.len();

impl Snapshot {
    /// How many devices there are of each product, group and state; none of what has none. In order. `O(devices)`: some nanoseconds for each.
    pub fn counts(&self) -> Vec<DeviceCount> {
        let mut counts = Vec::new();
        for product in &self.products {
            let profiles = product.table().profiles();
            let mut numbers: BTreeMap<(u32, DeviceState), u64> = BTreeMap::new();
            let mut by_profile = vec![[0_u64; STATES]; profiles.len() as usize];
            for leaf in product.table().leaves() {
                for slot in leaf.slots() {
                    let meta = slot::Meta::unpack(slot.meta);
                    match by_profile.get_mut(usize::from(meta.profile)).filter(|_| meta.profile != slot::PROFILE_APART)
                    {
                        Some(counts) => counts[meta.state as usize] += 1,
                        None => *numbers.entry((product.table().found(leaf, slot).group, meta.state)).or_default() += 1,
                    }
                }
            }
            for (number, counts) in (0..).zip(by_profile) {
                let group = profiles.get(number).map_or(u32::MAX, |profile| profile.group);
                for state in DeviceState::ALL {
                    *numbers.entry((group, state)).or_default() += counts[state as usize];
                }
            }
            numbers.retain(|_, devices| *devices > 0);
            let count = |((group, state), devices): ((u32, DeviceState), u64)| {
                let group = profiles.group(group)?.clone();
                Some(DeviceCount { product: product.id().clone(), group, state, devices })
            };
            counts.extend(numbers.into_iter().filter_map(count));
        }
        counts.sort_by(|a, b| (&a.product, &a.group, a.state).cmp(&(&b.product, &b.group, b.state)));
        counts
    }

    /// How many bytes its devices take, by the index's own account: without what the allocator adds, and without products, groups and firmware, which are
    /// few. What it shares with other revisions is counted in each. `O(devices / 1000)`.
    pub fn bytes(&self) -> IndexBytes {
        let mut bytes = IndexBytes::default();
        for product in &self.products {
            let table = product.table().bytes();
            bytes.slots += table.slots;
            bytes.beside += table.beside;
            bytes.directory += table.directory;
            bytes.profiles += table.profiles;
        }
        bytes
    }

    /// Looks at all devices of a product, or at those of one group, in the order in which they stand in memory: for a census, a preview, a list. `O(devices of
    /// the product)`, some nanoseconds for each, also for a small group; nothing is allocated for a device. A product or group that is not there has none.
    ///
    /// ```
    /// use otagate::{Change, DeviceSpec, Fleet, Index, ProductId, ProductSpec};
    /// let index = Index::new(&Fleet::default());
    /// let product = ProductId::new("lamp").unwrap();
    /// let device = DeviceSpec { serial: "SN-17".into(), group: "stable".into(), ..Default::default() };
    /// let lamp = ProductSpec { id: "lamp".into(), ..Default::default() };
    /// index.apply(&[Change::PutProduct { product: lamp }, Change::PutDevice { product, device }])?;
    /// let mut serials = Vec::new();
    /// index.snapshot().scan("lamp", Some("stable"), |member| serials.push(member.serial().as_str().to_owned()));
    /// assert_eq!(serials, ["SN-17"]);
    /// # Ok::<(), otagate::Problems>(())
    /// ```
    pub fn scan<'s>(&'s self, product: &str, group: Option<&str>, look: impl FnMut(Member<'s>)) {
        self.scan_part(product, group, 0, 1, look);
    }

    /// Looks at one of so many parts of them: all parts together are all devices, each once. For threads that share the work.
    ///
    /// ```
    /// # use otagate::{Fleet, Index};
    /// # let index = Index::new(&Fleet::default());
    /// let (snapshot, mut seen) = (index.snapshot(), 0);
    /// for part in 0..4 {
    ///     snapshot.scan_part("lamp", None, part, 4, |_| seen += 1);
    /// }
    /// assert_eq!(seen, snapshot.devices_len());
    /// ```
    pub fn scan_part<'s>(
        &'s self,
        product: &str,
        group: Option<&str>,
        part: usize,
        parts: usize,
        mut look: impl FnMut(Member<'s>),
    ) {
        let Some(product) = self.resolved(product) else { return };
        let profiles = product.table().profiles();
        let number = |group| GroupId::new(group).ok().and_then(|group| profiles.groups.find(&group));
        let wanted = match group.map(number) {
            Some(None) => return,
            Some(number) => number,
            None => None,
        };
        for leaf in product.table().leaves().skip(part).step_by(parts.max(1)) {
            for slot in leaf.slots() {
                let found = product.table().found(leaf, slot);
                if wanted.is_none_or(|wanted| wanted == found.group) {
                    look(Member { leaf, key: slot.key, found, profiles });
                }
            }
        }
    }
}

/// A device as a scan comes by it: borrowed from the revision.
#[derive(Clone, Copy, Debug)]
pub struct Member<'s> {
    leaf: &'s Leaf,
    key: u64,
    found: Found<'s>,
    profiles: &'s Profiles,
}

impl<'s> Member<'s> {
    /// Its canonical serial.
    pub fn serial(&self) -> CanonicalSerial {
        let mut buffer = [0; slot::DIGITS_MAX];
        let serial = slot::unpack(self.key, &mut buffer).or_else(|| self.leaf.text(self.key)).unwrap_or_default();
        CanonicalSerial::of_canonical(std::str::from_utf8(serial).unwrap_or_default())
    }

    /// Where it stands with the operator.
    pub fn state(&self) -> DeviceState {
        self.found.state
    }

    /// Its group, which may not exist; `None` cannot be.
    pub fn group(&self) -> Option<&'s GroupId> {
        self.profiles.group(self.found.group)
    }

    /// When it entered its group for the first time.
    pub fn entered_at(&self) -> Timestamp {
        self.found.entered_at
    }

    /// The version that it reported last, as far as known.
    pub fn version(&self) -> Option<&'s str> {
        self.found.version()
    }

    /// Its hardware, as far as known.
    pub fn hardware(&self) -> Option<&'s str> {
        self.found.hardware()
    }

    /// The version that it is pinned to.
    pub fn pin(&self) -> Option<&'s Version> {
        self.found.rare().and_then(|rare| rare.pin.as_ref())
    }

    /// The highest version that it is given.
    pub fn cap(&self) -> Option<&'s Version> {
        self.found.rare().and_then(|rare| rare.cap.as_ref())
    }
}

/// How many devices of a product are in a group and a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceCount {
    /// The product.
    pub product: ProductId,
    /// The group, which may not exist in the product.
    pub group: GroupId,
    /// The state.
    pub state: DeviceState,
    /// How many.
    pub devices: u64,
}

/// What an index takes, in bytes by part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexBytes {
    /// 16 for each device, and what of its lines is free.
    pub slots: usize,
    /// Serials longer than 15 hex digits, pins, caps, groups that a device was in before.
    pub beside: usize,
    /// Where the leaves are.
    pub directory: usize,
    /// Names of groups, last known versions and hardware, each once.
    pub profiles: usize,
}

impl IndexBytes {
    /// All of it.
    pub fn total(&self) -> usize {
        self.slots + self.beside + self.directory + self.profiles
    }
}
