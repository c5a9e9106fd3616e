//! One revision of the index, whole: devices, groups and firmware of one moment, with what a decision needs of them looked up beforehand.

use super::leaf::Sought;
use super::table::{Found, Table};
use crate::check_in::CheckIn;
use crate::decide::facts::{DeviceFacts, Facts, GroupFacts, KeyFacts, Standing};
use crate::fleet::devices::{Devices, PlainDevices};
use crate::fleet::whole::Few;
use crate::fleet::{
    ApiKey, CanonicalSerial, Catalogue, Device, Firmware, Fleet, FleetOf, FleetSpec, Group, KeyHash, Product,
    ProductEntry, ProductEntryOf, ProductId, Revision, SerialFault, Version,
};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One revision of an [`Index`](super::Index), held for as long as it is wanted: to scan it, to count it, to answer several questions about the same moment.
/// It keeps what has changed since in memory.
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) fleet: FleetOf<Table>,
    /// By name.
    pub(super) products: Vec<Arc<Resolved>>,
    /// Where the most devices are: there the search of those goes who are nobody.
    largest: usize,
    pub(super) keys: Arc<Keys>,
    published: Instant,
}

/// What a product's decisions need, looked up once per revision and not per decision.
#[derive(Debug)]
pub(super) struct Resolved {
    entry: Arc<ProductEntryOf<Table>>,
    /// By the number of the group in the table; `None`: there is no such group.
    groups: Arc<[Option<ResolvedGroup>]>,
}

#[derive(Clone, Debug)]
struct ResolvedGroup {
    group: Arc<Group>,
    baseline: Option<Arc<Firmware>>,
    target: Option<Arc<Firmware>>,
}

/// Where each API key is: its product, and its place among the product's keys.
pub(super) type Keys = HashMap<KeyHash, Place, BuildHasherDefault<FirstEight>>;

/// The place of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) product: u32,
    key: u32,
}

/// The hash of a BLAKE3 hash is its first eight bytes. Operators choose keys, not devices, and nobody chooses what BLAKE3 makes of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FirstEight(u64);

impl Hasher for FirstEight {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    // The length, which is written before the bytes.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A check-in whose key and serial were read, and whose place in a table is known: all that can be done before the trip to RAM.
#[derive(Clone, Copy)]
pub(super) struct Located<'s> {
    product: &'s Resolved,
    key: Option<&'s ApiKey>,
    serial: Result<&'s CanonicalSerial, SerialFault>,
    /// Also where nobody can be found: time does not tell an unknown key, a bad serial and an unknown serial apart.
    sought: Sought<'s>,
}

impl Snapshot {
    /// What did not change since `before` is taken over from it.
    pub(super) fn of(fleet: FleetOf<Table>, before: Option<&Snapshot>, published: Instant) -> Self {
        // Both are in the order of names.
        let mut known = before.map_or(&[][..], |before| &before.products);
        let mut resolved = |(id, entry): (&ProductId, &Arc<ProductEntryOf<Table>>)| {
            known = &known[known.iter().take_while(|known| known.id() < id).count()..];
            let before = known.first().filter(|known| known.id() == id);
            match before.filter(|before| Arc::ptr_eq(&before.entry, entry)) {
                Some(same) => same.clone(),
                None => Arc::new(Resolved::of(entry, before.map(|before| &**before))),
            }
        };
        let products: Vec<Arc<Resolved>> = fleet.products.iter().map(&mut resolved).collect();
        let same_products = |before: &&Snapshot| {
            let pairs = || before.products.iter().zip(&products);
            let same = |(a, b): (&Arc<Resolved>, &Arc<Resolved>)| Arc::ptr_eq(&a.few().product, &b.few().product);
            before.products.len() == products.len() && pairs().all(same)
        };
        let keys = match before.filter(same_products) {
            Some(before) => before.keys.clone(),
            None => Arc::new(keys(&products)),
        };
        let largest = (0..products.len()).max_by_key(|at| products[*at].table().count()).unwrap_or(0);
        Self { fleet, products, largest, keys, published }
    }

    /// Which state this is.
    pub fn revision(&self) -> Revision {
        self.fleet.revision()
    }

    /// How long it has been since this revision was published.
    pub fn age(&self) -> Duration {
        self.published.elapsed()
    }

    /// The specification of the whole fleet. `O(devices)`, and large: a record of its own for each.
    pub fn spec(&self) -> FleetSpec {
        self.fleet.spec()
    }

    /// The same fleet in plain maps, to be changed or compared apart from the index. `O(devices)`, and large: a record of its own for each.
    pub fn to_fleet(&self) -> Fleet {
        let mut plain = Fleet { revision: self.fleet.revision, keys: self.fleet.keys.clone(), ..Fleet::default() };
        for (id, entry) in &self.fleet.products {
            let mut devices = Vec::with_capacity(entry.devices.count());
            entry.devices.each(&mut |device| devices.push((device.serial().into(), device.clone())));
            let devices: PlainDevices = devices.into_iter().collect();
            let entry = ProductEntry { few: entry.few.clone(), devices, new_devices: entry.new_devices };
            plain.products.insert(id.clone(), Arc::new(entry));
        }
        plain
    }

    /// Its products, by name.
    pub fn products(&self) -> impl ExactSizeIterator<Item = &Product> {
        self.products.iter().map(|product| &*product.few().product)
    }

    /// The product of that name.
    pub fn product(&self, product: &str) -> Option<&Product> {
        self.fleet.product(product).map(|entry| entry.product())
    }

    /// The group of that name.
    pub fn group(&self, product: &str, group: &str) -> Option<&Group> {
        self.resolved(product)?.few().groups.get(group).map(|group| &**group)
    }

    /// The firmware of a product.
    pub fn catalogue(&self, product: &str) -> Option<&Catalogue> {
        Some(&self.resolved(product)?.few().catalogue)
    }

    /// The device of that canonical serial, as a record of its own. One look-up, some allocations.
    pub fn device(&self, product: &str, serial: &str) -> Option<Device> {
        Some(self.resolved(product)?.table().find(serial)?.into_owned())
    }

    /// How many devices a product has.
    #[cfg(feature = "simulate")]
    pub(crate) fn devices_of(&self, product: &str) -> usize {
        self.resolved(product).map_or(0, |product| product.table().count())
    }

    /// Whether there is a device of that canonical serial.
    #[cfg(feature = "simulate")]
    pub(crate) fn has(&self, product: &str, serial: &str) -> bool {
        self.found(product, serial).is_some()
    }

    /// The group of a device.
    #[cfg(feature = "simulate")]
    pub(crate) fn group_of(&self, product: &str, serial: &str) -> Option<&crate::fleet::GroupId> {
        let group = self.found(product, serial)?.group;
        self.resolved(product)?.table().profiles().group(group)
    }

    #[cfg(feature = "simulate")]
    fn found(&self, product: &str, serial: &str) -> Option<Found<'_>> {
        let table = self.resolved(product)?.table();
        table.look_up(&table.secret().seek(&CanonicalSerial::of_canonical(serial)))
    }

    /// How many devices it has.
    pub fn devices_len(&self) -> usize {
        self.products.iter().map(|product| product.table().count()).sum()
    }

    /// What [`find`](Self::find) does for nobody, for whoever has the canonical serial and searched so many devices.
    pub(super) fn search(&self, serial: &str, searched: usize) {
        if let Some(product) = self.products.get(self.largest).filter(|_| self.is_near(searched)) {
            let serial = CanonicalSerial::of_canonical(serial);
            let sought = product.table().secret().seek(&serial);
            std::hint::black_box(product.table().leaf_of(&sought).map(|leaf| leaf.touch(sought.hash)));
        }
    }

    pub(super) fn resolved(&self, product: &str) -> Option<&Resolved> {
        // By name, as the fleet's products are.
        let at = self.products.binary_search_by(|one| one.id().as_str().cmp(product)).ok()?;
        self.products.get(at).map(|product| &**product)
    }

    /// Reads key and serial, and finds out where the device would stand; the serial is put into `room`. `None`: there is no product at all.
    #[inline(always)]
    pub(super) fn locate<'s>(
        &'s self,
        place: Option<Place>,
        ask: &CheckIn<'_>,
        room: &'s mut CanonicalSerial,
    ) -> Option<Located<'s>> {
        let known = place.and_then(|place| {
            let product = self.products.get(place.product as usize)?;
            Some((product, product.few().product.keys().get(place.key as usize)?))
        });
        // An unknown key searches somebody's devices all the same.
        let product = known.map_or(self.products.get(self.largest)?, |(product, _)| product);
        let read = product.few().product.read_serial_into(ask.serial, room);
        if read.is_err() {
            // It is looked for all the same, by its bytes: another product, whose key it may be, could read it.
            room.take(ask.serial.get(..12).unwrap_or(ask.serial));
        }
        let room = &*room;
        let sought = product.table().secret().seek(room);
        Some(Located { product, key: known.map(|(_, key)| key), serial: read.map(|()| room), sought })
    }

    /// Whether so many devices are so few beside the largest product's that they are found in a nearer memory: then a search of theirs takes less time.
    fn is_near(&self, devices: usize) -> bool {
        devices < self.products.get(self.largest).map_or(0, |product| product.table().count()) / 16
    }

    /// The search that an unknown key makes, for those under a known key who are told 401: or the time would tell that the key exists.
    #[cold]
    pub(super) fn search_for_nobody(&self, place: Place, ask: &CheckIn<'_>) {
        let devices = self.products.get(place.product as usize).map_or(0, |product| product.table().count());
        if self.is_near(devices) {
            let mut room = CanonicalSerial::EMPTY;
            let located = self.locate(None, ask, &mut room);
            located.and_then(|located| self.find(&located));
        }
    }

    /// The trip to RAM, for what it brings near: short, and depending on nothing, so that many are made at once.
    #[inline(always)]
    pub(super) fn touch(&self, located: &Located<'_>) -> u64 {
        located.product.table().leaf_of(&located.sought).map_or(0, |leaf| leaf.touch(located.sought.hash))
    }

    /// The trip to RAM.
    #[inline(always)]
    pub(super) fn find<'s>(&self, located: &Located<'s>) -> Option<Found<'s>> {
        if located.key.is_none() {
            // For nobody it is made too, and whether somebody stands there makes no difference.
            std::hint::black_box(self.touch(located));
            return None;
        }
        located.product.table().look_up(&located.sought)
    }

    /// The facts of a check-in that was located and looked for.
    #[inline(always)]
    pub(super) fn facts<'s>(&'s self, located: Option<&Located<'s>>, found: Option<Found<'s>>) -> Facts<'s> {
        let mut facts = Facts { revision: self.fleet.revision(), key: None, device: None, group: None };
        let Some(Located { product, key: Some(key), serial, .. }) = located else { return facts };
        facts.key = Some(KeyFacts { product: &product.few().product, key, serial: *serial });
        let Some(found) = found.filter(|_| serial.is_ok()) else { return facts };
        let rare = found.rare();
        let pin = rare.and_then(|rare| rare.pin.as_ref());
        facts.device = Some(DeviceFacts {
            state: found.state,
            entered_at: found.entered_at,
            pin,
            cap: rare.and_then(|rare| rare.cap.as_ref()),
            standing: Standing::default(),
            lease: None,
        });
        facts.group = product.group_facts(found.group, pin);
        facts
    }
}

impl Resolved {
    pub(super) fn few(&self) -> &Arc<Few> {
        &self.entry.few
    }

    #[inline]
    pub(super) fn table(&self) -> &Table {
        &self.entry.devices
    }

    pub(super) fn id(&self) -> &ProductId {
        self.few().product.id()
    }

    fn of(entry: &Arc<ProductEntryOf<Table>>, before: Option<&Self>) -> Self {
        let few = &entry.few;
        let ids = &entry.devices.profiles().groups;
        let groups = match before {
            // The same groups under the same numbers.
            Some(before)
                if Arc::ptr_eq(before.few(), few) && before.table().profiles().groups.means_the_same_as(ids) =>
            {
                before.groups.clone()
            }
            _ => {
                // What stood in the catalogue for a group stands there still, unless one of the two changed.
                let same = before.filter(|before| {
                    Arc::ptr_eq(&before.few().catalogue, &few.catalogue)
                        && Arc::ptr_eq(&before.few().product, &few.product)
                });
                let resolved = |number: u32| {
                    let group = few.groups.get(ids.get(number)?)?;
                    let known = same.and_then(|same| same.groups.get(number as usize)?.as_ref());
                    let known = known.filter(|known| Arc::ptr_eq(&known.group, group));
                    Some(known.cloned().unwrap_or_else(|| ResolvedGroup::of(few, group)))
                };
                (0..ids.len()).map(resolved).collect()
            }
        };
        Self { entry: entry.clone(), groups }
    }

    #[inline]
    fn group_facts<'s>(&'s self, number: u32, pin: Option<&Version>) -> Option<GroupFacts<'s>> {
        let found = self.groups.get(number as usize)?.as_ref()?;
        let few = &**self.few();
        Some(GroupFacts {
            group: &found.group,
            catalogue: &few.catalogue,
            baseline: found.baseline.as_deref(),
            target: found.target.as_deref(),
            pinned: pin.and_then(|pin| few.catalogue.find(pin, few.product.versions())),
            downloads_now: 0,
            slots_taken: 0,
        })
    }
}

impl ResolvedGroup {
    fn of(few: &Few, group: &Arc<Group>) -> Self {
        let rules = few.product.versions();
        let find = |version: Option<&Version>| few.catalogue.shared(version?.reading(), rules).cloned();
        let (baseline, target) = GroupFacts::names(group);
        Self { group: group.clone(), baseline: find(baseline), target: find(target) }
    }
}

fn keys(products: &[Arc<Resolved>]) -> Keys {
    let of = |(at, product): (usize, &Arc<Resolved>)| {
        let place = move |key| Place { product: at as u32, key };
        let keys = product.few().product.keys().to_vec();
        keys.into_iter().zip(0..).map(move |(key, number)| (key.hash, place(number)))
    };
    products.iter().enumerate().flat_map(of).collect()
}
