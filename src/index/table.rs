//! The devices of one product: leaves, addressed by the lowest bits of a secret hash, splitting one at a time.
//!
//! ```text
//!   root ──▶ chunk of 256 leaves ──▶ leaf ──▶ two lines            look-up: the root and the chunks stay in the cache,
//!   100 devices: 1 leaf     10 million: 9,766 in 39 chunks          the lines are the trip to RAM
//! ```
//!
//! It grows by linear hashing: with every 1,024 devices one more leaf is made by splitting the one whose turn it is. No table is ever copied to grow, nothing
//! doubles, and a leaf holds 512 to 2,048 devices on average while it grows, whatever the size, and a third of that before it shrinks. A change copies one
//! leaf, its chunk and the root, and shares everything else with the revision before.
//!
//! Serials that were chosen to collide would crowd a leaf: then the table is built again under a new secret.

use super::hash::Secret;
use super::leaf::{Apart, Aside, Crowded, Leaf, Resident, Sought};
use super::profiles::{Profile, Profiles};
use super::slot::{self, DIGITS_MAX, Meta, PROFILE_APART, Slot};
use crate::fleet::devices::Devices;
use crate::fleet::{CanonicalSerial, Device, DeviceState, GroupId, Rare};
use crate::time::Timestamp;
use std::borrow::Cow;
use std::sync::Arc;

/// Small in tests, so that they see many.
const CHUNK_LEAVES: usize = if cfg!(test) { 8 } else { 256 };
/// With more devices than this for each leaf, one is split: large leaves make a short directory, which stays in the cache; small ones are soon copied.
const LEAF_DEVICES: usize = if cfg!(test) { 192 } else { 1_024 };
/// With fewer, two are joined.
const LEAF_DEVICES_MIN: usize = LEAF_DEVICES / 3;
/// No leaf of random hashes has as many: on average it has twice [`LEAF_DEVICES`] at most.
const LEAF_DEVICES_MAX: usize = 6 * LEAF_DEVICES;

/// As many leaves as there are, up to [`CHUNK_LEAVES`].
type Chunk = Arc<[Leaf]>;

/// The devices of one product, compact. Clones share what neither changes.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    secret: Secret,
    root: Arc<[Chunk]>,
    leaves: usize,
    len: usize,
    profiles: Profiles,
}

/// A device as a look-up finds it: nothing is copied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'t> {
    pub(super) state: DeviceState,
    pub(super) entered_at: Timestamp,
    /// The number of its group.
    pub(super) group: u32,
    profile: Option<&'t Profile>,
    apart: Option<&'t Apart>,
}

impl<'t> Found<'t> {
    /// Its pin, its cap and the like.
    pub(super) fn rare(&self) -> Option<&'t Rare> {
        self.apart.and_then(|apart| apart.rare.as_deref())
    }

    pub(super) fn version(&self) -> Option<&'t str> {
        self.profile.and_then(|profile| profile.version.as_deref())
    }

    pub(super) fn hardware(&self) -> Option<&'t str> {
        self.profile.and_then(|profile| profile.hardware.as_deref())
    }
}

/// What a table takes, by its own account.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TableBytes {
    pub(super) slots: usize,
    pub(super) beside: usize,
    pub(super) directory: usize,
    pub(super) profiles: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self::empty(Secret::random(), 1, Profiles::default())
    }
}

impl Table {
    fn empty(secret: Secret, leaves: usize, profiles: Profiles) -> Self {
        Self::of_leaves(secret, vec![Leaf::default(); leaves], 0, profiles)
    }

    /// A table of leaves that were built apart, in order.
    pub(super) fn of_leaves(secret: Secret, all: Vec<Leaf>, len: usize, profiles: Profiles) -> Self {
        let leaves = all.len();
        let mut all = all.into_iter();
        let chunk = |_| all.by_ref().take(CHUNK_LEAVES).collect();
        let root = (0..leaves.div_ceil(CHUNK_LEAVES)).map(chunk).collect();
        Self { secret, root, leaves, len, profiles }
    }

    pub(super) fn secret(&self) -> Secret {
        self.secret
    }

    pub(super) fn profiles(&self) -> &Profiles {
        &self.profiles
    }

    /// Which of so many leaves is that of a hash.
    pub(super) fn address(hash: u64, leaves: usize) -> usize {
        let mask = leaves.next_power_of_two() - 1;
        let at = hash as usize & mask;
        if at < leaves { at } else { at & (mask >> 1) }
    }

    /// How many leaves so many devices have.
    pub(super) fn leaves_for(devices: usize) -> usize {
        devices.div_ceil(LEAF_DEVICES).max(1)
    }

    fn leaf(&self, at: usize) -> Option<&Leaf> {
        self.root.get(at / CHUNK_LEAVES)?.get(at % CHUNK_LEAVES)
    }

    fn leaf_mut(&mut self, at: usize) -> &mut Leaf {
        // Whoever asks made the chunk before.
        &mut Arc::make_mut(&mut Arc::make_mut(&mut self.root)[at / CHUNK_LEAVES])[at % CHUNK_LEAVES]
    }

    #[inline]
    pub(super) fn leaf_of(&self, sought: &Sought<'_>) -> Option<&Leaf> {
        self.leaf(Self::address(sought.hash, self.leaves))
    }

    pub(super) fn leaves(&self) -> impl Iterator<Item = &Leaf> {
        self.root.iter().flat_map(|chunk| chunk.iter())
    }

    /// The device of a canonical serial: one leaf, two lines.
    #[inline]
    pub(super) fn look_up(&self, sought: &Sought<'_>) -> Option<Found<'_>> {
        let leaf = self.leaf_of(sought)?;
        Some(self.found(leaf, leaf.slot(leaf.find(sought)?)))
    }

    #[inline]
    pub(super) fn found<'t>(&'t self, leaf: &'t Leaf, slot: Slot) -> Found<'t> {
        let meta = Meta::unpack(slot.meta);
        let apart = if meta.apart { leaf.apart(slot.key) } else { None };
        let profile = self.profile_number(meta, apart).and_then(|number| self.profiles.get(number));
        let entered_at = meta.entered_at.or(apart.and_then(|apart| apart.entered_at)).unwrap_or_default();
        let group = profile.map_or(u32::MAX, |profile| profile.group);
        Found { state: meta.state, entered_at, group, profile, apart }
    }

    #[inline]
    fn profile_number(&self, meta: Meta, apart: Option<&Apart>) -> Option<u32> {
        match meta.profile {
            PROFILE_APART => apart.and_then(|apart| apart.profile),
            number => Some(number.into()),
        }
    }

    fn device(&self, leaf: &Leaf, slot: Slot) -> Option<Device> {
        let found = self.found(leaf, slot);
        let mut buffer = [0; DIGITS_MAX];
        let serial = slot::unpack(slot.key, &mut buffer).or_else(|| leaf.text(slot.key))?;
        let mut device = Device {
            serial: std::str::from_utf8(serial).ok()?.into(),
            state: found.state,
            group: self.profiles.group(found.group)?.clone(),
            entered_at: found.entered_at,
            version: found.version().map(Into::into),
            rare: found.rare().cloned().map(Box::new),
        };
        let group = |(number, at)| Some((self.profiles.group(number)?.clone(), at));
        let earlier_groups: Vec<_> = leaf.earlier(slot.key).filter_map(group).collect();
        if found.hardware().is_some() || !earlier_groups.is_empty() {
            let hardware = found.hardware().map(Into::into);
            device.change_rare(|rare| (rare.hardware, rare.earlier_groups) = (hardware, earlier_groups));
        }
        Some(device)
    }

    /// A device as it stands in a leaf.
    fn resident(&mut self, sought: &Sought<'_>, device: Device) -> Resident {
        let Device { state, group, entered_at, version, mut rare, .. } = device;
        let hardware = rare.as_ref().and_then(|rare| rare.hardware.as_deref());
        let profile = self.profiles.acquire(&group, version.as_deref(), hardware, 1);
        let earlier_groups = rare.as_mut().map(|rare| std::mem::take(&mut rare.earlier_groups)).unwrap_or_default();
        let earlier = earlier_groups.iter().map(|(group, at)| (self.profiles.acquire_group(group, 1), *at)).collect();
        let (meta, aside) = slot_of(state, entered_at, profile, rare, earlier);
        let text = sought.packed.is_none().then(|| sought.serial.into());
        Resident { slot: Slot { key: sought.packed.unwrap_or(0), meta }, text, aside }
    }

    /// The device that stood there has no part any more in what it shared.
    fn release(&mut self, meta: u64, aside: Option<&Aside>) {
        if let Some(number) = self.profile_number(Meta::unpack(meta), aside.map(|aside| &aside.apart)) {
            self.profiles.release(number);
        }
        for (group, _) in aside.iter().flat_map(|aside| &aside.earlier) {
            self.profiles.release_group(*group);
        }
    }

    /// Puts a device that does not stand here, where `sought` says.
    fn add(&mut self, sought: &Sought<'_>, device: Device) {
        let resident = self.resident(sought, device);
        self.len += 1;
        let (secret, at) = (self.secret, Self::address(sought.hash, self.leaves));
        if let Err(crowded) = self.leaf_mut(at).add(resident, secret) {
            self.rebuild(crowded);
        } else if self.len > self.leaves * LEAF_DEVICES {
            self.split();
        }
    }

    /// Splits the leaf whose turn it is.
    fn split(&mut self) {
        let new = self.leaves;
        let buddy = new - (1 << new.ilog2());
        self.resize(new + 1);
        let secret = self.secret;
        let old = std::mem::take(self.leaf_mut(buddy));
        let (left, right): (Vec<_>, Vec<_>) =
            old.residents().partition(|resident| Self::address(resident.hash(secret), self.leaves) == buddy);
        let crowd = left.len().max(right.len()) > LEAF_DEVICES_MAX;
        match (Leaf::of(left, secret), Leaf::of(right, secret)) {
            (Ok(left), Ok(right)) if !crowd => {
                *self.leaf_mut(buddy) = left;
                *self.leaf_mut(new) = right;
            }
            _ => self.rebuild(Crowded(old.residents().collect())),
        }
    }

    /// Joins the last leaf to the one that it was split from.
    fn join(&mut self) {
        let last = self.leaves - 1;
        let buddy = last - (1 << last.ilog2());
        let secret = self.secret;
        let both: Vec<Resident> =
            [buddy, last].into_iter().filter_map(|at| self.leaf(at)).flat_map(Leaf::residents).collect();
        // What stood in two leaves goes into one of as many lines.
        let Ok(joined) = Leaf::of(both, secret) else { return };
        *self.leaf_mut(buddy) = joined;
        self.resize(last);
    }

    /// Takes the last leaf away, or adds an empty one.
    fn resize(&mut self, leaves: usize) {
        let full = leaves.saturating_sub(1) / CHUNK_LEAVES;
        let last = self.root.get(full).map_or(&[][..], |chunk| chunk).iter().cloned();
        let last = last.chain(std::iter::once(Leaf::default())).take(leaves - full * CHUNK_LEAVES).collect();
        self.root = self.root.iter().take(full).cloned().chain([last]).collect();
        self.leaves = leaves;
    }

    /// Builds the table again under a new secret. `O(devices)`: it happens when serials were chosen to collide, and they cannot be for the new one.
    fn rebuild(&mut self, Crowded(mut residents): Crowded) {
        residents.extend(self.leaves().flat_map(Leaf::residents));
        let leaves = Self::leaves_for(residents.len());
        loop {
            let secret = Secret::random();
            let mut shares: Vec<Vec<Resident>> = std::iter::repeat_with(Vec::new).take(leaves).collect();
            for resident in &residents {
                shares[Self::address(resident.hash(secret), leaves)].push(resident.clone());
            }
            let built: Result<Vec<Leaf>, Crowded> = shares.into_iter().map(|share| Leaf::of(share, secret)).collect();
            if let Ok(built) = built {
                *self = Self::of_leaves(secret, built, residents.len(), self.profiles.clone());
                return;
            }
        }
    }

    pub(super) fn bytes(&self) -> TableBytes {
        let mut bytes = TableBytes {
            directory: self.leaves * size_of::<Leaf>() + self.root.len() * (size_of::<Chunk>() + 16) + 16,
            profiles: self.profiles.bytes(),
            ..TableBytes::default()
        };
        for leaf in self.leaves() {
            let leaf = leaf.bytes();
            bytes.slots += leaf.slots;
            bytes.beside += leaf.beside;
        }
        bytes
    }
}

/// What a slot says of a device, and what does not fit into it. Groups that it was in before come by number.
pub(super) fn slot_of(
    state: DeviceState,
    entered_at: Timestamp,
    profile: u32,
    rare: Option<Box<Rare>>,
    earlier: Vec<(u32, Timestamp)>,
) -> (u64, Option<Box<Aside>>) {
    // The hardware stands in the profile, the groups by themselves.
    let rare = rare.and_then(|rare| {
        let rare = Rare { pin: rare.pin, cap: rare.cap, ..Rare::default() };
        (rare != Rare::default()).then(|| Arc::new(rare))
    });
    let fits = Meta::fits(entered_at);
    let (profile, profile_apart) = slot::profile_of(profile);
    let apart = Apart { entered_at: (!fits).then_some(entered_at), profile: profile_apart, rare };
    let entered_at = fits.then_some(entered_at);
    let meta = Meta { state, profile, entered_at, apart: apart != Apart::default() };
    let aside = (meta.apart || !earlier.is_empty()).then(|| Box::new(Aside { apart, earlier }));
    (meta.pack(), aside)
}

impl Devices for Table {
    const SHARED: bool = true;

    fn find(&self, serial: &str) -> Option<Cow<'_, Device>> {
        let serial = CanonicalSerial::of_canonical(serial);
        let sought = self.secret.seek(&serial);
        let leaf = self.leaf_of(&sought)?;
        self.device(leaf, leaf.slot(leaf.find(&sought)?)).map(Cow::Owned)
    }

    fn put(&mut self, serial: &str, device: Option<Device>) -> Option<Device> {
        let secret = self.secret;
        let serial = CanonicalSerial::of_canonical(serial);
        let sought = secret.seek(&serial);
        let at = Self::address(sought.hash, self.leaves);
        let leaf = self.leaf(at)?;
        let stands = leaf.find(&sought);
        let before = stands.and_then(|stands| self.device(leaf, leaf.slot(stands)));
        let held = stands.map(|stands| leaf.slot(stands)).map(|slot| (slot.meta, leaf.aside(slot.key)));
        match (stands, device) {
            (None, None) => {}
            (None, Some(device)) => self.add(&sought, device),
            (Some(stands), Some(device)) => {
                let Resident { slot, aside, .. } = self.resident(&sought, device);
                self.leaf_mut(at).write(stands, slot.meta, aside);
            }
            (Some(stands), None) => {
                self.len -= 1;
                if let Err(crowded) = self.leaf_mut(at).remove(stands, secret) {
                    self.rebuild(crowded);
                } else if self.leaves > 1 && self.len < (self.leaves - 1) * LEAF_DEVICES_MIN {
                    self.join();
                }
            }
        }
        // After what took its place acquired: what both have is kept.
        if let Some((meta, aside)) = held {
            self.release(meta, aside.as_deref());
        }
        before
    }

    fn count(&self) -> usize {
        self.len
    }

    fn each(&self, visit: &mut dyn FnMut(&Device)) {
        for leaf in self.leaves() {
            leaf.slots().filter_map(|slot| self.device(leaf, slot)).for_each(|device| visit(&device));
        }
    }

    fn each_pinned(&self, group: &GroupId, visit: &mut dyn FnMut(&Device)) {
        let Some(group) = self.profiles.groups.find(group) else { return };
        for leaf in self.leaves() {
            let is_pinned = |slot: &Slot| {
                let found = self.found(leaf, *slot);
                found.group == group && found.rare().is_some_and(|rare| rare.pin.is_some())
            };
            let pinned = leaf.slots_apart().filter(is_pinned);
            pinned.filter_map(|slot| self.device(leaf, slot)).for_each(|device| visit(&device));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(serial: &str) -> Device {
        Device {
            serial: serial.into(),
            state: DeviceState::Verified,
            group: GroupId::new("stable").unwrap(),
            entered_at: Timestamp::default(),
            version: None,
            rare: None,
        }
    }

    /// Miri takes minutes for what takes milliseconds.
    const MANY: u64 = if cfg!(miri) { 3_000 } else { 120_000 };

    fn put(table: &mut Table, serial: &str) {
        assert_eq!(table.put(serial, Some(device(serial))), None);
    }

    #[test]
    fn the_leaves_grow_one_by_one_and_shrink_again() {
        let mut table = Table::default();
        let serials: Vec<String> = (0..MANY).map(|number| format!("{number:012x}")).collect();
        for (index, serial) in serials.iter().enumerate() {
            put(&mut table, serial);
            assert!(table.len == index + 1 && table.len <= table.leaves * LEAF_DEVICES);
        }
        assert!(table.leaves > CHUNK_LEAVES, "several chunks");
        let most = table.leaves().map(|leaf| leaf.slots().count()).max().unwrap();
        assert!(most < 600, "{most} in one leaf");
        assert_eq!(table.leaves().map(|leaf| leaf.slots().count()).sum::<usize>(), serials.len());
        assert!(serials.iter().all(|serial| table.find(serial).is_some()) && table.find("1e240").is_none());
        let before = table.clone();
        for serial in &serials {
            assert!(table.put(serial, None).is_some_and(|gone| gone.serial() == serial));
        }
        assert_eq!((table.len, table.leaves, table.root.len()), (0, 1, 1));
        assert!(serials.iter().all(|serial| before.find(serial).is_some()), "an older revision is as it was");
    }

    /// First contact puts a device into the default group, and an operator moves it on: that is every device of many a fleet.
    #[test]
    fn a_device_that_was_moved_once_costs_little_more_than_one_that_was_not() {
        let mut table = Table::default();
        let serials: Vec<String> = (0..MANY / 6).map(|number| format!("{number:012x}")).collect();
        for serial in &serials {
            put(&mut table, serial);
        }
        let before = table.bytes().slots + table.bytes().beside;
        for serial in &serials {
            let mut device = table.find(serial).unwrap().into_owned();
            device.enter(GroupId::new("canary").unwrap(), Timestamp::from_millis(7));
            table.put(serial, Some(device.clone()));
            assert_eq!(table.find(serial).as_deref(), Some(&device));
        }
        let after = table.bytes().slots + table.bytes().beside;
        let each = (after - before) as f64 / serials.len() as f64;
        assert!(each < 50.0, "{each} bytes more each");
    }

    #[test]
    fn a_table_whose_serials_collide_takes_a_new_secret() {
        let mut table = Table::empty(Secret::broken(), 1, Profiles::default());
        let serials: Vec<String> =
            (0..2_000).map(|n| if n % 3 == 0 { format!("SN-{n}") } else { format!("{n:06x}") }).collect();
        for serial in &serials {
            put(&mut table, serial);
        }
        assert_ne!(table.secret, Secret::broken());
        assert_eq!(table.len, serials.len());
        assert!(serials.iter().all(|serial| table.find(serial).is_some_and(|found| found.serial() == serial)));
        assert!(table.leaves().all(|leaf| leaf.slots().count() < 600));
    }
}
